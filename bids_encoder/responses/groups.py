"""Cross-validation groups: which rows of the responses must stay together.

A stimulus is never on both sides of a split. Groups are sessions where there are at least
three, else runs, else contiguous blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

import numpy as np

log = logging.getLogger(__name__)

N_BLOCKS = 5
_TINY = 0.5  # a group with fewer rows than this share of the mean group is merged


def units_of(
    runs: Sequence[str], sessions: Sequence[str | None]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Sort runs into sessions where there are at least three of them, else each by itself.

    Returns
    -------
    units : (n_runs,) int
    names : tuple of str
        Of the units: "ses-1", or the name of a run.
    """
    distinct = list(dict.fromkeys(sessions))
    if len(distinct) >= 3 and None not in distinct:
        units = np.array([distinct.index(session) for session in sessions])
        return units, tuple(f"ses-{session}" for session in distinct)
    return np.arange(len(runs)), tuple(runs)


def blocks(n: int, n_blocks: int = N_BLOCKS) -> np.ndarray:
    """Cut n rows into contiguous blocks of nearly equal length, at least two rows each.

    Returns
    -------
    blocks : (n,) int
        Fewer than `n_blocks` where n is less than twice that.
    """
    return np.arange(n) * max(1, min(n_blocks, n // 2)) // max(n, 1)


def block_names(n: int) -> tuple[str, ...]:
    """Names of n blocks, from "block 1" on."""
    return tuple(f"block {k + 1}" for k in range(n))


def merge_tiny(groups: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Merge groups smaller than half the mean group or than two rows, two smallest first.

    Repeats leave such groups behind, when they are averaged into the group where a stimulus
    was shown first.

    Parameters
    ----------
    groups : (n,) int
        Group of each row; some groups may have none.
    names : sequence of str
        Of all groups.

    Returns
    -------
    groups : (n,) int
    names : tuple of str
        Of the groups that are left, perhaps a single one; "ses-2+ses-3" where merged.
    """
    members = [[k] for k in range(len(names))]
    sizes = [int(np.sum(groups == k)) for k in range(len(names))]
    while len(members) > 1 and min(sizes) < max(2, _TINY * np.mean(sizes)):
        small, next_small = np.argsort(sizes, kind="stable")[:2]
        members[next_small] = sorted(members[next_small] + members[small])
        sizes[next_small] += sizes[small]
        del members[small], sizes[small]
    new = np.empty(len(names), dtype=int)
    for k, old in enumerate(members):
        new[old] = k
    return new[groups], tuple("+".join(names[k] for k in old) for old in members)


def join(items: Sequence[set[Hashable]]) -> np.ndarray:
    """Group items that share an element, directly or through others (union-find): (n,) int."""
    parent = list(range(len(items)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    holder: dict[Hashable, int] = {}
    for k, elements in enumerate(items):
        for element in elements:
            parent[root(k)] = root(holder.setdefault(element, k))
    _, groups = np.unique([root(k) for k in range(len(items))], return_inverse=True)
    # In the order in which the groups first occur, which is the reader's.
    order = list(dict.fromkeys(groups.tolist()))
    return np.array([order.index(group) for group in groups.tolist()], dtype=int)
