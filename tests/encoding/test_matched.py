"""Scores and the number of features: what is true of simulations, and what draws change."""

import dimensions
import numpy as np
import pytest
from dimensions import compare, copies, half_and_half, irrelevant

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.matched import changes_between_draws, matched_scores
from bids_encoder.encoding.ridge import fit, linear_kernel


def rng():
    return np.random.default_rng(3)


def test_the_small_layer_wins_where_voxels_owe_as_much_to_the_large_one():
    small, large = compare(half_and_half(rng(), 120, 60, (10, 1000)), n_draws=2)
    assert small["won"] > 0.95
    # Fewer features of the large layer hold less of its signal: draws do not mend this.
    assert small["won_drawn"] > 0.95 and large["r_drawn"] < large["r"]


def test_irrelevant_features_take_most_of_a_score():
    found = compare(irrelevant(rng(), 120, 60, (0, 500)), n_draws=2)
    assert found[0]["r2"] > 0.6 and found[1]["r2"] < 0.2


def test_layers_that_say_the_same_are_level_with_as_many_features():
    small, large = compare(copies(rng(), 150, 150, (20, 800)))
    assert large["won"] > 0.95
    assert 0.25 < large["won_drawn"] < 0.75
    assert large["r_drawn"] == pytest.approx(small["r_drawn"], abs=0.05)


def test_a_layer_that_has_no_more_features_is_taken_whole():
    [x, _], y = copies(rng(), 60, 20)
    folds = make_folds(np.arange(60) // 12)
    plain = fit(None, y, folds, kernel=linear_kernel(x), keep_weights=False).r
    for n_drawn in (20, 50):
        found = matched_scores(x, y, folds, n_drawn=n_drawn, n_draws=3, seed=(0, 0))
        np.testing.assert_array_equal(found, [plain] * 3)


def test_draws_differ_and_come_again():
    [_, x], y = copies(rng(), 60, 20)
    folds = make_folds(np.arange(60) // 12)
    options = {"n_drawn": 15, "n_draws": 2}
    first = matched_scores(x, y, folds, seed=(0, 1), **options)
    assert not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(first, matched_scores(x, y, folds, seed=(0, 1), **options))
    assert not np.allclose(first, matched_scores(x, y, folds, seed=(0, 2), **options))


def test_changes_between_draws_are_those_of_all_pairs():
    scores = np.zeros((2, 3, 4))
    scores[1, 0, :2] = 1  # the first draw differs from the others in half of the voxels
    assert changes_between_draws(scores) == pytest.approx(2 / 3 * 0.5)
    assert np.isnan(changes_between_draws(scores[:, :1]))


def test_the_benchmark_prints_its_tables(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dimensions.py", "--samples", "40", "--voxels", "4"])
    dimensions.main()
    said = capsys.readouterr().out
    assert "half_and_half" in said and "    2000" in said
