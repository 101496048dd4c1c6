"""A tile of voxels on its way through the products: centring, predictions, scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.encoding.search import search
from bids_encoder.encoding.systems import FeatureSystem, KernelSystem, Solver

# Voxels in one product: large enough for BLAS, small enough for the results to stay in the cache.
CHUNK = 1024
# Voxels that share products. The last bits of a product depend on its shape, so that no product
# may reach across the bounds of tiles: then the results are the same bits however a fit is cut.
TILE = 2 * CHUNK

System = KernelSystem | FeatureSystem
Solvers = Callable[[int], Solver]


class Block(NamedTuple):
    """Responses of V voxels and what the scores need of them.

    Attributes
    ----------
    y : (V, n)
        Centred over all samples; samples sorted by fold.
    prepared : tuple of tensors
        What the system makes of y once, whatever the penalty.
    shift : (V, k)
        Mean of y over the training rows of each fold: what the intercept predicts.
    total : (V, k)
        ||y_t - mean(y_t)||² on the held-out rows; infinite where they are constant, since such
        a fold cannot tell penalties apart.
    """

    y: torch.Tensor
    prepared: tuple[torch.Tensor, ...]
    shift: torch.Tensor
    total: torch.Tensor

    def take(self, rows: slice | torch.Tensor) -> Block:
        """Some of the voxels."""
        prepared = tuple(values[rows] for values in self.prepared)
        return Block(self.y[rows], prepared, self.shift[rows], self.total[rows])


class FoldScores(NamedTuple):
    """Scores of V voxels on k held-out folds, (V, k) each.

    Attributes
    ----------
    r2 : 1 - ||y - ŷ||² / ||y - mean(y)||²
    r : Pearson correlation of y and ŷ
    error : ||y - ŷ||²
    spread : ||y - m||², with m the mean of the training rows
    """

    r2: torch.Tensor
    r: torch.Tensor
    error: torch.Tensor
    spread: torch.Tensor


@dataclass(frozen=True, eq=False)
class Best:
    """The best penalty of each voxel, and what it predicts.

    Attributes
    ----------
    index : (V,) int array
        Place of the penalty in the grid.
    predictions : (V, n) tensor
        q = ŷ_t - shift for the held-out rows of every fold.
    """

    index: np.ndarray
    predictions: torch.Tensor


def make_block(system: System, y: torch.Tensor) -> Block:
    """Prepare voxels y (V, n), samples sorted by fold; y is centred in place."""
    y -= y.mean(1, keepdim=True)
    everything = y.sum(1)
    shift, total = [], []
    for start, stop in system.folds:
        sums = y[:, start:stop].sum(1)
        shift.append((everything - sums) / (y.shape[1] - (stop - start)))
        variation = y[:, start:stop].var(1, correction=0) * (stop - start)
        total.append(torch.where(variation > 0, variation, torch.inf))
    return Block(y, system.prepare(y), torch.stack(shift, 1), torch.stack(total, 1))


def choose(
    system: System, solvers: Solvers, tiles: Sequence[Block], penalties: np.ndarray
) -> list[Best]:
    """The penalty with the highest mean r² over folds, voxel by voxel, tile by tile."""
    device = system.device
    predictions = [torch.empty_like(tile.y) for tile in tiles]
    highest = [torch.full((len(tile.y),), -torch.inf, device=device) for tile in tiles]
    last = [torch.full((len(tile.y),), -1, device=device) for tile in tiles]
    ends = np.cumsum([len(tile.y) for tile in tiles])
    starts = ends - [len(tile.y) for tile in tiles]

    def evaluate(j: int, rows: np.ndarray | None) -> np.ndarray:
        scores = []
        for t, tile in enumerate(tiles):
            ours = rows
            if rows is not None:
                ours = rows[slice(*np.searchsorted(rows, (starts[t], ends[t])))] - starts[t]
            for some in _chunks(len(tile.y), ours, device):
                part = tile.take(some)
                q = predict(system, solvers(j), part)
                score = gains(system, part, q)
                # The larger penalty wins where scores are equal.
                better = (score > highest[t][some]) | (
                    (score == highest[t][some]) & (j > last[t][some])
                )
                where = torch.nonzero(better).flatten()
                there = where + some.start if isinstance(some, slice) else some[where]
                highest[t][there], last[t][there] = score[where], j
                predictions[t][there] = q[where]
                scores.append(score)
        return torch.cat(scores).double().cpu().numpy()

    index = search(evaluate, penalties, int(ends[-1]))
    return [Best(*one) for one in zip(np.split(index, ends[:-1]), predictions, strict=True)]


def predict(system: System, solver: Solver, block: Block) -> torch.Tensor:
    """q = ŷ_t - shift for the held-out rows of every fold, (V, n)."""
    q = torch.empty_like(block.y)
    system.predict(solver, block.y, block.prepared, out=q)
    return q


def gains(system: System, block: Block, q: torch.Tensor) -> torch.Tensor:
    """Mean over folds of r², less what does not depend on the penalty, (V,).

    With d = y_t - shift, r² is 1 - ||d - q||²/||y_t - mean(y_t)||², of which the term
    (2 d'q - q'q) / ||y_t - mean(y_t)||² depends on the penalty. Written so, it keeps its
    precision where predictions are small beside the responses.
    """
    score = torch.zeros(len(q), device=q.device)
    for t, (start, stop) in enumerate(system.folds):
        q_t = q[:, start:stop]
        dq = _dot(block.y[:, start:stop], q_t) - block.shift[:, t] * q_t.sum(1)
        score += (2 * dq - _dot(q_t, q_t)) / block.total[:, t]
    return score / len(system.folds)


def scores(system: System, block: Block, q: torch.Tensor, folds: Sequence[int]) -> FoldScores:
    """Scores on some folds.

    Where the predictions are constant, r is 0: they tell nothing.
    """
    r2, r, error, spread = [], [], [], []
    for t in folds:
        start, stop = system.folds[t]
        d, q_t = block.y[:, start:stop] - block.shift[:, t, None], q[:, start:stop]
        error.append(torch.linalg.vector_norm(d - q_t, dim=1).square())
        spread.append(torch.linalg.vector_norm(d, dim=1).square())
        r2.append(1 - error[-1] / block.total[:, t])
        q_t = q_t - q_t.mean(1, keepdim=True)
        norms = torch.linalg.vector_norm(q_t, dim=1) * block.total[:, t].sqrt()
        r.append(torch.where(norms > 0, _dot(d, q_t) / norms, 0.0))
    return FoldScores(*(torch.stack(values, 1) for values in (r2, r, error, spread)))


def pooled_r2(error: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """1 - Σ_t error_t / Σ_t spread_t, (V,), of `FoldScores`: see `encoding.scores.pooled_r2`."""
    return 1 - error.sum(1) / spread.sum(1)


def residuals(system: System, block: Block, q: torch.Tensor) -> torch.Tensor:
    """e = y - ŷ on the held-out rows of every fold, (V, n)."""
    e = block.y - q
    for t, (start, stop) in enumerate(system.folds):
        e[:, start:stop] -= block.shift[:, t, None]
    return e


def _chunks(count: int, rows: np.ndarray | None, device) -> list[slice | torch.Tensor]:
    """Chunks of voxels: slices where all are wanted, which cost no copy."""
    if rows is None:
        return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if not len(rows):
        return []
    return list(torch.from_numpy(rows).to(device).split(CHUNK))


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of rows, (m,)."""
    return torch.linalg.vecdot(a, b)
