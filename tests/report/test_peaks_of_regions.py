"""Where along the network regions peak, over participants: what is marked as found."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest

from bids_encoder.report.alt_text import of_plots
from bids_encoder.report.code_figures import peaks


def table(low):
    """One region and three layers, the second of which is highest; ends of its intervals."""
    mean = np.array([0.05, 0.2, -0.1])
    ends = {"low": np.full(3, low), "high": mean + 0.3 if np.isfinite(low) else np.full(3, np.nan)}
    columns = {"region": "V1", "layer": list("abc"), "untested": 0}
    for name in ("pearson", "encoding_r"):
        columns |= {name: mean, **{f"{name}_{end}": values for end, values in ends.items()}}
    return pandas.DataFrame(columns)


@pytest.mark.parametrize(("low", "marked"), [(np.nan, 0), (-0.01, 0), (0.01, 2)])
def test_a_peak_is_marked_only_where_its_interval_lies_above_0(low, marked):
    """Too few participants, or voxels that were not tested, have no interval: nothing is found."""
    [axes] = peaks(table(low)).axes
    symbols = [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    assert len(symbols) == marked
    assert all(line.get_xdata()[0] == 1 for line in symbols)


def test_lines_of_error_bars_have_no_made_up_name():
    figure, axes = plt.subplots()
    axes.errorbar(range(4), [1, 2, 3, 2], [1, 1, 1, 1], label="_r")
    said = of_plots(figure)
    assert "line highest at 2" in said and "legend" not in said
