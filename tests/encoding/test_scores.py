from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import r2_score as sklearn_r2

from bids_encoder.encoding.scores import correlation, r2_score


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((40, 30)) + 100
    return responses, responses + rng.standard_normal((40, 30)) * np.linspace(0.1, 3, 30)


def test_r2_is_sklearns(pair):
    np.testing.assert_allclose(r2_score(*pair), sklearn_r2(*pair, multioutput="raw_values"))


def test_correlation_is_scipys(pair):
    expected = [pearsonr(y, p).statistic for y, p in zip(pair[0].T, pair[1].T, strict=True)]
    np.testing.assert_allclose(correlation(*pair), expected)


def test_float32_is_as_good(pair):
    small = [values.astype("f") for values in pair]
    np.testing.assert_allclose(r2_score(*small), r2_score(*pair), atol=1e-4)
    np.testing.assert_allclose(correlation(*small), correlation(*pair), atol=1e-4)


def test_r2_against_a_given_mean(pair):
    responses, predictions = pair
    mean = np.full(30, 99.0)
    expected = 1 - np.sum((responses - predictions) ** 2, 0) / np.sum((responses - 99) ** 2, 0)
    np.testing.assert_allclose(r2_score(responses, predictions, mean=mean), expected)


def test_perfect_and_mean_predictions(pair):
    responses, _ = pair
    np.testing.assert_allclose(r2_score(responses, responses), 1)
    np.testing.assert_allclose(correlation(responses, responses), 1)
    flat = np.broadcast_to(responses.mean(0), responses.shape)
    np.testing.assert_allclose(r2_score(responses, flat), 0, atol=1e-12)
    assert np.isnan(correlation(responses, flat)).all()


def test_what_cannot_be_scored_is_nan(pair):
    responses, predictions = (values.copy() for values in pair)
    responses[:, 0] = 7
    responses[3, 1] = np.nan
    predictions[3, 2] = np.inf
    for score in (r2_score, correlation):
        got = score(responses, predictions)
        assert np.isnan(got[:3]).all()
        assert np.isfinite(got[3:]).all()


def test_shapes_must_agree(pair):
    with pytest.raises(ValueError, match="equal"):
        r2_score(pair[0], pair[1][1:])
