"""Maps of precomputed responses in NIfTI and HDF5 files.

HDF5 is what GLMsingle writes: a dataset ``betasmd`` of shape (x, y, z, trials), or
(voxels, trials) where it was given the voxels of a mask; MATLAB's files of version 7.3 hold
the same with all axes in reverse.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bids_encoder.betas.find import HDF5
from bids_encoder.errors import DataError
from bids_encoder.features.external import is_own_dataset
from bids_encoder.features.hdf5 import check_stored
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.responses.nifti import check_length, check_numbers, open_image, volumes

KEY = "betasmd"  # GLMsingle's name
_BYTES = 64_000_000  # read at a time


@dataclass(frozen=True)
class FileLayout:
    """How maps lie in their file.

    Attributes
    ----------
    shape : tuple of int
        Of one map: (x, y, z), or (voxels,).
    n_maps : int
    affine : (4, 4) array or None
        None for HDF5, which does not say where voxels lie, and for surfaces.
    matlab : bool
        Axes in reverse, voxels in Fortran order.
    key : str
        Name of the dataset in an HDF5 file.
    frame : PartsGrid or None
        All places of a map on surfaces.
    """

    shape: tuple[int, ...]
    n_maps: int
    affine: np.ndarray | None
    matlab: bool = False
    key: str = ""
    frame: PartsGrid | None = None


def is_hdf5(path: Path) -> bool:
    return path.name.lower().endswith(HDF5)


def describe_maps(images: Sequence[Path], key: str | None = None) -> FileLayout:
    """What the headers of the files say; no voxel is read.

    Parameters
    ----------
    images : sequence of Path
        One file with all maps, or one image a map.
    key : str, optional
        Name of the dataset in an HDF5 file.

    Raises
    ------
    MissingInputError, DataError
        A file is not there, not of its kind, on another grid than the first, or holds
        something else than maps.
    """
    if is_hdf5(images[0]):
        return _describe_hdf5(images[0], key)
    layouts = [_describe_image(path, single=len(images) > 1) for path in images]
    first = layouts[0]
    for path, layout in zip(images, layouts, strict=True):
        assert layout.affine is not None and first.affine is not None  # of NIfTI images
        if layout.shape != first.shape or not np.allclose(layout.affine, first.affine, atol=1e-2):
            raise DataError(
                "The images of the betas lie on different grids.",
                file=path,
                place="header, dim and affine",
                found=" × ".join(map(str, layout.shape)),
                expected=f"{' × '.join(map(str, first.shape))} and the affine of {images[0]}",
                remedy="estimate all of them in one space",
            )
    return FileLayout(first.shape, sum(layout.n_maps for layout in layouts), first.affine)


def stream_maps(
    images: Sequence[Path], layout: FileLayout, inside: np.ndarray
) -> Iterator[tuple[range, int, np.ndarray]]:
    """Read the voxels of a mask piece by piece, in the order in which they lie in the file.

    Parameters
    ----------
    images : sequence of Path
    layout : FileLayout
        As :func:`describe_maps` returns it.
    inside : (x, y, z) bool
        Voxels to read; all that the file has, where it has no others.

    Yields
    ------
    numbers : range
        Of the maps of this piece: one map, or all.
    start : int
        The first of its voxels, in C order of the mask.
    block : (maps, voxels) float32

    Raises
    ------
    DataError
        A file ends early, or is damaged.
    """
    whole = len(layout.shape) == 1
    wanted = np.ones(layout.shape, dtype=bool) if whole else inside.ravel()
    before = np.concatenate([[0], np.cumsum(wanted)])
    place = None
    if whole and layout.matlab:
        place = np.empty(inside.shape, dtype=int)
        place.T[inside.T] = np.arange(len(wanted))  # MATLAB counts the first axis fastest
        place = place[inside]
    for voxels, numbers, block in _blocks(images, layout):
        block = block[:, wanted[voxels]] if place is None else block[:, place]
        yield range(layout.n_maps)[numbers], int(before[voxels.start]), block


def usable_voxels(images: Sequence[Path], layout: FileLayout, maps: Collection[int]) -> np.ndarray:
    """Voxels that are finite in all of these maps and differ between some: (x, y, z) bool."""
    used = np.isin(np.arange(layout.n_maps), list(maps))
    low = np.full(np.prod(layout.shape), np.inf, dtype=np.float32)
    high = -low
    with np.errstate(invalid="ignore"):
        for voxels, numbers, block in _blocks(images, layout):
            block = block[used[numbers]]
            if not len(block):
                continue
            low[voxels] = np.minimum(low[voxels], block.min(axis=0))  # NaN stays NaN
            high[voxels] = np.maximum(high[voxels], block.max(axis=0))
        return (np.isfinite(low) & np.isfinite(high) & (high > low)).reshape(layout.shape)


def _blocks(
    images: Sequence[Path], layout: FileLayout
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Give voxels (in C order), maps, and their numbers (maps × voxels), in turn."""
    everywhere = slice(0, int(np.prod(layout.shape)))
    if is_hdf5(images[0]) and not layout.matlab:
        yield from _slabs(images[0], layout)
        return
    one_by_one = _matlab_maps(images[0], layout) if layout.matlab else _image_maps(images)
    for number, values in enumerate(one_by_one):
        yield everywhere, slice(number, number + 1), values.reshape(1, -1)


