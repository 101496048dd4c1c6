"""Runs become one response matrix with its cross-validation groups."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_encoder.errors import DataError, UsageError
from bids_encoder.responses.groups import (
    N_BLOCKS,
    block_names,
    blocks,
    join,
    merge_tiny,
    units_of,
)
from bids_encoder.responses.standardize import zscore

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

log = logging.getLogger(__name__)

_JUMPS = 3  # mean changes of block per run and block beyond which aligned blocks are in shreds


@dataclass(frozen=True)
class Responses:
    """What the voxels did: one row a stimulus (events) or a volume (continuous).

    Parameters
    ----------
    values : (n, V) float32
        Z-scored, unless the user wanted the units of the images. Voxels without usable data
        in some run are NaN in all rows.
    mask : Nifti1Image
        V is the number of its voxels, in C order of its array.
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
    """

    values: np.ndarray
    mask: nib.Nifti1Image
    groups: np.ndarray
    group_names: tuple[str, ...]
    stimuli: tuple[str, ...] | None
    repeats: np.ndarray | None = None


@dataclass(frozen=True)
class EventRun:
    """Estimates of one run: `betas` (n_stimuli, V), rows in the order of `stimuli`."""

    name: str
    session: str | None
    stimuli: tuple[str, ...]
    betas: np.ndarray


@dataclass(frozen=True)
class ContinuousRun:
    """Time series of one run: `values` (T, V), one volume each `repetition_time` seconds."""

    name: str
    session: str | None
    values: np.ndarray
    presentations: Sequence[Presentation]
    repetition_time: float


def event_matrix(
    runs: Sequence[EventRun], mask: nib.Nifti1Image, *, standardize: str = "session"
) -> Responses:
    """One row per stimulus, from the estimates of all runs.

    Estimates are z-scored per voxel within each session (or run), then averaged over the
    repeats of a stimulus. The average belongs to the group where the stimulus was first
    shown. Groups that this leaves with less than half the mean number of stimuli are merged;
    where only one group is left (all runs show the same stimuli), and where there is a single
    run, the stimuli are cut into five contiguous blocks in the order of their first showing.

    Parameters
    ----------
    runs : sequence of EventRun
    mask : Nifti1Image
    standardize : {"session", "run", "none"}
        A dataset without sessions has one.

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
    for names, betas in standardized_estimates(runs, standardize):
        for stimulus, beta in zip(names, betas, strict=True):
            values[row_of[stimulus]] += beta
            repeats[row_of[stimulus]] += 1
    values /= repeats[:, None].astype(np.float32)
    groups, names = _event_groups(runs, row_of)
    return Responses(_whole_columns(values), mask, groups, names, tuple(row_of), repeats)


def continuous_matrix(runs: Sequence[ContinuousRun], mask: nib.Nifti1Image) -> Responses:
    """One row per volume, the runs one after the other.

    Groups are sessions where there are at least three, else runs; those that show the same
    stimuli are joined. Where all runs are joined so, the stimuli themselves are cut into five
    stretches, each of which is held out from all runs at once. Where the stimuli
    recur in such disorder that stretches would be torn to shreds, runs (sessions) stay the
    groups, and a warning says that the same pictures are on both sides. A single run is cut
    into five blocks, with a warning.

    Parameters
    ----------
    runs : sequence of ContinuousRun
    mask : Nifti1Image
    """
    groups, names = _continuous_groups(runs)
    values = _whole_columns(np.concatenate([run.values for run in runs]))
    return Responses(values, mask, groups, names, None)


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


