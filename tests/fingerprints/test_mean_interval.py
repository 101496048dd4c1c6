import coverage
import numpy as np
import pytest
from scipy import stats

from bids_encoder.fingerprints.mean_interval import MIN_PARTICIPANTS, mean_interval


def test_of_many_participants_it_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.7, 0.1, (40, 3))
    mean, low, high = mean_interval(values)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    half = stats.t.ppf(0.975, 39) * values.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(high - mean, half, rtol=0.1)
    np.testing.assert_allclose(mean - low, half, rtol=0.1)


def test_it_is_the_bootstrap_t_written_out():
    values = np.random.default_rng(1).exponential(size=7)
    random = np.random.default_rng(2)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(7)
    studentised = []
    for _ in range(20_000):
        drawn = random.choice(values, 7)
        if np.ptp(drawn) > 0:
            studentised.append((drawn.mean() - mean) / (drawn.std(ddof=1) / np.sqrt(7)))
    low, high = mean - np.quantile(studentised, (0.975, 0.025)) * error
    found = mean_interval(values[:, None])
    np.testing.assert_allclose([found[1][0], found[2][0]], [low, high], atol=0.06 * (high - low))


def test_there_is_one_from_five_participants_on_who_differ():
    values = np.random.default_rng(0).normal(0.7, 0.1, (40, 3))
    few = mean_interval(values[: MIN_PARTICIPANTS - 1])
    np.testing.assert_allclose(few[0], values[: MIN_PARTICIPANTS - 1].mean(axis=0))
    assert np.isnan(few[1:]).all()
    assert np.isfinite(mean_interval(values[:MIN_PARTICIPANTS])[1:]).all()
    # Shares of the best layer: 1 in all, or in nearly all.
    values[:5, 0], values[:5, 1] = 1, [1, 1, 1, 1, 0.9]
    mean, low, high = mean_interval(values[:5])
    np.testing.assert_allclose(mean[:2], [1, 0.98])
    assert np.isnan([low[:2], high[:2]]).all() and np.isfinite([low[2], high[2]]).all()


def test_participants_without_the_region_do_not_count():
    values = np.random.default_rng(0).random((6, 3))
    with_holes = np.insert(values, [0, 4], np.nan, axis=0)
    np.testing.assert_allclose(mean_interval(with_holes), mean_interval(values))
    assert np.isnan(mean_interval(np.full((3, 2), np.nan))).all()


@pytest.mark.parametrize("name", ["normal", "exponential", "fingerprint, the highest"])
def test_few_participants_are_covered(name):
    covered, _ = coverage.coverage(name, 6, "bootstrap-t", groups=600)
    assert 0.92 <= covered <= 0.995
    assert coverage.coverage(name, 6, "percentile", groups=600)[0] < 0.88


@pytest.mark.slow
@pytest.mark.parametrize("n", coverage.PARTICIPANTS)
@pytest.mark.parametrize("name", coverage.POPULATIONS)
def test_participants_are_covered(name, n):
    covered, _ = coverage.coverage(name, n, "bootstrap-t", groups=4000)
    assert 0.90 <= covered <= 0.99
