"""Regions on surfaces: GIFTI labels, FreeSurfer annotations, CIFTI dense labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis

from bids_encoder.derivatives.images import BROKEN
from bids_encoder.errors import DataError
from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.structures import CortexVertices, PartsGrid, SubcorticalVoxels
from bids_encoder.surfaces.gifti import open_gifti

# What tables call the places that are no region.
_NOTHING = frozenset({"", "???", "unknown", "none", "background", "medialwall", "medial_wall"})
_APART = 1000  # numbers of regions of the right hemisphere begin above a multiple of this


def surface_labels(
    files: Mapping[str | None, Path], grid: PartsGrid
) -> tuple[np.ndarray, dict[int, str]]:
    """Which region each place is in, by the tables inside the files.

    Parameters
    ----------
    files : mapping of str or None to Path
        ``.label.gii`` or ``.annot`` by hemisphere ("L", "R"), or one ``.dlabel.nii`` under
        None. Numbers of the right hemisphere are raised by a multiple of 1000, so that its
        regions are others than those of the left; where both hemispheres use the same
        names, "L" and "R" stand before them.
    grid : PartsGrid

    Returns
    -------
    labels : (V,) int32 array
        0: no region.
    names : dict of int to str

    Raises
    ------
    MissingInputError
        There is no such file.
    DataError
        A file cannot be read, holds no labels, or is on another mesh.
    """
    if None in files:
        return _of_cifti(files[None], grid)
    read = {side: _read(path) for side, path in files.items() if side is not None}
    for side, (sheet, _) in grid.sheets.items():
        if side in read and len(read[side][0]) != sheet.n_vertices:
            raise DataError(
                "An atlas is on another mesh than the BOLD.",
                file=files[side],
                place="number of vertices",
                found=len(read[side][0]),
                expected=f"{sheet.n_vertices}, as the BOLD has (hemi-{side})",
                remedy="give the atlas for this surface and density, or choose another --space",
            )
    highest = max(max(names, default=0) for _, names in read.values())
    offset = {"L": 0, "R": _APART * (highest // _APART + 1) if len(read) > 1 else 0}
    shared = len(read) > 1 and bool(set.intersection(*(set(n.values()) for _, n in read.values())))
    labels, names = np.zeros(grid.n_values, np.int32), {}
    for side, (keys, table) in read.items():
        for key, name in table.items():
            names[key + offset[side]] = f"{side} {name}" if shared else name
        if side in grid.sheets:
            sheet, where = grid.sheets[side]
            ours = keys[sheet.vertices]
            labels[where] = np.where(np.isin(ours, list(table)), ours + offset[side], 0)
    return labels, names


def _read(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    """Number of each vertex, and the regions by number."""
    if path.suffix == ".annot":
        try:
            keys, _, names = nibabel.freesurfer.read_annot(path)
        except (*BROKEN, UnboundLocalError, MemoryError) as error:
            raise _unreadable(path, error) from error
        # Counted from 0, and -1 for none; ours begin at 1.
        return keys + 1, _regions(
            {k + 1: n.decode("utf-8", "replace") for k, n in enumerate(names)}
        )
    image = open_gifti(path)
    keys = np.asarray(image.darrays[0].data)
    table = {label.key: label.label or "" for label in image.labeltable.labels}
    if keys.ndim != 1 or keys.dtype.kind not in "iu" or not table:
        raise _no_labels(path, f"{keys.dtype} values, a table of {len(table)} labels")
    return keys, _regions(table)


def _of_cifti(path: Path, grid: PartsGrid) -> tuple[np.ndarray, dict[int, str]]:
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Cifti2Image):
            raise TypeError(f"{type(image).__name__}, not CIFTI")
        axes = [image.header.get_axis(k) for k in range(2)]
        keys = np.asarray(image.dataobj)[0]
    except BROKEN as error:
        raise _unreadable(path, error) from error
    if tuple(map(type, axes)) != (LabelAxis, BrainModelAxis):
        kinds = " × ".join(type(axis).__name__.removesuffix("Axis") for axis in axes)
        raise _no_labels(path, kinds)
    table = _regions({int(key): name for key, (name, _) in axes[0].label[0].items()})
    theirs = CiftiGrid.of(axes[1])
    by_name = {
        part.name: (part, keys[where])
        for part, where in zip(theirs.parts, theirs.slices(), strict=True)
    }
    labels = np.zeros(grid.n_values, np.int32)
    for part, where in zip(grid.parts, grid.slices(), strict=True):
        if part.name in by_name:
            labels[where] = _matched(part, *by_name[part.name], path)
    return np.where(np.isin(labels, list(table)), labels, 0), table


def _matched(part, other, keys: np.ndarray, path: Path) -> np.ndarray:
    """Numbers of the places of a part, from those of the atlas' part of that name."""
    if isinstance(part, CortexVertices) and isinstance(other, CortexVertices):
        if part.n_vertices != other.n_vertices:
            raise DataError(
                "An atlas is on another mesh than the BOLD.",
                file=path,
                place=part.name,
                found=f"{other.n_vertices} vertices",
                expected=f"{part.n_vertices}, as the BOLD has",
                remedy="give the atlas for this surface and density, or choose another --space",
            )
        whole = np.zeros(part.n_vertices, np.int32)
        whole[other.vertices] = keys
        return whole[part.vertices]
    if isinstance(other, SubcorticalVoxels) and isinstance(part, SubcorticalVoxels) and np.allclose(
        part.affine, other.affine, atol=1e-3
    ):  # fmt: skip
        known = dict(zip(map(tuple, other.voxels.tolist()), keys.tolist(), strict=True))
        return np.array([known.get(tuple(voxel), 0) for voxel in part.voxels.tolist()], np.int32)
    return np.zeros(part.n_values, np.int32)


def _regions(table: Mapping[int, str]) -> dict[int, str]:
    return {
        int(key): " ".join(name.split())
        for key, name in table.items()
        if int(key) > 0 and name.strip().casefold().replace(" ", "") not in _NOTHING
    }


def _no_labels(path: Path, found: str) -> DataError:
    return DataError(
        "This file holds no labels of regions.",
        file=path,
        found=found,
        expected="whole numbers and a table of their names",
        remedy="give a .label.gii, .annot or .dlabel.nii file",
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        "A file of regions cannot be read.",
        file=path,
        found=" ".join(str(error).split()) or type(error).__name__,
        expected="a whole .label.gii, .annot or .dlabel.nii file",
        remedy="get the file again (a transfer may have been cut short)",
    )
