"""The steps of the rank-1 model's search (see `rank1`): amplitudes, and ways on for the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.responses.hrf_bases import ShapePrior

TOGETHER = 0.3  # how strongly amplitudes are held together, in units of a regressor's energy
TOGETHER_SEPARATE = 1.0  # likewise where regressors are too many or overlap too much
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
    slack: torch.Tensor  # (v, B, B): by how much the sum bends less as amplitudes follow the shape
    amplitudes: torch.Tensor  # (v, K)


class ShapeSystem:
    """The shapes that may be found: directionᵀ h = 1, the nearer to the prior's mean the better."""

    def __init__(self, prior: ShapePrior, device: str):
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.tensor(array, dtype=torch.float64, device=device)

        self.mean = tensor(prior.mean)
        self._precision = tensor(prior.precision)
        # Orthonormal columns, all orthogonal to the direction.
        whole = np.linalg.svd(prior.direction[None])[2]
        self._across = tensor(whole[1:].T)

    def penalty(self, shape: torch.Tensor) -> torch.Tensor:
        """By how much shapes (v, B) are implausible, in squares of the noise: (v,)."""
        away = shape.double() - self.mean
        return ((away @ self._precision) * away).sum(1).float()

    def ways_on(
        self,
        shape: torch.Tensor,
        right: torch.Tensor,
        left: torch.Tensor,
        slack: torch.Tensor,
        reach: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Two better guesses than shapes (v, B).

        In coordinates in which the plain step goes straight down, the sum bends by 1 - μ along
        the eigenvectors of the slack where it would bend by 1 if the amplitudes stayed: a Newton
        step is the plain one divided by 1 - μ. Where the bend is small or negative, which happens
        far from the end, the step is `reach` times the plain one at most, and downhill.

        Parameters
        ----------
        shape : tensor (v, B)
        right, left, slack : tensors
            Sums of what `Given` holds.
        reach : tensor (v,)

        Returns
        -------
        newton : tensor (v, B)
        plain : tensor (v, B)
            What fits best with the amplitudes as they are, which is never worse.
        """
        shape, left = shape.double(), left.double() + self._precision
        slope = (left @ shape[..., None])[..., 0] - right.double() - self._precision @ self.mean
        root = torch.linalg.cholesky(self._across.T @ left @ self._across)
        down = _solve(root, -(slope @ self._across)[..., None])
        slack = self._across.T @ slack.double() @ self._across
        slack = _solve(root, _solve(root, slack).mT)
        mu, axes = torch.linalg.eigh((slack + slack.mT) / 2)
        gain = (1 - mu).abs().reciprocal().minimum(reach.double()[:, None])
        newton = axes @ (gain[..., None] * (axes.mT @ down))
        steps = torch.linalg.solve_triangular(root.mT, torch.cat([newton, down], dim=2), upper=True)
        newton, plain = (shape + steps[..., i] @ self._across.T for i in (0, 1))
        return newton.float(), plain.float()


def _solve(root: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve_triangular(root, right, upper=False)


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
        # Of the quadratic form G(h) = Σ h_b h_b' G_bb', what makes (∂G / ∂h_b) β from h and β.
        which = np.empty((n_functions, n_functions), dtype=int)
        which[first, second] = which[second, first] = np.arange(len(first))
        change = (pairs + hold)[which] * (1 + np.eye(n_functions))[..., None, None]
        self._change = tensor(change.transpose(2, 0, 3, 1).reshape(self.n * n_functions, -1))
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
        root = torch.linalg.cholesky(gram)
        half = _solve(root, of_shape)
        explained = half.square().sum((1, 2))
        amplitudes = torch.linalg.solve_triangular(root.mT, half, upper=True)
        outer = (amplitudes * amplitudes.mT).flatten(1) @ self._pairs.T  # (v, P)
        left = outer.new_zeros(len(outer), shape.shape[1], shape.shape[1])
        left[:, self._first, self._second] += outer / 2
        left[:, self._second, self._first] += outer / 2
        right = (cross.mT @ amplitudes)[..., 0]
        # How the normal equations of the amplitudes change with the shape (v, K, B).
        change = (amplitudes * shape[:, None]).flatten(1) @ self._change
        following = _solve(root, change.reshape(cross.shape) - cross)
        return Given(explained, right, left, following.mT @ following, amplitudes[..., 0])

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
