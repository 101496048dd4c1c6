"""A voxel's profile over layers, and the maps made of it.

Shapes: scores are (L, V), L layers from early to late and V voxels; a voxel
without a score is NaN in every layer.
"""

from __future__ import annotations

import numpy as np


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


def best_layer(smoothed: np.ndarray) -> np.ndarray:
    """The layer that predicts each voxel best.

    Parameters
    ----------
    smoothed : (L, V) array
        Scores, smoothed with their neighbours.

    Returns
    -------
    (V,) int array
        1 to L; 0 where no layer has a positive score.

    References
    ----------
    Eickenberg et al. 2017, section on best-layer maps.
    """
    predicted = np.nan_to_num(smoothed, nan=-1.0).max(axis=0) > 0
    best = np.argmax(np.nan_to_num(smoothed, nan=-np.inf), axis=0) + 1
    return np.where(predicted, best, 0).astype(np.int16)


def trend(n_layers: int) -> np.ndarray:
    """The trend that stands for "ever later layers": -1 to 1 in equal steps, (L,)."""
    return np.linspace(-1, 1, n_layers)


def places(labels: np.ndarray, n_layers: int) -> np.ndarray:
    """Where best layers lie on the scale of the slope, -1 (first layer) to 1 (last layer).

    Parameters
    ----------
    labels : int array
        1 to ``n_layers``; 0: none.

    Returns
    -------
    array of the same shape
        NaN where there is none.
    """
    return np.concatenate([[np.nan], trend(n_layers)])[labels]


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
