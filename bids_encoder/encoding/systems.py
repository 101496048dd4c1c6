"""Ridge regression for all folds at once, through samples or through features.

With an unpenalised intercept, fold t predicts its held-out responses as

    ŷ_t = ȳ_(t) + H_t(α) y_(t),      H_t(α) = X_t X_(t)' (X_(t) X_(t)' + αI)⁻¹

where (t) marks the training rows of the fold, and features are centred on their mean over these
rows. Two ways lead to H_t:

`KernelSystem` works with samples (n × n). Let K be the kernel centred over all rows, and

    G = (K + αI)⁻¹ - 11'/(nα)

its regularised inverse, projected against the constant. Then one inverse serves all folds: the
held-out residual is e_t = (G_tt)⁻¹ (G y)_t, the block form of the leave-one-out formula, and the
dual coefficients of fold t are G (y - [e_t]), where [e_t] stands in the rows of the fold with
zeros elsewhere. Their mean over the k folds is G s with s = y - e/k, for which G need not be kept:
(G s)_t is G_tt times the held-out residual of s.

`FeatureSystem` works with features (p × p), for p well below n:

    H_t y_(t) = X_t S_t(α) (X_(t)' y_(t)),      S_t(α) = (X_(t)' X_(t) + αI)⁻¹

where the last factor does not depend on α.

In both, rows are sorted by fold; responses come voxel by voxel, (V, n), each voxel centred over
all its rows; small matrices are made in float64 where their condition asks for it. Everything is
a torch tensor on one device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch

from bids_encoder.encoding.folds import N_BLOCKS

# Between these two, an inverse made in float32 keeps five digits: the condition number of the
# system, and the penalty in units of the mean diagonal (the larger it is, the less of the
# kernel is left in the rounding of the diagonal).
LARGEST_CONDITION = 100.0
LARGEST_PENALTY = 100.0
# From so many folds on, one large product is faster than one a fold, though it multiplies zeros.
FOLDS_AT_ONCE = 4


class Solver(NamedTuple):
    """The matrices of one penalty, float32.

    Attributes
    ----------
    predict : tuple of tensors
        The part of H_t(α) that depends on α: for samples one (n, n) tensor whose blocks on the
        diagonal are 0, for features one (n_t, p) tensor a fold.
    weights : tuple of tensors
        What turns responses and residuals into dual coefficients; empty if not asked for.
    intercept : tuple of tensors
        Linear functionals that give the intercept; empty if not asked for.
    """

    predict: tuple[torch.Tensor, ...]
    weights: tuple[torch.Tensor, ...] = ()
    intercept: tuple[torch.Tensor, ...] = ()


class KernelSystem:
    """Ridge through the n × n kernel.

    Parameters
    ----------
    kernel : (n, n) float tensor
        As the features give it, not centred; rows and columns sorted by fold.
    bounds : k + 1 int
        Fold t holds the rows bounds[t]:bounds[t+1].
    """

    def __init__(self, kernel: torch.Tensor, bounds: Sequence[int]):
        kernel = kernel.double()
        self.device = kernel.device
        n = len(kernel)
        self.bounds = tuple(bounds)
        self.folds = _pairs(bounds)
        self.training = torch.stack(
            [_training_average(n, *fold, kernel) for fold in _pairs(bounds)], dim=1
        )
        self.training_kernel = kernel @ self.training
        self.kernel = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
        self.unit = float(self.kernel.diagonal().mean())
        self._norm = float(torch.linalg.matrix_norm(self.kernel))

    def without(self, t: int) -> KernelSystem:
        """The system of the training rows of fold t, to choose a penalty among them."""
        keep, bounds = _without(self.bounds, t)
        return KernelSystem(self.kernel[keep][:, keep], bounds)

    def solver(self, penalty: float, weights: bool = False) -> Solver:
        """Matrices for one penalty, in the unit of the kernel."""
        n = len(self.kernel)
        single = self._norm / LARGEST_CONDITION < penalty < LARGEST_PENALTY * self.unit
        system = self.kernel.to(torch.float32 if single else torch.float64, copy=True)
        system.diagonal().add_(penalty)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        inverse -= 1 / (n * penalty)
        h = torch.empty_like(inverse)
        blocks = []
        for start, stop in self.folds:
            blocks.append(inverse[start:stop, start:stop].float())
            block = torch.linalg.cholesky(inverse[start:stop, start:stop])
            torch.mm(torch.cholesky_inverse(block), inverse[start:stop], out=h[start:stop])
            h[start:stop] += 1 / (n - stop + start)
            h[start:stop, start:stop] = 0
        h.neg_()
        if not weights:
            return Solver((h.float(),))
        return Solver((h.float(),), tuple(blocks), (self._intercept(inverse, h),))

    def prepare(self, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Nothing to prepare: the products act on the responses."""
        return ()

    def predict(self, solver: Solver, y: torch.Tensor, prepared: tuple, out: torch.Tensor) -> None:
        """Write H_t y_(t) of every fold for voxels y (m, n) into out (m, n)."""
        (h,) = solver.predict
        if len(self.folds) >= FOLDS_AT_ONCE:
            torch.mm(y, h.T, out=out)
            return
        for start, stop in self.folds:
            torch.mm(y[:, :start], h[start:stop, :start].T, out=out[:, start:stop])
            out[:, start:stop].addmm_(y[:, stop:], h[start:stop, stop:].T)

    def dual(self, solver, y, prepared, residuals) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean dual coefficients (m, n) and intercepts (m,) of the fold models."""
        spread = torch.add(y, residuals, alpha=-1 / len(self.folds))
        everything = spread.sum(1, keepdim=True)
        held_out = torch.empty_like(y)
        self.predict(solver, spread, prepared, out=held_out)
        for (start, stop), block in zip(self.folds, solver.weights, strict=True):
            s = spread[:, start:stop]
            mean = (everything - s.sum(1, keepdim=True)) / (y.shape[1] - stop + start)
            held_out[:, start:stop] = (s - mean - held_out[:, start:stop]) @ block
        return held_out, y @ solver.intercept[0]

    def _intercept(self, inverse: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """c (n,) with c'y the mean over folds of ȳ_(t) - m_t'a_t, m_t a mean row of the kernel."""
        left, right = torch.zeros_like(h[0]), torch.zeros_like(h[0])
        for t, (start, stop) in enumerate(self.folds):
            mean, average = (m[:, t].to(h.dtype) for m in (self.training_kernel, self.training))
            # a_t = G (y - [e_t]), and the same matrix, which is symmetric, acts on m_t.
            mean = mean - average @ mean
            mean[start:stop] = h[start:stop] @ mean
            left += average
            right += mean
        return ((left - inverse @ right) / len(self.folds)).float()


class FeatureSystem:
    """Ridge through the p × p products of features.

    Parameters
    ----------
    features : (n, p) float tensor
        Not centred; rows sorted by fold.
    bounds : k + 1 int
        Fold t holds the rows bounds[t]:bounds[t+1].
    """

    def __init__(self, features: torch.Tensor, bounds: Sequence[int]):
        x = features.double()
        self.device = x.device
        self.bounds = tuple(bounds)
        self.folds = _pairs(bounds)
        self.mean = x.mean(0)
        self.features = x - self.mean
        self.unit = float(self.features.square().sum(1).mean())
        self.training_means, self.products = [], []
        for start, stop in _pairs(bounds):
            rest = torch.cat([self.features[:start], self.features[stop:]])
            self.training_means.append(rest.mean(0))
            rest = rest - rest.mean(0)
            self.products.append(rest.T @ rest)

    @cached_property
    def _to_dual(self) -> torch.Tensor:
        """(p, n): weights w are X'a for the dual coefficients a' = w' (X'X)⁺ X' of least norm."""
        return torch.linalg.pinv(self.features.T, rtol=1e-10).T.float()

    def without(self, t: int) -> FeatureSystem:
        """The system of the training rows of fold t, to choose a penalty among them."""
        keep, bounds = _without(self.bounds, t)
        return FeatureSystem(self.features[keep], bounds)

    def solver(self, penalty: float, weights: bool = False) -> Solver:
        """Matrices for one penalty, in the unit of the kernel."""
        predict, inverses, intercepts = [], [], []
        for t, (start, stop) in enumerate(self.folds):
            product = self.products[t]
            inverse = torch.cholesky_inverse(
                torch.linalg.cholesky(product + penalty * _eye(len(product), product))
            )
            held_out = self.features[start:stop] - self.training_means[t]
            predict.append((held_out @ inverse).float())
            inverses.append(inverse.float())
            intercepts.append((inverse @ (self.mean + self.training_means[t])).float())
        if not weights:
            return Solver(tuple(predict))
        return Solver(tuple(predict), tuple(inverses), tuple(intercepts))

    def prepare(self, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """X_(t)' y_(t) of every fold, each (m, p): all that the responses contribute."""
        x = self.features.float()
        parts = [y[:, a:b] @ x[a:b] for a, b in self.folds]
        total = sum(parts)
        return tuple(
            (total - part).addmm_(
                -_training_sum(y, a, b)[:, None], self.training_means[t].float()[None]
            )
            for t, (part, (a, b)) in enumerate(zip(parts, self.folds, strict=True))
        )

    def predict(self, solver: Solver, y: torch.Tensor, prepared: tuple, out: torch.Tensor) -> None:
        """Write H_t y_(t) of every fold for voxels y (m, n) into out (m, n)."""
        for (start, stop), u, h in zip(self.folds, prepared, solver.predict, strict=True):
            torch.mm(u, h.T, out=out[:, start:stop])

    def dual(self, solver, y, prepared, residuals) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean dual coefficients (m, n) and intercepts (m,) of the fold models."""
        k = len(self.folds)
        weights = sum(u @ s for u, s in zip(prepared, solver.weights, strict=True)) / k
        intercept = sum(
            _training_sum(y, a, b) / (y.shape[1] - b + a) - u @ c
            for u, c, (a, b) in zip(prepared, solver.intercept, self.folds, strict=True)
        )
        return weights @ self._to_dual, intercept / k


def _pairs(bounds: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _without(bounds: Sequence[int], t: int) -> tuple[list[int], list[int]]:
    """Rows outside fold t, and the bounds of the other folds among them.

    Where only one other fold is left, it is cut into five blocks.
    """
    sizes = [stop - start for start, stop in _pairs(bounds)]
    keep = [*range(bounds[t]), *range(bounds[t + 1], bounds[-1])]
    del sizes[t]
    if len(sizes) == 1:
        return keep, [len(keep) * i // N_BLOCKS for i in range(N_BLOCKS + 1)]
    return keep, [sum(sizes[:i]) for i in range(len(sizes) + 1)]


def _eye(n: int, like: torch.Tensor) -> torch.Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device)


def _training_sum(y: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    return y[:, :start].sum(1) + y[:, stop:].sum(1)


def _training_average(n: int, start: int, stop: int, like: torch.Tensor) -> torch.Tensor:
    """The (n,) vector that takes the mean over the training rows."""
    average = torch.full((n,), 1 / (n - stop + start), dtype=like.dtype, device=like.device)
    average[start:stop] = 0
    return average
