"""How much memory a fit takes, and how to keep within what is allowed."""

from __future__ import annotations

from typing import NamedTuple

from bids_encoder.encoding.blocks import CHUNK, TILE

DEFAULT_MEMORY = 4 * 2**30


class MemoryPlan(NamedTuple):
    """How a fit is cut.

    Attributes
    ----------
    by_features : bool
        Work through p × p products rather than the n × n kernel.
    block : int
        Voxels at a time: whole tiles.
    solvers : int
        Penalties whose matrices are kept.
    bytes : int
        Working memory, beside the arguments and the result.
    """

    by_features: bool
    block: int
    solvers: int
    bytes: int


def make_plan(
    n: int,
    p: int | None,
    n_voxels: int,
    *,
    n_folds: int,
    n_penalties: int,
    nested: bool = False,
    mem_bytes: int | None = None,
) -> MemoryPlan:
    """Cut a fit so that it works in about `mem_bytes`.

    Parameters
    ----------
    n, p, n_voxels : int
        Samples, features (None where only the kernel is known), voxels.
    n_folds, n_penalties : int
    nested : bool
        Whether penalties are chosen inside each training set as well: its matrices and voxels
        are there beside the others.
    mem_bytes : int, optional
        4 GiB where it is not given. What the small matrices take cannot be avoided; blocks are
        never smaller than a tile.
    """
    by_features = False
    if p is not None and 2 * p <= n:
        by_features = True
        fixed = 8 * (3 * n * p + (n_folds + 3) * p * p)
        per_penalty = 4 * p * (n + n_folds * p)
        per_voxel = 4 * (2 * n + p * (n_folds + 2))
    else:
        fixed = 8 * 4 * n * n
        per_penalty = 4 * (n * n + n * n // n_folds)
        per_voxel = 4 * 2 * n
    if nested:
        fixed, per_penalty, per_voxel = 2 * fixed, 3 * per_penalty // 2, 2 * per_voxel + 4 * n
    chunk = CHUNK * (per_voxel + 4 * 3 * n)
    spare = max((mem_bytes or DEFAULT_MEMORY) - fixed - chunk, 0)
    solvers = min(max(spare // 2 // per_penalty, 1), n_penalties)
    block = (spare - solvers * per_penalty) // per_voxel
    block = max(min(max(block // TILE, 1) * TILE, n_voxels), 1)
    total = fixed + chunk + solvers * per_penalty + block * per_voxel
    return MemoryPlan(by_features, int(block), int(solvers), int(total))
