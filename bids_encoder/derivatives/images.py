"""Reading back the images that we wrote."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialImage

from bids_encoder.bids.safe_gifti import parse_gifti
from bids_encoder.errors import DataError

# What nibabel raises of files that are cut short, damaged, or of another kind.
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    TypeError,
    zlib.error,
    ExpatError,
    nibabel.filebasedimages.ImageFileError,
    nibabel.cifti2.Cifti2HeaderError,
)


def read_images(paths: Mapping[str | None, Path]) -> dict:
    """Open the images of a map and read their numbers.

    Parameters
    ----------
    paths : mapping of str or None to Path
        By hemisphere.

    Raises
    ------
    DataError
        One is missing, cut short or damaged.
    """
    return {hemisphere: _read(path) for hemisphere, path in paths.items()}


def _read(path: Path):
    try:
        if path.name.endswith((".gii", ".gii.gz")):
            surface = parse_gifti(path)
            if not surface.darrays:
                raise ValueError("a GIFTI file without data")
            return surface
        image = nibabel.load(path)
        if not isinstance(image, (nibabel.Cifti2Image, SpatialImage)):
            raise TypeError(f"a {type(image).__name__}")
        numbers = np.asanyarray(image.dataobj)
    except BROKEN as error:
        raise DataError(
            "A map that an earlier run wrote cannot be read.",
            file=path,
            found=" ".join(str(error).split()) or type(error).__name__,
            remedy="remove the folder of this participant and run it again",
        ) from None
    if isinstance(image, nibabel.Cifti2Image):
        return nibabel.Cifti2Image(numbers, image.header, image.nifti_header)
    return type(image)(numbers, image.affine, image.header)
