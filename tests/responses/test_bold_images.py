"""Reading BOLD: every broken image has its message, and a whole one is read voxel by voxel."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from nilearn.masking import apply_mask

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.responses.read_bold import describe_bold, load_bold


@pytest.fixture
def data():
    return np.random.default_rng(0).normal(100, 5, (4, 5, 3, 12)).astype(np.float32)


def mask_of(inside, affine=None):
    return nib.Nifti1Image(np.asarray(inside, np.uint8), np.eye(4) if affine is None else affine)


def assert_explains(error, path, *words):
    text = str(error.value)
    assert str(path) in text
    for part in ("found:", "remedy:", *words):
        assert part in text


def test_header_is_described(write_bold, data):
    info = describe_bold(write_bold(data), 2.0)
    assert info.shape == (4, 5, 3)
    assert info.n_volumes == 12
    assert info.repetition_time == 2.0
    assert info.duration == 24.0
    np.testing.assert_array_equal(info.affine, np.diag([3, 3, 3, 1]))


@pytest.mark.parametrize("name", ["a_bold.nii", "a_bold.nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8, ">i2"])
def test_voxels_come_in_nilearn_order(write_bold, data, name, dtype):
    path = write_bold(data, name, dtype=dtype)
    inside = np.random.default_rng(1).random((4, 5, 3)) < 0.5
    expected = apply_mask(path, mask_of(inside, nib.load(path).affine))
    loaded = load_bold(path, mask_of(inside))
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected, rtol=1e-6)


def test_scaling_of_integers_is_applied(tmp_path, data):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.01, 90.0)
    path = tmp_path / "a_bold.nii.gz"
    nib.save(image, path)
    loaded = load_bold(path, mask_of(np.ones((4, 5, 3))))
    np.testing.assert_allclose(loaded, nib.load(path).get_fdata().reshape(60, 12).T, rtol=1e-6)


def test_constant_and_not_finite_voxels_become_nan(write_bold, data, caplog):
    data[0, 0, 0] = 7.0
    data[0, 0, 1, 3] = np.nan
    data[0, 0, 2, 4] = np.inf
    path = write_bold(data)
    loaded = load_bold(path, mask_of(np.ones((4, 5, 3))))
    assert np.isnan(loaded[:, :3]).all()
    assert np.isfinite(loaded[:, 3:]).all()
    assert "3 of 60 voxels" in caplog.text


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_all_constant_or_nan_is_refused(write_bold, value):
    path = write_bold(np.full((3, 3, 3, 5), value))
    with pytest.raises(DataError) as error:
        load_bold(path, mask_of(np.ones((3, 3, 3))))
    assert_explains(error, path, "27 voxels")


def test_mask_on_another_grid_is_refused(write_bold, data):
    path = write_bold(data)
    with pytest.raises(DataError) as error:
        load_bold(path, mask_of(np.ones((4, 5, 4))))
    assert_explains(error, path, "4 × 5 × 4", "place:")


@pytest.mark.parametrize("content", [b"", b"no image at all\n" * 40])
@pytest.mark.parametrize("name", ["a_bold.nii", "a_bold.nii.gz"])
def test_what_is_not_nifti_is_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, "NIfTI")


def test_another_format_is_refused(tmp_path, data):
    path = tmp_path / "a_bold.mgz"
    nib.save(nib.MGHImage(data, np.eye(4)), path)
    with pytest.raises(DataError) as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, "MGHImage")


def test_truncated_plain_file_is_refused_by_its_header(write_bold, data):
    path = write_bold(data, "a_bold.nii")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated") as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, "place:", f"{path.stat().st_size} bytes")
    with pytest.raises(DataError, match="truncated"):
        load_bold(path, mask_of(np.ones((4, 5, 3))))


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_truncated_gzip_is_refused(write_bold, data, keep):
    path = write_bold(data)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError) as error:
        describe_bold(path, 2.0)
        load_bold(path, mask_of(np.ones((4, 5, 3))))
    assert_explains(error, path, "place:")


def test_gzip_of_too_few_volumes_is_refused(write_bold, data):
    path = write_bold(data)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: 352 + 4 * 60 * 7]))
    with pytest.raises(DataError, match="volume 8 of 12"):
        load_bold(path, mask_of(np.ones((4, 5, 3))))


def test_corrupt_gzip_is_refused_by_its_checksum(write_bold, data):
    path = write_bold(data)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # in the checksum
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_bold(path, mask_of(np.ones((4, 5, 3))))
    assert_explains(error, path, "CRC")


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5, 3, 1), (4, 5, 3, 2, 2)])
def test_what_is_no_series_is_refused(write_bold, shape):
    path = write_bold(np.ones(shape))
    with pytest.raises(DataError) as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, "place:", "two volumes", " × ".join(map(str, shape)))


def test_complex_voxels_are_refused(write_bold, data):
    path = write_bold(data, dtype=np.complex64)
    with pytest.raises(DataError) as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, "complex64", "place:")


def test_missing_file(tmp_path):
    with pytest.raises(MissingInputError) as error:
        describe_bold(tmp_path / "a_bold.nii.gz", 2.0)
    assert_explains(error, tmp_path / "a_bold.nii.gz", "no such file")


def test_broken_annex_link_names_datalad(tmp_path):
    path = tmp_path / "a_bold.nii.gz"
    path.symlink_to("../.git/annex/objects/xx/yy/MD5E-s1--z.nii.gz")
    with pytest.raises(MissingInputError) as error:
        load_bold(path, mask_of(np.ones((2, 2, 2))))
    assert_explains(error, path, f"datalad get {path}")


def test_annex_pointer_names_datalad(tmp_path):
    path = tmp_path / "a_bold.nii.gz"
    path.write_text("/annex/objects/MD5E-s1--z.nii.gz\n")
    with pytest.raises(MissingInputError) as error:
        describe_bold(path, 2.0)
    assert_explains(error, path, f"datalad get {path}")


def test_missing_repetition_time_hints_at_the_header(write_bold, data):
    path = write_bold(data, tr=1.5)
    with pytest.raises(DataError) as error:
        describe_bold(path, None)
    assert_explains(error, path, "RepetitionTime in sub-01_task-x_bold.json", "1.5 (sec)")


@pytest.mark.parametrize(
    ("tr", "unit", "value"),
    [
        (2.0, "sec", 2.015),
        (2000.0, "msec", 2.0),
        (2e6, "usec", 2.0),
        (0.0, "sec", 2.0),
        (1.0, "unknown", 2.0),
        (2.0, "unknown", 2.0),
        (2000.0, "unknown", 2.0),
    ],
)
def test_repetition_time_that_the_header_does_not_deny(write_bold, data, tr, unit, value):
    assert describe_bold(write_bold(data, tr=tr, unit=unit), value).repetition_time == value


@pytest.mark.parametrize(
    ("tr", "unit", "value"),
    [(2.0, "sec", 2.03), (1.0, "sec", 2.0), (2.0, "msec", 2.0), (3.0, "unknown", 2.0)],
)
def test_contradicting_repetition_time_is_refused(write_bold, data, tr, unit, value):
    path = write_bold(data, tr=tr, unit=unit)
    with pytest.raises(DataError, match="contradicts") as error:
        describe_bold(path, value)
    assert_explains(error, path, "RepetitionTime", f"{value:g} s", f"{tr:g}")


@pytest.mark.parametrize("value", [0, -2.0, 2000, "2.0", float("nan"), True])
def test_impossible_repetition_time_is_refused(write_bold, data, value):
    path = write_bold(data)
    with pytest.raises(DataError, match="impossible") as error:
        describe_bold(path, value)
    assert_explains(error, path, "RepetitionTime", repr(value))
