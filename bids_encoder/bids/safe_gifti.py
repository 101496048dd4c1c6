"""GIFTI files, parsed with nibabel, and checked where only a parser can: after it has parsed.

What a tag says is looked at when all references in it are resolved, so that nothing can be written
in a way that is not seen. Files that a GIFTI file refers to are not opened; sizes are compared with
the file before memory is asked for; and what is packed is unpacked as far as it should go.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Literal, NoReturn

import nibabel
import numpy as np
from nibabel.gifti.gifti import GiftiImage
from nibabel.gifti.parse_gifti_fast import GiftiImageParser
from nibabel.gifti.util import array_index_order_codes, gifti_encoding_codes, gifti_endian_codes
from nibabel.nifti1 import data_type_codes

from bids_encoder.errors import DataError

MOST_VERTICES = 10_000_000  # of a hemisphere; the finest meshes in use have some 300 000
_MOST_INFLATED = 1032  # deflate shrinks to a 1032nd at best
_LONGEST_TEXT = 10_000_000  # characters of a name or value
_CHARACTERS = 32  # of a number that is written out, with what stands between two


def parse_gifti(path: Path, *, decode: bool = True) -> GiftiImage:
    """Read a GIFTI file, plain or gzipped.

    Parameters
    ----------
    path : Path
    decode : bool
        Whether its numbers are wanted; without them only its tags are read.

    Raises
    ------
    DataError
        It refers to other files, or claims more than it can hold.
    OSError, ValueError, ...
        It is damaged: what nibabel raises (:data:`bids_encoder.derivatives.images.BROKEN`).
    """
    parser = _Parser(path, decode)
    with nibabel.openers.ImageOpener(str(path)) as file:
        parser.parse(fptr=file)
    if parser.img is None:
        raise ValueError("no GIFTI tag")
    return parser.img


class _Parser(GiftiImageParser):
    """nibabel's parser, which asks before it believes."""

    HANDLER_NAMES = [*GiftiImageParser.HANDLER_NAMES, "EntityDeclHandler"]

    def __init__(self, path: Path, decode: bool):
        super().__init__(buffer_size=1_000_000, mmap=False)
        self._path, self._decode = path, decode
        self._size = path.stat().st_size
        self._claimed = 0  # values of all arrays
        self._most = self._come = 0  # characters that may come, and that have come, in this tag

    def StartElementHandler(self, name: str, attrs: Mapping[str, str]) -> None:  # noqa: N802
        """Look at the attributes of a tag, as the parser has resolved them."""
        super().StartElementHandler(name, attrs)
        self._most, self._come = _LONGEST_TEXT, 0
        if name == "DataArray":
            self._check_array()
        elif name == "Data":
            written = max(1, math.prod(self.da.dims)) * _CHARACTERS
            self._most = written + _LONGEST_TEXT

    def _check_array(self) -> None:
        array = self.da
        if gifti_encoding_codes.label[array.encoding] == "External":
            self._refuse_other_files()
        count = math.prod(array.dims)
        self._claimed += count
        if (
            min(array.dims, default=0) < 0
            or max(array.dims, default=0) > MOST_VERTICES
            or self._claimed > _MOST_INFLATED * self._size
        ):
            raise DataError(
                "The header of this GIFTI file is damaged.",
                file=self._path,
                place="Dim0 and Dim1 of its arrays",
                found=f"{' × '.join(map(str, array.dims))}; {self._claimed:,} values in "
                f"{self._size:,} bytes",
                expected=f"at most {MOST_VERTICES:,} vertices, and as many values as a file of "
                "this size can hold",
                remedy="get the file again (a transfer may have been cut short), or leave it out",
            )

    def EntityDeclHandler(self, *_: object) -> NoReturn:  # noqa: N802
        """Refuse entities: they may stand for files, or multiply."""
        self._refuse_other_files()

    def _refuse_other_files(self) -> NoReturn:
        raise DataError(
            "This GIFTI file refers to other files, which are not read.",
            file=self._path,
            expected="all data inside the file",
            remedy="convert it: wb_command -gifti-convert GZIP_BASE64_BINARY IN OUT",
        )

    def CharacterDataHandler(self, data: str) -> None:  # noqa: N802
        """Keep the text of a tag, as far as it may be long."""
        self._come += len(data)
        if self._come > self._most:
            raise ValueError("more text in a tag than there can be")
        if self.write_to is not None and (self._decode or self.write_to != "Data"):
            super().CharacterDataHandler(data)

    def flush_chardata(self) -> None:
        """Unpack an array no further than its sizes say."""
        if self.write_to != "Data":
            super().flush_chardata()
            return
        if self._decode:
            text, self._char_blocks = "".join(self._char_blocks or ()), None
            self.da.data = _unpacked(self.da, text)


# As nibabel calls them; of an order that is not said nothing can be read.
_BYTE_ORDERS: dict[Hashable, Literal["<", ">"]] = {"little": "<", "big": ">"}
_INDEX_ORDERS: dict[Hashable, Literal["C", "F"]] = {"C": "C", "F": "F"}


def _unpacked(array, text: str) -> np.ndarray:
    native = data_type_codes.dtype[array.datatype]
    assert isinstance(native, np.dtype)  # nibabel's table has no other entries
    kind = native.newbyteorder(_BYTE_ORDERS[gifti_endian_codes.byteorder[array.endian]])
    order = _INDEX_ORDERS[array_index_order_codes.npcode[array.ind_ord]]
    encoding = gifti_encoding_codes.label[array.encoding]
    if encoding == "ASCII":
        numbers = np.array(text.split(), dtype=kind.newbyteorder("="))
        return numbers.reshape(tuple(array.dims), order=order)
    content = base64.b64decode(text.encode("ascii"))
    n_bytes = math.prod(array.dims) * kind.itemsize
    if encoding == "B64GZ":
        # One byte more than there should be shows that there are more.
        content = zlib.decompressobj().decompress(content, n_bytes + 1)
    if len(content) != n_bytes:
        more = "more than " if len(content) > n_bytes else ""
        raise ValueError(f"{more}{min(len(content), n_bytes)} bytes of {n_bytes} in an array")
    return np.frombuffer(bytearray(content), kind).reshape(tuple(array.dims), order=order)
