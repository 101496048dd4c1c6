from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, false_discovery_control

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.null import false_discovery_rate, null_distribution, p_values
from bids_encoder.encoding.permute import autocorrelation, permutations, permute
from bids_encoder.encoding.recombine import versions_for
from bids_encoder.encoding.ridge import fit, linear_kernel

PERMUTATIONS = versions_for(1000) ** 2
FOLDS = make_folds(np.repeat([0, 1, 2], 20))


@pytest.mark.parametrize("block", [1, 6])
def test_permutations_stay_within_folds(block):
    orders = permutations(FOLDS, 30, block=block, rng=np.random.default_rng(0))
    assert orders.shape == (60, 30)
    for fold in FOLDS:
        assert (np.sort(orders[fold.test], axis=0) == fold.test[:, None]).all()
    assert len(np.unique(orders, axis=1).T) == 30


def test_blocks_keep_neighbours_together():
    orders = permutations(FOLDS, 200, block=5, rng=np.random.default_rng(0))
    for fold in FOLDS:
        together = (np.diff(orders[fold.test], axis=0) % 20 == 1).mean()
        # 16 of 19 neighbours are inside a block, and some of the other 3 meet again by chance.
        assert 16 / 19 <= together < 0.95


def test_single_rows_are_permuted_evenly():
    orders = permutations(FOLDS, 4000, rng=np.random.default_rng(0))
    counts = np.bincount(orders[0], minlength=20)[:20]
    assert counts.sum() == 4000
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_permuted_responses_are_as_autocorrelated_as_the_real_ones(rho):
    rng = np.random.default_rng(1)
    folds = make_folds(np.repeat([0, 1], 200))
    y = lfilter([1], [1, -rho], rng.standard_normal((450, 30)), axis=0)[50:].astype("f")
    y[:200] += 3
    orders = permutations(folds, 60, block=10, rng=rng)
    voxels = np.arange(60) % 30
    made = permute(y, voxels, orders, folds)
    # Blocks of ten alone lose a tenth of it.
    found, real = autocorrelation(made, folds), autocorrelation(y, folds)
    assert np.mean(found) == pytest.approx(np.mean(real), abs=0.03)
    assert np.mean(real) == pytest.approx(rho, abs=0.03)
    for fold in folds:
        for statistic in (np.mean, np.std):
            ours, theirs = (statistic(each[fold.test], axis=0) for each in (made, y))
            np.testing.assert_allclose(ours, theirs[voxels], rtol=1e-4, atol=1e-5)
    assert abs(np.corrcoef(made[:, 0], y[:, 0])[0, 1]) < 1


def test_rows_without_autocorrelation_are_permuted_as_they_are():
    # Of white noise, a sample whose estimated autocorrelation is 0: there is nothing to whiten.
    y = np.random.default_rng(46).standard_normal((60, 1))
    assert abs(autocorrelation(y, FOLDS)[0]) < 1e-4
    orders = permutations(FOLDS, 3, rng=np.random.default_rng(0))
    made = permute(y, np.zeros(3, int), orders, FOLDS)
    np.testing.assert_allclose(made, y[orders, 0], atol=1e-3)


def test_p_values_by_counting():
    null = np.sort(np.random.default_rng(0).standard_normal(999))
    statistic = np.array([-10, 0.3, null[500], 10, np.nan])
    expected = [(1 + np.sum(null >= t)) / 1000 for t in statistic[:4]]
    np.testing.assert_allclose(p_values(statistic, null), [*expected, np.nan])


def test_false_discovery_rate_is_scipys():
    p = np.random.default_rng(0).random(200) ** 3
    np.testing.assert_allclose(false_discovery_rate(p), false_discovery_control(p))
    with_nan = np.insert(p, [0, 50], np.nan)
    np.testing.assert_allclose(
        false_discovery_rate(with_nan)[[1, 199]], false_discovery_control(p)[[0, 197]]
    )
    assert np.isnan(false_discovery_rate(with_nan)[0])
    assert np.isnan(false_discovery_rate(np.full(3, np.nan))).all()


def make_noise(seed, n_voxels):
    rng = np.random.default_rng(seed)
    kernels = [linear_kernel(rng.standard_normal((60, 100))) for _ in range(2)]
    return kernels, rng.standard_normal((60, n_voxels)).astype("f")


def statistic(kernels, responses, score):
    fits = [fit(None, responses, FOLDS, kernel=k, keep_weights=False) for k in kernels]
    return np.max([getattr(f, score) for f in fits], axis=0)


@pytest.mark.parametrize("score", ["r2", "r"])
def test_p_values_of_noise_are_uniform(score):
    found = []
    for seed in range(4):
        kernels, responses = make_noise(seed, 300)
        null = null_distribution(
            kernels, responses[:, :40], FOLDS, n_permutations=1500, seed=seed
        ).highest(score)
        assert len(null) == 1500
        p = p_values(statistic(kernels, responses, score), null)
        assert false_discovery_rate(p).min() > 0.01
        found.append(p)
    # Voxels of one simulation share their features, so that they are not quite independent.
    for level in (0.5, 0.1, 0.02):
        assert np.mean(np.concatenate(found) <= level) == pytest.approx(level, rel=0.35)


