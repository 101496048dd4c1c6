"""A voxel's profile over layers, and the maps made of it.

Shapes: scores are (L, V), L layers from early to late and V voxels; a voxel
without a score is NaN in every layer.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def normalized(scores: np.ndarray) -> np.ndarray:
    """Divide each voxel's scores by their sum, negative scores set to 0 first.

    Parameters
    ----------
    scores : (L, V) array

    Returns
    -------
    (L, V) array
        NaN where no layer has a positive score.

    References
    ----------
    Eickenberg et al. 2017, NeuroImage 152, section on layer fingerprints.
    """
    positive = np.maximum(scores, 0)
    total = positive.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, positive / total, np.nan)


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


def best_layer(scores: np.ndarray, mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """The layer that predicts each voxel best, after smoothing the score maps.

    Parameters
    ----------
    scores : (L, V) array
    mask : (x, y, z) bool array with V True voxels
    sigma : float
        Smoothing in voxels.

    Returns
    -------
    (V,) int array
        1 to L; 0 where no layer has a positive score.

    References
    ----------
    Eickenberg et al. 2017, section on best-layer maps.
    """
    smoothed = smooth_in_mask(scores, mask, sigma)
    predicted = np.nan_to_num(smoothed, nan=-1.0).max(axis=0) > 0
    best = np.argmax(np.nan_to_num(smoothed, nan=-np.inf), axis=0) + 1
    return np.where(predicted, best, 0).astype(np.int16)


def trend(n_layers: int) -> np.ndarray:
    """The trend that stands for "ever later layers": -1 to 1 in equal steps, (L,)."""
    return np.linspace(-1, 1, n_layers)


def slope(scores: np.ndarray) -> np.ndarray:
    """Inner product of the normalised profile with a trend from -1 to 1.

    -1: only the first layer predicts the voxel; 1: only the last one.

    Parameters
    ----------
    scores : (L, V) array

    Returns
    -------
    (V,) array
        NaN where no layer has a positive score.

    References
    ----------
    Eickenberg et al. 2017, section on the summary of fingerprints.
    """
    return trend(len(scores)) @ normalized(scores)
