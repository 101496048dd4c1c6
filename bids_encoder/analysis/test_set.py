"""A test set: what is held out of all training, predicted once and scored."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.bids.columns import stimulus_columns
from bids_encoder.bids.events import Presentation
from bids_encoder.bids.names import same_number
from bids_encoder.bids.records import Run
from bids_encoder.errors import DataError, UsageError

ENTITIES = ("task", "ses", "run")


@dataclass(frozen=True)
class TestSet:
    """What is held out.

    Attributes
    ----------
    runs : frozenset of str
        Names of runs that show nothing but the test set.
    stimuli : frozenset of str
        Its stimuli; none of them trains a model, wherever it is shown.
    text : str
        What the user calls it: ``run=2``.
    """

    __test__ = False  # pytest takes classes of this name for tests

    runs: frozenset[str]
    stimuli: frozenset[str]
    text: str = ""

    def rows(self, stimuli: Sequence[str] | None, runs: Sequence[Run], n_rows: Sequence[int]):
        """Which rows of the responses are the test set, (n,) bool.

        Parameters
        ----------
        stimuli : sequence of str, or None
            What each row shows; None in a continuous design.
        runs : sequence of Run
            Of the analysis, in the order of the rows of a continuous design.
        n_rows : sequence of int
            Rows of each run in a continuous design: its volumes that count.

        Raises
        ------
        DataError
            Too few rows are left to train with, or to test with.
        """
        if stimuli is not None:
            held = np.array([stimulus in self.stimuli for stimulus in stimuli])
        else:
            in_runs = [run.name in self.runs for run in runs]
            held = np.repeat(in_runs, n_rows)
        if np.count_nonzero(held) < 3 or np.count_nonzero(~held) < 4:
            raise DataError(
                "The test set leaves too little to train or to test with.",
                place="--test-set",
                found=f"{np.count_nonzero(~held)} training samples, "
                f"{np.count_nonzero(held)} test samples",
                expected="at least 4 and 3",
                remedy="choose another test set",
            )
        return held


def parse_test_set(text: str) -> tuple[str, str]:
    """Read ``--test-set``: ``task=NAME``, ``ses=LABEL``, ``run=LABEL`` or ``COLUMN=VALUE``.

    Raises
    ------
    UsageError
        It is written in another way.
    """
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UsageError(
            "The test set cannot be understood.",
            place="--test-set",
            found=text,
            expected="task=NAME, ses=LABEL, run=LABEL or COLUMN=VALUE (a column of events.tsv)",
        )
    return key, value


def is_of(run: Run, key: str, value: str) -> bool:
    """Whether a run is of that task, session or run; labels go with or without their prefix."""
    label = value.removeprefix(f"{key}-")
    return same_number(run.entities.get(key, "")) == same_number(label)


def choose_test_set(
    text: str,
    runs: Sequence[Run],
    presentations: Sequence[Sequence[Presentation]],
    kind: str,
) -> TestSet:
    """Find out what is held out.

    Parameters
    ----------
    text : str
        As ``--test-set`` has it.
    runs : sequence of Run
    presentations : sequence of sequences of Presentation
        What each run has shown.
    kind : {"events", "continuous"}

    Raises
    ------
    UsageError
        No run, or no line of the events, is of the test set, or all of it is; or a
        continuous design is to be divided by a column.
    """
    chosen = _choose(text, runs, presentations, kind)
    shown = {one.stimulus for run in presentations for one in run}
    if kind == "continuous":
        everything = chosen.runs >= {run.name for run in runs}
    else:
        everything = chosen.stimuli >= shown
    if everything:
        raise UsageError(
            "The test set is all that there is: nothing is left to learn from.",
            place="--test-set",
            found=f"{text}, which "
            + ("is all runs" if kind == "continuous" else f"shows all {len(shown)} stimuli"),
            expected="samples that are not of the test set; a stimulus that it shows trains no "
            "model, wherever it is shown",
            remedy="choose another test set, or leave it to cross-validation",
        )
    return chosen


def _choose(text, runs, presentations, kind) -> TestSet:
    key, value = parse_test_set(text)
    if key in ENTITIES:
        chosen = [is_of(run, key, value) for run in runs]
        if not any(chosen):
            labels = sorted({run.entities.get(key, "none") for run in runs})
            raise UsageError(
                "No run is of the test set.",
                place="--test-set",
                found=text,
                expected=f"{key}= one of {', '.join(labels)}",
            )
        names = frozenset(run.name for run, held in zip(runs, chosen, strict=True) if held)
        stimuli = {
            one.stimulus
            for shown, held in zip(presentations, chosen, strict=True)
            for one in shown
            if held
        }
        return TestSet(names, frozenset(stimuli), text)
    if kind == "continuous":
        raise UsageError(
            "The samples of a continuous design are volumes; no column of the events divides them.",
            place="--test-set",
            found=text,
            expected="run=LABEL, ses=LABEL or task=NAME",
        )
    return TestSet(frozenset(), _by_column(key, value, runs, presentations, text), text)


def _by_column(key, value, runs, presentations, text) -> frozenset[str]:
    columns = stimulus_columns(runs, presentations)
    said = columns.get(key, {})
    stimuli = {stimulus for stimulus, values in said.items() if value in values}
    if stimuli:
        return frozenset(stimuli)
    if key not in columns:
        near = difflib.get_close_matches(key, columns, n=3)
        raise UsageError(
            "No table of events has the column of the test set.",
            place="--test-set",
            found=text,
            expected=f"one of the columns {', '.join(columns)}",
            remedy=f"did you mean {' or '.join(near)}?" if near else None,
        )
    there = sorted({one for values in said.values() for one in values})
    raise UsageError(
        "No line of the events is of the test set.",
        place="--test-set",
        found=text,
        expected=f"{key}= one of {', '.join(there[:10])}",
    )
