"""Contrasts as they are measured: a standard general linear model of the runs, by nilearn.

One regressor a condition and one for all other presentations, convolved with the HRF, beside
drift, confounds and a constant; first-order autoregressive noise; data in percent of their
mean; runs combined as fixed effects (as nilearn's ``FirstLevelModel`` and
``compute_fixed_effects`` do).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bids_encoder.grids.grid import Grid
from bids_encoder.responses.cleaning import Cleaning
from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.grids import load_values
from bids_encoder.responses.read_bold import BoldInfo

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation
    from bids_encoder.bids.records import BoldRun

_Key = TypeVar("_Key")
_OTHER = ""
_BLOCK = 20_000  # voxels at a time


@dataclass(frozen=True)
class RunContrast:
    """A contrast in one run, or in several.

    Attributes
    ----------
    effect, variance : (V,) float64
        In percent of the mean signal, and its square; NaN where a voxel has no usable data.
    dof : float
        Degrees of freedom.
    n_runs : int
    """

    effect: np.ndarray
    variance: np.ndarray
    dof: float
    n_runs: int = 1

    @property
    def t(self) -> np.ndarray:
        """Effect over its standard error, (V,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = self.effect / np.sqrt(self.variance)
        return np.where(np.isfinite(t), t, np.nan)


@dataclass(frozen=True)
class Design:
    """What is to be compared in one general linear model.

    Attributes
    ----------
    trials : tuple of mapping, one a run
        Presentations by condition. Whatever else a run has shown shares one regressor.
    contrasts : mapping of str to mapping of str to float
        Weights over conditions, by name.
    """

    trials: Sequence[Mapping[str, Sequence[Presentation]]]
    contrasts: Mapping[str, Mapping[str, float]]


def measure_contrasts(
    runs: Sequence[BoldRun],
    infos: Sequence[BoldInfo],
    presentations: Sequence[Sequence[Presentation]],
    cleanings: Sequence[Cleaning],
    grid: Grid,
    designs: Mapping[_Key, Design],
    *,
    hrf: str = "spm",
    high_pass: float | None = 0.01,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[_Key, dict[str, RunContrast]]:
    """Read the runs one after the other, fit every design, and combine the runs.

    Parameters
    ----------
    runs, infos, presentations, cleanings : sequences, one entry a run
    grid : Grid
        Where values are read.
    designs : mapping of any key to Design
    hrf, high_pass
        See :func:`run_contrasts`.
    on_progress : callable, optional
        Called with the numbers of runs done and of all runs.

    Returns
    -------
    dict of design to dict of contrast to RunContrast
        Contrasts that no run can tell are left out.
    """
    found: dict[_Key, dict[str, list[RunContrast]]] = {
        key: {name: [] for name in design.contrasts} for key, design in designs.items()
    }
    for number, (run, info, shown, cleaning) in enumerate(
        zip(runs, infos, presentations, cleanings, strict=True)
    ):
        bold = load_values(run, grid)
        unwanted = cleaning.confounds
        for key, design in designs.items():
            trials = design.trials[number]
            rows = {one.row for some in trials.values() for one in some}
            told = run_contrasts(
                bold,
                trials,
                [one for one in shown if one.row not in rows],
                design.contrasts,
                info.repetition_time,
                run.start_time,
                hrf=hrf,
                high_pass=None if unwanted is not None and unwanted.has_drift else high_pass,
                confounds=None if unwanted is None else unwanted.values,
                kept=cleaning.kept,
            )
            for name, one in told.items():
                found[key][name].append(one)
        if on_progress:
            on_progress(number + 1, len(runs))
    return {
        key: {name: fixed_effects(told) for name, told in one.items() if told}
        for key, one in found.items()
    }


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
    kept: np.ndarray | None = None,
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
    kept : (T,) bool, optional
        Volumes that count. The others stay in the series, so that the noise keeps its order in
        time, and each has a regressor of its own.

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
    if kept is not None and not kept.all():
        spikes = np.eye(len(bold))[:, ~kept]
        confounds = spikes if confounds is None else np.hstack([confounds, spikes])
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
    return {name: RunContrast(effect, var, dof) for name, (effect, var) in found.items()}


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
        len(runs),
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
