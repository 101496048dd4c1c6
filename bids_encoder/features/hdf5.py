"""How much an HDF5 file holds, against how much its header says."""

from __future__ import annotations

import math
from pathlib import Path

import h5py

from bids_encoder.errors import DataError

# Deflate shrinks to a 1032nd at best, and the other filters of HDF5 itself to less.
_MOST_INFLATED = 1032
LARGEST_CHUNK = 2**30  # bytes; to read one number, all of its chunk is unpacked


def check_stored(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse numbers that are not in the file, before memory is asked for.

    HDF5 gives zeros for what was never written: a file of a few kilobytes may say that it holds
    billions of numbers.

    Parameters
    ----------
    dataset : Dataset
        That lies in the file itself.
    path : Path
        The file, for the message.

    Raises
    ------
    DataError
        The file holds fewer numbers than its header says, or keeps them in enormous chunks.
    """
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    if claimed > stored * (_MOST_INFLATED if packed else 1):
        raise DataError(
            "An HDF5 file holds less than its header says.",
            file=path,
            place=f"dataset {dataset.name.lstrip('/')!r}",
            found=f"{stored:,} bytes",
            expected=f"numbers of shape {dataset.shape}, which take {claimed:,} bytes"
            + " before they are packed" * packed,
            remedy="write the file again, with all of its numbers",
        )
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > LARGEST_CHUNK:
        raise DataError(
            "An HDF5 file keeps its numbers in enormous chunks.",
            file=path,
            place=f"dataset {dataset.name.lstrip('/')!r}",
            found=f"chunks of shape {dataset.chunks}, {chunk:,} bytes each",
            expected=f"at most {LARGEST_CHUNK:,} bytes",
            remedy="write the file again without chunks, or with smaller ones",
        )
