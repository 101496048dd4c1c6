"""Contrasts as they are measured: a standard general linear model of the runs, by nilearn.

One regressor a condition and one for all other presentations, convolved with the HRF, beside
drift, confounds and a constant; first-order autoregressive noise; data in percent of their
mean; runs combined as fixed effects (as nilearn's ``FirstLevelModel`` and
``compute_fixed_effects`` do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.responses.drift import nuisance_basis

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

_OTHER = ""
_BLOCK = 20_000  # voxels at a time


@dataclass(frozen=True)
class RunContrast:
    """A contrast in one run.

    Attributes
    ----------
    effect, variance : (V,) float64
        In percent of the mean signal, and its square; NaN where a voxel has no usable data.
    dof : float
        Degrees of freedom.
    """

    effect: np.ndarray
    variance: np.ndarray
    dof: float


def run_contrasts(
    bold: np.ndarray,
    trials: Mapping[str, Sequence[Presentation]],
    others: Sequence[Presentation],
    contrasts: Mapping[str, Mapping[str, float]],
    repetition_time: float,
    start_time: float = 0.0,
    *,
    hrf: str = "spm",
    high_pass: float | None = 0.01,
    confounds: np.ndarray | None = None,
) -> dict[str, RunContrast]:
    """Fit one run, and compute its contrasts.

    Parameters
    ----------
    bold : (T, V) array
        In the units of the image.
    trials : mapping of str to sequence of Presentation
        By condition.
    others : sequence of Presentation
        Presentations of no condition; they share a regressor.
    contrasts : mapping of str to mapping of str to float
        Weights over conditions, by the name of the contrast.
    repetition_time, start_time : float
        Seconds.
    hrf : {"spm", "glover"}
    high_pass : float or None
        Cut-off of the cosine drift in Hz; None where the confounds hold the drift already.
    confounds : (T, c) array, optional

    Returns
    -------
    dict of str to RunContrast
        Contrasts that this run can tell: all of their conditions are shown.

    Raises
    ------
    DataError
        Drift and confounds use up the run.
    """
    columns = {
        name: regressor
        for name, shown in {**trials, _OTHER: others}.items()
        if (regressor := _regressor(shown, len(bold), repetition_time, start_time, hrf)).any()
    }
    told = {name: weights for name, weights in contrasts.items() if columns.keys() >= set(weights)}
    if not told:
        return {}
    nuisance = nuisance_basis(len(bold), repetition_time, high_pass, confounds)
    design = np.column_stack([*columns.values(), nuisance])
    vectors = {
        name: np.array([weights.get(one, 0.0) for one in columns] + [0.0] * nuisance.shape[1])
        for name, weights in told.items()
    }
    found = {name: np.full((2, bold.shape[1]), np.nan) for name in told}
    dof = np.nan
    for start in range(0, bold.shape[1], _BLOCK):
        some = slice(start, start + _BLOCK)
        percent = _percent(bold[:, some])
        usable = np.flatnonzero(np.isfinite(percent).all(axis=0))
        if len(usable):
            dof = _fit(percent[:, usable], design, vectors, found, start + usable)
    return {name: RunContrast(*values, dof) for name, values in found.items()}


def _fit(data, design, vectors, found, where) -> float:
    """Put effects and variances of some voxels in their places."""
    from nilearn.glm import compute_contrast
    from nilearn.glm.first_level import run_glm

    labels, results = run_glm(data, design, noise_model="ar1")
    for name, vector in vectors.items():
        one = compute_contrast(labels, results, vector, stat_type="t")
        found[name][0, where] = one.effect_size().ravel()
        found[name][1, where] = one.effect_variance().ravel()
    return float(one.dof)


def fixed_effects(runs: Sequence[RunContrast]) -> RunContrast:
    """Combine runs: mean effect, mean variance over the number of runs."""
    return RunContrast(
        np.mean([run.effect for run in runs], axis=0),
        np.mean([run.variance for run in runs], axis=0) / len(runs),
        sum(run.dof for run in runs),
    )


def _regressor(
    shown: Sequence[Presentation], n_volumes: int, repetition_time: float, start: float, hrf: str
) -> np.ndarray:
    """Presentations of one condition, convolved with the haemodynamic response: (T,)."""
    from nilearn.glm.first_level import compute_regressor

    if not shown:
        return np.zeros(n_volumes)
    condition = (
        [one.onset for one in shown],
        [one.duration for one in shown],
        np.ones(len(shown)),
    )
    times = start + repetition_time * np.arange(n_volumes)
    return compute_regressor(condition, hrf, times)[0][:, 0]


def _percent(bold: np.ndarray) -> np.ndarray:
    """Deviations in percent of the mean; data without a positive mean are no signal."""
    bold = np.asarray(bold, dtype=np.float64)
    mean = bold.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean > 0, 100 * (bold / mean - 1), np.nan)
