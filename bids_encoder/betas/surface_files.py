"""Maps of precomputed responses on surfaces, in GIFTI and CIFTI files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nibabel.cifti2 import BrainModelAxis, ScalarAxis, SeriesAxis

from bids_encoder.betas.volume_files import FileLayout
from bids_encoder.errors import DataError
from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.responses.surface_bold import (
    GEOMETRY,
    axes_in_words,
    cifti_axes,
    cifti_blocks,
    open_cifti,
)
from bids_encoder.surfaces.gifti import maps, summarize

if TYPE_CHECKING:
    from bids_encoder.bids.records import Betas


def describe_surface_maps(betas: Betas) -> FileLayout:
    """What the headers of the files say; no array is decoded.

    Raises
    ------
    MissingInputError, DataError
        A file is not there, not of its kind, on another mesh than the first, or holds
        something else than maps; or the hemispheres have different numbers of maps.
    """
    if betas.hemispheres:
        return _describe_gifti(betas.hemispheres)
    layouts = [_describe_cifti(path, single=len(betas.images) > 1) for path in betas.images]
    first = _frame(layouts[0])
    for path, layout in zip(betas.images, layouts, strict=True):
        _check_frame(path, _frame(layout), first, betas.images[0])
    return FileLayout(layouts[0].shape, sum(one.n_maps for one in layouts), None, frame=first)


def stream_surface_maps(betas: Betas, grid: PartsGrid) -> Iterator[tuple[range, int, np.ndarray]]:
    """Read the places of a grid piece by piece; as :func:`beta_files.stream_maps`.

    A GIFTI file is read whole, as its format wants it; of a CIFTI file some places of all maps
    at a time, which lie together.

    Raises
    ------
    DataError
        A file is damaged.
    """
    first = 0
    if isinstance(grid, CiftiGrid):
        before = np.concatenate([[0], np.cumsum(grid.inside)])
        for path in betas.images:
            n_maps = 0
            for start, block in cifti_blocks(path):
                n_maps = len(block)
                stop = start + block.shape[1]
                yield (
                    range(first, first + n_maps),
                    int(before[start]),
                    block[:, grid.inside[start:stop]],
                )
            first += n_maps
        return
    start = 0
    for side, (sheet, _) in grid.sheets.items():
        first = 0
        for path in betas.hemispheres[side]:
            block = maps(path)[:, sheet.vertices]
            yield range(first, first + len(block)), start, block
            first += len(block)
        start += sheet.n_values


def usable_places(betas: Betas, frame: PartsGrid, used: Collection[int]) -> np.ndarray:
    """Places that are finite in the maps that are used and differ between some: (N,) bool."""
    used = frozenset(used)
    low = np.full(frame.n_values, np.inf, dtype=np.float32)
    high = -low
    with np.errstate(invalid="ignore"):
        for numbers, start, block in stream_surface_maps(betas, frame):
            block = block[[number in used for number in numbers]]
            if not len(block):
                continue
            here = slice(start, start + block.shape[1])
            low[here] = np.minimum(low[here], block.min(axis=0))  # NaN stays NaN
            high[here] = np.maximum(high[here], block.max(axis=0))
        return np.isfinite(low) & np.isfinite(high) & (high > low)


def _describe_gifti(hemispheres: Mapping[str, Sequence[Path]]) -> FileLayout:
    inside, n_maps = {}, {}
    for side, paths in hemispheres.items():
        found = [summarize(path) for path in paths]
        for path, one in zip(paths, found, strict=True):
            geometry = any(intent.endswith(GEOMETRY) for intent in one.intents)
            if geometry or len(set(one.shapes)) > 1 or (len(paths) > 1 and one.n_maps != 1):
                raise _no_maps(path, "data arrays", str(one), single=len(paths) > 1)
            if one.n_vertices != found[0].n_vertices:
                raise _another_mesh(
                    path, f"{one.n_vertices} vertices", f"{found[0].n_vertices} vertices", paths[0]
                )
        inside[side] = np.ones(found[0].n_vertices, bool)
        n_maps[side] = sum(one.n_maps for one in found)
    first = next(iter(n_maps))
    for side, number in n_maps.items():
        if number != n_maps[first]:
            raise DataError(
                "The hemispheres have different numbers of betas.",
                file=hemispheres[side][0],
                place="data arrays",
                found=f"{number} maps",
                expected=f"{n_maps[first]}, as {hemispheres[first][0].name} has",
                remedy="write both hemispheres again from the same model",
            )
    frame = SurfaceGrid.of(inside)
    return FileLayout((frame.n_values,), n_maps[first], None, frame=frame)


def _describe_cifti(path: Path, *, single: bool) -> FileLayout:
    axes = cifti_axes(open_cifti(path), path)
    kinds = tuple(type(axis) for axis in axes)
    if kinds not in ((ScalarAxis, BrainModelAxis), (SeriesAxis, BrainModelAxis)) or (
        single and len(axes[0]) != 1
    ):
        raise _no_maps(path, "axes", axes_in_words(axes), single=single)
    frame = CiftiGrid.of(axes[1])
    return FileLayout((frame.n_values,), len(axes[0]), None, frame=frame)


def _frame(layout: FileLayout) -> PartsGrid:
    assert layout.frame is not None  # `_describe_cifti` gives one
    return layout.frame


def _check_frame(path: Path, frame: PartsGrid, expected: PartsGrid, first: Path) -> None:
    if not frame.same_frame(expected):
        raise _another_mesh(path, frame.frame_in_words(), expected.frame_in_words(), first)


def _another_mesh(path: Path, found: str, expected: str, first: Path) -> DataError:
    return DataError(
        "The images of the betas lie on different meshes.",
        file=path,
        place="number of vertices",
        found=found,
        expected=f"{expected}, as in {first}",
        remedy="estimate all of them in one space",
    )


def _no_maps(path: Path, place: str, found: str, *, single: bool) -> DataError:
    return DataError(
        "This file does not hold maps of responses.",
        file=path,
        place=place,
        found=found,
        expected="one map" if single else "one map for each trial, all equally long",
        remedy="give a narrower path or filter, or convert the file",
    )
