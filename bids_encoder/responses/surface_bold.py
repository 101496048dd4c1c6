"""BOLD on surfaces: GIFTI pairs of hemispheres, and CIFTI dense series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, SeriesAxis

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.safe_gifti import MOST_VERTICES
from bids_encoder.derivatives.images import BROKEN
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.responses.nifti import proxy_of
from bids_encoder.responses.read_bold import BoldInfo, check_repetition_time, mark_unusable
from bids_encoder.surfaces.gifti import maps, summarize

# Arrays that are no measurements over time, whatever their number.
GEOMETRY = ("POINTSET", "TRIANGLE", "LABEL", "VECTOR", "NORMALS")
_BLOCK_BYTES = 64_000_000  # read at a time
_ANOTHER = "leave this run out, or name the right image with --bids-filter-file"


def describe_gifti(files: Mapping[str, Path], repetition_time: float | None) -> BoldInfo:
    """Read and check what the files of a run's hemispheres say; no array is decoded.

    Parameters
    ----------
    files : mapping of str to Path
        By hemisphere: "L", "R".
    repetition_time : float or None
        ``RepetitionTime`` of the sidecars, in seconds.

    Raises
    ------
    MissingInputError
        A file, or its git-annex content, is not there.
    DataError
        One is not GIFTI, cut short, or no time series; the hemispheres are not equally
        long; the repetition time is missing, impossible, or not that of the files.
    """
    found = {side: summarize(path) for side, path in files.items()}
    for side, one in found.items():
        kinds = [intent for intent in one.intents if intent.endswith(GEOMETRY)]
        if kinds or one.n_maps < 2 or len(set(one.shapes)) > 1:
            raise DataError(
                "This is not a series of BOLD volumes on a surface.",
                file=files[side],
                place="data arrays",
                found=str(one),
                expected="one array for each of at least two volumes, all equally long",
                remedy=_ANOTHER,
            )
    first, *others = found
    for side in others:
        if found[side].n_maps != found[first].n_maps:
            raise DataError(
                "The hemispheres of a run have different numbers of volumes.",
                file=files[side],
                found=f"{found[side].n_maps} volumes",
                expected=f"{found[first].n_maps}, as {files[first].name} has",
                remedy="preprocess the run again, or leave it out",
            )
    frame = SurfaceGrid.of({side: np.ones(one.n_vertices, bool) for side, one in found.items()})
    step = found[first].time_step
    return BoldInfo(
        path=files[first],
        shape=(frame.n_values,),
        affine=None,
        n_volumes=found[first].n_maps,
        repetition_time=check_repetition_time(
            repetition_time, step or 0.0, "msec" if step else "", files[first]
        ),
        frame=frame,
    )


def describe_cifti(path: Path, repetition_time: float | None) -> BoldInfo:
    """Read and check the header of a CIFTI dense series.

    Raises
    ------
    MissingInputError
        The file, or its git-annex content, is not there.
    DataError
        It is not CIFTI, cut short, or of another kind; or the repetition time is missing,
        impossible, or not that of its series axis.
    """
    image = open_cifti(path)
    series, frame = _series_axes(image, path)
    return BoldInfo(
        path=path,
        shape=(frame.n_values,),
        affine=None,
        n_volumes=len(series),
        repetition_time=check_repetition_time(
            repetition_time, float(series.step), "sec" if series.unit == "SECOND" else "", path
        ),
        frame=frame,
    )


def varying_gifti(files: Mapping[str, Path]) -> np.ndarray:
    """Vertices of a run that are finite and change over time, (N,) bool, left first."""
    return np.concatenate([varies(maps(path)) for path in files.values()])


def varying_cifti(path: Path) -> np.ndarray:
    """Grayordinates of a run that are finite and change over time, (N,) bool."""
    return varies(cifti_values(path))


def load_gifti(files: Mapping[str, Path], grid: SurfaceGrid) -> np.ndarray:
    """Read a run where the grid lies: (T, V) float32; see :func:`bold.load_bold`."""
    values = [maps(files[side])[:, sheet.vertices] for side, (sheet, _) in grid.sheets.items()]
    return mark_unusable(np.concatenate(values, axis=1), next(iter(files.values())), "vertices")


def load_cifti(path: Path, grid: CiftiGrid) -> np.ndarray:
    """Read a run where the grid lies: (T, V) float32; see :func:`bold.load_bold`."""
    return mark_unusable(cifti_values(path)[:, grid.inside], path, "grayordinates")


def varies(series: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.isfinite(series).all(axis=0) & (series.max(axis=0) > series.min(axis=0))


def open_cifti(path: Path) -> nibabel.Cifti2Image:
    require_content([path], "CIFTI file")
    if not path.is_file():
        raise MissingInputError(
            "This CIFTI file is not there.", file=path, remedy="check the path, or leave it out"
        )
    try:
        image = nibabel.load(path)
    except BROKEN as error:
        raise _damaged(path, error) from error
    if not isinstance(image, nibabel.Cifti2Image):
        raise DataError(
            "This image is not CIFTI.",
            file=path,
            found=f"{type(image).__name__} of {' × '.join(map(str, getattr(image, 'shape', ())))}",
            expected="a dense series (dtseries)",
            remedy=_ANOTHER,
        )
    # The array stands at the end of the file.
    proxy = proxy_of(image)
    missing = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    if path.stat().st_size < missing:
        raise _damaged(path, f"{path.stat().st_size} bytes of {missing}")
    return image


def cifti_axes(image: nibabel.Cifti2Image, path: Path) -> list:
    """What the rows and columns of a CIFTI file are.

    Raises
    ------
    DataError
        Its header is damaged.
    """
    try:
        axes = [image.header.get_axis(k) for k in range(image.ndim)]
        claimed = tuple(map(len, axes)) != image.shape
        sizes = [
            n for axis in axes if isinstance(axis, BrainModelAxis) for n in axis.nvertices.values()
        ]
    except (*BROKEN, MemoryError, OverflowError) as error:
        raise _damaged(path, error) from error
    if claimed or max(sizes, default=0) > MOST_VERTICES:
        said = (
            f"{max(sizes, default=0):,} vertices, axes of {' × '.join(str(len(a)) for a in axes)}"
        )
        raise _damaged(path, f"{said} for numbers of {' × '.join(map(str, image.shape))}")
    return axes


def axes_in_words(axes: Sequence) -> str:
    """What `cifti_axes` found, for messages."""
    return " × ".join(f"{len(axis)} {type(axis).__name__.removesuffix('Axis')}" for axis in axes)


def _series_axes(image: nibabel.Cifti2Image, path: Path) -> tuple[SeriesAxis, CiftiGrid]:
    axes = cifti_axes(image, path)
    kinds = tuple(type(axis) for axis in axes)
    if kinds != (SeriesAxis, BrainModelAxis) or len(axes[0]) < 2:
        raise DataError(
            "This CIFTI file is not a dense series of BOLD.",
            file=path,
            place="axes",
            found=axes_in_words(axes),
            expected="at least two volumes (Series) × grayordinates (BrainModel)",
            remedy=_ANOTHER,
        )
    return axes[0], CiftiGrid.of(axes[1])


def cifti_values(path: Path) -> np.ndarray:
    try:
        return np.asarray(open_cifti(path).dataobj, dtype=np.float32)
    except BROKEN as error:
        raise _damaged(path, error) from error


def cifti_blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Some grayordinates of all rows at a time: the first of them, and (rows, W) float32.

    They lie together in the file; of one that is gzipped, all come at once.
    """
    image = open_cifti(path)
    n_rows, n_places = image.shape
    step = n_places if path.suffix == ".gz" else max(1, _BLOCK_BYTES // (4 * n_rows))
    try:
        for start in range(0, n_places, step):
            yield start, np.asarray(image.dataobj[:, start : start + step], dtype=np.float32)
    except BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception | str) -> DataError:
    return DataError(
        "This CIFTI file is truncated or damaged.",
        file=path,
        found=" ".join(str(error).split()) or type(error).__name__,
        expected="a whole CIFTI-2 file",
        remedy="get the file again (a transfer may have been cut short), or leave this run out",
    )
