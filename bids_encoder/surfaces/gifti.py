"""GIFTI files: what they hold, before and after they are parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel
import numpy as np
from nibabel.nifti1 import intent_codes

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.safe_gifti import parse_gifti
from bids_encoder.derivatives.images import BROKEN
from bids_encoder.errors import DataError, MissingInputError

_AGAIN = "get the file again (a transfer may have been cut short), or leave it out"


@dataclass(frozen=True)
class GiftiSummary:
    """What the tags of a GIFTI file say.

    Attributes
    ----------
    intents : tuple of str
        Of the data arrays: ``NIFTI_INTENT_TIME_SERIES``…
    shapes : tuple of tuples of int
    time_step : float or None
        Milliseconds.
    """

    intents: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    time_step: float | None

    @property
    def n_vertices(self) -> int:
        """Length of the first array."""
        return self.shapes[0][0]

    @property
    def n_maps(self) -> int:
        """Arrays, or columns of a single one."""
        return self.shapes[0][1] if self.shapes[0][1:] else len(self.shapes)

    def __str__(self) -> str:
        shapes = sorted({" × ".join(map(str, shape)) for shape in self.shapes})
        return f"{len(self.shapes)} arrays of {', '.join(shapes)} ({', '.join(set(self.intents))})"


def summarize(path: Path) -> GiftiSummary:
    """Read the tags of a GIFTI file; no array is decoded.

    Raises
    ------
    MissingInputError
        It, or its git-annex content, is not there.
    DataError
        It is not GIFTI, is cut short, or refers to other files.
    """
    image = _parsed(path, decode=False)
    shapes = tuple(tuple(array.dims) for array in image.darrays)
    if not shapes or any(not shape or 0 in shape for shape in shapes):
        raise unreadable(path, "no data")
    try:
        intents = tuple(str(intent_codes.niistring[array.intent]) for array in image.darrays)
        said = [meta.get("TimeStep") for meta in (image.meta, *(a.meta for a in image.darrays))]
        steps = {float(step) for step in said if step}
    except (KeyError, ValueError) as error:
        raise unreadable(path, f"a DataArray without {error}") from error
    return GiftiSummary(intents, shapes, min(steps) if steps else None)


def open_gifti(path: Path) -> nibabel.GiftiImage:
    """Read a GIFTI file, plain or gzipped.

    Raises
    ------
    MissingInputError, DataError
        As :func:`summarize`.
    """
    return _parsed(path, decode=True)


def _parsed(path: Path, *, decode: bool) -> nibabel.GiftiImage:
    _require(path)
    try:
        return parse_gifti(path, decode=decode)
    except BROKEN as error:
        size = path.stat().st_size
        found: object = error if size else "an empty file"
        if size and isinstance(error, ExpatError):
            found = f"{size} bytes that are no XML up to the closing tag </GIFTI> ({error})"
        raise unreadable(path, found) from error


def maps(path: Path) -> np.ndarray:
    """The maps of a GIFTI file, (n_maps, n_vertices) float32.

    Raises
    ------
    MissingInputError, DataError
        It cannot be read, or its arrays are not equally long.
    """
    arrays = [np.asarray(array.data) for array in open_gifti(path).darrays]
    if len(arrays) == 1 and arrays[0].ndim == 2:
        return np.ascontiguousarray(arrays[0].T, dtype=np.float32)
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise unreadable(path, f"arrays of the shapes {sorted({a.shape for a in arrays})}")
    return np.stack(arrays).astype(np.float32, copy=False)


def unreadable(path: Path, trouble: object) -> DataError:
    """The error for a file that is not a whole GIFTI file."""
    words = trouble if isinstance(trouble, str) else " ".join(str(trouble).split())
    return DataError(
        "This GIFTI file cannot be read.",
        file=path,
        found=words or type(trouble).__name__,
        expected="a whole GIFTI file",
        remedy=_AGAIN,
    )


def _require(path: Path) -> None:
    require_content([path], "GIFTI file")
    if not path.is_file():
        raise MissingInputError(
            "This GIFTI file is not there.", file=path, remedy="check the path, or leave it out"
        )
