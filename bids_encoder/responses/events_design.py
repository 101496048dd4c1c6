"""Event designs: one response map per stimulus, by a general linear model per run.

Every estimate here is linear in the data, so that a run comes down to one matrix, the
estimator (stimuli × volumes), which is small and computed in float64, and to its product
with the BOLD data in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.responses.drift import nuisance_basis

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

log = logging.getLogger(__name__)

SEPARATE = "each stimulus is estimated by a regression of its own (LSS)."

HRFS = ("spm", "glover")
_HRF_LENGTH = 32.0  # seconds, as nilearn samples both shapes
_LEAST_ENERGY = 0.1  # share of a response's energy that must lie within the run
_MOST_RUNS = 20  # lengths of the run, before and after it, over which a presentation is followed
_LEAST_FREE = 1 / 3  # share of the volumes that must stay free of regressors
_MOST_INFLATION = 5.0  # median variance inflation factor beyond which regressors are collinear
_BLOCK = 20_000  # voxels at a time


def event_responses(
    bold: np.ndarray,
    presentations: Sequence[Presentation],
    repetition_time: float,
    start_time: float = 0.0,
    *,
    hrf: str = "spm",
    high_pass: float | None = 0.01,
    confounds: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    name: str = "this run",
    on_separate: Callable[[str], None] | None = None,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Estimate the response to each stimulus of a run.

    All stimuli are estimated together by ordinary least squares, one regressor each, beside
    drift, constant and confounds. Where the run cannot support so many (see
    :func:`needs_separate_regressions`), each has a regression of its own (LSS).

    Parameters
    ----------
    bold : (K, V) float32
        BOLD of the volumes that count, in any units; voxels with NaN stay NaN.
    presentations : sequence of Presentation
        What was shown when; a stimulus shown several times has one estimate.
    repetition_time : float
        Seconds.
    start_time : float
        When, after the onset of its acquisition, a volume is sampled: ``StartTime`` of
        slice-time corrected data. Volume k stands for the time start_time + k · TR.
    hrf : {"spm", "glover"}
        Canonical haemodynamic response, as nilearn samples it.
    high_pass : float or None
        Cut-off of the cosine drift in Hz; None where the confounds hold the drift already.
    confounds : (T, c) array, optional
        Of all volumes.
    kept : (T,) bool, optional
        Volumes that count (weight 1), K of them; the others have weight 0. Default all.
    name : str
        What to call the run in messages.
    on_separate : callable, optional
        Called with the reason where each stimulus needs a regression of its own; the default
        is a warning.

    Returns
    -------
    stimuli : tuple of str
        In the order in which they were first shown.
    betas : (n_stimuli, V) float32
        In the units of `bold`, per unit of the regressor: the response to a stimulus that
        stays on for so long that the response reaches its plateau.

    Raises
    ------
    DataError
        No stimulus has its response within the run, or drift and confounds use up the run.
    """
    n_volumes = len(bold) if kept is None else len(kept)
    stimuli, regressors = stimulus_regressors(
        presentations, n_volumes, repetition_time, start_time, hrf, name, kept
    )
    nuisance = nuisance_basis(n_volumes, repetition_time, high_pass, confounds, kept)
    reason = needs_separate_regressions(regressors, nuisance)
    if reason:
        (on_separate or log.warning)(f"{name}: {reason}; {SEPARATE}")
        weights = separate_estimator(regressors, nuisance)
    else:
        weights = joint_estimator(regressors, nuisance)
    return stimuli, _apply(weights, bold)


