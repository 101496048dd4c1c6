"""The grid of ridge penalties: its default, its ends, and when it should reach further.

Penalties are in units of the mean kernel diagonal. A voxel whose best penalty is the last of the
grid may have a better one beyond it. Voxels that nothing predicts say little about that: they take
the largest penalty, or any. So only voxels are asked whose score is far beyond chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

PENALTIES = np.logspace(-3, 5, 20)
PILED_UP = 0.05  # share of the voxels that are asked
EXPECTED = 0.1  # voxels of noise that are taken for predicted without doubt, in all
DECADES = 2.0  # that the grid is extended by, each time
SMALLEST, LARGEST = 1e-6, 1e8  # kernels are made of float32 products, with seven digits
_ROUNDING = 1e-6  # of the largest eigenvalue: what is smaller is 0
_NO_SHRINKAGE = 0.01
_MARGIN = 3.0  # over eigenvalues that rounding has made negative

Ends = tuple[bool, bool]


def make_grid(chosen: Sequence[float]) -> np.ndarray:
    """The penalties that a fit begins with, rising.

    Parameters
    ----------
    chosen : sequence of float
        Lowest and highest penalty, and how many, in equal steps of the logarithm; empty: the
        default.
    """
    if not chosen:
        return PENALTIES
    low, high, number = chosen
    return np.geomspace(low, high, int(number))


def at_end(penalty: np.ndarray, grid: np.ndarray, end: int) -> np.ndarray:
    """Whether log10 penalties (V,) are that end of the grid (0 or -1), in float32's precision."""
    return np.isclose(penalty, np.log10(grid[end]), atol=1e-4)


def piled_up(penalty: np.ndarray, asked: np.ndarray, grid: np.ndarray) -> Ends:
    """Whether many voxels have the lowest, and whether many have the highest penalty.

    Parameters
    ----------
    penalty : (V,) array
        log10 of the penalty chosen.
    asked : (V,) bool array
        Voxels that are predicted.
    grid : (m,) array
    """
    low, high = (np.count_nonzero(at_end(penalty, grid, end) & asked) for end in (0, -1))
    least = PILED_UP * np.count_nonzero(asked)
    return bool(low > least), bool(high > least)


def far_beyond_chance(r2: np.ndarray, n_samples: int) -> np.ndarray:
    """Voxels that are predicted without any doubt, (V,) bool, before there are p-values.

    A correlation of noise over n samples has a standard deviation of about 1/√n, and r² is at most
    its square: r² is above z²/n in as many voxels as a normal variable is above z. With z for a
    tenth of a voxel of V, and the choice of the penalty, which helps chance a little, there are
    hardly any of noise. Samples that hang together make more; then the grid is wider than need be.
    """
    scored = np.isfinite(r2)
    z = norm.isf(EXPECTED / max(int(np.count_nonzero(scored)), 1))
    return scored & (np.nan_to_num(r2) > z**2 / n_samples)


def extended(grid: np.ndarray, ends: Ends, smallest: float = SMALLEST) -> np.ndarray:
    """The grid, two decades further at these ends, in the same steps.

    Parameters
    ----------
    grid : (m,) array
    ends : (bool, bool)
        Whether below, and whether above.
    smallest : float
        No penalty below it is added.
    """
    step = np.log10(grid[-1] / grid[0]) / (len(grid) - 1)
    number = int(np.ceil(DECADES / step))
    below = grid[0] * 10 ** (-step * np.arange(number, 0, -1)) if ends[0] else grid[:0]
    above = grid[-1] * 10 ** (step * np.arange(1, number + 1)) if ends[1] else grid[:0]
    return np.concatenate([below[below >= smallest], grid, above[above <= LARGEST]])


def smallest_useful(kernel: np.ndarray) -> float:
    """The penalty below which a model no longer changes, or can no longer be computed.

    A penalty α shrinks the component of the responses along an eigenvector of the centred kernel,
    eigenvalue λ, by λ / (λ + α). Where α is a hundredth of the smallest λ that is not 0, as it
    soon is with few features, the model is least squares, and a smaller α makes no other.

    Parameters
    ----------
    kernel : (n, n) array

    Returns
    -------
    float
        In units of the mean diagonal of the centred kernel.
    """
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()
    values = np.linalg.eigvalsh(centred)
    real = values[values > _ROUNDING * values[-1]]
    unit = np.trace(centred) / len(centred)
    return max(SMALLEST, _NO_SHRINKAGE * real[0] / unit, _MARGIN * -values[0] / unit)
