"""What an experiment that nobody ran is made with: models, and a network to show things to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bids_encoder.analysis.identity import begin_analysis
from bids_encoder.analysis.measured_data import MeasuredData
from bids_encoder.analysis.plan import Plan
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.counted import Counted, counted_in
from bids_encoder.derivatives.provenance import content_stamp
from bids_encoder.derivatives.read import SavedAnalysis, places_in_words
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import Analysis, start_analysis
from bids_encoder.encoding.penalties import make_grid
from bids_encoder.errors import UsageError
from bids_encoder.experiments.saved_models import SavedModels
from bids_encoder.features.external import ExternalFeatures
from bids_encoder.features.extract import extract
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.runtime import console
from bids_encoder.stimuli.generated import Drawn
from bids_encoder.surfaces.find_meshes import find_again
from bids_encoder.surfaces.read_meshes import count_vertices, load_meshes


@dataclass(frozen=True, eq=False)
class ExperimentContext:
    """What an experiment may use.

    Attributes
    ----------
    settings : Settings
    datasets : mapping of str to Path
        As :func:`bids_encoder.derivatives.dataset_description.init_dataset` returns them.
    source : FeatureSource
    device : str
        "cpu" or "cuda".
    saved : SavedModels
    data : MeasuredData or None
        Of the analysis whose models these are; None with ``--reuse-models``.
    """

    settings: Settings
    datasets: Mapping[str, Path]
    source: FeatureSource
    device: str
    saved: SavedModels
    data: MeasuredData | None = None

    @property
    def plan(self) -> Plan | None:
        """Of the analysis whose models these are; None with ``--reuse-models``."""
        return None if self.data is None else self.data.plan

    @cached_property
    def analysis(self) -> Analysis:
        """That whose models these are, of its plan; only where there is one."""
        assert self.plan is not None
        return begin_analysis(self.settings, self.datasets, self.plan, self.source)

    @property
    def places(self) -> str:
        """What a place is called that has a value."""
        return places_in_words(self.saved.names.get("form"))

    @cached_property
    def meshes(self) -> dict[str, Mesh]:
        """Geometry of the hemispheres that maps are smoothed along; none in volumes.

        Raises
        ------
        DataError
            A mesh is damaged.
        """
        grid = self.saved.grid
        if not isinstance(grid, PartsGrid):
            return {}
        if self.plan is not None:
            surfaces = self.plan.surfaces
            return {} if surfaces is None else load_meshes(surfaces.measured)
        root, names = self.datasets[""], self.saved.names
        named = sidecar_of(file_names.sidecars(root, "mask", names)[-1]).get("Surfaces")
        folders = [path for name, path in self.datasets.items() if name not in ("", "raw")]
        sizes = {side: sheet.n_vertices for side, (sheet, _) in grid.sheets.items()}
        files = find_again(
            root, named if isinstance(named, dict) else {}, folders, names, sizes,
            count_vertices,
        )  # fmt: skip
        return load_meshes(files.measured)

    @cached_property
    def counted(self) -> Counted | None:
        """The voxels that the models predict better than chance; None without the analysis."""
        root, names = self.datasets[""], self.saved.names
        sidecar = sidecar_of(file_names.sidecars(root, "scores", names)[-1])
        if [sidecar.get("SettingsHash")] != self.saved.hashes or "Layers" not in sidecar:
            return None
        written = SavedAnalysis(root, {**names, "form": sidecar.get("MapFormat")}, sidecar)
        return counted_in(written, self.saved.grid)

    @property
    def penalties(self) -> np.ndarray:
        """The grid of penalties that the models were chosen from."""
        names = {**self.saved.names, "layer": self.saved.layers[0]}
        side = sidecar_of(file_names.sidecars(self.datasets[""], "penalty", names)[-1])
        return np.array(side.get("Penalties") or make_grid(self.settings.encoding.penalties))

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
            settings={
                **settings,
                "layers": list(self.layers),
                "models": self.saved.hashes,
                "counted": self.counted and content_stamp([self.counted.rate, self.counted.where]),
            },
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
