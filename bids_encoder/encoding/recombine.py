"""Many permutations for the products of a few: folds permuted apart may be put together anew.

Ridge predictions are linear in the responses. With the rows cut into parts P₁ … P_G, each a few
whole folds, what is predicted for the held-out rows of all folds (less the training means) is

    q = H y = Σ_g u_g,      u_g = H[:, P_g] y[P_g],

where H, of one penalty, has zeros in the blocks on its diagonal. The rows of a fold are permuted
apart from those of the others. So of B permuted versions of a voxel's responses, any part of one
may stand beside any part of another, and makes a permutation as good as they are. The products u_g
of a version are made once and serve all permutations in which its parts stand. Nor are their sums
needed: r² and r of fold t come from

    ỹ_t'q_t = Σ_g ỹ_t'u_gt,      q_t'q_t = Σ_g Σ_h u_gt'u_ht,      1'q_t = Σ_g 1'u_gt,

with ỹ_t the held-out responses less their mean, and these inner products too are made once, for all
pairs of versions. What is left to do for a permutation is to look up and add.

With B a prime number, versions b + r g (modulo B) for parts g = 0 … G - 1, b and r = 0 … B - 1,
use each part of each version B times, and no two of these B² permutations have the same two parts
in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.encoding.blocks import Solvers
from bids_encoder.encoding.search import search
from bids_encoder.encoding.systems import KernelSystem

VERSIONS = 7  # of the responses of a voxel: B, a prime number
PERMUTATIONS = VERSIONS**2  # that are made of them
PARTS = 4  # the largest number of parts


class Parts(NamedTuple):
    """Folds that stay together.

    Attributes
    ----------
    rows : list of G slices
        The rows of each part, of samples sorted by fold.
    of_fold : list of k int
        The part that each fold is in.
    """

    rows: list[slice]
    of_fold: list[int]

    @property
    def versions(self) -> np.ndarray:
        """Which version each part of a permutation is taken from, (PERMUTATIONS, G)."""
        shift, first = np.divmod(np.arange(PERMUTATIONS), VERSIONS)
        return (first[:, None] + shift[:, None] * np.arange(len(self.rows))) % VERSIONS


def cut_parts(bounds: Sequence[int]) -> Parts:
    """Neighbouring folds together in at most `PARTS` parts, from the k + 1 bounds of k folds."""
    k = len(bounds) - 1
    ends = [k * g // min(k, PARTS) for g in range(min(k, PARTS) + 1)]
    pairs = list(zip(ends[:-1], ends[1:], strict=True))
    of_fold = [g for g, (first, last) in enumerate(pairs) for _ in range(first, last)]
    return Parts([slice(bounds[first], bounds[last]) for first, last in pairs], of_fold)


class Recombined:
    """All permutations of some voxels' versions: their scores, penalty by penalty.

    Parameters
    ----------
    system : KernelSystem
    solvers : callable
        Solvers by their place in the grid of m penalties.
    versions : (V × B, n) float32 tensor
        Versions of V voxels, one voxel after the other, samples sorted by fold.
    n_penalties : int
    """

    def __init__(
        self, system: KernelSystem, solvers: Solvers, versions: torch.Tensor, n_penalties: int
    ):
        self.system, self.solvers = system, solvers
        self.parts = cut_parts(system.bounds)
        self.y = (versions - versions.mean(1, keepdim=True)).view(-1, VERSIONS, versions.shape[1])
        self._means, self._totals = [], []
        for start, stop in system.folds:
            # Permutations change neither the mean nor the variance of a fold.
            one = self.y[:, 0, start:stop]
            self._means.append(one.mean(1, keepdim=True))
            self._totals.append(one.var(1, correction=0, keepdim=True) * (stop - start))
        shape = n_penalties, len(self.y), PERMUTATIONS
        self._gains = np.full(shape, np.nan)
        self._scores = np.full((3, *shape), np.nan, dtype=np.float32)

    def best(self, penalties: np.ndarray) -> np.ndarray:
        """r², r and pooled r² at the penalty with the highest mean r², (3, V × PERMUTATIONS)."""
        chosen = search(self._evaluate, penalties, len(self.y) * PERMUTATIONS)
        flat = self._scores.reshape(3, len(penalties), -1)
        return flat[:, chosen, np.arange(flat.shape[2])]

    def _evaluate(self, j: int, rows: np.ndarray | None) -> np.ndarray:
        """Mean r² over folds at penalty j, less what does not depend on the penalty."""
        wanted = np.zeros(len(self.y), dtype=bool)
        wanted[slice(None) if rows is None else rows // PERMUTATIONS] = True
        new = np.flatnonzero(wanted & np.isnan(self._gains[j, :, 0]))
        if len(new):
            everywhere = len(new) == len(self.y)
            some = slice(None) if everywhere else torch.from_numpy(new).to(self.y.device)
            gains, *scores = self._score(j, some)
            self._gains[j, new] = gains.double().cpu().numpy()
            for kind, values in enumerate(scores):
                self._scores[kind, j, new] = values.cpu()
        gains = self._gains[j].ravel()
        return gains if rows is None else gains[rows]

    def _score(self, j: int, voxels: slice | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gain, r², r and pooled r² of all permutations of some voxels, (v, PERMUTATIONS) each."""
        (h,) = self.solvers(j).predict
        y = self.y[voxels]
        # u: (v, G × B, n), part after part.
        u = torch.cat([y[:, :, rows] @ h[:, rows].T for rows in self.parts.rows], dim=1)
        gains, r2, r, less = (torch.zeros(len(y), PERMUTATIONS, device=y.device) for _ in range(4))
        spread = torch.zeros(len(y), 1, device=y.device)
        for t, (start, stop) in enumerate(self.system.folds):
            held_out, u_t = y[:, :, start:stop], u[:, :, start:stop]
            mean, total = self._means[t][voxels], self._totals[t][voxels]
            # y is centred, so that the training rows add up to what the held-out ones do not.
            offset = mean + mean * (stop - start) / (y.shape[2] - stop + start)
            u1 = u_t.sum(2)
            q1 = self._sum(u1, self._parts)
            # ỹ = y less its mean, and d = ỹ + offset as in `blocks.gains`.
            yu = torch.bmm(held_out, u_t.mT) - (mean * u1)[:, None]
            yq = self._sum(yu, self._pairs_of_fold[t])
            qq = self._sum(torch.bmm(u_t, u_t.mT), self._pairs)
            # By how much the error is smaller than that of the training mean, ||d||² - ||d - q||².
            gain = 2 * (yq + offset * q1) - qq
            beside = (stop - start) * offset.square()
            less += gain
            spread += total + beside
            gains += gain / total
            r2 += (gain - beside) / total
            varying = qq - q1.square() / (stop - start)
            r += torch.where(varying > 1e-6 * qq, yq / (varying.clamp_min(0) * total).sqrt(), 0.0)
        k = len(self.system.folds)
        return gains / k, r2 / k, r / k, less / spread

    @staticmethod
    def _sum(table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Sums over what stands at places (s, PERMUTATIONS) of each voxel's table."""
        found = table.flatten(1).index_select(1, places.flatten())
        return found.view(len(table), *places.shape).sum(1)

    @cached_property
    def _parts(self) -> torch.Tensor:
        """Places of the parts of each permutation among G × B, (G, PERMUTATIONS)."""
        versions = torch.from_numpy(self.parts.versions.T.copy())
        places = versions + VERSIONS * torch.arange(len(versions))[:, None]
        return places.to(self.y.device)

    @cached_property
    def _pairs(self) -> torch.Tensor:
        """Places of all pairs of parts in a table of (G × B)², (G², PERMUTATIONS)."""
        width = VERSIONS * len(self._parts)
        return (width * self._parts[:, None] + self._parts).flatten(0, 1)

    @cached_property
    def _pairs_of_fold(self) -> list[torch.Tensor]:
        """For each fold, places of its own version beside all parts in a table of B × (G × B)."""
        width = VERSIONS * len(self._parts)
        return [width * (self._parts[g] - VERSIONS * g) + self._parts for g in self.parts.of_fold]
