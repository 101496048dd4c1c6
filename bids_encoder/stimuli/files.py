"""Files of stimuli, opened with words for whatever can be wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bids_encoder.errors import DataError, MissingInputError

_ANNEX_POINTER = b"/annex/objects/"
_POINTER_BYTES = 32_768  # a file that begins like a pointer and is larger is none
_CHUNK = 1 << 20
LARGEST_PICTURE = 500_000_000  # bytes; as large as the largest pictures are without compression


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a picture's file.

    Raises
    ------
    MissingInputError, DataError
        As `open_stimulus`.
    """
    with open_stimulus(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_PICTURE:
            raise DataError(
                "A picture is too large to be a stimulus.",
                file=path,
                found=f"{size:,} bytes",
                expected=f"at most {LARGEST_PICTURE:,}",
                remedy="save it at the resolution of the screen it was shown on",
            )
        return file.read()


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 of a stimulus file of any size.

    Raises
    ------
    MissingInputError, DataError
        As `open_stimulus`.
    """
    digest = hashlib.sha256()
    with open_stimulus(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def open_stimulus(path: str | Path) -> Iterator[BinaryIO]:
    """Open a stimulus file for reading.

    Raises
    ------
    MissingInputError
        No such file, or its content was not fetched (git-annex).
    DataError
        Empty, a folder, or not readable.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _refuse_what_has_no_content(file, path)
            yield file
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise DataError(
            "A stimulus is a folder, not a file.",
            file=path,
            expected="a picture or a film",
            remedy="name the file inside the folder in events.tsv",
        ) from None
    except OSError as error:
        raise DataError(
            "A stimulus cannot be read.",
            file=path,
            found=error.strerror or error,
            remedy="check the permissions of the file and that the disk is well",
        ) from None


def _refuse_what_has_no_content(file: BinaryIO, path: Path) -> None:
    start = file.read(len(_ANNEX_POINTER))
    if not start:
        raise DataError(
            "A stimulus is empty.",
            file=path,
            found="0 bytes",
            expected="a picture or a film",
            remedy="copy or download the file again",
        )
    if start == _ANNEX_POINTER and os.fstat(file.fileno()).st_size < _POINTER_BYTES:
        raise _not_fetched(path)
    file.seek(0)


def _missing(path: Path) -> MissingInputError:
    if path.is_symlink() and "annex" in os.readlink(path):
        return _not_fetched(path)
    return MissingInputError(
        "A stimulus is a broken link." if path.is_symlink() else "A stimulus is missing.",
        file=path,
        remedy="put the file there, or correct its name in events.tsv",
    )


def _not_fetched(path: Path) -> MissingInputError:
    return MissingInputError(
        "The content of a stimulus has not been fetched.",
        file=path,
        found="a git-annex link without content",
        remedy=f"datalad get {path}",
    )
