"""Networks by name: architecture, weights, layers and preprocessing put together."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from bids_encoder.errors import UsageError
from bids_encoder.networks import overfeat, packaged
from bids_encoder.networks.devices import resolve_device
from bids_encoder.networks.layers import ALIASES, DEFAULT_LAYERS, choose_layers, resolve_taps
from bids_encoder.networks.network import Network
from bids_encoder.networks.preprocess import Preprocess
from bids_encoder.networks.weights import apply_state, checksum, find_weights, read_state

log = logging.getLogger(__name__)

DEFAULT_NETWORK = "efficientnet_lite0"


@dataclass(frozen=True)
class _Recipe:
    """How one network is made."""

    untrained: Callable[[], nn.Module]
    trained: Callable[[str | Path | None, bool], tuple[nn.Module, str]]  # network, weights' name
    preprocess: Preprocess
    citation: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()  # none: chosen when the network is there
    # A third faster on CPU than the usual order; but the weights are copied.
    memory_format: torch.memory_format = torch.channels_last


def list_networks() -> list[str]:
    """Return the names that `load_network` knows, those that need no download first."""
    import torchvision  # seconds, which the networks of packages do without

    classifiers = torchvision.models.list_models(module=torchvision.models)
    return [DEFAULT_NETWORK, "overfeat", *sorted(classifiers)]


def load_network(
    name: str = DEFAULT_NETWORK,
    *,
    layers: Sequence[str] | None = None,
    untrained: bool = False,
    seed: int = 0,
    weights_dir: str | Path | None = None,
    allow_downloads: bool = False,
    device: str = "cpu",
) -> Network:
    """Make a network ready to be used.

    Parameters
    ----------
    name : str
        "efficientnet_lite0" (weights come with a Python package), "overfeat"
        (the large network) or any classifier of torchvision. "squeezenet1_1"
        needs no download when the package ndf is installed.
    layers : sequence of str, optional
        Short names ("conv1"), or module names ("features.1", "layer3.0"); a
        module called several times counts at its last call, or as "module:2" at
        its second. Default: a choice per network.
    untrained : bool
        Random weights by the architecture's own initialisation: the control
        that tells architecture from training.
    seed : int
        Of the random weights. The global random state is left as it was.
    weights_dir : path, optional
        Folder with weight files under their published names, or one file.
        torch.hub's folder ($TORCH_HOME/hub/checkpoints) is looked into as well.
    allow_downloads : bool
        Fetch weights that are not on this machine.
    device : "auto", "cpu" or "cuda"

    Returns
    -------
    network : Network

    Raises
    ------
    UsageError
        Unknown network, layer or device.
    MissingInputError
        The weights are not there.
    DataError
        The weight file is damaged, or belongs to another network.
    """
    device = resolve_device(device)
    recipe = _recipe(name, weights_dir)
    # Building draws random numbers even where weights replace them; do not disturb others' seeds.
    with torch.random.fork_rng(devices=[]):
        if untrained:
            torch.manual_seed(seed)
            module, source = recipe.untrained(), f"random weights, seed {seed}"
        else:
            module, source = recipe.trained(weights_dir, allow_downloads)
    module = module.eval().requires_grad_(False)
    if not layers:
        layers = recipe.layers
    if not layers:
        layers = choose_layers(module, recipe.preprocess.size)
        log.info("%s has no table of layers; chosen: %s", name, ", ".join(layers))
    taps = resolve_taps(name, module, recipe.preprocess.size, layers, recipe.aliases)
    weights_id = f"sha256:{checksum(module)} ({source})"
    module = module.to(device).to(memory_format=recipe.memory_format)
    return Network(name, module, taps, recipe.preprocess, weights_id, recipe.citation, device)


def _recipe(name: str, weights_dir: str | Path | None) -> _Recipe:
    if name == "efficientnet_lite0":
        return _efficientnet_lite0()
    if name == "overfeat":
        return _overfeat()
    known = list_networks()
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=5, cutoff=0.5)
        raise UsageError(
            f"There is no network {name!r}.",
            place="--network",
            expected=f"{known[0]}, {known[1]} or one of {len(known) - 2} torchvision classifiers",
            remedy=f"near ones: {', '.join(near)}" if near else "for example alexnet or resnet50",
        )
    # Weights that the user gives are torchvision's, which want another preprocessing.
    carried = name == "squeezenet1_1" and weights_dir is None and packaged.has_ndf()
    return _torchvision(name, carried)


def _from_state(
    name: str, build: Callable[[], nn.Module], state: dict[str, torch.Tensor], path: Path
) -> tuple[nn.Module, str]:
    module = build()
    apply_state(module, state, name=name, file=path)
    return module, path.name


def _efficientnet_lite0() -> _Recipe:
    build = packaged.build_efficientnet_lite0

    def trained(weights_dir, allow_downloads):
        own = weights_dir is not None and Path(weights_dir).is_file()
        path = Path(weights_dir) if own else packaged.efficientnet_lite0_file()
        return _from_state("efficientnet_lite0", build, read_state(path), path)

    aliases = packaged.LITE0_ALIASES
    return _Recipe(
        build, trained, packaged.LITE0_PREPROCESS, packaged.LITE0_CITATION, aliases, tuple(aliases)
    )


def _overfeat() -> _Recipe:
    def trained(weights_dir, allow_downloads):
        path = find_weights(overfeat.WEIGHT_FILE, None, weights_dir, allow_downloads=False)
        return overfeat.with_weights(path), path.name

    return _Recipe(
        overfeat.OverFeat,
        trained,
        overfeat.PREPROCESS,
        overfeat.CITATION,
        overfeat.ALIASES,
        overfeat.LAYERS,
        torch.contiguous_format,  # the weights stay mapped: no second copy in memory
    )


def _torchvision(name: str, carried: bool) -> _Recipe:
    import torchvision

    enum = torchvision.models.get_model_weights(name)
    # Where there are several, the original ones: those that the literature used.
    weights = enum.__members__.get("IMAGENET1K_V1", enum.DEFAULT)
    transforms = weights.transforms()
    preprocess = Preprocess(
        transforms.crop_size[0],
        tuple(round(255 * mean, 4) for mean in transforms.mean),
        tuple(round(255 * std, 4) for std in transforms.std),
        interpolation=transforms.interpolation.value,
    )
    citation = f"torchvision {torchvision.__version__}, {name}, weights {weights.name}"
    aliases, layers = ALIASES.get(name, {}), DEFAULT_LAYERS.get(name, ())
    if name == "squeezenet1_1":
        aliases = packaged.SQUEEZENET_ALIASES
        layers = packaged.SQUEEZENET_LAYERS
    if carried:
        preprocess, citation = packaged.SQUEEZENET_PREPROCESS, packaged.SQUEEZENET_CITATION

    def build(trained: bool = False) -> nn.Module:
        options = {}
        if name in ("inception_v3", "googlenet"):
            # What the published weights were trained with; their initialisation is slow.
            options = {"transform_input": True, "aux_logits": True, "init_weights": not trained}
        return torchvision.models.get_model(name, weights=None, **options)

    def trained(weights_dir, allow_downloads):
        if carried:
            path = packaged.squeezenet_file()
            state = packaged.read_squeezenet(path)
        else:
            file_name = weights.url.rpartition("/")[2]
            path = find_weights(file_name, weights.url, weights_dir, allow_downloads)
            state = read_state(path)
        return _from_state(name, lambda: build(trained=True), state, path)

    return _Recipe(build, trained, preprocess, citation, aliases, layers)
