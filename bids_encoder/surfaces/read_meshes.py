"""Reading the geometry of surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.grids.mesh import Mesh
from bids_encoder.surfaces.gifti import open_gifti, summarize


def count_vertices(path: Path) -> int:
    """How many vertices a mesh, or a map on one, has; no array is decoded.

    Raises
    ------
    DataError
        It is not a whole GIFTI file.
    """
    found = summarize(path)
    for intent, shape in zip(found.intents, found.shapes, strict=True):
        if intent.endswith("POINTSET"):
            return shape[0]
    return found.n_vertices


def load_mesh(path: Path) -> Mesh:
    """Read a mesh.

    Raises
    ------
    MissingInputError, DataError
        It cannot be read, or is no mesh.
    """
    image = open_gifti(path)
    points = image.get_arrays_from_intent("NIFTI_INTENT_POINTSET")
    faces = image.get_arrays_from_intent("NIFTI_INTENT_TRIANGLE")
    if len(points) != 1 or len(faces) != 1:
        raise DataError(
            "This GIFTI file is not a mesh.",
            file=path,
            found=f"{len(points)} sets of points, {len(faces)} of triangles",
            expected="one of each",
            remedy="give the right file, or remove this one",
        )
    coordinates = np.asarray(points[0].data, dtype=np.float64)
    corners = np.asarray(faces[0].data, dtype=np.int64)
    if not np.isfinite(coordinates).all() or corners.min() < 0 or corners.max() >= len(coordinates):
        raise DataError(
            "This mesh is damaged.",
            file=path,
            found=f"{len(coordinates)} points, corners from {corners.min()} to {corners.max()}",
            expected="finite coordinates, and corners that are points",
            remedy="make the surface again",
        )
    return Mesh(coordinates, corners)


def load_meshes(paths: Mapping[str, Path]) -> dict[str, Mesh]:
    """Read the meshes of the hemispheres."""
    return {side: load_mesh(path) for side, path in paths.items()}
