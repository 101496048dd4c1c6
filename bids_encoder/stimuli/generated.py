"""Pictures that are drawn when they are needed, and never written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drawn:
    """A picture that a function makes.

    Attributes
    ----------
    draw : callable
        Gives an array (height, width, 3), uint8, the same at every call.
    """

    draw: Callable[[], np.ndarray]

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        pixels = np.ascontiguousarray(self.draw())
        return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
