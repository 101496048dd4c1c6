"""From what a model file says of its columns back to the grid: the inverse of `described`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis

from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.structures import HEMISPHERES, CortexVertices, PartsGrid
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.grids.volume import VolumeGrid

DIMENSIONS = {
    "voxels": 1, "grid": 1, "affine": 2, "structure": 1, "vertices": 1, "mesh_sizes": 1,
    "indices": 2, "grayordinates": 1, "frame_sizes": 1, "frame_vertices": 1, "frame_indices": 2,
    "volume_shape": 1,
}  # fmt: skip
"""Arrays of numbers that may describe columns, and how many dimensions each has."""

_MOST = 2**31  # places in a frame
_MOST_VERTICES = 2**26


class NotDescribedError(ValueError):
    """Arrays do not describe a grid.

    Attributes
    ----------
    name : str
        Of the array that does not fit.
    found, expected : str
    """

    def __init__(self, name: str, found: object, expected: object):
        super().__init__(f"{name}: {found}, not {expected}")
        self.name, self.found, self.expected = name, str(found), str(expected)


def grid_described(
    arrays: Mapping[str, np.ndarray], structures: Sequence[str] | None = None
) -> Grid:
    """Where the columns of a model lie.

    Parameters
    ----------
    arrays : mapping of str to array
        As :meth:`bids_encoder.grids.grid.Grid.described` has them; numbers with as many
        dimensions as `DIMENSIONS` says. They may come from anywhere.
    structures : sequence of str, optional
        Names of the parts; None: voxels of a volume.

    Raises
    ------
    NotDescribedError
        An array is missing, or they do not fit each other.
    """
    arrays = _Arrays(arrays)
    if structures is None:
        return _volume(arrays)
    _check("structures", len(set(structures)) == len(structures), structures, "each once")
    grid: PartsGrid = (
        _grayordinates(arrays, structures)
        if "grayordinates" in arrays
        else _surface(arrays, structures)
    )
    # What was not used to make it must say the same.
    ours = grid.described()
    if list(ours.pop("structures")) != list(structures):
        raise NotDescribedError("structures", "other parts", "those of the frame, each once")
    for name, values in ours.items():
        if not np.array_equal(arrays[name], values):
            raise NotDescribedError(
                name, "other numbers", "those that follow from the other arrays"
            )
    return grid


class _Arrays(dict):
    def __missing__(self, name: str):
        raise NotDescribedError(name, "no such array", "an array")


def _check(name: str, fits: object, found: object, expected: object) -> None:
    if not fits:
        raise NotDescribedError(name, found, expected)


def _volume(arrays: Mapping[str, np.ndarray]) -> VolumeGrid:
    voxels, shape = arrays["voxels"], arrays["grid"].astype(float)
    fits = len(shape) == 3 and (shape > 0).all() and np.prod(shape) < _MOST
    _check("grid", fits, shape, "the sides of a volume")
    affine = _affine(arrays)
    inside = np.zeros(int(np.prod(shape)), np.uint8)
    _check("voxels", _rising(voxels, inside.size), "other numbers", f"rising, below {inside.size}")
    inside[voxels.astype(int)] = 1
    image = nibabel.Nifti1Image(inside.reshape(shape.astype(int)), affine)
    image.header.set_xyzt_units("mm", "sec")
    return VolumeGrid(image)


def _surface(arrays: Mapping[str, np.ndarray], structures: Sequence[str]) -> SurfaceGrid:
    sizes = _mesh_sizes(arrays, structures)
    structure, vertices = arrays["structure"], arrays["vertices"]
    _check("vertices", len(vertices) == len(structure) > 0, len(vertices), len(structure))
    parts = []
    for number, (name, size) in enumerate(zip(structures, sizes, strict=True)):
        _check("structures", name in HEMISPHERES.values(), name, "hemispheres")
        ours = vertices[structure == number]
        fits = size > 0 and (not len(ours) or _rising(ours, size))
        _check("vertices", fits, "other numbers", f"rising, below {size}, in {name}")
        parts.append(CortexVertices(name, int(size), ours.astype(np.int64)))
    return SurfaceGrid(tuple(parts))


def _grayordinates(arrays: Mapping[str, np.ndarray], structures: Sequence[str]) -> CiftiGrid:
    mesh_sizes, counts = _mesh_sizes(arrays, structures), arrays["frame_sizes"].astype(float)
    vertices = arrays["frame_vertices"]
    fits = len(counts) == len(structures) and (counts > 0).all() and counts.sum() == len(vertices)
    _check("frame_sizes", fits, counts, f"positive, {len(vertices)} in all")
    counts = counts.astype(int)
    on_surface = np.repeat(mesh_sizes > 0, counts)
    limits = np.repeat(mesh_sizes, counts)
    fits = (vertices[on_surface] >= 0).all() and (vertices < limits)[on_surface].all()
    _check("frame_vertices", fits, "other numbers", "below the sizes of the meshes")
    voxels = affine = shape = None
    if not on_surface.all():
        voxels, affine, shape = arrays["frame_indices"], _affine(arrays), arrays["volume_shape"]
        fits = shape.shape == (3,) and (shape > 0).all() and np.prod(shape.astype(float)) < _MOST
        _check("volume_shape", fits, shape, "the sides of a volume")
        fits = voxels.shape == (len(vertices), 3)
        fits = fits and ((voxels >= 0) & (voxels < shape))[~on_surface].all()
        _check("frame_indices", fits, "other numbers", f"3 a place, below {shape}")
    try:
        names = [BrainModelAxis.to_cifti_brain_structure_name(name) for name in structures]
        axis = BrainModelAxis(
            np.repeat(names, counts),
            voxel=None if voxels is None else voxels.astype(int),
            vertex=vertices.astype(int) if on_surface.any() else None,
            affine=affine,
            volume_shape=None if shape is None else tuple(map(int, shape)),
            nvertices={n: int(s) for n, s in zip(names, mesh_sizes, strict=True) if s > 0},
        )
    except ValueError as error:
        raise NotDescribedError("structures", str(error)[:100], "structures of CIFTI") from None
    kept = arrays["grayordinates"]
    _check("grayordinates", _rising(kept, len(axis)), "other numbers", f"rising, below {len(axis)}")
    inside = np.zeros(len(axis), bool)
    inside[kept.astype(int)] = True
    return CiftiGrid.of(axis).restricted(inside)


def _mesh_sizes(arrays: Mapping[str, np.ndarray], structures: Sequence[str]) -> np.ndarray:
    sizes = arrays["mesh_sizes"]
    fits = len(sizes) == len(structures) and ((sizes >= 0) & (sizes < _MOST_VERTICES)).all()
    _check("mesh_sizes", fits, sizes, f"the sizes of {len(structures)} meshes")
    return sizes


def _affine(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    affine = arrays["affine"]
    _check("affine", affine.shape == (4, 4) and np.isfinite(affine).all(), affine, "4 x 4")
    return affine


def _rising(numbers: np.ndarray, end: int) -> bool:
    """Whether there are numbers, which rise, from 0 to below an end."""
    inside = len(numbers) and numbers[0] >= 0 and numbers[-1] < end
    return bool(inside and (np.diff(numbers) > 0).all())
