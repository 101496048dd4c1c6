"""Each voxel is compared with the null of voxels whose noise is like its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, kstest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.null import false_discovery_rate, null_distribution, p_values
from bids_encoder.encoding.permute import autocorrelation, permutations, permute
from bids_encoder.encoding.recombine import versions_for
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.encoding.strata import (
    classify,
    draw_voxels,
    fewest_voxels,
    make_strata,
    p_by_stratum,
    permute_voxels,
)

VERSIONS = versions_for(5000)
PERMUTATIONS = VERSIONS**2


def ar_noise(rng, runs, length, rho):
    """Runs of AR(1) noise, each z-scored; one column for each of rho."""
    values = rng.standard_normal((runs, length + 100, len(rho)))
    for value in np.unique(rho):
        values[..., rho == value] = lfilter([1], [1, -value], values[..., rho == value], axis=1)
    values = values[:, 100:]
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    return values.reshape(runs * length, -1).astype("f")


def film(seed, rho, runs=4, length=60, smooth=0.9):
    """Kernels of slow features, as of films, and noise that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    kernels = [linear_kernel(ar_noise(rng, runs, length, np.full(p, smooth))) for p in (30, 300)]
    folds = make_folds(np.repeat(np.arange(runs), length))
    return kernels, ar_noise(rng, runs, length, np.asarray(rho)), folds


def highest(kernels, responses, folds):
    return np.max(
        [fit(None, responses, folds, kernel=k, keep_weights=False).r2 for k in kernels], axis=0
    )


def judged(seed, rho, n_permutations=3000, **shape):
    """p of noise as the app computes it."""
    kernels, responses, folds = film(seed, rho, **shape)
    _, strata = permute_voxels(
        kernels, responses, folds, np.arange(len(rho)),
        n_permutations=n_permutations, block=10, seed=seed,
    )  # fmt: skip
    return p_by_stratum(strata, highest(kernels, responses, folds)), strata


RARE = np.where(np.arange(600) % 20, 0.0, 0.95)


def test_rare_slow_voxels_have_a_null_of_their_own():
    slow = RARE > 0
    ps, pooled = [], []
    for seed in range(3):
        p, strata = judged(seed, RARE)
        assert len(strata) > 1
        assert set(strata[-1].members) <= set(np.flatnonzero(slow))
        ps.append(p[slow])
        kernels, responses, folds = film(seed, RARE)
        common = null_distribution(kernels, responses[:, ::7], folds, n_permutations=4000, block=10)
        t = highest(kernels, responses, folds)
        pooled.append(p_values(t, common.highest())[slow])
    # Voxels share their features, so that they are not independent: three times the level.
    assert np.mean(np.concatenate(ps) <= 0.01) <= 0.03 + 1e-9
    assert np.mean(np.concatenate(pooled) <= 0.01) > 0.1


def test_voxels_with_the_same_null_are_one_stratum():
    # By chance, autocorrelations fall into several classes; with white features it is all one.
    p, strata = judged(5, np.zeros(400), n_permutations=6000, smooth=0)
    [stratum] = strata
    np.testing.assert_array_equal(stratum.members, np.arange(400))
    assert stratum.tail is not None
    assert len(stratum.own) == 6000 // PERMUTATIONS
    assert stratum.spread < 0.25
    assert np.mean(p <= 0.1) == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize(("n_folds", "differ"), [(10, True), (1, False)])
