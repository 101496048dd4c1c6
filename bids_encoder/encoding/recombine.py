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
in common. They are nearly as good as B² that have nothing in common: what two permutations with a
common part share is less than 0.5 % of the variance of "T is above a high quantile" (BOLD of bars
and nine layers, B = 31), so that the more versions, the more permutations for the same products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from bids_encoder.encoding.blocks import Solvers
from bids_encoder.encoding.search import coarse_grid, search
from bids_encoder.encoding.systems import KernelSystem

# The numbers of versions of a voxel's responses, B, prime.
N_VERSIONS = (7, 11, 13, 17, 23)
FEWEST_VOXELS = 160  # permuted, or there are fewer versions of more voxels
PARTS = 4  # the largest number of parts


def versions_for(n_permutations: int) -> int:
    """B, of each voxel, if so many permutations are wanted: B² permutations of a voxel."""
    return max([b for b in N_VERSIONS if FEWEST_VOXELS * b**2 <= n_permutations], default=7)


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

    def versions(self, n_versions: int) -> np.ndarray:
        """Which version each part of a permutation is taken from, (B², G)."""
        shift, first = np.divmod(np.arange(n_versions**2), n_versions)
        return (first[:, None] + shift[:, None] * np.arange(len(self.rows))) % n_versions

    def beside(self, fold: int) -> list[int]:
        """The parts that predict a fold: all but its own, where that is the fold alone."""
        own = self.of_fold[fold]
        alone = self.of_fold.count(own) == 1
        return [g for g in range(len(self.rows)) if not (alone and g == own)]


