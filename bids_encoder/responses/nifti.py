"""NIfTI images: opened with every fault named, and read one volume at a time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError, ImageDataError

from bids_encoder.bids.annex import require_content
from bids_encoder.errors import DataError, MissingInputError

_ANOTHER_COPY = "get the file again (a transfer may have been cut short), or leave this run out"
_MOST_INFLATED = 1032
MOST_VOXELS = 200_000_000  # in a volume; a whole head at half a millimetre has half as many
BROKEN = (
    OSError,
    OverflowError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    HeaderDataError,
    ImageDataError,
)


def open_image(path: str | Path) -> nib.Nifti1Pair:
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
    except BROKEN as trouble:
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
    _check_header(image, path)
    return image


def proxy_of(image: nib.Nifti1Pair | nib.Cifti2Image) -> ArrayProxy:
    """Where the numbers of an image lie in its file.

    Raises
    ------
    TypeError
        The image was made in memory.
    """
    proxy = image.dataobj
    if not isinstance(proxy, ArrayProxy):
        raise TypeError("the numbers of this image lie in no file")
    return proxy


def _data_file(image: nib.Nifti1Pair) -> Path:
    name = image.file_map["image"].filename
    assert name is not None  # as `proxy_of` would have said
    return Path(name)


def _check_header(image: nib.Nifti1Pair, path: Path) -> None:
    """Refuse what no program has written on purpose, before memory is asked for."""

    def wrong(place: str, found: object, expected: str) -> DataError:
        return DataError(
            "The header of this image is damaged.",
            file=path,
            place=f"header, {place}",
            found=found,
            expected=expected,
            remedy=_ANOTHER_COPY,
        )

    if min(image.shape, default=0) < 1:
        raise wrong("dim", " × ".join(map(str, image.shape)), "numbers of voxels")
    n_voxels = math.prod(image.shape[:3])
    if n_voxels > MOST_VOXELS:
        raise wrong("dim", f"{n_voxels:,} voxels in a volume", f"at most {MOST_VOXELS:,}")
    offset = proxy_of(image).offset
    if offset < 0:
        raise wrong("vox_offset", offset, "where the voxels begin in the file")
    matrix = image.affine[:3, :3]
    # Metres, and a hundred-thousandth of a millimetre: no voxel is larger or smaller.
    usable = np.isfinite(image.affine).all() and np.abs(image.affine).max() < 1e6
    if not usable or np.linalg.svd(matrix, compute_uv=False).min() < 1e-5:
        found = "; ".join(" ".join(f"{value:.4g}" for value in row) for row in image.affine[:3])
        raise wrong("affine", found, "a map from voxels to millimetres that can be inverted")
    try:
        image.header.get_xyzt_units()
    except KeyError:  # a code that the standard does not have says as much as none
        image.header["xyzt_units"] = 0
    check_length(image, path)


def check_numbers(image: nib.Nifti1Pair, path: Path) -> None:
    """Refuse voxels that are colours or complex numbers.

    Raises
    ------
    DataError
        They are neither integers nor real numbers.
    """
    dtype = proxy_of(image).dtype
    if dtype.kind not in "iuf":
        raise DataError(
            "The voxels of this image are not plain numbers.",
            file=path,
            place="header, datatype",
            found=str(dtype),
            expected="integers or real numbers",
            remedy="convert it to float32",
        )


def check_length(image: nib.Nifti1Pair, path: Path) -> None:
    """Compare the length of a file with its header.

    Of a gzipped file only what it could hold is known (deflate shrinks to a 1032nd at best);
    reading will tell whether it is there.

    Raises
    ------
    DataError
        The file is shorter than its header says.
    """
    proxy, data_file = proxy_of(image), _data_file(image)
    gzipped = data_file.suffix == ".gz"
    if data_file.suffix in {".bz2", ".zst"}:
        return
    try:
        found = data_file.stat().st_size
    except OSError as trouble:  # of a pair, the half with the voxels
        raise MissingInputError(
            "The voxels of this image are not there.",
            file=data_file,
            place=f"the other half of {path.name}",
            remedy=_ANOTHER_COPY,
        ) from trouble
    expected = proxy.offset + math.prod(image.shape) * proxy.dtype.itemsize
    if expected > (found * _MOST_INFLATED if gzipped else found):
        raise DataError(
            "This image is truncated.",
            file=path,
            place="end of file",
            found=f"{found} bytes" + " of gzip" * gzipped,
            expected=f"{expected} bytes, as its header says",
            remedy=_ANOTHER_COPY,
        )


def volumes(image: nib.Nifti1Pair, path: Path, limit: int | None = None) -> Iterator[np.ndarray]:
    """Yield the volumes of an open 4D image in turn, each (x, y, z), with its scaling applied.

    Reading goes straight through the file, because stepping about in a gzipped one means
    inflating it anew each time.

    Raises
    ------
    DataError
        The file ends early, or is damaged.
    """
    proxy, shape = proxy_of(image), image.shape[:3]
    n_bytes = math.prod(shape) * proxy.dtype.itemsize
    n_wanted = image.shape[3] if limit is None else min(limit, image.shape[3])
    # A float16 or float64 scaling of small integers fits float32 well within its precision.
    slope, inter = np.float32(proxy.slope), np.float32(proxy.inter)
    plain = slope == 1 and inter == 0
    k = 0
    try:
        with ImageOpener(str(_data_file(image))) as file:
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
    except BROKEN as trouble:
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
