from __future__ import annotations

import numpy as np
import pytest
import torch
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.scoring import r2_score as himalaya_r2
from sklearn.linear_model import Ridge

from bids_encoder.encoding import ridge
from bids_encoder.encoding.folds import Fold, make_folds
from bids_encoder.encoding.memory import make_plan
from bids_encoder.encoding.ridge import PENALTIES, fit, linear_kernel, predict
from bids_encoder.encoding.scores import correlation, r2_score
from bids_encoder.errors import DataError

N = 90


def make_data(p, n_voxels=25, seed=0, scattered=True):
    """Features, responses of all qualities, folds by three or more groups of unequal size."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((N, p)) * (np.arange(p) + 1) ** -0.3 + 2
    weights = rng.standard_normal((p, n_voxels)) / np.sqrt(p)
    responses = features @ weights * rng.uniform(0, 3, n_voxels)
    responses += rng.standard_normal((N, n_voxels)) + 5
    groups = np.repeat([4, 1, 7, 2], [30, 25, 20, 15])
    if scattered:
        groups = rng.permutation(groups)
    return features, responses, make_folds(groups)


def sklearn_folds(features, responses, folds, penalty):
    """One model a fold, fitted and scored by scikit-learn."""
    models = [Ridge(alpha=penalty).fit(features[f.train], responses[f.train]) for f in folds]
    pairs = [
        (responses[f.test], m.predict(features[f.test])) for f, m in zip(folds, models, strict=True)
    ]
    return models, pairs


@pytest.fixture(params=[300, 20], ids=["p > n", "p < n"])
def data(request):
    return make_data(request.param)


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 20, 1e5])
def test_fixed_penalty_is_the_mean_of_sklearn_fold_models(data, penalty):
    features, responses, folds = data
    got = fit(features, responses, folds, penalties=np.array([penalty]))
    models, pairs = sklearn_folds(features, responses, folds, penalty * got.unit)
    np.testing.assert_allclose(got.r2, np.mean([r2_score(*p) for p in pairs], 0), atol=1e-4)
    np.testing.assert_allclose(got.r, np.mean([correlation(*p) for p in pairs], 0), atol=1e-4)
    new = np.random.default_rng(1).standard_normal((12, features.shape[1])) + 2
    expected = np.mean([m.predict(new) for m in models], 0)
    found = predict(got.dual, got.intercept, linear_kernel(new, features))
    np.testing.assert_allclose(found, expected, atol=2e-4 * responses.std())
    weights = features.T @ got.dual.astype(float)
    expected = np.mean([m.coef_ for m in models], 0).T
    np.testing.assert_allclose(weights, expected, atol=1e-4 * np.abs(expected).max())


def test_unit_is_the_mean_diagonal_of_the_centred_kernel(data):
    features, responses, folds = data
    centred = features - features.mean(0)
    expected = np.trace(centred @ centred.T) / N
    assert fit(features, responses, folds).unit == pytest.approx(expected, rel=1e-5)


def test_dual_coefficients_sum_to_zero(data):
    dual = fit(*data).dual
    assert np.abs(dual.sum(0)).max() < 1e-4 * np.abs(dual).sum(0).max()


def test_penalties_and_scores_are_himalayas(data):
    features, responses, folds = data
    got = fit(features, responses, folds)
    model = KernelRidgeCV(
        alphas=PENALTIES * got.unit,
        cv=[(f.train, f.test) for f in folds],
        fit_intercept=True,
        solver_params={"score_func": himalaya_r2},
    ).fit(features, responses)
    np.testing.assert_allclose(got.penalty * got.unit, model.best_alphas_, rtol=1e-5)
    np.testing.assert_allclose(got.r2, model.cv_scores_.ravel(), atol=1e-4)


def test_kernel_and_features_agree(data):
    features, responses, folds = data
    one = fit(features, responses, folds)
    other = fit(None, responses, folds, kernel=features @ features.T)
    np.testing.assert_array_equal(one.penalty, other.penalty)
    np.testing.assert_allclose(one.r2, other.r2, atol=1e-4)
    np.testing.assert_allclose(one.r, other.r, atol=1e-4)
    new = linear_kernel(features[:9] * 0.7, features)
    np.testing.assert_allclose(
        predict(one.dual, one.intercept, new), predict(other.dual, other.intercept, new), atol=1e-3
    )


def test_search_finds_what_the_whole_grid_has():
    features, responses, folds = make_data(300, n_voxels=200)
    got = fit(features, responses, folds)
    scores = np.array(
        [
            fit(features, responses, folds, penalties=np.array([a]), keep_weights=False).r2
            for a in PENALTIES
        ]
    )
    assert np.mean(got.penalty == PENALTIES[scores.argmax(0)].astype("f")) >= 0.995
    np.testing.assert_allclose(got.r2, scores.max(0), atol=1e-3)


def test_nested_scores_are_sklearns(data):
    features, responses, folds = data
    got = fit(features, responses, folds, nested=True)
    plain = fit(features, responses, folds)
    expected = []
    for fold in folds:
        inner = [
            Fold(np.setdiff1d(fold.train, other.test), other.test)
            for other in folds
            if other is not fold
        ]
        scores = [
            np.mean([r2_score(*p) for p in sklearn_folds(features, responses, inner, a)[1]], 0)
            for a in PENALTIES * got.unit
        ]
        best = np.argmax(scores, 0)
        predictions = np.empty((len(fold.test), responses.shape[1]))
        for j in np.unique(best):
            model = Ridge(alpha=PENALTIES[j] * got.unit)
            model.fit(features[fold.train], responses[fold.train][:, best == j])
            predictions[:, best == j] = model.predict(features[fold.test]).reshape(
                len(fold.test), -1
            )
        expected.append(r2_score(responses[fold.test], predictions))
    np.testing.assert_allclose(got.r2, np.mean(expected, 0), atol=1e-4)
    np.testing.assert_array_equal(got.penalty, plain.penalty)
    np.testing.assert_array_equal(got.dual, plain.dual)
    assert got.r2.mean() < plain.r2.mean()


def test_nested_with_two_folds_cuts_the_training_rows_into_blocks():
    features, responses, _ = make_data(300)
    folds = make_folds(np.repeat([0, 1], N // 2))
    got = fit(features, responses, folds, nested=True)
    assert np.isfinite(got.r2).all()
    assert got.r2.mean() < fit(features, responses, folds).r2.mean()


def test_voxels_that_cannot_be_fitted_are_nan_and_leave_the_others_alone(data):
    features, responses, folds = data
    expected = fit(features, responses, folds)
    spoilt = responses.copy()
    spoilt[:, 0] = 3.0
    spoilt[5, 1] = np.nan
    spoilt[7, 2] = np.inf
    spoilt[folds[1].test, 3] = 0.0
    spoilt[:, 4] = 1e4 + 1e-7 * spoilt[:, 4]
    got = fit(features, spoilt, folds)
    assert got.valid.tolist() == [False] * 5 + [True] * 20
    assert got.n_valid == 20
    for values in (got.r2, got.r, got.penalty, got.intercept, *got.dual):
        assert np.isnan(values[:5]).all()
    np.testing.assert_allclose(got.r2[5:], expected.r2[5:], atol=1e-6)
    np.testing.assert_allclose(got.dual[:, 5:], expected.dual[:, 5:], rtol=1e-4, atol=1e-6)


def test_no_voxel_can_be_fitted(data):
    features, responses, folds = data
    got = fit(features, np.zeros_like(responses), folds, nested=True)
    assert got.n_valid == 0
    assert np.isnan(got.r2).all()
    assert (got.at_low_edge, got.at_high_edge) == (0, 0)


def test_edges_of_the_grid_are_counted():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N, 300))
    exact = features @ rng.standard_normal((300, 3))
    folds = make_folds(np.arange(N) // 30)
    exact_and_negative = np.hstack([exact, exact[rng.permutation(N)]])
    got = fit(features, exact_and_negative, folds, penalties=np.logspace(-6, 8, 12))
    low, high = got.penalties[[0, -1]].astype("f")
    assert got.at_low_edge == np.sum(got.penalty == low)
    assert got.at_high_edge == np.sum(got.penalty == high) > 0


@pytest.mark.parametrize("p", [300, 20])
@pytest.mark.parametrize("nested", [False, True])
def test_blocks_of_voxels_do_not_change_a_bit(p, nested, monkeypatch):
    monkeypatch.setattr("bids_encoder.encoding.ridge.TILE", 64)
    monkeypatch.setattr("bids_encoder.encoding.memory.TILE", 64)
    features, responses, folds = make_data(p, n_voxels=200)
    responses[:, [5, 70, 71]] = 0.0
    sizes = {"n_folds": 4, "n_penalties": 20}
    assert [make_plan(N, p, 200, **sizes, mem_bytes=m).block for m in (1, 2**30)] == [64, 200]
    whole = fit(features, responses, folds, nested=nested)
    blocks = fit(features, responses, folds, nested=nested, mem_bytes=1)
    parts = [fit(features, responses[:, a : a + 128], folds, nested=nested) for a in (0, 128)]
    for name in ("r2", "r", "penalty", "dual", "intercept"):
        expected = getattr(whole, name).tobytes()
        assert getattr(blocks, name).tobytes() == expected
        joined = np.concatenate([getattr(part, name) for part in parts], axis=-1)
        assert joined.tobytes() == expected


def test_order_of_voxels_does_not_matter(data):
    features, responses, folds = data
    order = np.random.default_rng(3).permutation(responses.shape[1])
    one, other = fit(features, responses, folds), fit(features, responses[:, order], folds)
    np.testing.assert_array_equal(one.penalty[order], other.penalty)
    np.testing.assert_allclose(one.r2[order], other.r2, atol=1e-5)


def test_the_same_input_gives_the_same_bytes(data):
    one, other = fit(*data), fit(*data)
    for name in ("r2", "r", "penalty", "dual", "intercept"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_offsets_and_scales_of_responses_do_not_matter(data):
    features, responses, folds = data
    expected = fit(features, responses, folds)
    got = fit(features, (1e4 + 30 * responses).astype("f"), folds)
    np.testing.assert_allclose(got.r2, expected.r2, atol=1e-4)
    np.testing.assert_allclose(got.intercept, 1e4 + 30 * expected.intercept, rtol=1e-3)


def test_noise_does_not_choose_the_smallest_penalty():
    """Globally centred data without intercept would, for p > n."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N, 400))
    got = fit(features, rng.standard_normal((N, 50)), make_folds(np.arange(N) // 9))
    assert got.at_low_edge == 0
    assert np.median(got.r2) < 0.02


def test_arguments_are_left_as_they_were(data):
    features, responses, folds = data
    before = features.copy(), responses.copy()
    features.flags.writeable = responses.flags.writeable = False
    fit(features, responses, folds)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(responses, before[1])


def test_without_weights(data):
    got = fit(*data, keep_weights=False)
    assert got.dual is None
    assert got.intercept is None
    np.testing.assert_array_equal(got.r2, fit(*data).r2)


@pytest.mark.parametrize("nested", [False, True])
def test_progress_rises_to_one(data, nested):
    seen = []
    fit(*data, nested=nested, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_useless_features_are_refused(data, value):
    features, responses, folds = data
    features = np.full_like(features, value)
    with pytest.raises(DataError, match="features") as caught:
        fit(features, responses, folds)
    assert "remedy" in str(caught.value)


def test_a_penalty_below_the_precision_of_the_kernel_is_refused(data):
    features, responses, folds = data
    kernel = features @ features.T - 5 * np.eye(N)
    with pytest.raises(DataError, match="too small") as caught:
        fit(None, responses, folds, kernel=kernel, penalties=[1e-9, 1])
    assert "leave out the smallest penalties" in str(caught.value)


def test_folds_that_do_not_hold_every_row_once_are_refused(data):
    features, responses, folds = data
    with pytest.raises(ValueError, match="exactly once"):
        fit(features, responses, folds[1:])
    odd = (Fold(folds[0].train[1:], folds[0].test), *folds[1:])
    with pytest.raises(ValueError, match="all rows that are not tested"):
        fit(features, responses, odd)


@pytest.mark.parametrize("penalties", [[], [1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [[1.0]]])
def test_bad_penalties_are_refused(data, penalties):
    with pytest.raises(ValueError, match="positive and rising"):
        fit(*data, penalties=penalties)


def test_rows_that_do_not_match_are_refused(data):
    features, responses, folds = data
    with pytest.raises(ValueError, match="90 responses for 89"):
        fit(features[1:], responses, folds)
    with pytest.raises(ValueError, match="features or a kernel"):
        fit(None, responses, folds)


@pytest.mark.parametrize("enough", [2**31, 0], ids=["smaller blocks", "the CPU"])
def test_a_gpu_without_memory_is_not_the_end(data, monkeypatch, caplog, enough):
    """The GPU is played by the CPU, which has memory for so many bytes."""
    real = ridge._fit

    def fake(*args, place, memory, **others):
        if place.type == "cuda":
            if memory > enough:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            place = torch.device("cpu")
        return real(*args, place=place, memory=memory, **others)

    monkeypatch.setattr(ridge, "_fit", fake)
    got = fit(*data, device="cuda", mem_bytes=2**33)
    np.testing.assert_array_equal(got.r2, fit(*data).r2)
    assert "smaller blocks" in caplog.text
    assert ("going on with the CPU" in caplog.text) == (enough == 0)


def test_the_plan_keeps_to_its_memory():
    shape = {"n": 1750, "p": 20_000, "n_voxels": 200_000, "n_folds": 5, "n_penalties": 20}
    plans = [make_plan(**shape, mem_bytes=size) for size in (2**29, 2**31, 2**33)]
    assert all(p.bytes <= size for p, size in zip(plans, (2**29, 2**31, 2**33), strict=True))
    assert plans[0].block < plans[1].block < plans[2].block == 200_000
    assert all(1 <= plan.solvers <= 20 for plan in plans)


def test_the_smaller_of_samples_and_features_is_taken():
    others = {"n_voxels": 100, "n_folds": 5, "n_penalties": 20}
    assert make_plan(1000, 300, **others).by_features
    assert not make_plan(1000, 900, **others).by_features
    assert not make_plan(1000, None, **others).by_features


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_agrees(data):
    here, there = fit(*data), fit(*data, device="cuda")
    np.testing.assert_allclose(here.r2, there.r2, atol=1e-3)
    np.testing.assert_allclose(here.r, there.r, atol=1e-3)
