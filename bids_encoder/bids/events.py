"""What was shown when: from ``events.tsv`` to presentations of stimuli."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_encoder.bids.stimulus_files import Mention, locate_stimuli
from bids_encoder.bids.tables import is_absent, read_table
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# In this order; a column given by --stim-column comes before both.
STIMULUS_COLUMNS = ("stim_file", "stim_id")
LONGEST_TIME = 86_400.0  # seconds; nobody stays in a scanner for a day
# Endings by which a column is recognised that might be meant for --stim-column.
_PICTURES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif")
_PICTURES += (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg")


@dataclass(frozen=True)
class Presentation:
    """One showing of one stimulus."""

    onset: float  # seconds from the first volume; negative before it
    duration: float  # seconds
    stimulus: str  # id: POSIX path relative to the folder with the stimuli
    row: int  # line in the table; the header is line 1


class NoStimulusColumn(DataError):  # noqa: N818
    """No table of a participant says which stimuli were shown."""


def read_events(path: str | Path, tolerated: InputWarnings | None = None):
    """Read a table of events.

    Parameters
    ----------
    path : path
        ``events.tsv``.
    tolerated : InputWarnings, optional
        Where small faults are noted (byte-order mark, Windows line ends, durations
        ``n/a``, which count as 0); without it they are warned of at once.

    Returns
    -------
    pandas.DataFrame
        Sorted by onset. ``onset`` and ``duration`` are floats in seconds, all other
        columns strings. The index, named "line", is the line in the file.

    Raises
    ------
    MissingInputError
        No such file, or its content is not fetched.
    DataError
        Not a table (see `tables.read_table`), no onset or duration column, or a value
        in them that is not a number, or a negative duration.
    """
    path = Path(path)
    noted = InputWarnings() if tolerated is None else tolerated
    table = read_table(path, noted)
    for column in ("onset", "duration"):
        if column not in table:
            raise DataError(
                f"The table of events has no column {column}.",
                file=path,
                place="line 1",
                found=", ".join(table.columns),
                expected="columns onset and duration, in seconds",
                remedy=_did_you_mean(column, table.columns) or "add the column",
            )
    numbers = {
        column: [
            _number(text, column, line, path, noted, LONGEST_TIME)
            for line, text in table[column].items()
        ]
        for column in ("onset", "duration")
    }
    if tolerated is None:
        noted.warn()
    table = table.assign(**{name: _floats(values, table) for name, values in numbers.items()})
    if not table["onset"].is_monotonic_increasing:
        logger.debug("The events in %s are not in order of time; sorting them.", path)
        table = table.sort_values("onset", kind="stable")
    return table


def read_rows(path: str | Path, tolerated: InputWarnings):
    """Read a table with one row a map, in its own order; onsets and durations may be absent.

    Without onsets, rows are taken to follow each other every 4 s.

    Raises
    ------
    MissingInputError, DataError
        As for :func:`read_events`.
    """
    path = Path(path)
    table = read_table(path, tolerated)
    absent = {"onset": [4.0 * row for row in range(len(table))], "duration": [0.0] * len(table)}
    numbers = {
        column: [
            _number(text, column, line, path, tolerated) for line, text in table[column].items()
        ]
        if column in table and not any(map(is_absent, table[column]))
        else values
        for column, values in absent.items()
    }
    return table.assign(**{name: _floats(values, table) for name, values in numbers.items()})


def presentations(
    events_path: str | Path,
    *,
    dataset_root: str | Path,
    column: str | None = None,
    stim_dir: str | Path | None = None,
) -> list[Presentation]:
    """The presentations of one run; `read_presentations` reads all runs at once."""
    path = Path(events_path)
    found, _ = read_presentations(
        [path], dataset_root=dataset_root, column=column, stim_dir=stim_dir
    )
    return list(found[path])


def read_presentations(
    events_paths: Sequence[str | Path],
    *,
    dataset_root: str | Path,
    column: str | None = None,
    stim_dir: str | Path | None = None,
    read: Callable = read_events,
) -> tuple[dict[Path, tuple[Presentation, ...]], dict[str, Path]]:
    """What all runs of a participant have shown, with the files of the stimuli.

    Parameters
    ----------
    events_paths : sequence of path
        Tables of events, one for each run.
    dataset_root : path
        The raw dataset, whose folder ``stimuli`` holds the files.
    column : str, optional
        Column that names the stimuli. Without it ``stim_file``, then ``stim_id``
        (through ``stimuli/stimuli.tsv``, BEP044).
    stim_dir : path, optional
        Folder with the stimuli in place of ``stimuli``.
    read : callable, optional
        Reads a table: :func:`read_events`, or :func:`read_rows`.

    Returns
    -------
    shown : dict
        Presentations of each table, in order of time. Tables that name no stimulus are
        left out, with a warning.
    files : dict
        Path of the file of each stimulus id. All files are there and not empty.

    Raises
    ------
    NoStimulusColumn
        No table names stimuli.
    MissingInputError
        Files of stimuli are missing or not fetched.
    DataError
        A broken table, a stimulus outside of its folder, an empty file.
    """
    tolerated = InputWarnings()
    mentions: dict[Path, list[tuple[float, float, Mention]]] = {}
    silent: dict[Path, object] = {}
    for path in dict.fromkeys(map(Path, events_paths)):
        table = read(path, tolerated)
        chosen = _stimulus_column(table, column)
        if chosen is None:
            silent[path] = table
        else:
            mentions[path] = _mentions(table, path, chosen)
    if silent and not mentions:
        raise _no_stimuli(silent, column)
    if silent:
        logger.warning(
            "Left out, as their events name no stimulus: %s.",
            ", ".join(path.name for path in silent),
        )
    ids, files = locate_stimuli(
        [mention for shown in mentions.values() for _, _, mention in shown],
        dataset_root=dataset_root,
        stim_dir=stim_dir,
        tolerated=tolerated,
    )
    tolerated.warn()
    shown = {
        path: tuple(
            Presentation(onset, duration, ids[mention.key], mention.row)
            for onset, duration, mention in rows
        )
        for path, rows in mentions.items()
    }
    return shown, files


def check_onsets(
    presentations: Sequence[Presentation], run_duration: float, path: str | Path
) -> None:
    """Refuse presentations that begin after the run has ended.

    Parameters
    ----------
    presentations : sequence of Presentation
        Of one run.
    run_duration : float
        Seconds: number of volumes times repetition time.
    path : path
        The table, for the message.

    Raises
    ------
    DataError
        An onset at or after the end of the run.
    """
    late = [one for one in presentations if one.onset >= run_duration]
    if late:
        raise DataError(
            f"{len(late)} event{'s begin' if len(late) > 1 else ' begins'} "
            "after the end of the run.",
            file=path,
            place=f"line {late[0].row}, column onset",
            found=f"{late[0].onset:g} s",
            expected=f"less than {run_duration:g} s, the length of the BOLD",
            remedy="check that the table belongs to this run, that its times are in seconds, "
            "and that the repetition time is right",
        )


def _stimulus_column(table, column: str | None) -> str | None:
    """The first candidate that names a stimulus in some row."""
    for name in [column] if column else STIMULUS_COLUMNS:
        if name not in table or name in ("onset", "duration"):
            continue
        if not all(map(is_absent, table[name])):
            return name
    return None


def _mentions(table, path: Path, column: str) -> list[tuple[float, float, Mention]]:
    return [
        (onset, duration, Mention(name, path, line, column))
        for line, onset, duration, name in zip(
            table.index.tolist(),
            table["onset"].tolist(),
            table["duration"].tolist(),
            table[column].tolist(),
            strict=True,
        )
        if not is_absent(name)
    ]


def _no_stimuli(tables: Mapping[Path, pd.DataFrame], column: str | None) -> NoStimulusColumn:
    columns = list(dict.fromkeys(name for table in tables.values() for name in table.columns))
    looks_right = [
        name for name in columns if any(_names_pictures(table, name) for table in tables.values())
    ]
    remedy = "say which column names the stimuli with --stim-column NAME"
    if looks_right:
        remedy = f"say which column names the stimuli, e.g. --stim-column {looks_right[0]}"
    if column and column not in columns:
        problem = f"No table of events has a column {column}."
        remedy = _did_you_mean(column, columns) or remedy
    elif column or any(name in columns for name in STIMULUS_COLUMNS):
        problem = f"The column {column or 'of stimuli'} is n/a in every row of the events."
    else:
        problem = "No column of the events names stimuli."
    return NoStimulusColumn(
        problem,
        file=next(iter(tables)),
        place="line 1",
        found=f"columns {', '.join(columns)}",
        expected=column or " or ".join(STIMULUS_COLUMNS),
        remedy=remedy,
    )


def _names_pictures(table, column: str) -> bool:
    return column in table and any(
        str(value).lower().endswith(_PICTURES) for value in table[column]
    )


def _number(
    text: str, column: str, line: int, path: Path, tolerated: InputWarnings, most: float = math.inf
) -> float:
    if column == "duration" and is_absent(text):
        tolerated.add("durations n/a, taken as 0 s", f"{path}, line {line}")
        return 0.0
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    fault = "is negative" if math.isfinite(value) else "is not a number"
    if math.isfinite(value) and abs(value) > most:
        raise DataError(
            f"The {column} of an event is longer than any run.",
            file=path,
            place=f"line {line}, column {column}",
            found=f"{text} s",
            expected=f"seconds, at most {most:g}",
            remedy="write seconds, not milliseconds or microseconds; or correct the value",
        )
    if not math.isfinite(value) or (column == "duration" and value < 0):
        raise DataError(
            f"The {column} of an event {fault}.",
            file=path,
            place=f"line {line}, column {column}",
            found=text or "nothing",
            expected="seconds, 0 or more" if column == "duration" else "seconds",
            remedy="write a point, not a comma, in numbers" if "," in text else "correct the value",
        )
    return value


def _floats(values: list[float], table):
    import pandas as pd

    return pd.Series(values, index=table.index, dtype=float)


def _did_you_mean(word: str, columns) -> str | None:
    lower = {name.lower(): name for name in columns}
    near = difflib.get_close_matches(word.lower(), list(lower), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(lower[name] for name in near)}?" if near else None