def _image_maps(images: Sequence[Path]) -> Iterator[np.ndarray]:
    for path in images:
        image = open_image(path)
        if image.ndim == 4:
            yield from volumes(image, path)
            continue
        try:
            yield np.asarray(image.dataobj, dtype=np.float32)
        except (OSError, EOFError, ValueError, zlib.error) as trouble:
            raise _damaged(path, "voxels", trouble) from None


def _matlab_maps(path: Path, layout: FileLayout) -> Iterator[np.ndarray]:
    with _opened(path) as file:
        dataset = file[layout.key]
        for number in range(layout.n_maps):
            try:
                yield dataset[number].T.astype(np.float32)
            except OSError as error:
                raise _damaged(path, f"map {number + 1}", error) from None


def _slabs(path: Path, layout: FileLayout) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Neighbouring voxels of all maps, which lie together in the file."""
    with _opened(path) as file:
        dataset = file[layout.key]
        rows, length = layout.shape[0], int(np.prod(layout.shape[1:]))
        step = max(1, _BYTES // (4 * length * layout.n_maps))
        # Of very many maps, a plane is too much, and goes through by lines.
        inner = layout.shape[1] if len(layout.shape) > 1 else 1
        line = length // inner
        lines = max(1, _BYTES // (4 * line * layout.n_maps)) if step == 1 else inner
        for start in range(0, rows, step):
            for first in range(0, inner, lines):
                place: tuple[slice, ...] = (slice(start, start + step),)
                if len(layout.shape) > 1:
                    place += (slice(first, first + lines),)
                try:
                    block = dataset[place].reshape(-1, layout.n_maps)
                except OSError as error:
                    raise _damaged(path, f"voxels from {start}", error) from None
                begin = start * length + first * line
                voxels = slice(begin, begin + len(block))
                yield voxels, slice(None), block.T.astype(np.float32)


def _damaged(path: Path, place: str, trouble: BaseException) -> DataError:
    return DataError(
        "This file of betas is damaged.",
        file=path,
        place=place,
        found=" ".join(str(trouble).split())[:150] or type(trouble).__name__,
        remedy="write or copy it again",
    )


def _describe_image(path: Path, *, single: bool) -> FileLayout:
    image = open_image(path)
    shape = tuple(int(n) for n in image.shape)
    n_maps = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (3, 4) or 0 in shape or (single and n_maps != 1):
        raise DataError(
            "This image does not hold maps of responses.",
            file=path,
            place="header, dim",
            found=" × ".join(map(str, shape)),
            expected="one map (x × y × z)" if single else "x × y × z × maps",
            remedy="give a narrower path or filter, or convert the image",
        )
    check_numbers(image, path)
    check_length(image, path)
    return FileLayout(shape[:3], n_maps, np.asarray(image.affine, dtype=np.float64))


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        old = path.suffix == ".mat"
        raise DataError(
            "This file of betas cannot be read as HDF5.",
            file=path,
            found="a MATLAB file of version 5 or 7" if old else str(error)[:150],
            expected="HDF5 (MATLAB writes it with -v7.3)" if old else "an HDF5 file",
            remedy="save it again with save(…, '-v7.3'), or as NIfTI"
            if old
            else "write it again; check that it was copied whole",
        ) from None


def _describe_hdf5(path: Path, key: str | None) -> FileLayout:
    with _opened(path) as file:
        name = _choose(file, path, key)
        dataset = file[name]
        matlab = "MATLAB_class" in dataset.attrs
        shape = tuple(int(n) for n in (dataset.shape[::-1] if matlab else dataset.shape))
    if len(shape) == 4 and shape[1:3] == (1, 1):  # voxels of a mask, padded
        shape = (shape[0], shape[3])
    return FileLayout(shape[:-1], shape[-1], None, matlab, name)


def _choose(file: h5py.File, path: Path, key: str | None) -> str:
    """The dataset that holds the maps."""
    there = [name for name in file if not name.startswith("#")]
    wanted = key or KEY
    if wanted not in there:
        raise DataError(
            f"The file of betas has no dataset {wanted}.",
            file=path,
            found=", ".join(sorted(there)[:10]) or "nothing",
            expected=f"a dataset {wanted} of shape (x, y, z, trials) or (voxels, trials)",
            remedy="say what the betas are called with --betas-key NAME",
        )
    if not is_own_dataset(file, wanted):
        raise DataError(
            "The betas are a group, or a link out of the file.",
            file=path,
            place=f"dataset {wanted!r}",
            expected="a dataset that lies in the file itself",
            remedy="copy the numbers into the file",
        )
    dataset = file[wanted]
    if dataset.dtype.kind not in "fiu" or dataset.ndim not in (2, 4) or 0 in dataset.shape:
        raise DataError(
            "The betas are no numbers of voxels and trials.",
            file=path,
            place=f"dataset {wanted!r}",
            found=f"{dataset.dtype}, shape {dataset.shape}",
            expected="numbers of shape (x, y, z, trials) or (voxels, trials)",
            remedy="say what the betas are called with --betas-key NAME",
        )
    check_stored(dataset, path)
    return wanted
