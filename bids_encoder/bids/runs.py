"""Which files make up the runs of a participant.

Raw and preprocessed files belong together when the entities that processing leaves
alone are the same (`names.BidsFile.run_key`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from bids_encoder.bids.filters import Matcher
from bids_encoder.bids.names import (
    PROCESSING_ENTITIES,
    BidsFile,
    join_entities,
    natural,
    parse_name,
    same_number,
)
from bids_encoder.bids.records import Dataset, Derivative, Run
from bids_encoder.bids.sidecars import (
    Listing,
    inherited_file,
    inherited_metadata,
    repetition_time,
    start_time,
)
from bids_encoder.bids.spaces import choose_space
from bids_encoder.errors import DataError, MissingInputError, NothingSelectedError

logger = logging.getLogger(__name__)

IMAGES = (".nii.gz", ".nii")
_RAW = {"suffix": "bold", "extension": list(IMAGES)}
_PREPROCESSED = {**_RAW, "desc": "preproc"}
_MASK = {"suffix": "mask", "extension": list(IMAGES), "desc": "brain"}
# fMRIPrep wrote "regressors" before version 20.2.
_CONFOUNDS = {"suffix": ["timeseries", "regressors"], "extension": ".tsv", "desc": "confounds"}
_ENTITY_WORDS = {"ses": "session", "task": "task", "run": "run"}

Wanted = Mapping[str, tuple[str, ...]]  # labels by "ses", "task", "run"; none means all


def collect_runs(
    dataset: Dataset,
    participant: str,
    wanted: Wanted,
    space: str | None,
    filters: Mapping[str, Mapping],
) -> list[Run]:
    """`dataset.find_runs` before it checks that all content is there."""
    raw = [
        file
        for file in _files(dataset.layout, participant, _RAW)
        # Phase images come beside the magnitude that is analysed.
        if file.entities.get("part", "mag") == "mag" and _has_task(file)
    ]
    preprocessed = _preprocessed(dataset, participant, filters) if dataset.derivatives else None
    there = raw if preprocessed is None else [*raw, *(file for file, _ in preprocessed)]
    _require_bold(there, dataset, participant)
    if preprocessed is None:
        pairs = _raw_pairs(dataset, raw, wanted, filters)
        logger.warning(
            "No preprocessed BOLD of sub-%s: the raw BOLD is analysed, without correction for "
            "motion or distortion. fMRIPrep derivatives are given with -d.",
            participant,
        )
    else:
        pairs = _preprocessed_pairs(dataset, preprocessed, raw, wanted, filters, space, there)
    runs = _with_events(dataset, pairs, filters)
    return sorted(runs, key=lambda run: natural(run.name))


def _files(layout, participant: str, query: Mapping) -> list[BidsFile]:
    """Files of a participant, by suffix and extension (which pybids reads reliably)."""
    wanted = {name: query[name] for name in ("suffix", "extension") if query.get(name)}
    paths = layout.get(return_type="filename", invalid_filters="allow", **wanted)
    files = [parse_name(path) for path in paths]
    return [file for file in files if file.entities.get("sub") == participant]


def _matching(layout, participant, default: Mapping, query: Mapping) -> list[BidsFile]:
    matcher = Matcher(layout)
    full = {**default, **query}
    return [file for file in _files(layout, participant, full) if matcher.fits(file, full)]


def _has_task(file: BidsFile) -> bool:
    if "task" in file.entities:
        return True
    logger.warning("%s is left out: its name has no task-.", file.path)
    return False


def _require_bold(there: list[BidsFile], dataset: Dataset, participant: str) -> None:
    if there:
        return
    folder = dataset.root / f"sub-{participant}"
    empty = not any(folder.glob("*"))
    raise NothingSelectedError(
        f"sub-{participant} has no BOLD.",
        file=folder,
        found="an empty folder" if empty else "no file that ends in _bold.nii.gz or _bold.nii",
        remedy=f"datalad get -n {folder}" if empty else "choose another participant",
    )


def _selected(files: Iterable[BidsFile], wanted: Wanted) -> list[BidsFile]:
    return [file for file in files if all(_accepts(file, name, wanted[name]) for name in wanted)]


def _accepts(file: BidsFile, name: str, labels: tuple[str, ...]) -> bool:
    label = file.entities.get(name)
    if not labels or label in labels:
        return True
    return name == "run" and label is not None and same_number(label) in map(same_number, labels)


def _nothing_selected(there: list[BidsFile], wanted: Wanted, filters) -> NothingSelectedError:
    found = "; ".join(
        f"{word}: " + ", ".join(sorted({file.entities[name] for file in having}, key=natural))
        for name, word in _ENTITY_WORDS.items()
        if (having := [file for file in there if name in file.entities])
    )
    asked = "; ".join(
        f"{_ENTITY_WORDS[name]}: {', '.join(labels)}" for name, labels in wanted.items() if labels
    )
    if filters.get("bold"):
        asked = "; ".join(filter(None, [asked, f"BIDS filter file: {dict(filters['bold'])}"]))
    return NothingSelectedError(
        "The filters select no BOLD.",
        file=there[0].path.parent,
        found=found,
        expected=asked,
        remedy="choose labels that are there, or leave filters out",
    )


def _warn_of_absent_labels(there: list[BidsFile], wanted: Wanted) -> None:
    for name, labels in wanted.items():
        for label in labels:
            if not any(_accepts(file, name, (label,)) for file in there):
                logger.warning(
                    "The participant has no BOLD with %s %s.", _ENTITY_WORDS[name], label
                )


def _raw_pairs(dataset, raw, wanted, filters):
    """Raw BOLD, one file a run: (run as named in the raw dataset, file to read, None)."""
    matcher = Matcher(dataset.layout)
    query = filters.get("bold", {})
    selected = _selected([file for file in raw if matcher.fits(file, query)], wanted)
    if not selected:
        raise _nothing_selected(raw, wanted, filters)
    _warn_of_absent_labels(raw, wanted)
    by_run: dict[frozenset, list[BidsFile]] = {}
    for file in selected:
        by_run.setdefault(file.run_key, []).append(file)
    for files in by_run.values():
        if len({file.entities.get("echo") for file in files}) > 1:
            raise DataError(
                "The BOLD has several echoes, which have to be combined first.",
                file=files[0].path,
                found=f"{len(files)} echoes",
                expected="one image for each run",
                remedy="give preprocessed data (fMRIPrep combines echoes) with -d",
            )
    return [(_first(files), _first(files), None) for files in by_run.values()]


def _first(files: list[BidsFile]) -> BidsFile:
    if len(files) > 1:
        others = ", ".join(file.path.name for file in files[1:])
        logger.warning("Several files fit one run: taking %s, not %s.", files[0].path.name, others)
    return files[0]


def _preprocessed(
    dataset: Dataset, participant: str, filters: Mapping[str, Mapping]
) -> list[tuple[BidsFile, Derivative]] | None:
    """Preprocessed BOLD with the derivative that it is in; None where there is no BOLD."""
    known = [
        derivative
        for derivative in dataset.derivatives
        if (derivative.root / f"sub-{participant}").is_dir()
    ]
    if not known:
        raise _participant_not_in_derivatives(dataset, participant)
    found = [
        (file, derivative)
        for derivative in known
        for file in _matching(
            derivative.layout, participant, _PREPROCESSED, filters.get("bold", {})
        )
        if file.extension in IMAGES and _has_task(file)
    ]
    if found:
        return found
    others = [
        file
        for derivative in known
        for file in _files(derivative.layout, participant, {"suffix": "bold"})
        if file.extension != ".json"
    ]
    if not others:
        return None
    query = {**_PREPROCESSED, **filters.get("bold", {})}
    raise NothingSelectedError(
        f"The derivatives hold no preprocessed BOLD of sub-{participant} that can be read.",
        file=others[0].path.parent,
        found=", ".join(sorted({file.path.name for file in others})[:5]),
        expected=f"NIfTI images with {query} (GIFTI and CIFTI are not read)",
        remedy="say how the files are named with --bids-filter-file, or leave -d out",
    )


def _participant_not_in_derivatives(dataset: Dataset, participant: str) -> MissingInputError:
    roots = [derivative.root for derivative in dataset.derivatives]
    inside = [
        folder.parent for root in roots for folder in sorted(root.glob(f"*/sub-{participant}"))
    ]
    return MissingInputError(
        f"No derivative knows sub-{participant}.",
        file=", ".join(str(root / f"sub-{participant}") for root in roots),
        remedy=f"give the folder of the pipeline: -d {inside[0]}"
        if inside
        else "preprocess this participant, leave it out, or leave -d out to take the raw BOLD",
    )


def _preprocessed_pairs(dataset, found, raw, wanted, filters, space, there):
    """(run as named in the raw dataset, file to read, derivative that it is in)."""
    home = {file.path: derivative for file, derivative in found}
    selected = _selected((file for file, _ in found), wanted)
    if not selected:
        raise _nothing_selected(there, wanted, filters)
    _warn_of_absent_labels(there, wanted)
    by_run: dict[frozenset, list[BidsFile]] = {}
    for file in choose_space(selected, space):
        by_run.setdefault(file.run_key, []).append(file)
    raw_by_run: dict[frozenset, BidsFile] = {}
    for file in raw:
        raw_by_run.setdefault(file.run_key, file)
    _warn_of_unprocessed(dataset, raw_by_run, by_run, wanted, filters)
    pairs = []
    for key, files in by_run.items():
        # Of several pipelines that have the run, the one given first is taken.
        first = home[files[0].path]
        file = _first([one for one in files if home[one.path] is first])
        pairs.append((raw_by_run.get(key) or _raw_name(dataset.root, file), file, first))
    return pairs


def _warn_of_unprocessed(dataset, raw_by_run, by_run, wanted, filters) -> None:
    matcher = Matcher(dataset.layout)
    query = {
        entity: value
        for entity, value in filters.get("bold", {}).items()
        if matcher.short_name(entity)
        not in {*PROCESSING_ENTITIES, "suffix", "extension", "datatype"}
    }
    for file in _selected(raw_by_run.values(), wanted):
        if file.run_key not in by_run and matcher.fits(file, query):
            logger.warning(
                "%s is left out: the derivatives do not have it.", join_entities(file.entities)
            )


def _raw_name(root: Path, file: BidsFile) -> BidsFile:
    """Where the raw run of a preprocessed file would lie."""
    entities = {
        name: label for name, label in file.entities.items() if name not in PROCESSING_ENTITIES
    }
    folders = [f"{name}-{entities[name]}" for name in ("sub", "ses") if name in entities]
    path = root.joinpath(*folders, "func", f"{join_entities(entities)}_bold.nii.gz")
    return BidsFile(path, entities, "bold", ".nii.gz")


def _with_events(dataset: Dataset, pairs, filters: Mapping[str, Mapping]) -> list[Run]:
    listing: Listing = {}
    matcher = Matcher(dataset.layout)
    query = filters.get("events", {})
    events = [
        inherited_file(
            raw.path,
            dataset.root,
            "events",
            ".tsv",
            accept=lambda file: matcher.fits(file, query),
            listing=listing,
        )
        for raw, _, _ in pairs
    ]
    without = [raw for (raw, _, _), path in zip(pairs, events, strict=True) if path is None]
    if len(without) == len(pairs):
        raise _no_events(dataset, without)
    if without:
        names = ", ".join(sorted((join_entities(raw.entities) for raw in without), key=natural))
        logger.info("Left out, as they have no events: %s.", names)
    return [
        _make_run(dataset, *pair, path, filters, listing)
        for pair, path in zip(pairs, events, strict=True)
        if path is not None
    ]


def _no_events(dataset: Dataset, runs: list[BidsFile]) -> MissingInputError:
    expected = sorted(
        (str(raw.path.with_name(f"{join_entities(raw.entities)}_events.tsv")) for raw in runs),
        key=natural,
    )
    more = [f"and {len(expected) - 10} more"] if len(expected) > 10 else []
    return MissingInputError(
        "No run has events: nothing says what was shown when.",
        file=dataset.root,
        expected=", ".join([*expected[:10], *more]),
        remedy="add the tables of events, or choose tasks that have them with --task-id",
    )


def _make_run(
    dataset: Dataset,
    raw: BidsFile,
    file: BidsFile,
    derivative: Derivative | None,
    events: Path,
    filters: Mapping[str, Mapping],
    listing: Listing,
) -> Run:
    root = derivative.root if derivative else dataset.root
    metadata = inherited_metadata(file.path, root, listing=listing)
    seconds = repetition_time(metadata, file.path)
    if seconds is None and derivative:
        raw_metadata = inherited_metadata(raw.path, dataset.root, listing=listing)
        seconds = repetition_time(raw_metadata, raw.path)
    return Run(
        bold=file.path,
        entities=raw.entities,
        events=events,
        repetition_time=seconds,
        start_time=start_time(metadata, file.path) if derivative else 0.0,
        mask=_beside(file, derivative, _MASK, filters.get("mask", {}), same_grid=True),
        confounds=_beside(file, derivative, _CONFOUNDS, filters.get("confounds", {})),
        space=file.entities.get("space"),
        resolution=file.entities.get("res"),
        preprocessed=derivative is not None,
    )


def _beside(bold, derivative, default, query, *, same_grid: bool = False) -> Path | None:
    """The file of a derivative that belongs to a preprocessed run."""
    if derivative is None:
        return None
    fitting = [
        file
        for file in _matching(derivative.layout, bold.entities["sub"], default, query)
        if file.run_key == bold.run_key and (not same_grid or _grid(file) == _grid(bold))
    ]
    if not fitting:
        return None
    return _first(sorted(fitting, key=lambda file: file.suffix, reverse=True)).path


def _grid(file: BidsFile) -> tuple[str | None, ...]:
    return tuple(file.entities.get(name) for name in ("space", "cohort", "res"))
