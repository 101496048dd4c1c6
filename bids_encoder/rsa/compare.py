"""Regions of the brain compared with layers of a network, by the similarities of items.

Shapes: n items, L layers, V voxels of a region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.rsa.similarity import bootstrap_interval, pairs, similarity_matrix
from bids_encoder.rsa.statistics import (
    correlations,
    crossvalidated_distances,
    noise_ceiling,
    noise_variance,
    permutation_p,
    ranked,
)


@dataclass(frozen=True)
class Comparison:
    """One region and all layers.

    Attributes
    ----------
    similarity : (n, n) array
        Between the region's patterns.
    pearson, spearman : (L,) arrays
        Correlation over pairs of items with the similarity in each layer.
    interval : (2, L) array
        95 % bootstrap interval of ``pearson``, over items, corrected.
    p : (L,) array
        Of ``pearson``, by permutation of items, one-sided.
    halves : ComparedHalves or None
    """

    similarity: np.ndarray
    pearson: np.ndarray
    spearman: np.ndarray
    interval: np.ndarray
    p: np.ndarray
    halves: ComparedHalves | None = None


@dataclass(frozen=True)
class ComparedHalves:
    """What two independent measurements of a region's patterns add.

    Attributes
    ----------
    pearson : (L,) array
        Mean over the halves of the correlation with each layer.
    ceiling : (2,) array
        Lower and upper noise ceiling of a half.
    crossvalidated : (L,) array
        Correlation of dissimilarity in each layer with cross-validated distances.
    """

    pearson: np.ndarray
    ceiling: np.ndarray
    crossvalidated: np.ndarray


def compare(
    layers: np.ndarray,
    patterns: Sequence[np.ndarray],
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare regions with layers.

    Items without a similarity in some layer or region, such as uniform pictures,
    are left out; with fewer than four others nothing is defined.

    Parameters
    ----------
    layers : (L, n, n) array
        Similarities.
    patterns : sequence of (n, V) arrays
        Responses of each region's voxels to the items.
    permutations : int
    seed : int

    Returns
    -------
    list of Comparison
        One a region.
    """
    matrices = np.stack([similarity_matrix(one) for one in patterns])
    usable = _usable(layers) & _usable(matrices)
    if np.count_nonzero(usable) < 4:
        none = np.full(len(layers), np.nan)
        return [Comparison(one, none, none, np.stack([none, none]), none) for one in matrices]
    inner = layers[:, usable][:, :, usable]
    models, data = pairs(inner), pairs(matrices[:, usable][:, :, usable])
    r, rho = correlations(models, data), correlations(ranked(models), ranked(data))
    p = permutation_p(models, data, number=permutations, seed=seed)
    return [
        Comparison(
            matrix,
            r[:, k],
            rho[:, k],
            np.transpose(
                [bootstrap_interval(layer, matrix, seed=seed, corrected=True) for layer in layers]
            ),
            p[:, k],
        )
        for k, matrix in enumerate(matrices)
    ]


def compare_halves(layers: np.ndarray, first: np.ndarray, second: np.ndarray) -> ComparedHalves:
    """Compare a region, measured twice, with layers.

    Parameters
    ----------
    layers : (L, n, n) array
        Similarities of the items that were measured twice.
    first, second : (n, V) arrays
        The two measurements.
    """
    halves = np.stack([similarity_matrix(one) for one in (first, second)])
    usable = _usable(layers) & _usable(halves)
    if np.count_nonzero(usable) < 4:
        none = np.full(len(layers), np.nan)
        return ComparedHalves(none, np.full(2, np.nan), none)
    models = pairs(layers[:, usable][:, :, usable])
    measured = pairs(halves[:, usable][:, :, usable])
    first, second = first[usable], second[usable]
    distances = pairs(crossvalidated_distances(first, second, noise_variance(first, second)))
    return ComparedHalves(
        correlations(models, measured).mean(axis=1),
        np.array(noise_ceiling(measured)),
        correlations(1 - models, distances[None])[:, 0],
    )


def _usable(matrices: np.ndarray) -> np.ndarray:
    """Items whose similarity to some other item is defined in all matrices."""
    return np.isfinite(np.diagonal(matrices, axis1=1, axis2=2)).all(axis=0)
