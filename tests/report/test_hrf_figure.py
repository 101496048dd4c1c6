"""The figure of haemodynamic responses draws what it is given."""

import numpy as np
import pytest

from bids_encoder.derivatives.counted import Counted
from bids_encoder.report import hrf


@pytest.mark.parametrize("n_passed", [0, 40, 100])
def test_peaks_and_responses(n_passed):
    peaks = np.random.default_rng(0).uniform(4, 7, 100)
    peaks[-1] = np.nan
    passed = np.arange(100) < n_passed
    times = np.linspace(0, 12, 25)
    curves = np.stack([np.exp(-((times - middle) ** 2)) for middle in (4, 6)], axis=1)
    coefficients = np.where(passed, [[1.0], [0.0]], [[0.0], [1.0]])
    left, right = hrf.draw(peaks, passed, times, curves, coefficients).axes
    usable = np.isfinite(peaks)
    groups = [one for one in (usable & ~passed, usable & passed) if one.any()]
    assert [line.get_xdata()[0] for line in left.lines] == [np.median(peaks[g]) for g in groups]
    np.testing.assert_allclose(sum(bar.get_height() for bar in left.patches), 100 * len(groups))
    for line, group in zip(right.lines, groups, strict=False):
        expected = curves[:, 0] if passed[group].all() else curves[:, 1]
        np.testing.assert_allclose(line.get_ydata(), expected)


def test_scale_holds_most_peaks_and_is_never_a_point():
    assert hrf.limits(np.full(9, 5.0)) == (4.75, 5.25)
    low, high = hrf.limits(np.append(np.linspace(3, 8, 101), np.nan))
    assert 3 < low < 3.3 and 7.7 < high < 8
    assert hrf.limits(np.array([np.nan])) == (4.0, 6.0)


@pytest.mark.parametrize("n_passed", [0, 3, 9])
def test_the_caption_names_the_colours_that_are_drawn(n_passed):
    said = hrf._colors_said(Counted(np.arange(9) < n_passed, 0.01), np.full(9, 5.0))
    assert ("Blue" in said) == (n_passed > 0) and ("Grey" in said) == (n_passed < 9)
