"""Films cut into what single volumes see: against a plain average over fine time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_encoder.bids.events import Presentation
from bids_encoder.features.film_time import (
    cut_films,
    volume_edges,
    warn_of_ends,
    whole_clips,
    with_durations,
)
from bids_encoder.features.samples import continuous_samples
from bids_encoder.stimuli.films import Film
from bids_encoder.stimuli.images import BLANK

FPS = 20.0


def film(duration, name="a"):
    return Film(Path(f"{name}.mp4"), f"sha of {name}", duration, 32, 24, 25.0)


FILMS = {"a.mp4": film(60.0), "b.mp4": film(7.3, "b")}


def in_time(runs, delays, feature, *, start=0.0, films=FILMS):
    """Features of volumes from pieces, where sample k of a film has the feature f(name, k)."""
    shown, volumes, trs = zip(*runs, strict=True)
    starts = [start + tr / 2 for tr in trs]
    screen, pieces = cut_films(shown, films, volumes, trs, starts, delays, FPS)
    samples = continuous_samples(screen, volumes, trs, starts, delays)
    values = [
        0.0
        if name == BLANK
        else np.mean(
            [feature(name.split("#")[0], k) for k in range(pieces[name].first, pieces[name].stop)]
        )
        for name in samples.stimuli
    ]
    return samples.matrix(np.array(values)[:, None]), screen, pieces


def by_hand(shown, n, tr, delays, feature, start=0.0, films=FILMS, steps=2000):
    """The mean over `steps` moments of each volume of what was on the screen."""
    columns = []
    for delay in delays:
        rows = []
        for volume in range(n):
            times = start - delay + tr * (volume + (np.arange(steps) + 0.5) / steps)
            values = np.zeros(steps)
            for one in shown:
                length = min(one.duration, films[one.stimulus].duration)
                on = (times >= one.onset) & (times < one.onset + length)
                k = np.floor((times[on] - one.onset) * FPS + 1e-9).astype(int)
                values[on] = [feature(one.stimulus, i) for i in k]
            rows.append(values.mean())
        columns.append(rows)
    return np.array(columns).T


def level(name, k):
    return np.sin(0.01 * k) + (2 if name == "a.mp4" else 5) + (k % 2)


@pytest.mark.parametrize(
    "onset, duration, tr, delays, start",
    [
        (0.0, 40.0, 2.0, (4.0, 6.0, 8.0), 0.0),
        (6.0, 20.0, 2.0, (4.0, 6.0, 8.0), 0.0),
        (5.5, 100.0, 1.5, (4.0, 6.0, 8.0), 0.75),  # longer than the run
        (-3.0, 33.0, 2.0, (0.0, 5.0), 0.0),  # began before it
        (3.25, 12.5, 1.0, (4.0,), 0.5),  # cut, in the middle of a volume
    ],
)
def test_volumes_see_the_mean_of_their_samples(onset, duration, tr, delays, start):
    shown = [Presentation(onset, duration, "a.mp4", 2)]
    found, _, _ = in_time([(shown, 20, tr)], delays, level, start=start)
    np.testing.assert_allclose(found, by_hand(shown, 20, tr, delays, level, start), atol=0.01)


def test_edges_that_are_no_multiples_of_a_sample_are_off_by_half_a_sample_at_most():
    shown = [Presentation(1.013, 30.0, "a.mp4", 2)]

    def seconds(name, k):
        return (k + 0.5) / FPS

    delays = (4.0, 6.0, 8.0)
    found, _, _ = in_time([(shown, 25, 0.72)], delays, seconds)
    expected = by_hand(shown, 25, 0.72, delays, seconds)
    assert np.abs(found - expected).max() <= 0.5 / FPS


def test_several_films_in_a_run_and_gaps():
    shown = [
        Presentation(2.0, 6.0, "a.mp4", 2),
        Presentation(10.0, 20.0, "b.mp4", 3),  # 7.3 s long: grey from 17.3 s on
        Presentation(24.0, 4.0, "a.mp4", 4),
    ]
    found, screen, pieces = in_time([(shown, 20, 2.0)], (4.0, 6.0), level)
    np.testing.assert_allclose(found, by_hand(shown, 20, 2.0, (4.0, 6.0), level), atol=0.02)
    assert [one.row for one in screen[0]] == [2] * 3 + [3] * 4 + [4] * 2
    # The same stretch of the same film is one stimulus.
    assert len(screen[0]) == 9 and len(pieces) == 7


def test_one_piece_a_volume_where_delays_are_multiples_of_the_repetition_time():
    shown = [Presentation(4.0, 16.0, "a.mp4", 2)]
    screen, pieces = cut_films([shown], FILMS, [20], [2.0], [1.0], (4.0, 6.0, 8.0), FPS)
    assert list(pieces) == [f"a.mp4#t={2 * k},{2 * k + 2}" for k in range(8)]
    assert [one.onset for one in screen[0]] == [4.0 + 2 * k for k in range(8)]
    assert {one.duration for one in screen[0]} == {2.0}


def test_what_comes_after_the_run_is_left_out():
    shown = [Presentation(0.0, 60.0, "a.mp4", 2), Presentation(38.0, 60.0, "b.mp4", 3)]
    screen, pieces = cut_films([shown], FILMS, [20], [2.0], [1.0], (4.0,), FPS)
    assert max(one.onset + one.duration for one in screen[0]) == 36.0  # 40 - 4 s
    assert max(piece.stop for piece in pieces.values()) == 36 * FPS


def test_runs_and_jitter_share_pieces():
    runs = [[Presentation(t, 30.0, "a.mp4", 2)] for t in (4.0, 4.008, 3.991)]
    _, pieces = cut_films(runs, FILMS, [20] * 3, [2.0] * 3, [1.0] * 3, (4.0, 6.0, 8.0), FPS)
    # The few milliseconds make one more piece, before the first edge.
    assert len(pieces) <= 17


def test_pictures_stay_as_they_are():
    shown = [Presentation(0.0, 2.0, "a.png", 2), Presentation(2.0, 4.0, "b.mp4", 3)]
    screen, pieces = cut_films([shown], FILMS, [20], [2.0], [1.0], (4.0,), FPS)
    assert screen[0][0] is shown[0]
    assert all(name.startswith("b.mp4#t=") for name in pieces)


def test_edges_of_volumes():
    np.testing.assert_allclose(volume_edges(3, 2.0, 1.0, (4.0, 6.0)), [-6, -4, -2, 0, 2])
    np.testing.assert_allclose(volume_edges(2, 1.5, 1.25, (1.0, 2.0)), [-1.5, -0.5, 0, 1, 1.5, 2.5])


def test_short_samples_make_at_least_one_frame_of_each_piece():
    shown = [Presentation(0.0, 1.0, "a.mp4", 2)]
    screen, pieces = cut_films([shown], FILMS, [100], [0.01], [0.005], (0.0,), FPS)
    assert all(piece.stop - piece.first == 1 for piece in pieces.values())
    assert len(screen[0]) == 100 and len(pieces) == 21


def test_unknown_durations_are_those_of_the_films():
    shown = [Presentation(1.0, 0.0, name, 2) for name in ("b.mp4", "a.png")]
    assert [one.duration for one in with_durations(shown, FILMS)] == [7.3, 0.0]


def test_clips_are_taken_as_far_as_they_are_shown():
    runs = [
        [Presentation(0, 3.0, "a.mp4", 2), Presentation(9, 30.0, "b.mp4", 3)],
        [Presentation(0, 2.5, "a.mp4", 2), Presentation(5, 1.0, "a.png", 3)],
    ]
    clips = whole_clips(runs, FILMS, FPS)
    assert {name: (one.first, one.stop) for name, one in clips.items()} == {
        "a.mp4": (0, 60),
        "b.mp4": (0, 146),
    }


def test_events_that_outlast_their_film_are_warned_of(caplog):
    warn_of_ends([[Presentation(0, 7.5, "b.mp4", 2)]], FILMS)
    assert not caplog.records
    warn_of_ends([[Presentation(0, 20.0, "b.mp4", 2), Presentation(0, 9, "a.mp4", 3)]], FILMS)
    assert "b.mp4 by 12.7 s" in caplog.text and "counts as grey" in caplog.text
