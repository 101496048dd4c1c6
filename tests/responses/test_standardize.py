"""Z-scores over rows."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

from bids_encoder.responses.standardize import zscore


def test_agrees_with_scipy_even_on_a_high_baseline():
    values = np.random.default_rng(0).normal(20_000, 30, (50, 8)).astype(np.float32)
    scores = zscore(values)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, stats.zscore(values.astype(np.float64)), atol=1e-4)


def test_constant_and_nan_columns_are_nan_without_warnings():
    values = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    values[:, 1] = 12345.678
    values[3, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = zscore(values)
    np.testing.assert_array_equal(np.isnan(scores).all(axis=0), [False, True, True, False])
    assert np.isfinite(scores[:, [0, 3]]).all()


def test_input_is_left_alone():
    values = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    before = values.copy()
    zscore(values)
    np.testing.assert_array_equal(values, before)
