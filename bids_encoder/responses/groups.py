"""Cross-validation groups: which rows of the responses must stay together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set

import numpy as np

from bids_encoder.encoding.folds import N_BLOCKS, cut_evenly

_TINY = 0.5  # a group with fewer rows than this share of the mean group is merged
_FEW = 3  # names that are all written out


def units_of(
    runs: Sequence[str], sessions: Sequence[str | None], by: str | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Sort runs into sessions where there are at least three of them, else each by itself.

    Parameters
    ----------
    runs, sessions : sequences of str
    by : {"session", "run"}, optional
        What is wanted, however many sessions there are.

    Returns
    -------
    units : (n_runs,) int
    names : tuple of str
        Of the units: "ses-1", or the name of a run.
    """
    distinct = list(dict.fromkeys(sessions))
    if by == "session" or (by is None and len(distinct) >= 3 and None not in distinct):
        units = np.array([distinct.index(session) for session in sessions], dtype=int)
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


def blocks_within(classes: Sequence[Hashable], n_blocks: int = N_BLOCKS) -> np.ndarray:
    """Cut the rows of each class into contiguous blocks: block k is the k-th of every class.

    Parameters
    ----------
    classes : sequence of n
        Class of each row. Rows of classes that are smaller than `n_blocks` are dealt to the
        blocks in turn.

    Returns
    -------
    blocks : (n,) int
        Blocks of the whole, where a block would have fewer than two rows.
    """
    whole = blocks(len(classes), n_blocks)
    n_blocks = int(whole.max()) + 1
    found, dealt = np.empty_like(whole), 0
    for members in _members(classes):
        if len(members) >= n_blocks:
            found[members] = np.arange(len(members)) * n_blocks // len(members)
        else:
            found[members] = (dealt + np.arange(len(members))) % n_blocks
            dealt += len(members)
    return found if np.bincount(found, minlength=n_blocks).min() >= 2 else whole


def deal(
    names: Sequence[str], classes: Sequence[Hashable], n_folds: int, *, seed: int = 0
) -> np.ndarray:
    """Deal rows out at random: folds of equal size, with equal shares of every class.

    Parameters
    ----------
    names : sequence of n str
        Of the rows. The same names come into the same folds, whatever their order.
    classes : sequence of n, sortable
        Class of each row; of classes in classes (tuples), the outer ones are shared out too.
    n_folds : int
    seed : int
        Of the random numbers.

    Returns
    -------
    folds : (n,) int
        Sizes differ by one row at most, in all and within each class.
    """
    by_name = sorted(range(len(names)), key=lambda row: names[row])
    shuffled = np.random.default_rng(seed).permutation(np.array(by_name, dtype=int))
    order = sorted(shuffled.tolist(), key=lambda row: classes[row])
    folds = np.empty(len(names), dtype=int)
    folds[order] = np.arange(len(order)) % n_folds
    return folds


def separation(groups: np.ndarray, classes: Sequence[Hashable]) -> float:
    """How far groups hold whole classes: 0 as by chance, near 1 where no class is in two groups.

    Of the pairs of rows of one class, the share that lies in one group, less three standard
    errors (pairs are few where classes are small), rescaled such that the share of all pairs is 0.
    """
    sizes = [np.bincount(groups[members]) for members in _members(classes)]
    pairs = sum((size.sum() * (size.sum() - 1)) for size in sizes)
    if not pairs:
        return 0.0
    together = sum((size * (size - 1)).sum() for size in sizes) / pairs
    size = np.bincount(groups)
    chance = (size * (size - 1)).sum() / (len(groups) * (len(groups) - 1))
    if chance >= 1:
        return 0.0
    error = 3 * np.sqrt(chance * (1 - chance) / (pairs / 2))  # each pair was counted twice
    return max(float((together - error - chance) / (1 - chance)), 0.0)


def _members(classes: Sequence[Hashable]) -> list[np.ndarray]:
    found: dict[Hashable, list[int]] = {}
    for row, one in enumerate(classes):
        found.setdefault(one, []).append(row)
    return [np.array(rows) for rows in found.values()]


def block_names(n: int) -> tuple[str, ...]:
    """Names of n blocks, from "block 1" on."""
    return tuple(f"block {k + 1}" for k in range(n))


def merge_tiny(
    groups: np.ndarray, names: Sequence[str], tiny: float = _TINY
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Merge groups smaller than half the mean group or than two rows, two smallest first.

    Repeats leave such groups behind, when they are averaged into the group where a stimulus
    was shown first.

    Parameters
    ----------
    groups : (n,) int
        Group of each row; some groups may have none.
    names : sequence of str
        Of all groups.
    tiny : float
        Share of the mean group below which a group is merged.

    Returns
    -------
    groups : (n,) int
    names : tuple of str
        Of the groups that are left, perhaps a single one; "ses-2+ses-3" where merged.
    """
    members = [[k] for k in range(len(names))]
    sizes = [int(np.sum(groups == k)) for k in range(len(names))]
    while len(members) > 1 and min(sizes) < max(2, tiny * float(np.mean(sizes))):
        small, next_small = np.argsort(sizes, kind="stable")[:2]
        members[next_small] = sorted(members[next_small] + members[small])
        sizes[next_small] += sizes[small]
        del members[small], sizes[small]
    new = np.empty(len(names), dtype=int)
    for k, old in enumerate(members):
        new[old] = k
    return new[groups], tuple("+".join(names[k] for k in old) for old in members)


def gather(
    groups: np.ndarray, names: Sequence[str], n_folds: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Put neighbouring groups together, so that `n_folds` of nearly equal size are left.

    Returns
    -------
    folds : (n,) int
    names : tuple of str
        "ses-1+ses-2", or "ses-1 to ses-4".
    """
    if len(names) <= n_folds:
        return groups, tuple(names)
    fold = cut_evenly(np.bincount(groups, minlength=len(names)), n_folds)
    parts = [[name for name, k in zip(names, fold, strict=True) if k == f] for f in range(n_folds)]
    joined = tuple(
        "+".join(part) if len(part) <= _FEW else f"{part[0]} to {part[-1]}" for part in parts
    )
    return fold[groups], joined


def join(items: Sequence[Set[Hashable]]) -> np.ndarray:
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
