"""Similarity of representations, and how smoothly one representation follows another.

Shapes: n items, p units; a similarity matrix is (n, n), symmetric; "pairs" are the
n(n−1)/2 values above its diagonal, row after row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_CONSTANT = 1e-6  # a standard deviation below this share of the values' size is rounding


def standardized(rows: np.ndarray) -> np.ndarray:
    """Give each row mean 0 and length 1, so that inner products are correlations.

    Parameters
    ----------
    rows : (..., p) array

    Returns
    -------
    (..., p) array
        float32 stays float32. NaN where a row is constant.
    """
    rows = np.asarray(rows)
    if rows.dtype != np.float32:
        rows = rows.astype(np.float64)
    centred = rows - rows.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    size = np.linalg.norm(rows, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > _CONSTANT * size, centred / length, np.nan)


def similarity_matrix(values: np.ndarray) -> np.ndarray:
    """Pearson correlation of every item's representation with every other's.

    Parameters
    ----------
    values : (..., n, p) array
        One row an item.

    Returns
    -------
    (..., n, n) array
        NaN in the row and column of an item whose units are all equal.
    """
    rows = standardized(values)
    return np.clip(rows @ np.swapaxes(rows, -1, -2), -1, 1)


def pairs(matrix: np.ndarray) -> np.ndarray:
    """Values above the diagonal, row after row: (..., n, n) to (..., n(n−1)/2)."""
    upper = np.triu_indices(matrix.shape[-1], k=1)
    return matrix[..., upper[0], upper[1]]


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of two arrays of numbers; what is NaN in either is left out.

    Returns
    -------
    float
        NaN where fewer than three numbers are left, or one side is constant.
    """
    first, second = np.ravel(first), np.ravel(second)
    both = np.isfinite(first) & np.isfinite(second)
    if np.count_nonzero(both) < 3:
        return float("nan")
    a, b = standardized(np.stack([first[both], second[both]]).astype(np.float64))
    return float(np.clip(a @ b, -1, 1))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of the ranks; as :func:`pearson` otherwise."""
    from scipy.stats import rankdata

    first, second = np.ravel(first), np.ravel(second)
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return float("nan")
    return pearson(rankdata(first[both]), rankdata(second[both]))


def functional_smoothness(inputs: np.ndarray, representations: np.ndarray) -> float:
    """How well similarity of inputs predicts similarity of their representations.

    The Pearson correlation, over pairs of items, between the two similarities,
    which are Pearson correlations themselves.

    Parameters
    ----------
    inputs : (n, p) array
    representations : (n, q) array

    Returns
    -------
    float
        1: similar inputs have similar representations, in proportion. 0: the
        similarity of representations says nothing of that of the inputs.

    References
    ----------
    Guest and Love 2017, eLife 6:e21397.
    """
    return pearson(pairs(similarity_matrix(inputs)), pairs(similarity_matrix(representations)))


def gini(values: np.ndarray) -> np.ndarray:
    """Gini coefficient of each row: how unequally activity is spread over units.

    With the units of a row sorted from small to large,
    G = Σ_k (2k − p − 1) x_k / (p Σ_k x_k). Rows with negative values are shifted
    until the smallest is 0, as Guest and Love did for their network.

    Parameters
    ----------
    values : (..., p) array

    Returns
    -------
    (...) array
        0: all units are equally active; towards 1: one unit alone is. 0 where
        all are silent.
    """
    ordered = np.sort(values, axis=-1).astype(np.float64)  # sorting float32 is much faster
    ordered -= np.minimum(ordered[..., :1], 0)
    count = ordered.shape[-1]
    total = ordered.sum(axis=-1)
    weighted = ordered @ (2 * np.arange(1, count + 1) - count - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, weighted / (count * total), 0.0)


def sample_items(names: Sequence[str], most: int, seed: int | str = 0) -> list[str]:
    """Draw at most so many items; the same ones wherever they occur.

    Items are drawn by the checksums of their names with the seed. Participants
    who saw overlapping sets of pictures therefore get overlapping samples.

    Parameters
    ----------
    names : sequence of str
    most : int
    seed : int or str

    Returns
    -------
    list of str
        In the order of ``names``.
    """
    if len(names) <= most:
        return list(names)
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = set(ranked[:most])
    return [name for name in names if name in chosen]


def bootstrap_counts(
    labels: Sequence[object], number: int, random: np.random.Generator
) -> np.ndarray:
    """How often each item is drawn in each bootstrap sample.

    Items are drawn with replacement within their label, so that no category
    vanishes from a sample.

    Parameters
    ----------
    labels : sequence of n hashable objects
    number : int
        Of bootstrap samples.

    Returns
    -------
    (number, n) int array
    """
    counts = np.zeros((number, len(labels)), dtype=np.int64)
    for label in dict.fromkeys(labels):
        members = np.array([i for i, other in enumerate(labels) if other == label])
        share = np.full(len(members), 1 / len(members))
        counts[:, members] = random.multinomial(len(members), share, size=number)
    return counts


def bootstrap_interval(
    first: np.ndarray,
    second: np.ndarray,
    *,
    number: int = 200,
    level: float = 0.95,
    seed: int = 0,
    corrected: bool = False,
) -> tuple[float, float]:
    """Interval of the correlation of two similarity matrices over pairs, by bootstrap of items.

    Pairs of an item with its own copy are left out, as their similarity is 1 in
    every representation.

    Parameters
    ----------
    first, second : (n, n) arrays
    number : int
        Of bootstrap samples.
    level : float
        Of confidence.
    seed : int
    corrected : bool
        Take back what draws of items vary too much where the matrices have little in common
        (Schütt et al. 2023, eLife 12:e82566, describe the like).

    Returns
    -------
    low, high : float
        Percentiles; NaN where the correlation is not defined.
    """
    usable = np.isfinite(first).any(axis=0) & np.isfinite(second).any(axis=0)
    a, b = (m[np.ix_(usable, usable)].astype(np.float64) for m in (first, second))
    if len(a) < 4:
        return float("nan"), float("nan")
    for matrix in (a, b):
        matrix -= pairs(matrix).mean()  # numerically kinder
        np.fill_diagonal(matrix, 0)
    # Pair (i, j) counts c_i c_j times; the diagonal, an item with its copy, not at all.
    counts = bootstrap_counts([0] * len(a), number, np.random.default_rng(seed)).astype(np.float64)
    ones = 1 - np.eye(len(a))

    def total(values: np.ndarray) -> np.ndarray:
        return ((counts @ values) * counts).sum(axis=1)

    weight = total(ones)
    with np.errstate(invalid="ignore", divide="ignore"):  # of few items a draw may be one alone
        mean_a, mean_b = total(a) / weight, total(b) / weight
        r = (total(a * b) / weight - mean_a * mean_b) / np.sqrt(
            (total(a * a) / weight - mean_a**2) * (total(b * b) / weight - mean_b**2)
        )
    r[~np.isfinite(r)] = np.nan  # draws in which all pairs are alike, up to rounding
    if not np.isfinite(r).any():
        return float("nan"), float("nan")
    if corrected:
        r = _narrowed(a, b, r)
    low, high = np.nanquantile(r, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _narrowed(a: np.ndarray, b: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Draws of the correlation of two (n, n) matrices, brought together by `_too_wide`."""
    r = pearson(pairs(a), pairs(b))
    # On Fisher's scale, where the spread does not depend on how high a correlation is.
    limit = 1 - 1e-12
    z, centre = (np.arctanh(np.clip(x, -limit, limit)) for x in (drawn, r))
    return np.tanh(centre + _too_wide(a, b, r, np.nanvar(drawn)) * (z - np.nanmean(z)))


