"""Fingerprints of regions: the profile over layers of a region's best voxels.

Shapes: scores are (L, n), L layers from early to late and n voxels of one region; a
voxel without a score is NaN in every layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BEST_SHARE = 0.25
DRAWS = 1000
CONFIDENCE = 0.95
_BLOCK = 2_000_000  # resampled voxels that are held at once


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The fingerprint of one region.

    Attributes
    ----------
    score : (L,) array
        Mean score of the best voxels.
    values : (L,) array
        The same divided by its maximum; NaN where no layer predicts.
    low, high : (L,) arrays
        Bootstrap interval of ``values``.
    winners : (L,) array
        Share of the bootstrap draws in which the layer is the highest.
    n_voxels, n_best : int
        Voxels with a score, and how many of them were averaged.
    """

    score: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    winners: np.ndarray
    n_voxels: int
    n_best: int


def region_fingerprint(
    scores: np.ndarray,
    *,
    share: float = BEST_SHARE,
    draws: int = DRAWS,
    seed: int | tuple[int, ...] = 0,
) -> Fingerprint:
    """Average the best voxels of a region and divide by the maximum over layers.

    The best voxels are those with the highest score in any layer. For the interval,
    voxels of the region are drawn with replacement, the best of them are chosen anew,
    averaged and divided by their own maximum.

    Parameters
    ----------
    scores : (L, n) array
    share : float
        Of the voxels that have a score, the share that is averaged.
    draws : int
        Of the bootstrap.
    seed : int or tuple of int

    Returns
    -------
    Fingerprint

    Notes
    -----
    The interval says how much the fingerprint hangs on which voxels the region happens
    to have. Neighbouring voxels are not independent and all share one participant and
    one set of stimuli, so it is too narrow for statements about the region in general.
    The best voxels are chosen by the scores that are averaged: heights are optimistic,
    shapes are what counts.

    References
    ----------
    Eickenberg et al. 2017, NeuroImage 152, section on fingerprints of regions.
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    scores = scores[:, np.isfinite(scores).all(axis=0)].astype(np.float64)
    n_layers, n = scores.shape
    if n == 0:
        nothing = np.full(n_layers, np.nan)
        return Fingerprint(nothing, nothing, nothing, nothing, nothing, 0, 0)
    ranked = scores[:, np.argsort(-scores.max(axis=0), kind="stable")]
    n_best = max(1, math.ceil(share * n))
    score = ranked[:, :n_best].mean(axis=1)
    drawn = _resampled(ranked, n_best, draws, np.random.default_rng(seed))
    values = relative(score)
    if np.isnan(values).any():
        nothing = np.full(n_layers, np.nan)
        return Fingerprint(score, values, nothing, nothing, nothing, n, n_best)
    relatives = relative(drawn)
    low, high = interval(relatives)
    winners = np.bincount(drawn.argmax(axis=1), minlength=n_layers) / draws
    return Fingerprint(score, values, low, high, winners, n, n_best)


def relative(scores: np.ndarray) -> np.ndarray:
    """Divide scores (..., L) by their maximum over layers; NaN where it is not positive."""
    highest = np.max(scores, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(highest > 0, scores / highest, np.nan)


def interval(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of bootstrap draws (draws, L), those without a value left out."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, (tail, 1 - tail), axis=0)
    return low, high


def _resampled(ranked: np.ndarray, n_best: int, draws: int, random) -> np.ndarray:
    """Means (draws, L) over the best voxels of bootstrap resamples; voxels come best first."""
    n_layers, n = ranked.shape
    means = np.empty((draws, n_layers))
    step = max(1, _BLOCK // n)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = random.integers(n, size=(size, n), dtype=np.int32)
        # The voxels are in order, so the best of a resample are its lowest numbers.
        drawn.partition(n_best - 1, axis=1)
        best = drawn[:, :n_best]
        last = int(best.max()) + 1
        means[start : start + size] = _counts(best, last) @ ranked[:, :last].T / n_best
    return means


def _counts(chosen: np.ndarray, n: int) -> np.ndarray:
    """How often each of n things was chosen in each row: (rows, n)."""
    rows = len(chosen)
    flat = chosen + n * np.arange(rows)[:, None]
    return np.bincount(flat.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
