"""Figures that are damaged, or on no page any more."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from bids_encoder.errors import DataError
from bids_encoder.report import figures


def drawn(path, of=""):
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, 1])
    figures.save(figure, path, of)
    return path


def test_any_flipped_byte_of_a_figure_is_noticed(tmp_path):
    path = drawn(tmp_path / "a_figure.png", "these pictures")
    assert figures.about(path)["Comment"] == "these pictures"
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert figures.about(path) == {}, place
        with pytest.raises(DataError, match="damaged"):
            figures.checked(path)
    path.write_bytes(whole)
    assert figures.checked(path) == path


def test_only_figures_of_this_program_are_removed(tmp_path, caplog):
    kept = drawn(tmp_path / "a_figure.png")
    drawn(tmp_path / "b_figure.png")
    theirs = tmp_path / "c_figure.png"
    Image.new("RGB", (3, 3)).save(theirs)
    no_figure = tmp_path / "d_figure.png"
    no_figure.write_text("mine")
    figures.remove_old_figures(tmp_path, [kept])
    assert sorted(tmp_path.iterdir()) == [kept, theirs, no_figure]
    assert "b_figure.png" in caplog.text and "c_figure" not in caplog.text
