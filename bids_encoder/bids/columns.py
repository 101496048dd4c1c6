"""What the columns of events, or of tables of betas, say of each stimulus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_encoder.bids.events import Presentation
from bids_encoder.bids.records import BetasRun, Run
from bids_encoder.bids.tables import is_absent, read_table
from bids_encoder.bids.tolerated import InputWarnings

_TIMES = ("onset", "duration")


def tables_of(run: Run, presentations: Sequence[Presentation]) -> tuple[Path, ...]:
    """The table that each presentation of a run is a line of."""
    if isinstance(run, BetasRun):
        return run.betas.tables
    return (run.events,) * len(presentations)


def stimulus_columns(
    runs: Sequence[Run], presentations: Sequence[Sequence[Presentation]]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Different values of each column in the lines of each stimulus.

    Parameters
    ----------
    runs : sequence of Run
    presentations : sequence of sequences of Presentation
        What each has shown.

    Returns
    -------
    dict of column to dict of stimulus to tuple of str
        In the order of their occurrence; cells that are n/a are left out, and so are stimuli
        that have no other, and the columns onset and duration.
    """
    tables: dict[Path, dict[int, dict[str, str]]] = {}
    found: dict[str, dict[str, dict[str, None]]] = {}
    for run, shown in zip(runs, presentations, strict=True):
        for one, path in zip(shown, tables_of(run, shown), strict=True):
            if path not in tables:
                table = read_table(path, InputWarnings())
                tables[path] = table.to_dict("index")
                for name in table.columns:
                    found.setdefault(name, {})
            for name, value in tables[path][one.row].items():
                if not is_absent(value):
                    found[name].setdefault(one.stimulus, {})[value] = None
    return {
        name: {stimulus: tuple(values) for stimulus, values in said.items()}
        for name, said in found.items()
        if name not in _TIMES
    }
