"""Contrasts over pictures and their precision and recall, against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_curve

from bids_encoder.synthesis.effects import combine, contrast_pictures
from bids_encoder.synthesis.precision_recall import measured_voxels, precision_recall

random = np.random.default_rng(3)


def test_two_conditions_are_students_t():
    a, b = random.standard_normal((7, 20)) + 0.5, random.standard_normal((4, 20))
    found = contrast_pictures(np.vstack([a, b]), ["a"] * 7 + ["b"] * 4, {"a": 1, "b": -1})
    expected = stats.ttest_ind(a, b)
    np.testing.assert_allclose(found.t, expected.statistic)
    assert found.dof == expected.df[0]


def test_weights_are_those_of_a_linear_model():
    conditions = np.array(list("aaabbbbbcccc"))
    values = random.standard_normal((12, 5))
    weights = {"a": 0.5, "b": 0.5, "c": -1.0}
    found = contrast_pictures(values, conditions, weights)
    design = np.stack([conditions == name for name in weights], 1).astype(float)
    beta, residual, *_ = np.linalg.lstsq(design, values, rcond=None)
    w = np.array(list(weights.values()))
    variance = residual / (12 - 3) * (w @ np.linalg.inv(design.T @ design) @ w)
    np.testing.assert_allclose(found.effect, w @ beta)
    np.testing.assert_allclose(found.variance, variance)
    assert found.dof == 9


def test_rows_of_other_conditions_do_not_matter():
    values = random.standard_normal((9, 4))
    names = list("aaabbbccc")
    found = contrast_pictures(values, names, {"a": 1, "b": -1})
    alone = contrast_pictures(values[:6], names[:6], {"a": 1, "b": -1})
    np.testing.assert_array_equal(found.t, alone.t)


def test_voxels_without_values_or_variance_have_no_t():
    values = random.standard_normal((6, 3))
    values[2, 0] = np.nan
    values[:, 1] = 0
    t = contrast_pictures(values, list("aaabbb"), {"a": 1, "b": -1}).t
    assert np.isnan(t[:2]).all() and np.isfinite(t[2])


def test_independent_estimates_are_combined_as_fixed_effects():
    halves = [
        contrast_pictures(random.standard_normal((8, 50)), list("aaaabbbb"), {"a": 1, "b": -1})
        for _ in range(2)
    ]
    both = combine(halves)
    np.testing.assert_allclose(both.effect, (halves[0].effect + halves[1].effect) / 2)
    np.testing.assert_allclose(both.variance, (halves[0].variance + halves[1].variance) / 4)
    assert both.dof == 12


@pytest.mark.parametrize("names", ["aa", "aabb"])
def test_what_cannot_be_compared(names):
    weights = {"a": 1, "b": -1} if names == "aa" else {"a": 1, "b": -1, "c": 0}
    with pytest.raises(ValueError, match="no picture"):
        contrast_pictures(np.zeros((len(names), 2)), list(names), weights)
    with pytest.raises(ValueError, match="variance"):
        contrast_pictures(np.zeros((2, 2)), ["a", "b"], {"a": 1, "b": -1})


@pytest.mark.parametrize("ties", [False, True])
def test_curves_and_areas_are_those_of_scikit_learn(ties):
    relevant = random.random(500) < 0.2
    scores = random.standard_normal(500) + relevant
    scores = scores.round(1) if ties else scores
    curve = precision_recall(scores, relevant.astype(float))
    precision, recall, thresholds = precision_recall_curve(relevant, scores)
    np.testing.assert_allclose(curve.threshold, thresholds[::-1])
    np.testing.assert_allclose(curve.precision, precision[-2::-1])
    np.testing.assert_allclose(curve.recall, recall[-2::-1])
    assert curve.area == pytest.approx(average_precision_score(relevant, scores))
    assert curve.chance == pytest.approx(relevant.mean())


def test_the_best_threshold_finds_half_with_the_highest_precision():
    #                   found:  1 of 1  1 of 2  2 of 3  3 of 4  3 of 5  4 of 6
    curve = precision_recall(np.arange(6.0)[::-1], np.array([1, 0, 1, 1, 0, 1.0]))
    assert curve.best == 3 and curve.threshold[3] == 2.0
    assert curve.precision[3] == 0.75 and curve.recall[3] == 0.75


def test_voxels_without_a_value_do_not_count_and_nothing_relevant_gives_no_curve():
    scores = np.array([3.0, np.nan, 1.0, 2.0])
    curve = precision_recall(scores, np.array([1.0, 1.0, 0.0, np.nan]))
    assert (curve.n_voxels, curve.n_relevant, curve.area) == (2, 1, 1.0)
    empty = precision_recall(scores, np.zeros(4))
    assert np.isnan(empty.area) and empty.best is None and len(empty.thinned().recall) == 0


def test_a_thinned_curve_keeps_its_ends_and_its_best_point():
    relevant = (random.random(5000) < 0.3).astype(float)
    curve = precision_recall(random.standard_normal(5000) + relevant, relevant)
    thin = curve.thinned(100)
    assert len(thin.recall) <= 101 and thin.recall[-1] == 1
    assert thin.threshold[thin.best] == curve.threshold[curve.best]
    assert np.interp(0.37, thin.recall, thin.precision) == pytest.approx(
        np.interp(0.37, curve.recall, curve.precision), abs=0.02
    )


def test_the_measured_contrast_is_thresholded_both_ways():
    t = np.array([3.1, 3.0, -4.0, np.nan])
    np.testing.assert_array_equal(measured_voxels(t), [1, 0, 0, np.nan])
    np.testing.assert_array_equal(measured_voxels(t, -1), [0, 0, 1, np.nan])
