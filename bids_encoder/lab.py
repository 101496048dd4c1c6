"""What an experiment that nobody ran is made with: models, and a network to show things to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_encoder import console
from bids_encoder.bids.derivatives import Analysis, start_analysis
from bids_encoder.errors import UsageError
from bids_encoder.features.external import ExternalFeatures
from bids_encoder.features.extract import extract
from bids_encoder.features.store import FeatureStore
from bids_encoder.models import SavedModels
from bids_encoder.plan import Plan
from bids_encoder.settings import Settings
from bids_encoder.source import Source
from bids_encoder.stimuli.drawn import Drawn


@dataclass(frozen=True, eq=False)
class Lab:
    """What an experiment may use.

    Attributes
    ----------
    settings : Settings
    datasets : mapping of str to Path
        As :func:`bids_encoder.bids.description.init_dataset` returns them.
    source : Source
    device : str
        "cpu" or "cuda".
    saved : SavedModels
    plan : Plan or None
        Of the analysis whose models these are; None with ``--reuse-models``.
    """

    settings: Settings
    datasets: Mapping[str, Path]
    source: Source
    device: str
    saved: SavedModels
    plan: Plan | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose predictions are averaged."""
        chosen = self.settings.synthesis.synthesis_layers
        return tuple(layer for layer in self.saved.layers if not chosen or layer in chosen)

    def start(self, **settings: object) -> Analysis:
        """Begin an analysis whose sources are the models, with settings of its own."""
        return start_analysis(
            self.datasets,
            self.saved.names,
            settings={**settings, "layers": list(self.layers), "models": self.saved.hashes},
            sources=self.saved.paths,
        )

    def show(self, pictures: Mapping[str, Path | Drawn | None]) -> FeatureStore:
        """Show pictures to the network.

        Raises
        ------
        UsageError
            There is none: features were computed elsewhere.
        MissingInputError, DataError, OutputError
            As :func:`bids_encoder.features.extract.extract` raises them.
        """
        if isinstance(self.source.origin, ExternalFeatures):
            raise UsageError(
                "New pictures cannot be shown to a network that is not here.",
                place="--features",
                found=self.source.citation,
                remedy="fit with --network",
            )
        cache = self.settings.resources.work_dir
        with console.progress("features", "pictures") as bar:
            return extract(self.source.origin, pictures, cache_dir=cache, on_progress=bar)
