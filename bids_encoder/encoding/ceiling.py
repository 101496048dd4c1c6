"""How much of a voxel's responses any model could explain, from repeats of the same stimuli.

A response is taken as signal plus noise, y = s + ε, where s is the same at every repeat of a
stimulus and ε is independent, with variances σ²_s over stimuli and σ²_ε. The best possible model
predicts s, and reaches against the mean of m repeats

    ceiling(m) = σ²_s / (σ²_s + σ²_ε / m)

in r², and the square root of it in Pearson r. Two estimators are given that agree in the mean:
one from variances (as in Allen et al. 2022, Nature Neuroscience, "Noise ceiling estimation", but
not clipped, and for any number of repeats), one from correlations of halves.

In continuous designs, where the same stretch of a film recurs in several runs, single volumes are
scored (m = 1), and the noise of successive volumes is correlated; see `ceiling_from_passes`.

A noise-normalised score is r² / ceiling, not clipped, where the ceiling is high enough for the
quotient to mean something.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.errors import DataError

SMALLEST_CEILING = 0.1
_BLOCK = 4096  # voxels at a time


def noise_ceiling(responses: np.ndarray, stimuli: Sequence, *, averaged: float = 1) -> np.ndarray:
    """Ceiling from variances.

    One-way analysis of variance, with n_i repeats of stimulus i, S stimuli, N responses::

        σ²_ε = MS_within,   σ²_s = (MS_between - MS_within) / n_0,
        n_0 = (N - Σ n_i² / N) / (S - 1)

    Parameters
    ----------
    responses : (N, V) array
        Single responses, one row a presentation.
    stimuli : sequence of N
        What each row is a response to.
    averaged : float
        m: of how many repeats the responses that are scored are the mean.

    Returns
    -------
    (V,) float64 array
        The estimate as it comes, which may be negative where there is no signal; NaN where
        responses are not finite or constant.

    Raises
    ------
    DataError
        There are fewer than two stimuli, or none is repeated.
    """
    y = np.asarray(responses, dtype=np.float64)
    code, counts = _code(stimuli, len(y))
    y = y - y.mean(0)
    sums = np.zeros((len(counts), y.shape[1]))
    np.add.at(sums, code, y)
    means = sums / counts[:, None]
    return _from_variances(means, counts, np.square(y - means[code]).sum(0), averaged)


def ceiling_from_means(means: np.ndarray, repeats: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The same ceiling from what is left when single responses have been averaged.

    The ceiling is that of the means themselves: m is the harmonic mean of the repeats.

    Parameters
    ----------
    means : (S, V) array
        Mean response to each stimulus.
    repeats : (S,) int array
        How many responses each is the mean of.
    squares : (V,) float64 array
        Sum of squares of all single responses.

    Returns
    -------
    (V,) float64 array
        As for `noise_ceiling`.

    Raises
    ------
    DataError
        There are fewer than two stimuli, or none is repeated.
    """
    repeats = np.asarray(repeats)
    if len(repeats) < 2 or repeats.max() < 2:
        raise _too_few(f"{len(repeats)} stimuli in {repeats.sum()} responses")
    ceiling = np.empty(means.shape[1])
    # By blocks of voxels: in double precision all would take several times their memory.
    for start in range(0, len(ceiling), _BLOCK):
        some = slice(start, start + _BLOCK)
        ceiling[some] = _of_means(np.asarray(means[:, some], np.float64), repeats, squares[some])
    return ceiling


def _of_means(means: np.ndarray, repeats: np.ndarray, squares: np.ndarray) -> np.ndarray:
    within = squares - (repeats[:, None] * np.square(means)).sum(0)
    within = np.where(within > 1e-6 * squares, within, np.nan)  # no noise: nothing to estimate
    return _from_variances(means, repeats, within, float(1 / np.mean(1 / repeats)))


def _from_variances(
    means: np.ndarray, counts: np.ndarray, within: np.ndarray, averaged: float
) -> np.ndarray:
    """Analysis of variance of S means (S, V), with the sum of squares within stimuli (V,)."""
    n, s = counts.sum(), len(counts)
    weights = counts[:, None]
    centred = means - (weights * means).sum(0) / n
    between = (weights * np.square(centred)).sum(0) / (s - 1)
    noise = within / (n - s)
    signal = (between - noise) / ((n - np.square(counts).sum() / n) / (s - 1))
    return _share(signal, noise / averaged)


