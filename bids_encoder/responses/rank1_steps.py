"""The steps of the rank-1 model's search (see `rank1`): amplitudes, shape, acceleration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.responses.hrf_bases import ShapePrior

TOGETHER = 0.3  # how strongly amplitudes are held together, in units of a regressor's energy
TOGETHER_SEPARATE = 1.0  # likewise where regressors are too many or overlap too much
DEPTH = 3  # steps that the acceleration looks back on
_LEAST = 1e-5  # ridge for the sake of float32, in units of a regressor's energy


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


class Given(NamedTuple):
    """What a run makes of given shapes."""

    explained: torch.Tensor  # (v,) sum of squares
    right: torch.Tensor  # (v, B): of the normal equations of the shape, given the amplitudes
    left: torch.Tensor  # (v, B, B)
    amplitudes: torch.Tensor  # (v, K)


class ShapeSystem:
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


class Acceleration:
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


class RunSystem:
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

    def given(self, shape: torch.Tensor, cross: torch.Tensor) -> Given:
        """The best amplitudes for shapes (v, B), and what they make of the normal equations."""
        gram = (self._products(shape) @ self._pairs).reshape(-1, self.n, self.n)
        of_shape = cross @ shape[..., None]
        amplitudes = torch.cholesky_solve(of_shape, torch.linalg.cholesky(gram))
        outer = (amplitudes * amplitudes.mT).flatten(1) @ self._pairs.T  # (v, P)
        left = outer.new_zeros(len(outer), shape.shape[1], shape.shape[1])
        left[:, self._first, self._second] += outer / 2
        left[:, self._second, self._first] += outer / 2
        right = (cross.mT @ amplitudes)[..., 0]
        return Given((amplitudes * of_shape).sum((1, 2)), right, left, amplitudes[..., 0])

    def final(self, shape: torch.Tensor, cross: torch.Tensor, given: Given) -> torch.Tensor:
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
