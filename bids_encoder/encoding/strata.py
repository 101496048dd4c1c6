"""One null for voxels that are alike: strata of voxels by their autocorrelation.

The null of a voxel depends on how its noise is autocorrelated: where features change slowly, as
in films, slow noise is predicted better by chance than fast noise. A null pooled over all voxels
is then too easy for slow ones, and above all for slow voxels among many fast ones. So voxels are
grouped by the lag-1 autocorrelation ρ of their responses within folds, in classes of equal width
in Fisher's z = artanh ρ, each with permutations of its own. Neighbouring classes are put together
where the voxels' own nulls do not differ (Kruskal-Wallis test of the voxels' mean excess over the
common median), since a larger null is a more precise one. How much the nulls of voxels in a stratum
still differ is estimated by an analysis of variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kruskal

from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.null import Null, null_distribution, p_values
from bids_encoder.encoding.permute import LARGEST_RHO, autocorrelation
from bids_encoder.encoding.recombine import versions_for
from bids_encoder.encoding.ridge import Kernels
from bids_encoder.encoding.tail import SMALLEST_P, Tail, fit_tail

WIDTH = 0.25  # of a class, in z
FEWEST_DRAWN = 20  # voxels (or versions of the same ones) permuted in each class
ALIKE = 0.01  # p of the test above which neighbouring classes are one stratum


def classify(rho: np.ndarray, count: int) -> np.ndarray:
    """The class of each voxel, (V,) int, if `count` voxels are to be permuted.

    Classes are centred on multiples of `WIDTH` in z; of twice, four times, ... that where too few
    voxels are permuted to tell the nulls of so many classes apart.
    """
    z = np.arctanh(np.clip(rho, -LARGEST_RHO, LARGEST_RHO))
    width = WIDTH
    while True:
        classes = np.rint(z / width).astype(int)
        n_classes = len(np.unique(classes))
        if n_classes == 1 or count >= FEWEST_DRAWN / 2 * n_classes:
            return classes
        width *= 2


def spread_evenly(size: int, count: int) -> np.ndarray:
    """Places (count,) spread evenly over `size` of them, which are no fewer than `count`."""
    return ((np.arange(count) + 0.5) * size / max(count, 1)).astype(int)


def draw_voxels(classes: np.ndarray, count: int) -> list[np.ndarray]:
    """Voxels to be permuted, for each class in rising order: `count` in all.

    Each class gets an equal number of at least `FEWEST_DRAWN`, if `count` suffices for that, and
    a share of the rest in proportion to its voxels. They are spread evenly over the class; in a
    class with fewer voxels, voxels come again.

    Parameters
    ----------
    classes : (V,) int array
    count : int
    """
    names, sizes = np.unique(classes, return_counts=True)
    fewest = min(FEWEST_DRAWN, count // len(names))
    spare = (count - fewest * len(names)) * np.cumsum(sizes) / len(classes)
    drawn = fewest + np.diff(np.rint(spare).astype(int), prepend=0)
    found = []
    for name, size, some in zip(names, sizes, drawn, strict=True):
        places = spread_evenly(size, some) if some <= size else np.arange(some) % size
        found.append(np.flatnonzero(classes == name)[places])
    return found


@dataclass(frozen=True)
class Stratum:
    """Voxels that share a null.

    Attributes
    ----------
    members : (v,) int array
        Voxels, rising.
    permuted : (d,) int array
        Voxels whose responses were permuted, B² times each (the last one fewer);
        where there are few members, they come again.
    null : (B,) float64
        Values of T under permutation, in rising order.
    tail : Tail or None
        None where p-values are counted.
    own : (d,) float64
        The 95 % quantile of each permuted voxel's own values.
    spread : float
        How much the voxels' nulls differ within the stratum: the standard deviation over voxels of
        the mean excess over the median, less what chance contributes, as a share of its mean.
    spread_p : float
        p of a Kruskal-Wallis test that the voxels' nulls are the same.
    beyond_sd : float
        What that means for p: values that 5 % of the common null reach are reached by 5 % of a
        voxel's own in the mean over voxels, with this standard deviation, less what chance
        contributes.
    """

    members: np.ndarray
    permuted: np.ndarray
    null: np.ndarray
    tail: Tail | None
    own: np.ndarray
    spread: float
    spread_p: float
    beyond_sd: float

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that a voxel can have."""
        return 1 / (1 + len(self.null)) if self.tail is None else SMALLEST_P

    def p_values(self, statistic: np.ndarray) -> np.ndarray:
        """p of T, (V,): counted, with the +1 correction, and beyond a threshold from the tail.

        NaN gives NaN. Falls (or stays) as T rises.
        """
        statistic = np.asarray(statistic, dtype=np.float64)
        p = p_values(statistic, self.null)
        if self.tail is not None:
            beyond = statistic >= self.tail.threshold
            p[beyond] = self.tail.p_values(statistic[beyond])
        return p


