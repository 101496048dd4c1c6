"""Which scores are higher than chance: a permutation null, p-values, false discovery rate.

The statistic of a voxel is T = max over layers of its cross-validated score. Its null
distribution is made by permuting the responses of a few voxels, and doing with them all that was
done with the real ones: fit on the training folds, choose the penalty, score on the held-out
folds, take the maximum over layers. The same permutation is used for all layers. Which voxels are
permuted, and whose values make one null, says `strata`; how p-values get smaller than one over the
number of permutations, `tail`; how many permutations cost as little as a few, `recombine`.

Permuting only the held-out responses against predictions that stay as they are would be cheaper,
but too easy a null, for two reasons. The choice of the penalty would have seen the real
responses, not the permuted ones. And the folds test each other: what fold s predicts for fold t
and what fold t predicts for fold s come from nearly the same sum, Σ y_i K_ij y_j, so that scores
of noise averaged over folds vary more than permutations of the held-out responses alone make
believe. In a simulation with four folds, one penalty and no signal, such a null gave p < 0.01 to
3 % of voxels, and p < 0.001 to 0.6 %.

How responses are permuted, says `permute`: within the test rows of each fold, in blocks, and so
that they stay as autocorrelated as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.encoding.blocks import TILE
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.inputs import (
    check_penalties,
    make_kernel_system,
    sort_by_fold,
    voxels_first,
)
from bids_encoder.encoding.memory import make_plan
from bids_encoder.encoding.permute import permutations, permute
from bids_encoder.encoding.recombine import Recombined, versions_for
from bids_encoder.encoding.ridge import PENALTIES, Kernels, cached_solvers, fit, on_device

VOXELS_AT_ONCE = 256
N_PERMUTATIONS = 50_000
# Of permuted responses while they are made and whitened, or of a tile and its products.
_VALUE_BYTES = 48
# Of a permutation at a penalty: gain and scores in a table, and what the search works with.
_SCORE_BYTES = 80


@dataclass(frozen=True)
class Null:
    """Scores of L layers for B permutations, in the order in which they were drawn.

    Attributes
    ----------
    r2, r, pooled_r2 : (L, B) float32
        As in `Fit`, of permuted responses. A column is one permutation of one voxel's responses,
        the same for all layers, so that whatever is made of a voxel's scores over layers (the
        highest, its place, a slope) has its null here.
    voxel : (B,) int
        Whose responses were permuted: the column of `responses`.
    """

    r2: np.ndarray
    r: np.ndarray
    pooled_r2: np.ndarray
    voxel: np.ndarray

    def __len__(self) -> int:
        return len(self.voxel)

    def highest(self, score: str = "r2") -> np.ndarray:
        """T = max over layers of the score ("r2", "r" or "pooled_r2"), (B,)."""
        return getattr(self, score).max(axis=0)


def null_distribution(
    kernels: Kernels,
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
        The responses of the voxels to be permuted (see `draw_voxels`), finite, and not constant
        within a fold.
    folds : sequence of Fold
    n_permutations : int
        In all: B² of the first voxel, then of the second, and so on, with B from
        `recombine.versions_for`.
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
    responses = np.asarray(responses)
    draw = _draw_nested if nested else _draw
    return on_device(
        lambda memory, place: draw(
            kernels, responses, folds, n_permutations, block, check_penalties(penalties),
            memory, place, np.random.default_rng(seed),
        ),
        device,
        mem_bytes,
    )  # fmt: skip


def _draw(kernels, responses, folds, count, block, grid, memory, place, rng) -> Null:
    """Permutations that share products (`recombine`), a layer and a tile of voxels at a time."""
    n, n_voxels = responses.shape
    order, bounds = sort_by_fold(folds, n)
    voxel = _whose(count, n_voxels)
    n_versions = versions_for(count)
    drawn = voxel[:: n_versions**2]
    # Tiles are the same whatever the memory: random numbers and last bits do not depend on it.
    tiles = []
    for start in range(0, len(drawn), VOXELS_AT_ONCE):
        some = np.repeat(drawn[start : start + VOXELS_AT_ONCE], n_versions)
        orders = permutations(folds, len(some), block=block, rng=rng)
        versions = permute(responses, some, orders, folds)
        tiles.append(voxels_first(versions, np.arange(len(some)), order, place))
    plan = make_plan(
        n, None, TILE, n_folds=len(folds), n_penalties=len(grid), mem_bytes=memory // 2
    )
    found = np.empty((3, len(kernels), len(drawn) * n_versions**2), dtype=np.float32)
    for layer, kernel in enumerate(kernels):
        system = make_kernel_system(kernel, order, bounds, place)
        solvers = cached_solvers(system, grid, plan.solvers)
        found[:, layer] = np.concatenate(
            [
                Recombined(system, solvers, versions, n_versions, len(grid)).best(grid)
                for versions in tiles
            ],
            axis=1,
        )
    r2, r, pooled = found[:, :, :count]
    return Null(r2=r2, r=r, pooled_r2=pooled, voxel=voxel)


def _whose(count: int, n_voxels: int) -> np.ndarray:
    """Whose responses are permuted, (count,): B² times each; few voxels come again."""
    return np.arange(count) // versions_for(count) ** 2 % n_voxels


def _draw_nested(kernels, responses, folds, count, block, grid, memory, place, rng) -> Null:
    """Permutations that are fitted one by one."""
    n, n_voxels = responses.shape
    voxel = _whose(count, n_voxels)
    batch = _batch(n, memory)
    found = np.empty((3, len(kernels), count), dtype=np.float32)
    for first in range(0, count, batch):
        columns = slice(first, first + batch)
        made = []
        for start in range(first, min(first + batch, count), TILE):
            some = voxel[start : min(start + TILE, first + batch)]
            orders = permutations(folds, len(some), block=block, rng=rng)
            made.append(permute(responses, some, orders, folds))
        permuted = np.concatenate(made, axis=1)
        for layer, kernel in enumerate(kernels):
            fitted = fit(
                None,
                permuted,
                folds,
                kernel=kernel,
                penalties=grid,
                nested=True,
                keep_weights=False,
                mem_bytes=memory // 2,
                device=str(place),
            )
            found[:, layer, columns] = fitted.r2, fitted.r, fitted.pooled_r2
    return Null(r2=found[0], r=found[1], pooled_r2=found[2], voxel=voxel)


def null_bytes(
    n: int, n_permutations: int, mem_bytes: int, *, n_penalties: int, nested: bool = False
) -> int:
    """About how much memory :func:`null_distribution` takes, beside its arguments.

    Parameters
    ----------
    n, n_permutations : int
        Rows, and permutations in all.
    mem_bytes : int
        What it is allowed.
    n_penalties : int
        The length of the grid.
    nested : bool
    """
    if nested:
        batch = min(_batch(n, mem_bytes), n_permutations)
        versions = tables = 0
    else:
        n_versions = versions_for(n_permutations)
        drawn = -(-n_permutations // n_versions**2)
        together = min(drawn, VOXELS_AT_ONCE)
        batch = n_versions * together
        versions = 4 * n * n_versions * drawn
        tables = _SCORE_BYTES * n_penalties * n_versions**2 * together
    plan = make_plan(
        n,
        None,
        batch if nested else TILE,
        n_folds=5,
        n_penalties=n_penalties,
        nested=nested,
        mem_bytes=mem_bytes // 2,
    )
    return versions + tables + _VALUE_BYTES * n * batch + plan.bytes


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
