"""Which kinds of stimuli there are: what columns of the tables, and names, say of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from bids_encoder.responses.groups import separation

# Column → stimulus → the different values that stand there.
Columns = Mapping[str, Mapping[str, tuple[str, ...]]]

_MOST = 3  # columns over which folds are balanced
_KIND = re.compile(r"categ|cond|type|class|kind|domain|concept|label", re.IGNORECASE)
_FOLDER, _NAME = "the pictures' folder", "the pictures' names"


@dataclass(frozen=True)
class Classes:
    """Classes of n stimuli, column after column.

    Attributes
    ----------
    columns : tuple of str
        Names, the most telling first.
    values : tuple of n tuples of str
        What each column says of each stimulus.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    def of(self, column: str) -> list[str]:
        """What one column says of each stimulus."""
        return [values[self.columns.index(column)] for values in self.values]

    def take(self, rows: Sequence[int]) -> Classes:
        """Those of some stimuli, once or several times."""
        return Classes(self.columns, tuple(self.values[row] for row in rows))

    @property
    def in_words(self) -> str:
        """The columns, listed."""
        return ", ".join(self.columns)


def classes_of(stimuli: Sequence[str], columns: Columns) -> Classes:
    """Columns that sort stimuli into classes: at least two, of two stimuli each in the mean.

    Columns whose names say so come first (category, trial_type, …), then the folders of the
    pictures and their names without digits (``faces/12.png``, ``face12.png``), then others;
    of each, those with the fewest classes.

    Parameters
    ----------
    stimuli : sequence of n str
    columns : Columns
    """
    found = {
        name: [" ".join(sorted(said.get(one, ()))) for one in stimuli]
        for name, said in columns.items()
    }
    by_name = {
        _FOLDER: [re.sub(r"\d+", "", str(PurePosixPath(one).parent)) for one in stimuli],
        _NAME: [re.sub(r"\d+", "", one) for one in stimuli],
    }
    sorting = {
        name: values
        for name, values in {**found, **by_name}.items()
        if 2 <= len(set(values)) <= len(stimuli) // 2
    }

    def rank(name: str) -> tuple[int, int]:
        order = 1 if name in by_name else 0 if _KIND.search(name) else 2
        return order, len(set(sorting[name]))

    chosen: dict[str, list[str]] = {}  # of columns that sort alike, the first
    for name in sorted(sorting, key=rank):
        if len(chosen) < _MOST and not any(
            _same(sorting[name], other) for other in chosen.values()
        ):
            chosen[name] = sorting[name]
    values = tuple(tuple(chosen[name][k] for name in chosen) for k in range(len(stimuli)))
    return Classes(tuple(chosen), values)


def column_left_out(groups: np.ndarray, classes: Classes, least: float) -> str | None:
    """The column whose classes the groups hold whole, or nearly so; None where none does.

    Only columns count that are known to name kinds of stimuli.

    Parameters
    ----------
    groups : (n,) int
    classes : Classes
        Of the n rows.
    least : float
        `separation` from which groups hold classes nearly whole.
    """
    telling = [c for c in classes.columns if _KIND.search(c) or c in (_FOLDER, _NAME)]
    found = {column: separation(groups, classes.of(column)) for column in telling}
    worst = max(found, key=found.__getitem__, default=None)
    return worst if worst is not None and found[worst] >= least else None


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two columns sort stimuli alike."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len(set(one)) == len(set(other))
