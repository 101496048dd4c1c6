"""BOLD images: what their header says, and their voxels as a matrix.

An image is read one volume at a time, from plain and from gzipped files alike, so that
the memory needed is that of the voxels inside the mask and of one volume.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.responses.nifti import check_numbers, open_image, volumes

log = logging.getLogger(__name__)

_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True)
class ImageInfo:
    """What the headers of a run's images say, be they BOLD or betas.

    Parameters
    ----------
    path : Path
        The image.
    shape : (x, y, z) or (V,)
        Voxels of one volume, or vertices (grayordinates) of surfaces.
    affine : (4, 4) array or None
        From voxel indices to millimetres; None on surfaces.
    n_volumes : int
        Number of volumes, T, or of maps.
    frame : PartsGrid or None
        On surfaces: all vertices (grayordinates) of the run.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray | None
    n_volumes: int
    frame: PartsGrid | None = field(default=None, kw_only=True)

    @property
    def volume_affine(self) -> np.ndarray:
        """The affine of a volume.

        Raises
        ------
        ValueError
            The images lie on surfaces.
        """
        if self.affine is None:
            raise ValueError(f"{self.path} lies on surfaces, which have no affine")
        return self.affine


@dataclass(frozen=True)
class BoldInfo(ImageInfo):
    """What the header of a BOLD image says.

    Parameters
    ----------
    repetition_time : float
        Seconds from one volume to the next, from the sidecar.
    """

    repetition_time: float

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
    check_numbers(image, path)
    header = image.header
    return BoldInfo(
        path=path,
        shape=shape[:3],
        affine=np.asarray(image.affine, dtype=np.float64),
        n_volumes=shape[3],
        repetition_time=check_repetition_time(
            repetition_time, header["pixdim"][4], header.get_xyzt_units()[1], path
        ),
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
    return mark_unusable(bold, path, "voxels")


def mark_unusable(bold: np.ndarray, path: Path, places: str) -> np.ndarray:
    """Make NaN of what is constant over a run, or not finite, with a warning.

    Parameters
    ----------
    bold : (T, V) float32
        Changed in place.
    path : Path
    places : str
        What they are called: "voxels".

    Raises
    ------
    DataError
        Nothing varies.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        unusable = ~np.isfinite(bold).all(axis=0) | (bold.max(axis=0) == bold.min(axis=0))
    if unusable.all():
        raise DataError(
            f"None of the {places} of this run can be used.",
            file=path,
            found=f"{unusable.size} {places} inside the mask, all of them constant or not finite",
            expected=f"{places} whose signal changes over time",
            remedy="leave this run out, or check how it was preprocessed and masked",
        )
    if unusable.any():
        log.warning(
            "%s: %d of %d %s are constant or not finite over the run; they will score NaN.",
            path.name,
            unusable.sum(),
            unusable.size,
            places,
        )
        bold[:, unusable] = np.nan
    return bold


def check_repetition_time(value: float | None, in_header: float, unit: str, path: Path) -> float:
    """Return the sidecar's repetition time, when it is there and the header does not deny it.

    Parameters
    ----------
    value : float or None
        Seconds, from the sidecar.
    in_header : float
        From the image; 0 where it does not say.
    unit : str
        "sec", "msec", "usec"; another where it does not say.
    path : Path
    """
    in_header = float(in_header)
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