def test_what_differing_nulls_mean_for_p_is_measured(n_folds, differ):
    """Means of small folds stay with a voxel; the standard deviation of 5 % is as counted."""
    rng = np.random.default_rng(0)
    if differ:
        kernel = linear_kernel(rng.standard_normal((40, 20)).astype("f"))
        folds = make_folds(np.arange(40) * n_folds // 40)
        noise = rng.standard_normal((40, 170)).astype("f")
        count = 170 * 13**2
        values = null_distribution([kernel], noise, folds, n_permutations=count).highest()
    else:
        values = rng.standard_normal(170 * 13**2)
    everything = np.arange(170)
    [stratum] = make_strata(np.zeros(170, int), everything, [everything], values, 13)
    own = (values.reshape(170, -1) >= np.quantile(values, 0.95)).mean(1).std()
    if differ:
        assert own > 0.1
        assert stratum.beyond_sd == pytest.approx(own, rel=0.1)
    else:
        assert stratum.beyond_sd < 0.01 < own


def test_p_falls_as_the_statistic_rises():
    _, strata = judged(2, RARE)
    for stratum in strata:
        t = np.linspace(-0.5, 1, 3001)
        p = stratum.p_values(t)
        assert (np.diff(p) <= 1e-12).all()
        assert p[0] == 1
        assert p[-1] >= stratum.smallest_p
        assert np.isnan(stratum.p_values(np.array([np.nan]))).all()


def test_memory_does_not_change_a_bit():
    kernels, responses, folds = film(0, RARE[:100])
    how = {"n_permutations": 1000, "block": 10}
    some = [
        permute_voxels(kernels, responses, folds, np.arange(100), mem_bytes=m, **how)[1]
        for m in (1, None)
    ]
    for a, b in zip(*some, strict=True):
        assert a.null.tobytes() == b.null.tobytes()
        np.testing.assert_array_equal(a.members, b.members)


def test_voxels_without_a_score_are_left_alone():
    kernels, responses, folds = film(0, np.zeros(50))
    scored = np.delete(np.arange(50), [3, 10])
    responses[:, [3, 10]] = np.nan
    null, strata = permute_voxels(kernels, responses, folds, scored, n_permutations=500)
    assert set(null.voxel) <= set(scored)
    p = p_by_stratum(strata, np.where(np.isin(np.arange(50), scored), 0.1, np.nan))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(p)), [3, 10])


def test_classes_are_equally_wide_in_z():
    rho = np.tanh([0, 0.12, 0.13, 0.37, 0.38, -0.2, 1.5])
    np.testing.assert_array_equal(classify(rho, 1000), [0, 0, 1, 1, 2, -1, 6])
    np.testing.assert_array_equal(classify(rho, 40), [0, 0, 0, 1, 1, 0, 3])
    np.testing.assert_array_equal(classify(rho, 1), np.zeros(7))


def test_each_class_is_drawn_from():
    classes = np.r_[np.zeros(900, int), np.full(97, 2), np.full(3, 7)]
    drawn = draw_voxels(classes, 200)
    assert sum(map(len, drawn)) == 200
    assert min(map(len, drawn)) >= 20
    assert len(drawn[0]) > 100
    for some, name in zip(drawn, (0, 2, 7), strict=True):
        assert (classes[some] == name).all()
    assert len(np.unique(drawn[0])) == len(drawn[0])
    assert np.ptp(np.diff(drawn[0])) <= 1
    assert np.bincount(drawn[2] - 997).min() >= 6  # the three come again
    assert sum(map(len, draw_voxels(classes, 2))) == 2


def test_voxels_that_differ_within_a_stratum_are_noticed():
    rng = np.random.default_rng(0)
    scale = np.repeat(np.exp(rng.normal(0, 0.4, 200)), PERMUTATIONS)
    voxels, classes = np.arange(200), np.zeros(200, int)
    alike, unlike = (
        make_strata(classes, voxels, [voxels], rng.exponential(size=len(scale)) * by, VERSIONS)[0]
        for by in (1, scale)
    )
    # Mean excess of an exponential null of scale s over the common median.
    s = np.exp(rng.normal(0, 0.4, 10_000))
    excess = s * np.exp(-np.median(unlike.null) / s)
    assert unlike.spread == pytest.approx(excess.std() / excess.mean(), abs=0.1)
    assert unlike.spread_p < 0.001 < alike.spread_p
    assert alike.spread < 0.25


def test_fewest_voxels_that_can_pass():
    for n_voxels, smallest in ((230_000, 1 / 20_001), (1000, 1 / 101), (50, 1e-12)):
        k = fewest_voxels(n_voxels, smallest, 0.01)
        for passing, expected in ((k, True), (k - 1, False)):
            if passing and passing <= n_voxels:
                p = np.r_[np.full(passing, smallest), np.ones(n_voxels - passing)]
                assert (false_discovery_rate(p).min() <= 0.01) == expected
    assert fewest_voxels(230_000, 1 / 20_001, 0.01) == 1150


