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

Amplitudes and shape are found by turns, each by linear least squares. Their normal equations come
from the Gram matrix of the regressors, which all voxels share, so that a turn takes matrix products
for many voxels and small systems for each. Anderson acceleration spares most turns; a step that
makes the sum larger is taken back, and the plain one follows, which never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.responses.hrf_bases import ShapePrior

TOGETHER = 0.3  # how strongly amplitudes are held together, in units of a regressor's energy
TOGETHER_SEPARATE = 1.0  # likewise where regressors are too many or overlap too much
TOLERANCE = 2e-4  # change of the coefficients, which are about 1, below which a voxel has arrived
MOST_STEPS = 40
DEPTH = 3  # steps that the acceleration looks back on
_LEAST = 1e-5  # ridge for the sake of float32, in units of a regressor's energy
_BLOCK_BYTES = 400 * 10**6  # for what a block of voxels needs
_LARGEST_BLOCK = 1000  # voxels


@dataclass(frozen=True)
class RunDesign:
    """What one run regresses on.

    Attributes
    ----------
    regressors : (T, K, B) float64
        Of K stimuli and B basis functions.
    nuisance : (T, k) float64
        Orthonormal; holds a constant.
    separate : bool
        The run cannot tell the stimuli apart by one regression. Amplitudes are then held together
        more strongly, which serves the shape; those that go out are, given the shape, each from
        a regression of its own (LSS; Mumford et al. 2012, NeuroImage 59, 2636-2643).
    """

    regressors: np.ndarray
    nuisance: np.ndarray
    separate: bool = False


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
        Change of the coefficients (of length 1) below which a voxel has arrived.
    device : str
        "cpu" or "cuda".

    Notes
    -----
    Each run's data are divided by the standard deviation that nuisance leaves of them, so that
    runs of different gain weigh alike in the shape.
    """
    parts = [_Part(design, device) for design in designs]
    n_voxels, n_functions = bold[0].shape[1], len(prior.mean)
    search = _Shapes(prior, device)
    hrf = np.full((n_functions, n_voxels), np.nan, dtype=np.float32)
    amplitudes = tuple(np.full((part.n, n_voxels), np.nan, dtype=np.float32) for part in parts)
    arrived = np.zeros(n_voxels, dtype=bool)
    row_bytes = 4 * n_functions * sum(part.n for part in parts)
    row_bytes += 3 * 4 * max(part.n for part in parts) ** 2
    size = max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // row_bytes))
    for first in range(0, n_voxels, size):
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
    return Rank1Fit(hrf, amplitudes, arrived)


@dataclass(frozen=True)
class _Found:
    hrf: torch.Tensor  # (v, B)
    amplitudes: list[torch.Tensor]  # (v, K) each
    arrived: torch.Tensor  # (v,)


class _Given(NamedTuple):
    """What a run makes of given shapes."""

    explained: torch.Tensor  # (v,) sum of squares
    right: torch.Tensor  # (v, B): of the normal equations of the shape, given the amplitudes
    left: torch.Tensor  # (v, B, B)
    amplitudes: torch.Tensor  # (v, K)


def _search(
    parts: Sequence[_Part], crosses: list[torch.Tensor], shapes: _Shapes, tolerance: float
) -> _Found:
    """Alternate until all voxels of a block have arrived; those that have take no more part."""
    n_voxels = len(crosses[0])
    device = shapes.mean.device
    found = _Found(
        shapes.mean.float().repeat(n_voxels, 1),
        [cross.new_zeros(cross.shape[:2]) for cross in crosses],
        torch.zeros(n_voxels, dtype=torch.bool, device=device),
    )
    active = torch.arange(n_voxels, device=device)
    shape = found.hrf.clone()
    best = torch.full((n_voxels,), -torch.inf, device=device)
    plain = shape  # what plain alternation makes of the best shape so far
    memory = _Memory(shape)
    for step in range(MOST_STEPS):
        givens = [part.given(shape, cross) for part, cross in zip(parts, crosses, strict=True)]
        following = shapes.best(sum(one.right for one in givens), sum(one.left for one in givens))
        explained = sum(one.explained for one in givens) - shapes.penalty(shape)
        worse = explained < best - 1e-6 * best.abs()
        done = ~worse & ((following - shape).norm(dim=1) < tolerance)
        last = step == MOST_STEPS - 1
        kept = torch.ones_like(done) if last else done
        if kept.any():
            found.hrf[active[kept]] = shape[kept]
            found.arrived[active[kept]] = done[kept]
            for part, cross, one, everything in zip(
                parts, crosses, givens, found.amplitudes, strict=True
            ):
                final = part.final(shape[kept], cross[kept], _Given(*(x[kept] for x in one)))
                everything[active[kept]] = final
        if kept.all():
            break
        plain = torch.where(worse[:, None], plain, following)
        best = torch.maximum(explained, best)
        shape = torch.where(worse[:, None], plain, memory.extrapolate(shape, following, worse))
        if kept.any():
            active, shape, plain, best = (t[~kept] for t in (active, shape, plain, best))
            crosses = [cross[~kept] for cross in crosses]
            memory.keep(~kept)
    return found


class _Shapes:
    """The shapes that may be found: directionᵀ h = 1, the nearer to the prior's mean the better."""

    def __init__(self, prior: ShapePrior, device: str):
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(array, dtype=torch.float64, device=device)

        self.mean, self._direction = tensor(prior.mean), tensor(prior.direction)
        self._precision = tensor(prior.precision)
        # Orthonormal columns, all orthogonal to the direction.
        whole = np.linalg.svd(prior.direction[None])[2]
        self._across = tensor(whole[1:].T)

    def penalty(self, shape: torch.Tensor) -> torch.Tensor:
        """By how much shapes (v, B) are implausible, in squares of the noise: (v,)."""
        away = shape.double() - self.mean
        return ((away @ self._precision) * away).sum(1).float()

    def best(self, right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        """The shapes (v, B) that fit best with the amplitudes as they are."""
        left = left.double() + self._precision
        right = right.double() + self._precision @ self.mean
        rest = (right - left @ self._direction) @ self._across
        root = torch.linalg.cholesky(self._across.T @ left @ self._across)
        weights = torch.cholesky_solve(rest[..., None], root)[..., 0]
        return (self._direction + weights @ self._across.T).float()


class _Memory:
    """Anderson acceleration: where the last few steps point to (Walker & Ni 2011, type II)."""

    def __init__(self, shape: torch.Tensor):
        self._steps = shape.new_zeros(len(shape), DEPTH, shape.shape[1])  # changes of g(h) - h
        self._ends = self._steps.clone()  # changes of g(h)
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._count = 0

    def extrapolate(
        self, shape: torch.Tensor, following: torch.Tensor, forget: torch.Tensor
    ) -> torch.Tensor:
        """From h and g(h) to a better guess than g(h); where `forget`, begin anew."""
        step = following - shape
        if self._last is not None:
            place = self._count % DEPTH
            self._steps[:, place] = step - self._last[0]
            self._ends[:, place] = following - self._last[1]
            self._steps[forget], self._ends[forget] = 0, 0
            self._count += 1
        self._last = step, following
        gram = (self._steps @ self._steps.mT).double()
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal += 1e-6 * diagonal.sum(1, keepdim=True) + 1e-20
        mix = torch.linalg.solve(gram, (self._steps @ step[..., None]).double()).float()
        return following - (mix.mT @ self._ends)[:, 0]

    def keep(self, kept: torch.Tensor) -> None:
        """Go on with some of the voxels."""
        self._steps, self._ends = self._steps[kept], self._ends[kept]
        self._last = self._last[0][kept], self._last[1][kept]


class _Part:
    """One run: what is the same for all voxels.

    Pairs of basis functions b ≤ b' are numbered 0 … P - 1; a quadratic form in h is a sum over
    pairs of h_b h_b' times its symmetrised coefficient.
    """

    def __init__(self, design: RunDesign, device: str):
        n_volumes, self.n, n_functions = design.regressors.shape
        clean = design.regressors.reshape(n_volumes, -1)
        clean = clean - design.nuisance @ (design.nuisance.T @ clean)
        gram = (clean.T @ clean).reshape(self.n, n_functions, self.n, n_functions)
        first, second = np.triu_indices(n_functions)
        pairs = gram[:, first, :, second] + gram[:, second, :, first]  # (P, K, K)
        pairs[first == second] /= 2
        own = np.diagonal(pairs, axis1=1, axis2=2)

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(array, dtype=torch.float32, device=device)

        self._separate = design.separate
        self._own, self._mixed = tensor(own), tensor(pairs.sum(2))  # (P, K)
        together = TOGETHER_SEPARATE if design.separate else TOGETHER
        hold = together * own.mean(1)[:, None, None] * (np.eye(self.n) - 1 / self.n)
        # One stimulus has no others to be held together with; float32 needs some ridge then.
        hold += _LEAST * own.mean(1)[:, None, None] * np.eye(self.n)
        self._pairs = tensor((pairs + hold).reshape(len(pairs), -1))  # (P, K²)
        self._first, self._second = (torch.tensor(b, device=device) for b in (first, second))
        self._clean, self._nuisance = tensor(clean), tensor(design.nuisance)

    def cross(self, bold: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Products of regressors and data, (v, K, B), and the scale (v,) that the data had."""
        values = torch.as_tensor(bold, device=self._clean.device)
        # The constant is in the nuisance; taken out first, it costs float32 no digits.
        values = values - values.mean(0, dtype=torch.float64).float()
        size = values.square().mean(0).sqrt()
        values -= self._nuisance @ (self._nuisance.T @ values)
        scale = values.square().mean(0).sqrt()
        scale = torch.where(scale > 1e-4 * size, scale, torch.nan)
        cross = (self._clean.T @ (values / scale)).T
        return cross.reshape(len(cross), self.n, -1), scale

    def given(self, shape: torch.Tensor, cross: torch.Tensor) -> _Given:
        """The best amplitudes for shapes (v, B), and what they make of the normal equations."""
        gram = (self._products(shape) @ self._pairs).reshape(-1, self.n, self.n)
        of_shape = cross @ shape[..., None]
        amplitudes = torch.cholesky_solve(of_shape, torch.linalg.cholesky(gram))
        outer = (amplitudes * amplitudes.mT).flatten(1) @ self._pairs.T  # (v, P)
        left = outer.new_zeros(len(outer), shape.shape[1], shape.shape[1])
        left[:, self._first, self._second] += outer / 2
        left[:, self._second, self._first] += outer / 2
        right = (cross.mT @ amplitudes)[..., 0]
        return _Given((amplitudes * of_shape).sum((1, 2)), right, left, amplitudes[..., 0])

    def final(self, shape: torch.Tensor, cross: torch.Tensor, given: _Given) -> torch.Tensor:
        """Amplitudes (v, K) as they go out: those given, or by separate regressions.

        Regression i has two regressors, xᵢ = Xᵢ h and the sum of all, x: with y = u xᵢ + w x the
        amplitude is u + w.
        """
        if not self._separate:
            return given.amplitudes
        products = self._products(shape)
        own, mixed = products @ self._own * (1 + _LEAST), products @ self._mixed
        whole = mixed.sum(1, keepdim=True) * (1 + _LEAST)
        of_own = (cross @ shape[..., None])[..., 0]
        of_whole = of_own.sum(1, keepdim=True)
        u, w = whole * of_own - mixed * of_whole, own * of_whole - mixed * of_own
        return (u + w) / (own * whole - mixed.square())

    def _products(self, shape: torch.Tensor) -> torch.Tensor:
        """h_b h_b' of all pairs: (v, P)."""
        return shape[:, self._first] * shape[:, self._second]
