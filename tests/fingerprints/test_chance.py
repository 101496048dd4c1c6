import numpy as np
import pytest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.permute import permutations, permute
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.fingerprints.chance import Level, Neighbourhood, chance_level, neighbourhoods
from bids_encoder.fingerprints.profile import best_layer, places, slope
from bids_encoder.grids.neighbourhood import smooth_in_mask

FOLDS = make_folds(np.repeat([0, 1, 2], 20))
MASK = np.ones((7, 7, 7), bool)


def kernels(seed=0):
    """A layer on its own, and three that are alike."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((60, 40))
    alike = [common + 0.3 * random.standard_normal((60, 40)) for _ in range(3)]
    return [linear_kernel(one) for one in (random.standard_normal((60, 200)), *alike)]


def around(seeds):
    alone = np.zeros((len(seeds), MASK.sum()))
    alone[np.arange(len(seeds)), seeds] = 1
    return neighbourhoods(smooth_in_mask(alone, MASK), seeds)


def test_a_neighbourhood_smooths_its_voxel():
    seed = int(np.ravel_multi_index((3, 3, 3), MASK.shape))
    [one] = around(np.array([seed]))
    assert one.voxels[0] == seed and len(np.unique(one.voxels)) == len(one.voxels)
    values = np.random.default_rng(0).standard_normal((200, MASK.sum()))
    exact = smooth_in_mask(values, MASK)[:, seed]
    assert np.corrcoef(values[:, one.voxels] @ one.weights, exact)[0, 1] > 0.97


def test_a_neighbourhood_has_no_voxels_without_weight():
    [one] = neighbourhoods(np.array([[0.0, 0.5, 1.0, 0.01, np.nan]]), np.array([2]))
    assert one.voxels.tolist() == [2, 1]
    np.testing.assert_allclose(one.weights, [2 / 3, 1 / 3])


def test_it_is_what_permuted_responses_give():
    responses = np.random.default_rng(1).standard_normal((60, 3)).astype("f")
    nearby = [
        Neighbourhood(np.array([0, 1]), np.array([0.8, 0.2])),
        Neighbourhood(np.array([2]), np.ones(1)),
    ]
    found = chance_level(kernels(), responses, FOLDS, nearby, n_permutations=2, seed=4)

    def permuted(one, order):
        return permute(responses, one.voxels, np.repeat(order[:, None], len(one.voxels), 1), FOLDS)

    orders = permutations(FOLDS, 4, rng=np.random.default_rng(4)).T
    own, smoothed = [], []
    for one, order in zip([nearby[0]] * 2 + [nearby[1]] * 2, orders, strict=True):
        r = np.stack([fit(None, permuted(one, order), FOLDS, kernel=k).r
                      for k in kernels()])  # fmt: skip
        own.append(r)
        smoothed.append(r @ one.weights)
    own, smoothed = np.concatenate(own, axis=1), np.stack(smoothed, axis=1)
    np.testing.assert_allclose([one.mean for one in found.r], own.mean(axis=1), atol=1e-6)
    assert found.slope.mean == pytest.approx(np.nanmean(slope(own)), abs=1e-5)
    expected = places(best_layer(smoothed), 4)
    assert found.place == Level.of(expected)
    assert found.place.draws == np.isfinite(expected).sum()


def test_it_is_that_of_noise_which_is_not_0():
    """In noise without permutations slope and place are the same as with them."""
    random = np.random.default_rng(2)
    noise = random.standard_normal((60, MASK.sum())).astype("f")
    r = np.stack([fit(None, noise, FOLDS, kernel=k, keep_weights=False).r for k in kernels()])
    seeds = np.arange(10, MASK.sum(), 57)
    found = chance_level(kernels(), noise, FOLDS, around(seeds), n_permutations=8)
    assert found.slope.mean == pytest.approx(np.nanmean(slope(r)), abs=0.1)
    place = places(best_layer(smooth_in_mask(r, MASK)), 4)
    assert found.place.mean == pytest.approx(np.nanmean(place), abs=0.35)
    assert found.place.mean < -0.1 and found.slope.mean < -0.1


def test_values_that_are_not_there_do_not_count():
    one = Level.of(np.array([1.0, np.nan, 3.0]))
    assert (one.mean, one.deviation, one.draws) == (2, 1, 2)
    assert Level.of(np.array([np.nan])).draws == 0
