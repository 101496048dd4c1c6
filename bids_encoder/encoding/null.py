"""Which scores are higher than chance: a permutation null, p-values, false discovery rate.

The statistic of a voxel is T = max over layers of its cross-validated score. Its null
distribution is made by permuting the responses of a few voxels, and doing with them all that was
done with the real ones: fit on the training folds, choose the penalty, score on the held-out
folds, take the maximum over layers. The same permutation is used for all layers, and the values
of all these voxels are pooled.

Permuting only the held-out responses against predictions that stay as they are would be cheaper,
but too easy a null, for two reasons. The choice of the penalty would have seen the real
responses, not the permuted ones. And the folds test each other: what fold s predicts for fold t
and what fold t predicts for fold s come from nearly the same sum, Σ y_i K_ij y_j, so that scores
of noise averaged over folds vary more than permutations of the held-out responses alone make
believe. In a simulation with four folds, one penalty and no signal, such a null gave p < 0.01 to
3 % of voxels, and p < 0.001 to 0.6 %.

Responses are permuted within the test rows of each fold, so that a fold keeps its responses. For
continuous designs, whose noise is autocorrelated, whole blocks of neighbouring rows are permuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.encoding.blocks import TILE
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.memory import DEFAULT_MEMORY, make_plan
from bids_encoder.encoding.ridge import PENALTIES, fit

N_VOXELS = 14
N_PERMUTATIONS = 100_000
# Of permuted responses: orders, the responses, and parts of both.
_VALUE_BYTES = 32


@dataclass(frozen=True)
class Null:
    """Scores of L layers for B permutations, in the order in which they were drawn.

    Attributes
    ----------
    r2, r : (L, B) float32
        As in `Fit`, of permuted responses. A column is one permutation of one voxel's responses,
        the same for all layers, so that whatever is made of a voxel's scores over layers (the
        highest, its place, a slope) has its null here.
    voxel : (B,) int
        Whose responses were permuted: the column of `responses`.
    """

    r2: np.ndarray
    r: np.ndarray
    voxel: np.ndarray

    def __len__(self) -> int:
        return len(self.voxel)

    def highest(self, score: str = "r2") -> np.ndarray:
        """T = max over layers of the score ("r2" or "r"), (B,)."""
        return getattr(self, score).max(axis=0)


def spread_voxels(valid: np.ndarray, count: int = N_VOXELS) -> np.ndarray:
    """Indices of `count` voxels (or all, if fewer) spread evenly over the valid ones.

    Parameters
    ----------
    valid : (V,) bool array
        As in `Fit`.
    """
    candidates = np.flatnonzero(valid)
    count = min(count, len(candidates))
    return candidates[((np.arange(count) + 0.5) * len(candidates) / max(count, 1)).astype(int)]


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


def null_distribution(
    kernels: Sequence[np.ndarray],
    responses: np.ndarray,
    folds: Sequence[Fold],
    *,
    n_permutations: int = N_PERMUTATIONS,
    block: int = 1,
    penalties: np.ndarray = PENALTIES,
    nested: bool = False,
    mem_bytes: int | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Null:
    """Scores of permuted responses, of every layer.

    Parameters
    ----------
    kernels : sequence of (n, n) arrays
        `linear_kernel(features)` of each layer.
    responses : (n, v) array
        The responses of a few voxels (see `spread_voxels`), finite and not constant.
    folds : sequence of Fold
    n_permutations : int
        In all: they are shared out among the voxels.
    block : int
        Rows that are permuted together; 1 for event designs.
    penalties, nested, mem_bytes, device
        As for `fit`, and the same as for the real responses.
    seed : int
        Of the random numbers.

    Returns
    -------
    Null
    """
    n, n_voxels = responses.shape
    rng = np.random.default_rng(seed)
    memory = mem_bytes or DEFAULT_MEMORY
    voxel = np.arange(n_permutations) % n_voxels
    batch = _batch(n, memory)
    found = np.empty((2, len(kernels), n_permutations), dtype=np.float32)
    for first in range(0, n_permutations, batch):
        columns = slice(first, first + batch)
        parts = []
        for start in range(first, min(first + batch, n_permutations), TILE):
            some = voxel[start : min(start + TILE, first + batch)]
            orders = permutations(folds, len(some), block=block, rng=rng)
            parts.append(responses[orders, some])
        permuted = np.concatenate(parts, axis=1)
        for layer, kernel in enumerate(kernels):
            fitted = fit(
                None,
                permuted,
                folds,
                kernel=kernel,
                penalties=penalties,
                nested=nested,
                keep_weights=False,
                mem_bytes=memory // 2,
                device=device,
            )
            found[:, layer, columns] = fitted.r2, fitted.r
    return Null(r2=found[0], r=found[1], voxel=voxel)


def null_bytes(n: int, n_permutations: int, mem_bytes: int) -> int:
    """About how much memory :func:`null_distribution` takes, beside its arguments.

    Parameters
    ----------
    n, n_permutations : int
        Rows, and permutations in all.
    mem_bytes : int
        What it is allowed.
    """
    batch = min(_batch(n, mem_bytes), n_permutations)
    fit_bytes = make_plan(
        n, None, batch, n_folds=5, n_penalties=len(PENALTIES), mem_bytes=mem_bytes // 2
    ).bytes
    return _VALUE_BYTES * n * batch + fit_bytes


def _batch(n: int, memory: int) -> int:
    """Permutations at a time."""
    # Whole tiles, or the random numbers, and the last bits of the fits, would depend on the memory.
    return max(memory // (2 * _VALUE_BYTES * n) // TILE, 1) * TILE


def p_values(statistic: np.ndarray, null: np.ndarray) -> np.ndarray:
    """p = (1 + how many null values are at least as large) / (1 + how many there are), (V,).

    Parameters
    ----------
    statistic : (V,) array
        NaN gives NaN.
    null : (B,) array
    """
    statistic, null = np.asarray(statistic), np.sort(null)
    above = len(null) - np.searchsorted(null, statistic, side="left")
    return np.where(np.isnan(statistic), np.nan, (1 + above) / (1 + len(null)))


def false_discovery_rate(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg adjusted p-values, (V,).

    A voxel passes at rate q where its adjusted value is at most q. NaN stays NaN and does not
    count as a test.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])[::-1]]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum.accumulate(np.minimum(p[order] * len(order) / ranks, 1))
    return adjusted
