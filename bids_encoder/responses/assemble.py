"""Runs become one response matrix."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.means import Means

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
            stimuli=None if self.stimuli is None else tuple(self.stimuli[row] for row in rows),
            repeats=None if self.repeats is None else self.repeats[rows],
        )


def event_matrix(means: Means, grid: Grid, names: Sequence[str]) -> Responses:
    """One row per stimulus, the mean of its estimates in all runs.

    Parameters
    ----------
    means : Means
        Z-scored per voxel within each session (or run), then averaged over repeats.
    grid : Grid
    names : sequence of str
        Of the runs.

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
    return Responses(
        _whole_columns(means.values), grid, means.stimuli, means.repeats, means.squares
    )


def continuous_matrix(values: np.ndarray, grid: Grid) -> Responses:
    """One row per volume that counts, the runs one after the other.

    Parameters
    ----------
    values : (n, V) float32
    grid : Grid
    """
    return Responses(_whole_columns(values), grid, None)


def _whole_columns(values: np.ndarray) -> np.ndarray:
    """Make voxels that are not finite in some row NaN in all, and say how many."""
    unusable = ~np.isfinite(values).all(axis=0)
    if unusable.any():
        log.info("%d of %d voxels have no usable data.", unusable.sum(), unusable.size)
        values[:, unusable] = np.nan
    return values
