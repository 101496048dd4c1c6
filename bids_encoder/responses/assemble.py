"""Runs become one response matrix with its cross-validation groups."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError, UsageError
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.grouping import Grouping, continuous_groups, event_groups
from bids_encoder.responses.standardize import zscore

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
class EventRun:
    """Estimates of one run: `betas` (n_stimuli, V), rows in the order of `stimuli`."""

    name: str
    session: str | None
    stimuli: tuple[str, ...]
    betas: np.ndarray


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
    runs: Sequence[EventRun],
    grid: Grid,
    *,
    standardize: str = "session",
    squares_of: Collection[str] | None = None,
) -> Responses:
    """One row per stimulus, from the estimates of all runs.

    Estimates are z-scored per voxel within each session (or run), then averaged over the
    repeats of a stimulus. Groups: see :func:`grouping.event_groups`.

    Parameters
    ----------
    runs : sequence of EventRun
    grid : Grid
    standardize : {"session", "run", "none"}
        A dataset without sessions has one.
    squares_of : collection of str, optional
        Stimuli over whose estimates squares are summed; default all.

    Raises
    ------
    DataError
        There are fewer than four stimuli, or a session (run) has a single estimate, which
        cannot be z-scored.
    UsageError
        `standardize` is none of the three.
    """
    if standardize not in {"session", "run", "none"}:
        raise UsageError(
            "There is no such standardization.",
            place="--standardize",
            found=standardize,
            expected="session, run or none",
        )
    row_of: dict[str, int] = {}
    for run in runs:
        for stimulus in run.stimuli:
            row_of.setdefault(stimulus, len(row_of))
    if len(row_of) < 4:
        raise DataError(
            "There are too few stimuli to learn from.",
            found=f"{len(row_of)} in {len(runs)} runs",
            expected="at least four different stimuli",
            remedy="choose more runs, or the column that tells the stimuli apart (--stim-column)",
        )
    values = np.zeros((len(row_of), runs[0].betas.shape[1]), dtype=np.float32)
    repeats = np.zeros(len(row_of), dtype=int)
    squares = np.zeros(values.shape[1])
    for names, betas in standardized_estimates(runs, standardize):
        counted = [squares_of is None or name in squares_of for name in names]
        squares += np.square(betas[counted], dtype=np.float64).sum(axis=0)
        for stimulus, beta in zip(names, betas, strict=True):
            values[row_of[stimulus]] += beta
            repeats[row_of[stimulus]] += 1
    values /= repeats[:, None].astype(np.float32)
    grouping = event_groups(
        [run.name for run in runs], [run.session for run in runs], [run.stimuli for run in runs]
    )
    _say(grouping)
    return Responses(
        _whole_columns(values),
        grid,
        grouping.groups,
        grouping.names,
        tuple(row_of),
        repeats,
        squares,
    )


def continuous_matrix(runs: Sequence[ContinuousRun], grid: Grid) -> Responses:
    """One row per volume that counts, the runs one after the other.

    Groups: see :func:`grouping.continuous_groups`.

    Parameters
    ----------
    runs : sequence of ContinuousRun
    grid : Grid
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
    values = _whole_columns(np.concatenate([run.values for run in runs]))
    return Responses(values, grid, grouping.groups, grouping.names, None)


def standardized_estimates(
    runs: Sequence[EventRun], standardize: str
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Estimates of all runs in the units of the response matrix, unit after unit.

    Yields
    ------
    stimuli : list of str
        Of the rows.
    betas : (rows, V) array
        Z-scored within the session (or run), unless that is not wanted.

    Raises
    ------
    DataError
        A session (run) has a single estimate, which cannot be z-scored.
    """
    for name, members in _standardization_units(runs, standardize).items():
        betas = np.concatenate([run.betas for run in members])
        if name is not None:
            if len(betas) < 2:
                raise DataError(
                    "A single estimate cannot be z-scored.",
                    place=name,
                    found=f"1 stimulus in {name}",
                    expected="at least two",
                    remedy="--standardize none, or leave this run out",
                )
            betas = zscore(betas)
        yield [stimulus for run in members for stimulus in run.stimuli], betas


def _standardization_units(
    runs: Sequence[EventRun], standardize: str
) -> dict[str | None, list[EventRun]]:
    """Runs by the unit within which they are z-scored; under None: not at all."""
    units: dict[str | None, list[EventRun]] = {}
    for run in runs:
        session = "the session" if run.session is None else f"ses-{run.session}"
        name = {"session": session, "run": run.name, "none": None}[standardize]
        units.setdefault(name, []).append(run)
    return units


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
