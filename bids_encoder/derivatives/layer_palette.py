"""The colours of layers, early to late: of label images' tables, figures and the viewer."""

from __future__ import annotations

import numpy as np

# Dark violet to yellow-green: viridis from 0.05 to 0.95, so that neither end is lost on
# white or black; readable in grey and by the colour-blind.
_ANCHORS = np.array(
    [
        (71, 19, 101), (71, 45, 123), (65, 68, 135), (56, 89, 140), (47, 108, 142),
        (39, 126, 142), (33, 144, 141), (31, 162, 135), (47, 180, 124), (80, 196, 106),
        (122, 209, 81), (173, 220, 48), (223, 227, 24),
    ]
)  # fmt: skip


def layer_rgb(n_layers: int) -> np.ndarray:
    """The colours of `n_layers` layers: (n_layers, 3) uint8."""
    where = np.linspace(0, len(_ANCHORS) - 1, n_layers)
    channels = [np.interp(where, range(len(_ANCHORS)), channel) for channel in _ANCHORS.T]
    return np.transpose(channels).round().astype(np.uint8)


def layer_hex(n_layers: int) -> list[str]:
    """The same as ``#rrggbb``."""
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in layer_rgb(n_layers).tolist()]
