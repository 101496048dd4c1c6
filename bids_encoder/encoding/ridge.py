"""Ridge regression from features to voxels, cross-validated over groups.

For each voxel, the responses y (n,) are predicted from features X (n, p) by

    w = argmin ||y - Xw - b||² + α ||w||²,      b not penalised

one model a fold, learned from the other folds, with one penalty α a voxel. Penalties are given
in units of the mean diagonal of the kernel XX', centred over all samples, so that the same grid
fits any layer. The penalty kept is the one with the highest mean r² over folds, and the model
kept is the mean of the fold models at that penalty (Eickenberg et al. 2017, NeuroImage,
section "Encoding models").

A model is its dual coefficients a (n,) and intercept b: ŷ(x) = Σ_i a_i <x, x_i> + b.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol, TypedDict, TypeVar

import numpy as np
import torch

from bids_encoder.encoding import blocks
from bids_encoder.encoding.blocks import CHUNK, TILE, Best, Block, Solvers, System, make_block
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.inputs import (
    check_penalties,
    check_rows,
    linear_kernel,
    make_system,
    reorder,
    sort_by_fold,
    usable,
    voxels_first,
)
from bids_encoder.encoding.memory import DEFAULT_MEMORY, MemoryPlan, make_plan
from bids_encoder.encoding.penalties import PENALTIES
from bids_encoder.encoding.steps import Steps
from bids_encoder.encoding.systems import Solver
from bids_encoder.errors import DataError

__all__ = ["PENALTIES", "Fit", "HowToFit", "fit", "linear_kernel", "predict"]

T = TypeVar("T")

log = logging.getLogger(__name__)

SMALLEST_MEMORY = 2**28


@dataclass(frozen=True)
class Fit:
    """Scores and models of V voxels.

    Attributes
    ----------
    r2 : (V,) float32
        1 - ||y - ŷ||² / ||y - mean(y)||² on the held-out fold, averaged over folds.
    r : (V,) float32
        Pearson correlation on the held-out fold, averaged over folds.
    pooled_r2 : (V,) float32
        1 - Σ ||y - ŷ||² / Σ ||y - m||², sums over all held-out folds, with m the mean of a fold's
        training rows (see `encoding.scores.pooled_r2`).
    penalty : (V,) float32
        The penalty that was chosen, in units of `unit`.
    valid : (V,) bool
        False where the responses are not finite, or constant within a fold; r2, r, pooled_r2,
        penalty, dual and intercept are NaN there.
    penalties : (m,) float64
        The grid, rising.
    unit : float
        Mean diagonal of the centred kernel.
    at_low_edge, at_high_edge : int
        How many voxels chose the first and the last penalty of the grid.
    dual : (n, V) float32, or None
        Dual coefficients, one row a sample; they sum to 0 over samples.
    intercept : (V,) float32, or None
    """

    r2: np.ndarray
    r: np.ndarray
    pooled_r2: np.ndarray
    penalty: np.ndarray
    valid: np.ndarray
    penalties: np.ndarray
    unit: float
    at_low_edge: int
    at_high_edge: int
    dual: np.ndarray | None
    intercept: np.ndarray | None

    @property
    def n_valid(self) -> int:
        """How many voxels could be fitted."""
        return int(self.valid.sum())

    def predict(self, kernel: np.ndarray) -> np.ndarray:
        """Predicted responses, as :func:`predict`: (m, V) float32.

        Parameters
        ----------
        kernel : (m, n) array
            `linear_kernel(new features, training features)`.

        Raises
        ------
        ValueError
            The weights were not kept.
        """
        return predict(*self.weights, kernel)

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Dual coefficients and intercept, where they were kept; else a ValueError."""
        if self.dual is None or self.intercept is None:
            raise ValueError("the weights of this fit were not kept")
        return self.dual, self.intercept


class _Weights(NamedTuple):
    """Dual coefficients (V, n) and intercepts (V,), while they are filled."""

    dual: np.ndarray
    intercept: np.ndarray


class HowToFit(TypedDict, total=False):
    """Options of `fit` that scores of the same kind share."""

    penalties: np.ndarray
    nested: bool
    mem_bytes: int | None
    device: str


class Kernels(Protocol):
    """The (n, n) kernels of several layers, one after the other, as often as one likes."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def predict(dual: np.ndarray, intercept: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Predicted responses ŷ = K a + b.

    Parameters
    ----------
    dual : (n, V) array
    intercept : (V,) array
        As in `Fit`.
    kernel : (m, n) array
        `linear_kernel(new features, training features)`.

    Returns
    -------
    (m, V) float32 array
    """
    # Coefficients sum to 0 over samples, so that a constant taken from a row of the kernel
    # changes nothing but the rounding, which is much smaller without it.
    rows = kernel - kernel.mean(1, keepdims=True)
    product = rows.astype(np.float32) @ np.asarray(dual, dtype=np.float32)
    return product + np.asarray(intercept, dtype=np.float32)


