"""Super-voxel smoothness: how alike the responses of neighbouring voxels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_encoder.grids.neighbourhood import touching
from bids_encoder.rsa.similarity import standardized


@dataclass(frozen=True)
class Neighbours:
    """How alike voxels are that touch each other, and voxels that lie apart.

    Attributes
    ----------
    near, far : float
        Mean Pearson correlation of the response profiles of pairs of voxels
        that share a face, and of pairs at least ``distance`` voxels apart. NaN
        where there are no such pairs.
    near_pairs, far_pairs : int
        How many pairs were used.
    """

    near: float
    far: float
    near_pairs: int
    far_pairs: int


def neighbour_similarity(
    values: np.ndarray,
    places: np.ndarray,
    other: np.ndarray | None = None,
    *,
    near: np.ndarray | None = None,
    distance: float = 4.0,
    most: int = 20_000,
    seed: int = 0,
) -> Neighbours:
    """Correlate the response profiles of near and of far voxels.

    Parameters
    ----------
    values : (n, V) array
        Responses of the voxels to the items (or over time).
    places : (V, d) array
        Where they lie, in units of the distance between neighbours.
    other : (n, V) array, optional
        An independent measurement: profiles of one voxel in ``values`` are then
        compared with those of the other voxel here, so that noise that voxels
        share does not count.
    near : (P, 2) int array, optional
        Pairs that touch each other; default: those that share a face, where places are
        whole numbers.
    distance : float
        From which on voxels are far from each other, in voxels.
    most : int
        Pairs used of each kind; of more, a sample is drawn.
    seed : int

    Returns
    -------
    Neighbours
    """
    random = np.random.default_rng(seed)
    first = standardized(np.asarray(values, np.float32).T)
    second = first if other is None else standardized(np.asarray(other, np.float32).T)
    near = touching(places) if near is None else near
    if len(near) > most:
        near = near[random.choice(len(near), most, replace=False)]
    drawn = random.integers(len(places), size=(4 * most, 2))
    apart = np.linalg.norm(places[drawn[:, 0]] - places[drawn[:, 1]], axis=1) >= distance
    far = drawn[apart][: min(most, len(places) * (len(places) - 1) // 2)]
    near_r, far_r = _correlations(first, second, near), _correlations(first, second, far)
    return Neighbours(_mean(near_r), _mean(far_r), near_r.size, far_r.size)


def _correlations(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Correlation of each pair; both ways round where the measurements are two."""
    r = np.einsum("ij,ij->i", first[pairs[:, 0]], second[pairs[:, 1]])
    if second is not first:
        r = (r + np.einsum("ij,ij->i", second[pairs[:, 0]], first[pairs[:, 1]])) / 2
    return r[np.isfinite(r)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
