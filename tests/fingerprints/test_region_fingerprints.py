import numpy as np
import pytest

from bids_encoder.fingerprints import regions
from bids_encoder.fingerprints.profile import best_layer, slope, trend
from bids_encoder.fingerprints.regions import region_fingerprint, relative
from bids_encoder.grids.neighbourhood import smooth_in_mask


def noisy(n=60, n_layers=5, seed=0):
    return np.random.default_rng(seed).normal(0.2, 0.1, (n_layers, n))


def naive(scores, share=0.25):
    """The definition, voxel by voxel."""
    order = sorted(range(scores.shape[1]), key=lambda v: -max(scores[:, v]))
    best = order[: max(1, -int(-share * len(order) // 1))]
    means = [sum(row[v] for v in best) / len(best) for row in scores]
    return np.array([mean / max(means) for mean in means]), len(best)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 60, 101])
def test_the_best_quarter_is_averaged_and_divided_by_its_maximum(n):
    scores = noisy(n)
    found = region_fingerprint(scores)
    expected, n_best = naive(scores)
    np.testing.assert_allclose(found.values, expected)
    assert (found.n_voxels, found.n_best) == (n, n_best)
    assert found.values.max() == 1
    np.testing.assert_allclose(found.score / found.score.max(), found.values)


def test_voxels_without_a_score_do_not_count():
    scores = noisy()
    with_holes = np.insert(scores, [3, 30], np.nan, axis=1)
    one, other = region_fingerprint(scores), region_fingerprint(with_holes)
    np.testing.assert_allclose(one.values, other.values)
    np.testing.assert_allclose(one.low, other.low)
    assert other.n_voxels == scores.shape[1]


def test_a_region_without_scores_or_without_prediction_has_no_fingerprint():
    nothing = region_fingerprint(np.full((3, 8), np.nan))
    assert np.isnan(nothing.values).all() and nothing.n_voxels == 0
    negative = region_fingerprint(-np.ones((3, 8)))
    assert np.isnan([negative.values, negative.low, negative.high]).all()
    assert (negative.score == -1).all()


def test_the_interval_is_that_of_a_bootstrap_written_out():
    scores = noisy(40)
    random = np.random.default_rng(1)
    draws = np.array([naive(scores[:, random.integers(40, size=40)])[0] for _ in range(2000)])
    found = region_fingerprint(scores, draws=4000)
    np.testing.assert_allclose(found.low, np.quantile(draws, 0.025, axis=0), atol=0.03)
    np.testing.assert_allclose(found.high, np.quantile(draws, 0.975, axis=0), atol=0.03)
    shares = (draws == 1).mean(axis=0)
    np.testing.assert_allclose(found.winners, shares, atol=0.04)
    assert found.winners.sum() == pytest.approx(1)


def test_the_interval_covers_the_truth_of_independent_voxels():
    truth = np.array([0.8, 1.0, 0.6])
    amplitude = np.random.default_rng(2).gamma(4, 1, 20_000)
    population = truth[:, None] * amplitude
    noise = np.random.default_rng(3)
    expected = relative(np.mean(population[:, amplitude > np.quantile(amplitude, 0.75)], axis=1))
    covered = []
    for seed in range(150):
        voxels = noise.choice(20_000, 120)
        found = region_fingerprint(
            population[:, voxels] + noise.normal(0, 0.3, (3, 120)), draws=200, seed=seed
        )
        covered.append((found.low <= expected + 1e-9) & (expected <= found.high + 1e-9))
    assert (np.mean(covered, axis=0) > 0.88).all()


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch):
    scores = noisy()
    one, other = region_fingerprint(scores, seed=(0, 4)), region_fingerprint(scores, seed=(0, 4))
    np.testing.assert_array_equal(one.low, other.low)
    assert (region_fingerprint(scores, seed=(0, 5)).low != one.low).any()
    monkeypatch.setattr(regions, "_BLOCK", 7 * scores.shape[1])
    np.testing.assert_allclose(region_fingerprint(scores).low, one.low, atol=0.03)


def simulated_gradient(noise=0.06, n_layers=8):
    """Scores of a brain whose best layer runs from the first to the last along x."""
    mask = np.ones((48, 10, 10), dtype=bool)
    place = (n_layers - 1) * np.indices(mask.shape)[0][mask] / 47
    tuning = np.exp(-((np.arange(n_layers)[:, None] - place) ** 2) / (2 * 2.0**2))
    scores = 0.1 + 0.4 * tuning
    random = np.random.default_rng(0)
    return mask, place, scores + random.normal(0, noise, scores.shape)


def test_best_layer_and_slope_maps_recover_a_gradient_of_layers():
    mask, place, scores = simulated_gradient()
    found = best_layer(smooth_in_mask(scores, mask)) - 1
    assert (np.abs(found - place) <= 1).mean() > 0.97
    assert np.corrcoef(found, place)[0, 1] > 0.98
    assert np.corrcoef(slope(scores), place)[0, 1] > 0.9
    along = [slope(scores)[np.round(place) == layer].mean() for layer in range(8)]
    assert (np.diff(along) > 0).all()
    # Without noise, the slope is what its definition gives.
    _, _, clean = simulated_gradient(noise=0)
    np.testing.assert_allclose(slope(clean), trend(8) @ (clean / clean.sum(axis=0)))


def test_region_fingerprints_recover_the_layer_that_each_region_follows():
    _, place, scores = simulated_gradient()
    for layer in range(8):
        found = region_fingerprint(scores[:, np.round(place) == layer])
        assert np.argmax(found.values) == layer
        assert found.winners[layer] > 0.95
