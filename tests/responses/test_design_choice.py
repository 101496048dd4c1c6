"""Events or continuous: the designs of published datasets, and the borders of the rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_encoder.errors import DataError
from bids_encoder.responses.design import choose_design
from bids_encoder.responses.read_bold import BoldInfo


def info(n_volumes, tr):
    return BoldInfo(Path("bold.nii.gz"), (2, 2, 2), np.eye(4), n_volumes, tr)


def every(show, n, soa, duration, first=0.0, suffix="png"):
    return show(*[(first + soa * k, duration, f"{k:03d}.{suffix}") for k in range(n)])


def test_one_picture_per_volume_is_continuous(show):
    shown = every(show, 200, 2.079, 2.079)
    choice = choose_design([shown, shown], [info(200, 2.079)] * 2)
    assert choice.kind == "continuous"
    assert "cover 100% of the run (TR 2.079 s)" in choice.reason


def test_blocks_with_rests_are_events(show):
    shown = [p for b in range(12) for p in every(show, 16, 1.0, 0.9, first=12 + 24 * b)]
    choice = choose_design([shown], [info(156, 2.0)])
    assert choice.kind == "events"
    assert "start every 1 s with gaps of 0.10 s and cover 55% of the run" in choice.reason


@pytest.mark.parametrize(
    ("n", "soa", "duration", "n_volumes", "tr"),
    [
        (37, 10.0, 1.0, 194, 2.0),  # BOLD5000
        (92, 4.5, 0.5, 284, 1.5),  # THINGS
        (75, 4.0, 3.0, 188, 1.6),  # NSD
        (50, 8.0, 8.0, 200, 2.0),  # back to back, but slow enough to tell apart
    ],
)
def test_published_event_designs(show, n, soa, duration, n_volumes, tr):
    shown = every(show, n, soa, duration)
    assert choose_design([shown], [info(n_volumes, tr)]).kind == "events"


def test_long_films_are_continuous_even_with_rests(show):
    shown = every(show, 5, 60.0, 30.0, suffix="mp4")
    choice = choose_design([shown], [info(150, 2.0)], {one.stimulus for one in shown})
    assert choice.kind == "continuous"
    assert "films of 30 s" in choice.reason


def test_long_still_pictures_with_rests_are_events(show):
    assert choose_design([every(show, 10, 30.0, 15.0)], [info(150, 2.0)]).kind == "events"


def test_short_clips_with_gaps_are_events(show):
    shown = every(show, 80, 4.0, 3.0, suffix="mp4")
    films = {one.stimulus for one in shown}
    assert choose_design([shown], [info(160, 2.0)], films).kind == "events"


def test_short_clips_back_to_back_are_continuous(show):
    shown = every(show, 40, 8.0, 8.0, suffix="mp4")
    films = {one.stimulus for one in shown}
    choice = choose_design([shown], [info(160, 2.0)], films)
    assert choice.kind == "continuous"
    assert "back to back" in choice.reason


def test_a_stream_that_fills_half_the_run_is_events(show):
    assert choose_design([every(show, 100, 2.0, 2.0)], [info(200, 2.0)]).kind == "events"


def test_runs_are_pooled_and_empty_ones_ignored(show):
    shown = every(show, 200, 2.0, 2.0)
    assert choose_design([[], shown], [info(200, 2.0)] * 2).kind == "continuous"


def test_order_of_rows_and_overlap_do_not_matter(show):
    shown = every(show, 100, 2.0, 4.0)[::-1]
    choice = choose_design([shown], [info(100, 2.0)])
    assert choice.kind == "continuous"
    assert "cover 100%" in choice.reason


def test_a_single_picture_is_an_event(show):
    assert choose_design([show((3.0, 1.0, "a.png"))], [info(50, 2.0)]).kind == "events"


def test_nothing_shown_is_refused(show):
    with pytest.raises(DataError, match="--stim-column"):
        choose_design([[], []], [info(50, 2.0)] * 2)