def permute_voxels(
    kernels: Kernels,
    responses: np.ndarray,
    folds: Sequence[Fold],
    scored: np.ndarray,
    *,
    n_permutations: int,
    score: str = "r2",
    **how,
) -> tuple[Null, list[Stratum]]:
    """The null of voxels, drawn from each class of autocorrelation, and strata for their T.

    Parameters
    ----------
    kernels, responses (n, V), folds, n_permutations, **how
        As for `null_distribution`.
    scored : (v,) int array
        The voxels that have a score, rising.
    score : "r2", "r" or "pooled_r2"
        T is its maximum over layers, and must be so for the voxels that are compared.

    Returns
    -------
    null : Null
        `voxel` counts the columns of `responses`.
    strata : list of Stratum
    """
    n_versions = versions_for(n_permutations)
    count = -(-n_permutations // n_versions**2)
    classes = classify(autocorrelation(responses[:, scored], folds), count)
    drawn = draw_voxels(classes, count)
    permuted = scored[np.concatenate(drawn)]
    null = null_distribution(
        kernels, responses[:, permuted], folds, n_permutations=n_permutations, **how
    )
    strata = make_strata(classes, scored, drawn, null.highest(score), n_versions)
    return replace(null, voxel=permuted[null.voxel]), strata


def p_by_stratum(strata: Sequence[Stratum], statistic: np.ndarray) -> np.ndarray:
    """p of T (V,), each voxel in the null of its stratum; NaN for those in none."""
    p = np.full(len(statistic), np.nan)
    for stratum in strata:
        p[stratum.members] = stratum.p_values(statistic[stratum.members])
    return p


def make_strata(
    classes: np.ndarray,
    voxels: np.ndarray,
    drawn: Sequence[np.ndarray],
    highest: np.ndarray,
    n_versions: int,
) -> list[Stratum]:
    """Strata of voxels whose nulls are alike, neighbouring classes together.

    Parameters
    ----------
    classes : (v,) int array
        Of the voxels that have a score (`classify`).
    voxels : (v,) int array
        Which ones these are, rising.
    drawn : sequence of int arrays
        What `draw_voxels` returned for these classes.
    highest : (B,) array
        T of all permutations, B² for each voxel drawn, in that order; the last voxel may have
        fewer.
    n_versions : int
        B (see `recombine`).

    Returns
    -------
    list of Stratum
        In the order of their autocorrelation.
    """
    ends = np.cumsum([len(some) * n_versions**2 for some in drawn])
    values: list[np.ndarray] = list(np.split(np.asarray(highest, dtype=np.float64), ends[:-1]))
    names = [[name] for name in np.unique(classes)]
    permuted = list(drawn)
    while len(names) > 1:
        alike = [_compare(values[i], values[i + 1], n_versions) for i in range(len(names) - 1)]
        best = int(np.argmax(alike))
        if alike[best] <= ALIKE:
            break
        names[best : best + 2] = [names[best] + names[best + 1]]
        for each in (permuted, values):
            each[best : best + 2] = [np.concatenate(each[best : best + 2])]
    return [
        _stratum(voxels[np.isin(classes, which)], voxels[some], ours, n_versions)
        for which, some, ours in zip(names, permuted, values, strict=True)
    ]


def _compare(one: np.ndarray, other: np.ndarray, n_versions: int) -> float:
    """p of the hypothesis that voxels of two groups have the same null."""
    median = np.median(np.concatenate([one, other]))
    excess = [
        by_voxel(np.maximum(values - median, 0), n_versions).mean(1) for values in (one, other)
    ]
    return _kruskal(excess) if min(map(len, excess)) > 1 else 1.0


def _stratum(
    members: np.ndarray, permuted: np.ndarray, values: np.ndarray, n_versions: int
) -> Stratum:
    whole = by_voxel(values, n_versions)
    null = np.sort(values)
    # Values of the same shift have no version in common (see `recombine`): they are independent.
    excess = np.maximum(whole[:, :n_versions] - np.median(null), 0)
    spread, spread_p, beyond_sd = 0.0, 1.0, 0.0
    if len(excess) > 2 and excess.any():
        spread = float(np.sqrt(max(_between(excess), 0)) / excess.mean())
        spread_p = _kruskal(list(excess))
        beyond = (whole >= np.quantile(null, 0.95)).reshape(len(whole), -1, n_versions)
        # One shift says little of rare values; all of them, each by itself, say more.
        each = [float(_between(shift)) for shift in beyond.swapaxes(0, 1).astype(np.float64)]
        beyond_sd = float(np.sqrt(max(sum(each) / len(each), 0)))
    return Stratum(
        members=members,
        permuted=permuted,
        null=null,
        tail=fit_tail(null),
        own=np.quantile(whole, 0.95, axis=1) if len(whole) else np.empty(0),
        spread=spread,
        spread_p=spread_p,
        beyond_sd=beyond_sd,
    )


def _between(values: np.ndarray) -> float:
    """Variance of voxels' means over independent values, (d, B), less what chance contributes."""
    within = values.var(1, ddof=1).mean()
    return float(values.mean(1).var(ddof=1) - within / values.shape[1])


def _kruskal(groups: Sequence[np.ndarray]) -> float:
    values = np.concatenate(groups)
    return float(kruskal(*groups).pvalue) if np.ptp(values) > 0 else 1.0


def fewest_voxels(n_voxels: int, smallest_p: float, fdr: float) -> int:
    """How many of V voxels must have the smallest p-value for any to pass: k ≥ V p / q."""
    return max(int(np.ceil(n_voxels * smallest_p / fdr - 1e-9)), 1)


def by_voxel(values: np.ndarray, n_versions: int) -> np.ndarray:
    """Values of permutations, a row a voxel that was drawn; an incomplete last one is left out."""
    each = n_versions**2
    whole = len(values) // each
    return values[: whole * each].reshape(whole, each)
