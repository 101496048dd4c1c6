"""NIfTI images, pictures and files of features with damaged headers and content."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import strategies as st
from mangle import damaged, folder, outcome, twice

from bids_encoder.errors import DataError
from bids_encoder.regions.volume_labels import label_values
from bids_encoder.responses.masks import common_mask, read_mask
from bids_encoder.responses.read_bold import describe_bold, load_bold
from bids_encoder.stimuli.images import read_image

SHAPE = (3, 4, 2)


def nifti(shape: tuple[int, ...], kind=nibabel.Nifti1Image) -> bytes:
    random = np.random.default_rng(0)
    data = random.integers(0, 200, shape).astype(np.int16)
    image = kind(data, np.diag([3.0, 3.0, 3.0, 1.0]))
    if len(shape) == 4:
        image.header.set_zooms((3.0, 3.0, 3.0, 2.0))
    return image.to_bytes()


BOLD = [nifti((*SHAPE, 6)), nifti((*SHAPE, 6), nibabel.Nifti2Image)]
# Where the fields lie (nifti1.h, nifti2.h), and how they are written.
FIELDS = {
    348: [(0, "i"), *[(40 + 2 * k, "h") for k in range(8)], (70, "h"), (72, "h"),
          *[(76 + 4 * k, "f") for k in range(8)], (108, "f"), (112, "f"), (116, "f"),
          (123, "b"), (252, "h"), (254, "h"), *[(280 + 4 * k, "f") for k in range(12)],
          (344, "i"), (348, "i")],
    540: [(0, "i"), (4, "i"), (12, "h"), (14, "h"), *[(16 + 8 * k, "q") for k in range(8)],
          *[(104 + 8 * k, "d") for k in range(8)], (168, "q"), (176, "d"), (184, "d"),
          (344, "i"), (348, "i"), *[(400 + 8 * k, "d") for k in range(12)], (500, "i")],
}  # fmt: skip
EXTREMES = {
    "b": [0, 1, 2, 8, 16, 24, 127, -1],
    "h": [0, 1, 2, 3, 4, 5, 6, 7, 8, -1, 32767, -32768, 16, 64, 128, 256, 511, 768, 1024, 2304],
    "i": [0, 1, -1, 348, 540, 2**31 - 1, -(2**31), 1543569408],
    "q": [0, 1, 2, -1, 5, 2**31, 2**40, 2**62, -(2**62)],
    "f": [0.0, 1.0, -1.0, 352.0, 1e30, -1e30, np.nan, np.inf, 1e-40, 0.5, 7.0, 1e9],
    "d": [0.0, 1.0, -1.0, 1e300, np.nan, np.inf, 1e-310, 0.5, 7.0],
}  # fmt: skip


@st.composite
def images(draw, contents: list[bytes]) -> tuple[str, bytes]:
    """A name and a file: fields of the header changed, or bytes damaged, gzipped or not."""
    content = bytearray(draw(st.sampled_from(contents)))
    fields = FIELDS[struct.unpack_from("<i", content)[0]]
    for _ in range(draw(st.integers(0, 3))):
        at, code = draw(st.sampled_from(fields))
        struct.pack_into(f"<{code}", content, at, draw(st.sampled_from(EXTREMES[code])))
    made = bytes(content)
    if draw(st.booleans()):
        made = draw(damaged(made))
    if draw(st.booleans()):
        return "nii", made
    made = gzip.compress(made, 1, mtime=0)
    return "nii.gz", draw(damaged(made)) if draw(st.booleans()) else made


def whole_mask() -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([3.0, 3.0, 3.0, 1.0]))


def bold(made: tuple[str, bytes]) -> None:
    extension, content = made
    with folder() as place:
        path = place / f"sub-01_task-x_bold.{extension}"
        path.write_bytes(content)
        info = outcome(describe_bold, path, 2.0, names=path.name)
        if info is None:
            return
        assert len(info.shape) == 3 and min(info.shape) > 0 and info.n_volumes > 1
        values = outcome(load_bold, path, whole_mask(), names=path.name)
        if values is not None:
            assert values.shape == (info.n_volumes, np.prod(SHAPE))
            assert values.dtype == np.float32
            usable = np.isfinite(values).all(axis=0)
            assert (np.isfinite(values).any(axis=0) == usable).all()
        mask = outcome(common_mask, [FakeRun()], [info], names=path.name)
        assert mask is None or mask.shape == info.shape


class FakeRun:
    mask = None


test_bold, test_bold_thoroughly = twice(bold, images(BOLD), 40)


def mask(made: tuple[str, bytes]) -> None:
    extension, content = made
    with folder() as place:
        whole = place / "sub-01_task-x_bold.nii"
        whole.write_bytes(BOLD[0])
        path = place / f"sub-01_task-x_mask.{extension}"
        path.write_bytes(content)
        info = describe_bold(whole, 2.0)
        found = outcome(read_mask, path, info, names=path.name)
        assert found is None or (found.shape == SHAPE and found.dtype == bool)
        labels = outcome(label_values, path, whole_mask(), names=path.name)
        assert labels is None or (labels.shape == (np.prod(SHAPE),) and (labels >= 0).all())


test_masks, test_masks_thoroughly = twice(mask, images([nifti(SHAPE), nifti((*SHAPE, 2))]), 30)


def picture(content: bytes) -> None:
    with folder() as place:
        path = place / "a.png"
        path.write_bytes(content)
        found = outcome(read_image, path, names=path.name)
        assert found is None or (
            found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8
        )


def encoded(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PICTURES = [encoded(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")]
test_pictures, test_pictures_thoroughly = twice(
    picture, st.sampled_from(PICTURES).flatmap(damaged), 40
)


@pytest.mark.parametrize("offset", [40 + 2, 40 + 2 * 3])
def test_a_mask_without_voxels(tmp_path, offset):
    content = bytearray(nifti(SHAPE))
    struct.pack_into("<h", content, offset, 0)
    (path := tmp_path / "sub-01_mask.nii").write_bytes(content)
    (tmp_path / "sub-01_bold.nii").write_bytes(BOLD[0])
    with pytest.raises(DataError, match="header, dim"):
        read_mask(path, describe_bold(tmp_path / "sub-01_bold.nii", 2.0))
    with pytest.raises(DataError, match="sub-01_mask.nii"):
        label_values(path, whole_mask())


def test_units_that_do_not_exist_say_nothing(tmp_path):
    content = bytearray(BOLD[0])
    content[123] = 7 + 56
    (path := tmp_path / "sub-01_bold.nii").write_bytes(content)
    assert describe_bold(path, 2.0).repetition_time == 2.0


def test_a_gzipped_image_that_claims_more_than_it_can_hold(tmp_path):
    """One kilobyte of gzip holds a megabyte at most: the claim is refused before memory is."""
    content = bytearray(BOLD[1])
    struct.pack_into("<q", content, 16 + 8 * 4, 2**40)  # volumes
    path = tmp_path / "sub-01_task-x_bold.nii.gz"
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError, match="truncated") as caught:
        describe_bold(path, 2.0)
    assert path.name in str(caught.value) and "remedy" in str(caught.value)


def test_what_inflates_beyond_what_the_header_says_is_not_read(tmp_path):
    """A gigabyte of zeros behind the last volume costs neither memory nor time."""
    path = tmp_path / "sub-01_task-x_bold.nii.gz"
    squeeze = zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        file.write(squeeze.compress(BOLD[0]))
        for _ in range(200):
            file.write(squeeze.compress(bytes(1 << 20)))
        file.write(squeeze.flush())
    import tracemalloc

    tracemalloc.start()
    values = load_bold(path, whole_mask())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.shape == (6, 24)
    assert peak < 20_000_000


def test_links_out_of_a_file_of_features(tmp_path):
    from bids_encoder.features.external import open_features

    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.ones((1, 3))
        file["names"] = ["a.png"]
    (tmp_path / "raw.bin").write_bytes(np.ones(3).tobytes())
    links = {
        "external": lambda file: file.__setitem__("conv1", h5py.ExternalLink(secret, "numbers")),
        "soft": lambda file: file.__setitem__("conv1", h5py.SoftLink("/elsewhere")),
        "storage": lambda file: file.create_dataset(
            "conv1", (1, 3), "f8", external=[(tmp_path / "raw.bin", 0, 24)]
        ),
        "virtual": lambda file: _virtual(file, secret),
    }
    for kind, make in links.items():
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file["stimuli"] = ["a.png"]
            make(file)
        with pytest.raises(DataError, match=r"link out of the file") as caught:
            open_features(path, ["a.png"])
        assert path.name in str(caught.value)


def _virtual(file, secret) -> None:
    layout = h5py.VirtualLayout(shape=(1, 3), dtype="f8")
    layout[:] = h5py.VirtualSource(secret, "numbers", shape=(1, 3))
    file.create_virtual_dataset("conv1", layout)
