"""Continuous designs: the cleaned time series of a run are its responses."""

from __future__ import annotations

import numpy as np

from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.standardize import zscore

_BLOCK = 20_000  # voxels at a time


def continuous_responses(
    bold: np.ndarray,
    repetition_time: float,
    *,
    high_pass: float | None = 0.01,
    confounds: np.ndarray | None = None,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Take drift and confounds out of a run, and z-score it.

    Drift, constant and confounds leave in one projection: in turn, a later step would bring
    back some of what an earlier one took out (Lindquist et al. 2019, Human Brain Mapping).

    Parameters
    ----------
    bold : (K, V) float32
        The volumes that count. Voxels with NaN stay NaN.
    repetition_time : float
        Seconds.
    high_pass : float or None
        Cut-off of the cosine drift in Hz; None where the confounds hold the drift already.
    confounds : (T, c) array, optional
        Of all volumes.
    kept : (T,) bool, optional
        Volumes that count, K of them; default all.

    Returns
    -------
    responses : (K, V) float32
        Each voxel with mean 0 and standard deviation 1 over the run; NaN where nothing is left.

    Raises
    ------
    DataError
        Drift and confounds use up the whole run.
    """
    n_volumes = len(bold) if kept is None else len(kept)
    basis = nuisance_basis(n_volumes, repetition_time, high_pass, confounds, kept)
    basis = basis.astype(np.float32)
    responses = np.empty(bold.shape, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        for start in range(0, bold.shape[1], _BLOCK):
            block = bold[:, start : start + _BLOCK]
            # The constant is in the basis; taken out first, it costs float32 no digits.
            centred = block - block.mean(axis=0, dtype=np.float64).astype(np.float32)
            size = np.sqrt(np.square(centred).mean(axis=0))
            centred -= basis @ (basis.T @ centred)
            explained = np.sqrt(np.square(centred).mean(axis=0)) < 1e-4 * size
            centred[:, explained] = np.nan
            responses[:, start : start + _BLOCK] = zscore(centred)
    return responses
