"""What the code asks of a place where values lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Meaning:
    """What the numbers of a map are, as image formats want to know it.

    Attributes
    ----------
    intent : str
        NIfTI intent, as nibabel names it: "none", "estimate", "t test", "p value", "label".
    parameters : tuple of float
        Of the intent: degrees of freedom.
    name : str
        What viewers show, at most 15 letters.
    labels : tuple of (str, str)
        Name and colour (``#rrggbb``) of the labels 1, 2, …; of label images only.
    """

    intent: str = "none"
    parameters: tuple[float, ...] = ()
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()


class Grid(Protocol):
    """V places, of which each has one value in every map.

    A grid is a part of a frame: some voxels of a volume, some vertices of two meshes. Every kind
    of grid derives from this class, so that none can lack a part of it.
    """

    @property
    @abstractmethod
    def form(self) -> str | None:
        """What its images are: "gifti", "cifti"; None: NIfTI volumes."""

    @property
    @abstractmethod
    def n_values(self) -> int:
        """How many places there are: V."""

    @property
    @abstractmethod
    def places(self) -> np.ndarray:
        """Where they lie, (V, 3), in units of the distance between neighbours."""

    @abstractmethod
    def neighbours(self) -> np.ndarray:
        """Pairs of places that touch each other, as (P, 2) indices; each pair once."""

    @abstractmethod
    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        """Smooth maps with a Gaussian that uses nothing from outside the grid.

        Parameters
        ----------
        values : (L, V) array
        sigma : float
            Standard deviation, in units of the distance between neighbours.

        Returns
        -------
        (L, V) array
            NaN where some map has none.
        """

    @abstractmethod
    def images(self, values: np.ndarray, fill: float, meaning: Meaning) -> dict:
        """Make the images of a map, by hemisphere; None where one image holds everything.

        Parameters
        ----------
        values : (V,) array
            Kept in its type.
        fill : number
            The value everywhere else in the frame.
        meaning : Meaning
        """

    @abstractmethod
    def series(self, maps: np.ndarray, titles: Sequence[str], meaning: Meaning) -> dict:
        """Make images of m maps (m, V), NaN outside of the grid; see `images`.

        In a volume one volume a map, in GIFTI one data array, in CIFTI one row; these two
        keep the titles of the maps.
        """

    @abstractmethod
    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Values (V,) as an array that figures show, NaN elsewhere: (x, y, z) or (vertices,)."""

    @abstractmethod
    def values_of(self, images: Mapping) -> np.ndarray:
        """Take the values (V,) out of images as `images` makes them."""

    @abstractmethod
    def same_frame(self, other: Grid) -> bool:
        """Whether both are parts of one frame, so that their maps can be averaged."""

    @abstractmethod
    def frame_in_words(self) -> str:
        """What the frame is, for messages."""

    @abstractmethod
    def restricted(self, keep: np.ndarray) -> Grid:
        """The grid of some of its places, (V,) bool."""

    @abstractmethod
    def described(self) -> dict[str, np.ndarray | list[str]]:
        """What a model file says of its columns: arrays by name."""
