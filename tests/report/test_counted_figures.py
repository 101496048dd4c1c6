"""Figures draw what passed, and say where nothing did."""

import nibabel
import numpy as np
import pandas
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from bids_encoder.derivatives.counted import NOT_TESTED, Counted
from bids_encoder.report import figures
from bids_encoder.report.fingerprints import Panel, fingerprints
from bids_encoder.report.profiles import group_profile, profile

NOTE = "No voxels are predicted better than chance (q ≤ 0.01)."


def pixels(figure) -> np.ndarray:
    """The figure as (H, W, 3) numbers from 0 to 1."""
    figure.set_dpi(60)
    figure.canvas.draw()
    made = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
    plt.close(figure)
    return made


def is_coloured(image: np.ndarray) -> np.ndarray:
    """Pixels that are neither grey nor of the red in which warnings are written."""
    red, green, blue = np.moveaxis(image, -1, 0)
    warning = (red > green) & (np.abs(green - blue) < 0.12)  # the red, over white or grey
    greyish = np.ptp(image, axis=-1) < 0.13
    return ~(greyish | warning)


def texts(figure) -> str:
    """All that is written in a figure, without line ends."""
    figure.canvas.draw()
    return " ".join(text.get_text() for text in figure.findobj(plt.Text)).replace("\n", " ")


def brain():
    mask = np.zeros((8, 9, 6), np.uint8)
    mask[1:-1, 1:-1, 1:-1] = 1
    image = nibabel.Nifti1Image(mask, np.diag([2.0, 2, 2, 1]))
    return np.where(mask, 100.0, np.nan), figures.view_of(image, mask.astype(float))


def test_an_empty_brain_says_so_and_shows_no_colour():
    figure = figures.empty_row(*brain(), NOTE)
    assert NOTE in texts(figure) and "Nothing is drawn." in texts(figure)
    image = pixels(figure)
    assert not is_coloured(image).any()
    assert (np.abs(image - to_rgb(figures.WARNING["color"])).max(-1) < 0.05).any()


def test_a_note_stands_in_a_figure_of_maps():
    background, view = brain()
    values = np.where(np.isfinite(background), 0.9, np.nan)
    style = {"vmin": 0, "vmax": 1, "colors": "viridis"}
    figure = figures.map_rows([("a", values)], background, view, note="Not tested", **style)
    assert "Not tested" in texts(figure)
    assert is_coloured(pixels(figure)).any()
    assert "Not tested" not in texts(
        figures.map_rows([("a", values)], background, view, **style)
    )  # fmt: skip


def test_the_profile_counts_the_voxels_that_passed():
    random = np.random.default_rng(0)
    scores, best = random.normal(0, 0.1, (3, 500)), random.integers(1, 4, 500)
    where = np.arange(500) < 40
    scores[2, where] += 0.5
    left, right = profile(["a", "b", "c"], scores, best, Counted(where, 0.01)).axes
    counts = np.bincount(best[where], minlength=4)[1:]
    assert [bar.get_height() for bar in right.patches] == counts.tolist()
    np.testing.assert_allclose(left.lines[0].get_ydata(), scores[:, where].mean(axis=1))
    assert "40 voxels predicted better than chance (q ≤ 0.01)" in right.get_title()
    assert "predicted better than chance" in left.get_legend().get_texts()[0].get_text()


def test_the_profile_of_noise_is_empty_and_says_so():
    counted = Counted(np.zeros(500, bool), 0.01)
    figure = profile(["a", "b"], np.ones((2, 500)), np.ones(500, int), counted)
    assert not any(axes.lines or axes.patches for axes in figure.axes)
    assert texts(figure).count("better than chance (q ≤ 0.01).") == 2


def test_the_profile_of_what_was_not_tested_says_so():
    figure = profile(["a", "b"], np.ones((2, 50)), np.ones(50, int), Counted(np.ones(50, bool)))
    assert "all 50 scored voxels, not tested" in texts(figure)


def test_the_profile_of_the_group_leaves_out_who_has_nothing():
    known, nothing = np.array([0.2, 0.4]), np.full(2, np.nan)
    figure = group_profile(["a", "b"], {"sub-01": known, "sub-02": nothing}, "voxels")
    [axes] = figure.axes
    assert len(axes.lines) == 2 and "1 of 2 participants" in axes.get_title()
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), known)  # the mean
    empty = group_profile(["a", "b"], {"sub-02": nothing}, "voxels that passed")
    assert not empty.axes[0].lines and "No participant has voxels that passed" in texts(empty)


@pytest.mark.parametrize("weak", [True, False])
def test_a_weak_region_is_pale_and_has_no_interval(weak):
    values, low, high = np.array([0.8, 1.0]), np.array([0.7, 1.0]), np.array([0.9, 1.0])
    panel = Panel("weak: no voxel passes" if weak else "5 pass", "V1", values, low, high, weak)
    figure = fingerprints(["a", "b"], [panel])
    [axes] = figure.axes
    assert len(axes.collections) == (0 if weak else 3)  # bars, dots, the filled one
    assert axes.lines[0].get_linestyle() == ("--" if weak else "-")
    assert ("weak: no voxel passes" in texts(figure)) == weak
    assert is_coloured(pixels(figure)).any() != weak


def test_a_weak_participant_is_dashed_in_the_group():
    each = pandas.DataFrame({"sub-01": [0.5, 1.0], "sub-02": [1.0, 0.2]})
    mean = each["sub-01"].to_numpy()
    panel = Panel("n = 1", "V1", mean, mean, mean, False, each, ["sub-02"])
    [axes] = fingerprints(["a", "b"], [panel]).axes
    assert [line.get_linestyle() for line in axes.lines[:2]] == ["-", "--"]


def test_words_about_what_counts():
    nobody, some = Counted(np.zeros(5, bool), 0.05), Counted(np.arange(5) < 2, 0.05, "vertices")
    everything = Counted(np.ones(5, bool))
    assert nobody.none_passed and not some.none_passed and not everything.none_passed
    assert some.note == "" and some.said == "2 vertices predicted better than chance (q ≤ 0.05)"
    assert nobody.note == nobody.drawn == NOTE.replace("0.01", "0.05")
    assert everything.note.startswith(NOT_TESTED) and "all scored voxels" in everything.note
    assert everything.rule == "all scored voxels, not tested"
    assert "predicted" not in everything.rule + everything.said + everything.note
