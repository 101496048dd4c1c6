from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, expon, genpareto, norm

from bids_encoder.encoding.tail import FEWEST_EXCESSES, SHARES, fit_tail

LEVELS = np.array([0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6])


@pytest.mark.parametrize(
    "law",
    [expon(), genpareto(-0.08), genpareto(0.05), norm(), beta(2, 40)],
    ids=["exponential", "with an end", "heavy", "normal", "beta"],
)
def test_p_values_are_right_and_far_ones_not_too_small(law):
    """True probability of what is said to have a probability p, on average over nulls."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        tail = fit_tail(np.sort(law.rvs(4000, random_state=rng)))
        values = np.linspace(tail.threshold, law.isf(1e-14), 4000)
        said = tail.p_values(values)
        assert (np.diff(said) <= 0).all()
        found.append(law.sf(values[np.minimum(np.searchsorted(-said, -LEVELS), 3999)]))
    ratio = np.mean(found, axis=0) / LEVELS
    assert ratio[:2] == pytest.approx(1, abs=0.1)
    assert 0.6 < ratio[2] < 1.25
    assert (ratio[3:] < 1.6).all()
    # Not so careful as to be of no use: three times as many permutations would find less.
    assert (ratio[3] > 0.05) and tail.p_values(np.array([law.isf(1e-14)]))[0] < 1e-5


def test_the_tail_goes_on_where_counting_ends():
    null = np.sort(np.random.default_rng(0).exponential(size=2000))
    tail = fit_tail(null)
    counted = (1 + np.sum(null >= tail.threshold)) / 2001
    assert tail.p_values(np.array([tail.threshold]))[0] == pytest.approx(counted)
    far = tail.p_values(np.array([0.999, 1, 1.001, 2, 10, 1e6]) * null[-1])
    assert (np.diff(far) <= 0).all()
    assert (far > 0).all()


def test_the_threshold_rises_until_the_fit_is_good():
    rng = np.random.default_rng(0)
    # Exponential above 2; below, a bulk that no generalised Pareto distribution follows.
    null = np.r_[rng.uniform(0, 2, 9200), 2 + rng.exponential(0.1, 800)]
    tail = fit_tail(np.sort(null))
    assert tail.threshold > 1.95
    assert tail.share < 0.1


@pytest.mark.parametrize(
    "null",
    [
        np.random.default_rng(0).exponential(size=int(FEWEST_EXCESSES / SHARES[0]) - 4),
        np.random.default_rng(0).integers(0, 4, 5000).astype(float),
        np.r_[np.random.default_rng(0).normal(size=4950), np.full(50, 9.0)],
        np.zeros(5000),
    ],
    ids=["few", "ties", "outliers", "constant"],
)
def test_no_tail_where_none_fits(null):
    assert fit_tail(np.sort(null)) is None