def ceiling_from_passes(
    responses: np.ndarray, content: np.ndarray, passes: np.ndarray
) -> np.ndarray:
    """Ceiling of single volumes, from stretches of a film that recur.

    Volumes that recur in the same n passes are a stretch of S volumes, and each stretch is a
    two-way analysis of variance without replication. With y_it the volume t in pass i, and a
    point for a mean::

        MS_t = n Σ_t (y_.t - y_..)² / (S - 1)
        MS_ε = Σ_it (y_it - y_i. - y_.t + y_..)² / ((S - 1)(n - 1))
        σ²_s = (MS_t - MS_ε) / n,   σ²_ε = MS_ε

    The mean of each pass is taken out of both, because it is: noise that is correlated over time
    has a mean of its own in each pass, and deviates from it equally in MS_t and in MS_ε, so that
    their difference has no bias whatever the correlation. Stretches are pooled by S - 1.

    Parameters
    ----------
    responses : (N, V) array
        One row a volume.
    content : (N,) int array
        What each row shows; negative where it does not recur. Nothing twice in one pass.
    passes : (N,) int array
        The pass (run) of each row.

    Returns
    -------
    (V,) float64 array
        The estimate as it comes, which may be negative where there is no signal; NaN where
        responses are not finite or constant.

    Raises
    ------
    DataError
        No two volumes recur in the same two passes.
    """
    y, content, passes = (np.asarray(x) for x in (responses, content, passes))
    signal, noise = np.zeros((2, y.shape[1]))
    n_signal, n_noise = 0, 0
    for rows in _stretches(content, passes):
        n, s = rows.shape
        if n < 2 or s < 2:
            continue
        values = y[rows].astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        means = values.mean(axis=0)
        left = np.square(values - means).sum(axis=(0, 1))
        between = n * np.square(means).sum(axis=0)
        signal += (between - left / (n - 1)) / n  # (S - 1) σ²_s
        noise += left
        n_signal, n_noise = n_signal + s - 1, n_noise + (s - 1) * (n - 1)
    if not n_signal:
        raise _too_few("no stretch of two volumes in two runs")
    noise = noise / n_noise
    signal = signal / n_signal
    size = np.abs(y).max(axis=0)
    noise = np.where(noise > 1e-12 * np.square(size), noise, np.nan)  # nothing to estimate
    return _share(signal, noise)


def _stretches(content: np.ndarray, passes: np.ndarray) -> list[np.ndarray]:
    """Rows of what recurs in the same passes: (n, S) indices, one line a pass."""
    rows_of: dict[int, dict[int, int]] = {}
    for row in np.flatnonzero(content >= 0).tolist():
        rows_of.setdefault(int(content[row]), {})[int(passes[row])] = row
    found: dict[tuple[int, ...], list[list[int]]] = {}
    for rows in rows_of.values():
        order = tuple(sorted(rows))
        found.setdefault(order, []).append([rows[one] for one in order])
    return [np.array(columns).T for columns in found.values()]


def split_half_ceiling(
    responses: np.ndarray,
    stimuli: Sequence,
    *,
    averaged: float = 1,
    n_splits: int = 50,
    seed: int = 0,
) -> np.ndarray:
    """Ceiling from the correlation of halves, by the formula of Spearman and Brown.

    The repeats of each stimulus are divided at random into two halves of h = ⌊n/2⌋, n the
    smallest number of repeats; the means of the halves are correlated over stimuli, and ρ is
    the mean correlation over splits::

        ceiling(m) = f ρ / (1 + (f - 1) ρ),   f = m / h

    Parameters
    ----------
    responses, stimuli, averaged
        As for `noise_ceiling`; stimuli without repeat are left out.
    n_splits : int
        Number of random divisions.
    seed : int
        Of the random numbers.

    Returns
    -------
    (V,) float64 array

    Raises
    ------
    DataError
        Fewer than two stimuli are repeated.
    """
    y = np.asarray(responses, dtype=np.float64)
    code, counts = _code(stimuli, len(y))
    repeated = np.flatnonzero(counts > 1)
    if len(repeated) < 2:
        raise _too_few(f"{len(repeated)} repeated stimuli")
    half = int(counts[repeated].min()) // 2
    rows = [np.flatnonzero(code == stimulus) for stimulus in repeated]
    rng = np.random.default_rng(seed)
    total = np.zeros(y.shape[1])
    for _ in range(n_splits):
        picked = np.array([rng.permutation(row)[: 2 * half] for row in rows])
        first, second = y[picked[:, :half]].mean(1), y[picked[:, half:]].mean(1)
        first, second = first - first.mean(0), second - second.mean(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            total += (first * second).sum(0) / np.sqrt(
                np.square(first).sum(0) * np.square(second).sum(0)
            )
    rho, factor = total / n_splits, averaged / half
    return factor * rho / (1 + (factor - 1) * rho)


def reliable(ceiling: np.ndarray, *, smallest: float = SMALLEST_CEILING) -> np.ndarray:
    """Voxels whose ceiling is at least `smallest`, (V,) bool."""
    return np.nan_to_num(np.asarray(ceiling), nan=-np.inf) >= smallest


def normalise(
    r2: np.ndarray, ceiling: np.ndarray, *, smallest: float = SMALLEST_CEILING
) -> np.ndarray:
    """Noise-normalised score r² / ceiling, (V,): not clipped, NaN where not `reliable`."""
    good = reliable(ceiling, smallest=smallest)
    return np.where(good, np.asarray(r2) / np.where(good, ceiling, 1), np.nan)


def _share(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    total = signal + noise
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, signal / total, np.nan)


def _code(stimuli: Sequence, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Stimuli as numbers (N,), and how often each occurs (S,)."""
    if len(stimuli) != n:
        raise ValueError(f"{len(stimuli)} stimuli for {n} responses")
    _, code, counts = np.unique(np.asarray(stimuli), return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise _too_few(f"{len(counts)} stimuli in {n} responses")
    return code.reshape(-1), counts


def _too_few(found: str) -> DataError:
    return DataError(
        "A noise ceiling needs repeats of at least two stimuli.",
        found=found,
        expected="stimuli that are shown more than once",
        remedy="leave the noise ceiling out, or include the runs that hold the repeats",
    )
