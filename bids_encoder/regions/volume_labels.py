"""Regions on the grid of the BOLD: which region each analysed voxel is in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder.derivatives.provenance import content_stamp
from bids_encoder.errors import DataError
from bids_encoder.responses.nifti import BROKEN, open_image, volumes

logger = logging.getLogger(__name__)

# FSL's usual threshold of maximum-probability atlases.
MIN_PROBABILITY = 0.25


@dataclass(frozen=True, eq=False)
class Regions:
    """Which region each analysed voxel is in.

    Attributes
    ----------
    atlas : str
        What files about it are named after: a BIDS label.
    labels : (V,) int32 array
        Number of the region of each voxel of the mask, in C order; 0: none.
    names : dict of int to str
        The regions that are there, by number, in the order of the numbers.
    source : str
        Where they come from, in words.
    stamp : str or None
        Of an atlas that the user named: changes with the content of its files and its names, and
        should be the same for all participants. None of what is each participant's own.
    """

    atlas: str
    labels: np.ndarray
    names: dict[int, str]
    source: str
    stamp: str | None = None


def region_stamp(regions: Regions) -> str:
    """Changes with the name of the atlas, its source, its regions and where they lie."""
    return content_stamp([regions.atlas, regions.source, regions.names, regions.labels])


def label_values(path: Path, mask: nibabel.Nifti1Image) -> np.ndarray:
    """The values of a label image, or the likeliest label of a probabilistic atlas.

    Each voxel takes the value of the image's voxel that its centre lies in (nearest
    neighbour), 0 outside the image. Of a 4D image, whose volumes are probabilities (or
    per cent), a voxel takes the number, from 1, of the highest one, where that is at
    least 25 %.

    Parameters
    ----------
    path : Path
        NIfTI image on any grid in the same space.
    mask : Nifti1Image
        3D, V voxels of it non-zero.

    Returns
    -------
    (V,) int32 array

    Raises
    ------
    MissingInputError
        There is no such file.
    DataError
        It cannot be read, or its values are no labels.
    """
    image = _open(path)
    if image.ndim == 4:
        return _likeliest(image, path, *_nearest(image, mask))
    return _whole(_sampled(image, path, mask), path)


def mask_values(path: Path, mask: nibabel.Nifti1Image) -> np.ndarray:
    """Which voxels of ``mask`` lie in another mask, on any grid: (V,) bool.

    Raises
    ------
    MissingInputError, DataError
        As :func:`label_values`; or it is 4D.
    """
    image = _open(path)
    if image.ndim == 4:
        raise _wrong_shape(path, image, "three dimensions: one mask a file")
    return _sampled(image, path, mask) > 0.5


def _sampled(image, path: Path, mask: nibabel.Nifti1Image) -> np.ndarray:
    inside, at = _nearest(image, mask)
    values = np.zeros(len(inside))
    try:
        values[inside] = np.nan_to_num(np.asarray(image.dataobj)[at])
    except BROKEN as error:
        raise _unreadable(path, error) from error
    return values


def _likeliest(image, path: Path, inside: np.ndarray, at: tuple) -> np.ndarray:
    highest = np.zeros(len(inside), dtype=np.float32)
    labels = np.zeros(len(inside), dtype=np.int32)
    largest = 0.0
    try:
        for number, volume in enumerate(volumes(image, path), start=1):
            values = np.zeros(len(inside), dtype=np.float32)
            values[inside] = np.nan_to_num(volume[at])
            largest = max(largest, float(np.nan_to_num(volume).max()))
            higher = values > highest
            labels[higher], highest[higher] = number, values[higher]
    except DataError as error:
        raise _unreadable(path, error) from error
    scale = 100 if largest > 1.001 else 1
    labels[highest < MIN_PROBABILITY * scale] = 0
    return labels


def to_regions(
    atlas: str,
    labels: np.ndarray,
    names: Mapping[int, str] | None,
    source: str,
    *,
    min_voxels: int = 5,
) -> Regions:
    """Name the regions, and leave out those with too few voxels.

    Parameters
    ----------
    atlas, source : str
        As in :class:`Regions`.
    labels : (V,) int array
    names : mapping of int to str, or None
        Name by number. Numbers without a name are named by themselves; the number 0 is
        no region.
    min_voxels : int
        A region needs so many.
    """
    names = names or {}
    numbers, counts = np.unique(labels[labels != 0], return_counts=True)
    kept = [int(number) for number in numbers[counts >= min_voxels]]
    few = [int(number) for number in numbers[counts < min_voxels]]
    if few:
        listed = ", ".join(names.get(number, str(number)) for number in few[:10])
        logger.info(
            f"Atlas {atlas}: {len(few)} of {len(numbers)} regions have fewer than {min_voxels} "
            f"analysed voxels and are left out: {listed}{', …' if len(few) > 10 else ''}."
        )
    unnamed = [number for number in kept if number not in names]
    if unnamed:
        logger.warning(
            f"Atlas {atlas}: no table names {len(unnamed)} of {len(kept)} regions "
            f"({source}); they are called by their numbers."
        )
    labels = np.where(np.isin(labels, kept), labels, 0).astype(np.int32)
    return Regions(atlas, labels, {n: names.get(n, str(n)) for n in kept}, source)


def join_masks(masks: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Turn masks into labels 1, 2, …; where some overlap the smallest one counts.

    Parameters
    ----------
    masks : sequence of (V,) bool arrays

    Returns
    -------
    labels : (V,) int32 array
    overlap : int
        Number of voxels that are in several masks.
    """
    labels = np.zeros(len(masks[0]), dtype=np.int32)
    sizes = [np.count_nonzero(mask) for mask in masks]
    for place in np.argsort(sizes, kind="stable")[::-1]:
        labels[masks[place]] = place + 1
    return labels, int(np.count_nonzero(np.sum(masks, axis=0) > 1))


