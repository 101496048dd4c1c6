import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_encoder.fingerprints.profile import best_layer, normalized, slope, trend
from bids_encoder.grids.neighbourhood import smooth_in_mask


def test_normalized_profiles_sum_to_one_without_their_negative_scores():
    profiles = normalized(np.array([[0.2, -0.5], [0.6, 0.1], [-0.3, 0.3]]))
    np.testing.assert_allclose(profiles, [[0.25, 0], [0.75, 0.25], [0, 0.75]])


def test_a_voxel_that_no_layer_predicts_has_no_profile():
    scores = np.array([[-0.1, np.nan, 0.1], [-0.2, np.nan, 0.1]])
    assert np.isnan(normalized(scores)).all(axis=0).tolist() == [True, True, False]
    assert np.isnan(slope(scores)).tolist() == [True, True, False]


@pytest.mark.parametrize("n_layers", [2, 5, 8])
def test_slope_runs_from_minus_one_for_the_first_layer_to_one_for_the_last(n_layers):
    np.testing.assert_allclose(slope(np.eye(n_layers)), trend(n_layers))
    np.testing.assert_allclose(slope(np.ones((n_layers, 1))), 0, atol=1e-12)


def test_smoothing_far_from_the_edge_is_an_ordinary_gaussian():
    volume = np.random.default_rng(0).normal(size=(21, 21, 21))
    mask = np.ones(volume.shape, dtype=bool)
    smoothed = smooth_in_mask(volume[mask][None], mask, 1.0).reshape(volume.shape)
    expected = gaussian_filter(volume, 1.0)
    np.testing.assert_allclose(smoothed[8:-8, 8:-8, 8:-8], expected[8:-8, 8:-8, 8:-8], atol=1e-10)


def test_smoothing_keeps_a_constant_map_constant_up_to_the_edge_and_around_holes():
    mask = np.random.default_rng(1).random((9, 8, 7)) > 0.3
    scores = np.full((2, mask.sum()), 0.7)
    scores[:, 5] = np.nan
    smoothed = smooth_in_mask(scores, mask, 1.5)
    assert np.isnan(smoothed[:, 5]).all()
    np.testing.assert_allclose(np.delete(smoothed, 5, axis=1), 0.7)


def test_best_layer_recovers_a_gradient_of_layers_under_noise():
    mask = np.ones((30, 12, 12), dtype=bool)
    true = np.digitize(np.indices(mask.shape)[0], [10, 20])
    scores = 0.3 * (np.arange(3)[:, None] == true[mask]) + np.random.default_rng(0).normal(
        0, 0.2, (3, mask.sum())
    )
    found = best_layer(smooth_in_mask(scores, mask)).reshape(mask.shape) - 1
    inside = np.ones(30, dtype=bool)
    inside[[8, 9, 10, 11, 18, 19, 20, 21]] = False  # smoothing blurs the borders
    assert (found == true)[inside].mean() > 0.99


def test_best_layer_is_zero_where_nothing_is_predicted():
    assert (best_layer(np.full((3, 64), -0.1)) == 0).all()
    assert (best_layer(np.full((3, 64), np.nan)) == 0).all()
