"""The rank-1 general linear model: one haemodynamic response a voxel, one amplitude a stimulus.

    y = Σₛ βₛ Xₛ h + nuisance + noise

Xₛ (T × B) are the regressors of stimulus s, one for each function of a basis; h (B) are the
coefficients of the response's shape, shared by all stimuli and runs; βₛ are the amplitudes, each
run's own (Pedregosa et al. 2015, NeuroImage 104, 209-220, "R1-GLM"). Arrays in, arrays out.

Made least is the sum over runs, in units of each run's variance, of

    ‖y - Σₛ βₛ Xₛ h‖² + λ e(h) Σₛ (βₛ - mean β)² + (h - m)ᵀ P (h - m),    dᵀ h = 1.

The second term holds the amplitudes of a run together (e(h) is the mean of ‖Xₛ h‖²): where
responses overlap, free amplitudes would follow the noise, and the shape would with them. The third
is the prior of the shape, which matters where a voxel tells little.

For a given shape the best amplitudes are a linear problem, so that the sum is one of the shape
alone, which Newton's method makes least (variable projection: Golub & Pereyra 1973, SIAM J Numer
Anal 10, 413). Its slope and bend come from the Gram matrix of the regressors, which all voxels
share: matrix products for many voxels, and a small system for each. A step that makes the sum
larger is taken back and the plain one follows, from amplitudes to shape by least squares as in
alternation, which never does; the next may go less far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_encoder.responses.hrf_bases import ShapePrior
from bids_encoder.responses.rank1_steps import (
    Given,
    RunDesign,
    RunSystem,
    ShapeSystem,
)
from bids_encoder.runtime.threads import shared_cores

TOLERANCE = 5e-4  # of coefficients, which are about 1: a shorter step would lead to the end
MOST_STEPS = 40
_REACH = 10.0  # how many times further than the plain step one may go
_BLOCK_BYTES = 400 * 10**6  # for what the blocks of voxels in work need
_LARGEST_BLOCK = 1000  # voxels


@dataclass(frozen=True)
class Rank1Fit:
    """What came out.

    Attributes
    ----------
    hrf : (B, V) float32
        Coefficients, of which the prior's direction makes 1: their scale and sign are fixed.
    amplitudes : tuple of (K, V) float32
        One array a run, in the units of its data.
    arrived : (V,) bool
        Whether the search came to an end.
    """

    hrf: np.ndarray
    amplitudes: tuple[np.ndarray, ...]
    arrived: np.ndarray


def fit_rank1(
    designs: Sequence[RunDesign],
    bold: Sequence[np.ndarray],
    prior: ShapePrior,
    *,
    tolerance: float = TOLERANCE,
    device: str = "cpu",
) -> Rank1Fit:
    """Fit the rank-1 model to all runs of a participant.

    Parameters
    ----------
    designs : sequence of RunDesign
    bold : sequence of (T, V) float32
        The data of the same runs. Voxels with NaN in any of them are NaN in the results.
    prior : ShapePrior
    tolerance : float
        How near the end, in coefficients of length 1, a voxel has arrived.
    device : str
        "cpu" or "cuda".

    Notes
    -----
    Each run's data are divided by the standard deviation that nuisance leaves of them, so that
    runs of different gain weigh alike in the shape.
    """
    parts = [RunSystem(design, device) for design in designs]
    n_voxels, n_functions = bold[0].shape[1], len(prior.mean)
    search = ShapeSystem(prior, device)
    hrf = np.full((n_functions, n_voxels), np.nan, dtype=np.float32)
    amplitudes = tuple(np.full((part.n, n_voxels), np.nan, dtype=np.float32) for part in parts)
    arrived = np.zeros(n_voxels, dtype=bool)
    n_threads = torch.get_num_threads() if device == "cpu" else 1
    row_bytes = 4 * n_functions * sum(part.n for part in parts)
    most = max(part.n for part in parts)
    row_bytes += 3 * 4 * most * (most + n_functions)
    size = max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // n_threads // row_bytes))

    def fit(first: int) -> None:
        crosses, scales = [], []
        for part, values in zip(parts, bold, strict=True):
            cross, scale = part.cross(values[:, first : first + size])
            crosses.append(cross)
            scales.append(scale)
        usable = torch.stack([torch.isfinite(scale) & (scale > 0) for scale in scales]).all(0)
        where = first + torch.nonzero(usable)[:, 0].cpu().numpy()
        crosses = [cross[usable] for cross in crosses]
        found = _search(parts, crosses, search, tolerance)
        hrf[:, where] = found.hrf.T.cpu().numpy()
        arrived[where] = found.arrived.cpu().numpy()
        for all_of, some, scale in zip(amplitudes, found.amplitudes, scales, strict=True):
            all_of[:, where] = (some * scale[usable, None]).T.cpu().numpy()

    # Small systems are solved one after the other, whatever the number of threads: each block
    # has a thread to itself.
    with shared_cores(n_threads) as pool:
        deque(pool.map(fit, range(0, n_voxels, size)), maxlen=0)
    return Rank1Fit(hrf, amplitudes, arrived)


@dataclass(frozen=True)
class _FoundShape:
    hrf: torch.Tensor  # (v, B)
    amplitudes: list[torch.Tensor]  # (v, K) each
    arrived: torch.Tensor  # (v,)


def _search(
    parts: Sequence[RunSystem], crosses: list[torch.Tensor], shapes: ShapeSystem, tolerance: float
) -> _FoundShape:
    """Go on until all voxels of a block have arrived; those that have take no more part."""
    n_voxels = len(crosses[0])
    device = shapes.mean.device
    found = _FoundShape(
        shapes.mean.float().repeat(n_voxels, 1),
        [cross.new_zeros(cross.shape[:2]) for cross in crosses],
        torch.zeros(n_voxels, dtype=torch.bool, device=device),
    )
    active = torch.arange(n_voxels, device=device)
    shape = found.hrf.clone()
    best = torch.full((n_voxels,), -torch.inf, device=device)
    reach = torch.full_like(best, _REACH)
    plain = shape  # the way on from the best shape so far that is never worse
    for step in range(MOST_STEPS):
        givens = [part.given(shape, cross) for part, cross in zip(parts, crosses, strict=True)]
        explained = sum(one.explained for one in givens) - shapes.penalty(shape)
        worse = explained < best - 1e-6 * best.abs()
        reach = torch.where(worse, (reach / 4).clamp_min(1), (reach * 2).clamp_max(_REACH))
        right, left, slack = (
            sum(getattr(one, name) for one in givens) for name in ("right", "left", "slack")
        )
        newton, following = shapes.ways_on(shape, right, left, slack, reach)
        done = ~worse & ((newton - shape).norm(dim=1) < tolerance)
        last = step == MOST_STEPS - 1
        kept = torch.ones_like(done) if last else done
        if kept.any():
            found.hrf[active[kept]] = shape[kept]
            found.arrived[active[kept]] = done[kept]
            for part, cross, one, everything in zip(
                parts, crosses, givens, found.amplitudes, strict=True
            ):
                final = part.final(shape[kept], cross[kept], Given(*(x[kept] for x in one)))
                everything[active[kept]] = final
        if kept.all():
            break
        best = torch.maximum(explained, best)
        shape = torch.where(worse[:, None], plain, newton)
        plain = torch.where(worse[:, None], plain, following)
        if kept.any():
            active, shape, plain, best, reach = (
                t[~kept] for t in (active, shape, plain, best, reach)
            )
            crosses = [cross[~kept] for cross in crosses]
    return found
