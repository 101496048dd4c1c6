"""Folds of a plan: from its runs and tables to what cross-validation leaves out together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from bids_encoder.bids.events import Presentation
from bids_encoder.bids.records import BetasRun, Run
from bids_encoder.responses.classes import Columns
from bids_encoder.responses.cleaning import Cleaning
from bids_encoder.responses.continuous_groups import VolumeRun, continuous_groups
from bids_encoder.responses.event_groups import event_groups
from bids_encoder.responses.grouping import FoldWish, Grouping
from bids_encoder.responses.read_bold import BoldInfo
from bids_encoder.responses.shown_runs import ShownRun

_NAMED = 10  # folds that are all named


def fold_stimuli(
    rows: np.ndarray,
    stimuli: Sequence[str],
    runs: Sequence[Run],
    presentations: Sequence[Sequence[Presentation]],
    columns: Columns,
    wish: FoldWish,
) -> Grouping:
    """Folds of the rows of an event design.

    Parameters
    ----------
    rows : (n,) bool
        Those that models learn from.
    stimuli : sequence of n str
        What each row is the response to.
    runs, presentations : sequences, one entry a run
    columns : Columns
    wish : FoldWish
    """
    shown = [
        ShownRun(
            run.name,
            run.session,
            tuple(one.stimulus for one in seen),
            tuple(one.onset for one in seen) if _is_timed(run) else None,
        )
        for run, seen in zip(runs, presentations, strict=True)
    ]
    training = [one for one, used in zip(stimuli, rows, strict=True) if used]
    return event_groups(training, shown, columns, wish)


def _is_timed(run: Run) -> bool:
    """Whether the order of presentations is their order in time."""
    return not isinstance(run, BetasRun) or run.betas.is_timed


def fold_volumes(
    rows: np.ndarray,
    infos: Sequence[BoldInfo],
    cleanings: Sequence[Cleaning],
    runs: Sequence[Run],
    presentations: Sequence[Sequence[Presentation]],
    columns: Columns,
    wish: FoldWish,
) -> Grouping:
    """Folds of the rows of a continuous design: the volumes that count, run after run.

    Parameters
    ----------
    rows : (n,) bool
        Those that models learn from.
    infos, cleanings, runs, presentations : sequences, one entry a run
    columns : Columns
    wish : FoldWish
    """
    ends = np.cumsum([cleaning.n_kept for cleaning in cleanings])
    volumes = []
    for run, info, cleaning, seen, used in zip(
        runs, infos, cleanings, presentations, np.split(rows, ends[:-1]), strict=True
    ):
        kept = cleaning.kept.copy()
        kept[kept] = used
        volumes.append(VolumeRun(run.name, run.session, seen, info.repetition_time, kept))
    return continuous_groups(volumes, columns, wish)


def with_sizes(names: Sequence[str], sizes: Sequence[int]) -> str:
    """Name up to ten folds with their numbers of rows: ``run-1 (20), run-2 (18)``."""
    words = [f"{name} ({size})" for name, size in zip(shortened(names), sizes, strict=True)]
    if len(words) > _NAMED:
        words = [*words[:4], f"{len(words) - 5} more ({min(sizes)} to {max(sizes)})", words[-1]]
    return ", ".join(words)


def shortened(names: Sequence[str]) -> list[str]:
    """Names of runs without the participant and the task, which are in all of them."""
    short = [re.sub(r"sub-[^_]+_|_?task-[^_+ ]+", "", name) for name in names]
    return [new.strip("_") or name for new, name in zip(short, names, strict=True)]
