"""Along which direction fingerprints differ most, and whether it is from early to late.

Shapes: scores are (L, V), L layers from early to late and V voxels; a voxel without a
score is NaN in every layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_encoder.fingerprints.profile import normalized, slope, trend

MIN_LAYERS = 3  # two shares that sum to 1 vary along one line only


@dataclass(frozen=True, eq=False)
class Component:
    """First principal component of the voxels' fingerprints.

    Attributes
    ----------
    loadings : (L,) array
        Unit length; later layers weigh more than early ones.
    values : (V,) array
        Of each voxel that has a fingerprint; NaN elsewhere.
    variance_share : float
        Of the variance of the fingerprints, over the voxels it was found in.
    trend_correlation : float
        Pearson's, over layers, of the loadings and the trend from -1 to 1.
    slope_correlation : float
        Pearson's, over the same voxels, of the component and the slope.
    n_voxels : int
        Voxels it was found in.
    """

    loadings: np.ndarray
    values: np.ndarray
    variance_share: float
    trend_correlation: float
    slope_correlation: float
    n_voxels: int


def well_predicted(scores: np.ndarray, quantile: float = 0.99) -> np.ndarray:
    """Voxels whose best layer scores higher than chance scores low.

    Fingerprints of voxels that nothing predicts are noise, and there are many of them.
    Scores below 0 come about by chance, and chance makes scores as far above 0. The
    threshold is therefore a quantile, over voxels, of the lowest score over layers, with
    its sign changed.

    Parameters
    ----------
    scores : (L, V) array
        Correlations.
    quantile : float

    Returns
    -------
    (V,) bool array
    """
    scored = np.isfinite(scores).all(axis=0)
    if not scored.any():
        return scored
    threshold = max(np.quantile(-scores[:, scored].min(axis=0), quantile), 0)
    return scored & (np.max(scores, axis=0, initial=-np.inf, where=np.isfinite(scores)) > threshold)


def first_component(scores: np.ndarray, chosen: np.ndarray) -> Component | None:
    """First principal component of the normalised fingerprints, over voxels.

    Parameters
    ----------
    scores : (L, V) array
    chosen : (V,) bool array
        Voxels in which it is looked for; the others are only projected on it.

    Returns
    -------
    Component or None
        None with fewer than 3 layers, or fewer voxels than layers.

    References
    ----------
    Eickenberg et al. 2017, section on the summary of fingerprints: the first component
    is close to a linear trend over layers, correlation above 80 %.
    """
    scores = np.asarray(scores, dtype=np.float64)
    fingerprints = normalized(scores)
    known = np.isfinite(fingerprints).all(axis=0)
    used = known & chosen
    n_layers = len(scores)
    if n_layers < MIN_LAYERS or used.sum() < n_layers:
        return None
    mean = fingerprints[:, used].mean(axis=1, keepdims=True)
    centred = fingerprints[:, used] - mean
    variances, directions = np.linalg.eigh(centred @ centred.T)
    if variances[-1] <= 1e-12 * used.sum():
        return None
    loadings = directions[:, -1]
    along = float(np.corrcoef(loadings, trend(n_layers))[0, 1])
    if along < 0:
        loadings, along = -loadings, -along
    values = np.full(scores.shape[1], np.nan)
    values[known] = loadings @ (fingerprints[:, known] - mean)
    slopes = slope(scores)
    return Component(
        loadings=loadings,
        values=values,
        variance_share=float(variances[-1] / variances.sum()),
        trend_correlation=along,
        slope_correlation=float(np.corrcoef(values[used], slopes[used])[0, 1]),
        n_voxels=int(used.sum()),
    )
