"""Which files say where regions are: segmentations and masks among the derivatives."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.names import BidsFile, natural, same_number
from bids_encoder.bids.records import Dataset, Derivative, Run
from bids_encoder.bids.selection import IMAGES, files_of
from bids_encoder.bids.sidecars import Listing, inherited_file, inherited_metadata
from bids_encoder.derivatives.file_names import label
from bids_encoder.regions.label_tables import read_labels

logger = logging.getLogger(__name__)

# Masks that say what is brain, or what was analysed, not where a region is.
_NO_REGIONS = frozenset(
    {"brain", "head", "ribbon", "analysis", "adaptiveGoodSignal", "confounds", "signal"}
)
_RUN = ("ses", "task", "acq", "dir", "run")


@dataclass(frozen=True)
class RegionFiles:
    """Files that together say where the regions of one atlas are.

    Attributes
    ----------
    atlas : str
        What files about it are named after: a BIDS label.
    images : tuple of Path
        One label image or probabilistic atlas, or one mask a region.
    names : dict of int to str, or None
        Region by number: the value in a label image, the volume (from 1) of a
        probabilistic atlas, the place (from 1) in ``images`` of a mask. None where no
        table says.
    source : str
        Where it comes from, in words.
    masks : bool
        ``images`` are masks.
    asked : bool
        Named by the user; otherwise found among the derivatives.
    sides : tuple of str or None
        On surfaces: the hemisphere of each image, None for one that has both.
    """

    atlas: str
    images: tuple[Path, ...]
    names: Mapping[int, str] | None
    source: str
    masks: bool = False
    asked: bool = False
    sides: tuple[str | None, ...] = ()


def find_region_files(dataset: Dataset, participant: str, runs: Sequence[Run]) -> list[RegionFiles]:
    """Segmentations (``dseg``) and masks of regions in the space of the runs.

    Files of the anatomy without ``space-`` are in the participant's own space, T1w. A
    segmentation made for single runs counts where one of these runs is analysed. Left
    out are brain masks and segmentations without ``desc-``, ``atlas-`` or ``seg-`` that
    have no table of labels (tissues).

    Parameters
    ----------
    dataset : Dataset
    participant : str
        Label without ``sub-``.
    runs : sequence of Run
        Those of one analysis: all in one space.

    Raises
    ------
    MissingInputError
        The content of a file is not fetched.
    DataError
        A table of labels is wrong.
    """
    found: dict[tuple[str, str], list[RegionFiles]] = {}
    listing: Listing = {}
    elsewhere: set[str] = set()
    for derivative in dataset.derivatives:
        for suffix, collect in (("dseg", _segmentations), ("mask", _masks)):
            query = {"suffix": suffix, "extension": list(IMAGES)}
            files = [
                file
                for file in files_of(derivative.layout, participant, query)
                if _is_region(file, dataset, derivative, listing)
            ]
            here = [file for file in files if _fits(file, runs)]
            elsewhere |= {_space(file) or "each run's own" for file in files if file not in here}
            preferred = _preferred(here, runs[0])
            tables = (_table(file, derivative, listing) for file in preferred)
            dataset.refuse_links_out([*(file.path for file in preferred), *filter(None, tables)])
            for one in collect(preferred, derivative, listing):
                # Of several pipelines that have an atlas, the one given first is taken.
                found.setdefault((suffix, one.atlas), []).append(one)
    if elsewhere and not found:
        logger.info(
            "The derivatives have regions of sub-%s, but not in the space of the BOLD (%s): %s.",
            participant,
            runs[0].space or "its own",
            ", ".join(sorted(elsewhere)),
        )
    return [files[0] for files in found.values()]


def _is_region(file: BidsFile, dataset: Dataset, derivative: Derivative, listing: Listing) -> bool:
    if file.suffix == "dseg":
        return bool(atlas_of(file)) or _table(file, derivative, listing) is not None
    if file.entities.keys().isdisjoint({"label", "desc"}):
        return False
    if {file.entities.get("label"), file.entities.get("desc")} & _NO_REGIONS:
        return False
    about = inherited_metadata(
        file.path, derivative.root, listing=listing, check=dataset.refuse_links_out
    )
    return about.get("Type") != "Brain"


def _space(file: BidsFile) -> str | None:
    """None: the grid of the run that the file is named after."""
    return file.entities.get("space") or ("T1w" if file.path.parent.name == "anat" else None)


def _fits(file: BidsFile, runs: Sequence[Run]) -> bool:
    if _space(file) != runs[0].space:
        return False
    if file.path.parent.name == "anat" and runs[0].space is not None:
        return True
    return any(
        all(_same(file.entities[name], run.entities.get(name)) for name in _named(file))
        for run in runs
    )


def _named(file: BidsFile) -> list[str]:
    return [name for name in _RUN if name in file.entities]


def _same(one: str, other: str | None) -> bool:
    return other is not None and same_number(one) == same_number(other)


def atlas_of(file: BidsFile) -> str:
    """What a name calls its atlas: ``atlas-A_desc-B`` -> ``A+B``; empty where it says nothing."""
    labels = [file.entities[name] for name in ("seg", "atlas", "desc") if name in file.entities]
    return "+".join(labels)


def _preferred(files: Sequence[BidsFile], run: Run) -> list[BidsFile]:
    """The resolution of the BOLD first, then names without a run, then by name."""
    return sorted(
        files,
        key=lambda file: (
            file.entities.get("res") != run.resolution,
            len(_named(file)),
            natural(file.path.name),
        ),
    )


def _segmentations(
    files: Sequence[BidsFile], derivative: Derivative, listing: Listing
) -> list[RegionFiles]:
    first: dict[str, BidsFile] = {}
    for file in files:
        first.setdefault(atlas_of(file) or "dseg", file)
    require_content([file.path for file in first.values()], "segmentation")
    return [
        RegionFiles(
            label(atlas),
            (file.path,),
            read_labels(table) if (table := _table(file, derivative, listing)) else None,
            f"{derivative.name}: {file.path.name}",
        )
        for atlas, file in first.items()
    ]


def _table(file: BidsFile, derivative: Derivative, listing: Listing) -> Path | None:
    return inherited_file(file.path, derivative.root, "dseg", ".tsv", listing=listing)


def _masks(
    files: Sequence[BidsFile], derivative: Derivative, listing: Listing
) -> list[RegionFiles]:
    """Masks that differ in ``label-`` only are one atlas, and so are all others together."""
    atlases: dict[str, dict[str, Path]] = {}
    for file in files:
        named = [file.entities[name] for name in ("hemi", "label") if name in file.entities]
        own = "label" in file.entities
        atlas = atlas_of(file) if own else ""
        region = " ".join(named if own else [*named, file.entities["desc"]])
        atlases.setdefault(atlas or "masks", {}).setdefault(region, file.path)
    made = []
    for atlas, masks in atlases.items():
        regions = sorted(masks, key=natural)
        paths = tuple(masks[region] for region in regions)
        require_content(paths, "mask")
        names = dict(enumerate(regions, start=1))
        source = f"{derivative.name}: {len(paths)} mask{'s' * (len(paths) > 1)}"
        made.append(RegionFiles(label(atlas), paths, names, source, masks=True))
    return made
