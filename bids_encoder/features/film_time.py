"""Films on a screen -> the stretches of them that single volumes see.

In a continuous design the features of a volume are the mean over what was on the screen
during one repetition time, moved back by each delay. A film is therefore cut wherever a
volume begins, at any delay: into one piece per volume where the delays are multiples of
the repetition time, into a few pieces else. Each piece is a stimulus of its own, whose
features are the mean over the frames sampled in it, so that they are averaged while the
film is decoded and memory does not grow with its length.

Pieces begin and end at the sample nearest to the edge of the volume. Runs and
participants whose onsets differ by a few milliseconds so share their pieces, and what is
kept of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.stimuli.films import Film, n_samples
from bids_encoder.stimuli.segments import Segment

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

log = logging.getLogger(__name__)

_TINY = 1e-6  # seconds: what rounding makes of nothing
_LONGER = 0.5  # seconds by which an event may outlast its film before it is worth a word


def with_durations(
    shown: Sequence[Presentation], films: Mapping[str, Film]
) -> tuple[Presentation, ...]:
    """Give films whose duration the table of events does not know the one they have."""
    return tuple(
        replace(one, duration=films[one.stimulus].duration)
        if one.duration == 0 and one.stimulus in films
        else one
        for one in shown
    )


def warn_of_ends(presentations: Sequence[Sequence[Presentation]], films: Mapping[str, Film]):
    """Warn of events that last longer than their films."""
    longer = {
        one.stimulus: one.duration - films[one.stimulus].duration
        for shown in presentations
        for one in shown
        if one.stimulus in films and one.duration > films[one.stimulus].duration + _LONGER
    }
    if longer:
        name = max(longer, key=longer.__getitem__)
        log.warning(
            "%d film%s shorter than the events that show %s (%s by %.1f s): after the end of a "
            "film the screen counts as grey",
            *(len(longer), "s are" if len(longer) > 1 else " is"),
            *("them" if len(longer) > 1 else "it", name, longer[name]),
        )


def whole_clips(
    presentations: Sequence[Sequence[Presentation]], films: Mapping[str, Film], fps: float
) -> dict[str, Segment]:
    """What event designs take of each film: as much as its longest presentation shows.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        One sequence a run.
    films : mapping of stimulus id to Film
    fps : float
        Samples per second.
    """
    longest: dict[str, float] = {}
    for one in (one for shown in presentations for one in shown):
        if one.stimulus in films:
            longest[one.stimulus] = max(one.duration, longest.get(one.stimulus, 0.0))
    return {
        name: Segment(
            films[name], 0, n_samples(min(duration, films[name].duration), fps), fps
        )
        for name, duration in longest.items()
    }  # fmt: skip


def cut_films(
    presentations: Sequence[Sequence[Presentation]],
    films: Mapping[str, Film],
    n_volumes: Sequence[int],
    repetition_times: Sequence[float],
    start_times: Sequence[float],
    delays: Sequence[float],
    fps: float,
) -> tuple[tuple[tuple[Presentation, ...], ...], dict[str, Segment]]:
    """Cut the films of all runs into the stretches that single volumes see.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        One sequence a run.
    films : mapping of stimulus id to Film
        Those of the stimuli that are films.
    n_volumes, repetition_times, start_times : sequences, one entry a run
        Times in seconds; as :func:`bids_encoder.features.samples.continuous_samples` has them.
    delays : sequence of float
        Seconds.
    fps : float
        Samples per second.

    Returns
    -------
    screen : tuple of tuples of Presentation
        Every film replaced by its pieces, ``FILM#t=START,END`` in seconds of the film.
        Nothing is left of a film after its end, and of what no volume sees.
    pieces : dict of str to Segment
        What each piece is.
    """
    pieces: dict[str, Segment] = {}
    screen = []
    timings = zip(n_volumes, repetition_times, start_times, strict=True)
    for shown, timing in zip(presentations, timings, strict=True):
        edges = volume_edges(*timing, delays)
        run: list[Presentation] = []
        for one in shown:
            if one.stimulus in films:
                run += _cut(one, films[one.stimulus], edges, fps, pieces)
            else:
                run.append(one)
        screen.append(tuple(run))
    return tuple(screen), pieces


def volume_edges(
    n_volumes: int, repetition_time: float, start_time: float, delays: Sequence[float]
) -> np.ndarray:
    """When what volumes see begins and ends, at all delays: increasing, in seconds."""
    # A volume stands for the repetition time around its reference time.
    starts = start_time - repetition_time / 2 - np.asarray(delays, float)[:, None]
    edges = np.sort((starts + repetition_time * np.arange(n_volumes + 1)).ravel())
    return edges[np.diff(edges, prepend=-math.inf) > _TINY]


def _cut(
    one: Presentation, film: Film, edges: np.ndarray, fps: float, pieces: dict[str, Segment]
) -> list[Presentation]:
    begin = max(one.onset, edges[0])
    end = min(one.onset + min(one.duration, film.duration), edges[-1])
    if end <= begin:
        return []
    cuts = [begin, *edges[(edges > begin + _TINY) & (edges < end - _TINY)], end]
    last = n_samples(film.duration, fps)
    found = []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        first = min(_nearest((start - one.onset) * fps), last - 1)
        after = min(max(first + 1, _nearest((stop - one.onset) * fps)), last)
        segment = Segment(film, first, after, fps)
        name = f"{one.stimulus}{segment.fragment}"
        pieces[name] = segment
        found.append(replace(one, onset=start, duration=stop - start, stimulus=name))
    return found


def _nearest(sample: float) -> int:
    return math.floor(sample + 0.5)
