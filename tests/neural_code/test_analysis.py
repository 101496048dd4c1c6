"""Similarity analysis against rsatoolbox and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bids_encoder.rsa.compare import compare, compare_halves
from bids_encoder.rsa.similarity import pairs, pearson, similarity_matrix, spearman
from bids_encoder.rsa.statistics import (
    correlations,
    crossvalidated_distances,
    noise_ceiling,
    noise_variance,
    permutation_p,
    ranked,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def rdms_of(rows):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    return rsatoolbox.rdm.RDMs(np.atleast_2d(rows))


def test_crossvalidated_distances_are_rsatoolboxs_crossnobis(random):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    first, second = random.standard_normal((2, 7, 12))
    noise = random.uniform(0.5, 2, 12)
    data = rsatoolbox.data.Dataset(
        np.vstack([first, second]),
        obs_descriptors={"item": list(range(7)) * 2, "run": [0] * 7 + [1] * 7},
    )
    expected = rsatoolbox.rdm.calc_rdm(
        data, "crossnobis", descriptor="item", cv_descriptor="run", noise=np.diag(1 / noise)
    )
    found = crossvalidated_distances(first, second, noise)
    np.testing.assert_allclose(pairs(found), expected.dissimilarities[0], rtol=1e-10)


def test_crossvalidated_distances_are_not_biased_by_noise(random):
    patterns = random.standard_normal((6, 30))
    patterns[1] = patterns[0]
    found = np.mean(
        [
            crossvalidated_distances(*(patterns + 2 * random.standard_normal((2, 6, 30))))
            for _ in range(2000)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, crossvalidated_distances(patterns, patterns), atol=0.1)
    assert abs(found[0, 1]) < 0.1  # plainly squared, it would be 8


def test_noise_variance(random):
    signal = random.standard_normal((500, 3))
    first, second = signal + [0.5, 1, 2] * random.standard_normal((2, 500, 3))
    np.testing.assert_allclose(noise_variance(first, second), [0.25, 1, 4], rtol=0.15)


def test_noise_ceiling_is_rsatoolboxs(random):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    measured = random.standard_normal(45) + random.standard_normal((5, 45))
    expected = rsatoolbox.inference.boot_noise_ceiling(rdms_of(measured), method="corr")
    np.testing.assert_allclose(noise_ceiling(measured), expected, atol=1e-9)


def test_noise_ceiling_of_one_measurement_is_not_defined(random):
    assert np.isnan(noise_ceiling(random.standard_normal((1, 10)))).all()
    assert noise_ceiling(np.tile(random.standard_normal(10), (3, 1))) == pytest.approx((1, 1))


def test_correlations_are_rsatoolboxs_comparisons(random):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    models, data = random.standard_normal((3, 45)), random.standard_normal((2, 45)).round(1)
    expected = rsatoolbox.rdm.compare(rdms_of(models), rdms_of(data), method="corr")
    np.testing.assert_allclose(correlations(models, data), expected, atol=1e-10)
    expected = rsatoolbox.rdm.compare(rdms_of(models), rdms_of(data), method="spearman")
    np.testing.assert_allclose(correlations(ranked(models), ranked(data)), expected, atol=1e-10)


def test_p_counts_permutations_of_items(random):
    models, data = (pairs(similarity_matrix(random.standard_normal((k, 8, 10)))) for k in (2, 3))
    found = permutation_p(models, data, number=200, seed=4)
    repeated = np.random.default_rng(4)
    orders = [repeated.permutation(8) for _ in range(200)]
    square = np.zeros((8, 8))
    square[np.triu_indices(8, 1)] = data[2]
    square += square.T
    upper = np.triu_indices(8, 1)
    as_good = [
        pearson(models[1], square[np.ix_(order, order)][upper]) >= pearson(models[1], data[2])
        for order in orders
    ]
    assert found[1, 2] == pytest.approx((1 + sum(as_good)) / 201)


def test_p_of_the_truth_is_smallest_and_never_zero(random):
    truth = pairs(similarity_matrix(random.standard_normal((1, 12, 20))))
    found = permutation_p(truth, truth, number=99)
    assert found[0, 0] == pytest.approx(0.01)


def test_p_is_uniform_where_nothing_agrees(random):
    drawn = [
        permutation_p(*pairs(similarity_matrix(random.standard_normal((2, 1, 10, 6)))), number=99)
        for _ in range(300)
    ]
    assert stats.kstest(np.ravel(drawn), "uniform").pvalue > 0.01


def test_compare_finds_the_layer_that_a_region_follows(random):
    layers = random.standard_normal((3, 20, 50))
    patterns = [layers[k] @ random.standard_normal((50, 200)) for k in (0, 2)]
    noisy = [one + 3 * random.standard_normal(one.shape) for one in patterns]
    matrices = similarity_matrix(layers)
    found = compare(matrices, noisy, permutations=99)
    assert [int(np.argmax(one.pearson)) for one in found] == [0, 2]
    for one, values in zip(found, noisy, strict=True):
        similar = pairs(np.corrcoef(values))
        expected = [stats.pearsonr(pairs(layer), similar)[0] for layer in matrices]
        np.testing.assert_allclose(one.pearson, expected, atol=1e-10)
        np.testing.assert_allclose(
            one.spearman, [spearman(pairs(layer), similar) for layer in matrices], atol=1e-10
        )
        assert (one.interval[0] <= one.pearson).all() and (one.pearson <= one.interval[1]).all()
    assert found[0].p[0] == pytest.approx(0.01)


def test_compare_ignores_the_order_of_voxels_and_the_scale_of_items(random):
    matrices = similarity_matrix(random.standard_normal((2, 10, 30)))
    pattern = random.standard_normal((10, 40))
    moved = 2 + random.uniform(1, 3, (10, 1)) * pattern[:, random.permutation(40)]
    plain, same = compare(matrices, [pattern, moved], permutations=50)
    np.testing.assert_allclose(plain.pearson, same.pearson, atol=1e-10)
    np.testing.assert_allclose(plain.p, same.p)


def test_items_without_similarity_are_left_out(random):
    layers = random.standard_normal((2, 9, 30))
    patterns = random.standard_normal((9, 40))
    expected = compare(similarity_matrix(layers), [patterns], permutations=20)[0]
    holed, more = np.ones((2, 10, 30)), random.standard_normal((10, 40))
    holed[:, :9], more[:9] = layers, patterns
    found = compare(similarity_matrix(holed), [more], permutations=20)[0]
    np.testing.assert_allclose(found.pearson, expected.pearson)
    np.testing.assert_allclose(found.p, expected.p)
    nothing = compare(similarity_matrix(holed[:, 6:]), [more[6:]])[0]
    assert np.isnan(nothing.pearson).all() and np.isnan(nothing.interval).all()


def test_halves_give_a_ceiling_that_the_truth_keeps_to(random):
    truth = random.standard_normal((25, 60))
    first, second = truth + 0.7 * random.standard_normal((2, 25, 60))
    layers = similarity_matrix(np.stack([truth, random.standard_normal((25, 60))]))
    found = compare_halves(layers, first, second)
    low, high = found.ceiling
    assert low <= found.pearson[0] <= high + 0.02 and found.pearson[1] < low
    assert found.crossvalidated[0] > 0.4 > abs(found.crossvalidated[1])
    few = compare_halves(layers[:, :3, :3], first[:3], second[:3])
    assert np.isnan([*few.pearson, *few.ceiling, *few.crossvalidated]).all()
