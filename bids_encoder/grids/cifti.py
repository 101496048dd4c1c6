"""Grayordinates: vertices of both hemispheres and voxels, in one CIFTI file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis

from bids_encoder.grids.grid import Meaning
from bids_encoder.grids.parts import Block, Part, PartsGrid, Sheet
from bids_encoder.grids.surface import rgb_of

_SCALARS, _LABELS = 3006, 3007  # NIfTI intents of dscalar and dlabel


@dataclass(frozen=True, eq=False)
class CiftiGrid(PartsGrid):
    """Some of the grayordinates of a brain-model axis, in its order.

    Attributes
    ----------
    axis : BrainModelAxis
        Of the file: N grayordinates.
    inside : (N,) bool array
        V of them.
    """

    axis: BrainModelAxis
    inside: np.ndarray

    @classmethod
    def of(cls, axis: BrainModelAxis) -> CiftiGrid:
        """All grayordinates of an axis."""
        parts = tuple(_part(name, model) for name, _, model in axis.iter_structures())
        return cls(parts, axis, np.ones(len(axis), bool))

    def images(self, values: np.ndarray, fill: float, meaning: Meaning) -> dict:
        """Make one CIFTI image: ``dlabel`` where there are names of labels, else ``dscalar``."""
        whole = np.full((1, len(self.axis)), fill, np.float32)
        whole[0, self.inside] = values
        name = meaning.name or "values"
        if meaning.intent == "label":
            table = {0: ("???", (0.0, 0.0, 0.0, 0.0))}
            for key, (label, color) in enumerate(meaning.labels, start=1):
                table[key] = (label, (*rgb_of(color), 1.0))
            image = Cifti2Image(whole, (LabelAxis([name], [table]), self.axis))
            image.nifti_header.set_intent(_LABELS, name="ConnDenseLabel")
        else:
            image = Cifti2Image(whole, (ScalarAxis([name]), self.axis))
            image.nifti_header.set_intent(_SCALARS, name="ConnDenseScalar")
        return {None: image}

    def values_of(self, images: Mapping) -> np.ndarray:
        return np.asarray(images[None].dataobj)[0, self.inside]

    def same_frame(self, other: CiftiGrid) -> bool:
        return self.axis == other.axis

    def frame_in_words(self) -> str:
        return f"{len(self.axis)} grayordinates in {len(self.parts)} structures"

    def restricted(self, keep: np.ndarray) -> CiftiGrid:
        inside = self.inside.copy()
        inside[inside] = keep
        return replace(self, parts=self._restricted_parts(keep), inside=inside)


def cifti_frame(image: Cifti2Image) -> CiftiGrid:
    """All grayordinates that a dense image has."""
    return CiftiGrid.of(image.header.get_axis(1))


def is_cifti(image) -> bool:
    """Whether an image is CIFTI."""
    return isinstance(image, nibabel.Cifti2Image)


def _part(name: str, model: BrainModelAxis) -> Part:
    short = name.removeprefix("CIFTI_STRUCTURE_")
    if model.volume_shape is not None and not model.surface_mask.any():
        return Block(short, model.affine, np.asarray(model.voxel))
    return Sheet(short, int(model.nvertices[name]), np.asarray(model.vertex))
