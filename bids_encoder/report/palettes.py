"""The colours of maps: each kind of number has one scale, in figures and in the viewer."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap

from bids_encoder.derivatives.layer_palette import layer_rgb

INK = "#3b4252"
GREYS = LinearSegmentedColormap.from_list("greys", ["#8b929e", "#eceff4"])
SCORES = "inferno"
SLOPES = "PuOr_r"  # early is violet, late is orange
EFFECTS = "RdBu_r"  # negative is blue, positive is red
CEILINGS = "bone"
PEAKS = "Spectral"  # early is red, late is blue
ECCENTRICITIES = "plasma_r"  # the centre is light
SHARES = "BuPu"
_LIGHTNESS, _CHROMA = 0.72, 0.125  # the largest circle of colours that screens can show


def layer_colors(n_layers: int) -> ListedColormap:
    """One colour a layer, early (dark) to late (light), as in the tables of label images."""
    return ListedColormap(layer_rgb(n_layers) / 255)


def wheel_colors(number: int = 256) -> ListedColormap:
    """Colours of equal lightness around a circle, from -180° to 180°; red at 0°."""
    hue = np.deg2rad(np.linspace(-180, 180, number, endpoint=False) + 25)
    a, b = _CHROMA * np.cos(hue), _CHROMA * np.sin(hue)
    # OKLab to sRGB: https://bottosson.github.io/posts/oklab/
    cone = np.stack(
        [
            _LIGHTNESS + 0.3963377774 * a + 0.2158037573 * b,
            _LIGHTNESS - 0.1055613458 * a - 0.0638541728 * b,
            _LIGHTNESS - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_rgb @ cone**3, 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return ListedColormap(rgb.T)
