"""How well predictions match responses: r² and Pearson r, one value a voxel.

NaN rules, the same for both scores: a voxel scores NaN where a response or a prediction is
not finite, and where the responses are constant. Pearson r is also NaN where the predictions
are constant (r² is then defined).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.encoding.folds import Fold

# With fewer rows than this in some fold, r² against the fold's own mean is too unsteady to be
# counted with, or to be compared with a ceiling. Where nothing is predicted, its mean over normal
# responses is not 0 but about -1/(n - 3) (-0.04 at 30 rows, -0.33 at 6, no bound at 3), and a
# fold that happens to vary little weighs most.
SMALL_FOLD = 30

# A response whose spread is within rounding of its size counts as constant.
CONSTANT = 1e-6


def r2_score(
    responses: np.ndarray, predictions: np.ndarray, *, mean: np.ndarray | None = None
) -> np.ndarray:
    """Share of variance explained::

        r² = 1 - ||y - ŷ||² / ||y - m||²

    Parameters
    ----------
    responses, predictions : (n, V) arrays
        y and ŷ, held-out samples by voxels.
    mean : (V,) array, optional
        m, what explains nothing. The mean of `responses` where it is not given.

    Returns
    -------
    (V,) float64 array
        1 is perfect, 0 no better than `mean`, negative worse.
    """
    y, yhat = _as_pair(responses, predictions)
    centre = y.mean(0) if mean is None else np.asarray(mean, dtype=np.float64)
    total = np.square(y - centre).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = 1 - np.square(y - yhat).sum(0) / total
    usable = _varies(y) & (total > 0) & np.isfinite(yhat).all(0)
    return np.where(usable, score, np.nan)


def pooled_r2(responses: np.ndarray, predictions: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Share of variance explained in all held-out samples together::

        r² = 1 - Σ_t ||y_t - ŷ_t||² / Σ_t ||y_t - m_t||²

    with m_t the mean of fold t's training rows: what a model without features would predict.
    Predicting m_t scores 0, however few rows a fold has. (The mean of y_t itself is fitted to
    the rows that are scored: of n rows it takes σ²/n off their spread.) A model that knows the
    signal, and estimates the intercept from the training rows as any model must, scores in
    expectation what it would with all the rows in the world: errors and spread are both
    1 + 1/n_train times too large (out-of-sample R², Hawinkel et al. 2024, The American
    Statistician 78:15).

    Parameters
    ----------
    responses, predictions : (n, V) arrays
        y and ŷ; each row is predicted by the model that has not seen it.
    folds : sequence of Fold

    Returns
    -------
    (V,) float64 array
    """
    y, yhat = _as_pair(responses, predictions)
    spread = sum(np.square(y[fold.test] - y[fold.train].mean(0)).sum(0) for fold in folds)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = 1 - np.square(y - yhat).sum(0) / spread
    return np.where(_varies(y) & (spread > 0) & np.isfinite(yhat).all(0), score, np.nan)


def are_small(folds: Sequence[Fold]) -> bool:
    """Whether some fold has too few rows (`SMALL_FOLD`) for r² against its own mean."""
    return min(len(fold.test) for fold in folds) < SMALL_FOLD


def steady_score(folds: Sequence[Fold]) -> str:
    """The r² over folds that can be counted with: "pooled_r2" where folds are small, else "r2"."""
    return "pooled_r2" if are_small(folds) else "r2"


def correlation(responses: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Pearson correlation::

        r = <y - ȳ, ŷ - mean(ŷ)> / (||y - ȳ|| ||ŷ - mean(ŷ)||)

    Parameters
    ----------
    responses, predictions : (n, V) arrays
        y and ŷ, held-out samples by voxels.

    Returns
    -------
    (V,) float64 array
    """
    y, yhat = _as_pair(responses, predictions)
    # Predictions under a large penalty vary little around a mean, and still tell something.
    kind = np.asarray(predictions).dtype
    rounding = 4 * np.finfo(kind if kind.kind == "f" else np.float64).eps
    usable = _varies(y) & _varies(yhat, rounding)
    with np.errstate(divide="ignore", invalid="ignore"):
        y, yhat = y - y.mean(0), yhat - yhat.mean(0)
        score = (y * yhat).sum(0) / (np.linalg.norm(y, axis=0) * np.linalg.norm(yhat, axis=0))
    return np.where(usable & np.isfinite(score), np.clip(score, -1, 1), np.nan)


def _as_pair(responses, predictions) -> tuple[np.ndarray, np.ndarray]:
    y = np.asarray(responses, dtype=np.float64)
    yhat = np.asarray(predictions, dtype=np.float64)
    if y.ndim != 2 or y.shape != yhat.shape:
        raise ValueError(f"shapes (n, V) expected and equal, found {y.shape} and {yhat.shape}")
    return y, yhat


def _varies(values: np.ndarray, tolerance: float = CONSTANT) -> np.ndarray:
    """Which columns are finite and not constant, (V,) bool."""
    high, low = values.max(0), values.min(0)
    with np.errstate(invalid="ignore"):
        return high - low > tolerance * np.maximum(np.abs(high), np.abs(low))
