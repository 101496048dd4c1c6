"""Responses in another order, as autocorrelated as they were.

Responses are permuted within the test rows of each fold, so that a fold keeps its responses. Where
neighbours share noise, whole blocks of neighbouring rows are permuted. A block keeps what is
faster than itself and loses what is slower: noise of AR(0.95) in blocks of ten rows would be too
easily predicted by slow features, and p < 0.01 come to 9 % of such voxels. So responses are
whitened before they are permuted, and coloured after (Bullmore et al. 1996, Magnetic Resonance in
Medicine), with an autoregressive model of the first order for each voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.encoding.blocks import TILE
from bids_encoder.encoding.folds import Fold

LARGEST_RHO = 0.99


def permutations(
    folds: Sequence[Fold], count: int, *, block: int = 1, rng: np.random.Generator
) -> np.ndarray:
    """Random orders of the rows, (n, count): each fold's test rows in another order.

    Parameters
    ----------
    folds : sequence of Fold
    count : int
    block : int
        Rows that stay together, in order. Where the rows of a fold are not a whole number of
        blocks, one block is shorter; where blocks begin is drawn anew each time.
    rng : numpy Generator
    """
    orders = np.empty((sum(len(fold.test) for fold in folds), count), dtype=np.int64)
    for fold in folds:
        n = len(fold.test)
        if block <= 1:
            shuffled = rng.permuted(np.tile(np.arange(n)[:, None], count), axis=0)
        else:
            shuffled = np.stack([_shuffled(n, block, rng) for _ in range(count)], axis=1)
        orders[fold.test] = fold.test[shuffled]
    return orders


def _shuffled(n: int, block: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of neighbouring rows in another order, (n,)."""
    rows = np.roll(np.arange(n), int(rng.integers(n)))
    blocks = [rows[start : start + block] for start in range(0, n, block)]
    return np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])


def autocorrelation(responses: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Lag-1 autocorrelation of responses (n, V) within the test rows of folds, (V,) float64.

    Less the bias that comes of taking the mean of few rows away (Kendall 1954, Biometrika): with m
    rows a fold, ρ is estimated too low by (1 + 4ρ) / m. NaN where a voxel's responses are constant
    or not finite.
    """
    found = np.empty(responses.shape[1])
    for start in range(0, len(found), TILE):
        some = slice(start, start + TILE)
        products = squares = 0.0
        for fold in folds:
            y = np.asarray(responses[fold.test, some], dtype=np.float64)
            y = y - y.mean(0)
            products = products + np.einsum("ij,ij->j", y[1:], y[:-1])
            squares = squares + np.einsum("ij,ij->j", y, y)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[some] = products / squares
    rows = len(responses) / len(folds)
    return np.clip((found * rows + 1) / max(rows - 4, 1), -LARGEST_RHO, LARGEST_RHO)


def permute(
    responses: np.ndarray, voxels: np.ndarray, orders: np.ndarray, folds: Sequence[Fold]
) -> np.ndarray:
    """Permuted responses that are as autocorrelated as the real ones, (n, count) float32.

    Within each fold, with ρ the voxel's lag-1 autocorrelation, e_i = y_i - ρ y_(i-1) is permuted,
    and y_i = ρ y_(i-1) + e_i made of it again, with the mean and the variance of the fold.

    Parameters
    ----------
    responses : (n, v) array
    voxels : (count,) int array
        Whose responses are permuted in which way.
    orders : (n, count) int array
        As `permutations` gives them.
    folds : sequence of Fold
    """
    used, of_used = np.unique(voxels, return_inverse=True)
    responses = np.asarray(responses[:, used], dtype=np.float64)
    rho = autocorrelation(responses, folds)
    start = np.sqrt(1 - rho**2)
    made = np.empty(orders.shape, dtype=np.float32)
    for fold in folds:
        y = responses[fold.test]
        mean, deviation = y.mean(0), y.std(0)
        y = y - mean
        white = np.concatenate([start * y[:1], y[1:] - rho * y[:-1]])
        e = white[np.searchsorted(fold.test, orders[fold.test]), of_used]
        e[0] /= start[of_used]
        for i in range(1, len(e)):
            e[i] += rho[of_used] * e[i - 1]
        e -= e.mean(0)
        made[fold.test] = e * (deviation[of_used] / e.std(0)) + mean[of_used]
    return made
