"""Which rows of the responses are left out together in cross-validation, and why.

From the tables of events alone, so that it can be said before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.responses.groups import (
    N_BLOCKS,
    block_names,
    blocks,
    join,
    merge_tiny,
    units_of,
)

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

_JUMPS = 3  # mean changes of block per run and block beyond which aligned blocks are in shreds


@dataclass(frozen=True)
class Grouping:
    """Cross-validation groups.

    Parameters
    ----------
    groups : (n,) int
        Group of each row.
    names : tuple of str
        What the groups are: "ses-1", the name of a run, "block 3".
    remark : str or None
        What the reader should know of them.
    is_doubtful : bool
        Whether the remark is a warning: scores will be somewhat too high.
    """

    groups: np.ndarray
    names: tuple[str, ...]
    remark: str | None = None
    is_doubtful: bool = False

    def take(self, rows: np.ndarray) -> Grouping:
        """Some of the rows, (n,) bool; groups of which none is left go."""
        left, groups = np.unique(self.groups[rows], return_inverse=True)
        return replace(self, groups=groups, names=tuple(self.names[group] for group in left))


def event_groups(
    runs: Sequence[str], sessions: Sequence[str | None], stimuli: Sequence[Sequence[str]]
) -> Grouping:
    """Group stimuli; rows are in the order in which they were first shown.

    A stimulus belongs to the session (where there are at least three) or run that showed it
    first. Groups that this leaves with less than half the mean number of stimuli are merged;
    where only one group is left (all runs show the same stimuli), and where there is a single
    run, the stimuli are cut into five contiguous blocks.

    Parameters
    ----------
    runs, sessions : sequences of str
        Their names.
    stimuli : sequence of sequences of str
        What each run has shown.
    """
    units, names = units_of(runs, sessions)
    first: dict[str, int] = {}
    for shown, unit in zip(stimuli, units, strict=True):
        for stimulus in shown:
            first.setdefault(stimulus, int(unit))
    groups, merged = merge_tiny(np.array(list(first.values()), dtype=int), names)
    if len(merged) >= 2:
        return Grouping(
            groups,
            merged,
            "Small groups for cross-validation were merged." if len(merged) < len(names) else None,
        )
    folds = blocks(len(first))
    fold_names = block_names(folds[-1] + 1)
    if len(names) > 1:
        return Grouping(
            folds,
            fold_names,
            "The runs show largely the same stimuli, so that leaving one out would leave nothing "
            f"new to predict: folds are made by stimulus, in {len(fold_names)} blocks.",
        )
    return Grouping(
        folds,
        fold_names,
        "There is one run only: cross-validation leaves out contiguous blocks of its stimuli "
        f"({len(fold_names)}), which share the noise of the run; scores are somewhat too high.",
        is_doubtful=True,
    )


def continuous_groups(
    runs: Sequence[str],
    sessions: Sequence[str | None],
    presentations: Sequence[Sequence[Presentation]],
    n_volumes: Sequence[int],
    repetition_times: Sequence[float],
) -> Grouping:
    """Group volumes; rows are the volumes of the runs, one run after the other.

    Groups are sessions where there are at least three, else runs; those that show the same
    stimuli are joined. Where all runs are joined so, the stimuli themselves are cut into five
    stretches, each of which is held out from all runs at once. Where the stimuli
    recur in such disorder that stretches would be torn to shreds, runs (sessions) stay the
    groups, and a warning says that the same pictures are on both sides. A single run is cut
    into five blocks, with a warning.

    Parameters
    ----------
    runs, sessions : sequences of str
        Their names.
    presentations : sequence of sequences of Presentation
    n_volumes : sequence of int
    repetition_times : sequence of float
        Seconds.
    """
    if len(runs) == 1:
        folds = blocks(n_volumes[0])
        names = block_names(folds[-1] + 1)
        return Grouping(
            folds,
            names,
            f"There is one run only: cross-validation leaves out contiguous blocks of it "
            f"({len(names)}). Neighbouring blocks are not independent; scores are somewhat too "
            "high.",
            is_doubtful=True,
        )
    units, names = units_of(runs, sessions)
    shown = [set() for _ in names]
    for seen, unit in zip(presentations, units, strict=True):
        shown[unit] |= {presentation.stimulus for presentation in seen}
    joined = join(shown)
    n_groups = int(joined.max()) + 1
    if n_groups >= 2:
        joint_names = tuple(
            "+".join(name for name, group in zip(names, joined, strict=True) if group == k)
            for k in range(n_groups)
        )
        return Grouping(
            np.repeat(joined[units], n_volumes),
            joint_names,
            f"Runs that show the same stimuli are left out together: {n_groups} groups."
            if n_groups < len(names)
            else None,
        )
    folds = _stretches(presentations, n_volumes, repetition_times)
    if folds is not None:
        return Grouping(
            folds,
            block_names(folds.max() + 1),
            "All runs show the same stimuli: cross-validation leaves out the same stretch of "
            f"them from all runs at once, in {N_BLOCKS} blocks.",
        )
    return Grouping(
        np.repeat(units, n_volumes),
        names,
        "The same stimuli recur throughout the runs: no split keeps each on one side. "
        f"Cross-validation leaves out whole runs or sessions ({len(names)}), with some pictures "
        "in both training and test.",
        is_doubtful=True,
    )


def _stretches(presentations, n_volumes, repetition_times) -> np.ndarray | None:
    """Cut what was shown, in the order of its first showing, into blocks held by all runs.

    The content of a volume is the stimulus at its time and the time within it, in volumes;
    volumes between stimuli belong to what went before. None where the same content recurs in
    other orders, so that blocks would change more than three times as often as they must.
    """
    timing = list(zip(presentations, n_volumes, repetition_times, strict=True))
    contents = [_contents(*run) for run in timing]
    order = {key: k for k, key in enumerate(dict.fromkeys(sum(contents, [])))}
    block = blocks(len(order))
    folds = [block[[order[key] for key in keys]] for keys in contents]
    jumps = sum(int(np.count_nonzero(np.diff(fold))) for fold in folds)
    if jumps > _JUMPS * N_BLOCKS * len(timing) or len(order) < 2 * N_BLOCKS:
        return None
    return np.concatenate(folds)


def _contents(
    presentations: Sequence[Presentation], n_volumes: int, repetition_time: float
) -> list[tuple[str, int]]:
    """What was on the screen in the middle of each volume of a run."""
    shown = sorted(presentations, key=lambda p: p.onset)
    onsets = [p.onset for p in shown]
    times = (np.arange(n_volumes) + 0.5) * repetition_time
    if not shown:
        return [("", k) for k in range(len(times))]
    current = np.clip(np.searchsorted(onsets, times, side="right") - 1, 0, None)
    return [
        (shown[k].stimulus, max(0, int((time - onsets[k]) // repetition_time)))
        for k, time in zip(current, times, strict=True)
    ]
