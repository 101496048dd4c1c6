"""Retinotopic stimuli: pictures seen through wedges and rings with soft edges.

The screen is the square that a network sees, its centre the point that is fixated. Eccentricities
are in units of half its width, so that 1 is the end of the horizontal meridian; nothing is shown
beyond that. Angles are in degrees: 0 is the right horizontal meridian, 90 the upper vertical one.
Outside of the aperture is uniform grey, by default mid-grey.

Wedges and the softness of edges are those of Eickenberg et al. 2017 (synthesized retinotopy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from bids_encoder.stimuli.images import GREY

WEDGE_STEP = 15.0
"""Degrees from one wedge to the next."""
WEDGE_WIDTH = 30.0
"""Degrees of the angle of a wedge."""
EDGE = 0.02
"""Standard deviation of the Gaussian that softens edges, in units of the screen's width."""
N_RINGS = 12
RING_LIMITS = (0.06, 1.0)
"""Inner edge of the smallest ring and outer edge of the largest one; the smallest is filled."""
SIDE = 256
"""Pixels of the screen's side."""


@dataclass(frozen=True, eq=False)
class Aperture:
    """A part of the screen.

    Attributes
    ----------
    name : str
    angle : float or None
        Degrees of the middle of a wedge; None for rings.
    eccentricity : float or None
        Geometric mean of the edges of a ring; None for wedges.
    mask : (SIDE, SIDE) float32 array
        0 where nothing is seen, 1 where the picture is.
    """

    name: str
    angle: float | None
    eccentricity: float | None
    mask: np.ndarray


def wedges(side: int = SIDE) -> tuple[Aperture, ...]:
    """24 wedges, 30° wide, in steps of 15°, counter-clockwise from the right."""
    radius, angle = _polar(side)
    found = []
    for middle in np.arange(0, 360, WEDGE_STEP):
        away = np.abs((angle - middle + 180) % 360 - 180)
        inside = (away <= WEDGE_WIDTH / 2) & (radius <= 1)
        found.append(Aperture(f"wedge-{middle:03.0f}", float(middle), None, _soften(inside)))
    return tuple(found)


def rings(side: int = SIDE) -> tuple[Aperture, ...]:
    """12 rings; each reaches over two of 13 equal steps of the logarithm of eccentricity."""
    radius, _ = _polar(side)
    edges = np.geomspace(*RING_LIMITS, N_RINGS + 2)
    found = []
    for k in range(N_RINGS):
        inner, outer = edges[k], edges[k + 2]
        inside = (radius <= outer) & ((radius >= inner) | (k == 0))
        middle = float(np.sqrt(inner * outer))
        found.append(Aperture(f"ring-{k + 1:02d}", None, middle, _soften(inside)))
    return tuple(found)


def fill_screen(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Cut the largest square from the middle of a picture and scale it: (side, side, 3) uint8."""
    height, width = picture.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    image = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)


def see_through(picture: np.ndarray, aperture: Aperture, surround: int = GREY) -> np.ndarray:
    """Show a picture (SIDE, SIDE, 3), uint8, through an aperture, on uniform grey."""
    share = aperture.mask[..., None]
    return np.rint(share * picture + (1 - share) * np.float32(surround)).astype(np.uint8)


def _polar(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Eccentricity (1: half of the side) and angle (degrees) of each pixel's middle."""
    x = (np.arange(side) + 0.5) / side * 2 - 1
    right, up = np.meshgrid(x, -x)
    return np.hypot(right, up), np.degrees(np.arctan2(up, right))


def _soften(inside: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(
        inside.astype(np.float32), EDGE * len(inside), mode="constant", cval=0.0
    )
