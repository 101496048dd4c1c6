"""Which files make up the runs of a participant.

Raw and preprocessed files belong together when the entities that processing leaves
alone are the same (`names.BidsFile.run_key`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from bids_encoder.bids.filters import Matcher
from bids_encoder.bids.names import BidsFile, join_entities, natural
from bids_encoder.bids.preprocessed import (
    BESIDE,
    choose_preprocessed,
    find_beside,
    find_preprocessed,
)
from bids_encoder.bids.records import CIFTI, BoldRun, Dataset, Derivative
from bids_encoder.bids.selection import (
    BOLD,
    Selection,
    by_run,
    files_of,
    first_of,
    matching,
    with_task,
)
from bids_encoder.bids.sidecars import (
    Listing,
    inherited_file,
    inherited_metadata,
    repetition_time,
)
from bids_encoder.bids.timing import reference_time
from bids_encoder.errors import DataError, MissingInputError, NothingSelectedError

logger = logging.getLogger(__name__)

# The run as the raw dataset names it, the file to be read, the derivative it is in, and its
# hemispheres where it lies on surfaces.
Source = tuple[BidsFile, BidsFile, Derivative | None, Mapping[str, Path]]


def collect_runs(dataset: Dataset, selection: Selection) -> list[BoldRun]:
    """`dataset.find_runs`, before it checks that the content of all files is there."""
    raw = with_task(
        file
        for file in files_of(dataset.layout, selection.participant, BOLD)
        # Phase images come beside the magnitude that is analysed.
        if file.entities.get("part", "mag") == "mag"
    )
    found = find_preprocessed(dataset, selection) if dataset.derivatives else None
    if found is not None:
        sources: list[Source] = [*choose_preprocessed(dataset, selection, found, raw)]
    else:
        if selection.space is not None:
            raise _no_space(dataset, selection)
        sources = _choose_raw(dataset, selection, raw)
        logger.warning(
            "No preprocessed BOLD of sub-%s: the raw BOLD is analysed, without correction for "
            "motion or distortion. fMRIPrep derivatives are given with -d.",
            selection.participant,
        )
    sources = sorted(sources, key=lambda source: natural(join_entities(source[0].entities)))
    listing: Listing = {}
    events = _find_events(dataset, sources, selection.query("events"), listing)
    beside = _candidates_beside(sources, selection)
    sources = [source for source in sources if source[0].path in events]
    _refuse_reconstructions([(raw, file) for raw, file, *_ in sources])
    return [
        _make_run(
            dataset, source, events[source[0].path], beside, listing, selection.slice_time_ref
        )
        for source in sources
    ]


def _refuse_reconstructions(files: list[tuple[BidsFile, BidsFile]]) -> None:
    """Refuse files, each with its raw name, that differ in nothing but ``rec-``.

    They hold one acquisition, and would count as repeats of its stimuli, with the same noise.
    Other entities (``acq-``) may or may not tell acquisitions apart; that the data say.
    """
    seen: dict[frozenset, tuple[BidsFile, BidsFile]] = {}
    for raw, file in files:
        key = frozenset(pair for pair in raw.run_key if pair[0] != "rec")
        before, read_before = seen.setdefault(key, (raw, file))
        if before is raw:
            continue
        labels = [one.entities.get("rec") for one in (before, raw)]
        raise DataError(
            "Two runs are reconstructions of one acquisition: they would count as repeats, with "
            "the same noise.",
            file=file.path,
            found=f"also {read_before.path.name}: their names differ in nothing but rec-",
            expected="one image of each acquisition",
            remedy="choose one with --bids-filter-file: "
            + " or ".join(json.dumps({"bold": {"reconstruction": label}}) for label in labels),
        )


def _choose_raw(dataset: Dataset, selection: Selection, raw: list[BidsFile]) -> list[Source]:
    if not raw:
        raise _no_bold(dataset, selection.participant)
    matcher = Matcher(dataset.layout)
    fitting = [file for file in raw if matcher.fits(file, selection.query("bold"))]
    sources: list[Source] = []
    for files in by_run(selection.select(fitting, raw)).values():
        if len({file.entities.get("echo") for file in files}) > 1:
            raise DataError(
                "The BOLD has several echoes, which have to be combined first.",
                file=files[0].path,
                found=f"{len(files)} echoes",
                expected="one image for each run",
                remedy="give preprocessed data (fMRIPrep combines echoes) with -d",
            )
        file = first_of(files)
        sources.append((file, file, None, {}))
    return sources


def _no_bold(dataset: Dataset, participant: str) -> NothingSelectedError:
    folder = dataset.root / f"sub-{participant}"
    empty = not any(folder.glob("*"))
    return NothingSelectedError(
        f"sub-{participant} has no BOLD.",
        file=folder,
        found="an empty folder" if empty else "no file that ends in _bold.nii.gz or _bold.nii",
        remedy=f"datalad get -n {folder}" if empty else "choose another participant",
    )


def _no_space(dataset: Dataset, selection: Selection) -> NothingSelectedError:
    where = ", ".join(str(derivative.root) for derivative in dataset.derivatives)
    return NothingSelectedError(
        f"There is no preprocessed BOLD in the space {selection.space!r}.",
        file=dataset.root / f"sub-{selection.participant}",
        place="--space",
        found=f"no BOLD in {where}" if where else "raw BOLD only: no derivatives were given",
        expected=f"preprocessed BOLD with space-{selection.space}",
        remedy="give the folder of the preprocessing with -d, or leave --space out",
    )


def _find_events(
    dataset: Dataset, sources: list[Source], query: Mapping, listing: Listing
) -> dict[Path, Path]:
    """The table that applies to each raw run; runs without one are left out."""
    matcher = Matcher(dataset.layout)
    found = {
        raw.path: inherited_file(
            raw.path,
            dataset.root,
            "events",
            ".tsv",
            accept=lambda file: matcher.fits(file, query),
            listing=listing,
        )
        for raw, *_ in sources
    }
    without = [raw for raw, *_ in sources if found[raw.path] is None]
    if len(without) == len(sources):
        expected = [
            str(raw.path.with_name(f"{join_entities(raw.entities)}_events.tsv")) for raw in without
        ]
        more = [f"and {len(expected) - 10} more"] if len(expected) > 10 else []
        raise MissingInputError(
            "No run has events: nothing says what was shown when.",
            file=dataset.root,
            expected=", ".join([*expected[:10], *more]),
            remedy="add the tables of events, or choose tasks that have them with --task-id",
        )
    if without:
        names = ", ".join(join_entities(raw.entities) for raw in without)
        logger.info("Left out, as they have no events: %s.", names)
    return {raw: path for raw, path in found.items() if path is not None}


def _candidates_beside(
    sources: list[Source], selection: Selection
) -> dict[tuple[str, str], list[BidsFile]]:
    """Masks and confounds of the participant, by derivative and kind: listed once."""
    derivatives = {source[2].name: source[2] for source in sources if source[2] is not None}
    return {
        (name, kind): matching(
            derivative.layout, selection.participant, default, selection.query(kind)
        )
        for name, derivative in derivatives.items()
        for kind, default in BESIDE.items()
    }


def _make_run(
    dataset: Dataset,
    source: Source,
    events: Path,
    beside: Mapping[tuple[str, str], list[BidsFile]],
    listing: Listing,
    slice_time_ref: float | None,
) -> BoldRun:
    raw, file, derivative, hemispheres = source
    raw_metadata = inherited_metadata(
        raw.path, dataset.root, listing=listing, check=dataset.refuse_links_out
    )
    metadata = (
        inherited_metadata(
            file.path, derivative.root, listing=listing, check=dataset.refuse_links_out
        )
        if derivative
        else None
    )
    seconds = None if metadata is None else repetition_time(metadata, file.path)
    if seconds is None:
        seconds = repetition_time(raw_metadata, raw.path)
    reference = reference_time(raw_metadata, metadata, seconds, file.path, slice_time_ref)
    on_surfaces = bool(hemispheres) or file.extension == CIFTI
    mask, confounds = (
        find_beside(kind, file, derivative, beside[derivative.name, kind])
        if derivative and not (on_surfaces and kind == "mask")
        else None
        for kind in ("mask", "confounds")
    )
    return BoldRun(
        bold=file.path,
        entities=raw.entities,
        events=events,
        repetition_time=seconds,
        start_time=reference.seconds,
        mask=mask,
        confounds=confounds,
        space=file.entities.get("space"),
        resolution=file.entities.get("res"),
        preprocessed=derivative is not None,
        start_time_source=reference.source,
        density=file.entities.get("den"),
        hemispheres=hemispheres,
    )
