"""Where features come from: a network that is run, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.file_names import check_layer_labels
from bids_encoder.errors import BidsEncoderError, UsageError
from bids_encoder.features.external import ExternalFeatures, open_features
from bids_encoder.features.extract import extract, recall
from bids_encoder.features.extractors import extractor_of
from bids_encoder.features.pyramids import MOTION_ENERGY, PYRAMIDS, Pyramid, make_pyramid
from bids_encoder.features.store import FeatureStore
from bids_encoder.networks.network import Network
from bids_encoder.networks.registry import load_network
from bids_encoder.stimuli.images import BLANK
from bids_encoder.stimuli.segments import Segment


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """A network or a file of features.

    Attributes
    ----------
    name : str
        What results are named after.
    layers : tuple of str
        From shallow to deep.
    identity : str
        Changes when the features of the same pictures would; see :meth:`identity_of`.
    citation : str
    origin : Network, Pyramid or ExternalFeatures
    """

    name: str
    layers: tuple[str, ...]
    identity: str
    citation: str
    origin: Network | Pyramid | ExternalFeatures

    def identity_of(self, stimuli: Iterable[str], *, blank: bool = False) -> str:
        """Changes when the features of these stimuli, or of an empty screen, would.

        What a network makes of stimuli changes with their content too, which their own stamps
        tell; features computed elsewhere are themselves what is read.
        """
        if isinstance(self.origin, ExternalFeatures):
            wanted = [*stimuli, *([BLANK] if blank else [])]
            return open_features(self.origin.path, wanted, self.layers).identity
        return self.identity

    @property
    def sizes(self) -> dict[str, int]:
        """Number of features of each layer, where that is known; else of the largest possible."""
        if isinstance(self.origin, ExternalFeatures):
            return dict(self.origin.sizes)
        return dict(extractor_of(self.origin).layout.sizes)

    @property
    def is_network(self) -> bool:
        """Whether features are computed, not read from a file."""
        return not isinstance(self.origin, ExternalFeatures)

    def check_stimuli(self, stimuli: Iterable[Path | Segment]) -> None:
        """Refuse motion energy where nothing moves.

        Raises
        ------
        UsageError
            There is no film among the stimuli.
        """
        still = not any(isinstance(one, Segment) for one in stimuli)
        if still and isinstance(self.origin, Pyramid) and self.name == MOTION_ENERGY:
            raise UsageError(
                "Motion energy is for films; here only pictures are shown.",
                place="--network motion_energy",
                found="no film among the stimuli",
                remedy="give --network gabor: filters for pictures that stand still",
            )

    def check_new(self, pictures: Iterable[str]) -> None:
        """Refuse new pictures that cannot be shown to the models.

        Parameters
        ----------
        pictures : iterable of str
            Ids of pictures from elsewhere.

        Raises
        ------
        UsageError
            Features are motion energy, which pictures have not.
        DataError
            Features were computed elsewhere, and those of a picture are not among them.
        """
        if isinstance(self.origin, ExternalFeatures):
            open_features(self.origin.path, list(pictures), self.layers)
        elif isinstance(self.origin, Pyramid) and self.name == MOTION_ENERGY:
            raise UsageError(
                "Motion energy is for films: models of it predict nothing for pictures.",
                place="--synthesize",
                found="--network motion_energy",
                remedy="leave out --synthesize, or give --network gabor: filters for pictures",
            )

    def store(
        self,
        stimuli: Mapping[str, Path | Segment],
        *,
        blank: bool,
        cache_dir: Path,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> FeatureStore:
        """Features of these stimuli, and of an empty screen if ``blank``."""
        if isinstance(self.origin, ExternalFeatures):
            wanted = [*stimuli, *([BLANK] if blank else [])]
            return open_features(self.origin.path, wanted, self.layers)
        shown: dict[str, Path | Segment | None] = {**stimuli, **({BLANK: None} if blank else {})}
        return extract(self.origin, shown, cache_dir=cache_dir, on_progress=on_progress)

    def described(self, layer: str) -> dict[str, object]:
        """All that the features of a layer depend on but the stimulus."""
        if isinstance(self.origin, ExternalFeatures):
            return self.origin.origin(layer)
        return extractor_of(self.origin).layout.origin(layer)

    def recall(self, stamps: Mapping[str, str], folder: Path, cache_dir: Path) -> FeatureStore:
        """Features of stimuli that a model was fitted on: cached, or made again from the files.

        Parameters
        ----------
        stamps : mapping of stimulus id to checksum
            As the model has them.
        folder : Path
            Of the stimuli; those that it lacks must be in the cache.
        cache_dir : Path
        """
        if isinstance(self.origin, ExternalFeatures):
            return open_features(self.origin.path, list(stamps), self.layers)
        return recall(self.origin, stamps, folder, cache_dir=cache_dir)


def open_source(settings: Settings, stimuli: Iterable[str], device: str) -> FeatureSource:
    """Load the network, or open the file of features, that the settings name.

    Parameters
    ----------
    settings : Settings
    stimuli : iterable of str
        Ids of the stimuli whose features will be needed.
    device : str
        "cpu" or "cuda".
    """
    chosen = settings.network
    if chosen.features is not None:
        file = open_features(chosen.features, list(stimuli), chosen.layers or None)
        check_layer_labels(file.network, file.layers)
        return FeatureSource(
            file.network, file.layers, file.identity, f"file {file.path.name}", file
        )
    if chosen.network in PYRAMIDS:
        return _open_pyramid(settings)
    try:
        network = load_network(
            chosen.network,
            layers=chosen.layers,
            untrained=chosen.untrained,
            seed=chosen.network_seed,
            weights_dir=chosen.weights_dir,
            allow_downloads=chosen.allow_downloads,
            device=device,
        )
    except BidsEncoderError as error:
        error.everybody = True
        raise
    check_layer_labels(network.name, network.layers)
    name = f"{network.name}_untrained" if chosen.untrained else network.name
    return FeatureSource(
        name, network.layers, extractor_of(network).layout.key, network.citation, network
    )


def _open_pyramid(settings: Settings) -> FeatureSource:
    chosen = settings.network
    if chosen.untrained or chosen.weights_dir is not None:
        raise UsageError(
            f"{chosen.network} has no weights: its filters are fixed.",
            place="--untrained" if chosen.untrained else "--weights-dir",
            remedy="leave the option out, or name a network",
        )
    fps = settings.stimuli.frames_per_second
    pyramid = make_pyramid(chosen.network, chosen.layers, fps)
    check_layer_labels(pyramid.name, pyramid.layers)
    identity = pyramid.layout.key
    return FeatureSource(pyramid.name, pyramid.layers, identity, pyramid.citation, pyramid)
