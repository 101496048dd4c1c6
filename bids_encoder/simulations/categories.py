"""Similarity within and between nested categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.rsa.similarity import bootstrap_counts


@dataclass(frozen=True)
class LevelContrast:
    """Mean similarities at one level of the categories, with bootstrap intervals.

    Attributes
    ----------
    level : str
    within, between, difference : (3,) arrays
        Estimate, low and high end of the interval. ``within``: pairs of items with
        the same label at this level that the level below tells apart; ``between``:
        pairs with different labels whose labels at the level above agree.
    """

    level: str
    within: np.ndarray
    between: np.ndarray
    difference: np.ndarray


def level_contrasts(
    similarity: np.ndarray,
    labels: Mapping[str, Sequence[str]],
    *,
    number: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[LevelContrast]:
    """Compare similarity within and between categories, level by level.

    Levels are nested, from the finest to the coarsest: every subordinate
    category belongs to one basic category, and so on. The pairs of items then
    fall into classes by the finest level at which their labels agree. At each
    level, the class of that level is compared with the next coarser class; with
    three levels there are four classes and three comparisons.

    Parameters
    ----------
    similarity : (n, n) array
    labels : mapping of level to n labels
        From the finest level to the coarsest.
    number : int
        Of bootstrap samples, drawn over items within the finest categories.
    confidence : float
    seed : int

    Returns
    -------
    list of LevelContrast
        NaN where a class has no pairs.
    """
    classes = _pair_classes(list(labels.values()))
    random = np.random.default_rng(seed)
    drawn = bootstrap_counts(list(next(iter(labels.values()))), number, random)
    counts = np.vstack([np.ones(len(similarity)), drawn])
    means = np.stack(
        [_mean(similarity, classes == c, counts) for c in range(len(labels) + 1)]
    )  # (classes, 1 + number)
    return [
        LevelContrast(
            level,
            _with_interval(means[c], confidence),
            _with_interval(means[c + 1], confidence),
            _with_interval(means[c] - means[c + 1], confidence),
        )
        for c, level in enumerate(labels)
    ]


def _pair_classes(levels: list[Sequence[str]]) -> np.ndarray:
    """The finest level (0, 1, ...) at which two items agree; −1 on the diagonal."""
    agree = np.stack([np.equal.outer(np.array(names), np.array(names)) for names in levels])
    classes = np.where(agree.any(axis=0), agree.argmax(axis=0), len(levels))
    np.fill_diagonal(classes, -1)
    return classes


def _mean(similarity: np.ndarray, chosen: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the chosen pairs, for each way of counting the items."""
    values = np.where(chosen, np.nan_to_num(similarity), 0)
    there = (chosen & np.isfinite(similarity)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((counts @ values) * counts).sum(axis=1) / ((counts @ there) * counts).sum(axis=1)


def _with_interval(values: np.ndarray, confidence: float) -> np.ndarray:
    drawn = values[1:][np.isfinite(values[1:])]
    if not drawn.size or not np.isfinite(values[0]):
        return np.full(3, np.nan)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return np.array([values[0], *np.quantile(drawn, tails)])
