from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.encoding.ceiling import (
    ceiling_from_means,
    ceiling_from_passes,
    noise_ceiling,
    normalise,
    reliable,
    split_half_ceiling,
)
from bids_encoder.encoding.scores import r2_score
from bids_encoder.errors import DataError

SIGNAL = np.repeat([0.1, 0.5, 2.0], 60)


def make_repeats(n_stimuli=150, n_repeats=6, seed=0):
    """Unit noise, signal variance SIGNAL: the ceiling of one repeat is SIGNAL / (SIGNAL + 1)."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n_stimuli, len(SIGNAL))) * np.sqrt(SIGNAL)
    code = rng.permutation(np.repeat(np.arange(n_stimuli), n_repeats))
    return truth, truth[code] + rng.standard_normal((len(code), len(SIGNAL))) + 30, code


def group_means(values):
    return values.reshape(3, -1).mean(1)


@pytest.mark.parametrize("averaged", [1, 3, 6])
@pytest.mark.parametrize("estimate", [noise_ceiling, split_half_ceiling])
def test_known_ceiling_is_found(estimate, averaged):
    _, responses, code = make_repeats(n_stimuli=600)
    expected = SIGNAL / (SIGNAL + 1 / averaged)
    got = estimate(responses, code, averaged=averaged)
    np.testing.assert_allclose(group_means(got), group_means(expected), atol=0.02)


def test_both_estimators_agree_voxel_by_voxel():
    _, responses, code = make_repeats()
    one = noise_ceiling(responses, code, averaged=6)
    other = split_half_ceiling(responses, code, averaged=6)
    assert np.corrcoef(one, other)[0, 1] > 0.98
    assert np.abs(one - other).mean() < 0.02


def test_ceiling_is_what_the_true_model_reaches():
    truth, responses, code = make_repeats()
    order = np.argsort(code, kind="stable")
    mean = responses[order].reshape(len(truth), 6, -1).mean(1)
    reached = r2_score(mean, truth + 30)
    ceiling = noise_ceiling(responses, code, averaged=6)
    np.testing.assert_allclose(group_means(reached), group_means(ceiling), atol=0.02)


def test_unequal_numbers_of_repeats():
    _, responses, code = make_repeats(n_stimuli=400, n_repeats=4)
    keep = np.random.default_rng(1).random(len(code)) < 0.6
    got = noise_ceiling(responses[keep], code[keep])
    np.testing.assert_allclose(group_means(got), [0.1 / 1.1, 0.5 / 1.5, 2 / 3], atol=0.02)


def test_noise_has_no_ceiling_on_average():
    rng = np.random.default_rng(0)
    responses, code = rng.standard_normal((300, 500)), np.tile(np.arange(100), 3)
    assert abs(noise_ceiling(responses, code).mean()) < 0.01
    assert (noise_ceiling(responses, code) < 0).mean() > 0.3


def test_constant_and_nan_voxels_are_nan():
    _, responses, code = make_repeats()
    responses[:, 0], responses[4, 1] = 2.0, np.nan
    for estimate in (noise_ceiling, split_half_ceiling):
        assert np.isnan(estimate(responses, code)[:2]).all()


def test_normalised_scores_are_not_clipped_and_only_where_reliable():
    ceiling = np.array([0.5, 0.2, 0.05, -0.1, np.nan])
    assert reliable(ceiling).tolist() == [True, True, False, False, False]
    got = normalise(np.array([0.25, 0.3, 0.2, 0.2, 0.2]), ceiling)
    np.testing.assert_allclose(got, [0.5, 1.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("stimuli", [["a", "b", "c"], ["a", "a", "a"]])
@pytest.mark.parametrize("estimate", [noise_ceiling, split_half_ceiling])
def test_no_repeats_is_refused(estimate, stimuli):
    with pytest.raises(DataError, match="repeats") as caught:
        estimate(np.zeros((3, 2)), stimuli)
    assert "remedy" in str(caught.value)


def test_ceiling_from_means_is_that_of_the_single_responses():
    rng = np.random.default_rng(5)
    stimuli = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    single = rng.normal(size=(30, 7))[stimuli] + rng.normal(size=(len(stimuli), 7))
    repeats = np.bincount(stimuli)
    means = np.stack([single[stimuli == s].mean(0) for s in range(30)])
    found = ceiling_from_means(means, repeats, np.square(single).sum(0))
    expected = noise_ceiling(single, stimuli, averaged=1 / np.mean(1 / repeats))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_ceiling_from_means_needs_repeats():
    with pytest.raises(DataError, match="repeats"):
        ceiling_from_means(np.ones((5, 2)), np.ones(5, int), np.full(2, 5.0))


def film(n_passes, n_volumes, smoothness, rng, offset=0.0, signal=1.0):
    """Passes of a film, (passes, volumes, voxels), with noise that is correlated over time.

    Noise, and by default signal, have unit variance in all voxels, so that the ceiling of a volume
    is 1/2. Each pass has a mean of its own, with the standard deviation ``offset``.
    """
    shape = (n_passes + 1, n_volumes + 200, 200)
    drawn = rng.standard_normal(shape)
    for k in range(1, shape[1]):
        drawn[:, k] = smoothness * drawn[:, k - 1] + np.sqrt(1 - smoothness**2) * drawn[:, k]
    truth, noise = drawn[0, 200:], drawn[1:, 200:]
    return signal * truth + noise + offset * rng.standard_normal((n_passes, 1, shape[2]))


def rows_of(passes):
    """Passes one after the other, and what each row shows in which pass."""
    n, length, _ = passes.shape
    content, number = np.tile(np.arange(length), n), np.repeat(np.arange(n), length)
    return np.concatenate(passes), content, number


@pytest.mark.parametrize("smoothness", [0.0, 0.6, 0.9])
def test_ceiling_of_a_film_does_not_depend_on_how_smooth_its_noise_is(smoothness):
    rng = np.random.default_rng(3)
    drawn = [ceiling_from_passes(*rows_of(film(4, 120, smoothness, rng))) for _ in range(10)]
    # A short stretch of smooth signal and noise has less variance of both.
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.02)


def test_means_of_passes_are_no_noise_of_volumes():
    rng = np.random.default_rng(4)
    rows, content, number = rows_of(film(4, 100, 0.6, rng, offset=2.0))
    assert np.mean(ceiling_from_passes(rows, content, number)) == pytest.approx(0.5, abs=0.04)
    assert np.mean(noise_ceiling(rows, content)) < 0.3  # one way, the means count as noise


@pytest.mark.parametrize("smoothness", [0.0, 0.8])
def test_ceiling_of_noise_is_zero(smoothness):
    rng = np.random.default_rng(7)
    drawn = [
        np.mean(ceiling_from_passes(*rows_of(film(3, 80, smoothness, rng, signal=0.0))))
        for _ in range(10)
    ]
    assert np.mean(drawn) == pytest.approx(0, abs=0.02)


def test_stretches_are_pooled_and_single_showings_left_out():
    rng = np.random.default_rng(5)
    long, short = film(2, 400, 0.5, rng), film(3, 100, 0.5, rng)
    rows, content, number = rows_of(long)
    more, other, passes = rows_of(short)
    once = rng.standard_normal((50, 200))
    found = ceiling_from_passes(
        np.concatenate([rows, more, once]),
        np.concatenate([content, other + 1000, np.full(50, -1)]),
        np.concatenate([number, passes, np.zeros(50, int)]),
    )
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)
    with pytest.raises(DataError, match="no stretch"):
        ceiling_from_passes(once, np.full(50, -1), np.zeros(50, int))


def test_the_best_possible_model_of_a_film_reaches_its_ceiling():
    rng = np.random.default_rng(6)
    truth = rng.standard_normal((300, 50))
    passes = truth + 1.5 * rng.standard_normal((4, 300, 50))
    ceiling = ceiling_from_passes(*rows_of(passes))
    reached = r2_score(np.concatenate(passes), np.tile(truth, (4, 1)))
    assert np.mean(reached) == pytest.approx(np.mean(ceiling), abs=0.02)
