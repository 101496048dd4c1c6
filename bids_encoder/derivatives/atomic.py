"""Files that appear whole or not at all.

A file is written beside its place under a hidden name, flushed to the disk and
then renamed, which the file system does in one step. Readers, and a second run
after a crash, never see half a file. Hidden names are skipped by the BIDS
validator, so what a killed run leaves behind does no harm.

The same content gives the same bytes: no time stamps, no file names inside.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import OutputError

if TYPE_CHECKING:
    import nibabel

_REMEDIES = {
    "no right": "Give yourself the right to write there, or choose another output folder.",
    "no space": "Free some space (or raise the quota) and run the same command again: "
    "finished files are kept.",
    "no folder": "A file stands where a folder is needed: move it, or choose another "
    "output folder.",
    "too long": "Choose an output folder with a shorter path.",
    "other": "Check the disk, or choose another output folder.",
}
_KINDS = {
    errno.EACCES: "no right",
    errno.EPERM: "no right",
    errno.EROFS: "no right",
    errno.ENOSPC: "no space",
    errno.EDQUOT: "no space",
    errno.EFBIG: "no space",
    errno.ENOTDIR: "no folder",
    errno.EEXIST: "no folder",
    errno.EISDIR: "no folder",
    errno.ENAMETOOLONG: "too long",
}


def output_error(path: Path, error: BaseException) -> OutputError:
    """Say in words why ``path`` could not be written, and what to do about it."""
    number: int | None = getattr(error, "errno", None)
    if number is None and (inside := re.search(r"errno = (\d+)", str(error))):
        number = int(inside[1])  # HDF5 says it in its message only
    return OutputError(
        "The output cannot be written.",
        file=path,
        found=os.strerror(number) if number else str(error),
        remedy=_REMEDIES["other" if number is None else _KINDS.get(number, "other")],
    )


def make_folder(path: Path) -> None:
    """Create a folder and those above it; fine if it is there already.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def remove(path: Path) -> None:
    """Remove a file; fine if there is none.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``.

    Where ``path`` has the same bytes already it is left alone, so that its time says when it
    was last changed.

    The temporary file lies in the same folder (a rename cannot cross file
    systems) and has the same extension (nibabel and h5py go by it). Whatever
    ends the block early, Ctrl-C included, removes it and leaves what was at
    ``path`` untouched.

    Raises
    ------
    OutputError
        If the system refuses to write: rights, space, a file in a folder's place.
    """
    path = Path(path)
    make_folder(path.parent)
    extension = path.name.lstrip(".").partition(".")[2]
    name = f".tmp-{os.getpid()}-{secrets.token_hex(4)}" + (f".{extension}" if extension else "")
    temporary = path.parent / name
    try:
        yield temporary
        if _is_same(temporary, path):
            temporary.unlink()
            return
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise output_error(path, error) from error
        raise


def _is_same(new: Path, old: Path) -> bool:
    try:
        return filecmp.cmp(new, old, shallow=False)
    except OSError:  # most often: nothing is there yet
        return False


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path, *, patience: float = 10.0) -> Iterator[None]:
    """Hold a folder while a file in it is read, changed and written back.

    The lock is advisory and goes away with the process. File systems that know
    no locks, and a neighbour that holds one for more than ``patience`` seconds,
    stop nobody: the block then runs without.

    Raises
    ------
    OutputError
        If the folder cannot be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        _lock(descriptor, patience)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return


def write_text(path: str | os.PathLike, text: str) -> bool:
    """Write a text file (UTF-8) unless it says the same already.

    Returns
    -------
    bool
        Whether anything was written.
    """
    path = Path(path)
    content = text.encode("utf-8")
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return True


def write_json(path: str | os.PathLike, content: Mapping | Sequence) -> bool:
    """Write JSON as people read it: indented, in the order given, a newline at the end."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_tsv(path: str | os.PathLike, columns: Mapping[str, Sequence]) -> bool:
    """Write a BIDS table: tabs, one header line, ``n/a`` for None and NaN.

    Parameters
    ----------
    path : path
    columns : mapping of str to sequence
        Name to values, one a row, all equally long. Numbers keep 8 digits.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of {path} are not equally long: {lengths}")
    rows = [tuple(columns), *zip(*columns.values(), strict=True)]
    return write_text(path, "".join("\t".join(map(_cell, row)) + "\n" for row in rows))


def _cell(value: object) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)):
        return format(float(value), ".8g") if np.isfinite(value) else _not_finite(float(value))
    # A tab or a line end inside a cell would break the table.
    return " ".join(str(value).split()) or "n/a"


def _not_finite(value: float) -> str:
    return "n/a" if np.isnan(value) else format(value, "f")


def write_image(path: str | os.PathLike, image: nibabel.filebasedimages.FileBasedImage) -> None:
    """Write an image (``.nii.gz``: nibabel leaves time and name out of the gzip header)."""
    import nibabel

    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def write_h5(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray | Sequence[str]],
    attributes: Mapping[str, object] | None = None,
) -> None:
    """Write arrays and attributes to an HDF5 file.

    Parameters
    ----------
    path : path
    arrays : mapping of str to array
        Numbers of any shape, or sequences of str.
    attributes : mapping, optional
        Small facts of the whole file: str and numbers.

    Notes
    -----
    Arrays lie in one piece. On a full disk HDF5 then ends with an exception;
    with chunks, whose cache is written when objects are freed, it ends the
    whole process with a segmentation fault.
    """
    import h5py

    path = Path(path)
    with atomic_path(path) as temporary:
        try:
            with h5py.File(temporary, "w") as file:
                for name, values in arrays.items():
                    if len(values) and isinstance(values[0], str):
                        file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
                    else:
                        file.create_dataset(name, data=np.asarray(values))
                for name, value in (attributes or {}).items():
                    file.attrs[name] = value
        except RuntimeError as error:  # what HDF5 says when the disk is full
            raise output_error(path, error) from error
