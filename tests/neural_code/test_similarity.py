"""Similarity, functional smoothness, Gini and bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_encoder.rsa.similarity import (
    bootstrap_counts,
    bootstrap_interval,
    functional_smoothness,
    gini,
    pairs,
    pearson,
    sample_items,
    similarity_matrix,
    spearman,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_similarity_is_numpys_correlation(random):
    values = random.standard_normal((6, 40))
    np.testing.assert_allclose(similarity_matrix(values), np.corrcoef(values), atol=1e-12)
    stacked = similarity_matrix(np.stack([values, values[::-1]]))
    np.testing.assert_allclose(stacked[1], np.corrcoef(values[::-1]), atol=1e-12)


def test_a_constant_item_is_similar_to_nothing(random):
    values = random.standard_normal((4, 10)).astype(np.float32)
    values[1] = 0.1
    matrix = similarity_matrix(values)
    assert matrix.dtype == np.float32
    assert np.isnan(matrix[1]).all() and np.isnan(matrix[:, 1]).all()
    assert np.isfinite(np.delete(np.delete(matrix, 1, 0), 1, 1)).all()


def test_pairs_stand_row_after_row():
    assert pairs(np.arange(16).reshape(4, 4)).tolist() == [1, 2, 3, 6, 7, 11]


def test_correlations_are_scipys_and_leave_out_what_is_not_a_number(random):
    a = random.standard_normal(50)
    b = np.round(a + random.standard_normal(50), 1)  # with ties
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b)[0], abs=1e-12)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    holes_a, holes_b = np.append(a, [np.nan, 3.0]), np.append(b, [1.0, np.nan])
    assert pearson(holes_a, holes_b) == pytest.approx(pearson(a, b))
    assert spearman(holes_a, holes_b) == pytest.approx(spearman(a, b))


@pytest.mark.parametrize(
    "a, b", [([1, 2, 3], [5, 5, 5]), ([1, 2], [1, 2]), ([np.nan] * 4, [1] * 4)]
)
def test_a_correlation_that_is_not_defined_is_nan(a, b):
    assert np.isnan(pearson(np.array(a, float), np.array(b, float)))


def test_identity_is_perfectly_smooth(random):
    values = random.standard_normal((12, 30))
    assert functional_smoothness(values, values) == pytest.approx(1)


def test_smoothness_is_the_correlation_over_pairs(random):
    inputs = random.standard_normal((12, 30))
    codes = np.tanh(inputs @ random.standard_normal((30, 25)))
    upper = np.triu_indices(12, 1)
    expected = stats.pearsonr(np.corrcoef(inputs)[upper], np.corrcoef(codes)[upper])[0]
    assert functional_smoothness(inputs, codes) == pytest.approx(expected)


def test_smoothness_ignores_the_order_of_units_and_scale_and_offset_of_items(random):
    inputs = random.standard_normal((10, 20))
    codes = np.tanh(inputs @ random.standard_normal((20, 20)))
    plain = functional_smoothness(inputs, codes)
    shuffled = codes[:, random.permutation(20)]
    moved = 3 + random.uniform(0.5, 2, (10, 1)) * codes
    assert functional_smoothness(inputs, shuffled) == pytest.approx(plain)
    assert functional_smoothness(inputs, moved) == pytest.approx(plain)


def test_a_rotation_of_centred_items_keeps_all_similarities(random):
    inputs = random.standard_normal((10, 20))
    inputs -= inputs.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(np.column_stack([np.ones(20), random.standard_normal((20, 19))]))[0]
    turn = np.eye(20)
    turn[1:, 1:] = np.linalg.qr(random.standard_normal((19, 19)))[0]
    rotation = basis @ turn @ basis.T  # keeps the vector of ones, and so keeps items centred
    assert functional_smoothness(inputs, inputs @ rotation) == pytest.approx(1)


def test_gini_of_known_distributions():
    assert gini(np.ones(10)) == pytest.approx(0)
    one = np.zeros(10)
    one[3] = 5
    assert gini(one) == pytest.approx(0.9)  # 1 − 1/p
    assert gini(np.arange(1, 101)) == pytest.approx(0.33, abs=1e-12)  # (p − 1) / 3p
    assert gini(np.zeros(5)) == 0


def test_gini_is_half_the_relative_mean_difference(random):
    values = random.gamma(1.0, size=(3, 50))
    differences = np.abs(values[:, :, None] - values[:, None, :]).mean(axis=(1, 2))
    np.testing.assert_allclose(gini(values), differences / (2 * values.mean(axis=1)))


def test_gini_ignores_scale_and_order_and_shifts_what_is_negative(random):
    values = random.standard_normal(40)
    assert gini(values) == pytest.approx(gini(values - values.min()))
    assert gini(3 * values[::-1]) == pytest.approx(gini(values))
    assert gini(values.astype(np.float32)) == pytest.approx(gini(values), abs=1e-6)


def test_samples_of_overlapping_sets_overlap():
    names = [f"picture{i}.png" for i in range(200)]
    some = sample_items(names, 50, seed=1)
    assert len(some) == 50 and some == sorted(some, key=names.index)
    assert sample_items(names, 50, seed=1) == some
    assert sample_items(names, 50, seed=2) != some
    half = sample_items(names[:100], 50, seed=1)
    assert set(some) & set(names[:100]) <= set(half)
    assert sample_items(names[:10], 50) == names[:10]


def test_bootstrap_draws_within_each_label(random):
    counts = bootstrap_counts(list("aabbbc"), 500, random)
    assert (counts[:, :2].sum(axis=1) == 2).all() and (counts[:, 2:5].sum(axis=1) == 3).all()
    assert (counts[:, 5] == 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)


def test_the_interval_is_that_of_a_plain_bootstrap(random):
    first = similarity_matrix(random.standard_normal((12, 8)))
    second = similarity_matrix(random.standard_normal((12, 8)) + 0.5 * first @ np.ones((12, 8)))
    drawn = []
    for counts in bootstrap_counts([0] * 12, 200, np.random.default_rng(3)):
        chosen = np.repeat(np.arange(12), counts)
        i, j = np.triu_indices(12, 1)
        i, j = chosen[i], chosen[j]
        drawn.append(pearson(first[i, j][i != j], second[i, j][i != j]))
    expected = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose(bootstrap_interval(first, second, seed=3), expected, atol=1e-9)


def test_the_interval_leaves_out_items_without_similarity(random):
    first = similarity_matrix(random.standard_normal((10, 8)))
    holed = np.pad(first, (0, 1), constant_values=np.nan)
    assert bootstrap_interval(holed, holed) == bootstrap_interval(first, first)
    assert np.isnan(bootstrap_interval(first[:3, :3], first[:3, :3])).all()
