"""Where the values of the runs lie, and reading them there, for each kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.grids.grid import Grid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.bold import BoldInfo, load_bold
from bids_encoder.responses.masks import common_mask

if TYPE_CHECKING:
    from bids_encoder.bids.dataset import Run


def common_grid(runs: Sequence[Run], infos: Sequence[BoldInfo]) -> Grid:
    """The voxels that every run has; see :func:`bids_encoder.responses.masks.common_mask`."""
    return VolumeGrid(common_mask(runs, infos))


def load_values(run: Run, grid: Grid) -> np.ndarray:
    """Read a run where the grid lies: (T, V); see :func:`load_bold`."""
    return load_bold(run.bold, grid.mask)
