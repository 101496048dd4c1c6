"""What participants have in common: means, agreement, and a test by flipping signs.

Shapes: values are (n, V), n participants and V voxels.
"""

from __future__ import annotations

import itertools

import numpy as np

# Below it no p-value of a two-sided test by flipping signs can reach 0.05: 2 / 2**6 = 0.03.
MIN_PARTICIPANTS = 6
# Up to here all 2**n flips are made.
MAX_EXACT = 12
_BLOCK = 4_000_000  # numbers that are held at once


def one_sample_t(values: np.ndarray) -> np.ndarray:
    """Student's t of the mean against 0.

    Parameters
    ----------
    values : (n, V) array

    Returns
    -------
    (V,) array
        NaN where participants do not differ.
    """
    n = len(values)
    deviation = values.std(axis=0, ddof=1)
    varies = deviation > 1e-12 * np.abs(values).max(axis=0, initial=0)
    t = np.full(values.shape[1], np.nan)
    t[varies] = values.mean(axis=0)[varies] / (deviation[varies] / np.sqrt(n))
    return t


def sign_agreement(values: np.ndarray) -> np.ndarray:
    """Share of participants whose sign is that of the mean: (V,), from 0 to 1."""
    signs = np.sign(values)
    return (signs == np.sign(values.mean(axis=0))).mean(axis=0)


def most_frequent(labels: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent label, and the share of participants who have it.

    Parameters
    ----------
    labels : (n, V) int array
        1 to ``n_labels``; 0: none.
    n_labels : int

    Returns
    -------
    label : (V,) int array
        Of equally frequent ones the lowest; 0 where no participant has any.
    share : (V,) array
        Of all participants: those without a label do not agree.
    """
    counts = np.stack([(labels == label).sum(axis=0) for label in range(1, n_labels + 1)])
    share = counts.max(axis=0) / len(labels)
    return np.where(share > 0, counts.argmax(axis=0) + 1, 0), share


def exact_sign_flips(values: np.ndarray) -> np.ndarray:
    """Two-sided p-values of a mean against 0, corrected for all voxels.

    Under the hypothesis of values that are symmetric about 0, and independent from
    participant to participant, each participant's signs may be flipped. All flips are
    made; a voxel's p-value is the share of them whose maximum of ``|t|`` over voxels
    reaches the voxel's own.

    Parameters
    ----------
    values : (n, V) array
        n at most 12.

    Returns
    -------
    (V,) array
        NaN where t is.

    References
    ----------
    Nichols & Holmes 2002, Human Brain Mapping 15:1-25, sections on the single-threshold
    test and the multi-subject one-sample design.
    """
    observed = np.abs(one_sample_t(values))
    tested = np.isfinite(observed)
    n = len(values)
    # Flipping everybody changes no |t|: one sign stays.
    signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=n - 1)], float)
    highest = np.zeros(len(signs))
    step = max(1, _BLOCK // len(signs))
    usable = np.flatnonzero(tested)
    for start in range(0, len(usable), step):
        block = values[:, usable[start : start + step]].astype(np.float64)
        total = (signs @ block) ** 2 / n
        squares = (block**2).sum(axis=0)
        with np.errstate(divide="ignore"):
            t_squared = (n - 1) * total / np.maximum(squares - total, 0)
        np.maximum(highest, t_squared.max(axis=1), out=highest)
    order = np.sort(np.sqrt(highest))
    p = np.full(values.shape[1], np.nan)
    # A hair less, so that a flip that changes nothing counts as reaching its own value.
    reached = np.searchsorted(order, observed[tested] * (1 - 1e-9), side="left")
    p[tested] = (len(order) - reached) / len(order)
    return p
