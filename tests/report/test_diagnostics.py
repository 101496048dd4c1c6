"""The figure of diagnostics draws what it is given."""

import numpy as np
import pytest

from bids_encoder.derivatives.counted import Counted
from bids_encoder.report import diagnostics

NULL = {
    "Statistic": "highest r2 over layers",
    "NullQuantiles": {"0.5": 0.01, "0.99": 0.05},
    "Threshold": 0.06,
    "FalseDiscoveryRate": 0.01,
}
POOLED = {**NULL, "Statistic": "highest pooled r2 over layers"}


@pytest.mark.parametrize("null", [None, NULL, {**NULL, "Threshold": None}, POOLED])
@pytest.mark.parametrize("has_ceiling", [False, True])
def test_panels_and_counts(null, has_ceiling):
    rng = np.random.default_rng(0)
    penalties = [rng.choice([-1.0, 0.0, 3.0], 200) for _ in range(2)]
    penalties[0][:7] = np.nan
    highest = rng.uniform(-0.1, 0.4, 200)
    highest[:7] = np.nan
    ceiling = rng.uniform(0, 0.6, 200) if has_ceiling else None
    counted = Counted(np.isfinite(highest))
    figure = diagnostics.draw(["a", "b"], penalties, highest, null, ceiling, counted)
    axes = figure.axes
    assert len(axes) == 2 + has_ceiling
    for line, chosen in zip(axes[0].lines, penalties, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [-1, 0, 3])
        counts = [np.count_nonzero(chosen == one) for one in (-1, 0, 3)]
        np.testing.assert_array_equal(line.get_ydata(), counts)
    verticals = [line.get_xdata()[0] for line in axes[1].lines]
    expected = [] if null is None else [0.01, 0.05] + [0.06] * (null["Threshold"] is not None)
    assert verticals == expected
    score = "pooled r²" if null is POOLED else "r²"
    assert axes[1].get_xlabel() == f"highest {score} over layers"
    assert not has_ceiling or axes[2].get_ylabel() == axes[1].get_xlabel()


@pytest.mark.parametrize("null", [None, NULL, {**NULL, "Threshold": None}])
@pytest.mark.parametrize("has_ceiling", [False, True])
def test_the_caption_names_the_lines_that_are_drawn_and_no_others(null, has_ceiling):
    said = diagnostics._caption(null, has_ceiling, Counted(np.ones(3, bool), 0.01))
    assert ("ight of the red line they count" in said) == (null is NULL)
    assert ("Dotted" in said) == (null is not None)
    assert ("noise ceiling" in said) == has_ceiling
    assert "penalties that were chosen" in said
    nothing = diagnostics._caption(null, has_ceiling, Counted(np.zeros(3, bool), 0.01))
    assert "penalties that were chosen" not in nothing
