"""Which voxels are analysed: one mask for all runs of a participant."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.responses.nifti import BROKEN, open_image, volumes
from bids_encoder.responses.read_bold import ImageInfo

if TYPE_CHECKING:
    from bids_encoder.bids.records import Run

log = logging.getLogger(__name__)

_N_VOLUMES = 40  # enough for a mean image, and for telling which voxels vary
_MASKED_SHARE = 0.5  # share of constant voxels from which on an image counts as masked already


def common_mask(runs: Sequence[Run], infos: Sequence[ImageInfo]) -> nib.Nifti1Image:
    """The voxels that every run has.

    The runs' own brain masks are intersected. Where none has one, masks are computed with a
    warning: the voxels that vary, where at least half of the image is constant because it
    was masked before; else nilearn's EPI mask of the mean image (``compute_epi_mask``),
    within the voxels that vary.

    Parameters
    ----------
    runs : sequence of Run
    infos : sequence of ImageInfo
        The same runs.

    Returns
    -------
    mask : Nifti1Image
        uint8, on the grid of the runs.

    Raises
    ------
    DataError
        The runs lie on different grids, a mask cannot be read, or no voxel is left.
    """
    check_grids(infos)
    masks = [run.mask for run in runs if run.mask is not None]
    if masks:
        if len(masks) < len(runs):
            log.warning(
                "%d of %d runs have no brain mask; the masks of the others are used.",
                len(runs) - len(masks),
                len(runs),
            )
        # Sessions often share one mask file.
        # The plan has said which of them lie elsewhere.
        layers = [read_mask(path, infos[0], level=logging.INFO) for path in dict.fromkeys(masks)]
        source = "the masks of the runs"
    else:
        layers = [_computed_mask(info) for info in infos]
        source = "the masks computed from the runs"
    for path, layer in zip(dict.fromkeys(masks) or [i.path for i in infos], layers, strict=True):
        if not layer.any():
            raise _empty(path, bool(masks))
    inside = np.logical_and.reduce(layers)
    if not inside.any():
        raise DataError(
            "No voxel is inside the mask.",
            file=masks[0] if masks else infos[0].path,
            found=f"an empty intersection of {source} ({len(layers)})",
            expected="voxels that all runs have",
            remedy="leave out the run whose mask is at fault, or give preprocessed data with -d",
        )
    if not masks:
        log.warning(
            "No brain mask was given: it was computed from the BOLD images, and has %d voxels "
            "(%.0f %% of the image). Preprocessed data (-d) bring better ones.",
            inside.sum(),
            100 * inside.mean(),
        )
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_xyzt_units("mm")
    return nib.Nifti1Image(inside.astype(np.uint8), infos[0].affine, header)


def _empty(path: Path, is_mask: bool) -> DataError:
    if is_mask:
        return DataError(
            "This brain mask is empty.",
            file=path,
            found="no voxel above 0.5",
            expected="1 inside the brain",
            remedy="preprocess the run again, or leave it out",
        )
    return DataError(
        "No voxel of this run can be used.",
        file=path,
        found=f"all voxels are constant or not finite over the first {_N_VOLUMES} volumes",
        expected="voxels whose signal changes over time",
        remedy="leave this run out, or give preprocessed data with -d",
    )


def check_grids(infos: Sequence[ImageInfo]) -> None:
    """Refuse runs on different grids.

    Raises
    ------
    DataError
    """
    first = infos[0]
    for info in infos[1:]:
        # A hundredth of a millimetre: what rounding in headers does.
        same = info.shape == first.shape and np.allclose(
            info.volume_affine, first.volume_affine, atol=1e-2
        )
        if not same:
            raise DataError(
                "The runs lie on different grids.",
                file=info.path,
                place="header, dim and affine",
                found=grid_in_words(info),
                expected=f"{grid_in_words(first)}, the grid of {first.path}",
                remedy="give data that were preprocessed into one space (-d, --space), "
                "or choose runs of one session (--session-label)",
            )


def grid_in_words(image: ImageInfo | nib.Nifti1Pair) -> str:
    """Size and place of a grid, for messages."""
    affine = image.volume_affine if isinstance(image, ImageInfo) else image.affine
    sizes = " × ".join(f"{size:.4g}" for size in nib.affines.voxel_sizes(affine))
    origin = ", ".join(f"{value:.4g}" for value in affine[:3, 3])
    return f"{' × '.join(map(str, image.shape[:3]))} voxels of {sizes} mm at ({origin})"


def on_grid(image: nib.Nifti1Pair, info: ImageInfo) -> bool:
    """Whether the voxels of an image are those of a run."""
    return image.shape[:3] == tuple(info.shape) and np.allclose(
        image.affine, info.volume_affine, atol=1e-2
    )


def read_mask(path: Path, info: ImageInfo, *, level: int = logging.WARNING) -> np.ndarray:
    """Read one brain mask as booleans on the grid of the BOLD.

    Parameters
    ----------
    path : Path
    info : ImageInfo
        Of the BOLD.
    level : int
        How loudly it is said that the mask lies on another grid.

    Raises
    ------
    MissingInputError, DataError
        It is not there, not one volume, or damaged.
    """
    image = open_image(path)
    if image.ndim == 4 and image.shape[3] == 1:
        image = image.slicer[..., 0]
    if image.ndim != 3:
        raise DataError(
            "This brain mask is not a single volume.",
            file=path,
            place="header, dim",
            found=" × ".join(map(str, image.shape)),
            expected="three dimensions",
            remedy="name the right mask, or remove this one",
        )
    try:
        if not on_grid(image, info):
            image = _resampled(image, info, path, level)
        values = np.asarray(image.dataobj)
    except BROKEN as trouble:
        raise DataError(
            "This brain mask cannot be read.",
            file=path,
            found=" ".join(str(trouble).split()) or type(trouble).__name__,
            expected="a whole NIfTI image",
            remedy="get the file again (a transfer may have been cut short)",
        ) from trouble
    return np.nan_to_num(values) > 0.5


def _resampled(image: nib.Nifti1Pair, info: ImageInfo, path: Path, level: int) -> nib.Nifti1Image:
    from nilearn.image import resample_img

    resampled = resample_img(
        image,
        target_affine=info.affine,
        target_shape=info.shape,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    before, after = (
        np.count_nonzero(np.nan_to_num(np.asarray(one.dataobj)) > 0.5)
        * abs(np.linalg.det(one.affine[:3, :3]))
        / 1000
        for one in (image, resampled)
    )
    log.log(
        level,
        "%s is on another grid (%s) than the BOLD (%s): each voxel has the value of the nearest "
        "one; of the %.0f cm³ of the mask, %.0f are in the BOLD.",
        path.name,
        grid_in_words(image),
        grid_in_words(info),
        before,
        after,
    )
    return resampled


def _computed_mask(info: ImageInfo) -> np.ndarray:
    """A mask from the first volumes of one run."""
    mean, varies = _mean_and_varying(info)
    if 1 - varies.mean() >= _MASKED_SHARE:
        return varies
    inside = _epi_mask(nib.Nifti1Image(mean, info.affine)) & varies
    # Opening with two voxels erases small images altogether.
    return inside if inside.any() else _epi_mask(nib.Nifti1Image(mean, info.affine), 0) & varies


def _epi_mask(mean: nib.Nifti1Image, opening: int = 2) -> np.ndarray:
    import warnings

    from nilearn.masking import compute_epi_mask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an empty mask; the caller sees it
        mask = compute_epi_mask(mean, opening=opening, exclude_zeros=True)
    return np.asarray(mask.dataobj).astype(bool)


def _mean_and_varying(info: ImageInfo) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first volumes (float32), and which voxels are finite and change there."""
    image = open_image(info.path)
    total = np.zeros(info.shape, dtype=np.float64)
    varies = np.zeros(info.shape, dtype=bool)
    first, count = None, 0
    with np.errstate(invalid="ignore"):
        for volume in volumes(image, info.path, limit=_N_VOLUMES):
            first = volume.copy() if first is None else first
            varies |= volume != first
            total += volume
            count += 1
        finite = np.isfinite(total)
    return np.where(finite, total / count, 0).astype(np.float32), varies & finite
