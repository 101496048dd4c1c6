"""BOLD images: what their header says, and their voxels as a matrix.

An image is read one volume at a time, from plain and from gzipped files alike, so that
the memory needed is that of the voxels inside the mask and of one volume.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.responses.images import open_image, volumes

log = logging.getLogger(__name__)

_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True)
class BoldInfo:
    """What the header of a BOLD image says.

    Parameters
    ----------
    path : Path
        The image.
    shape : (x, y, z)
        Voxels of one volume.
    affine : (4, 4) array
        From voxel indices to millimetres.
    n_volumes : int
        Number of volumes, T.
    repetition_time : float or None
        Seconds from one volume to the next, from the sidecar. None of precomputed responses.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    n_volumes: int
    repetition_time: float | None

    @property
    def duration(self) -> float:
        """Length of the run in seconds."""
        return self.n_volumes * self.repetition_time


def describe_bold(path: str | Path, repetition_time: float | None) -> BoldInfo:
    """Read and check the header of a BOLD image; no voxel is read.

    Parameters
    ----------
    path : path
        A NIfTI image.
    repetition_time : float or None
        ``RepetitionTime`` of its sidecars, in seconds.

    Raises
    ------
    MissingInputError
        The file, or its git-annex content, is not there.
    DataError
        The file is not NIfTI, is shorter than its header says, is not four-dimensional or
        has a single volume; or the repetition time is missing, impossible, or differs from
        that of the header by more than 1 %.
    """
    path = Path(path)
    image = open_image(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) != 4 or 0 in shape or shape[3] < 2:
        raise DataError(
            "This is not a series of BOLD volumes.",
            file=path,
            place="header, dim",
            found=" × ".join(map(str, shape)),
            expected="four dimensions (x × y × z × time), with at least two volumes",
            remedy="leave this run out, or name the right image with --bids-filter-file",
        )
    if image.dataobj.dtype.kind not in "iuf":
        raise DataError(
            "The voxels of this image are not plain numbers.",
            file=path,
            place="header, datatype",
            found=str(image.dataobj.dtype),
            expected="integers or real numbers",
            remedy="convert it to float32",
        )
    return BoldInfo(
        path=path,
        shape=shape[:3],
        affine=np.asarray(image.affine, dtype=np.float64),
        n_volumes=shape[3],
        repetition_time=_check_repetition_time(repetition_time, image.header, path),
    )


def load_bold(path: str | Path, mask: nib.Nifti1Image) -> np.ndarray:
    """Read the voxels inside a mask.

    Parameters
    ----------
    path : path
        A four-dimensional NIfTI image.
    mask : Nifti1Image
        Voxels to read, on the grid of the image.

    Returns
    -------
    bold : (T, V) float32
        In the units of the image; voxels in the order of ``nilearn.masking`` (C order of the
        mask array). Voxels that are constant over the run, or have a value that is not
        finite, are NaN throughout.

    Raises
    ------
    MissingInputError
        The file, or its git-annex content, is not there.
    DataError
        The file ends early or is damaged, its grid is not that of the mask, or no voxel varies.
    """
    path = Path(path)
    image = open_image(path)
    inside = np.asarray(mask.dataobj).astype(bool)
    if image.ndim != 4 or image.shape[:3] != inside.shape:
        raise DataError(
            "This image is not on the grid of the mask.",
            file=path,
            place="header, dim",
            found=" × ".join(map(str, image.shape)),
            expected=" × ".join(map(str, inside.shape)) + " × time",
            remedy="give a mask on the grid of the image",
        )
    bold = np.empty((image.shape[3], int(inside.sum())), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for row, volume in zip(bold, volumes(image, path), strict=True):
            row[:] = volume[inside]
        unusable = ~np.isfinite(bold).all(axis=0) | (bold.max(axis=0) == bold.min(axis=0))
    if unusable.all():
        raise DataError(
            "No voxel of this run can be used.",
            file=path,
            found=f"{unusable.size} voxels inside the mask, all of them constant or not finite",
            expected="voxels whose signal changes over time",
            remedy="leave this run out, or check how it was preprocessed and masked",
        )
    if unusable.any():
        log.warning(
            "%s: %d of %d voxels are constant or not finite over the run; they will score NaN.",
            path.name,
            unusable.sum(),
            unusable.size,
        )
        bold[:, unusable] = np.nan
    return bold


def _check_repetition_time(value: float | None, header: nib.Nifti1Header, path: Path) -> float:
    """Return the sidecar's repetition time, when it is there and the header does not deny it."""
    in_header = float(header["pixdim"][4])
    unit = header.get_xyzt_units()[1]
    stated = f"{in_header:g} ({unit if unit in _SECONDS_PER_UNIT else 'no unit'})"
    sidecar = path.name.split(".")[0] + ".json"
    place = f"RepetitionTime in {sidecar} (or in a sidecar that it inherits from)"
    if value is None:
        raise DataError(
            "The repetition time of this run is missing.",
            file=path,
            place=place,
            found=f"no such key; the image header says {stated}",
            expected="seconds from one volume to the next",
            remedy=f'add "RepetitionTime" to {sidecar}',
        )
    # No scanner takes 100 s for a volume: such values are milliseconds.
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not numeric or not 0 < value < 100:
        raise DataError(
            "The repetition time of this run is impossible.",
            file=path,
            place=place,
            found=repr(value),
            expected=f"seconds, more than 0 and less than 100; the image header says {stated}",
            remedy="write RepetitionTime in seconds",
        )
    # Without a unit, 0 and 1 are what software writes that knows nothing, and a time may be
    # in seconds or in milliseconds.
    known = [_SECONDS_PER_UNIT[unit]] if unit in _SECONDS_PER_UNIT else [1.0, 1e-3]
    unset = in_header == 0 or not math.isfinite(in_header)
    default = in_header == 1 and unit not in _SECONDS_PER_UNIT
    agrees = any(abs(in_header * scale - value) <= 0.01 * value for scale in known)
    if not (unset or default or agrees):
        raise DataError(
            "The repetition time of the sidecar contradicts the image header.",
            file=path,
            place=place,
            found=f"{value:g} s in the sidecar, {stated} in the header",
            expected="the same within 1 %",
            remedy="find out which is right (the scanner's protocol), and mend the other",
        )
    return float(value)
