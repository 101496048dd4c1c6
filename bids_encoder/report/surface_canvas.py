"""On what the maps of an analysis on surfaces are drawn."""

from __future__ import annotations

import numpy as np

from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.report.surface_view import SurfaceView, relief, surface_view
from bids_encoder.surfaces.find_meshes import SurfaceFiles
from bids_encoder.surfaces.gifti import maps
from bids_encoder.surfaces.read_meshes import load_mesh


def surface_canvas(
    written: SavedAnalysis, grid: PartsGrid
) -> tuple[SurfaceView | None, np.ndarray]:
    """The hemispheres of an analysis seen from all sides, and a background for them.

    Parameters and background are those of :func:`surface_meshes`; the view is None where
    there are no meshes.
    """
    meshes, background = surface_meshes(written, grid)
    return surface_view(meshes) if meshes else None, background


def surface_meshes(written: SavedAnalysis, grid: PartsGrid) -> tuple[dict[str, Mesh], np.ndarray]:
    """The hemispheres of an analysis, and the depth of their sulci as a background.

    Parameters
    ----------
    written : SavedAnalysis
    grid : PartsGrid
        Of the analysis.

    Returns
    -------
    meshes : dict of str to Mesh
        By hemisphere; empty where a mesh is not known, or no longer there.
    background : (vertices,) array
    """
    sizes = {side: sheet.n_vertices for side, (sheet, _) in grid.sheets.items()}
    side = written.matching_sidecar("mask") or {}
    files = SurfaceFiles.recalled(written.root, side.get("Surfaces", {}))
    nothing = np.zeros(sum(sizes.values()))
    if not sizes or files.drawn.keys() != sizes.keys():
        return {}, nothing
    meshes = {side: load_mesh(files.drawn[side]) for side in sizes}
    if any(len(meshes[side].coordinates) != size for side, size in sizes.items()):
        return {}, nothing
    depths = None
    if files.folded.keys() == sizes.keys():
        depths = np.concatenate([maps(files.folded[side])[0] for side in sizes])
    return meshes, relief(depths, len(nothing))
