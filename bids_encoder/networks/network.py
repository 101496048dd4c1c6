"""A network that is ready to be used, and the activations of its layers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from bids_encoder.networks.preprocess import Preprocess


@dataclass(frozen=True)
class Tap:
    """One place where activations are taken.

    Attributes
    ----------
    name : str
        What people call the layer: "conv1", or the module's own name.
    module : str
        Name of the module inside the network, as in ``named_modules()``.
    call : int
        Which of the module's calls in one forward pass counts, from 1. A single
        ReLU module may serve several places of a network.
    shape : tuple of int
        Of one picture's activations: (C, H, W), tokens (N, D) or a vector (D,).
    channels_last : bool
        The module gives (H, W, C), which is turned into (C, H, W).
    """

    name: str
    module: str
    call: int
    shape: tuple[int, ...]
    channels_last: bool = False


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its weights, the layers to be tapped, and what to feed it.

    Attributes
    ----------
    name : str
    module : torch.nn.Module
        In evaluation mode, without gradients, on `device`.
    taps : tuple of Tap
        In the order in which the network computes them: from shallow to deep.
    preprocess : Preprocess
        uint8 (H, W, 3) -> float32 tensor (3, size, size).
    weights_id : str
        Checksum of all parameters and buffers, and in words where they come from.
    citation : str
        What to cite for architecture and weights.
    device : str
        "cpu" or "cuda".
    """

    name: str
    module: nn.Module
    taps: tuple[Tap, ...]
    preprocess: Preprocess
    weights_id: str
    citation: str
    device: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the tapped layers, from shallow to deep."""
        return tuple(tap.name for tap in self.taps)

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocess.size

    def replica(self) -> Network:
        """The same network for another thread: hooks of its own, the same weights in memory."""
        weights = [*self.module.parameters(), *self.module.buffers()]
        module = copy.deepcopy(self.module, {id(one): one for one in weights})
        return replace(self, module=module)


class _AllCollected(Exception):  # noqa: N818 - not an error: ends the forward pass early
    pass


def activations(
    network: Network,
    batch: torch.Tensor,
    transform: Callable[[torch.Tensor, Tap], torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Run a batch through the network, as far as the deepest layer that is wanted.

    Parameters
    ----------
    network : Network
    batch : tensor (n, 3, size, size), float32
        Preprocessed pictures, on any device.
    transform : function (activations of the batch, tap) -> tensor, optional
        Applied at once to each layer, so that not all layers need be held
        whole. Its result must not share memory with its argument: later modules
        may work in place. Without it, the activations are copied.

    Returns
    -------
    activations : dict of tensors (n, *tap.shape), by layer name
        On the network's device.
    """
    transform = transform or (lambda output, tap: output.clone())
    found: dict[str, torch.Tensor] = {}
    calls: Counter[str] = Counter()
    taps_of: dict[str, list[Tap]] = {}
    for tap in network.taps:
        taps_of.setdefault(tap.module, []).append(tap)

    def hook_for(name: str):
        def hook(module, args, output):
            calls[name] += 1
            for tap in taps_of[name]:
                if tap.call == calls[name]:
                    found[tap.name] = transform(as_tensor(output, tap.channels_last), tap)
            if len(found) == len(network.taps):
                raise _AllCollected

        return hook

    modules = dict(network.module.named_modules())
    handles = [modules[name].register_forward_hook(hook_for(name)) for name in taps_of]
    try:
        with torch.inference_mode(), exact_convolutions(network.device):
            network.module(batch.to(network.device))
    except _AllCollected:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return {tap.name: found[tap.name] for tap in network.taps}


def exact_convolutions(device: str) -> AbstractContextManager[None]:
    """Convolutions by cuDNN in full precision.

    TF32 would make features of a GPU differ from those of a CPU in the third digit. cuDNN's
    settings are those of the whole process, so that threads on a CPU leave them alone.
    """
    if device == "cpu":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def as_tensor(output: object, channels_last: bool = False) -> torch.Tensor | None:
    """Return the tensor that a module gave (the first one of a tuple), or None."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        return None
    return output.permute(0, 3, 1, 2) if channels_last and output.ndim == 4 else output
