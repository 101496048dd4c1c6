"""Two measurements of repeated stimuli."""

from __future__ import annotations

import numpy as np
import pytest
from averages import EventRun, average


def split_halves(runs, stimuli, **how):
    return average(runs, halves_of=stimuli, **how).halves


def runs_of(*shown, voxels=3, seed=0):
    random = np.random.default_rng(seed)
    return [
        EventRun(f"run-{k}", None, tuple(names), random.standard_normal((len(names), voxels)))
        for k, names in enumerate(shown, start=1)
    ]


def test_every_other_estimate_goes_into_the_other_half():
    runs = runs_of("abcd", "dcba", "abcd")
    halves = split_halves(runs, "abcd", standardize="none")
    assert halves.stimuli == tuple("abcd")
    first = (runs[0].betas + runs[2].betas) / 2
    np.testing.assert_allclose(halves.first, first, rtol=1e-6)
    np.testing.assert_allclose(halves.second, runs[1].betas[::-1], rtol=1e-6)


def test_only_repeated_and_wanted_stimuli_have_halves():
    halves = split_halves(runs_of("abcdex", "abcdey"), "abcdxy")
    assert halves.stimuli == tuple("abcd")


@pytest.mark.parametrize("shown", [("abcd", "efgh"), ("abcd", "abce"), ("abcd",)])
def test_fewer_than_four_repeated_stimuli_have_none(shown):
    assert split_halves(runs_of(*shown), "abcdefgh") is None


def test_halves_are_in_the_units_of_the_response_matrix():
    runs = runs_of("abcd", "abcd", seed=1)
    scaled = [EventRun(r.name, r.session, r.stimuli, 7 + 3 * r.betas) for r in runs]
    plain, moved = split_halves(runs, "abcd"), split_halves(scaled, "abcd")
    np.testing.assert_allclose(plain.first, moved.first, atol=1e-5)
    np.testing.assert_allclose((plain.first + plain.second).mean(axis=0), 0, atol=1e-6)
