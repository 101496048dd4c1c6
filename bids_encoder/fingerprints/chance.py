"""What scores, slope and best layer are where nothing is predicted: not 0.

Layers differ in how their scores of noise vary and hang together, and the scores of folds that
test each other are not 0 on average. So the mean slope of noise is not 0, nor the mean place of its
best layer, and a test of many participants against 0 finds noise. What to compare with comes from
the participant: all that was done with the responses is done with permuted ones. The best layer is
that of scores smoothed with their neighbours, so that whole neighbourhoods are permuted, in one
order.

Shapes: L layers, S neighbourhoods, P permutations of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.permute import permutations, permute
from bids_encoder.encoding.ridge import PENALTIES, Kernels, fit
from bids_encoder.fingerprints.profile import best_layer, places, slope

N_NEIGHBOURHOODS = 20
_LEAST_WEIGHT = 0.04  # of neighbours, as a share of the largest: what is further away is left out


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A voxel and those that its smoothed value is made of.

    Attributes
    ----------
    voxels : (m,) int array
        The voxel itself first.
    weights : (m,) array
        Of the smoothing; they add up to 1.
    """

    voxels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Level:
    """A measure where nothing is predicted: mean and standard deviation over permutations."""

    mean: float
    deviation: float
    draws: int

    @classmethod
    def of(cls, values: np.ndarray) -> Level:
        """Of draws; those without a value do not count."""
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(float("nan"), float("nan"), 0)
        return cls(float(values.mean()), float(values.std()), values.size)


@dataclass(frozen=True)
class Chance:
    """What a participant's measures are where nothing is predicted.

    Attributes
    ----------
    r : tuple of L Level
        Of the score of each layer.
    slope, place : Level
        Of the slope, and of the place of the best layer on its scale, where noise has one.
    """

    r: tuple[Level, ...]
    slope: Level
    place: Level


def neighbourhoods(smoothed: np.ndarray, seeds: np.ndarray) -> list[Neighbourhood]:
    """Who is smoothed with whom.

    Parameters
    ----------
    smoothed : (S, V) array
        For each seed a map that is 1 there and 0 elsewhere, smoothed as scores are.
    seeds : (S,) int array
    """
    found = []
    for weights, seed in zip(np.nan_to_num(smoothed), seeds, strict=True):
        near = np.flatnonzero(weights >= _LEAST_WEIGHT * weights.max())
        voxels = np.concatenate([[seed], near[near != seed]])
        kept = weights[voxels]
        found.append(Neighbourhood(voxels, kept / kept.sum()))
    return found


def chance_level(
    kernels: Kernels,
    responses: np.ndarray,
    folds: Sequence[Fold],
    around: Sequence[Neighbourhood],
    *,
    n_permutations: int,
    block: int = 1,
    penalties: np.ndarray = PENALTIES,
    nested: bool = False,
    mem_bytes: int | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Chance:
    """Scores, slope and place of the best layer of permuted responses.

    Parameters
    ----------
    kernels : sequence of L (n, n) arrays
        Taken one after the other.
    responses : (n, V) array
    folds : sequence of Fold
    around : sequence of S Neighbourhood
        Spread over the voxels; their responses finite and not constant.
    n_permutations : int
        P, of each neighbourhood.
    block : int
        Rows that are permuted together.
    penalties, nested, mem_bytes, device
        As for :func:`bids_encoder.encoding.ridge.fit`, and the same as for the real responses.
    seed : int
        Of the permutations.

    Returns
    -------
    Chance
    """
    rng = np.random.default_rng(seed)
    orders = permutations(folds, n_permutations * len(around), block=block, rng=rng)
    draws = [one for one in around for _ in range(n_permutations)]
    sizes = [len(one.voxels) for one in draws]
    permuted = permute(
        responses,
        np.concatenate([one.voxels for one in draws]),
        np.repeat(orders, sizes, axis=1),
        folds,
    )
    scores = np.stack(
        [
            fit(
                None, permuted, folds, kernel=kernel, penalties=penalties, nested=nested,
                keep_weights=False, mem_bytes=mem_bytes, device=device,
            ).r
            for kernel in kernels
        ]
    )  # fmt: skip
    starts = np.cumsum([0, *sizes])[:-1]
    smoothed = np.stack(
        [
            scores[:, start : start + len(one.voxels)] @ one.weights
            for start, one in zip(starts, draws, strict=True)
        ],
        axis=1,
    )
    return Chance(
        tuple(Level.of(row) for row in scores),
        Level.of(slope(scores)),
        Level.of(places(best_layer(smoothed), len(scores))),
    )
