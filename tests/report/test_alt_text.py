"""What figures say of themselves in words."""

import numpy as np
from PIL import Image

from bids_encoder.report import alt_text, figures
from bids_encoder.report.page import Figure


def test_maps_tell_how_much_is_drawn_and_its_range():
    values = np.array([np.nan, 0.25, 0.5, 1.0])
    said = alt_text.of_maps([("conv1", values), ("fc6", np.full(4, np.nan))], ("z = 1", "z = 2"))
    assert "conv1: 3 places drawn, 0.25 to 1, median 0.5." in said
    assert "fc6: nothing is drawn." in said and "2 slices, z = 1 to z = 2" in said
    labels = alt_text.of_maps([("best", np.array([1, 2, 2, np.nan]))], ("left",), {1: "a", 2: "b"})
    assert "a 1, b 2" in labels


def test_plots_tell_their_extremes_by_the_names_of_ticks(tmp_path):
    figure, (left, right) = figures.plt.subplots(1, 2)
    left.plot([0, 1, 2], [0.1, 0.4, -0.2], label="mean")
    left.set_xticks([0, 1, 2], ["conv1", "conv2", "fc6"])
    left.set_ylabel("r")
    right.bar([0, 1, 2], [3, 1, 2])
    right.set_xticks([0, 1, 2], ["conv1", "conv2", "fc6"])
    path = tmp_path / "x.png"
    figures.save(figure, path)
    said = Image.open(path).info["Description"]
    assert "r: mean highest at conv2 (0.4), lowest at fc6 (-0.2)" in said
    assert "3 bars, highest at conv1 (3)" in said
    shown = Figure("A title", path, "A caption.")
    assert shown.alt == said and "A title" not in said


def test_long_figures_are_cut_between_sentences():
    rows = [(f"layer {i}", np.arange(5.0)) for i in range(60)]
    said = alt_text.of_maps(rows, ("z = 1",))
    assert len(said) < 1000 and said.endswith("more.")


def test_there_is_no_negative_zero():
    said = alt_text.of_maps([("x", np.array([-0.0, -0.0]))], ())
    assert "-0" not in said
