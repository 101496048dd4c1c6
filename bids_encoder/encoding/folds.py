"""Which samples are held out together: cross-validation by groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.errors import DataError

MAX_FOLDS = 10
N_BLOCKS = 5


@dataclass(frozen=True)
class Fold:
    """One split: the rows that a model learns from, and the rows that it is tested on.

    Attributes
    ----------
    train : (n_train,) int array
    test : (n_test,) int array
        Row numbers, each in rising order. The two are disjoint.
    """

    train: np.ndarray
    test: np.ndarray


def make_folds(
    groups: np.ndarray,
    *,
    max_folds: int = MAX_FOLDS,
    stimuli: Sequence[str] | None = None,
) -> tuple[Fold, ...]:
    """Leave one group out; together the test sets hold every row exactly once.

    With more than `max_folds` groups, neighbouring groups (in the order in which they first
    appear) are held out together, so that there are `max_folds` folds of about equal size.
    With a single group, the rows are cut into five contiguous blocks.

    Parameters
    ----------
    groups : (n,) int or str array
        The group (session, run, block) of each row.
    max_folds : int
        The largest number of folds, at least 2.
    stimuli : sequence of n str, optional
        The stimulus of each row (event designs). No stimulus may be in two folds: its repeats
        would then be on both sides of a split, and the scores would measure memory.

    Returns
    -------
    tuple of Fold

    Raises
    ------
    DataError
        A fold would have fewer than two rows, or a stimulus is on both sides of a split.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1 or max_folds < 2:
        raise ValueError("groups must be one-dimensional and max_folds at least 2")
    numbers = _in_order_of_appearance(groups)
    if numbers.size == 0 or numbers.max() == 0:
        labels = np.arange(groups.size) * N_BLOCKS // max(groups.size, 1)
    elif numbers.max() < max_folds:
        labels = numbers
    else:
        labels = cut_evenly(np.bincount(numbers), max_folds)[numbers]
    _check_sizes(labels)
    if stimuli is not None:
        _check_stimuli(labels, stimuli)
    return tuple(
        Fold(np.flatnonzero(labels != label), np.flatnonzero(labels == label))
        for label in range(labels.max() + 1)
    )


def _in_order_of_appearance(groups: np.ndarray) -> np.ndarray:
    """Number the groups 0, 1, ... by their first row."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.reshape(-1)]


def cut_evenly(counts: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold of each group: consecutive groups, cut where the rows are shared out evenly.

    Parameters
    ----------
    counts : (n,) int array
        Rows of each group.
    n_folds : int
        At most n; every fold gets at least one group.

    Returns
    -------
    (n,) int array
    """
    before = np.cumsum(counts) - counts / 2
    folds = np.minimum(before * n_folds // max(counts.sum(), 1), n_folds - 1).astype(int)
    # Groups of very unequal size would leave folds empty. Every group but the first is in the
    # fold of the one before or the next, and as many groups as folds must be left for the end.
    left = np.arange(len(counts))[::-1]
    fold = 0
    for k in range(len(counts)):
        least = n_folds - 1 - left[k]
        fold = max(min(folds[k], fold + 1 if k else 0), fold, least)
        folds[k] = fold
    return folds


def _check_sizes(labels: np.ndarray) -> None:
    counts = np.bincount(labels) if labels.size else np.zeros(1, int)
    if counts.size < 2 or counts.min() < 2:
        raise DataError(
            "A cross-validation fold has fewer than two samples, so no score can be computed.",
            place=f"fold {int(counts.argmin()) + 1} of {counts.size}",
            found=f"{int(counts.min())} samples",
            expected="at least two samples in each fold",
            remedy="leave out the run or session that has so few samples, or give more data",
        )


def _check_stimuli(labels: np.ndarray, stimuli: Sequence[str]) -> None:
    if len(stimuli) != labels.size:
        raise ValueError(f"{len(stimuli)} stimuli for {labels.size} rows")
    home: dict[str, int] = {}
    for stimulus, label in zip(stimuli, labels, strict=True):
        if home.setdefault(stimulus, label) != label:
            raise DataError(
                "A stimulus is on both sides of a cross-validation split.",
                place=f"stimulus {stimulus}",
                found=f"it is in folds {home[stimulus] + 1} and {label + 1}",
                expected="all repeats of a stimulus in one fold",
                remedy="average the repeats into one sample, or put them into one group",
            )
