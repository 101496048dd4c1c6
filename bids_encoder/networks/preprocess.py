"""Pictures as a network wants them: size, centring, colour order, units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from bids_encoder.stimuli.images import GREY

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """uint8 (H, W, 3) RGB -> float32 tensor (3, size, size).

    The whole picture is shown to the network: scaled (with anti-aliasing) until
    its longer side fits the input, centred, and surrounded by uniform mid-grey,
    as on a screen. Nothing is cropped or stretched, so that a place in a layer
    is a place on the screen. (torchvision's own recipe crops an eighth of each
    side, which scores slightly better at naming objects.)

    Attributes
    ----------
    size : int
        Side of the network's input, in pixels.
    mean, std : three floats
        Subtracted, divided by; R, G, B order, in units of 0..255.
    bgr : bool
        The network wants blue first.
    interpolation : "bilinear" or "bicubic"
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False
    interpolation: str = "bilinear"

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        planes = fit_to_square(image, self.size, self.interpolation).transpose(2, 0, 1)
        scaled = planes.astype(np.float32, order="C")
        scaled -= np.float32(self.mean)[:, None, None]
        scaled /= np.float32(self.std)[:, None, None]
        return torch.from_numpy(scaled[::-1].copy() if self.bgr else scaled)

    @property
    def description(self) -> str:
        """What is done, in words; two recipes that differ have different words."""
        order = "BGR" if self.bgr else "RGB"
        return (
            f"whole picture scaled ({self.interpolation}) to fit {self.size} x {self.size}, "
            f"margins grey {GREY}; minus {self.mean}, divided by {self.std} (RGB); fed as {order}"
        )


def fit_to_square(image: np.ndarray, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Scale a picture (H, W, 3) to fit a square of side `size`, margins mid-grey."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = np.asarray(Image.fromarray(image).resize(new, _FILTERS[interpolation]))
    square = np.full((size, size, 3), GREY, np.uint8)
    top, left = (size - new[1]) // 2, (size - new[0]) // 2
    square[top : top + new[1], left : left + new[0]] = scaled
    return square
