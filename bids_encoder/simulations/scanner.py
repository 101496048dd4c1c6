"""A simulated scanner: units on a sheet of cortex, summed into voxels.

Items have graded similarities: nested categories, as in :func:`nested_items`.
Each unit responds to an item by a random weighting of its features. On the
smooth sheet, weights change gradually from unit to unit; the other layouts hold
the very same units at other places, so that all of them code the items equally
well and only their arrangement differs.

A voxel is the mean of a square of units plus noise of the scanner, which is the
same for voxels of any size. Where neighbouring units agree, the mean keeps the
signal; where they do not, it averages the signal away and the noise is left.

After Guest and Love 2017, eLife 6:e21397, Figure 1 (sub-voxel and super-voxel
smoothness), put into numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from bids_encoder.rsa.neighbouring_voxels import neighbour_similarity
from bids_encoder.rsa.similarity import pairs, pearson, similarity_matrix

SIDE = 96  # units along each side of the sheet
SMOOTHNESS = 6.0  # sigma of the weights' spatial correlation, in units
NOISE = 0.25  # of the scanner, in standard deviations of a unit's response
VOXELS = (1, 2, 4, 8, 16)  # side of a voxel in units
LAYOUTS = {"smooth": 0.0, "intermediate": 0.5, "random": 1.0}  # share of units at random places


@dataclass(frozen=True)
class Scan:
    """What one layout looks like through voxels of one size.

    Attributes
    ----------
    layout : str
    voxel : int
        Side in units.
    voxels : int
        How many there are.
    signal : float
        Standard deviation over items of the voxels' signal, in those of a unit.
    survival : float
        Correlation, over pairs of items, of similarity between patterns of voxels
        with similarity between patterns of units. With the scanner's noise.
    without_noise : float
        The same for a scanner without noise.
    smoothness : float
        Functional smoothness of the voxels: with similarity of the items.
    neighbours : float
        Mean correlation of the responses of voxels that touch.
    """

    layout: str
    voxel: int
    voxels: int
    signal: float
    survival: float
    without_noise: float
    smoothness: float
    neighbours: float


def nested_items(random: np.random.Generator, features: int = 100) -> np.ndarray:
    """Draw 40 items: 5 in each of 8 categories, which share 4 wider and 2 widest ones.

    Returns
    -------
    (40, features) array
    """
    parts = [
        np.repeat(random.standard_normal((count, features)), 40 // count, axis=0)
        for count in (2, 4, 8, 40)
    ]
    return np.sum(parts, axis=0)


def sheet_of_units(random: np.random.Generator, items: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Responses of units on a smooth sheet.

    Parameters
    ----------
    items : (n, features) array
    side : int

    Returns
    -------
    (n, side, side) array
        Each unit's responses have mean 0 and standard deviation 1 over items.
    """
    weights = random.standard_normal((items.shape[1], side, side))
    weights = gaussian_filter(weights, (0, SMOOTHNESS, SMOOTHNESS), mode="wrap")
    responses = np.tensordot(items, weights, axes=1)
    return (responses - responses.mean(axis=0)) / responses.std(axis=0)


def rearranged(random: np.random.Generator, sheet: np.ndarray, share: float) -> np.ndarray:
    """Put a share of the units, drawn at random, at each other's places."""
    n, side, _ = sheet.shape
    flat = sheet.reshape(n, -1).copy()
    moving = random.choice(side**2, round(share * side**2), replace=False)
    flat[:, moving] = flat[:, random.permutation(moving)]
    return flat.reshape(sheet.shape)


def voxels_of(sheet: np.ndarray, size: int) -> np.ndarray:
    """Means over squares of ``size`` × ``size`` units: (n, side, side) to (n, k, k)."""
    n, side, _ = sheet.shape
    count = side // size
    cut = sheet[:, : count * size, : count * size]
    return cut.reshape(n, count, size, count, size).mean(axis=(2, 4))


def scan(*, repeats: int = 20, side: int = SIDE, noise: float = NOISE, seed: int = 0) -> list[Scan]:
    """Look at every layout through voxels of every size.

    Parameters
    ----------
    repeats : int
        Sheets with items and noise of their own; numbers are means over them.
    side : int
        Of the sheet, in units.
    noise : float
        Standard deviation of the noise of a voxel, in those of a unit's response.
    seed : int

    Returns
    -------
    list of Scan
        By layout, then by size.
    """
    random = np.random.default_rng(seed)
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for _ in range(repeats):
        items = nested_items(random)
        sheet = sheet_of_units(random, items, side)
        truth = pairs(similarity_matrix(items)), pairs(_similarity(sheet))
        for layout, share in LAYOUTS.items():
            placed = rearranged(random, sheet, share)
            for size in VOXELS:
                seen = _look(random, placed, size, noise, *truth)
                found.setdefault((layout, size), []).append(seen)
    return [
        Scan(layout, size, (side // size) ** 2, *np.mean(rows, axis=0).tolist())
        for (layout, size), rows in found.items()
    ]


def _look(random, sheet, size, noise, items, units) -> tuple[float, ...]:
    clean = voxels_of(sheet, size)
    noisy = clean + noise * random.standard_normal(clean.shape)
    measured = pairs(_similarity(noisy))
    places = np.argwhere(np.ones(clean.shape[1:], bool))
    near = neighbour_similarity(noisy.reshape(len(noisy), -1), places, most=2000).near
    return (
        float(clean.std(axis=0).mean()),
        pearson(measured, units),
        pearson(pairs(_similarity(clean)), units),
        pearson(measured, items),
        near,
    )


def _similarity(sheet: np.ndarray) -> np.ndarray:
    return similarity_matrix(sheet.reshape(len(sheet), -1))
