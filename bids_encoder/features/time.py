"""Pictures on a screen -> what each volume saw, for continuous designs.

A volume's features are the mean over a window of one repetition time of what
was on the screen, weighted by time; gaps show uniform grey. A haemodynamic
delay moves the window back. As all this is linear in the features, it is kept
as one sparse matrix of weights W_d (volumes x stimuli) per delay d: features in
time are [W_4 F, W_6 F, W_8 F] side by side, and their linear kernel, which is
all that ridge regression in its dual form needs, is sum_d W_d (F F') W_d'
(Huth et al. 2016; Eickenberg et al. 2017 for the delays).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bids_encoder.stimuli.images import BLANK

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

DELAYS = (4.0, 6.0, 8.0)
"""Seconds between a picture and the blood's answer to it."""


def time_weights(
    presentations: Sequence[Presentation],
    stimuli: Sequence[str],
    n_volumes: int,
    repetition_time: float,
    start_time: float = 0.0,
    delay: float = 0.0,
) -> sparse.csr_array:
    """Return how much of each stimulus was on the screen during each volume.

    Volume v looks at [t - delay, t - delay + TR) with t = start_time + v TR. The
    delay shifts the window exactly, so that it need not be a multiple of the TR
    and nothing is interpolated. What overlaps in time shares its time equally.
    Before the first presentation, in gaps and after the last one the screen is
    blank.

    Parameters
    ----------
    presentations : sequence of Presentation
        With `onset` and `duration` in seconds from the first volume, `stimulus`.
    stimuli : sequence of str
        Ids, the order of the columns; holds every stimulus presented and BLANK.
    n_volumes : int
    repetition_time, start_time, delay : float
        Seconds.

    Returns
    -------
    weights : sparse array (n_volumes, n_stimuli), float64
        Not negative; each row sums to 1.

    Raises
    ------
    ValueError
        `stimuli` lacks one that is presented, or BLANK; or the TR is not positive.
    """
    column = {stimulus: i for i, stimulus in enumerate(stimuli)}
    lacking = {p.stimulus for p in presentations if p.stimulus not in column}
    if BLANK not in column or lacking:
        raise ValueError(f"stimuli lack {sorted(lacking) or 'the blank screen'}")
    if repetition_time <= 0:
        raise ValueError(f"the repetition time is {repetition_time} s")

    windows = start_time - delay + repetition_time * np.arange(n_volumes + 1)
    onsets = np.clip([p.onset for p in presentations], windows[0], windows[-1])
    ends = np.clip([p.onset + p.duration for p in presentations], windows[0], windows[-1])
    # Between neighbouring edges nothing changes: neither the screen nor the volume.
    edges = np.unique(np.concatenate([windows, onsets, ends]))
    lengths = np.diff(edges)
    volume = np.searchsorted(windows, edges[:-1], side="right") - 1
    first, last = np.searchsorted(edges, onsets), np.searchsorted(edges, ends)
    # How many stimuli share each piece of time: +1 where one begins, -1 where it ends.
    changes = np.bincount(first, minlength=len(edges)) - np.bincount(last, minlength=len(edges))
    shown = np.cumsum(changes)[:-1]

    counts = last - first
    pieces = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    columns = np.repeat([column[p.stimulus] for p in presentations], counts).astype(int)
    blank = np.flatnonzero(shown == 0)
    pieces, columns, shares = (
        np.concatenate([pieces, blank]).astype(int),
        np.concatenate([columns, np.full(len(blank), column[BLANK])]),
        np.concatenate([shown[pieces], np.ones(len(blank))]),
    )
    values = lengths[pieces] / shares / repetition_time
    shape = (n_volumes, len(column))
    weights = sparse.coo_array((values, (volume[pieces], columns)), shape).tocsr()
    weights.sum_duplicates()
    return weights


def features_in_time(features: np.ndarray, weights: Sequence[sparse.csr_array]) -> np.ndarray:
    """Return the features of each volume, one copy per delay side by side.

    Parameters
    ----------
    features : array (n_stimuli, p)
    weights : sequence of sparse arrays (T, n_stimuli)
        One per delay, of `time_weights`.

    Returns
    -------
    in_time : array (T, p * n_delays), of the type of `features`
    """
    return np.concatenate([w.astype(features.dtype) @ features for w in weights], axis=1)


def kernel_in_time(
    kernel: np.ndarray,
    weights: Sequence[sparse.csr_array],
    others: Sequence[sparse.csr_array] | None = None,
) -> np.ndarray:
    """Return the linear kernel of features in time from the kernel of the stimuli.

    sum_d W_d K W_d', the same as the product of `features_in_time` with its
    transpose, without ever making the p * n_delays columns.

    Parameters
    ----------
    kernel : array (n_stimuli, n_stimuli)
        F F' of the stimuli's features F.
    weights : sequence of sparse arrays (T, n_stimuli)
        One per delay.
    others : sequence of sparse arrays (S, n_stimuli), optional
        For the columns (test against training); default `weights`.

    Returns
    -------
    in_time : array (T, S), of the type of `kernel`
    """
    others = weights if others is None else others
    total = np.zeros((weights[0].shape[0], others[0].shape[0]))
    for rows, columns in zip(weights, others, strict=True):
        total += (columns @ (rows @ kernel).T).T
    return total.astype(kernel.dtype)
