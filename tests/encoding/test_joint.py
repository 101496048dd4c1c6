from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from himalaya.backend import get_backend
from sklearn.linear_model import Ridge

from bids_encoder.encoding import joint
from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.joint import fit_joint
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.encoding.scores import r2_score
from bids_encoder.errors import DataError

N, SIZES = 120, (30, 60, 15)
GROUPS = np.repeat([0, 1, 2, 3], N // 4)


def make_layers(seed=0):
    """Features of three layers, of different sizes and scales."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((N, p)) + 1) * scale
        for p, scale in zip(SIZES, (1, 20, 0.1), strict=True)
    ]


def driven_by(layers, shares, n_voxels=20, noise=0.3, seed=1):
    """Responses of which each layer makes up a share of the variance; means 0 in every group."""
    rng = np.random.default_rng(seed)
    y = np.sqrt(noise) * rng.standard_normal((N, n_voxels))
    for x, share in zip(layers, shares, strict=True):
        signal = x @ rng.standard_normal((x.shape[1], n_voxels))
        y += np.sqrt(share) * (signal - signal.mean(0)) / signal.std(0)
    for group in np.unique(GROUPS):
        y[group == GROUPS] -= y[group == GROUPS].mean(0)
    return y.astype("f")


@pytest.fixture(scope="module")
def layers():
    return make_layers()


@pytest.fixture(scope="module")
def kernels(layers):
    return [linear_kernel(x) for x in layers]


@pytest.mark.parametrize("truth", [(0.9, 0, 0), (0, 0, 0.9), (0.45, 0, 0.45)])
def test_shares_and_unique_contributions_are_recovered(layers, kernels, truth):
    y = driven_by(layers, truth, noise=0.1)
    got = fit_joint(kernels, y, make_folds(GROUPS), unique=True, n_draws=15)
    assert got.r2.mean() > 0.6
    for found in (got.shares.mean(1), got.unique.mean(1)):
        assert found[np.array(truth) == 0] == pytest.approx(0, abs=0.05)
        assert (found[np.array(truth) > 0] > 0.6 * got.r2.mean() / np.count_nonzero(truth)).all()


def test_a_copy_of_a_layer_has_a_share_but_nothing_unique(layers):
    kernels = [linear_kernel(x) for x in (layers[0], layers[0], layers[1])]
    y = driven_by(layers, (0.8, 0, 0))
    got = fit_joint(kernels, y, make_folds(GROUPS), unique=True, n_draws=0)
    assert got.unique.mean(1) == pytest.approx(0, abs=0.04)
    assert got.shares[:2].sum(0).mean() == pytest.approx(got.r2.mean(), abs=0.02)
    assert got.shares[0].mean() > 0.1


def test_shares_add_up_to_the_score(layers, kernels):
    y = driven_by(layers, (0.3, 0.2, 0.2))
    got = fit_joint(kernels, y, make_folds(GROUPS), n_draws=8)
    assert got.unique is None
    np.testing.assert_allclose(got.shares.sum(0), got.r2, atol=1e-5)


def test_shares_add_up_to_the_gain_over_the_mean(layers, kernels):
    y = driven_by(layers, (0.3, 0.2, 0.2)) + 2 * np.cos(GROUPS)[:, None].astype("f")
    folds = make_folds(GROUPS)
    got = fit_joint(kernels, y, folds, n_draws=4)
    by_mean = [r2_score(y[f.test], np.tile(y[f.train].mean(0), (len(f.test), 1))) for f in folds]
    np.testing.assert_allclose(got.shares.sum(0), got.r2 - np.mean(by_mean, 0), atol=1e-4)


@pytest.mark.parametrize("groups", [GROUPS, GROUPS // 2], ids=["four folds", "two folds"])
def test_one_kernel_is_nested_ridge(layers, kernels, groups):
    y, folds = driven_by(layers, (0.5, 0.1, 0.1)) + 3, make_folds(groups)
    got = fit_joint(kernels[:1], y, folds, unique=True)
    plain = fit(None, y, folds, kernel=kernels[0], penalties=joint.JOINT_PENALTIES, nested=True)
    np.testing.assert_allclose(got.r2, plain.r2, atol=1e-3)
    np.testing.assert_array_equal(got.unique, got.shares)


def by_scikit_learn(layers, y, folds, candidates, penalty):
    """Joint scores and product-measure shares, from features side by side, voxel by voxel."""
    scaled = [x / np.sqrt(np.square(x - x.mean(0)).sum(1).mean()) for x in layers]
    sizes = np.cumsum([0, *(x.shape[1] for x in layers)])
    r2, shares = [], []
    for t, fold in enumerate(folds):
        others = [f for s, f in enumerate(folds) if s != t]
        scores = []
        for gamma in candidates:
            x = np.hstack([np.sqrt(g) * z for g, z in zip(gamma, scaled, strict=True)])
            inside = []
            for inner in others:
                train = np.setdiff1d(fold.train, inner.test)
                model = Ridge(alpha=penalty).fit(x[train], y[train])
                inside.append(r2_score(y[inner.test], model.predict(x[inner.test])))
            scores.append(np.mean(inside, 0))
        r2.append(np.empty(y.shape[1]))
        shares.append(np.empty((len(layers), y.shape[1])))
        for v, best in enumerate(np.argmax(scores, 0)):
            pairs = zip(candidates[best], scaled, strict=True)
            x = np.hstack([np.sqrt(g) * z for g, z in pairs])
            model = Ridge(alpha=penalty).fit(x[fold.train], y[fold.train, v])
            truth, found = y[fold.test, v], model.predict(x[fold.test])
            total = np.square(truth - truth.mean()).sum()
            r2[t][v] = 1 - np.square(truth - found).sum() / total
            centred = x[fold.test] - x[fold.train].mean(0)
            d, q = truth - y[fold.train, v].mean(), found - y[fold.train, v].mean()
            for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
                part = centred[:, a:b] @ model.coef_[a:b]
                shares[t][i, v] = (2 * d - q) @ part / total
    return np.mean(r2, 0), np.mean(shares, 0)


def test_scores_shares_and_unique_contributions_agree_with_scikit_learn(layers, kernels):
    y, folds = driven_by(layers, (0.4, 0.3, 0), n_voxels=8) + 1, make_folds(GROUPS)
    got = fit_joint(kernels, y, folds, penalties=np.array([0.3]), n_draws=0, unique=True)

    def tried(count):
        return np.vstack([np.full((1, count), 1 / count), np.eye(count)])

    r2, shares = by_scikit_learn(layers, y, folds, tried(3), 0.3)
    np.testing.assert_allclose(got.r2, r2, atol=1e-4)
    np.testing.assert_allclose(got.shares, shares, atol=1e-4)
    for i in range(3):
        others = layers[:i] + layers[i + 1 :]
        without = by_scikit_learn(others, y, folds, tried(2), 0.3)[0]
        np.testing.assert_allclose(got.unique[i], r2 - without, atol=1e-4)


def test_blocks_of_voxels_change_nothing_and_progress_goes_to_one(layers, kernels, monkeypatch):
    y, folds = driven_by(layers, (0.4, 0.3, 0), n_voxels=150), make_folds(GROUPS)
    y[3, 5], y[:, 100] = np.nan, 1
    told = []
    whole = fit_joint(kernels, y, folds, n_draws=3)
    monkeypatch.setattr(joint, "CHUNK", 20)
    cut = fit_joint(kernels, y, folds, n_draws=3, mem_bytes=1, on_progress=told.append)
    np.testing.assert_allclose(cut.r2, whole.r2, atol=1e-5)
    np.testing.assert_allclose(cut.shares, whole.shares, atol=1e-5)
    assert told == sorted(told) and told[-1] == pytest.approx(1) and len(told) > 20
    assert np.flatnonzero(~whole.valid).tolist() == [5, 100]
    assert np.isnan(whole.r2[[5, 100]]).all() and np.isnan(whole.shares[:, [5, 100]]).all()
    assert np.isfinite(np.delete(whole.shares, [5, 100], axis=1)).all()


def test_the_seed_decides(layers, kernels):
    y, folds = driven_by(layers, (0.2, 0.2, 0.2)), make_folds(GROUPS)
    first, again, other = (fit_joint(kernels, y, folds, n_draws=6, seed=s).r2 for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_valid_voxel(kernels):
    got = fit_joint(kernels, np.ones((N, 3)), make_folds(GROUPS), n_draws=0)
    assert np.isnan(got.r2).all() and got.shares.shape == (3, 3)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_layer_that_does_not_vary_is_refused(kernels, value):
    wrong = [kernels[0], np.full((N, N), value)]
    with pytest.raises(DataError) as error:
        fit_joint(wrong, np.zeros((N, 2)), make_folds(GROUPS))
    assert "leave this layer out" in str(error.value)


def test_himalaya_is_left_as_it_was(layers, kernels):
    before = get_backend().name
    fit_joint(kernels, driven_by(layers, (1, 0, 0)), make_folds(GROUPS), n_draws=0)
    assert get_backend().name == before


def test_a_full_gpu_is_no_end(layers, kernels, monkeypatch, caplog):
    y, folds = driven_by(layers, (1, 0, 0)), make_folds(GROUPS)
    expected = fit_joint(kernels, y, folds, n_draws=0)
    true = joint._fit

    def full(*args, device, **how):
        if device == "cuda":
            raise torch.cuda.OutOfMemoryError
        return true(*args, device=device, **how)

    monkeypatch.setattr(joint, "_fit", full)
    with caplog.at_level(logging.WARNING):
        got = fit_joint(kernels, y, folds, n_draws=0, device="cuda")
    assert "too little memory" in caplog.text
    np.testing.assert_array_equal(got.r2, expected.r2)
