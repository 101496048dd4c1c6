import itertools

import numpy as np
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy import stats

from bids_encoder.fingerprints import agreement
from bids_encoder.fingerprints.agreement import (
    MAX_EXACT,
    MIN_PARTICIPANTS,
    N_RANDOM,
    beyond_chance,
    most_frequent,
    one_sample_t,
    sign_agreement,
    sign_flip_test,
    sign_flips,
)


def values(n=7, n_voxels=9, seed=0):
    data = np.random.default_rng(seed).normal(0, 1, (n, n_voxels))
    data[:, 0] += 3
    data[:, 1] -= 3
    return data


def test_t_is_that_of_scipy():
    data = values()
    np.testing.assert_allclose(one_sample_t(data), stats.ttest_1samp(data, 0).statistic)


def test_t_of_participants_who_do_not_differ_is_no_number():
    data = values()
    data[:, 4] = 0.3
    data[:, 5] = 0
    assert np.flatnonzero(np.isnan(one_sample_t(data))).tolist() == [4, 5]


def test_sign_agreement_counts_who_has_the_sign_of_the_mean():
    data = np.array([[1, -2, 0.0], [1, -1, 0.0], [-0.5, 5, 1.0]])
    np.testing.assert_allclose(sign_agreement(data), [2 / 3, 1 / 3, 1 / 3])


def test_most_frequent_label_and_who_has_it():
    labels = np.array([[3, 1, 0, 0], [3, 2, 0, 2], [1, 2, 0, 0], [3, 1, 0, 0]])
    label, share = most_frequent(labels, 3)
    assert label.tolist() == [3, 1, 0, 2]
    assert share.tolist() == [0.75, 0.5, 0, 0.25]


def step_down(data):
    """All flips of all participants, voxels from the largest |t| down, written out."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(data))))[..., None]
    flipped = np.abs(stats.ttest_1samp(signs * data, 0, axis=1).statistic)
    own = np.abs(stats.ttest_1samp(data, 0).statistic)
    p, lowest = np.zeros(len(own)), 0
    for voxel in np.argsort(-own):
        still = own <= own[voxel]
        lowest = max(lowest, (flipped[:, still].max(axis=1) >= own[voxel] * (1 - 1e-9)).mean())
        p[voxel] = lowest
    return p


def test_sign_flips_written_out():
    data = values(6)
    found = sign_flip_test(data)
    np.testing.assert_allclose(found, step_down(data))
    assert found.min() >= 2 / 2**6


def test_what_is_strong_does_not_hide_what_is_weaker():
    random = np.random.default_rng(0)
    data = random.normal(0, 0.02, (7, 40)) + np.where(np.arange(40) < 20, 0.55, -0.35)
    p = sign_flip_test(data, noise_variance=0.16)
    assert (p <= 0.05).all()


def test_all_flips_agree_with_random_flips_of_nilearn():
    data = values(10, 60)
    found = permuted_ols(
        np.ones((10, 1)), data, model_intercept=False, n_perm=4000, two_sided_test=True,
        random_state=0, output_type="dict",
    )  # fmt: skip
    single_step = 10 ** -found["logp_max_t"][0]
    p = sign_flip_test(data)
    strongest = np.argmax(np.abs(one_sample_t(data)))
    assert p[strongest] == pytest.approx(single_step[strongest], abs=0.03)
    assert (p <= single_step + 0.03).all()
    assert (p[:2] < 0.05).all()


def test_blocks_of_voxels_give_the_same(monkeypatch):
    data = values(8, 50)
    whole = sign_flip_test(data)
    monkeypatch.setattr(agreement, "_BLOCK", 2**8 * 3)
    np.testing.assert_allclose(sign_flip_test(data), whole)


def test_voxels_that_cannot_be_tested_do_not_disturb_the_others():
    data = values()
    constant = np.insert(data, 2, 0.7, axis=1)
    found = sign_flip_test(constant)
    assert np.isnan(found[2])
    np.testing.assert_allclose(np.delete(found, 2), sign_flip_test(data))


def test_noise_is_found_significant_no_more_often_than_it_should():
    random = np.random.default_rng(5)
    lowest = [sign_flip_test(random.normal(size=(6, 15))).min() for _ in range(600)]
    # 2 of 64 flips reach the lowest p there is, 0.03.
    assert np.mean(np.array(lowest) <= 0.05) == pytest.approx(2 / 64, abs=0.025)


def test_with_fewer_participants_no_p_could_be_low():
    data = values(MIN_PARTICIPANTS - 1)
    data[:, 0] = np.arange(1, MIN_PARTICIPANTS)
    assert sign_flip_test(data).min() > 0.05
    assert sign_flip_test(values(MIN_PARTICIPANTS)).min() <= 0.05


def test_all_ways_of_flipping_or_random_ones():
    few = sign_flips(4)
    assert len(np.unique(few, axis=0)) == 16 and (few[0] == 1).all()
    many = sign_flips(MAX_EXACT + 1)
    assert many.shape == (N_RANDOM, MAX_EXACT + 1) and (many[0] == 1).all()
    assert np.abs(many[1:].mean(axis=0)).max() < 0.1
    np.testing.assert_array_equal(many, sign_flips(MAX_EXACT + 1))


def test_one_sided_finds_one_side():
    p = sign_flip_test(values(8), one_sided=True)
    assert p[0] <= 0.05 and p[1] > 0.9
    assert p[0] == pytest.approx(sign_flip_test(values(8))[0] / 2, abs=2 / 2**8)


def test_participants_who_all_agree_are_tested_where_the_variance_of_noise_is_known():
    data = values(8)
    data[:, 4] = 1
    assert np.isnan(sign_flip_test(data)[4])
    assert sign_flip_test(data, noise_variance=1.0)[4] <= 0.05
    # In noise that is as coarse, a few who agree are no wonder.
    assert sign_flip_test(data, noise_variance=25.0)[4] > 0.05


def coarse_noise(random, n, n_voxels, share=0.4):
    """Places of the best layer of noise: often the first of six, never evenly spread."""
    weights = np.array([share, *np.full(5, (1 - share) / 5)])
    return random.choice(np.linspace(-1, 1, 6), p=weights, size=(n, n_voxels)), weights


@pytest.mark.parametrize("n", [8, 20])
def test_coarse_noise_whose_mean_is_not_0_is_not_found(n):
    random = np.random.default_rng(n)
    found = {"against 0": 0, "against chance": 0}
    for _ in range(60):
        places, weights = coarse_noise(random, n, 200)
        steps = np.linspace(-1, 1, 6)
        mean = weights @ steps
        variance = weights @ (steps - mean) ** 2
        found["against 0"] += np.nanmin(sign_flip_test(places)) <= 0.05
        found["against chance"] += (
            sign_flip_test(places - mean, noise_variance=variance).min() <= 0.05
        )
    assert found["against 0"] > 10
    assert found["against chance"] <= 8  # of 60, where 3 are expected


def test_beyond_chance_is_further_from_0_on_its_side():
    random = np.random.default_rng(3)
    truths = np.array([-0.5, -0.2, -0.1, 0.0, 0.4])  # chance is -0.2
    data = truths + random.normal(0, 0.05, (10, 5))
    p = beyond_chance(data, np.full(10, -0.2), 0.05**2)
    assert (p[[0, 4]] <= 0.05).all() and (p[[1, 2, 3]] > 0.05).all()
    assert p[2] == 1
