"""Inflated hemispheres seen from several sides, drawn vertex by vertex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bids_encoder.grids.mesh import Mesh

_WIDTH = 340  # pixels of a tile
_MARGIN = 4
_DEEPEST = 8  # how finely a triangle is sampled, at most
# Hemisphere, name; the viewer's direction, what is to the right, what is up.
_SIDES = (
    ("L", "left, lateral", (-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    ("L", "left, medial", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ("L", "left, ventral", (0, 0, -1), (0, 1, 0), (1, 0, 0)),
    ("R", "right, ventral", (0, 0, -1), (0, 1, 0), (1, 0, 0)),
    ("R", "right, medial", (-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    ("R", "right, lateral", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
)


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """Hemispheres as pictures, each of whose pixels shows one vertex.

    Attributes
    ----------
    tiles : tuple of (height, width) int arrays
        Which vertex a pixel shows, of those of both hemispheres; -1: none.
    shades : tuple of (height, width) arrays
        How much light falls on it, 0 to 1.
    titles : tuple of str
    """

    tiles: tuple[np.ndarray, ...]
    shades: tuple[np.ndarray, ...]
    titles: tuple[str, ...]
    aspect = 1.0

    def slices(self, values: np.ndarray) -> list[np.ndarray]:
        """Pictures of a map, (vertices of both hemispheres,); NaN where there is none."""
        return [np.where(tile >= 0, values[tile], np.nan) for tile in self.tiles]

    def under(self, background: np.ndarray) -> list[np.ndarray]:
        """Pictures of a background, -1 to 1, with light from the viewer."""
        return [
            picture + 1.2 * (shade - 1)
            for picture, shade in zip(self.slices(background), self.shades, strict=True)
        ]


def surface_view(meshes: Mapping[str, Mesh]) -> SurfaceView:
    """Look at the hemispheres from the side, the middle and below.

    Parameters
    ----------
    meshes : mapping of str to Mesh
        Inflated ones: "L", "R".
    """
    first = dict(zip(meshes, np.cumsum([0, *(len(m.coordinates) for m in meshes.values())]),
                     strict=False))  # fmt: skip
    sides = [side for side in _SIDES if side[0] in meshes]
    flat = [_project(meshes[name].coordinates, *axes) for name, _, *axes in sides]
    sizes = np.array([np.ptp(points[:, :2], axis=0) for points in flat])
    scale = (_WIDTH - 2 * _MARGIN) / sizes[:, 0].max()
    height = int(np.ceil(scale * sizes[:, 1].max())) + 2 * _MARGIN
    tiles, shades = [], []
    for (name, _, direction, *_rest), points in zip(sides, flat, strict=True):
        mesh = meshes[name]
        tile = _raster(points, mesh.faces, scale, height)
        light = (_normals(mesh) @ np.array(direction, float)).clip(0, 1)
        shades.append(np.where(tile >= 0, light[tile], np.nan))
        tiles.append(np.where(tile >= 0, tile + first[name], -1))
    return SurfaceView(tuple(tiles), tuple(shades), tuple(side[1] for side in sides))


def relief(depths: np.ndarray | None, n_vertices: int) -> np.ndarray:
    """A background from the depth of the sulci: -0.5 in sulci, 0.5 on gyri; 0 unknown."""
    if depths is None:
        return np.zeros(n_vertices)
    limit = max(float(np.nanquantile(np.abs(depths), 0.9)), 1e-6)
    return -0.5 * np.tanh(3 * np.nan_to_num(depths) / limit)


def _project(coordinates: np.ndarray, direction, right, up) -> np.ndarray:
    """Right, up and towards the viewer, (N, 3)."""
    return coordinates @ np.array([right, up, direction], float).T


def _normals(mesh: Mesh) -> np.ndarray:
    corners = mesh.coordinates[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros(mesh.coordinates.shape)
    for k in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(mesh.faces[:, k], across[:, axis], len(normals))
    # Outward: away from the middle of the hemisphere.
    if ((mesh.coordinates - mesh.coordinates.mean(axis=0)) * normals).sum() < 0:
        normals = -normals
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _raster(points: np.ndarray, faces: np.ndarray, scale: float, height: int) -> np.ndarray:
    """Which vertex each pixel shows; the nearest to the viewer hides the others."""
    middle = (points[:, :2].max(axis=0) + points[:, :2].min(axis=0)) / 2
    pixels = (points[:, :2] - middle) * scale + [_WIDTH / 2, height / 2]
    placed = np.column_stack([pixels, points[:, 2]])
    corners = placed[faces]
    longest = np.abs(corners[:, :, :2] - np.roll(corners[:, :, :2], 1, axis=1)).max()
    steps = int(np.clip(np.ceil(1.5 * longest), 2, _DEEPEST))
    i, j = np.mgrid[: steps + 1, : steps + 1]
    inside = i + j <= steps
    shares = np.stack([i[inside], j[inside], steps - (i + j)[inside]], axis=1) / steps
    x, y, depth = np.einsum("sc,fcd->dfs", shares, corners).reshape(3, -1)
    nearest = faces[:, shares.argmax(axis=1)].ravel()
    order = np.argsort(depth)
    tile = np.full((height, _WIDTH), -1, np.int64)
    column, row = (v.astype(int)[order] for v in (x, y))
    tile[row.clip(0, height - 1), column.clip(0, _WIDTH - 1)] = nearest[order]
    return tile
