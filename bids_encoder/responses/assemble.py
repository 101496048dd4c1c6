"""Runs become one response matrix with its cross-validation groups."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.grouping import Grouping, continuous_groups, event_groups
from bids_encoder.responses.means import Means

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Responses:
    """What the voxels did: one row a stimulus (events) or a volume (continuous).

    Parameters
    ----------
    values : (n, V) float32
        Z-scored, unless the user wanted the units of the images. Voxels without usable data
        in some run are NaN in all rows.
    grid : Grid
        Where the V voxels lie.
    groups : (n,) int
        Cross-validation group of each row.
    group_names : tuple of str
        What the groups are: "ses-1", the name of a run, "block 3".
    stimuli : tuple of str or None
        The stimulus of each row; None for continuous designs, whose rows are the volumes of
        the runs, one run after the other.
    repeats : (n,) int or None
        How many estimates (one per run that shows the stimulus) each row is the mean of; None
        for continuous designs.
    squares : (V,) float64 or None
        Sum over estimates (all, or those of certain stimuli) of their squares, from which the
        noise of repeats follows.
    """

    values: np.ndarray
    grid: Grid
    groups: np.ndarray
    group_names: tuple[str, ...]
    stimuli: tuple[str, ...] | None
    repeats: np.ndarray | None = None
    squares: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Responses:
        """Some of the rows: indices, or (n,) bool; `squares` stay as they are."""
        everything = np.arange(len(self.values))
        rows = everything[rows]
        if np.array_equal(rows, everything):
            return self  # a copy would be as large as the data
        return replace(
            self,
            values=self.values[rows],
            groups=self.groups[rows],
            stimuli=None if self.stimuli is None else tuple(self.stimuli[row] for row in rows),
            repeats=None if self.repeats is None else self.repeats[rows],
        )


@dataclass(frozen=True)
class ContinuousRun:
    """Time series of one run: `values` (K, V) of the volumes that count.

    `kept` (T,) bool says which of all volumes these are, one each `repetition_time` seconds;
    None: all.
    """

    name: str
    session: str | None
    values: np.ndarray
    presentations: Sequence[Presentation]
    repetition_time: float
    kept: np.ndarray | None = None


def event_matrix(
    means: Means,
    grid: Grid,
    names: Sequence[str],
    sessions: Sequence[str | None],
    stimuli: Sequence[Sequence[str]],
) -> Responses:
    """One row per stimulus, the mean of its estimates in all runs.

    Groups: see :func:`grouping.event_groups`.

    Parameters
    ----------
    means : Means
        Z-scored per voxel within each session (or run), then averaged over repeats.
    grid : Grid
    names, sessions : sequences of str
        Of the runs.
    stimuli : sequence of sequences of str
        What each run has estimates of.

    Raises
    ------
    DataError
        There are fewer than four stimuli.
    """
    if len(means.stimuli) < 4:
        raise DataError(
            "There are too few stimuli to learn from.",
            place=f"{names[0]}" + (f" to {names[-1]}" if len(names) > 1 else ""),
            found=f"{len(means.stimuli)} in {len(names)} runs: {', '.join(means.stimuli)}",
            expected="at least four different stimuli whose responses lie within the runs",
            remedy="choose more runs, or the column that tells the stimuli apart (--stim-column)",
        )
    grouping = event_groups(names, sessions, stimuli)
    _say(grouping)
    return Responses(
        _whole_columns(means.values),
        grid,
        grouping.groups,
        grouping.names,
        means.stimuli,
        means.repeats,
        means.squares,
    )


def continuous_matrix(
    runs: Sequence[ContinuousRun], grid: Grid, values: np.ndarray | None = None
) -> Responses:
    """One row per volume that counts, the runs one after the other.

    Groups: see :func:`grouping.continuous_groups`.

    Parameters
    ----------
    runs : sequence of ContinuousRun
    grid : Grid
    values : (n, V) float32, optional
        Of all runs, where these are parts of one matrix already.
    """
    kept = [np.ones(len(r.values), dtype=bool) if r.kept is None else r.kept for r in runs]
    grouping = continuous_groups(
        [run.name for run in runs],
        [run.session for run in runs],
        [run.presentations for run in runs],
        [len(counted) for counted in kept],
        [run.repetition_time for run in runs],
    ).take(np.concatenate(kept))
    _say(grouping)
    if values is None:
        values = np.concatenate([run.values for run in runs])
    values = _whole_columns(values)
    return Responses(values, grid, grouping.groups, grouping.names, None)


def _say(grouping: Grouping) -> None:
    if grouping.remark:
        log.log(logging.WARNING if grouping.is_doubtful else logging.INFO, grouping.remark)


def _whole_columns(values: np.ndarray) -> np.ndarray:
    """Make voxels that are not finite in some row NaN in all, and say how many."""
    unusable = ~np.isfinite(values).all(axis=0)
    if unusable.any():
        log.info("%d of %d voxels have no usable data.", unusable.sum(), unusable.size)
        values[:, unusable] = np.nan
    return values
