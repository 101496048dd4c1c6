"""Neighbours: smoothing with them, and who they are."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def smooth_in_mask(scores: np.ndarray, mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Smooth maps with a Gaussian, using nothing from outside the mask.

    Each voxel's value is the weighted mean over the voxels of the mask that
    have a score, so that the edge of the mask does not pull values down.

    Parameters
    ----------
    scores : (L, V) array
    mask : (x, y, z) bool array with V True voxels
    sigma : float
        Standard deviation of the Gaussian in voxels.

    Returns
    -------
    (L, V) array
        NaN where the input is NaN.
    """
    scores = np.asarray(scores)
    scored = np.isfinite(scores).all(axis=0)
    inside = np.zeros(mask.shape)
    inside[mask] = scored
    weight = gaussian_filter(inside, sigma, mode="constant")[mask]
    smoothed = np.full(scores.shape, np.nan)
    for row, values in zip(smoothed, scores, strict=True):
        volume = np.zeros(mask.shape)
        volume[mask] = np.where(scored, values, 0)
        row[scored] = gaussian_filter(volume, sigma, mode="constant")[mask][scored] / weight[scored]
    return smoothed


def touching(places: np.ndarray) -> np.ndarray:
    """All pairs of voxels that share a face, as (P, 2) rows of ``places``, (V, d) int."""
    low = places.min(axis=0) - 1
    index = np.full(places.max(axis=0) - low + 2, -1, dtype=np.int64)
    index[tuple((places - low).T)] = np.arange(len(places))
    found = []
    for axis in range(places.shape[1]):
        step = np.zeros(places.shape[1], dtype=int)
        step[axis] = 1
        next_one = index[tuple((places - low + step).T)]
        there = next_one >= 0
        found.append(np.stack([np.flatnonzero(there), next_one[there]], axis=1))
    return np.concatenate(found)


def among(pairs: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Pairs of which both are kept, renumbered among these.

    Parameters
    ----------
    pairs : (P, 2) int array
    keep : (V,) bool array
    """
    new = np.cumsum(keep) - 1
    return new[pairs[keep[pairs].all(axis=1)]]