def in_small_folds(seed, size, n_voxels, n_features=40, n=120, n_layers=2):
    """Kernels, noise and folds of so many rows, T of noise, and the null of some of its voxels."""
    rng = np.random.default_rng(seed)
    kernels = [linear_kernel(rng.standard_normal((n, n_features))) for _ in range(n_layers)]
    noise = rng.standard_normal((n, n_voxels)).astype("f")
    folds = make_folds(np.arange(n) // size, max_folds=n)
    fits = [fit(None, noise, folds, kernel=k, keep_weights=False) for k in kernels]
    t = np.max([one.pooled_r2 for one in fits], axis=0)
    how = {"n_permutations": 2000, "seed": seed}
    return t, null_distribution(kernels, noise[:, :: n_voxels // 40], folds, **how)


def check_small_folds(seeds, n_voxels, factor):
    """p of the highest pooled r² of noise is uniform; in the null of r², it would not be.

    Voxels of a data set share its features: the rate may be wrong by a factor, and beyond that by
    what chance makes in one count of a thousand.
    """
    for size in (4, 6, 12):
        p = []
        for seed in range(seeds):
            t, null = in_small_folds(seed, size, n_voxels)
            p.append(p_values(t, null.highest("pooled_r2")))
        for level in (0.5, 0.1, 0.05, 0.01):
            found, n = np.count_nonzero(np.concatenate(p) <= level), seeds * n_voxels
            assert found <= binom.isf(0.001, n, min(factor * level, 1)), (size, level)
            assert found >= binom.ppf(0.001, n, level / factor), (size, level)
    assert np.mean(p_values(t, null.highest("r2")) <= 0.05) > 0.1


def test_p_values_of_noise_in_small_folds_are_uniform():
    check_small_folds(2, 200, 1.3)


@pytest.mark.slow
def test_p_values_of_noise_in_small_folds_are_uniform_in_many_data_sets():
    check_small_folds(20, 400, 1.15)


def test_small_folds_find_more_with_the_pooled_score():
    """Power at p < 0.05 of weak signals in folds of four rows."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((120, 20))
    signal = features @ rng.standard_normal((20, 300)) / np.sqrt(20)
    responses = (0.5 * signal + rng.standard_normal(signal.shape)).astype("f")
    kernel, folds = linear_kernel(features), make_folds(np.arange(120) // 4, max_folds=120)
    found = fit(None, responses, folds, kernel=kernel, keep_weights=False)
    null = null_distribution([kernel], responses[:, ::7], folds, n_permutations=2000)
    power = {
        score: np.mean(p_values(getattr(found, score), null.highest(score)) <= 0.05)
        for score in ("r2", "pooled_r2")
    }
    assert power["pooled_r2"] > power["r2"] + 0.05


def test_signal_passes():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 20))
    _, responses = make_noise(0, 300)
    responses[:, :30] += features @ rng.standard_normal((20, 30)) / 2
    kernels = [linear_kernel(features), linear_kernel(rng.standard_normal((60, 100)))]
    null = null_distribution(kernels, responses[:, ::20], FOLDS, n_permutations=3000).highest()
    passed = false_discovery_rate(p_values(statistic(kernels, responses, "r2"), null)) <= 0.01
    assert passed[:30].mean() > 0.8
    assert passed[30:].mean() < 0.02


def test_the_seed_decides():
    kernels, responses = make_noise(0, 5)
    one, same, other = (
        null_distribution(kernels, responses, FOLDS, n_permutations=50, seed=s).r2
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("nested", [False, True])
def test_memory_does_not_change_a_bit(monkeypatch, nested):
    for module in ("null", "ridge", "memory"):
        monkeypatch.setattr(f"bids_encoder.encoding.{module}.TILE", 64)
    monkeypatch.setattr("bids_encoder.encoding.null.VOXELS_AT_ONCE", 2)
    kernels, responses = make_noise(0, 5)
    little, much = (
        null_distribution(kernels, responses, FOLDS, n_permutations=250, mem_bytes=m, nested=nested)
        for m in (1, None)
    )
    for name in ("r2", "r", "pooled_r2"):
        one, other = getattr(little, name), getattr(much, name)
        assert one.shape == (2, 250)
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("nested", [False, True])
def test_the_null_keeps_every_layer_and_whose_responses_were_permuted(nested):
    kernels, responses = make_noise(0, 3)
    count = 4 * PERMUTATIONS - 5
    null = null_distribution(kernels, responses, FOLDS, n_permutations=count, nested=nested)
    assert len(null) == count
    assert null.r2.shape == null.r.shape == null.pooled_r2.shape == (2, count)
    np.testing.assert_array_equal(null.voxel, (np.arange(count) // PERMUTATIONS) % 3)
    np.testing.assert_array_equal(null.highest("r"), null.r.max(0))
    np.testing.assert_array_equal(null.highest(), null.r2.max(0))
