"""Similarity analysis: do layers and regions agree on which items are alike?

Shapes: n items; "pairs" are the n(n−1)/2 values above the diagonal of an (n, n)
similarity matrix, row after row.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from bids_encoder.rsa.similarity import pearson, standardized


def crossvalidated_distances(
    first: np.ndarray, second: np.ndarray, noise: np.ndarray | None = None
) -> np.ndarray:
    """Squared Euclidean distances whose noise does not add up.

    d_ij = (a_i − a_j)·(b_i − b_j) / V, where a and b are independent
    measurements of the same items. Its expectation is the distance without the
    noise: 0 for items that do not differ, and then negative as often as positive.

    Parameters
    ----------
    first, second : (n, V) arrays
        The two measurements.
    noise : (V,) array, optional
        Noise variance of each voxel; voxels are divided by its square root
        (univariate noise normalisation).

    Returns
    -------
    (n, n) array
        Symmetric, 0 on the diagonal.

    References
    ----------
    Walther et al. 2016, NeuroImage 137:188 (crossnobis, here with a diagonal
    noise covariance).
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if noise is not None:
        with np.errstate(divide="ignore"):
            weight = np.where(noise > 0, 1 / noise, 0.0)
        a = a * weight
    inner = a @ b.T / a.shape[1]
    own = np.diag(inner)
    distances = own[:, None] + own[None, :] - inner - inner.T
    np.fill_diagonal(distances, 0)
    return distances


def noise_variance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Variance of the noise in each voxel of two measurements of the same items.

    Half the variance of their difference: (n, V) and (n, V) to (V,).
    """
    return np.var(np.asarray(first, np.float64) - second, axis=0, ddof=1) / 2


def noise_ceiling(measured: np.ndarray) -> tuple[float, float]:
    """Bounds on the correlation that any model can reach with noisy similarities.

    Upper: mean correlation of each measurement with the mean of all (after
    standardisation), in which it takes part itself. Lower: with the mean of the
    others.

    Parameters
    ----------
    measured : (m, pairs) array
        The same similarities from m runs, halves or participants, m at least 2.

    Returns
    -------
    lower, upper : float
        NaN for fewer than two measurements.

    References
    ----------
    Nili et al. 2014, PLoS Computational Biology 10:e1003553.
    """
    measured = np.asarray(measured, dtype=np.float64)
    measured = measured[:, np.isfinite(measured).all(axis=0)]
    count = len(measured)
    if count < 2 or measured.shape[1] < 3:
        return float("nan"), float("nan")
    rows = standardized(measured)
    total = rows.sum(axis=0)
    upper = [pearson(row, total) for row in rows]
    lower = [pearson(row, total - row) for row in rows]
    return float(np.mean(lower)), float(np.mean(upper))


def ranked(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis (ties share their mean rank), for Spearman correlations."""
    return rankdata(values, axis=-1)


def correlations(models: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Pearson correlation of each model's pairs with each region's: (L, P), (R, P) to (L, R)."""
    models, data = (standardized(np.asarray(x, np.float64)) for x in (models, data))
    return np.clip(models @ data.T, -1, 1)


def permutation_p(
    models: np.ndarray, data: np.ndarray, *, number: int = 1000, seed: int = 0
) -> np.ndarray:
    """How often shuffled items agree with a model at least as well as the true ones.

    The items of the data are permuted, rows and columns of its similarity matrix
    together; the same permutation for all models and regions. One-sided: only
    positive agreement counts.

    Parameters
    ----------
    models : (L, pairs) array
    data : (R, pairs) array
        Values or ranks, finite.
    number : int
        Of permutations.
    seed : int

    Returns
    -------
    (L, R) array
        (1 + number of permutations as good as the truth) / (1 + number): never 0.
        NaN where the correlation is not defined.
    """
    random = np.random.default_rng(seed)
    models, data = (standardized(np.asarray(x, np.float64)) for x in (models, data))
    # Below this, a permuted correlation equals the true one: the same numbers, added otherwise.
    true = models @ data.T - 1e-9
    items = round((1 + np.sqrt(1 + 8 * data.shape[1])) / 2)
    upper = np.triu_indices(items, k=1)
    place = np.zeros((items, items), dtype=np.intp)
    place[upper] = np.arange(data.shape[1])
    place += place.T
    place = place.ravel()
    columns = np.ascontiguousarray(data.T)  # (pairs, R): one gather serves all regions
    as_good = np.zeros(true.shape)
    for _ in range(number):
        order = random.permutation(items)
        moved = place.take(items * order[upper[0]] + order[upper[1]])
        as_good += models @ columns.take(moved, axis=0) >= true
    return np.where(np.isfinite(true), (1 + as_good) / (1 + number), np.nan)
