"""Preprocessed BOLD, with its mask and confounds, in derivatives (fMRIPrep's names)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_encoder.bids.filters import Matcher
from bids_encoder.bids.names import PROCESSING_ENTITIES, BidsFile, join_entities
from bids_encoder.bids.records import CIFTI, GIFTI, Dataset, Derivative
from bids_encoder.bids.selection import (
    BOLD,
    IMAGES,
    Selection,
    by_run,
    files_of,
    first_of,
    matching,
    with_task,
)
from bids_encoder.bids.spaces import choose_space
from bids_encoder.errors import DataError, MissingInputError, NothingSelectedError

logger = logging.getLogger(__name__)

_PREPROCESSED = {**BOLD, "desc": "preproc"}
# fMRIPrep's names of BOLD on surfaces have no desc-.
_ON_SURFACES = {
    "suffix": "bold",
    "extension": [".func.gii", ".gii", CIFTI],
    "desc": ["preproc", None],
}
# What else belongs to a run. fMRIPrep wrote "regressors" before version 20.2.
BESIDE: Mapping[str, Mapping] = {
    "mask": {"suffix": "mask", "extension": list(IMAGES), "desc": "brain"},
    "confounds": {
        "suffix": ["timeseries", "regressors"],
        "extension": ".tsv",
        "desc": "confounds",
    },
}


def find_preprocessed(
    dataset: Dataset, selection: Selection
) -> list[tuple[BidsFile, Derivative]] | None:
    """All preprocessed BOLD of the participant, with the derivative that each is in.

    Returns
    -------
    list or None
        None where the derivatives hold no BOLD at all, only regions for example: then
        the raw BOLD is meant.

    Raises
    ------
    MissingInputError
        No derivative has a folder of the participant.
    NothingSelectedError
        There is BOLD, but none that can be read.
    """
    participant = selection.participant
    known = [
        derivative
        for derivative in dataset.derivatives
        if (derivative.root / f"sub-{participant}").is_dir()
    ]
    if not known:
        raise _unknown_participant(dataset, participant)
    query = selection.query("bold")
    found = [
        (file, derivative)
        for derivative in known
        for kind in (_PREPROCESSED, _ON_SURFACES)
        for file in with_task(matching(derivative.layout, participant, kind, query))
        if file.extension in (IMAGES if kind is _PREPROCESSED else _ON_SURFACES["extension"])
    ]
    if found:
        return found
    others = [
        file
        for derivative in known
        for file in files_of(derivative.layout, participant, {"suffix": "bold"})
        if file.extension != ".json"
    ]
    if not others:
        return None
    raise NothingSelectedError(
        f"The derivatives hold no preprocessed BOLD of sub-{participant} that can be read.",
        file=others[0].path.parent,
        found=", ".join(sorted({file.path.name for file in others})[:5]),
        expected=f"NIfTI images, or GIFTI or CIFTI time series, with {_PREPROCESSED | {**query}}",
        remedy="say how the files are named with --bids-filter-file, or leave -d out",
    )


def choose_preprocessed(
    dataset: Dataset,
    selection: Selection,
    found: list[tuple[BidsFile, Derivative]],
    raw: list[BidsFile],
) -> list[tuple[BidsFile, BidsFile, Derivative, dict[str, Path]]]:
    """One preprocessed file a run, in the space asked for.

    Returns
    -------
    list of (BidsFile, BidsFile, Derivative, dict of str to Path)
        The run as the raw dataset names it, the file to be read, where that is, and the
        files of its hemispheres, where it lies on surfaces.

    Raises
    ------
    NothingSelectedError
        No file is in that space.
    MissingInputError
        A run has one hemisphere only.
    """
    home = {file.path: derivative for file, derivative in found}
    files = [file for file, _ in found]
    runs = by_run(choose_space(selection.select(files, files), selection.space))
    raw_runs = by_run(raw)
    _warn_of_unprocessed(dataset, selection, raw_runs, runs)
    chosen = []
    for key, candidates in runs.items():
        # Of several pipelines that have the run, the one given first is taken.
        derivative = home[candidates[0].path]
        candidates = [one for one in candidates if home[one.path] is derivative]
        if candidates[0].extension.endswith(GIFTI):
            asked = bool({"hemi", "hemisphere"} & selection.query("bold").keys())
            both = by_hemisphere(candidates, one_is_enough=asked)
            sides = {side: first_of(files) for side, files in both.items()}
            file = next(iter(sides.values()))
        else:
            sides, file = {}, first_of(candidates)
        named = raw_runs[key][0] if key in raw_runs else _raw_name(dataset.root, file)
        paths = {side: one.path for side, one in sides.items()}
        chosen.append((named, file, derivative, paths))
    return chosen


def by_hemisphere(
    files: Sequence[BidsFile], kind: str = "bold", *, one_is_enough: bool = False
) -> dict[str, list[BidsFile]]:
    """GIFTI files by hemisphere: "L", "R".

    Parameters
    ----------
    files : sequence of BidsFile
        Of one run.
    kind : str
        What a BIDS filter file calls them.
    one_is_enough : bool
        One hemisphere was asked for.

    Raises
    ------
    DataError
        A name does not say which hemisphere it is.
    MissingInputError
        There is one hemisphere only.
    """
    sides = {
        side: mine
        for side in ("L", "R")
        if (mine := [file for file in files if file.entities.get("hemi") == side])
    }
    if not sides:
        raise DataError(
            "The name of this GIFTI file does not say which hemisphere it is.",
            file=files[0].path,
            expected="hemi-L or hemi-R in its name",
            remedy="rename it, or leave it out with --bids-filter-file",
        )
    if len(sides) < 2 and not one_is_enough:
        [(side, [there, *_])] = sides.items()
        missing = "R" if side == "L" else "L"
        lacking = there.path.name.replace(f"hemi-{side}", f"hemi-{missing}")
        raise MissingInputError(
            "A run on surfaces has one hemisphere only.",
            # Other names than those of BIDS do not say what the missing file is called.
            file=there.path.with_name(lacking) if lacking != there.path.name else there.path.parent,
            found=there.path.name,
            expected="one file for each hemisphere",
            remedy="add the file, or analyse one hemisphere of all runs with a --bids-filter-file: "
            f'{{"{kind}": {{"hemi": "{side}"}}}}',
        )
    return sides


def find_beside(
    kind: str, bold: BidsFile, derivative: Derivative, candidates: list[BidsFile]
) -> Path | None:
    """The mask or confounds of a preprocessed run, among the candidates of its derivative."""
    fitting = [
        file
        for file in candidates
        if file.run_key == bold.run_key and (kind == "confounds" or _grid(file) == _grid(bold))
    ]
    if not fitting:
        logger.info("%s has no %s in %s.", bold.path.name, kind, derivative.root)
        return None
    return first_of(sorted(fitting, key=lambda file: file.suffix, reverse=True)).path


def _grid(file: BidsFile) -> tuple[str | None, ...]:
    return tuple(file.entities.get(name) for name in ("space", "cohort", "res"))


def _unknown_participant(dataset: Dataset, participant: str) -> MissingInputError:
    roots = [derivative.root for derivative in dataset.derivatives]
    inside = [
        folder.parent
        for root in roots
        for folder in sorted(root.glob(f"*/sub-{participant}"))
        if folder.parent != dataset.root
    ]
    return MissingInputError(
        f"No derivative has sub-{participant}.",
        file=", ".join(str(root / f"sub-{participant}") for root in roots),
        remedy=f"give the folder of the pipeline: -d {inside[0]}"
        if inside
        else "preprocess this participant, leave it out, or leave -d out to take the raw BOLD",
    )


def _warn_of_unprocessed(dataset, selection, raw_runs, runs) -> None:
    matcher = Matcher(dataset.layout)
    not_raw = {*PROCESSING_ENTITIES, "suffix", "extension", "datatype"}
    query = {
        entity: value
        for entity, value in selection.query("bold").items()
        if matcher.short_name(entity) not in not_raw
    }
    for key, files in raw_runs.items():
        if key not in runs and selection.wants(files[0]) and matcher.fits(files[0], query):
            logger.warning(
                "%s is left out: the derivatives do not have it in this space.",
                join_entities(files[0].entities),
            )


def _raw_name(root: Path, file: BidsFile) -> BidsFile:
    """Where the raw run of a preprocessed file would lie."""
    entities = {
        name: label for name, label in file.entities.items() if name not in PROCESSING_ENTITIES
    }
    folders = [f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities]
    path = root.joinpath(*folders, "func", f"{join_entities(entities)}_bold.nii.gz")
    return BidsFile(path, entities, "bold", ".nii.gz")
