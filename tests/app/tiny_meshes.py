"""Small spheres, as meshes and as GIFTI files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

from bids_encoder.grids.mesh import Mesh


def sphere(subdivisions: int = 2, radius: float = 10.0, centre: float = 0.0) -> Mesh:
    """An icosahedron whose triangles are divided in four, so many times; centre along x."""
    golden = (1 + 5**0.5) / 2
    points = [
        np.roll([0, a, b * golden], shift) for shift in range(3) for a in (-1, 1) for b in (-1, 1)
    ]
    points = np.array(points, float)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = np.isclose(apart, 2)
    faces = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    points = list(points / np.linalg.norm(points[0]))
    for _ in range(subdivisions):
        middles: dict[tuple[int, int], int] = {}

        def middle(a: int, b: int, middles=middles) -> int:
            key = (min(a, b), max(a, b))
            if key not in middles:
                middles[key] = len(points)
                point = points[a] + points[b]
                points.append(point / np.linalg.norm(point))
            return middles[key]

        faces = [
            new
            for a, b, c in faces
            for ab, bc, ca in [(middle(a, b), middle(b, c), middle(c, a))]
            for new in [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        ]
    return Mesh(radius * np.array(points) + [centre, 0, 0], np.array(faces))


def write_gifti(path: Path, arrays, intent="NIFTI_INTENT_TIME_SERIES", **meta: str) -> Path:
    """Write arrays as GIFTI; float32, or int32 where they are whole numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [
        GiftiDataArray(
            np.ascontiguousarray(a, np.float32 if np.asarray(a).dtype.kind == "f" else np.int32),
            intent=one,
        )
        for a, one in zip(
            arrays, [intent] * len(arrays) if isinstance(intent, str) else intent, strict=True
        )
    ]
    nibabel.save(GiftiImage(meta=GiftiMetaData(**meta), darrays=made), path)
    return path


def write_mesh(path: Path, mesh: Mesh) -> Path:
    """Write a mesh as GIFTI."""
    intents = ["NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"]
    return write_gifti(path, [mesh.coordinates, mesh.faces], intents)
