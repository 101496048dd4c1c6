"""Folds of continuous designs: which volumes are left out together, and why.

From the tables alone, so that it can be said before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import UsageError
from bids_encoder.responses.classes import Columns, classes_of, column_left_out
from bids_encoder.responses.grouping import (
    BY,
    JUMPS,
    NO_WISH,
    FoldWish,
    Grouping,
    check_runs,
    check_sessions,
    gathered,
    number_of_blocks,
)
from bids_encoder.responses.groups import block_names, blocks, join, merge_tiny, units_of

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

# `separation` from which folds leave out whole kinds; neighbouring volumes show the same kind.
SEPARATE = 0.5
LARGEST = 0.4  # share of the volumes from which joined runs are too large to be left out


@dataclass(frozen=True)
class VolumeRun:
    """The volumes of a run, and what it has shown.

    Attributes
    ----------
    name : str
    session : str or None
    presentations : sequence of Presentation
    repetition_time : float
        Seconds.
    kept : (T,) bool
        Which of its volumes are rows that models learn from.
    """

    name: str
    session: str | None
    presentations: Sequence[Presentation]
    repetition_time: float
    kept: np.ndarray

    @property
    def n_kept(self) -> int:
        return int(np.count_nonzero(self.kept))

    def contents(self) -> list[tuple[str, int]]:
        """What was on the screen in the middle of each volume that is kept."""
        shown = sorted(self.presentations, key=lambda one: one.onset)
        onsets = [one.onset for one in shown]
        numbers = np.flatnonzero(self.kept)
        if not shown:
            return [("", k) for k in numbers.tolist()]
        times = (numbers + 0.5) * self.repetition_time
        current = np.clip(np.searchsorted(onsets, times, side="right") - 1, 0, None)
        return [
            (shown[k].stimulus, max(0, int((time - onsets[k]) // self.repetition_time)))
            for k, time in zip(current, times, strict=True)
        ]


def continuous_groups(
    runs: Sequence[VolumeRun], columns: Columns | None = None, wish: FoldWish = NO_WISH
) -> Grouping:
    """Deal volumes to folds; rows are the kept volumes of the runs, one run after the other.

    Folds are sessions where there are at least three, else runs; those that show the same
    stimuli are joined. Where that leaves one group, or one of more than two fifths of the data,
    what was shown is cut into five stretches, each of which is held out from all runs at once.
    Where the stimuli recur in such disorder that stretches would be torn to shreds, joined
    groups stay, or runs (sessions), with a warning that the same pictures are on both sides.
    A single run is cut into five blocks, with a warning.

    Parameters
    ----------
    runs : sequence of VolumeRun
        Those of which no volume is kept (a test set) do not count.
    columns : Columns, optional
        What the tables say of each stimulus.
    wish : FoldWish, optional

    Returns
    -------
    Grouping
        Of all kept volumes.

    Raises
    ------
    UsageError
        A wish cannot be kept.
    """
    runs = [run for run in runs if run.n_kept]
    if wish.by not in (None, *BY):
        raise UsageError(
            "The samples of a continuous design are volumes; no column of the events divides them.",
            place="--folds",
            found=wish.by,
            expected=", ".join(BY),
            remedy="leave out runs (--folds run)",
        )
    contents = [run.contents() for run in runs]
    if wish.by == "stimulus":
        grouping = _stretches(runs, contents, wish)
        if grouping is None:
            raise UsageError(
                "The same stimuli recur in such disorder that none can be held out by itself.",
                place="--folds",
                found="stimulus",
                expected="stretches of what was shown that come in the same order in all runs",
                remedy="leave out runs (--folds run)",
            )
    elif wish.by == "block":
        grouping = _blocks(runs, contents, wish)
    elif wish.by is None and len(runs) == 1:
        grouping = _blocks(runs, contents, wish).noting(
            "There is one run only: cross-validation leaves out contiguous blocks of it "
            f"({number_of_blocks(wish, runs[0].n_kept, 'volumes')}). Neighbouring blocks are not "
            "independent; scores are somewhat too high.",
            is_doubtful=True,
        )
    else:
        grouping = _units(runs, contents, wish)
    return _noting_kinds(grouping, [name for run in contents for name, _ in run], columns or {})


def _blocks(runs: Sequence[VolumeRun], contents, wish: FoldWish) -> Grouping:
    """Contiguous blocks of volumes, of all runs one after the other."""
    n = sum(run.n_kept for run in runs)
    n_folds = number_of_blocks(wish, n, "volumes")
    folds = blocks(n, n_folds)
    grouping = Grouping(folds, block_names(n_folds), "blocks of volumes")
    run_of = np.repeat(np.arange(len(runs)), [run.n_kept for run in runs])
    homes: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for key, fold, run in zip(sum(contents, []), folds.tolist(), run_of.tolist(), strict=True):
        homes.setdefault(key, set()).add((fold, run))
    both = {
        name
        for (name, _), where in homes.items()
        if name and len({f for f, _ in where}) > 1 and len({r for _, r in where}) > 1
    }
    if both and wish.by == "block":
        raise UsageError(
            "Blocks would have the same stimuli on both sides of a split.",
            place="--folds",
            found=f"{len(both)} stimuli that several runs show, such as {sorted(both)[0]}",
            expected="stimuli of its own in each run",
            remedy="leave out stimuli (--folds stimulus)",
        )
    return grouping


def _units(runs: Sequence[VolumeRun], contents, wish: FoldWish) -> Grouping:
    """Sessions or runs; joined, or cut into stretches, where they show the same stimuli."""
    names, sessions = [run.name for run in runs], [run.session for run in runs]
    if wish.by == "session":
        check_sessions(sessions)
    if wish.by == "run":
        check_runs(names)
    units, unit_names = units_of(names, sessions, wish.by)
    n_kept = [run.n_kept for run in runs]
    shown: list[set[str]] = [set() for _ in unit_names]
    for run, unit in zip(runs, units, strict=True):
        shown[unit] |= {one.stimulus for one in run.presentations}
    joined = join(shown)
    n_groups = int(joined.max()) + 1
    sizes = np.bincount(joined[units], weights=n_kept)
    by = wish.by or ("run" if list(unit_names) == names else "session")
    too_large = n_groups < len(unit_names) and sizes.max() > LARGEST * sizes.sum()
    stretches = None
    if n_groups < 2 or (too_large and wish.by is None):
        stretches = _stretches(runs, contents, FoldWish(None, wish.n_folds))
    if stretches is not None and wish.by is not None:
        raise UsageError(
            f"All {by}s show the same stimuli: leaving out one would leave nothing new to predict.",
            place="--folds",
            found=wish.by,
            expected=f"stimuli of their own in at least two {by}s",
            remedy="leave out stretches of what was shown (--folds stimulus)",
        )
    if stretches is not None:
        return stretches.noting(
            "Runs show the same stimuli: cross-validation leaves out the same stretch of "
            f"them from all runs at once, in {len(stretches.names)} blocks."
        )
    if n_groups < 2:
        return gathered(
            Grouping(
                np.repeat(units, n_kept),
                unit_names,
                f"{by}s",
                "The same stimuli recur throughout the runs: no split keeps each on one side. "
                f"Cross-validation leaves out whole runs or sessions ({len(unit_names)}), with "
                "some pictures in both training and test.",
                is_doubtful=True,
            ),
            wish,
            f"{by}s",
        )
    joint_names = tuple(
        "+".join(name for name, group in zip(unit_names, joined, strict=True) if group == k)
        for k in range(n_groups)
    )
    groups, merged = merge_tiny(np.repeat(joined[units], n_kept), joint_names, tiny=0)
    grouping = Grouping(
        groups,
        merged,
        f"{by}s",
        f"Runs that show the same stimuli are left out together: {n_groups} groups."
        if n_groups < len(unit_names)
        else None,
    )
    return gathered(grouping, wish, f"{by}s")


def _stretches(runs: Sequence[VolumeRun], contents, wish: FoldWish) -> Grouping | None:
    """Cut what was shown, in the order of its first showing, into blocks held by all runs.

    Runs that share stimuli, directly or through others, are cut together: block k is the k-th
    of each such cluster. The content of a volume is the stimulus at its time and the time within
    it, in volumes; volumes between stimuli belong to what went before. None where the same
    content recurs in other orders, so that blocks would change more than three times as often as
    they must.
    """
    cluster = join([{name for name, _ in keys} for keys in contents])
    order: list[dict[tuple[str, int], int]] = [{} for _ in range(cluster.max() + 1)]
    for keys, c in zip(contents, cluster, strict=True):
        for key in keys:
            order[c].setdefault(key, len(order[c]))
    total = sum(map(len, order))
    n_folds = number_of_blocks(wish, total, "different moments of what was shown")
    cuts = [blocks(len(keys), n_folds) for keys in order]
    folds = [
        cuts[c][[order[c][key] for key in keys]] for keys, c in zip(contents, cluster, strict=True)
    ]
    jumps = sum(int(np.count_nonzero(np.diff(fold))) for fold in folds)
    groups = np.concatenate(folds)
    if jumps > JUMPS * n_folds * len(runs) or total < 2 * n_folds:
        return None
    if np.bincount(groups, minlength=n_folds).min() < 2:
        return None
    return Grouping(groups, block_names(n_folds), "stretches of what was shown")


def _noting_kinds(grouping: Grouping, shown: Sequence[str], columns: Columns) -> Grouping:
    """Warn where folds leave out nearly all volumes that show one kind of stimuli."""
    stimuli = list(dict.fromkeys(name for name in shown if name))
    classes = classes_of(stimuli, columns)
    number = {name: k for k, name in enumerate(stimuli)}
    rows = np.array([row for row, name in enumerate(shown) if name], dtype=int)
    if not rows.size or not classes.columns:
        return grouping
    seen = classes.take([number[shown[row]] for row in rows.tolist()])
    column = column_left_out(grouping.groups[rows], seen, SEPARATE)
    if column is None:
        return grouping
    return grouping.noting(
        f"Folds leave out most of what is of one kind ({column}) at once: scores say how well "
        "models predict kinds of stimuli that they have never seen.",
        is_doubtful=True,
    )
