"""What participants have in common: means, agreement, and tests by flipping signs.

Shapes: values are (n, V), n participants and V voxels.
"""

from __future__ import annotations

import itertools

import numpy as np

# Below it no p-value of a two-sided test by flipping signs can reach 0.05: 2 / 2**6 = 0.03.
MIN_PARTICIPANTS = 6
ALPHA = 0.05  # familywise error rate of what the group level calls significant
# Up to here all 2**n flips are made.
MAX_EXACT = 12
N_RANDOM = 2000  # flips of more participants
PRIOR_WEIGHT = 30  # of the variance of noise, in degrees of freedom
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


def sign_flips(n: int) -> np.ndarray:
    """Signs of n participants, a flip a row: (F, n) of 1 and -1; nobody is flipped in the first.

    All 2**n up to 12 participants; above, 2000 at random, always the same.
    """
    if n <= MAX_EXACT:
        return np.array(list(itertools.product((1, -1), repeat=n)), dtype=np.float64)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(N_RANDOM, n))
    signs[0] = 1
    return signs


def sign_flip_test(
    values: np.ndarray, *, one_sided: bool = False, noise_variance: float = 0.0
) -> np.ndarray:
    """p-values of a mean against 0, corrected for all voxels.

    Under the hypothesis of values that are symmetric about 0, and independent from participant to
    participant, each participant's signs may be flipped. A voxel's p-value is the share of flips
    whose maximum over voxels reaches the voxel's own statistic, t or its size. It steps down: what
    is larger has been judged, and does not stand in the way of what is smaller.

    Where values are coarse, as the place of the best layer is, few participants may all have the
    same one by chance, and t would be infinite. With the variance of noise known, that of a voxel
    is drawn towards it, (30 noise + (n - 1) own) / (30 + n - 1), as in a moderated t.

    Parameters
    ----------
    values : (n, V) array
        One row a participant: what lies about 0 if there is nothing to be found.
    one_sided : bool
        Means above 0 only; otherwise either side.
    noise_variance : float
        Of the values of one participant where there is nothing to be found; 0: not known.

    Returns
    -------
    (V,) array
        NaN where participants do not differ and no variance of noise is known.

    References
    ----------
    Nichols & Holmes 2002, Human Brain Mapping 15:1-25, sections on the multi-subject one-sample
    design and on step-down tests. Westfall & Young 1993, Resampling-Based Multiple Testing,
    algorithm 2.8. Smyth 2004, Statistical Applications in Genetics and
    Molecular Biology 3(1):3, on moderated t.
    """
    n, n_voxels = values.shape
    p = np.full(n_voxels, np.nan)
    usable = np.flatnonzero(np.isfinite(one_sample_t(values)) | (noise_variance > 0))
    if not usable.size:
        return p
    signs = sign_flips(n)
    own = _flipped_t(signs[:1], values[:, usable].astype(np.float64), noise_variance)[0]
    own = own if one_sided else np.abs(own)
    rising = np.argsort(own, kind="stable")
    highest = np.full((len(signs), 1), -np.inf)
    shares = []
    step = max(1, _BLOCK // len(signs))
    for start in range(0, len(usable), step):
        some = rising[start : start + step]
        t = _flipped_t(signs, values[:, usable[some]].astype(np.float64), noise_variance)
        t = t if one_sided else np.abs(t)
        # The maximum of each flip over these voxels and all of smaller statistics.
        maxima = np.maximum(np.maximum.accumulate(t, axis=1), highest)
        highest = maxima[:, -1:]
        # A hair less, so that a flip that changes nothing counts as reaching its own value.
        shares.append((maxima >= own[some] - 1e-9 * np.abs(own[some])).mean(axis=0))
    # No voxel has a lower p-value than one of a larger statistic.
    p[usable[rising]] = np.maximum.accumulate(np.concatenate(shares)[::-1])[::-1]
    return p


def _flipped_t(signs: np.ndarray, values: np.ndarray, noise_variance: float) -> np.ndarray:
    """t of each flip and voxel, (F, V), of signs (F, n) and values (n, V)."""
    n = len(values)
    mean = signs @ values / n
    # Squares have no sign: the variance about the mean is what the mean leaves of them.
    variance = np.maximum((values**2).mean(axis=0) - mean**2, 0) * n / (n - 1)
    if noise_variance > 0:
        weights = PRIOR_WEIGHT + n - 1
        variance = (PRIOR_WEIGHT * noise_variance + (n - 1) * variance) / weights
    with np.errstate(divide="ignore"):
        return mean / np.sqrt(variance / n)


def beyond_chance(values: np.ndarray, chance: np.ndarray, noise_variance: float) -> np.ndarray:
    """p-values of a mean that lies further from 0 than chance does, or on the other side.

    Two hypotheses must both fall: that the mean is what each participant's permuted responses
    give, as where nothing is predicted, and that it is 0, as where all layers predict alike. The
    larger of their p-values counts, and 1 where the mean lies between the two.

    Parameters
    ----------
    values : (n, V) array
        Slopes, or places of best layers.
    chance : (n,) array
        Each participant's mean over permutations.
    noise_variance : float
        See `sign_flip_test`.

    Returns
    -------
    (V,) array
    """
    from_chance = values - chance[:, None]
    p = np.maximum(
        sign_flip_test(from_chance, noise_variance=noise_variance),
        sign_flip_test(values, noise_variance=noise_variance),
    )
    same_side = np.sign(from_chance.mean(axis=0)) == np.sign(values.mean(axis=0))
    return np.where(same_side | np.isnan(p), p, 1.0)
