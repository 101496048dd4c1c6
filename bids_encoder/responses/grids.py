"""Where the values of the runs lie, and reading them there, for each kind of image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.structures import with_meshes
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.masks import check_grids, common_mask
from bids_encoder.responses.read_bold import BoldInfo, ImageInfo, describe_bold, load_bold
from bids_encoder.responses.surface_bold import (
    describe_cifti,
    describe_gifti,
    load_cifti,
    load_gifti,
    varying_cifti,
    varying_gifti,
)

if TYPE_CHECKING:
    from bids_encoder.bids.records import BoldRun

logger = logging.getLogger(__name__)


def describe_run(run: BoldRun) -> BoldInfo:
    """Read and check what the headers of a run's images say.

    Raises
    ------
    MissingInputError, DataError
        As :func:`describe_bold`, :func:`describe_gifti` and :func:`describe_cifti`.
    """
    if run.form == "gifti":
        return describe_gifti(run.hemispheres, run.repetition_time)
    if run.form == "cifti":
        return describe_cifti(run.bold, run.repetition_time)
    return describe_bold(run.bold, run.repetition_time)


def check_frames(infos: Sequence[ImageInfo]) -> None:
    """Refuse runs that lie on different grids or meshes.

    Raises
    ------
    DataError
    """
    first = infos[0]
    if first.frame is None:
        check_grids(infos)
        return
    for info in infos[1:]:
        if info.frame is None or not info.frame.same_frame(first.frame):
            raise DataError(
                "The runs lie on different meshes.",
                file=info.path,
                place="number of vertices",
                found="a volume" if info.frame is None else info.frame.frame_in_words(),
                expected=f"{first.frame.frame_in_words()}, as in {first.path}",
                remedy="choose one density with --space (fsLR:den-91k), or preprocess the runs "
                "into one space",
            )


def common_grid(
    runs: Sequence[BoldRun], infos: Sequence[BoldInfo], meshes: Mapping[str, Mesh] | None = None
) -> Grid:
    """The places that every run has.

    In volumes: see :func:`bids_encoder.responses.masks.common_mask`. On surfaces: where the
    values of all runs are finite and change over time.

    Parameters
    ----------
    runs, infos : sequences, one entry a run
    meshes : mapping of str to Mesh, optional
        Geometry of the hemispheres, "L" and "R".

    Raises
    ------
    DataError
        The runs lie on different grids, a file cannot be read, or nothing is left.
    """
    frame = infos[0].frame
    if frame is None:
        return VolumeGrid(common_mask(runs, infos))
    check_frames(infos)
    varying = np.ones(frame.n_values, bool)
    for run in runs:
        ours = varying_gifti(run.hemispheres) if run.form == "gifti" else varying_cifti(run.bold)
        varying &= ours
        if not varying.any():
            raise DataError(
                "No vertex varies in all runs.",
                file=run.bold,
                found=f"{np.count_nonzero(ours)} of {ours.size} vary in this run",
                expected="vertices whose signal changes over time in every run",
                remedy="leave this run out, or check how it was preprocessed",
            )
    if not varying.all():
        logger.info(
            f"{np.count_nonzero(~varying)} of {varying.size} vertices (medial wall, outside the "
            "field of view) have no data that vary, and are left out."
        )
    return with_meshes(frame.restricted(varying), meshes or {})


def load_values(run: BoldRun, grid: Grid) -> np.ndarray:
    """Read a run where the grid lies: (T, V) float32; see :func:`load_bold`."""
    if isinstance(grid, SurfaceGrid):
        return load_gifti(run.hemispheres, grid)
    if isinstance(grid, CiftiGrid):
        return load_cifti(run.bold, grid)
    if isinstance(grid, VolumeGrid):
        return load_bold(run.bold, grid.mask)
    raise TypeError(f"BOLD on a {type(grid).__name__}")