@pytest.mark.slow
def test_p_values_of_all_kinds_of_noise_are_uniform():
    """Noise from white to AR(0.95): p is uniform, in all and in each fifth; nothing is found."""
    rho = np.linspace(0, 0.95, 600).round(2)
    ps = np.stack([judged(seed, rho, 6000)[0] for seed in range(20)])
    assert kstest(ps.ravel(), "uniform").statistic < 0.03
    for some in np.array_split(np.arange(600), 5):
        for level, within in ((0.05, 0.02), (0.01, 0.006), (0.001, 0.0015)):
            assert np.mean(ps[:, some] <= level) == pytest.approx(level, abs=within)
    assert sum(false_discovery_rate(p).min() <= 0.01 for p in ps) <= 2


@pytest.mark.slow
def test_rare_slow_voxels_are_right_in_many_data_sets():
    """Thousands of further voxels like the rare ones, each in the stratum of its autocorrelation.

    Small p-values may come half again as often as they should (in short runs autocorrelation is
    estimated with an error), and beyond that by as much as chance makes in one test of a thousand.
    """
    n_sets, n_further = 12, 3000
    ps = []
    for seed in range(n_sets):
        kernels, responses, folds = film(seed, RARE)
        how = {"n_permutations": 50_000, "block": 10, "seed": seed}
        _, strata = permute_voxels(kernels, responses, folds, np.arange(len(RARE)), **how)
        rng = np.random.default_rng(1000 + seed)
        further = ar_noise(rng, 4, 60, np.full(n_further, RARE.max()))
        t, rho = highest(kernels, further, folds), autocorrelation(further, folds)
        ours = autocorrelation(responses, folds)
        ends = [
            (ours[one.members].max() + ours[other.members].min()) / 2
            for one, other in itertools.pairwise(strata)
        ]
        stratum = np.searchsorted(ends, rho)
        ps += [strata[number].p_values(t[stratum == number]) for number in range(len(strata))]
    ps = np.concatenate(ps)
    assert len(ps) == n_sets * n_further
    for level in (0.05, 0.01, 0.001):
        assert np.count_nonzero(ps <= level) <= binom.isf(0.001, len(ps), 1.5 * level), level
        assert np.count_nonzero(ps <= level) >= binom.ppf(0.001, len(ps), level / 1.5), level


@pytest.mark.slow
def test_small_p_values_are_those_of_a_long_reference():
    """The tail fitted to 10 000 permutations, against 200 000 that are fitted one by one."""
    kernels, responses, folds = film(3, np.zeros(300), smooth=0)
    _, [stratum] = permute_voxels(
        kernels, responses, folds, np.arange(300), n_permutations=10_000, block=10
    )
    rng = np.random.default_rng(9)
    null = []
    for start in range(0, 200_000, 10_000):
        orders = permutations(folds, 10_000, block=10, rng=rng)
        voxels = (start + np.arange(10_000)) % 300
        null.append(highest(kernels, permute(responses, voxels, orders, folds), folds))
    null = np.concatenate(null)
    for level, factor in ((0.01, 1.25), (0.001, 1.8), (1e-4, 3)):
        p = stratum.p_values(np.quantile(null, [1 - level]))[0]
        assert level / factor < p < level * factor


@pytest.mark.slow
def test_false_discoveries_among_signal_are_few():
    """A fifth of the voxels follow the features: of those that pass, one in a hundred is noise."""
    false = found = 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        rho = rng.choice([0, 0.5, 0.9], 500)
        features = ar_noise(rng, 4, 60, np.full(30, 0.9))
        responses = ar_noise(rng, 4, 60, rho)
        responses[:, ::5] += features @ rng.standard_normal((30, 100)).astype("f") / 5
        folds = make_folds(np.repeat(np.arange(4), 60))
        kernels = [linear_kernel(features), linear_kernel(ar_noise(rng, 4, 60, np.full(99, 0.9)))]
        _, strata = permute_voxels(
            kernels, responses, folds, np.arange(500), n_permutations=5000, block=10, seed=seed
        )
        passed = false_discovery_rate(p_by_stratum(strata, highest(kernels, responses, folds)))
        passed = passed <= 0.05
        found += passed.sum()
        false += np.delete(passed, np.arange(0, 500, 5)).sum()
    assert found > 15 * 20
    assert false / found < 0.08


def test_autocorrelation_of_a_constant_voxel_is_not_a_number():
    _, responses, folds = film(0, np.zeros(3))
    responses[:, 1] = 4
    assert np.isnan(autocorrelation(responses, folds)).tolist() == [False, True, False]
