import itertools

import numpy as np
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy import stats

from bids_encoder.fingerprints import agreement
from bids_encoder.fingerprints.agreement import (
    MIN_PARTICIPANTS,
    exact_sign_flips,
    most_frequent,
    one_sample_t,
    sign_agreement,
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


def test_sign_flips_written_out():
    data = values(6)
    observed = np.abs(stats.ttest_1samp(data, 0).statistic)
    highest = [
        np.abs(stats.ttest_1samp(data * np.array(signs)[:, None], 0).statistic).max()
        for signs in itertools.product((1, -1), repeat=6)
    ]
    expected = [np.mean(np.array(highest) >= t * (1 - 1e-9)) for t in observed]
    np.testing.assert_allclose(exact_sign_flips(data), expected)
    assert exact_sign_flips(data).min() >= 2 / 2**6


def test_all_flips_agree_with_random_flips_of_nilearn():
    data = values(10, 60)
    found = permuted_ols(
        np.ones((10, 1)), data, model_intercept=False, n_perm=4000, two_sided_test=True,
        random_state=0, output_type="dict",
    )  # fmt: skip
    p = exact_sign_flips(data)
    np.testing.assert_allclose(p, 10 ** -found["logp_max_t"][0], atol=0.03)
    assert (p[:2] < 0.05).all()


def test_blocks_of_voxels_give_the_same(monkeypatch):
    data = values(8, 50)
    whole = exact_sign_flips(data)
    monkeypatch.setattr(agreement, "_BLOCK", 128 * 3)
    np.testing.assert_allclose(exact_sign_flips(data), whole)


def test_voxels_that_cannot_be_tested_do_not_disturb_the_others():
    data = values()
    constant = np.insert(data, 2, 0.7, axis=1)
    found = exact_sign_flips(constant)
    assert np.isnan(found[2])
    np.testing.assert_allclose(np.delete(found, 2), exact_sign_flips(data))


def test_noise_is_found_significant_no_more_often_than_it_should():
    random = np.random.default_rng(5)
    lowest = [exact_sign_flips(random.normal(size=(6, 15))).min() for _ in range(600)]
    # 2 of 64 flips reach the lowest p there is, 0.03.
    assert np.mean(np.array(lowest) <= 0.05) == pytest.approx(2 / 64, abs=0.025)


def test_with_fewer_participants_no_p_could_be_low():
    data = values(MIN_PARTICIPANTS - 1)
    data[:, 0] = np.arange(1, MIN_PARTICIPANTS)
    assert exact_sign_flips(data).min() > 0.05
    assert exact_sign_flips(values(MIN_PARTICIPANTS)).min() <= 0.05
