"""What is in a run beside the responses: slow drift, and a basis of everything unwanted."""

from __future__ import annotations

import numpy as np

from bids_encoder.errors import DataError


def cosine_drift(n_volumes: int, repetition_time: float, high_pass: float) -> np.ndarray:
    """Discrete cosines slower than a cut-off, without the constant.

    The k-th is cos(π k (t + 1/2) / T), as in SPM; there are floor(2 · T · TR · cut-off).

    Parameters
    ----------
    n_volumes : int
        T.
    repetition_time : float
        Seconds.
    high_pass : float
        Cut-off in Hz.

    Returns
    -------
    drift : (T, k) float64
        Orthonormal columns; k may be 0.
    """
    # Rounded down after the comparison: of an absurd cut-off no whole number can be made.
    order = int(min(n_volumes - 1, np.floor(2 * n_volumes * repetition_time * high_pass)))
    phase = np.pi * (np.arange(n_volumes) + 0.5) / n_volumes
    return np.sqrt(2 / n_volumes) * np.cos(np.outer(phase, np.arange(1, order + 1)))


def nuisance_basis(
    n_volumes: int,
    repetition_time: float,
    high_pass: float | None,
    confounds: np.ndarray | None = None,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Orthonormal basis of a constant, the drift and the confounds.

    Parameters
    ----------
    n_volumes : int
        T.
    repetition_time : float
        Seconds.
    high_pass : float or None
        Cut-off of the cosine drift in Hz; None where the confounds hold the drift already.
    confounds : (T, c) array, optional
    kept : (T,) bool, optional
        Volumes that count, K of them; default all.

    Returns
    -------
    basis : (K, k) float64
        k is at most 1 + drifts + c, and smaller where columns repeat each other.

    Raises
    ------
    DataError
        Nothing would be left of the run.
    """
    kept = np.ones(n_volumes, dtype=bool) if kept is None else kept
    n_kept = int(np.count_nonzero(kept))
    columns = [np.full((n_kept, 1), 1 / np.sqrt(n_kept))]
    if high_pass is not None:
        columns.append(cosine_drift(n_volumes, repetition_time, high_pass)[kept])
    if confounds is not None:
        centred = np.asarray(confounds, dtype=np.float64)[kept]
        centred = centred - centred.mean(axis=0)
        norms = np.linalg.norm(centred, axis=0)
        columns.append(centred[:, norms > 0] / norms[norms > 0])
    left, singular, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    basis = left[:, singular > 1e-6 * singular[0]]
    if basis.shape[1] > n_kept - 3:
        raise DataError(
            "Drift and confounds use up the whole run.",
            found=f"{basis.shape[1]} independent regressors for {n_kept} volumes",
            expected="far fewer regressors than volumes",
            remedy="name fewer confounds with --confounds, or leave this run out",
        )
    return basis
