"""Shares of variance over all held-out samples together: what small folds cannot bias."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.metrics import r2_score as sklearn_r2

from bids_encoder.encoding.folds import Fold, make_folds
from bids_encoder.encoding.joint import fit_joint
from bids_encoder.encoding.ridge import PENALTIES, fit, linear_kernel
from bids_encoder.encoding.scores import SMALL_FOLD, are_small, pooled_r2

N = 60


def make_data(p=12, n_voxels=15, seed=0, n=N):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) + 2
    responses = features @ rng.standard_normal((p, n_voxels)) / np.sqrt(p)
    responses += rng.uniform(0.3, 3, n_voxels) * rng.standard_normal((n, n_voxels))
    return features, responses


def held_out_predictions(features, responses, folds, penalty):
    """What scikit-learn's models predict of the rows that they have not seen, and their means."""
    predicted, means = np.empty_like(responses), np.empty_like(responses)
    for fold in folds:
        model = Ridge(alpha=penalty).fit(features[fold.train], responses[fold.train])
        predicted[fold.test] = model.predict(features[fold.test]).reshape(len(fold.test), -1)
        means[fold.test] = responses[fold.train].mean(0)
    return predicted, means


@pytest.mark.parametrize("p", [12, 200], ids=["p < n", "p > n"])
def test_with_folds_of_equal_means_it_is_sklearns_r2_of_all_predictions(p):
    features, responses = make_data(p)
    folds = make_folds(np.arange(N) // 10)
    for fold in folds:
        responses[fold.test] -= responses[fold.test].mean(0)
    got = fit(features, responses, folds, penalties=np.array([0.1]))
    predicted, _ = held_out_predictions(features, responses, folds, 0.1 * got.unit)
    expected = sklearn_r2(responses, predicted, multioutput="raw_values")
    np.testing.assert_allclose(got.pooled_r2, expected, atol=1e-4)
    np.testing.assert_allclose(pooled_r2(responses, predicted, folds), expected, atol=1e-10)


@pytest.mark.parametrize("groups", [np.arange(N) // 3, np.arange(N) % 7, np.arange(N) // 25])
def test_errors_are_compared_with_those_of_the_training_mean(groups):
    features, responses = make_data()
    responses += (np.arange(N) > 40)[:, None]  # folds have means of their own
    folds = make_folds(groups, max_folds=20)
    got = fit(features, responses, folds, penalties=np.array([0.1]))
    predicted, means = held_out_predictions(features, responses, folds, 0.1 * got.unit)
    errors = [
        mean_squared_error(responses, guess, multioutput="raw_values")
        for guess in (predicted, means)
    ]
    np.testing.assert_allclose(got.pooled_r2, 1 - errors[0] / errors[1], atol=1e-4)
    np.testing.assert_allclose(pooled_r2(responses, predicted, folds), got.pooled_r2, atol=1e-4)


def test_nested_scores_are_those_of_penalties_chosen_inside():
    features, responses = make_data()
    folds = make_folds(np.arange(N) // 15)
    got = fit(features, responses, folds, nested=True)
    predicted = np.empty_like(responses)
    for t, fold in enumerate(folds):
        rows = fold.train
        inner = [
            Fold(np.flatnonzero(~np.isin(rows, o.test)), np.flatnonzero(np.isin(rows, o.test)))
            for s, o in enumerate(folds)
            if s != t
        ]
        centred = features[rows] - features[rows].mean(0)
        unit = np.square(centred).sum() / len(rows)
        chosen = fit(
            features[rows], responses[rows], inner, penalties=PENALTIES * got.unit / unit
        ).penalty
        for v, penalty in enumerate(chosen):
            model = Ridge(alpha=penalty * unit).fit(features[rows], responses[rows, v])
            predicted[fold.test, v] = model.predict(features[fold.test])
    np.testing.assert_allclose(got.pooled_r2, pooled_r2(responses, predicted, folds), atol=1e-3)


def test_voxels_without_score_have_none():
    features, responses = make_data()
    responses[:, 0], responses[3, 1] = 1.0, np.nan
    got = fit(features, responses, make_folds(np.arange(N) // 10))
    np.testing.assert_array_equal(np.isnan(got.pooled_r2), ~got.valid)


def test_noise_scores_nothing_however_small_the_folds_are():
    """r² against the fold's own mean is far below 0, where nothing is predicted at all."""
    rng = np.random.default_rng(1)
    features, noise = rng.standard_normal((N, 20)), rng.standard_normal((N, 2000))
    found = {
        size: fit(
            features,
            noise,
            make_folds(np.arange(N) // size, max_folds=N),
            penalties=np.array([1e5]),
        )
        for size in (4, 6, 30)
    }
    for size, got in found.items():
        assert abs(got.pooled_r2.mean()) < 0.005, size
        assert got.r2.mean() < -1 / (size - 1), size
    assert found[6].r2.mean() < -0.3


def test_what_predicts_the_signal_reaches_the_ceiling_in_small_folds():
    """Half of the variance is signal, and the features are the signal."""
    rng = np.random.default_rng(2)
    signal = rng.standard_normal((240, 1))
    responses = signal + rng.standard_normal((240, 1500))
    for size, tolerance in ((6, 0.02), (40, 0.02)):
        folds = make_folds(np.arange(240) // size, max_folds=240)
        got = fit(signal, responses, folds, penalties=np.array([1e-3]), keep_weights=False)
        assert got.pooled_r2.mean() == pytest.approx(0.5, abs=tolerance)
        assert (got.r2.mean() < 0.4) == (size == 6)


def test_the_joint_model_has_the_same_measure():
    features, responses = make_data(n_voxels=6)
    folds = make_folds(np.arange(N) // 10)
    for fold in folds:
        responses[fold.test] -= responses[fold.test].mean(0)
    kernel = linear_kernel(features)
    got = fit_joint([kernel], responses, folds, penalties=np.array([0.1]), n_draws=0)
    centred = features - features.mean(0)
    unit = np.square(centred).sum() / N
    predicted, _ = held_out_predictions(features, responses, folds, 0.1 * unit)
    expected = sklearn_r2(responses, predicted, multioutput="raw_values")
    np.testing.assert_allclose(got.pooled_r2, expected, atol=1e-3)


def test_folds_are_small_where_one_is():
    rows = np.arange(3 * SMALL_FOLD)
    assert not are_small(make_folds(rows // SMALL_FOLD))
    assert are_small(make_folds(np.minimum((rows + 1) // SMALL_FOLD, 2)))
