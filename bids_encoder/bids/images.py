"""Reading back the images that we wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder.errors import DataError


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
        image = nibabel.load(path)
        numbers = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(
            "A map that an earlier run wrote cannot be read.",
            file=path,
            found=" ".join(str(error).split()) or type(error).__name__,
            remedy="remove the folder of this participant and run it again",
        ) from None
    return type(image)(numbers, image.affine, image.header)
