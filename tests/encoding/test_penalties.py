"""The grid of penalties, and when it reaches further."""

import numpy as np
import pytest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.penalties import (
    PENALTIES,
    SMALLEST,
    extended,
    far_beyond_chance,
    longest_grid,
    make_grid,
    piled_up,
    smallest_useful,
)
from bids_encoder.encoding.ridge import fit, linear_kernel


def test_the_grid_is_the_default_or_what_is_asked_for():
    assert make_grid(()) is PENALTIES
    np.testing.assert_allclose(make_grid((0.01, 100.0, 5.0)), [0.01, 0.1, 1, 10, 100])


@pytest.mark.parametrize("ends", [(True, False), (False, True), (True, True), (False, False)])
def test_the_grid_goes_on_in_the_same_steps(ends):
    wider = extended(PENALTIES, ends, 1e-9)
    steps = np.diff(np.log10(wider))
    np.testing.assert_allclose(steps, steps[0])
    assert set(PENALTIES) <= set(wider)
    assert (wider[0] < 1.1e-5) == ends[0] and (wider[-1] > 0.9e7) == ends[1]
    assert len(wider) == len(PENALTIES) + 5 * sum(ends)


def test_the_grid_ends_where_nothing_changes_any_more():
    assert extended(PENALTIES, (True, False), 2e-4)[0] > 2e-4
    grid = PENALTIES
    for _ in range(9):
        grid = extended(grid, (True, True))
    assert longest_grid(()) == len(grid) > len(PENALTIES)
    assert longest_grid((0.01, 100.0, 5.0)) == 5
    assert grid[0] >= SMALLEST and grid[-1] <= 1e8


def test_only_voxels_that_are_predicted_pile_up():
    penalty = np.log10(PENALTIES[[0] * 40 + [10] * 60 + [-1] * 100]).astype(np.float32)
    everything, asked = np.ones(200, bool), np.arange(200) >= 38
    assert piled_up(penalty, everything, PENALTIES) == (True, True)
    assert piled_up(penalty, asked, PENALTIES) == (False, True)  # 2 of 162
    assert piled_up(penalty, np.zeros(200, bool), PENALTIES) == (False, False)


def test_noise_is_hardly_ever_far_beyond_chance():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((60, 20)), random.standard_normal((60, 4000))
    y[:, :50] += 2 * x[:, :1]
    r2 = fit(x, y, make_folds(np.arange(60) // 15), keep_weights=False).r2
    found = far_beyond_chance(r2, 60)
    assert found[:50].all() and found[50:].mean() < 1e-3
    assert (r2[50:] > 0).mean() > 0.05  # which "r2 above 0" would have asked
    assert not far_beyond_chance(np.array([np.nan]), 60).any()


def dominated(n=80, seed=0):
    """Features of which one is large and irrelevant, and voxels that follow the small ones."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, 5))
    y = x[:, :4] @ random.standard_normal((4, 30)) + 0.3 * random.standard_normal((n, 30))
    x[:, 4] *= 300
    return x, y


def test_a_wider_grid_predicts_better_where_voxels_pile_up():
    x, y = dominated()
    folds = make_folds(np.arange(80) // 20)
    narrow = fit(x, y, folds, keep_weights=False)
    asked = far_beyond_chance(narrow.r2, 80)
    low, _ = piled_up(np.log10(narrow.penalty), asked, PENALTIES)
    assert low
    useful = smallest_useful(linear_kernel(x))
    grid = extended(PENALTIES, (True, False), useful)
    wide = fit(x, y, folds, penalties=grid, keep_weights=False)
    assert np.median(wide.r2) > np.median(narrow.r2) + 0.1
    assert not (extended(grid, (True, False), useful)[0] < useful)


def test_with_few_features_smaller_penalties_are_of_no_use():
    random = np.random.default_rng(0)
    x = random.standard_normal((80, 4)).astype(np.float32)
    useful = smallest_useful(linear_kernel(x))
    assert useful > PENALTIES[0]  # least squares is reached within the grid
    y = x @ random.standard_normal((4, 30)) + 0.01 * random.standard_normal((80, 30))
    folds = make_folds(np.arange(80) // 20)
    at_useful = fit(x, y, folds, penalties=[useful], keep_weights=False).r2
    below = fit(x, y, folds, penalties=[useful / 100], keep_weights=False).r2
    np.testing.assert_allclose(at_useful, below, atol=1e-3)


def test_smaller_penalties_than_the_kernel_bears_are_not_of_use():
    """As many features as fit into float32 products: no penalty that is of use raises an error."""
    x, y = dominated(n=300)
    x = np.hstack([x, np.random.default_rng(1).standard_normal((300, 50))]).astype(np.float32)
    folds = make_folds(np.arange(300) // 60)
    useful = smallest_useful(linear_kernel(x))
    found = fit(None, y, folds, kernel=linear_kernel(x), penalties=[useful], keep_weights=False)
    assert np.isfinite(found.r2).all()
