"""Interval of a mean over participants: bootstrap-t.

Percentile intervals of a bootstrap are too narrow for so few (they cover .76 to .91 of the time
with 5 to 12 participants), and those of Student's t where values are skewed, as shares of the
best layer are, which end at 1. The bootstrap of the studentised mean costs no more, and holds
both; its coverage is simulated by ``benchmarks/coverage.py``.
"""

from __future__ import annotations

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
MIN_PARTICIPANTS = 5  # 126 different resamples; with 4 there are 35
RESAMPLED = "participants with replacement (bootstrap-t of the mean)"
NOT_COVERED = (
    "other stimuli than those shown, and what all participants share: network, layers, settings, "
    "regions"
)
WHERE_NONE = (
    f"n/a with fewer than {MIN_PARTICIPANTS} participants, or where too many of them have the same "
    "value"
)


def mean_interval(
    values: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over participants, and its bootstrap-t interval over participants.

    With m and s the mean and standard error of the values, m* and s* those of n participants
    drawn with replacement, and q the quantiles of (m* - m) / s*, the interval is from
    m - q(.975) s to m - q(.025) s.

    Parameters
    ----------
    values : (n, L) array
        One row a participant; rows with NaN do not count.
    draws, seed : int

    Returns
    -------
    mean, low, high : (L,) arrays
        The interval is NaN with fewer than 5 participants, and where so many of them have the
        same value that resamples do not tell how far the mean may be off.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 12.5.
    """
    values = values[np.isfinite(values).all(axis=1)].astype(np.float64)
    n, n_layers = values.shape
    nothing = np.full(n_layers, np.nan)
    if n == 0:
        return nothing, nothing, nothing
    mean = values.mean(axis=0)
    if n < MIN_PARTICIPANTS:
        return mean, nothing, nothing
    # How often each participant is drawn: (draws, n).
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    off = values - mean  # so that squares lose no digits
    drawn = counts @ off / n
    error = _standard_error(counts @ off**2 / n - drawn**2, n)
    own = _standard_error((off**2).mean(axis=0), n)
    # A resample of equal values says "infinitely far"; one that hits the mean says nothing.
    least = 1e-9 * np.abs(values).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(error > least, drawn / error, np.sign(drawn) * np.inf)
    studentised = np.where(np.isnan(studentised), 0, studentised)
    studentised.sort(axis=0)
    tail = (1 - CONFIDENCE) / 2
    # Whole order statistics: between a number and infinity there is no quantile.
    first = int(np.floor(tail * (draws + 1))) - 1
    with np.errstate(invalid="ignore"):
        low, high = mean - studentised[-1 - first] * own, mean - studentised[first] * own
    known = (own > least) & np.isfinite(low) & np.isfinite(high)
    return mean, np.where(known, low, np.nan), np.where(known, high, np.nan)


def _standard_error(variance: np.ndarray, n: int) -> np.ndarray:
    """Of a mean of n, from the variance that divides by n."""
    return np.sqrt(np.maximum(variance, 0) / (n - 1))
