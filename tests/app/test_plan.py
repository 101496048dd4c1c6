"""What the plan notices before anything is computed."""

from __future__ import annotations

import pytest
from tiny_dataset import write_tiny


@pytest.mark.parametrize("design", ["continuous", "events"])
def test_presentations_without_duration_are_warned_of_where_they_count_for_nothing(
    app, tmp_path, design
):
    tiny = write_tiny(tmp_path / "data", continuous=True)
    tiny.edit_events("\t2\t", "\t0\t", count=3)
    options = ["--features", tiny.features, "--design", design, "--dry-run"]
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0
    assert ("3 presentations have no duration" in end.err) == (design == "continuous")
