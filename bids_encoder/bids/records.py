"""What reading a dataset gives: the dataset, its derivatives, its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from bids_encoder.bids.links import refuse_links_out
from bids_encoder.bids.names import join_entities

GIFTI, CIFTI = ".gii", ".dtseries.nii"
CIFTI_MAPS = ".dscalar.nii"


def is_cifti(path: Path) -> bool:
    """Whether a file is called CIFTI: a dense series, or dense maps."""
    return path.name.endswith((CIFTI, CIFTI_MAPS))


@dataclass(frozen=True)
class Derivative:
    """A folder of preprocessed data, under the name that BIDS URIs will use."""

    name: str
    root: Path
    description: dict[str, Any]
    layout: Any  # bids.layout.BIDSLayout


@dataclass(frozen=True)
class Dataset:
    """A raw dataset and its derivatives, indexed for the participants asked for."""

    root: Path
    description: dict[str, Any]
    layout: Any  # bids.layout.BIDSLayout
    derivatives: tuple[Derivative, ...] = ()
    follow_links: bool = False  # out of the dataset

    def refuse_links_out(self, paths: Iterable[Path]) -> None:
        """Raise DataError where a file is a link out of the dataset, unless they are followed."""
        if not self.follow_links:
            roots = [self.root, *(derivative.root for derivative in self.derivatives)]
            refuse_links_out(paths, roots)


@dataclass(frozen=True)
class Betas:
    """Responses that were estimated elsewhere: maps in files."""

    images: tuple[Path, ...]  # one with all maps, or one a map; on surfaces of one hemisphere
    maps: tuple[int, ...]  # which of the maps are of this run, one a presentation
    table: Path  # what says what they show
    n_rows: int  # how many maps there should be in all
    key: str | None = None  # name of the numbers in an HDF5 file
    hemispheres: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # GIFTI: "L", "R"
    tables: tuple[Path, ...] = ()  # the table that each of the maps has its line in
    is_timed: bool = True  # whether the order of the maps is their order in time

    @property
    def on_surfaces(self) -> bool:
        """Whether they are GIFTI or CIFTI."""
        return bool(self.hemispheres) or is_cifti(self.images[0])

    @property
    def files(self) -> tuple[Path, ...]:
        """All of its images."""
        return tuple(chain.from_iterable(self.hemispheres.values())) or self.images


@dataclass(frozen=True)
class Run:
    """What a run of BOLD and a run of betas have in common: which files, which entities."""

    bold: Path  # the image to be read; on surfaces the first of `hemispheres`
    entities: dict[str, str]  # of the raw run: short names, labels as written, in file-name order
    events: Path  # the table that applies: from the raw dataset, or that of the betas
    mask: Path | None  # brain mask on the same grid
    space: str | None  # None: the run's own grid
    resolution: str | None  # label of the res- entity
    preprocessed: bool
    density: str | None = None  # label of the den- entity
    hemispheres: Mapping[str, Path] = field(default_factory=dict)  # GIFTI: "L", "R"

    @property
    def name(self) -> str:
        """E.g. ``sub-01_ses-1_task-x_run-1``."""
        return join_entities(self.entities)

    @property
    def images(self) -> tuple[Path, ...]:
        """All files of its BOLD; of betas the first of each hemisphere."""
        return tuple(self.hemispheres.values()) or (self.bold,)

    @property
    def form(self) -> str | None:
        """What its images are: "gifti", "cifti"; None: NIfTI volumes."""
        if self.hemispheres:
            return "gifti"
        return "cifti" if is_cifti(self.bold) else None

    @property
    def session(self) -> str | None:
        return self.entities.get("ses")

    @property
    def task(self) -> str:
        return self.entities["task"]


@dataclass(frozen=True, kw_only=True)
class BoldRun(Run):
    """One run of BOLD."""

    repetition_time: float | None  # seconds; None when no sidecar says
    start_time: float  # seconds from the onset of a volume to the moment its values stand for
    start_time_source: str = "StartTime"  # what says so
    confounds: Path | None  # table of confounds


@dataclass(frozen=True, kw_only=True)
class BetasRun(Run):
    """One run of responses that were estimated elsewhere, in place of BOLD."""

    betas: Betas