def _nearest(image, mask: nibabel.Nifti1Image) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Which voxels of the mask lie in the image, and the voxels of the image they lie in."""
    voxels = np.argwhere(np.asarray(mask.dataobj) != 0)
    to_image = np.linalg.inv(image.affine) @ mask.affine
    # Voxels halfway between two would fall to either side by rounding errors.
    found = np.floor(nibabel.affines.apply_affine(to_image, voxels) + 0.5 - 1e-6).astype(np.int64)
    inside = ((found >= 0) & (found < image.shape[:3])).all(axis=1)
    return inside, tuple(found[inside].T)


def _open(path: Path):
    try:
        image = open_image(path)
    except DataError as error:
        raise _unreadable(path, error) from error
    if image.ndim == 4 and image.shape[3] == 1:
        image = image.slicer[..., 0]
    if image.ndim not in (3, 4):
        raise _wrong_shape(path, image, "three dimensions, or four for a probabilistic atlas")
    return image


def _wrong_shape(path: Path, image, expected: str) -> DataError:
    return DataError(
        "An image of regions has the wrong shape.",
        file=path,
        place="header, dim",
        found=" × ".join(map(str, image.shape)),
        expected=expected,
        remedy="give another file",
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    found = error.problem if isinstance(error, DataError) else " ".join(str(error).split())
    return DataError(
        "An image of regions cannot be read.",
        file=path,
        found=found or type(error).__name__,
        expected="a whole NIfTI image",
        remedy="get the file again (a transfer may have been cut short)",
    )


def _whole(values: np.ndarray, path: Path) -> np.ndarray:
    rounded = np.round(values)
    # Scaled integers come back as floats that are a little off.
    wrong = (np.abs(values - rounded) > 1e-3) | (rounded < 0) | (rounded >= 2**31)
    if wrong.any():
        raise DataError(
            "An image of regions has values that are no labels.",
            file=path,
            place=f"{np.count_nonzero(wrong)} voxels",
            found=f"{values[wrong][0]:g}",
            expected="whole numbers, 0 or more: one for each region",
            remedy="resample label images with nearest neighbour; give probabilities as 4D",
        )
    return rounded.astype(np.int32)
