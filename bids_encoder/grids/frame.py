"""From images back to grids."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel
import numpy as np

from bids_encoder.grids.cifti import cifti_frame, is_cifti
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.surface import surface_frame
from bids_encoder.grids.volume import VolumeGrid


def frame_of(images: Mapping) -> VolumeGrid | PartsGrid:
    """All places that the images of a map have.

    Parameters
    ----------
    images : mapping
        As :meth:`bids_encoder.grids.grid.Grid.images` makes them, or read back.
    """
    if None not in images:
        return surface_frame(images)
    image = images[None]
    if is_cifti(image):
        return cifti_frame(image)
    inside = np.ones(image.shape, np.uint8)
    mask = nibabel.Nifti1Image(inside, image.affine, image.header)
    mask.set_data_dtype(np.uint8)
    return VolumeGrid(mask)


def grid_of(images: Mapping) -> VolumeGrid | PartsGrid:
    """The places where a mask is not zero."""
    frame = frame_of(images)
    return frame.restricted(frame.values_of(images) != 0)
