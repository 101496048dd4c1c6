"""Grids made of parts: vertices of cortical sheets, voxels of subcortical structures."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes

from bids_encoder.grids.grid import Grid
from bids_encoder.grids.mesh import Mesh, diffuse
from bids_encoder.grids.neighbourhood import among, smooth_in_mask, touching

logger = logging.getLogger(__name__)

HEMISPHERES = {"L": "CORTEX_LEFT", "R": "CORTEX_RIGHT"}
_APART = 1e4  # parts never touch: they lie so many distances between neighbours apart


@dataclass(frozen=True, eq=False)
class CortexVertices:
    """Some vertices of one hemisphere.

    Attributes
    ----------
    name : str
        CIFTI's name of the structure: "CORTEX_LEFT".
    n_vertices : int
        Of the whole mesh.
    vertices : (V,) int array
        Rising.
    mesh : Mesh or None
        None where the geometry is not known; then nothing is smoothed, and no vertices
        are neighbours.
    """

    name: str
    n_vertices: int
    vertices: np.ndarray
    mesh: Mesh | None = None

    @property
    def n_values(self) -> int:
        return len(self.vertices)

    @property
    def inside(self) -> np.ndarray:
        """Which vertices these are, (n_vertices,) bool."""
        inside = np.zeros(self.n_vertices, bool)
        inside[self.vertices] = True
        return inside

    @property
    def places(self) -> np.ndarray:
        if self.mesh is None:
            return np.full((self.n_values, 3), np.nan)
        return self.mesh.coordinates[self.vertices] / self.mesh.edge_length

    def neighbours(self) -> np.ndarray:
        if self.mesh is None:
            return np.zeros((0, 2), np.int64)
        return among(self.mesh.edges, self.inside)

    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        scored = np.isfinite(values).all(axis=0)
        smoothed = np.where(scored, values, np.nan)
        if self.mesh is not None and scored.any():
            keep = self.inside
            keep[keep] = scored
            smoothed[:, scored] = diffuse(self.mesh, keep, values[:, scored], sigma)
        return smoothed

    def restricted(self, keep: np.ndarray) -> CortexVertices:
        return replace(self, vertices=self.vertices[keep])


@dataclass(frozen=True, eq=False)
class SubcorticalVoxels:
    """Some voxels of one subcortical structure.

    Attributes
    ----------
    name : str
        CIFTI's name of the structure: "THALAMUS_LEFT".
    affine : (4, 4) array
    voxels : (V, 3) int array
        Indices in the volume.
    """

    name: str
    affine: np.ndarray
    voxels: np.ndarray

    @property
    def n_values(self) -> int:
        return len(self.voxels)

    @property
    def places(self) -> np.ndarray:
        return apply_affine(self.affine, self.voxels) / voxel_sizes(self.affine).mean()

    def neighbours(self) -> np.ndarray:
        return touching(self.voxels) if len(self.voxels) else np.zeros((0, 2), np.int64)

    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        if not len(self.voxels):
            return values
        low = self.voxels.min(axis=0)
        mask = np.zeros(self.voxels.max(axis=0) - low + 1, bool)
        at = tuple((self.voxels - low).T)
        mask[at] = True
        # CIFTI lists voxels in any order, masks do in C order.
        order = np.lexsort(at[::-1])
        smoothed = np.empty(values.shape)
        smoothed[:, order] = smooth_in_mask(values[:, order], mask, sigma)
        return smoothed

    def restricted(self, keep: np.ndarray) -> SubcorticalVoxels:
        return replace(self, voxels=self.voxels[keep])


Part = CortexVertices | SubcorticalVoxels


@dataclass(frozen=True, eq=False)
class PartsGrid(Grid):
    """V places in several parts, one part after the other.

    Attributes
    ----------
    parts : tuple of Sheet or Block
    """

    parts: tuple[Part, ...]

    @property
    def n_values(self) -> int:
        return sum(part.n_values for part in self.parts)

    @property
    def places(self) -> np.ndarray:
        moved = [part.places + [_APART * k, 0, 0] for k, part in enumerate(self.parts)]
        return np.concatenate(moved)

    @property
    def sheets(self) -> dict[str, tuple[CortexVertices, slice]]:
        """The hemispheres that it has ("L", "R"), and where their values are among all."""
        letters = {name: letter for letter, name in HEMISPHERES.items()}
        return {
            letters[part.name]: (part, where)
            for part, where in zip(self.parts, self.slices(), strict=True)
            if isinstance(part, CortexVertices) and part.name in letters
        }

    def neighbours(self) -> np.ndarray:
        pairs = [
            part.neighbours() + where.start
            for part, where in zip(self.parts, self.slices(), strict=True)
        ]
        return np.concatenate(pairs)

    def smooth(self, values: np.ndarray, sigma: float) -> np.ndarray:
        values = np.asarray(values)
        return np.concatenate(
            [
                part.smooth(values[:, where], sigma)
                for part, where in zip(self.parts, self.slices(), strict=True)
            ],
            axis=1,
        )

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Values on all vertices of the hemispheres, left first; NaN elsewhere."""
        made = []
        for sheet, where in self.sheets.values():
            whole = np.full(sheet.n_vertices, np.nan, np.float32)
            whole[sheet.vertices] = values[where]
            made.append(whole)
        return np.concatenate(made) if made else np.zeros(0, np.float32)

    def described(self) -> dict[str, np.ndarray | list[str]]:
        sizes = [part.n_values for part in self.parts]
        vertices = [
            part.vertices if isinstance(part, CortexVertices) else np.full(part.n_values, -1)
            for part in self.parts
        ]
        described: dict[str, np.ndarray | list[str]] = {
            "structures": [part.name for part in self.parts],
            "structure": np.repeat(np.arange(len(sizes)), sizes),
            "vertices": np.concatenate(vertices).astype(np.int64),
            "mesh_sizes": np.array(
                [part.n_vertices if isinstance(part, CortexVertices) else 0 for part in self.parts]
            ),
        }
        blocks = [part for part in self.parts if isinstance(part, SubcorticalVoxels)]
        if blocks:
            voxels = [
                part.voxels
                if isinstance(part, SubcorticalVoxels)
                else np.full((part.n_values, 3), -1)
                for part in self.parts
            ]
            described |= {"indices": np.concatenate(voxels), "affine": blocks[0].affine}
        return described

    @abstractmethod
    def restricted(self, keep: np.ndarray) -> PartsGrid:
        """The grid of some of its places, (V,) bool."""

    def slices(self) -> list[slice]:
        """Where the values of each part are among all."""
        ends = np.cumsum([0, *(part.n_values for part in self.parts)]).tolist()
        return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]

    def _restricted_parts(self, keep: np.ndarray) -> tuple[Part, ...]:
        return tuple(
            part.restricted(keep[where])
            for part, where in zip(self.parts, self.slices(), strict=True)
        )


_AnyParts = TypeVar("_AnyParts", bound=PartsGrid)


def with_meshes(grid: _AnyParts, meshes: Mapping[str, Mesh]) -> _AnyParts:
    """The same grid, whose hemispheres ("L", "R") have a geometry."""
    named = {HEMISPHERES[letter]: mesh for letter, mesh in meshes.items()}
    parts: Sequence[Part] = [
        replace(part, mesh=named[part.name])
        if isinstance(part, CortexVertices) and part.name in named
        else part
        for part in grid.parts
    ]
    return replace(grid, parts=tuple(parts))
