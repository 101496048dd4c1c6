"""A block of voxels on its way through the products: centring, scores, coefficients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from bids_encoder.encoding.systems import FeatureSystem, KernelSystem, Solver

# Voxels in one product: large enough for BLAS, small enough for the cache to hold the results.
CHUNK = 2048


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
    around_shift : (V, k)
        ||y_t - shift||² on the held-out rows.
    total : (V, k)
        ||y_t - mean(y_t)||² on the held-out rows.
    """

    y: torch.Tensor
    prepared: tuple[torch.Tensor, ...]
    shift: torch.Tensor
    around_shift: torch.Tensor
    total: torch.Tensor


System = KernelSystem | FeatureSystem


def make_block(system: System, y: torch.Tensor) -> Block:
    """Prepare voxels y (V, n), samples sorted by fold; y is centred in place."""
    y -= y.mean(1, keepdim=True)
    n, shifts, around, total = y.shape[1], [], [], []
    everything = y.sum(1)
    for start, stop in zip(system.bounds[:-1], system.bounds[1:], strict=True):
        held_out, size = y[:, start:stop], stop - start
        sums = held_out.sum(1)
        variation = (held_out - (sums / size)[:, None]).square_().sum(1)
        shift = (everything - sums) / (n - size)
        shifts.append(shift)
        around.append(variation + size * (sums / size - shift).square())
        # A constant fold cannot tell penalties apart.
        total.append(torch.where(variation > 0, variation, torch.inf))
    stack = [torch.stack(values, dim=1) for values in (shifts, around, total)]
    return Block(y, system.prepare(y), *stack)


def gains(
    system: System, solver: Solver, block: Block, rows: torch.Tensor | None
) -> torch.Tensor:
    """Mean over folds of r², less what does not depend on the penalty.

    With d = y_t - ȳ_(t) and q = ŷ_t - ȳ_(t), r² is 1 - ||d - q||²/||y_t - mean(y_t)||², of which
    (2 d'q - q'q) / ||y_t - mean(y_t)||² depends on the penalty. Written so, it keeps its
    precision where predictions are small beside the responses.

    Returns
    -------
    (len(rows),) float32 tensor
    """
    scores = []
    for part in _parts(block, rows):
        score = torch.zeros(len(part.y), device=part.y.device)
        for t, (start, stop) in enumerate(
            zip(system.bounds[:-1], system.bounds[1:], strict=True)
        ):
            q = system.predict(solver, part.y, part.prepared, t)
            dq = _dot(part.y[:, start:stop], q) - part.shift[:, t] * q.sum(1)
            score += (2 * dq - _dot(q, q)) / part.total[:, t]
        scores.append(score / (len(system.bounds) - 1))
    return torch.cat(scores)


class Outcome(NamedTuple):
    """Scores by fold, (m, k), and, where asked for, coefficients (m, n) and intercepts (m,)."""

    r2: torch.Tensor
    r: torch.Tensor
    dual: torch.Tensor | None
    intercept: torch.Tensor | None


def outcomes(
    system: System,
    solver: Solver,
    block: Block,
    rows: torch.Tensor,
    *,
    weights: bool = False,
    folds: Sequence[int] | None = None,
) -> Iterator[tuple[torch.Tensor, Outcome]]:
    """Scores and coefficients at one penalty, as (rows, Outcome) for chunk after chunk.

    Where the predictions are constant, r is 0: they tell nothing.
    """
    folds = range(len(system.bounds) - 1) if folds is None else folds
    for chunk in rows.split(CHUNK):
        part = next(_parts(block, chunk))
        residuals = torch.empty_like(part.y) if weights else None
        r2, r = [], []
        for t in folds:
            held_out = slice(system.bounds[t], system.bounds[t + 1])
            q = system.predict(solver, part.y, part.prepared, t)
            d = part.y[:, held_out] - part.shift[:, t, None]
            error = part.around_shift[:, t] - (2 * _dot(d, q) - _dot(q, q))
            r2.append(1 - error / part.total[:, t])
            if weights:
                residuals[:, held_out] = d - q
            q -= q.mean(1, keepdim=True)
            norms = (_dot(q, q) * part.total[:, t]).sqrt()
            r.append(torch.where(norms > 0, _dot(d, q) / norms, 0.0))
        dual = intercept = None
        if weights:
            dual, intercept = system.dual(solver, part.y, part.prepared, residuals)
        yield chunk, Outcome(torch.stack(r2, 1), torch.stack(r, 1), dual, intercept)


def _parts(block: Block, rows: torch.Tensor | None) -> Iterator[Block]:
    """The block in chunks: views where all voxels are wanted, copies of `rows` otherwise."""
    count = len(block.y) if rows is None else len(rows)
    for start in range(0, count, CHUNK):
        pick = slice(start, start + CHUNK) if rows is None else rows[start : start + CHUNK]
        yield Block(
            block.y[pick],
            tuple(values[pick] for values in block.prepared),
            block.shift[pick],
            block.around_shift[pick],
            block.total[pick],
        )


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of rows, (m,)."""
    return torch.linalg.vecdot(a, b)
