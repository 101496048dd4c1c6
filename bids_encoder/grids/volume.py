"""Voxels of one volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nibabel
import numpy as np

from bids_encoder.grids.grid import Grid, Meaning
from bids_encoder.grids.neighbourhood import smooth_in_mask, touching


@dataclass(frozen=True, eq=False)
class VolumeGrid(Grid):
    """The voxels of a mask, in C order of its array.

    Attributes
    ----------
    mask : Nifti1Image
        3D; V voxels of it are not zero.
    """

    mask: nibabel.Nifti1Image
    form = None

    @property
    def inside(self) -> np.ndarray:
        """Which voxels these are, (x, y, z) bool."""
        return np.asanyarray(self.mask.dataobj) != 0

    @property
    def n_values(self) -> int:
        return int(np.count_nonzero(self.inside))

    @property
    def places(self) -> np.ndarray:
        return np.argwhere(self.inside)

    def neighbours(self) -> np.ndarray:
        return touching(self.places)

    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        return smooth_in_mask(values, self.inside, sigma)

    def volume(self, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Put one value a voxel back into the brain, (x, y, z) in the type of the values."""
        inside = self.inside
        if values.shape != (np.count_nonzero(inside),):
            raise ValueError(
                f"{values.shape} values do not fit the {np.count_nonzero(inside)} voxels of the "
                "mask"
            )
        volume = np.full(inside.shape, fill, values.dtype)
        volume[inside] = values
        return volume

    def drawn(self, values: np.ndarray) -> np.ndarray:
        return self.volume(np.asarray(values, np.float32))

    def images(self, values: np.ndarray, fill: float, meaning: Meaning) -> dict:
        """Make one image, on the grid of the mask, with its qform, sform and units."""
        image = nibabel.Nifti1Image(self.volume(values, fill), self.mask.affine)
        header = self.mask.header
        # A grid without codes keeps nibabel's own: some viewers ignore or flip code 0.
        if header["qform_code"] or header["sform_code"]:
            image.set_qform(header.get_qform(), int(header["qform_code"]))
            image.set_sform(header.get_sform(), int(header["sform_code"]))
        unit = header.get_xyzt_units()[0]
        image.header.set_xyzt_units("mm" if unit == "unknown" else unit, "sec")
        if meaning.intent != "none":
            image.header.set_intent(meaning.intent, meaning.parameters, meaning.name)
        return {None: image}

    def series(self, maps: np.ndarray, titles: Sequence[str], meaning: Meaning) -> dict:
        """Make one 4D image, one volume a map."""
        volumes = [self.images(values, np.nan, meaning)[None] for values in maps]
        return {None: nibabel.concat_images(volumes)}

    def values_of(self, images: Mapping) -> np.ndarray:
        return np.asarray(images[None].dataobj)[self.inside]

    def same_frame(self, other: Grid) -> bool:
        return (
            isinstance(other, VolumeGrid)
            and self.mask.shape == other.mask.shape
            and np.allclose(self.mask.affine, other.mask.affine, atol=1e-3)
        )

    def frame_in_words(self) -> str:
        return f"{self.mask.shape} voxels, origin {np.round(self.mask.affine[:3, 3], 1)}"

    def restricted(self, keep: np.ndarray) -> VolumeGrid:
        inside = self.inside
        inside[inside] = keep
        mask = nibabel.Nifti1Image(inside.astype(np.uint8), self.mask.affine, self.mask.header)
        mask.set_data_dtype(np.uint8)
        return VolumeGrid(mask)

    def described(self) -> dict[str, np.ndarray | list[str]]:
        return {
            "voxels": np.flatnonzero(self.inside).astype(np.int64),
            "grid": np.array(self.mask.shape),
            "affine": self.mask.affine,
        }
