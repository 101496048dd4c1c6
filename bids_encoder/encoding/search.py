"""Which penalty is best for each voxel, without trying them all.

The score of a voxel as a function of log α is smooth: it is a sum of terms that each change over
about a decade. So a few penalties are tried on all voxels, about 1.7 decades apart, and then, voxel
by voxel, the maximum is closed in: the vertex of the parabola through the best penalty and its
nearest neighbours says what to try next, until both neighbours of the best one on the grid are
known to be lower. Where a curve is nearly flat, as it is in voxels without signal, gaps in it whose
ends come near to the best score are looked into as well, for they may hide a second peak.

A voxel is tried at 6 to 8 of 20 penalties. What it ends with is always a local maximum on the grid;
in simulations it is the global one for 99.96 to 100 % of voxels. The few others have two peaks, are
hardly predicted, and lost 0.01 in r² at most. Closer looks find half of them, for 7 to 15 % more
products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# How far apart, in decades, the first penalties are.
COARSE_STEP = 1.75
# A gap is looked into where one of its ends is this close to the best, as a share of the range.
NEAR = 0.01
SMALLEST_GAP = 3

Evaluate = Callable[[int, np.ndarray | None], np.ndarray]


def search(evaluate: Evaluate, penalties: np.ndarray, n_voxels: int) -> np.ndarray:
    """Index of the best penalty of each voxel.

    Parameters
    ----------
    evaluate : callable
        `evaluate(j, rows)` gives the scores at penalty j of the voxels `rows`, an index array, or
        of all voxels where `rows` is None.
    penalties : (m,) array
        The grid, rising.
    n_voxels : int

    Returns
    -------
    (V,) int array
        Among equal scores, the one with the largest penalty.
    """
    scores = np.full((n_voxels, len(penalties)), np.nan)
    for j in coarse_grid(penalties):
        scores[:, j] = evaluate(j, None)
    active = np.arange(n_voxels)
    while len(active):
        following = _next(scores[active])
        active, following = active[following >= 0], following[following >= 0]
        for j in np.unique(following):
            rows = active[following == j]
            scores[rows, j] = evaluate(int(j), rows)
    return _best(scores)


def coarse_grid(penalties: np.ndarray) -> list[int]:
    """What is tried on all voxels: the whole grid where it is short or widely spaced."""
    m = len(penalties)
    step = int(COARSE_STEP / np.diff(np.log10(penalties)).mean()) if m > 8 else 1
    return list(range(m)) if step < 2 else [*range(m // 4, m - step + 1, step), m - 1]


def _best(scores: np.ndarray) -> np.ndarray:
    """Place of the largest score, the last of equal ones."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    return scores.shape[1] - 1 - filled[:, ::-1].argmax(1)


def _next(scores: np.ndarray) -> np.ndarray:
    """What to try next in each voxel, (V,); -1 where the maximum is found.

    `scores` is (V, m), NaN where a penalty has not been tried.
    """
    m = scores.shape[1]
    left, right = _neighbours(~np.isnan(scores))
    voxels, best = np.arange(len(scores)), _best(scores)
    low, high = left[voxels, best], right[voxels, best]
    following = _vertex(scores, low, best, high)
    # Beyond the penalties tried so far, go two steps at a time.
    following = np.where(low < 0, np.maximum(best - 2, 0), following)
    following = np.where(high >= m, np.minimum(best + 2, m - 1), following)
    # At the ends of the grid only one neighbour is left to be known.
    following = np.where(best == 0, high // 2, following)
    following = np.where(best == m - 1, (low + m) // 2, following)
    closed = np.flatnonzero((low == best - 1) & (high == best + 1))
    following[closed] = _hidden(scores[closed], left[closed], right[closed])
    return following


def _neighbours(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest known places below and above each place, (V, m) each; -1 and m for none."""
    m = known.shape[1]
    places = np.arange(m)
    below = np.maximum.accumulate(np.where(known, places, -1), axis=1)
    above = np.minimum.accumulate(np.where(known, places, m)[:, ::-1], axis=1)[:, ::-1]
    edge = np.ones((len(known), 1), dtype=below.dtype)
    return np.hstack([-edge, below[:, :-1]]), np.hstack([above[:, 1:], m * edge])


def _vertex(scores, low, best, high) -> np.ndarray:
    """The untried place between low and high that is nearest to the parabola's vertex."""
    m = scores.shape[1]
    voxels = np.arange(len(scores))
    at = [scores[voxels, place] for place in (np.maximum(low, 0), best, np.minimum(high, m - 1))]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (at[1] - at[0]) / (best - low), (at[2] - at[1]) / (high - best)
        vertex = (low + best) / 2 - rise / (2 * (fall - rise) / (high - low))
    vertex = np.where(np.isfinite(vertex), vertex, best)
    place = np.clip(np.rint(vertex), low + 1, high - 1).astype(int)
    upward = (low == best - 1) | ((vertex > best) & (high > best + 1))
    return np.where(place == best, np.where(upward, best + 1, best - 1), place)


def _hidden(scores, left, right) -> np.ndarray:
    """The middle of the widest gap that may hide a second peak, (V,); -1 where there is none."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = filled.max(1, keepdims=True)
    span = best - np.nanmin(scores, axis=1, keepdims=True)
    near = filled >= best - NEAR * span
    width = np.zeros_like(scores)
    middle = np.full(scores.shape, -1)
    m = scores.shape[1]
    places = np.broadcast_to(np.arange(m), scores.shape)
    for other in (left, right):
        gap = np.where(near & (other >= 0) & (other < m), np.abs(places - other), 0)
        wider = (gap >= SMALLEST_GAP) & (gap > width)
        width = np.where(wider, gap, width)
        middle = np.where(wider, (places + other) // 2, middle)
    return middle[np.arange(len(scores)), width.argmax(1)]
