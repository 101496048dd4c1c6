"""What the maps of precomputed responses show, as runs with presentations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bids_encoder.betas.find import BetaFile
from bids_encoder.bids.events import Presentation, read_events, read_presentations, read_rows
from bids_encoder.bids.names import BidsFile, join_entities, natural, same_number
from bids_encoder.bids.records import Betas, BetasRun, Dataset
from bids_encoder.bids.selection import Selection, files_of
from bids_encoder.bids.tables import is_absent, read_table
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError, MissingInputError, NothingSelectedError, UsageError

_NUMBERED = re.compile(r"(?:trial|event|beta|stim)?0*(\d+)")


@dataclass(frozen=True)
class _Trial:
    """One map: which of its file, what it shows, and where it was measured."""

    place: int
    shown: Presentation
    labels: dict[str, str]  # ses, task and run, as far as they are known
    table: Path
    is_timed: bool = True  # whether it was measured at one moment, which is known


def read_trials(
    dataset: Dataset,
    files: Sequence[BetaFile],
    selection: Selection,
    *,
    column: str | None,
    stim_dir: Path | None,
) -> tuple[list[BetasRun], list[tuple[Presentation, ...]], dict[str, Path]]:
    """Divide the maps of all files into runs.

    Parameters
    ----------
    dataset : Dataset
    files : sequence of BetaFile
    selection : Selection
    column, stim_dir
        See :func:`bids_encoder.bids.events.read_presentations`.

    Returns
    -------
    runs : list of BetasRun
    shown : list of tuples of Presentation
        One a map of the run, in the order of ``run.betas.maps``.
    stimuli : dict of str to Path
        File of each stimulus.

    Raises
    ------
    DataError
        A table does not fit the maps, names of contrasts fit no stimulus, or two files are
        of the same run.
    MissingInputError
        Nothing says what the maps show.
    NothingSelectedError
        The filters leave nothing.
    """
    tables = [file.table for file in files if file.table is not None]
    events = {} if len(tables) == len(files) else _events(dataset, selection)
    shown, stimuli = read_presentations(
        [*tables, *(events[path].path for path in events)],
        dataset_root=dataset.root,
        column=column,
        stim_dir=stim_dir,
        read=lambda path, noted: (read_rows if path in tables else read_events)(path, noted),
    )
    task = _only_task(dataset, selection)
    runs: dict[str, tuple[BetasRun, list[_Trial]]] = {}
    for file in files:
        if file.table is not None:
            trials, n_rows = _from_table(file, file.table, shown.get(file.table, ()))
        else:
            trials, n_rows = _from_events(file, _fitting(file, events), shown)
        _add_runs(
            runs, replace(file, entities={**task, **file.entities}), trials, n_rows, selection
        )
    if not runs:
        raise NothingSelectedError(
            f"The filters select no betas of sub-{selection.participant}.",
            file=files[0].images[0],
            expected=", ".join(f"{k}-{label}" for k, v in selection.labels.items() for label in v),
            remedy="choose labels that are there, or leave filters out",
        )
    ordered = [runs[name] for name in sorted(runs, key=natural)]
    presentations = [tuple(trial.shown for trial in trials) for _, trials in ordered]
    return [run for run, _ in ordered], presentations, stimuli


def _only_task(dataset: Dataset, selection: Selection) -> dict[str, str]:
    """The task that is asked for, or that the dataset has, where it is one only."""
    files = [
        file
        for suffix in ("events", "bold")
        for file in files_of(dataset.layout, selection.participant, {"suffix": suffix})
    ]
    there = {file.entities["task"] for file in files if "task" in file.entities}
    tasks = set(selection.labels["task"]) or there
    return {"task": tasks.pop()} if len(tasks) == 1 else {}


def _events(dataset: Dataset, selection: Selection) -> dict[Path, BidsFile]:
    query = {"suffix": "events", "extension": ".tsv"}
    found = files_of(dataset.layout, selection.participant, query)
    files = [file for file in found if selection.wants(file)]
    if not files:
        raise MissingInputError(
            "Nothing says what the betas show.",
            file=dataset.root / f"sub-{selection.participant}",
            found="neither tables beside the betas nor events of this participant",
            expected="a table with one row a map, of the same name as the betas with .tsv",
            remedy="write it, or say where it is with --betas-table",
        )
    return {file.path: file for file in sorted(files, key=lambda one: natural(one.path.name))}


def _fitting(file: BetaFile, events: dict[Path, BidsFile]) -> list[BidsFile]:
    """Events of the session, task and run that a file is of."""
    named: dict[str, str] = {
        name: file.entities[name] for name in ("ses", "task", "run") if name in file.entities
    }
    found = [
        one
        for one in events.values()
        if all(same_number(one.entities.get(k, "")) == same_number(v) for k, v in named.items())
    ]
    if not found:
        raise MissingInputError(
            "Nothing says what these betas show.",
            file=file.images[0],
            found=f"no table beside them, and no events with {join_entities(named)}",
            expected="a table with one row a map, of the same name with .tsv",
            remedy="write it, or say where it is with --betas-table",
        )
    return found


def _from_table(
    file: BetaFile, path: Path, shown: Sequence[Presentation]
) -> tuple[list[_Trial], int]:
    """Maps in the order of the onsets in their own table, the file at `path`."""
    table = read_table(path, InputWarnings())
    place_of = {line: place for place, line in enumerate(table.index)}
    if file.contrasts:
        place_of = _rows_of_contrasts(file, table)
    elif len(table) == 0:
        raise DataError(
            "The table of the betas has no rows.",
            file=path,
            place="line 2",
            expected="one row for each map",
            remedy="write which stimulus each map shows",
        )
    columns = {
        short: table[name]
        for short, name in (("ses", "session"), ("task", "task"), ("run", "run"))
        if name in table
    }
    timed = _has_onsets(table)
    trials = [
        _Trial(
            place_of[one.row],
            one,
            {
                name: values[one.row].removeprefix(f"{name}-")
                for name, values in columns.items()
                if not is_absent(values[one.row])
            },
            path,
            timed,
        )
        for one in shown
        if one.row in place_of
    ]
    trials.sort(key=lambda trial: trial.shown.onset)
    return trials, len(file.images) if file.contrasts else len(table)


def _has_onsets(table) -> bool:
    """Whether onsets tell most rows apart, so that they say something of their order in time."""
    if "onset" not in table or any(map(is_absent, table["onset"])):
        return False
    return len(table) < 2 or table["onset"].nunique() > len(table) / 2


def _rows_of_contrasts(file: BetaFile, table) -> dict[int, int]:
    """The map of each line of a table that names contrasts."""
    if "contrast" not in table:
        raise DataError(
            "The table of the betas does not say which contrast each row is of.",
            file=file.table,
            place="line 1",
            found=f"columns {', '.join(table.columns)}",
            expected=f"a column contrast, with {file.contrasts[0]} and {len(file.contrasts) - 1} "
            "more",
            remedy="add the column",
        )
    place_of = {_plain(name): place for place, name in enumerate(file.contrasts)}
    lines = {_plain(name): line for line, name in table["contrast"].items()}
    lacking = [name for name in file.contrasts if _plain(name) not in lines]
    if lacking:
        raise DataError(
            "The table of the betas lacks contrasts.",
            file=file.table,
            place="column contrast",
            found=f"no row for {', '.join(lacking[:5])}",
            expected="one row for each image",
            remedy="add the rows, with n/a for what shows no stimulus",
        )
    return {line: place_of[name] for name, line in lines.items() if name in place_of}


def _from_events(file: BetaFile, events: Sequence[BidsFile], shown) -> tuple[list[_Trial], int]:
    """Maps in the order of the events, or named after what they show."""
    trials = [
        (one, {k: v for k, v in event.entities.items() if k in ("ses", "task", "run")}, event.path)
        for event in events
        for one in shown.get(event.path, ())
    ]
    if not file.contrasts:
        return [_Trial(place, *trial) for place, trial in enumerate(trials)], len(trials)
    numbers = [_NUMBERED.fullmatch(name.lower()) for name in file.contrasts]
    counted = [int(number[1]) for number in numbers if number]
    every = (list(range(len(trials))), list(range(1, len(trials) + 1)))
    if len(counted) == len(numbers) and sorted(counted) in every:
        first = min(counted)
        place_of = {number - first: place for place, number in enumerate(counted)}
        numbered = [_Trial(place_of[k], *trial) for k, trial in enumerate(trials)]
        return numbered, len(numbered)
    return _named_after_stimuli(file, trials), len(file.images)


def _named_after_stimuli(file: BetaFile, trials: Sequence[tuple]) -> list[_Trial]:
    first: dict[str, dict[str, tuple]] = {}
    timed = len({trial[0].stimulus for trial in trials}) == len(trials)  # else of several moments
    for trial in trials:
        stem = _plain(PurePosixPath(trial[0].stimulus).stem)
        first.setdefault(stem, {}).setdefault(trial[0].stimulus, trial)
    strange = [name for name in file.contrasts if len(first.get(_plain(name), ())) != 1]
    if strange:
        near = difflib.get_close_matches(_plain(strange[0]), list(first), n=1)
        raise DataError(
            "The names of contrasts do not say which stimulus they show.",
            file=file.images[file.contrasts.index(strange[0])],
            place=f"contrast-{strange[0]}",
            found=f"{len(strange)} of {len(file.contrasts)} contrasts fit no stimulus, or several",
            expected="the name of a stimulus without its ending, letters and numbers only"
            + (f", such as {near[0]}" if near else "")
            + f"; or the numbers of all {len(trials)} trials",
            remedy="write a table with the columns contrast and stim_file (--betas-table)",
        )
    place_of = {_plain(name): place for place, name in enumerate(file.contrasts)}
    # In the order of the first showing, so that neighbours are neighbours in time.
    found = [
        (place_of[stem], next(iter(shown.values())))
        for stem, shown in first.items()
        if stem in place_of
    ]
    # A map of a contrast is of its whole file, not of the run that showed the stimulus first.
    own = {k: v for k, v in file.entities.items() if k in ("ses", "task", "run")}
    return [
        _Trial(place, shown, {"task": labels["task"], **own}, table, timed)
        for place, (shown, labels, table) in found
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())


def _add_runs(
    runs: dict[str, tuple[BetasRun, list[_Trial]]],
    file: BetaFile,
    trials: Sequence[_Trial],
    n_rows: int,
    selection: Selection,
) -> None:
    """Sort the trials of a file by session, task and run."""
    here: dict[str, list[_Trial]] = {}
    entities_of: dict[str, dict[str, str]] = {}
    for trial in trials:
        labels = {**file.entities, **trial.labels}
        names = [k for k in ("ses", "task", "acq", "run") if k in labels]
        entities = {"sub": selection.participant} | {k: labels[k] for k in names}
        here.setdefault(join_entities(entities), []).append(trial)
        entities_of[join_entities(entities)] = entities
    for name, members in here.items():
        entities = entities_of[name]
        if not selection.wants(BidsFile(file.images[0], entities, "", "")):
            continue
        if "task" not in entities:
            raise UsageError(
                "The names of the betas do not say of which task they are.",
                file=file.images[0],
                place="--betas",
                expected="task- in the name, {task} in the path, a column task in the table, or "
                "one task (--task-id)",
            )
        if name in runs:
            raise DataError(
                "Two files hold betas of the same run.",
                file=file.images[0],
                place=name,
                found=f"also {runs[name][0].betas.images[0]}",
                expected="one file (or one image for each contrast)",
                remedy="write a narrower path, with {session} and {run}; or choose with a "
                '--bids-filter-file, for example {"betas": {"stat": "effect"}}, or by "desc" or '
                '"reconstruction"',
            )
        runs[name] = (_run(file, entities, members, n_rows), members)


def _run(
    file: BetaFile, entities: dict[str, str], trials: Sequence[_Trial], n_rows: int
) -> BetasRun:
    return BetasRun(
        bold=file.images[0],
        entities=entities,
        events=trials[0].table,
        mask=file.mask,
        space=file.entities.get("space"),
        resolution=file.entities.get("res"),
        density=file.entities.get("den"),
        hemispheres={side: images[0] for side, images in file.hemispheres.items()},
        preprocessed=True,
        betas=Betas(
            file.images,
            tuple(trial.place for trial in trials),
            trials[0].table,
            n_rows,
            file.key,
            file.hemispheres,
            tuple(trial.table for trial in trials),
            all(trial.is_timed for trial in trials),
        ),
    )
