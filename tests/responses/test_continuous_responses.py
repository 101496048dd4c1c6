"""Drift and confounds leave a run in one projection, as nilearn takes them out."""

from __future__ import annotations

import numpy as np
import pytest
from nilearn.signal import clean, create_cosine_drift
from scipy import stats

from bids_encoder.errors import DataError
from bids_encoder.responses.continuous import continuous_responses
from bids_encoder.responses.drift import cosine_drift, nuisance_basis

T, TR = 120, 2.0


@pytest.fixture
def bold():
    rng = np.random.default_rng(0)
    slow = np.linspace(0, 1, T)[:, None] ** 2 * 80
    return (rng.normal(9000, 20, (T, 30)) + slow).astype(np.float32)


@pytest.fixture
def confounds():
    return np.random.default_rng(1).standard_normal((T, 7)).cumsum(axis=0)


@pytest.mark.parametrize("high_pass", [0.01, 0.004, 1 / 128])
def test_drift_is_nilearns(high_pass):
    reference = create_cosine_drift(high_pass, TR * np.arange(T))[:, :-1]
    np.testing.assert_allclose(cosine_drift(T, TR, high_pass), reference, atol=1e-12)


def test_agrees_with_nilearn(bold, confounds):
    cleaned = clean(
        bold.astype(np.float64),
        detrend=False,
        standardize=None,
        confounds=np.hstack([confounds, cosine_drift(T, TR, 0.01)]),
        filter=False,
        t_r=TR,
    )
    ours = continuous_responses(bold, TR, high_pass=0.01, confounds=confounds)
    np.testing.assert_allclose(ours, stats.zscore(cleaned), atol=2e-4)


def test_agrees_with_least_squares(bold, confounds):
    design = np.hstack([np.ones((T, 1)), cosine_drift(T, TR, 0.01), confounds])
    weights = np.linalg.lstsq(design, bold.astype(np.float64), rcond=None)[0]
    expected = stats.zscore(bold - design @ weights)
    ours = continuous_responses(bold, TR, high_pass=0.01, confounds=confounds)
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_no_drift_where_the_confounds_have_it(bold):
    ours = continuous_responses(bold, TR, high_pass=None)
    np.testing.assert_allclose(ours, stats.zscore(bold.astype(np.float64)), atol=2e-4)


def test_repeated_and_constant_confounds_change_nothing(bold, confounds):
    doubled = np.hstack([confounds, confounds, np.ones((T, 1)), confounds[:, :1] * -3])
    once = continuous_responses(bold, TR, confounds=confounds)
    np.testing.assert_allclose(continuous_responses(bold, TR, confounds=doubled), once, atol=1e-4)


def test_voxels_without_anything_left_are_nan(bold, confounds):
    bold[:, 2] = np.nan
    bold[:, 3] = 9000 + 10 * confounds[:, 0]
    ours = continuous_responses(bold, TR, confounds=confounds)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(ours).any(axis=0)), [2, 3])
    assert np.isnan(ours[:, 2:4]).all()


def test_too_many_confounds_are_refused():
    with pytest.raises(DataError) as error:
        nuisance_basis(20, TR, 0.01, np.random.default_rng(0).standard_normal((20, 30)))
    assert "20 independent regressors for 20 volumes" in str(error.value)
    assert "--confounds" in str(error.value)