def _too_wide(a: np.ndarray, b: np.ndarray, r: float, drawn: float) -> float:
    """By how much bootstrap draws over items are to be brought together: a factor up to 1.

    A correlation over pairs is a U-statistic of degree 2. With h_ij the influence of a pair, ζ_1
    the variance over items of its mean over partners, and ζ_2 the variance over pairs,

        var = (4 (n - 2) ζ_1 + 2 ζ_2) / (n (n - 1)).

    Draws with replacement count the part that belongs to single pairs, 2 (ζ_2 - 2 ζ_1), about
    three times. Where this part is all there is, as between representations that have nothing to
    do with each other, intervals would be 1.6 times too wide; where items carry the variance,
    they are right, and the estimate of ζ_1 is the poorer one. The two variances are therefore
    mixed by the square of the share of the pairs' part.

    Parameters
    ----------
    a, b : (n, n) arrays
        Similarities, 0 on the diagonal.
    r : float
        Their correlation over pairs.
    drawn : float
        Variance of the draws.
    """
    n = len(a)
    other = ~np.eye(n, dtype=bool)
    za, zb = ((x - x[other].mean()) / x[other].std() for x in (a, b))
    h = np.where(other, za * zb - r / 2 * (za**2 + zb**2), 0)
    n_pairs = n * (n - 1)
    of_pairs = (h**2).sum() / n_pairs
    of_items = max(((h.sum(axis=1) ** 2).sum() - (h**2).sum()) / (n_pairs * (n - 2)), 0.0)
    variance = (4 * (n - 2) * of_items + 2 * of_pairs) / n_pairs
    if not 0 < variance < drawn:
        return 1.0
    share = np.clip(2 * (of_pairs - 2 * of_items) / n_pairs / variance, 0, 1) ** 2
    return float(np.sqrt((1 - share) + share * variance / drawn))
