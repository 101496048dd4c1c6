"""GIFTI files: what they hold, before and after they are parsed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.images import BROKEN
from bids_encoder.errors import DataError, MissingInputError

_ARRAY = re.compile(rb"<DataArray\b([^>]*)>")
_ATTRIBUTE = re.compile(rb'(\w+)\s*=\s*["\']([^"\']*)["\']')
_TIME_STEP = re.compile(
    rb"<Name>\s*(?:<!\[CDATA\[)?TimeStep(?:\]\]>)?\s*</Name>\s*"
    rb"<Value>\s*(?:<!\[CDATA\[)?([0-9.eE+-]+)"
)
_HEAD, _TAIL = 4096, 64
_MOST_INFLATED = 1032  # values a byte: deflate shrinks to a 1032nd at best
MOST_VERTICES = 10_000_000  # of a hemisphere; the finest meshes in use have some 300 000
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
    _require(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if b"<GIFTI" not in content[:_HEAD]:
        raise unreadable(path, "an empty file" if not content else "no GIFTI tag")
    if b"</GIFTI>" not in content[-_TAIL:]:
        raise unreadable(path, f"{len(content)} bytes without the closing tag </GIFTI>")
    if b"<!ENTITY" in content[:_HEAD] or b"ExternalFileBinary" in content:
        raise DataError(
            "This GIFTI file refers to other files, which are not read.",
            file=path,
            expected="all data inside the file",
            remedy="convert it: wb_command -gifti-convert GZIP_BASE64_BINARY IN OUT",
        )
    arrays = [dict(_ATTRIBUTE.findall(match[1])) for match in _ARRAY.finditer(content)]
    try:
        shapes = tuple(
            tuple(int(one[b"Dim%d" % k]) for k in range(int(one[b"Dimensionality"])))
            for one in arrays
        )
        intents = tuple(one.get(b"Intent", b"none").decode("ascii") for one in arrays)
        steps = {float(step) for step in _TIME_STEP.findall(content)}
    except (KeyError, ValueError) as error:
        raise unreadable(path, f"a DataArray without {error}") from error
    if not shapes or any(not shape or 0 in shape for shape in shapes):
        raise unreadable(path, "no data")
    _check_claims(shapes, len(content), path)
    return GiftiSummary(intents, shapes, min(steps) if steps else None)


def _check_claims(shapes: Sequence[tuple[int, ...]], n_bytes: int, path: Path) -> None:
    """Refuse sizes that the file cannot hold, before memory is asked for."""
    claimed = sum(math.prod(shape) for shape in shapes)
    highest = max(shape[0] for shape in shapes)
    if highest > MOST_VERTICES or min(map(min, shapes)) < 0 or claimed > _MOST_INFLATED * n_bytes:
        raise DataError(
            "The header of this GIFTI file is damaged.",
            file=path,
            place="Dim0 and Dim1 of its arrays",
            found=f"{claimed:,} values, up to {highest:,} vertices, in {n_bytes:,} bytes",
            expected=f"at most {MOST_VERTICES:,} vertices, and as many values as a file of this "
            "size can hold",
            remedy=_AGAIN,
        )


def open_gifti(path: Path) -> nibabel.GiftiImage:
    """Read a GIFTI file, plain or gzipped.

    Raises
    ------
    MissingInputError, DataError
        As :func:`summarize`.
    """
    _require(path)
    if path.suffix != ".gz":
        summarize(path)
    try:
        image = nibabel.load(path)
    except BROKEN as error:
        raise unreadable(path, error) from error
    if not isinstance(image, nibabel.GiftiImage):
        raise unreadable(path, type(image).__name__)
    return image


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
