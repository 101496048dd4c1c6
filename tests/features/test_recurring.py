"""Which volumes of several runs show the same."""

from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.bids.events import Presentation
from bids_encoder.features.recurring import find_recurring

TR, DELAYS = 2.0, (4.0, 6.0, 8.0)


def shown(*rows):
    return tuple(Presentation(*row, row=2 + k) for k, row in enumerate(rows))


def recurring(*runs, n=30, **how):
    numbers = [n] * len(runs)
    arguments = {"delays": DELAYS, "start_times": [TR / 2] * len(runs)} | how
    return find_recurring(
        runs, numbers, [TR] * len(runs), arguments["start_times"], arguments["delays"]
    )


def test_the_same_film_in_two_runs_recurs_wherever_it_begins():
    found = recurring(
        shown((4.0, 40, "a.mp4")), shown((10.0, 40, "a.mp4")), shown((4.0, 40, "b.mp4"))
    )
    content = found.content.reshape(3, 30)
    # Begins at volume 2, is on the screen at all delays from 8 s later on, until the end of the
    # other run, which shows it three volumes later.
    first = np.flatnonzero(content[0] >= 0)
    np.testing.assert_array_equal(first, np.arange(6, 27))
    second = np.flatnonzero(content[1] >= 0)
    assert second[0] == 9
    np.testing.assert_array_equal(content[1, 9:], content[0, 6:27])
    assert (content[2] == -1).all()
    assert found.n_rows == np.count_nonzero(found.content >= 0)


@pytest.mark.parametrize("late, same", [(0.0, True), (0.05, True), (-0.04, True), (1.0, False)])
def test_onsets_may_jitter_but_not_by_half_a_volume(late, same):
    found = recurring(shown((4.0, 40, "a.mp4")), shown((10.0 + late, 40, "a.mp4")))
    assert (found.n_contents > 15) == same


def test_what_went_before_has_to_be_the_same():
    a, b, c = "a.mp4", "b.mp4", "c.mp4"
    runs = [shown((0.0, 20, first), (20.0, 30, a)) for first in (b, c)]
    content = recurring(*runs).content.reshape(2, 30)
    # Volumes that see b or c at some delay are not the same.
    assert (content[:, :14] == -1).all() and (content[:, 14:24] >= 0).all()


def test_what_recurs_within_a_run_and_a_blank_screen_do_not_count():
    looped = shown((0.0, 20, "a.mp4"), (20.0, 20, "a.mp4"))
    found = recurring(looped, looped)
    seen = found.content.reshape(2, 30)
    assert np.unique(seen[0][seen[0] >= 0]).size == np.count_nonzero(seen[0] >= 0)
    assert recurring(shown(), shown()).n_contents == 0
    brief = shown((0.0, 2, "a.png"))
    assert recurring(brief, brief).n_contents <= 6  # until some seconds after its end


def test_rows_that_are_taken_away_leave_single_ones_behind():
    found = recurring(shown((4.0, 40, "a.mp4")), shown((4.0, 40, "a.mp4")))
    kept = np.ones(60, bool)
    kept[30 + 10] = False
    fewer = found.take(kept)
    assert fewer.n_contents == found.n_contents - 1 and fewer.content[10] == -1
    assert found.take(np.arange(60) < 30).n_contents == 0
