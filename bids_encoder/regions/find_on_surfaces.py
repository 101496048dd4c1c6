"""Which files say where regions are on surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.names import BidsFile, natural
from bids_encoder.bids.records import Dataset, Run
from bids_encoder.bids.selection import files_of
from bids_encoder.derivatives.file_names import label
from bids_encoder.errors import MissingInputError, UsageError
from bids_encoder.regions.find_in_volumes import RegionFiles, atlas_of

GIFTI_LABELS, CIFTI_LABELS, ANNOTATION = ".label.gii", ".dlabel.nii", ".annot"
EXTENSIONS = (GIFTI_LABELS, CIFTI_LABELS, ANNOTATION)


def find_surface_regions(
    dataset: Dataset, participant: str, runs: Sequence[Run]
) -> list[RegionFiles]:
    """GIFTI labels of both hemispheres, and CIFTI dense labels, in the space of the runs.

    Parameters
    ----------
    dataset, participant, runs
        As for :func:`bids_encoder.regions.find_in_volumes.find_region_files`.

    Raises
    ------
    MissingInputError
        The content of a file is not fetched.
    DataError
        A file is a link that leads out of the dataset.
    """
    space = None if runs[0].space == "fsnative" else runs[0].space
    sides = set(runs[0].hemispheres) or {"L", "R"}
    found: dict[str, RegionFiles] = {}
    for derivative in dataset.derivatives:
        atlases: dict[str, dict[str | None, BidsFile]] = {}
        for extension in (GIFTI_LABELS, CIFTI_LABELS):
            files = files_of(derivative.layout, participant, {"extension": extension})
            files = [file for file in files if file.entities.get("space") == space]
            dataset.refuse_links_out(file.path for file in files)
            for file in sorted(files, key=lambda one: natural(one.path.name)):
                side = file.entities.get("hemi")
                if side in sides or side is None:
                    atlases.setdefault(atlas_of(file) or file.suffix, {}).setdefault(side, file)
        for atlas, by_side in atlases.items():
            if not sides <= by_side.keys() and None not in by_side:
                continue
            kept: dict[str | None, BidsFile] = (
                {None: by_side[None]}
                if None in by_side
                else {side: by_side[side] for side in sorted(sides)}
            )
            made = _region_files(atlas, {side: file.path for side, file in kept.items()})
            first = next(iter(kept.values()))
            found.setdefault(atlas, made(f"{derivative.name}: {first.path.name}", asked=False))
    return list(found.values())


def open_surface_atlas(path: Path, file: BidsFile, atlas: str) -> RegionFiles:
    """An atlas that the user names, with the file of the other hemisphere beside it.

    Raises
    ------
    MissingInputError
        The other hemisphere's file is not there.
    UsageError
        The name does not say which hemisphere it is.
    """
    if file.path.name.endswith(CIFTI_LABELS):
        return _region_files(atlas, {None: path})(path.name, asked=True)
    other = partner(path)
    if other is None:
        raise UsageError(
            "The name of an atlas on surfaces does not say which hemisphere it is.",
            file=path,
            place="--atlas",
            expected="hemi-L or hemi-R in its name, or lh. or rh. at its beginning",
            remedy="rename it",
        )
    side, beside = other
    if not beside.is_file():
        raise MissingInputError(
            "The other hemisphere of an atlas is not there.",
            file=beside,
            place="--atlas",
            expected=f"a file beside {path.name}",
            remedy="put both hemispheres into one folder, under names that differ in this only",
        )
    files = {side: path, "R" if side == "L" else "L": beside}
    return _region_files(atlas, dict(sorted(files.items())))(path.name, asked=True)


def partner(path: Path) -> tuple[str, Path] | None:
    """Which hemisphere a file's name is of, and the name of the other one's file."""
    for side, mine, other in (
        ("L", "hemi-L", "hemi-R"),
        ("R", "hemi-R", "hemi-L"),
        ("L", "lh.", "rh."),
        ("R", "rh.", "lh."),
    ):
        if mine.endswith(".") and not path.name.startswith(mine):
            continue
        if mine in path.name:
            return side, path.with_name(path.name.replace(mine, other, 1))
    return None


def _region_files(atlas: str, files: dict[str | None, Path]):
    require_content(files.values(), "atlas")

    def made(source: str, *, asked: bool) -> RegionFiles:
        return RegionFiles(
            label(atlas), tuple(files.values()), None, source, asked=asked, sides=tuple(files)
        )

    return made
