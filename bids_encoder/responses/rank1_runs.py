"""All runs of a task together: each voxel's own haemodynamic response, and its amplitudes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.events_design import (
    SEPARATE,
    needs_separate_regressions,
    stimulus_regressors,
)
from bids_encoder.responses.hrf_bases import HrfBasis, basis_regressors, peak_times

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation
    from bids_encoder.responses.rank1 import RunDesign

log = logging.getLogger(__name__)

RANK1 = {"rank1": "fourier", "rank1-fir": "fir", "rank1-spm3": "spm3"}  # --hrf to basis


@dataclass(frozen=True)
class Shapes:
    """The haemodynamic response of each voxel.

    Attributes
    ----------
    basis : HrfBasis
    coefficients : (B, V) float32
        Of the basis functions; the response has a peak of 1. NaN where voxels are unusable.
    peak : (V,) float32
        Seconds after an impulse.
    """

    basis: HrfBasis
    coefficients: np.ndarray
    peak: np.ndarray


def rank1_design(
    presentations: Sequence[Presentation],
    n_volumes: int,
    repetition_time: float,
    start_time: float,
    basis: HrfBasis,
    *,
    high_pass: float | None = 0.01,
    confounds: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    name: str = "this run",
    on_separate: Callable[[str], None] | None = None,
) -> tuple[tuple[str, ...], RunDesign]:
    """What one run regresses on.

    Which stimuli have an estimate, and whether the run can support a joint regression, is
    decided as for the canonical response.

    Parameters
    ----------
    presentations, repetition_time, start_time, high_pass, confounds, kept, name, on_separate
        As for :func:`bids_encoder.responses.events_design.event_responses`.
    n_volumes : int
        Of the whole run.
    basis : HrfBasis

    Returns
    -------
    stimuli : tuple of str
    design : RunDesign
    """
    from bids_encoder.responses.rank1 import RunDesign

    stimuli, canonical = stimulus_regressors(
        presentations, n_volumes, repetition_time, start_time, "spm", name, kept
    )
    nuisance = nuisance_basis(n_volumes, repetition_time, high_pass, confounds, kept)
    reason = needs_separate_regressions(canonical, nuisance)
    if reason:
        (on_separate or log.warning)(
            f"{name}: {reason}; {SEPARATE[:-1]}, with the haemodynamic response of each voxel "
            "as all stimuli together tell it."
        )
    shown: dict[str, list[Presentation]] = {stimulus: [] for stimulus in stimuli}
    for one in presentations:
        if one.stimulus in shown:
            shown[one.stimulus].append(one)
    frame_times = start_time + repetition_time * np.arange(n_volumes)
    frame_times = frame_times if kept is None else frame_times[kept]
    regressors = basis_regressors(list(shown.values()), frame_times, basis)
    return stimuli, RunDesign(regressors, nuisance, separate=reason is not None)


def rank1_responses(
    load: Sequence[Callable[[], np.ndarray]],
    designs: Sequence[RunDesign],
    basis: HrfBasis,
    n_voxels: int,
    take: Callable[[int, int, np.ndarray], None],
    *,
    mem_bytes: int = 4 * 10**9,
    device: str = "cpu",
) -> tuple[Shapes, np.ndarray]:
    """Estimate responses of all runs, with one haemodynamic response a voxel.

    Parameters
    ----------
    load : sequence of callables
        Each reads the BOLD of a run, (T, V) float32. They are called once for each block of
        voxels whose data of all runs fit in `mem_bytes`; mostly there is one.
    designs : sequence of RunDesign
        Of the same runs.
    basis : HrfBasis
    n_voxels : int
        V.
    take : callable
        Called with the number of a run, the first voxel of a block, and the amplitudes of its
        stimuli (K, W) float32, one run after the other for each block.
    mem_bytes : int
    device : str
        "cpu" or "cuda".

    Returns
    -------
    shapes : Shapes
    height : (V,) float32
        Multiplied by it, an amplitude is the peak of the response to a stimulus, in the units of
        the data, for each second that the stimulus was there. NaN where voxels are unusable.
    """
    from bids_encoder.responses.rank1 import fit_rank1

    row_bytes = 4 * sum(len(design.regressors) for design in designs)
    n_blocks = max(1, -(-n_voxels * row_bytes // mem_bytes))
    edges = np.linspace(0, n_voxels, n_blocks + 1).astype(int)
    coefficients = np.empty((basis.n_functions, n_voxels), dtype=np.float32)
    arrived = np.zeros(n_voxels, dtype=bool)
    for block in map(slice, edges[:-1], edges[1:]):
        # A part of a run is copied: a view would keep all of it in memory.
        bold = [read() if n_blocks == 1 else read()[:, block].copy() for read in load]
        fit = fit_rank1(designs, bold, basis.prior, device=device)
        coefficients[:, block], arrived[block] = fit.hrf, fit.arrived
        del bold
        for number, amplitudes in enumerate(fit.amplitudes):
            take(number, block.start, np.asarray(amplitudes, dtype=np.float32))
    peak, height = peak_times(coefficients, basis)
    coefficients /= height
    usable = np.isfinite(peak)
    if usable.any():
        low, middle, high = np.percentile(peak[usable], (5, 50, 95))
        log.info(
            "Haemodynamic responses peak at %.1f s (median; %.1f to %.1f s in 90 %% of voxels).",
            middle,
            low,
            high,
        )
    if (lost := np.count_nonzero(usable & ~arrived)) > 0.05 * max(1, usable.sum()):
        log.warning(
            "The search for the haemodynamic response of %d of %d voxels has not come to an end; "
            "theirs are rough.",
            lost,
            usable.sum(),
        )
    return Shapes(basis, coefficients, peak), height
