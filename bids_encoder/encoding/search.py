"""Which penalty is best for each voxel, without trying them all."""

from __future__ import annotations

from collections.abc import Callable

import torch

STRIDE = 4


def search(
    evaluate: Callable[[int, torch.Tensor | None], torch.Tensor], n_penalties: int, n_voxels: int
) -> torch.Tensor:
    """Index of the best penalty of each voxel, from coarse to fine.

    Every fourth penalty is tried on all voxels; then the neighbours of the best one at distance
    2, then those at distance 1. This finds the maximum over the whole grid as long as the score
    has no second peak that is narrower than four steps.

    Parameters
    ----------
    evaluate : callable
        `evaluate(j, rows)` gives the scores with penalty j of the voxels `rows` (an index
        tensor, or None for all), (len(rows),).
    n_penalties, n_voxels : int
        Size of the grid, which rises, and number of voxels.

    Returns
    -------
    (V,) int64 tensor
        Among equal scores the largest penalty.
    """
    first = min(STRIDE // 2, n_penalties - 1)
    best = score = None
    for j in range(first, n_penalties, STRIDE):
        new = evaluate(j, None)
        if best is None:
            best, score = torch.full_like(new, j, dtype=torch.int64), new
        else:
            better = new >= score
            best[better], score = j, torch.where(better, new, score)
    distance = STRIDE // 2
    while distance:
        centre = best.clone()
        for j in range(n_penalties):
            rows = torch.nonzero((centre - j).abs() == distance).flatten()
            if len(rows) == 0:
                continue
            new, old = evaluate(j, rows), score[rows]
            better = (new > old) | ((new == old) & (best[rows] < j))
            best[rows[better]], score[rows[better]] = j, new[better]
        distance //= 2
    return best
