"""Which kind of design a task has: separate events, or a continuous stream."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.responses.read_bold import BoldInfo

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

_LONG = 10.0  # seconds: a film this long has no single response
_COVER = 0.75  # share of the run with something on the screen
_GAP = 0.5  # seconds between the end of one presentation and the onset of the next
_PACE = 2.0  # volumes from one onset to the next


@dataclass(frozen=True)
class DesignChoice:
    """How the responses of a task are to be estimated, and why, in one sentence."""

    kind: Literal["events", "continuous"]
    reason: str


def choose_design(
    presentations: Sequence[Sequence[Presentation]],
    infos: Sequence[BoldInfo],
    films: Collection[str] = (),
) -> DesignChoice:
    """Choose between one response per stimulus and one per volume.

    A task is continuous where it shows films of 10 s and more (median), or where its
    presentations tile the runs: they cover at least 75 % of the time, follow each other at
    gaps below 0.5 s (median), and change at least once in two volumes (pictures; films
    change by themselves), so that the responses cannot be told apart. All else is events,
    short clips with gaps between them among it.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        One sequence per run of the task.
    infos : sequence of BoldInfo
        The same runs.
    films : collection of str
        Which of the stimuli are films.

    Raises
    ------
    DataError
        Nothing was shown in any run.
    """
    runs = [
        (sorted(shown, key=lambda p: p.onset), info)
        for shown, info in zip(presentations, infos, strict=True)
        if shown
    ]
    if not runs:
        raise DataError(
            "No run of this task shows a stimulus.",
            file=infos[0].path if infos else None,
            place="events of the runs",
            found="events files without presentations",
            expected="at least one presentation",
            remedy="name the column of the stimuli with --stim-column",
        )
    durations = np.concatenate([[p.duration for p in shown] for shown, _ in runs])
    onset_gaps = np.concatenate([np.diff([p.onset for p in shown]) for shown, _ in runs])
    gaps = np.concatenate(
        [
            [b.onset - a.onset - a.duration for a, b in zip(shown, shown[1:], strict=False)]
            for shown, _ in runs
        ]
    )
    duration = float(np.median(durations))
    cover = sum(_covered(*run) for run in runs) / sum(info.duration for _, info in runs)
    moving = any(p.stimulus in films for shown, _ in runs for p in shown)
    if moving and duration >= _LONG:
        return DesignChoice(
            "continuous",
            f"films of {duration:.3g} s (median) have no single response each",
        )
    if gaps.size == 0:
        return DesignChoice("events", f"one presentation a run, of {duration:.3g} s")
    gap, pace = float(np.median(gaps)), float(np.median(onset_gaps))
    tr = float(np.median([info.repetition_time for _, info in runs]))
    figures = (
        f"presentations of {duration:.3g} s (median) start every {pace:.3g} s with gaps of "
        f"{max(gap, 0):.2f} s and cover {cover:.0%} of the run (TR {tr:g} s)"
    )
    if cover >= _COVER and gap < _GAP and (moving or pace <= _PACE * tr * 1.001):
        return DesignChoice("continuous", f"{figures}: they tile it back to back")
    return DesignChoice("events", f"{figures}: they do not tile it back to back")


def _covered(shown: Sequence[Presentation], info: BoldInfo) -> float:
    """Seconds of the run during which something is shown; `shown` is sorted by onset."""
    total, reached = 0.0, 0.0
    for presentation in shown:
        end = min(presentation.onset + presentation.duration, info.duration)
        total += max(0.0, end - max(presentation.onset, reached))
        reached = max(reached, end)
    return total