def fit(
    features: np.ndarray | None,
    responses: np.ndarray,
    folds: Sequence[Fold],
    *,
    kernel: np.ndarray | None = None,
    penalties: np.ndarray = PENALTIES,
    nested: bool = False,
    keep_weights: bool = True,
    mem_bytes: int | None = None,
    device: str = "cpu",
    on_progress: Callable[[float], None] | None = None,
) -> Fit:
    """Fit and score one ridge model a voxel.

    Parameters
    ----------
    features : (n, p) array, or None
        One row a sample. May be None where `kernel` is given.
    responses : (n, V) array
        One row a sample, one column a voxel.
    folds : sequence of k Fold
        As `make_folds` gives them: test sets hold every row once, and the training rows of a
        fold are all the others.
    kernel : (n, n) array, optional
        `linear_kernel(features)`, where it is already known.
    penalties : (m,) array
        The grid, positive and rising, in units of the mean diagonal of the centred kernel.
    nested : bool
        Choose the penalty for each fold inside its training rows, by cross-validation over the
        remaining folds, so that the scores have no selection bias. `penalty` and the model are
        as without it.
    keep_weights : bool
        Whether to compute `dual` and `intercept`.
    mem_bytes : int, optional
        About how much memory to use beside the arguments and the result (see `make_plan`); 4 GiB
        if not given, on a GPU most of what is free.
    device : str
        "cpu", or a torch device such as "cuda". Where the memory of a GPU does not suffice, blocks
        are made smaller, and then the CPU does the work, with a warning.
    on_progress : callable, optional
        Called with the share of the work that is done, from 0 to 1.

    Returns
    -------
    Fit

    Raises
    ------
    DataError
        Features or kernel are not finite, all samples have the same features, or a penalty is too
        small for the precision of the kernel.
    """
    return on_device(
        lambda memory, place: _fit(
            features,
            np.asarray(responses),
            folds,
            kernel=kernel,
            grid=check_penalties(penalties),
            nested=nested,
            keep_weights=keep_weights,
            memory=memory,
            place=place,
            on_progress=on_progress,
        ),
        device,
        mem_bytes,
    )


def on_device(work: Callable[[int, torch.device], T], device: str, mem_bytes: int | None) -> T:
    """Do work(memory, place), with less memory or on the CPU where a GPU has too little.

    Parameters
    ----------
    work : callable
        Takes bytes and a torch device.
    device, mem_bytes
        As for `fit`.
    """
    place = torch.device(device)
    memory = mem_bytes or _default_memory(place)
    while True:
        try:
            return work(memory, place)
        except torch.cuda.OutOfMemoryError:
            if memory > SMALLEST_MEMORY:
                memory //= 4
                log.warning("The GPU is out of memory: trying again with smaller blocks of voxels.")
            else:
                place, memory = torch.device("cpu"), mem_bytes or DEFAULT_MEMORY
                log.warning("The GPU has too little memory: going on with the CPU.")


def _default_memory(place: torch.device) -> int:
    """Most of what is free on a GPU, 4 GiB on the CPU."""
    if place.type == "cuda":
        return int(0.8 * torch.cuda.mem_get_info(place)[0])
    return DEFAULT_MEMORY


def _fit(
    features, responses, folds, *, kernel, grid, nested, keep_weights, memory, place, on_progress
) -> Fit:
    n, n_voxels = responses.shape
    check_rows(features, kernel, n)
    order, bounds = sort_by_fold(folds, n)
    valid = usable(responses, folds)
    columns = np.flatnonzero(valid)
    plan = make_plan(
        n,
        None if features is None else np.shape(features)[1],
        len(columns),
        n_folds=len(folds),
        n_penalties=len(grid),
        nested=nested,
        mem_bytes=memory,
    )
    system = make_system(features, kernel, order, bounds, place, by_features=plan.by_features)
    solvers = cached_solvers(system, grid, plan.solvers, weights=keep_weights)
    result = {
        name: np.full(n_voxels, np.nan, dtype=np.float32)
        for name in ("r2", "r", "pooled_r2", "penalty")
    }
    weights = None
    if keep_weights:
        weights = _Weights(
            np.full((n_voxels, n), np.nan, np.float32), np.full(n_voxels, np.nan, np.float32)
        )
    chosen = np.zeros(n_voxels, dtype=np.int64)
    steps = Steps(on_progress, (1 + nested * len(folds)) * len(columns))
    for tiles in split_tiles(columns, plan.block):
        made, means = [], []
        for some in tiles:
            y = voxels_first(responses, some, order, system.device)
            means.append(y.mean(1))
            made.append(make_block(system, y))
        found = blocks.choose(system, solvers, made, grid)
        for some, tile, best in zip(tiles, made, found, strict=True):
            chosen[some] = best.index
            score = blocks.scores(system, tile, best.predictions, range(len(folds)))
            result["r2"][some], result["r"][some] = score.r2.mean(1).cpu(), score.r.mean(1).cpu()
            result["pooled_r2"][some] = blocks.pooled_r2(score.error, score.spread).cpu()
        if weights is not None:
            for t, rows, dual, intercept in _weights(system, solvers, made, found):
                weights.dual[tiles[t][rows]] = reorder(dual.cpu().numpy(), np.argsort(order))
                weights.intercept[tiles[t][rows]] = (intercept + means[t][rows]).cpu()
        steps.add(sum(map(len, tiles)))
    if nested:
        result |= _nested_scores(system, solvers, responses, columns, order, grid, plan, steps)
    result["penalty"][columns] = grid[chosen[columns]]
    return Fit(
        **result,
        valid=valid,
        penalties=grid,
        unit=system.unit,
        at_low_edge=int((chosen[columns] == 0).sum()),
        at_high_edge=int((chosen[columns] == len(grid) - 1).sum()),
        dual=None if weights is None else weights.dual.T,
        intercept=None if weights is None else weights.intercept,
    )


