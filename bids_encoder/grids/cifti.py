"""Grayordinates: vertices of both hemispheres and voxels, in one CIFTI file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, LabelAxis, ScalarAxis

from bids_encoder.grids.grid import Grid, Meaning
from bids_encoder.grids.structures import CortexVertices, Part, PartsGrid, SubcorticalVoxels
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
    form = "cifti"  # not a field: no annotation

    @classmethod
    def of(cls, axis: BrainModelAxis) -> CiftiGrid:
        """All grayordinates of an axis."""
        parts = tuple(_part(name, model) for name, _, model in axis.iter_structures())
        return cls(parts, axis, np.ones(len(axis), bool))

    def images(self, values: np.ndarray, fill: float, meaning: Meaning) -> dict:
        """Make one CIFTI image: ``dlabel`` where there are names of labels, else ``dscalar``."""
        name = meaning.name or "values"
        if meaning.intent == "label":
            whole = self._whole(values[None], fill)
            table = {0: ("???", (0.0, 0.0, 0.0, 0.0))}
            for key, (label, color) in enumerate(meaning.labels, start=1):
                table[key] = (label, (*rgb_of(color), 1.0))
            image = Cifti2Image(whole, (LabelAxis([name], [table]), self.axis))
            image.nifti_header.set_intent(_LABELS, name="ConnDenseLabel")
            return {None: image}
        return self._scalars(self._whole(values[None], fill), [name])

    def series(self, maps: np.ndarray, titles: Sequence[str], meaning: Meaning) -> dict:
        """Make one CIFTI image, ``dscalar``, with a row for each map."""
        return self._scalars(self._whole(maps, np.nan), list(titles))

    def _whole(self, maps: np.ndarray, fill: float) -> np.ndarray:
        whole = np.full((len(maps), len(self.axis)), fill, np.float32)
        whole[:, self.inside] = maps
        return whole

    def _scalars(self, whole: np.ndarray, names: list[str]) -> dict:
        image = Cifti2Image(whole, (ScalarAxis(names), self.axis))
        image.nifti_header.set_intent(_SCALARS, name="ConnDenseScalar")
        return {None: image}

    def values_of(self, images: Mapping) -> np.ndarray:
        return np.asarray(images[None].dataobj)[0, self.inside]

    def same_frame(self, other: Grid) -> bool:
        return isinstance(other, CiftiGrid) and self.axis == other.axis

    def frame_in_words(self) -> str:
        return f"{len(self.axis)} grayordinates in {len(self.parts)} structures"

    def described(self) -> dict[str, np.ndarray | list[str]]:
        """Its places, and all grayordinates of the axis: files of maps have them all."""
        frame = {
            "grayordinates": np.flatnonzero(self.inside).astype(np.int64),
            "frame_sizes": np.array(
                [len(model) for _, _, model in self.axis.iter_structures()], np.int64
            ),
            "frame_vertices": np.where(self.axis.surface_mask, self.axis.vertex, -1),
        }
        if self.axis.volume_shape is not None and self.axis.volume_mask.any():
            frame |= {
                "frame_indices": np.where(self.axis.volume_mask[:, None], self.axis.voxel, -1),
                "volume_shape": np.array(self.axis.volume_shape),
            }
        return super().described() | frame

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
        return SubcorticalVoxels(short, model.affine, np.asarray(model.voxel))
    return CortexVertices(short, int(model.nvertices[name]), np.asarray(model.vertex))