def cut_parts(bounds: Sequence[int]) -> Parts:
    """Neighbouring folds together in at most `PARTS` parts, from the k + 1 bounds of k folds."""
    k = len(bounds) - 1
    ends = [k * g // min(k, PARTS) for g in range(min(k, PARTS) + 1)]
    pairs = list(zip(ends[:-1], ends[1:], strict=True))
    of_fold = [g for g, (first, last) in enumerate(pairs) for _ in range(first, last)]
    return Parts([slice(bounds[first], bounds[last]) for first, last in pairs], of_fold)


class Recombined:
    """All B² permutations of some voxels' versions: their scores, penalty by penalty.

    Parameters
    ----------
    system : KernelSystem
    solvers : callable
        Solvers by their place in the grid of m penalties.
    versions : (V × B, n) float32 tensor
        Versions of V voxels, one voxel after the other, samples sorted by fold.
    n_versions : int
        B.
    n_penalties : int
    """

    def __init__(
        self,
        system: KernelSystem,
        solvers: Solvers,
        versions: torch.Tensor,
        n_versions: int,
        n_penalties: int,
    ):
        self.system, self.solvers = system, solvers
        self.n_versions, self.n_permutations = n_versions, n_versions**2
        self.parts = cut_parts(system.bounds)
        self.y = (versions - versions.mean(1, keepdim=True)).view(-1, n_versions, versions.shape[1])
        self._means, self._totals = [], []
        for start, stop in system.folds:
            # Permutations change neither the mean nor the variance of a fold.
            one = self.y[:, 0, start:stop]
            self._means.append(one.mean(1, keepdim=True))
            self._totals.append(one.var(1, correction=0, keepdim=True) * (stop - start))
        shape = n_penalties, len(self.y), self.n_permutations
        self._gains = np.full(shape, np.nan, dtype=np.float32)
        self._scores = np.full((3, *shape), np.nan, dtype=np.float32)

    def best(self, penalties: np.ndarray) -> np.ndarray:
        """r², r and pooled r² at the penalty with the highest mean r², (3, V × B²)."""
        chosen, unsure = self._peaks(coarse_grid(penalties))
        chosen[unsure] = search(
            lambda j, rows: self._evaluate(j, unsure if rows is None else unsure[rows]),
            penalties,
            len(unsure),
        )
        flat = self._scores.reshape(3, len(penalties), -1)
        return flat[:, chosen, np.arange(flat.shape[2])]

    def _peaks(self, coarse: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The best penalty where the score rises to it and then falls, and where it does not.

        There `search` would come to the same penalty, one permutation at a time. What lies below
        the peaks of all permutations of a voxel is not tried, but for a few penalties.
        """
        coarse = sorted(coarse)
        for j in coarse:
            self._evaluate(j, None)
        lowest = self._gains[coarse].argmax(0).min(1)  # of each voxel, among these
        tried_from = np.array([-1, *coarse])[lowest]
        for j in range(len(self._gains)):
            if j not in coarse:
                wanted = np.flatnonzero(tried_from < j)
                self._evaluate(j, wanted * self.n_permutations)
        peak = np.zeros(self._gains.shape[1:], dtype=np.int64)
        falls = np.zeros(peak.shape, dtype=bool)
        unsure = np.zeros(peak.shape, dtype=bool)
        before = np.full(peak.shape, -np.inf, dtype=np.float32)
        for j, gains in enumerate(self._gains):
            known = ~np.isnan(gains[:, :1])
            rises = known & (gains >= before)  # among equal ones the larger penalty
            unsure |= rises & falls
            falls |= known & ~rises
            peak[rises] = j
            before = np.where(known, gains, before)
        return peak.ravel(), np.flatnonzero(unsure)

    def _evaluate(self, j: int, rows: np.ndarray | None) -> np.ndarray:
        """Mean r² over folds at penalty j, less what does not depend on the penalty."""
        wanted = np.zeros(len(self.y), dtype=bool)
        wanted[slice(None) if rows is None else rows // self.n_permutations] = True
        new = np.flatnonzero(wanted & np.isnan(self._gains[j, :, 0]))
        if len(new):
            everywhere = len(new) == len(self.y)
            some = slice(None) if everywhere else torch.from_numpy(new).to(self.y.device)
            gains, *scores = self._score(j, some)
            self._gains[j, new] = gains.cpu()
            for kind, values in enumerate(scores):
                self._scores[kind, j, new] = values.cpu()
        gains = self._gains[j].ravel()
        return gains if rows is None else gains[rows]

    def _score(self, j: int, voxels: slice | torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gain, r², r and pooled r² of all permutations of some voxels, (v, B²) each."""
        (h,) = self.solvers(j).predict
        y = self.y[voxels]
        gains, r2, r, less = (
            torch.zeros(len(y), self.n_permutations, device=y.device) for _ in range(4)
        )
        spread = torch.zeros(len(y), 1, device=y.device)
        for t, (start, stop) in enumerate(self.system.folds):
            places = self._places[t]
            rows = [self.parts.rows[g] for g in self.parts.beside(t)]
            # u of the held-out rows: (v, parts × B, n_t), part after part.
            u = torch.cat([y[:, :, part] @ h[start:stop, part].T for part in rows], dim=1)
            mean, total = self._means[t][voxels], self._totals[t][voxels]
            # y is centred, so that the training rows add up to what the held-out ones do not.
            offset = mean + mean * (stop - start) / (y.shape[2] - stop + start)
            u1 = u.sum(2)
            q1 = self._sum(u1, places.parts)
            # ỹ = y less its mean, and d = ỹ + offset as in `blocks.gains`.
            yu = torch.bmm(y[:, :, start:stop], u.mT) - (mean * u1)[:, None]
            yq = self._sum(yu, places.own)
            qq = self._sum(torch.bmm(u, u.mT), places.pairs)
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
        """Sums over what stands at places (s, B²) of each voxel's table."""
        flat = table.flatten(1)
        found = flat.index_select(1, places[0])
        for some in places[1:]:
            found += flat.index_select(1, some)
        return found

    @cached_property
    def _places(self) -> list[_Places]:
        """Where the parts of each permutation stand in the tables of each fold."""
        versions = torch.from_numpy(self.parts.versions(self.n_versions).T.copy())
        found = []
        for t, own in enumerate(self.parts.of_fold):
            beside = self.parts.beside(t)
            parts = versions[beside] + self.n_versions * torch.arange(len(beside))[:, None]
            width = self.n_versions * len(beside)
            pairs = (width * parts[:, None] + parts).flatten(0, 1)
            tables = parts, pairs, width * versions[own] + parts
            found.append(_Places(*(one.to(self.y.device) for one in tables)))
        return found


class _Places(NamedTuple):
    """Of the s parts that predict a fold, in tables of versions, part after part.

    Attributes
    ----------
    parts : (s, B²)
        Each part, among s × B.
    pairs : (s², B²)
        Each pair of parts, in a table of (s × B)².
    own : (s, B²)
        The fold's own version beside each part, in a table of B × (s × B).
    """

    parts: torch.Tensor
    pairs: torch.Tensor
    own: torch.Tensor