def stimulus_regressors(
    presentations: Sequence[Presentation],
    n_volumes: int,
    repetition_time: float,
    start_time: float = 0.0,
    hrf: str = "spm",
    name: str = "this run",
    kept: np.ndarray | None = None,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Convolve the presentations of each stimulus with the haemodynamic response.

    Stimuli of whose response less than a tenth (of the sum of squares) lies within the
    volumes that count are left out with a warning: their estimates would be noise.

    Returns
    -------
    stimuli : tuple of str
        In the order in which they were first shown.
    regressors : (K, n_stimuli) float64
        At the K volumes that count.

    Raises
    ------
    DataError
        No stimulus is left.
    """
    shown: dict[str, list[Presentation]] = {}
    for presentation in sorted(presentations, key=lambda p: p.onset):
        shown.setdefault(presentation.stimulus, []).append(presentation)
    frame_times = start_time + repetition_time * np.arange(n_volumes)
    counted = slice(None) if kept is None else kept
    usable, columns, lost = [], [], []
    first, last = frame_times[0] - _HRF_LENGTH, frame_times[-1]
    for stimulus, times in shown.items():
        felt = [
            _bounded(p, frame_times)
            for p in times
            if p.onset + p.duration > first and p.onset < last
        ]
        regressor = _regressor(felt, frame_times, hrf) if felt else np.zeros(n_volumes)
        energy = np.square(regressor).sum()
        whole = max(energy, _whole_energy(felt, frame_times, hrf)) if felt else 0.0
        regressor = regressor[counted]
        if energy > 0 and np.square(regressor).sum() >= _LEAST_ENERGY * whole:
            usable.append(stimulus)
            columns.append(regressor)
        else:
            lost.append(stimulus)
    if not usable:
        raise DataError(
            "No stimulus of this run has its response within the run.",
            file=name,
            place="onset",
            found=f"{len(shown)} stimuli; the last volume is at {frame_times[-1]:g} s",
            expected="onsets in seconds from the first volume, some seconds before the end",
            remedy="check the onsets of the events file and RepetitionTime",
        )
    if lost:
        log.warning(
            "%s: the response to %d of %d stimuli lies outside the %s; left out: %s%s.",
            name,
            len(lost),
            len(shown),
            "run" if kept is None else "volumes that count",
            ", ".join(lost[:3]),
            " …" if len(lost) > 3 else "",
        )
    return tuple(usable), np.column_stack(columns)


def _bounded(presentation: Presentation, frame_times: np.ndarray) -> Presentation:
    """Of a presentation that is far longer than the run, the part near the run.

    What is left is still so long that less than a tenth of its response lies within the run;
    of all of it, a row for each moment would be made.
    """
    span = _MOST_RUNS * (frame_times[-1] - frame_times[0] + _HRF_LENGTH)
    begin = max(presentation.onset, frame_times[0] - span)
    end = min(presentation.onset + presentation.duration, frame_times[-1] + span)
    if begin == presentation.onset and end == presentation.onset + presentation.duration:
        return presentation
    return replace(presentation, onset=begin, duration=end - begin)


def needs_separate_regressions(regressors: np.ndarray, nuisance: np.ndarray) -> str | None:
    """Say why a run cannot support a joint regression, or None where it can.

    It cannot where fewer than a third of the volumes would stay free of regressors, where the
    design has less than full rank, or where the median variance inflation factor of the
    stimuli is above 5, a customary sign of harmful collinearity: presentations follow each
    other faster than their responses can be told apart. Evenly spaced ones reach it at about
    5.5 s; from there on down, in simulations with one trial per stimulus and a signal no
    stronger than the noise, separate estimates follow the truth clearly better.

    Parameters
    ----------
    regressors : (T, n) array
    nuisance : (T, k) array
        Orthonormal.
    """
    n_volumes, n_stimuli = regressors.shape
    n_nuisance = nuisance.shape[1]
    free = n_volumes - n_stimuli - n_nuisance
    if free < _LEAST_FREE * n_volumes:
        return (
            f"{n_stimuli} stimuli and {n_nuisance} nuisance regressors leave {max(free, 0)} of "
            f"{n_volumes} volumes free"
        )
    clean = _project_out(nuisance, regressors)
    scale = np.linalg.norm(clean, axis=0)
    left, singular, right = np.linalg.svd(clean / np.where(scale > 0, scale, 1), False)
    if singular[-1] <= 1e-6 * singular[0]:
        return "the regressors of some stimuli are combinations of others"
    inflation = float(np.median(np.square(right.T / singular).sum(axis=1)))
    if inflation > _MOST_INFLATION:
        return f"the responses overlap too much (median variance inflation {inflation:.0f})"
    return None


def joint_estimator(regressors: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Ordinary least squares: the rows of the pseudo-inverse that belong to the stimuli.

    By Frisch, Waugh and Lovell these are the pseudo-inverse of the regressors from which the
    nuisance has been projected out.

    Returns
    -------
    weights : (n, T) float64
    """
    return np.linalg.pinv(_project_out(nuisance, regressors))


def separate_estimator(regressors: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Least squares, separate (LSS; Mumford et al. 2012, NeuroImage 59, 2636-2643).

    The i-th regression has two regressors, xᵢ and the sum of all others, beside the nuisance.
    With the nuisance projected out of both, its normal equations are 2 × 2, and only their
    first unknown is kept.

    Parameters
    ----------
    regressors : (T, n) array
    nuisance : (T, k) array
        Orthonormal.

    Returns
    -------
    weights : (n, T) float64
    """
    own = _project_out(nuisance, regressors)
    others = own.sum(axis=1, keepdims=True) - own
    aa = np.square(own).sum(axis=0)
    ab = (own * others).sum(axis=0)
    bb = np.square(others).sum(axis=0)
    gram = np.stack([np.stack([aa, ab], -1), np.stack([ab, bb], -1)], -2)
    # A pseudo-inverse, because a run may have one stimulus, or two that are always together.
    first = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)[:, 0]
    return (own * first[:, 0] + others * first[:, 1]).T


def _apply(weights: np.ndarray, bold: np.ndarray) -> np.ndarray:
    """Estimator (n, T) times BOLD (T, V), by blocks of voxels."""
    weights = weights.astype(np.float32)
    betas = np.empty((len(weights), bold.shape[1]), dtype=np.float32)
    with np.errstate(invalid="ignore"):
        for start in range(0, bold.shape[1], _BLOCK):
            block = bold[:, start : start + _BLOCK]
            # The weights sum to zero (the constant is in the design), so that the mean may go;
            # left in, it would cost float32 most of its digits.
            centred = block - block.mean(axis=0, dtype=np.float64).astype(np.float32)
            betas[:, start : start + _BLOCK] = weights @ centred
    return betas


def _project_out(basis: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return columns - basis @ (basis.T @ columns)


def _regressor(
    presentations: Sequence[Presentation], frame_times: np.ndarray, hrf: str
) -> np.ndarray:
    from nilearn.glm.first_level import compute_regressor

    condition = (
        [p.onset for p in presentations],
        [p.duration for p in presentations],
        np.ones(len(presentations)),
    )
    # nilearn moves earlier onsets to this time (24 s before the run by default).
    earliest = min(-24.0, presentations[0].onset - frame_times[0] - 1)
    regressor, _ = compute_regressor(condition, hrf, frame_times, min_onset=earliest)
    return regressor[:, 0]


def _whole_energy(
    presentations: Sequence[Presentation], frame_times: np.ndarray, hrf: str
) -> float:
    """Sum of squares of a regressor, had the run begun before the stimulus and gone on after."""
    first = presentations[0].onset
    last = max(p.onset + p.duration for p in presentations) + _HRF_LENGTH
    if first >= frame_times[0] and last <= frame_times[-1]:
        return 0.0  # of no consequence: all of it is within the run
    step = frame_times[1] - frame_times[0]
    before = max(0, int(np.ceil((frame_times[0] - first) / step)))
    after = max(0, int(np.ceil((last - frame_times[-1]) / step)))
    times = frame_times[0] + step * np.arange(-before, len(frame_times) + after)
    return float(np.square(_regressor(presentations, times, hrf)).sum())