def _event_groups(
    runs: Sequence[EventRun], row_of: dict[str, int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    units, names = units_of([run.name for run in runs], [run.session for run in runs])
    first_shown = np.full(len(row_of), -1)
    for run, unit in zip(runs, units, strict=True):
        rows = np.array([row_of[stimulus] for stimulus in run.stimuli], dtype=int)
        rows = rows[first_shown[rows] < 0]
        first_shown[rows] = unit
    groups, merged = merge_tiny(first_shown, names)
    if len(merged) >= 2:
        if len(merged) < len(names):
            log.info("Groups for cross-validation, after merging small ones: %s.", len(merged))
        return groups, merged
    folds = blocks(len(row_of))
    fold_names = block_names(folds[-1] + 1)
    if len(names) > 1:
        log.info(
            "The runs show largely the same stimuli, so that leaving one out would leave nothing "
            "new to predict: folds are made by stimulus, in %d blocks.",
            len(fold_names),
        )
    else:
        log.warning(
            "There is one run only: cross-validation leaves out contiguous blocks of its stimuli "
            "(%d), which share the noise of the run; scores are somewhat too high.",
            len(fold_names),
        )
    return folds, fold_names


def _continuous_groups(runs: Sequence[ContinuousRun]) -> tuple[np.ndarray, tuple[str, ...]]:
    lengths = [len(run.values) for run in runs]
    if len(runs) == 1:
        log.warning(
            "There is one run only: cross-validation leaves out contiguous blocks of it (%d). "
            "Neighbouring blocks are not independent; scores are somewhat too high.",
            N_BLOCKS,
        )
        folds = blocks(lengths[0])
        return folds, block_names(folds[-1] + 1)
    units, names = units_of([run.name for run in runs], [run.session for run in runs])
    shown = [set() for _ in names]
    for run, unit in zip(runs, units, strict=True):
        shown[unit] |= {presentation.stimulus for presentation in run.presentations}
    joined = join(shown)
    n_groups = int(joined.max()) + 1
    if n_groups >= 2:
        if n_groups < len(names):
            log.info("Runs that show the same stimuli are left out together: %d groups.", n_groups)
        joint_names = tuple(
            "+".join(name for name, group in zip(names, joined, strict=True) if group == k)
            for k in range(n_groups)
        )
        return np.repeat(joined[units], lengths), joint_names
    folds = _stretches(runs)
    if folds is not None:
        log.info(
            "All runs show the same stimuli: cross-validation leaves out the same stretch of "
            "them from all runs at once, in %d blocks.",
            N_BLOCKS,
        )
        return folds, block_names(folds.max() + 1)
    log.warning(
        "The same stimuli recur throughout the runs: no split keeps each on one side. "
        "Cross-validation leaves out whole runs or sessions (%d), with some pictures in both "
        "training and test.",
        len(names),
    )
    return np.repeat(units, lengths), names


def _stretches(runs: Sequence[ContinuousRun]) -> np.ndarray | None:
    """Cut what was shown, in the order of its first showing, into blocks held by all runs.

    The content of a volume is the stimulus at its time and the time within it, in volumes;
    volumes between stimuli belong to what went before. None where the same content recurs in
    other orders, so that blocks would change more than three times as often as they must.
    """
    contents = [_contents(run) for run in runs]
    order = {key: k for k, key in enumerate(dict.fromkeys(sum(contents, [])))}
    block = blocks(len(order))
    folds = [block[[order[key] for key in keys]] for keys in contents]
    jumps = sum(int(np.count_nonzero(np.diff(fold))) for fold in folds)
    if jumps > _JUMPS * N_BLOCKS * len(runs) or len(order) < 2 * N_BLOCKS:
        return None
    return np.concatenate(folds)


def _contents(run: ContinuousRun) -> list[tuple[str, int]]:
    """What was on the screen in the middle of each volume of a run."""
    shown = sorted(run.presentations, key=lambda p: p.onset)
    onsets = [p.onset for p in shown]
    times = (np.arange(len(run.values)) + 0.5) * run.repetition_time
    if not shown:
        return [("", k) for k in range(len(times))]
    current = np.clip(np.searchsorted(onsets, times, side="right") - 1, 0, None)
    return [
        (shown[k].stimulus, max(0, int((time - onsets[k]) // run.repetition_time)))
        for k, time in zip(current, times, strict=True)
    ]


def _whole_columns(values: np.ndarray) -> np.ndarray:
    """Make voxels that are not finite in some row NaN in all, and say how many."""
    unusable = ~np.isfinite(values).all(axis=0)
    if unusable.any():
        log.info("%d of %d voxels have no usable data.", unusable.sum(), unusable.size)
        values[:, unusable] = np.nan
    return values
