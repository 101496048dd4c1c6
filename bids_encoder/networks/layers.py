"""Which layers: short names, defaults, and finding a layer by its name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from bids_encoder.errors import UsageError
from bids_encoder.networks.network import Tap, as_tensor

log = logging.getLogger(__name__)


_CLASSES = 1000  # of ImageNet: what has so many channels are class scores


def _relus(names: str, indices: Sequence[int], prefix: str = "features") -> dict[str, str]:
    return {n: f"{prefix}.{i}" for n, i in zip(names.split(), indices, strict=True)}


_FULL = _relus("fc6 fc7 fc8", (1, 4, 6), "classifier")  # VGG; fc8 are the class scores
_VGG16 = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 "
_VGG16 += "conv5_1 conv5_2 conv5_3"
_VGG19 = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv3_4 "
_VGG19 += "conv4_1 conv4_2 conv4_3 conv4_4 conv5_1 conv5_2 conv5_3 conv5_4"

# Short name -> module, per network. Each is the ReLU behind the convolution or
# the full layer of that name, thus after the non-linearity and before pooling.
ALIASES: dict[str, dict[str, str]] = {
    "alexnet": {
        **_relus("conv1 conv2 conv3 conv4 conv5", (1, 4, 7, 9, 11)),
        **_relus("fc6 fc7 fc8", (2, 5, 6), "classifier"),
    },
    "vgg16": {
        **_relus(_VGG16, (1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29)),
        **_FULL,
    },
    "vgg19": {
        **_relus(_VGG19, (1, 3, 6, 8, 11, 13, 15, 17, 20, 22, 24, 26, 29, 31, 33, 35)),
        **_FULL,
    },
    # A residual block ends with a ReLU; the top ReLU of a ResNet serves the stem only.
    "resnet18": {"conv1": "relu"},
    "resnet50": {"conv1": "relu"},
}

DEFAULT_LAYERS: dict[str, tuple[str, ...]] = {
    "alexnet": ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"),
    "vgg16": ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", "fc6", "fc7"),
    "vgg19": ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4", "fc6", "fc7"),
    "resnet18": (
        "conv1",
        *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)),
    ),
    "resnet50": (
        *("conv1", "layer1.0", "layer1.2", "layer2.1", "layer2.3"),
        *("layer3.1", "layer3.3", "layer3.5", "layer4.0", "layer4.2"),
    ),
    "inception_v3": (
        *("Conv2d_1a_3x3", "Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5b", "Mixed_5d"),
        *("Mixed_6a", "Mixed_6c", "Mixed_6e", "Mixed_7a", "Mixed_7c"),
    ),
}


def resolve_taps(
    network_name: str,
    module: nn.Module,
    input_size: int,
    layers: Sequence[str],
    aliases: Mapping[str, str],
) -> tuple[Tap, ...]:
    """Find the layers by name, with their shapes, by one forward pass of an empty picture.

    Parameters
    ----------
    network_name : str
        For messages.
    module : torch.nn.Module
    input_size : int
        Side of the input in pixels.
    layers : sequence of str
        Short names (keys of `aliases`) or module names. A module that is called
        several times in one pass counts at its last call; ``name:2`` is its
        second call.
    aliases : mapping of short name -> module name, or ``module:call``

    Returns
    -------
    taps : tuple of Tap
        From shallow to deep, whatever the order of `layers`; each once.

    Raises
    ------
    UsageError
        No such layer (the near ones are listed), or one that gives no tensor.
    """
    wanted: dict[str, tuple[str, int | None]] = {}
    known = dict(module.named_modules())
    for layer in dict.fromkeys(layers):
        path, _, digits = aliases.get(layer, layer).partition(":")
        if not path or path not in known or (digits and not digits.isdecimal()):
            raise _no_such_layer(layer, network_name, aliases, known)
        wanted[layer] = (path, int(digits) if digits else None)
    calls = record_calls(module, input_size, {path for path, _ in wanted.values()})

    found = []
    for layer, (path, call) in wanted.items():
        mine = [(place, shape) for place, (name, shape) in enumerate(calls) if name == path]
        if not mine:
            raise UsageError(
                f"The layer {layer!r} of {network_name} plays no part in a forward pass.",
                place="--layers",
                remedy="name a layer that does: see --layers in the documentation",
            )
        if call is not None and not 1 <= call <= len(mine):
            raise UsageError(
                f"The layer {path!r} of {network_name} is called {len(mine)} times in one pass.",
                place="--layers",
                found=layer,
                expected=f"{path}:1 to {path}:{len(mine)}",
            )
        if call is None and len(mine) > 1:
            log.info(
                "%s is called %d times in one pass of %s; its last call counts (%s:1 is the first)",
                *(path, len(mine), network_name, path),
            )
        call = call or len(mine)
        place, shape = mine[call - 1]
        if shape is None or not 2 <= len(shape) <= 4:
            raise UsageError(
                f"The layer {layer!r} of {network_name} gives no map, tokens or vector.",
                place="--layers",
                found="no tensor" if shape is None else f"a tensor of shape {shape}",
                remedy="name the layer behind it",
            )
        channels_last = len(shape) == 4 and _is_channels_last(module, path)
        shape = (shape[3], shape[1], shape[2]) if channels_last else shape[1:]
        found.append((place, Tap(layer, path, call, tuple(shape), channels_last)))
    return tuple(tap for _, tap in sorted(found, key=lambda item: item[0]))


def record_calls(
    module: nn.Module, input_size: int, names: set[str]
) -> list[tuple[str, tuple[int, ...] | None]]:
    """Return (module name, shape of its output) in the order in which the modules finish."""
    calls: list[tuple[str, tuple[int, ...] | None]] = []

    def hook_for(name: str):
        def hook(module, args, output):
            tensor = as_tensor(output)
            calls.append((name, None if tensor is None else tuple(tensor.shape)))

        return hook

    modules = dict(module.named_modules())
    handles = [modules[name].register_forward_hook(hook_for(name)) for name in names]
    example = next(module.parameters())
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, input_size, input_size, device=example.device))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def choose_layers(module: nn.Module, input_size: int, most: int = 8) -> tuple[str, ...]:
    """Choose layers of a network that has no table: its stages, from shallow to deep.

    The top-level parts are opened one after the other until at least four
    stages are found; bare convolutions, full layers and normalisations (before
    their non-linearity), poolings and class scores are left out; of more than
    `most` stages, evenly spaced ones are taken, the first and the last among them.
    """
    names = [name for name, _ in module.named_children()]
    known = dict(module.named_modules())
    while sum(_is_stage(known[name]) for name in names) < 4:
        opened = [
            child
            for name in names
            for child in ([f"{name}.{c}" for c, _ in known[name].named_children()] or [name])
        ]
        if opened == names:
            break
        names = opened
    stages = [name for name in names if _is_stage(known[name])]
    used = [
        name
        for name, shape in record_calls(module, input_size, set(stages))
        if shape is not None and 2 <= len(shape) <= 4 and shape[1] != _CLASSES
    ]
    used = list(dict.fromkeys(used))
    if len(used) > most:
        used = [used[round(i * (len(used) - 1) / (most - 1))] for i in range(most)]
    return tuple(used)


def _is_stage(module: nn.Module) -> bool:
    leaves = [m for m in module.modules() if not list(m.children())]
    last = type(leaves[-1]).__name__
    if len(leaves) == 1:
        return last.endswith(("ReLU", "ReLU6", "SiLU", "GELU", "Hardswish", "Sigmoid", "Tanh"))
    return "Pool" not in last and last != "Flatten"


def _is_channels_last(module: nn.Module, path: str) -> bool:
    # The Swin transformers keep channels last in all but their first embedding's convolution.
    inside = path.startswith("features.") and path != "features.0.0"
    return type(module).__name__ == "SwinTransformer" and (inside or path == "norm")


def _no_such_layer(
    layer: str, network_name: str, aliases: Mapping[str, str], known: Mapping[str, nn.Module]
) -> UsageError:
    names = [*aliases, *(name for name in known if name)]
    near = difflib.get_close_matches(layer, names, n=6, cutoff=0.4)
    default = DEFAULT_LAYERS.get(network_name) or tuple(aliases)
    usual = f"; usual ones are {', '.join(default)}" if default else ""
    return UsageError(
        f"The network {network_name} has no layer {layer!r}.",
        place="--layers",
        found=layer,
        expected=f"one of its {len(names)} layers{usual}",
        remedy=f"near ones: {', '.join(near)}" if near else "take one of the usual ones",
    )