def _nested_scores(
    system: System,
    solvers: Solvers,
    responses,
    columns,
    order,
    grid,
    plan: MemoryPlan,
    steps: Steps,
) -> dict[str, np.ndarray]:
    """r2, r and pooled_r2 where the penalty of a fold was chosen inside its training rows."""
    k, n_voxels = len(system.folds), responses.shape[1]
    found = {name: np.full((n_voxels, k), np.nan, np.float32) for name in blocks.FoldScores._fields}
    for t, (start, stop) in enumerate(system.folds):
        inside = system.without(t)
        inner = cached_solvers(inside, grid * system.unit / inside.unit, max(plan.solvers // 2, 1))
        for tiles in split_tiles(columns, plan.block):
            made, rests = [], []
            for some in tiles:
                y = voxels_first(responses, some, order, system.device)
                rest = torch.cat([y[:, :start], y[:, stop:]], dim=1)
                rests.append(make_block(inside, rest))
                made.append(make_block(system, y))
            chosen = blocks.choose(inside, inner, rests, grid)
            for number, j, rows in _by_penalty(chosen):
                part = made[number].take(torch.from_numpy(rows).to(system.device))
                q = blocks.predict(system, solvers(j), part)
                score = blocks.scores(system, part, q, [t])
                for name, values in score._asdict().items():
                    found[name][tiles[number][rows], t] = values[:, 0].cpu()
            steps.add(sum(map(len, tiles)))
    return {
        "r2": found["r2"].mean(1),
        "r": found["r"].mean(1),
        "pooled_r2": 1 - found["error"].sum(1) / found["spread"].sum(1),
    }


def cached_solvers(
    system: System, grid: np.ndarray, size: int, *, weights: bool = False
) -> Solvers:
    """Solvers by their place in the grid, of which the last `size` are remembered."""

    def solver(j: int) -> Solver:
        try:
            return system.solver(float(grid[j] * system.unit), weights=weights)
        except torch.linalg.LinAlgError as error:
            raise DataError(
                "A penalty is too small for the precision of the kernel.",
                found=f"{grid[j]:.3g} times the mean diagonal of the kernel",
                expected="a kernel without negative eigenvalues, or larger penalties",
                remedy="leave out the smallest penalties",
            ) from error

    return lru_cache(maxsize=size)(solver)


def _weights(system: System, solvers: Solvers, tiles: Sequence[Block], found: Sequence[Best]):
    """(tile, rows, dual (m, n), intercept (m,)) for chunks of voxels with equal penalty."""
    for t, j, rows in _by_penalty(found):
        there = torch.from_numpy(rows).to(system.device)
        part = tiles[t].take(there)
        e = blocks.residuals(system, part, found[t].predictions[there])
        yield t, rows, *system.dual(solvers(j), part.y, part.prepared, e)


def _by_penalty(found: Sequence[Best]):
    """(tile, j, rows) for chunk after chunk of voxels that chose penalty j."""
    for j in np.unique(np.concatenate([best.index for best in found])):
        for t, best in enumerate(found):
            rows = np.flatnonzero(best.index == j)
            for start in range(0, len(rows), CHUNK):
                yield t, int(j), rows[start : start + CHUNK]


def split_tiles(columns: np.ndarray, size: int) -> list[list[np.ndarray]]:
    """Cut voxels (rising indices) into tiles, and group the tiles by about `size` voxels.

    Tile number i has the voxels from i × TILE to (i + 1) × TILE, of which some may be missing.
    """
    if not len(columns):
        return []
    numbers, starts = np.unique(columns // TILE, return_index=True)
    tiles = np.split(columns, starts[1:])
    together = max(size // TILE, 1)
    return [tiles[start : start + together] for start in range(0, len(tiles), together)]
