"""Means that are gathered from sums: what averages of z-scores are, in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from averages import EventRun, average

from bids_encoder.errors import DataError
from bids_encoder.responses.means import Averaging, unit_by_unit
from bids_encoder.responses.standardize import zscore

N_VOXELS = 37


def made(seed=0, offset=1000.0):
    """Six runs in three sessions, with stimuli that come in several of them and twice in one."""
    random = np.random.default_rng(seed)
    names = [f"{k}.png" for k in range(9)]
    runs = []
    for number in range(6):
        shown = [names[k] for k in random.integers(0, len(names), 8)]
        betas = (offset + random.standard_normal((8, N_VOXELS)) * 3).astype(np.float32)
        runs.append(EventRun(f"run-{number}", f"{number % 3}", tuple(shown), betas))
    runs[2].betas[3, 5] = np.nan
    runs[4].betas[:, 6] = offset
    runs[1].betas[:, 6] = offset
    return runs


def expected(runs, standardize):
    """Z-scores of single estimates, averaged the long way."""
    unit = {"session": lambda r: r.session, "run": lambda r: r.name, "none": lambda r: None}
    members = {}
    for run in runs:
        members.setdefault(unit[standardize](run), []).append(run)
    scores = {}
    for ours in members.values():
        betas = np.concatenate([run.betas for run in ours])
        betas = betas if standardize == "none" else zscore(betas)
        for name, one in zip([s for run in ours for s in run.stimuli], betas, strict=True):
            scores.setdefault(name, []).append(one.astype(np.float64))
    return scores


@pytest.mark.parametrize("standardize", ["session", "run", "none"])
def test_means_are_those_of_the_single_estimates(standardize):
    runs = made()
    means = average(runs, standardize=standardize)
    scores = expected(runs, standardize)
    assert means.stimuli == tuple(dict.fromkeys(s for run in runs for s in run.stimuli))
    assert means.repeats.tolist() == [len(scores[name]) for name in means.stimuli]
    truth = np.array([np.mean(scores[name], axis=0) for name in means.stimuli])
    np.testing.assert_allclose(means.values, truth, rtol=1e-5, atol=1e-5)
    squares = sum(np.square(one) for ones in scores.values() for one in ones)
    np.testing.assert_allclose(means.squares, squares, rtol=1e-5)


def test_squares_of_some_stimuli():
    runs, wanted = made(), ("1.png", "4.png")
    scores = expected(runs, "session")
    squares = sum(np.square(one) for name in wanted for one in scores[name])
    np.testing.assert_allclose(average(runs, squares_of=wanted).squares, squares, rtol=1e-4)


def test_halves_take_every_other_estimate():
    runs = made()
    means = average(runs, halves_of=[f"{k}.png" for k in range(9)])
    scores = expected(runs, "session")
    halves = means.halves
    assert len(halves.stimuli) >= 4
    # A stimulus of two sessions: which of its estimates is the first depends on the runs' order.
    for name, first, second in zip(halves.stimuli, halves.first, halves.second, strict=True):
        times = len(scores[name])
        both = first * ((times + 1) // 2) + second * (times // 2)
        np.testing.assert_allclose(both, np.sum(scores[name], axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 10, N_VOXELS])
@pytest.mark.parametrize("standardize", ["session", "none"])
def test_blocks_of_voxels_make_no_difference(width, standardize):
    runs, how = made(), {"standardize": standardize, "halves_of": [f"{k}.png" for k in range(9)]}
    whole, parts = average(runs, **how), average(runs, width=width, **how)
    for one, other in (
        (whole.values, parts.values),
        (whole.squares, parts.squares),
        (whole.halves.first, parts.halves.first),
        (whole.halves.second, parts.halves.second),
    ):
        np.testing.assert_array_equal(one, other)


def test_runs_of_a_session_need_not_follow_each_other():
    runs = made()
    assert unit_by_unit([run.session for run in runs]) == [0, 3, 1, 4, 2, 5]
    sessions = {run.session for run in runs}
    assert average(runs).stimuli[0] == runs[0].stimuli[0] and len(sessions) == 3


def test_a_factor_scales_what_is_not_z_scored():
    runs = made()
    factor = np.full(N_VOXELS, 3.0)
    factor[1] = np.nan

    def finished(standardize):
        averaging = Averaging(
            [r.name for r in runs], [r.session for r in runs], N_VOXELS, 9, standardize=standardize
        )
        for number, run in enumerate(runs):
            averaging.begin(number, run.stimuli)
            averaging.add(number, run.betas)
        return averaging.finish(factor)

    plain = average(runs, standardize="none").values
    np.testing.assert_allclose(finished("none").values[:, 2:], 3 * plain[:, 2:], rtol=1e-6)
    scored = finished("session").values
    np.testing.assert_array_equal(scored[:, 2:], average(runs).values[:, 2:])
    assert np.isnan(scored[:, 1]).all() and np.isnan(finished("none").values[:, 1]).all()


def test_a_single_estimate_of_a_session_is_refused():
    runs = [EventRun("a", "1", ("x",), np.ones((1, 3), np.float32)), *made()]
    with pytest.raises(DataError, match="A single estimate"):
        average([EventRun(r.name, r.session, r.stimuli, r.betas[:, :3]) for r in runs[:1]])


def test_trials_are_not_kept():
    """Forty runs of the same ten pictures take no more than their means and one run."""
    random, n_voxels = np.random.default_rng(1), 5000
    names = tuple(f"{k}.png" for k in range(10))
    averaging = Averaging([f"r{k}" for k in range(40)], [None] * 40, n_voxels, 10)
    tracemalloc.start()
    for number in range(40):
        averaging.begin(number, names)
        averaging.add(number, random.standard_normal((10, n_voxels)).astype(np.float32))
    averaging.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 10 * n_voxels * 8  # all trials would be 40 × 10 × 5000 × 4 bytes at least
