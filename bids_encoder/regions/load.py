"""Regions of interest: from what the user and the derivatives have to labels of voxels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import nibabel
import numpy as np
from nibabel.affines import apply_affine

from bids_encoder.bids.checksums import checksums
from bids_encoder.bids.records import Dataset, Run
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.provenance import content_stamp
from bids_encoder.errors import DataError, UsageError
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.regions.atlases import OTHER_SPACE, open_atlases
from bids_encoder.regions.find_in_volumes import RegionFiles, find_region_files
from bids_encoder.regions.find_on_surfaces import find_surface_regions
from bids_encoder.regions.label_tables import from_one
from bids_encoder.regions.surface_labels import surface_labels
from bids_encoder.regions.volume_labels import (
    Regions,
    join_masks,
    label_values,
    mask_values,
    to_regions,
)
from bids_encoder.responses.masks import grid_in_words, on_grid
from bids_encoder.responses.nifti import open_image
from bids_encoder.responses.read_bold import ImageInfo

logger = logging.getLogger(__name__)

__all__ = ["RegionFiles", "Regions", "find_regions", "load_regions"]


def find_regions(
    settings: Settings, dataset: Dataset, participant: str, runs: Sequence[Run]
) -> tuple[RegionFiles, ...]:
    """Find the files of regions of one analysis; tables are read, images are not.

    Parameters
    ----------
    settings : Settings
    dataset : Dataset
    participant : str
        Label without ``sub-``.
    runs : sequence of Run
        All in one space.

    Raises
    ------
    MissingInputError, DataError, UsageError
        As :func:`bids_encoder.regions.atlases.open_atlases` raises them; and two atlases
        of one name.
    """
    find = find_surface_regions if runs[0].form else find_region_files
    found = find(dataset, participant, runs)
    try:
        found += open_atlases(
            settings.regions.atlas,
            settings.regions.atlas_labels,
            space=runs[0].space,
            resolution=runs[0].resolution,
            surfaces=runs[0].form is not None,
            allow_downloads=settings.network.allow_downloads,
        )
    except UsageError as error:
        # With several spaces an atlas need not fit all of them.
        if len(settings.selection.space) < 2 or error.problem != OTHER_SPACE:
            raise
        logger.warning(f"Space {runs[0].space}: {error.problem} No fingerprints of its regions.")
    seen: dict[str, RegionFiles] = {}
    for one in found:
        other = seen.setdefault(one.atlas.casefold(), one)
        if other is not one:
            raise UsageError(
                "Two atlases would have the same name in the results.",
                file=one.images[0],
                found=f"{other.source} and {one.source} both become atlas-{one.atlas}",
                expected="names that differ in letters and digits",
                remedy="rename one of the files, or leave it out",
            )
    return tuple(found)


def load_regions(files: Sequence[RegionFiles], grid: Grid) -> tuple[Regions, ...]:
    """Say which region each analysed voxel is in, atlas by atlas.

    Parameters
    ----------
    files : sequence of RegionFiles
        As :func:`find_regions` returns them.
    grid : Grid
        The voxels that are analysed.

    Returns
    -------
    tuple of Regions
        Atlases found among the derivatives that have no region there are left out, with
        a warning.

    Raises
    ------
    DataError
        An image cannot be read or holds no labels, or an atlas that the user named has
        no region there.
    """
    loaded = []
    for one in files:
        regions = _load(one, grid)
        if one.asked:
            names = dict(one.names) if one.names else None
            stamp = content_stamp([one.atlas, checksums(one.images), names])
            regions = replace(regions, stamp=stamp)
        if regions.names:
            loaded.append(regions)
            logger.info(f"Atlas {one.atlas}: {len(regions.names)} regions ({one.source}).")
        elif one.asked:
            raise DataError(
                f"No region of the atlas {one.atlas} lies in the voxels that are analysed.",
                file=one.images[0],
                found=f"atlas: {_extent(open_image(one.images[0]))}; analysed: {_extent(grid.mask)}"
                if isinstance(grid, VolumeGrid)
                else f"{len(regions.labels)} places without a label",
                expected="an atlas in the space of the BOLD",
                remedy="bring the atlas into the space of the BOLD, or choose BOLD in the atlas' "
                "space with --space",
            )
        else:
            logger.warning(
                f"Atlas {one.atlas} ({one.source}) is left out: none of its regions lies in the "
                "voxels that are analysed."
            )
    return tuple(loaded)


def _load(one: RegionFiles, grid: Grid) -> Regions:
    names = one.names
    if isinstance(grid, PartsGrid):
        labels, found = surface_labels(dict(zip(one.sides, one.images, strict=True)), grid)
        return to_regions(one.atlas, labels, names or found, one.source)
    if not isinstance(grid, VolumeGrid):
        raise TypeError(f"regions on a {type(grid).__name__}")
    mask = grid.mask
    if one.masks:
        _warn_of_grids(one, mask)
        labels, overlap = join_masks([mask_values(path, mask) for path in one.images])
        if overlap:
            logger.warning(
                f"Atlas {one.atlas}: {overlap} voxels are in several masks; they count for the "
                "smallest."
            )
    else:
        [path] = one.images
        _warn_of_grids(one, mask)
        labels = label_values(path, mask)
        shape = open_image(path).shape
        if names and len(shape) == 4 and shape[3] > 1:
            names = from_one(names, shape[3])
    return to_regions(one.atlas, labels, names, one.source)


def _warn_of_grids(one: RegionFiles, mask: nibabel.Nifti1Image) -> None:
    """Say that an atlas does not lie where the BOLD does, voxel by voxel."""
    info = ImageInfo(one.images[0], mask.shape, mask.affine, 1)
    others = {path: open_image(path) for path in one.images}
    others = {path: image for path, image in others.items() if not on_grid(image, info)}
    if others:
        path, image = next(iter(others.items()))
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        logger.warning(
            f"Atlas {one.atlas}: {path.name}{more} is on another grid ({grid_in_words(image)}) "
            f"than the BOLD ({grid_in_words(mask)}): each voxel has the label of the nearest one."
        )


def _extent(image: nibabel.Nifti1Pair) -> str:
    """The corners of an image in millimetres."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape[:3]])).reshape(3, -1).T
    corners = apply_affine(image.affine, ends)
    return " to ".join(
        "(" + ", ".join(f"{value:.0f}" for value in corner) + ")"
        for corner in (corners.min(axis=0), corners.max(axis=0))
    )
