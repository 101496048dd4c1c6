"""Z-scores over the rows of a matrix."""

from __future__ import annotations

import numpy as np

# A column whose standard deviation is smaller than this share of its root mean square is
# constant but for rounding: float32 resolves about 6e-8.
_CONSTANT = 1e-6


def zscore(values: np.ndarray) -> np.ndarray:
    """Give each column mean 0 and (population) standard deviation 1.

    Parameters
    ----------
    values : (n, V) array
        Rows are estimates or volumes, columns are voxels.

    Returns
    -------
    scores : (n, V) float32
        Columns that are constant, or hold a value that is not finite, are NaN.
    """
    with np.errstate(all="ignore"):
        mean = values.mean(axis=0, dtype=np.float64)
        centred = np.asarray(values - mean.astype(np.float32), dtype=np.float32)
        # Centring again takes out what rounding the mean to float32 has left.
        rest = centred.mean(axis=0, dtype=np.float64)
        power = np.square(centred).mean(axis=0, dtype=np.float64) - rest**2
        scale = scale_of(power, mean)
        centred -= rest.astype(np.float32)
        centred /= scale.astype(np.float32)
    return centred


def scale_of(variance: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Standard deviation of columns, (V,) float64; NaN where they are constant but for rounding."""
    with np.errstate(all="ignore"):
        scale = np.sqrt(np.maximum(variance, 0))
        scale[~(scale > _CONSTANT * np.sqrt(variance + mean**2))] = np.nan
    return scale
