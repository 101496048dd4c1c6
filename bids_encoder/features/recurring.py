"""Which volumes of several runs show the same: the stretches of films that recur.

A volume is the same as one of another run where, at each of the delays that it is predicted from,
the same film (or picture) was on the screen for as long, within a quarter of a repetition time.
Volumes of runs whose films begin between two volumes of the other run are not the same, and are
not brought together by interpolation, which would smooth the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

_APART = 0.25  # repetition times between two moments of a film that count as one
_GAP = 10.0  # seconds after the end of a stimulus that still belong to it


@dataclass(frozen=True)
class Recurring:
    """What each row shows, where it recurs.

    Attributes
    ----------
    content : (n,) int
        Number of what is shown; -1 where it is in one run only, or several times in a run.
    runs : (n,) int
        Number of the run.
    """

    content: np.ndarray
    runs: np.ndarray

    def take(self, rows: np.ndarray) -> Recurring:
        """Some of the rows, (n,) bool or indices; what then is in one run only counts no more."""
        return _recurring(self.content[rows], self.runs[rows])

    @property
    def n_contents(self) -> int:
        """How many volumes' worth of stimulus recurs."""
        return len(np.unique(self.content[self.content >= 0]))

    @property
    def n_rows(self) -> int:
        """How many rows show what recurs."""
        return int(np.count_nonzero(self.content >= 0))


def find_recurring(
    presentations: Sequence[Sequence[Presentation]],
    n_volumes: Sequence[int],
    repetition_times: Sequence[float],
    start_times: Sequence[float],
    delays: Sequence[float],
) -> Recurring:
    """Find what several runs show; rows are the volumes of the runs, one run after the other.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        What each run has shown; films whole.
    n_volumes, repetition_times, start_times, delays
        As for :func:`bids_encoder.features.samples.continuous_samples`.
    """
    timing = list(zip(presentations, n_volumes, repetition_times, start_times, strict=True))
    shown: dict[tuple, list[tuple[float, int, float]]] = {}
    row = 0
    for seen, number, tr, start in timing:
        ordered = sorted(seen, key=lambda one: one.onset)
        times = start + tr * np.arange(number)
        columns = [_moments(ordered, times - delay) for delay in delays]
        for moments in zip(*columns, strict=True):
            if all(moment is not None for moment in moments):
                stimuli = tuple(stimulus for stimulus, _ in moments)
                # Whether what was before is as far away: half volumes are enough.
                apart = tuple(round(2 * (since - moments[0][1]) / tr) for _, since in moments)
                key = (stimuli, apart, round(tr, 3))
                shown.setdefault(key, []).append((moments[0][1], row, tr))
            row += 1
    content = np.full(row, -1)
    number = 0
    for found in shown.values():
        before = -np.inf
        for since, place, tr in sorted(found):
            number += since - before > _APART * tr
            content[place] = number
            before = since
    return _recurring(content, np.repeat(np.arange(len(timing)), n_volumes))


def _moments(shown: Sequence[Presentation], times: np.ndarray) -> list[tuple[str, float] | None]:
    """What was on the screen at these times, and for how long; None: nothing."""
    onsets = np.array([one.onset for one in shown])
    current = np.searchsorted(onsets, times + 1e-6, side="right") - 1
    found: list[tuple[str, float] | None] = []
    for k, time in zip(current, times, strict=True):
        one = shown[k] if k >= 0 else None
        if one is not None and time < one.onset + one.duration + _GAP:
            found.append((one.stimulus, float(time - one.onset)))
        else:
            found.append(None)
    return found


def _recurring(content: np.ndarray, runs: np.ndarray) -> Recurring:
    """Without what is in one run only, or several times in a run."""
    kept = content >= 0
    pairs = np.stack([content[kept], runs[kept]], axis=1)
    unique, times = np.unique(pairs, axis=0, return_counts=True)
    twice = set(unique[times > 1, 0].tolist())
    names, n_runs = np.unique(unique[:, 0], return_counts=True)
    several = [name for name, n in zip(names.tolist(), n_runs, strict=True) if n > 1]
    good = [name for name in several if name not in twice]
    return Recurring(np.where(np.isin(content, good), content, -1), runs)
