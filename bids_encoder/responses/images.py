"""NIfTI images: opened with every fault named, and read one volume at a time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError, ImageDataError

from bids_encoder.bids.annex import require_content
from bids_encoder.errors import DataError, MissingInputError

_ANOTHER_COPY = "get the file again (a transfer may have been cut short), or leave this run out"
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    HeaderDataError,
    ImageDataError,
)


def open_image(path: str | Path) -> nib.Nifti1Image:
    """Open a NIfTI image without reading its voxels.

    Raises
    ------
    MissingInputError
        There is no such file, or git-annex has its name but not its content.
    DataError
        The file is empty, or not NIfTI.
    """
    path = Path(path)
    _check_present(path)
    try:
        image = nib.load(path)
    except _BROKEN as trouble:
        raise DataError(
            "This image cannot be opened as NIfTI.",
            file=path,
            place="header",
            found=_without_path(trouble, path) if path.stat().st_size else "an empty file",
            expected="a NIfTI image (.nii or .nii.gz)",
            remedy=_ANOTHER_COPY,
        ) from trouble
    # Nifti1Pair is the common ancestor of NIfTI-1 and NIfTI-2, single files and pairs.
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(
            "This image is not NIfTI.",
            file=path,
            found=type(image).__name__,
            expected="a NIfTI image (.nii or .nii.gz)",
            remedy="convert it to NIfTI",
        )
    return image


def check_length(image: nib.Nifti1Image, path: Path) -> None:
    """Compare the length of a plain file with its header; of a gzipped one, reading will tell.

    Raises
    ------
    DataError
        The file is shorter than its header says.
    """
    data_file = Path(image.file_map["image"].filename)
    if data_file.suffix in {".gz", ".bz2", ".zst"}:
        return
    expected = image.dataobj.offset + math.prod(image.shape) * image.dataobj.dtype.itemsize
    found = data_file.stat().st_size
    if found < expected:
        raise DataError(
            "This image is truncated.",
            file=path,
            place="end of file",
            found=f"{found} bytes",
            expected=f"{expected} bytes, as its header says",
            remedy=_ANOTHER_COPY,
        )


def volumes(image: nib.Nifti1Image, path: Path, limit: int | None = None) -> Iterator[np.ndarray]:
    """Yield the volumes of an open 4D image in turn, each (x, y, z), with its scaling applied.

    Reading goes straight through the file, because stepping about in a gzipped one means
    inflating it anew each time.

    Raises
    ------
    DataError
        The file ends early, or is damaged.
    """
    proxy, shape = image.dataobj, image.shape[:3]
    n_bytes = math.prod(shape) * proxy.dtype.itemsize
    n_wanted = image.shape[3] if limit is None else min(limit, image.shape[3])
    # A float16 or float64 scaling of small integers fits float32 well within its precision.
    slope, inter = np.float32(proxy.slope), np.float32(proxy.inter)
    plain = slope == 1 and inter == 0
    k = 0
    try:
        with ImageOpener(image.file_map["image"].filename) as file:
            file.seek(proxy.offset)
            for _ in range(n_wanted):
                content = file.read(n_bytes)
                if len(content) < n_bytes:
                    raise EOFError("the file ends here")
                volume = np.frombuffer(content, proxy.dtype).reshape(shape, order="F")
                yield volume if plain else volume.astype(np.float32) * slope + inter
                k += 1
            if n_wanted == image.shape[3]:
                file.read(1)  # reaching the end makes gzip compare its checksum
    except (OSError, EOFError, zlib.error) as trouble:
        raise DataError(
            "This image is truncated or damaged.",
            file=path,
            place=f"volume {k + 1} of {image.shape[3]}",
            found=_one_line(trouble),
            expected=f"{image.shape[3]} whole volumes, as its header says",
            remedy=_ANOTHER_COPY,
        ) from trouble


def _check_present(path: Path) -> None:
    require_content([path], "image")
    if not path.is_file():
        raise MissingInputError(
            "This image is not there.",
            file=path,
            found="no such file",
            expected="a NIfTI image",
            remedy="check the path, or leave this run out",
        )


def _without_path(trouble: BaseException, path: Path) -> str:
    """What nibabel says, which names the file a second time."""
    words = _one_line(trouble).replace(f'"{path}"', "it").replace(str(path), "it")
    return words.removeprefix("File ")


def _one_line(trouble: BaseException) -> str:
    return " ".join(str(trouble).split()) or type(trouble).__name__
