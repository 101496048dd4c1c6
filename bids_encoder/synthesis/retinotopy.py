"""Where in the visual field a voxel responds: angle and eccentricity from responses to apertures.

Angle as in Eickenberg et al. 2017 (synthesized retinotopy): responses to wedges are regressed on
cosine, sine and 1 of the wedges' angle. Eccentricity is not periodic, and a phase would take the
fovea for the periphery; it is the middle of the Gaussian, on the logarithm of eccentricity, that
fits the mean responses to the rings best.
"""

from __future__ import annotations

import numpy as np

N_MIDDLES = 45
WIDTHS = tuple(np.geomspace(0.15, 1.5, 9).tolist())
"""Standard deviations of the Gaussians, in units of the natural logarithm of eccentricity."""
_COLUMNS = 20_000  # voxels at a time


def fit_angle(responses: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regress responses on cosine, sine and 1 of the angle.

    Parameters
    ----------
    responses : (m, V) array
    degrees : (m,) array
        Angle of the middle of each wedge; evenly spread.

    Returns
    -------
    angle : (V,) array
        atan2 of the coefficients of sine and cosine, degrees from -180 to 180. NaN where the
        responses are constant or not numbers.
    f : (V,) array
        F of sine and cosine together, with 2 and m - 3 degrees of freedom.
    """
    radians = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    design = np.column_stack([np.cos(radians), np.sin(radians), np.ones(len(radians))])
    values = np.asarray(responses, dtype=np.float64)
    usable = np.isfinite(values).all(axis=0)
    values = np.where(usable, values, 0)
    coefficients = np.linalg.pinv(design) @ values
    residual = ((values - design @ coefficients) ** 2).sum(axis=0)
    total = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    usable &= total > 1e-12 * np.maximum((values**2).sum(axis=0), 1e-30)
    with np.errstate(invalid="ignore", divide="ignore"):
        f = (total - residual) / 2 / (residual / (len(design) - 3))
    angle = np.degrees(np.arctan2(coefficients[1], coefficients[0]))
    return np.where(usable, angle, np.nan), np.where(usable, f, np.nan)


def fit_eccentricity(responses: np.ndarray, eccentricities: np.ndarray) -> np.ndarray:
    """Find the eccentricity at which responses to rings are highest.

    Parameters
    ----------
    responses : (m, V) array
    eccentricities : (m,) array
        Of the ring behind each response, positive; several responses may share one.

    Returns
    -------
    (V,) array
        Middle of the best Gaussian, in the units of `eccentricities` and within their range. NaN
        where no Gaussian with a positive height fits, or responses are not numbers.
    """
    levels, which = np.unique(eccentricities, return_inverse=True)
    count = np.bincount(which).astype(np.float64)
    share = (which[None] == np.arange(len(levels))[:, None]) / count[:, None]
    shapes, middles = _gaussians(np.log(levels))
    found = np.full(responses.shape[1], np.nan)
    for start in range(0, responses.shape[1], _COLUMNS):
        some = slice(start, start + _COLUMNS)
        values = np.asarray(responses[:, some], dtype=np.float64)
        usable = np.isfinite(values).all(axis=0)
        means = share @ np.where(usable, values, 0)
        means -= means.mean(axis=0)
        fit = shapes @ means
        best = np.argmax(fit, axis=0)
        scale = np.abs(values).max(axis=0, where=usable, initial=0)
        good = usable & (fit.max(axis=0) > 1e-9 * scale)
        found[some] = np.where(good, np.exp(middles[best]), np.nan)
    return found


def _gaussians(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians at the levels, each centred and of length 1, and the middle of each."""
    middles = np.linspace(levels[0], levels[-1], N_MIDDLES)
    middle, width = (grid.ravel() for grid in np.meshgrid(middles, WIDTHS))
    shapes = np.exp(-((levels - middle[:, None]) ** 2) / (2 * width[:, None] ** 2))
    shapes -= shapes.mean(axis=1, keepdims=True)
    return shapes / np.linalg.norm(shapes, axis=1, keepdims=True), middle
