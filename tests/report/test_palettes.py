"""One colour for one thing: in tables of label images, in figures and in the viewer."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from bids_encoder.derivatives.layer_palette import layer_hex
from bids_encoder.report import figures, interactive, retinotopy
from bids_encoder.report.palettes import layer_colors
from bids_encoder.report.viewer import label_colors


@pytest.mark.parametrize("n_layers", [1, 2, 9, 20])
def test_a_layer_has_one_colour_everywhere(n_layers):
    of_files = layer_hex(n_layers)
    of_figures = [to_hex(color) for color in layer_colors(n_layers).colors]
    table = label_colors(n_layers)
    # As the viewer looks colours up: 1 to 255 from 0.5 to n + 0.5.
    places = [1 + round((number - 0.5) / n_layers * 254) for number in range(1, n_layers + 1)]
    of_viewer = [to_hex(table[place] / 255) for place in places]
    assert of_files == of_figures == of_viewer
    assert len(set(of_files)) == n_layers


def test_the_layers_colours_are_viridis_nearly():
    viridis = colormaps["viridis"](np.linspace(0.05, 0.95, 40))[:, :3]
    assert np.abs(layer_colors(40).colors - viridis).max() < 0.02


def test_eccentricity_has_one_scale_in_figure_and_viewer(volume, monkeypatch, tmp_path):
    _, maps = volume
    drawn = {}
    monkeypatch.setattr(figures, "save", lambda *_: None)
    monkeypatch.setattr(retinotopy, "_path", lambda *_: tmp_path)
    there = np.ones(maps.inside.shape, bool)
    seen = SimpleNamespace(**vars(maps), rows=lambda rows, **style: drawn.update(style))
    written = SimpleNamespace(**vars(maps.written))
    retinotopy._eccentricity_figure(written, seen, there)

    def values(kind, **names):
        return maps.drawn(kind)[maps.inside]

    shown = interactive._shown_maps(maps, np.ones((4, maps.inside.sum())), values)
    [one] = [one for one in shown if one.title == "eccentricity"]
    assert (one.vmin, one.vmax) == (drawn["vmin"], drawn["vmax"]) == (0.0, 4.0)
    table = colormaps[drawn["colors"]](np.linspace(0, 1, 256))[:, :3] * 255
    assert np.abs(one.colors - table).max() <= 0.5
