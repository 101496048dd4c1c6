"""One mask for all runs: given, computed, or what varies."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest

from bids_encoder.errors import DataError
from bids_encoder.responses.masks import common_mask, read_mask
from bids_encoder.responses.read_bold import describe_bold

SHAPE = (12, 12, 10)


def ball(radius=4.0):
    centre = (np.array(SHAPE) - 1) / 2
    squares = sum((axis - c) ** 2 for axis, c in zip(np.indices(SHAPE), centre, strict=True))
    return squares <= radius**2


def head(inside=None, background=20.0, n_volumes=6):
    rng = np.random.default_rng(0)
    data = rng.random((*SHAPE, n_volumes)) * background
    data[ball() if inside is None else inside] += 1000.0
    return data


@pytest.fixture
def write_mask(tmp_path):
    def write(inside, name, affine=None):
        affine = np.diag([3.0, 3.0, 3.0, 1.0]) if affine is None else affine
        nib.save(nib.Nifti1Image(np.asarray(inside, np.uint8), affine), tmp_path / name)
        return tmp_path / name

    return write


def inside_of(mask):
    return np.asarray(mask.dataobj).astype(bool)


def test_given_masks_are_intersected(write_bold, write_mask, make_run):
    left, right = np.zeros(SHAPE), np.zeros(SHAPE)
    left[:8], right[5:] = 1, 1
    paths = [write_bold(head(), f"{k}_bold.nii.gz") for k in "ab"]
    masks = [write_mask(left, "a_mask.nii.gz"), write_mask(right, "b_mask.nii.gz")]
    runs = [make_run(path, mask=mask) for path, mask in zip(paths, masks, strict=True)]
    mask = common_mask(runs, [describe_bold(path, 2.0) for path in paths])
    np.testing.assert_array_equal(inside_of(mask), (left * right).astype(bool))
    np.testing.assert_array_equal(mask.affine, np.diag([3, 3, 3, 1]))
    assert mask.get_data_dtype() == np.uint8


def test_given_masks_stand_for_runs_without(write_bold, write_mask, make_run, caplog):
    path = write_bold(head())
    runs = [make_run(path, mask=write_mask(ball(), "a_mask.nii.gz")), make_run(path)]
    mask = common_mask(runs, [describe_bold(path, 2.0)] * 2)
    np.testing.assert_array_equal(inside_of(mask), ball())
    assert "1 of 2 runs have no brain mask" in caplog.text


def test_mask_on_another_grid_is_resampled(write_bold, write_mask, make_run):
    path = write_bold(head())
    fine = np.kron(ball(), np.ones((2, 2, 2)))
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = -0.75  # the corners of both grids coincide
    run = make_run(path, mask=write_mask(fine, "a_mask.nii.gz", affine))
    mask = inside_of(common_mask([run], [describe_bold(path, 2.0)]))
    np.testing.assert_array_equal(mask, ball())


def test_computed_mask_finds_the_head_and_warns(write_bold, make_run, caplog):
    path = write_bold(head())
    mask = inside_of(common_mask([make_run(path)], [describe_bold(path, 2.0)]))
    overlap = 2 * (mask & ball()).sum() / (mask.sum() + ball().sum())
    assert overlap > 0.9
    assert "No brain mask was given" in caplog.text


def test_data_that_were_masked_before_keep_what_varies(write_bold, make_run):
    data = head(ball(2.0))
    data[~ball()] = 0.0
    path = write_bold(data)
    mask = inside_of(common_mask([make_run(path)], [describe_bold(path, 2.0)]))
    np.testing.assert_array_equal(mask, ball())


def test_voxels_that_are_not_finite_are_outside_a_computed_mask(write_bold, make_run):
    data = head()
    data[6, 6, 5, 2] = np.nan
    path = write_bold(data)
    mask = inside_of(common_mask([make_run(path)], [describe_bold(path, 2.0)]))
    assert mask[6, 6, 6]
    assert not mask[6, 6, 5]


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_mismatched_grids_name_both_files(write_bold, make_run, shift):
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = shift
    data = head() if shift else head()[:-1]
    paths = [write_bold(head(), "a_bold.nii.gz"), write_bold(data, "b_bold.nii.gz", affine=affine)]
    with pytest.raises(DataError, match="different grids") as error:
        common_mask([make_run(p) for p in paths], [describe_bold(p, 2.0) for p in paths])
    for part in (*map(str, paths), "place:", "remedy:", "--space"):
        assert part in str(error.value)


def test_empty_intersection_is_refused(write_bold, write_mask, make_run):
    path = write_bold(head())
    masks = [write_mask(part, f"{k}_mask.nii.gz") for k, part in enumerate([ball(), ~ball()])]
    runs = [make_run(path, mask=mask) for mask in masks]
    with pytest.raises(DataError, match="No voxel") as error:
        common_mask(runs, [describe_bold(path, 2.0)] * 2)
    for part in (str(masks[0]), "found:", "remedy:"):
        assert part in str(error.value)


def test_constant_images_have_no_mask(write_bold, make_run):
    path = write_bold(np.full((*SHAPE, 5), 7.0))
    with pytest.raises(DataError, match="No voxel") as error:
        common_mask([make_run(path)], [describe_bold(path, 2.0)])
    assert str(path) in str(error.value)


def test_truncated_mask_is_refused(write_bold, write_mask, make_run):
    path = write_bold(head())
    mask = write_mask(np.random.default_rng(0).random(SHAPE) < 0.5, "a_mask.nii.gz")
    mask.write_bytes(mask.read_bytes()[:-60])
    with pytest.raises(DataError, match="brain mask") as error:
        common_mask([make_run(path, mask=mask)], [describe_bold(path, 2.0)])
    for part in (str(mask), "found:", "remedy:"):
        assert part in str(error.value)


def test_mask_of_four_dimensions(write_bold, write_mask, make_run):
    path = write_bold(head())
    single = write_mask(ball()[..., None], "a_mask.nii.gz")
    mask = common_mask([make_run(path, mask=single)], [describe_bold(path, 2.0)])
    np.testing.assert_array_equal(inside_of(mask), ball())
    double = write_mask(np.stack([ball(), ball()], -1), "b_mask.nii.gz")
    with pytest.raises(DataError, match="single volume") as error:
        common_mask([make_run(path, mask=double)], [describe_bold(path, 2.0)])
    for part in (str(double), "place:", "12 × 12 × 10 × 2", "remedy:"):
        assert part in str(error.value)


def test_a_mask_on_another_grid_is_warned_of(write_mask, write_bold, caplog):
    info = describe_bold(write_bold(head()), 2.0)
    here = np.diag([3.0, 3.0, 3.0, 1.0])
    read_mask(write_mask(ball(), "same_mask.nii.gz"), info)
    assert not caplog.records
    moved = here.copy()
    moved[0, 3] = 18.0  # half of the ball is beyond the end of the BOLD
    read_mask(write_mask(ball(), "moved_mask.nii.gz", moved), info)
    [record] = caplog.records
    assert record.levelname == "WARNING" and "moved_mask.nii.gz" in record.message
    assert "at (18, 0, 0)" in record.message and "at (0, 0, 0)" in record.message
    before, after = (float(word) for word in re.findall(r"(\d+) (?:cm³|are)", record.message)[:2])
    assert 0 < after < before
