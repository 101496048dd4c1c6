"""Label images on the grid of the BOLD."""

from __future__ import annotations

import logging

import nibabel
import numpy as np
import pytest
from nilearn.image import resample_to_img

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.regions.volume_labels import join_masks, label_values, mask_values, to_regions


def image(values, affine=None):
    return nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)


def turned(angle=0.3, size=1.3, origin=(-2.1, 1.7, 0.4)):
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = size * np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, -1]])
    affine[:3, 3] = origin
    affine[2, 3] += 8
    return affine


@pytest.fixture
def mask():
    inside = np.random.default_rng(1).random((9, 8, 7)) > 0.3
    return image(inside.astype(np.uint8), np.diag([1.9, 2.1, 2.3, 1]))


@pytest.fixture
def atlas(tmp_path):
    def write(values, name="atlas.nii.gz", affine=None):
        image(values, turned() if affine is None else affine).to_filename(tmp_path / name)
        return tmp_path / name

    return write


def test_nearest_neighbour_is_that_of_nilearn(mask, atlas):
    # A rim of nothing: scipy, inside nilearn, cuts the image's outer half voxel off.
    labels = np.pad(np.random.default_rng(0).integers(0, 6, (12, 13, 14)), 1).astype(np.int16)
    path = atlas(labels)
    expected = resample_to_img(
        path, mask, interpolation="nearest", force_resample=True, copy_header=True
    )
    inside = np.asarray(mask.dataobj) != 0
    found = label_values(path, mask)
    assert 0 < np.count_nonzero(found) < len(found)
    np.testing.assert_array_equal(found, np.asarray(expected.dataobj)[inside])


def test_the_same_grid_is_taken_as_it_is(mask, atlas):
    labels = np.random.default_rng(0).integers(0, 2000, mask.shape).astype(np.float32)
    path = atlas(labels[..., None], affine=mask.affine)
    np.testing.assert_array_equal(
        label_values(path, mask), labels[np.asarray(mask.dataobj) != 0].astype(int)
    )


def test_outside_of_the_image_there_is_no_label(mask, atlas):
    far = np.eye(4)
    far[:3, 3] = 500
    assert not label_values(atlas(np.ones((5, 5, 5), np.uint8), affine=far), mask).any()


@pytest.mark.parametrize("scale", [1, 100], ids=["shares", "per cent"])
def test_of_probabilities_the_highest_counts_from_a_quarter_on(mask, atlas, scale):
    random = np.random.default_rng(0)
    shares = random.dirichlet([0.3] * 4, (9, 8, 7))[..., :3] * 0.9
    values = (scale * shares).astype(np.float32)
    path = atlas(values, affine=mask.affine)
    rows = values[np.asarray(mask.dataobj) != 0]
    expected = np.where(rows.max(axis=1) >= 0.25 * scale, rows.argmax(axis=1) + 1, 0)
    assert {0, 1, 2, 3} == set(expected)
    np.testing.assert_array_equal(label_values(path, mask), expected)


def test_masks_are_cut_at_a_half(mask, atlas):
    values = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    inside = np.asarray(mask.dataobj) != 0
    path = atlas(values, affine=mask.affine)
    np.testing.assert_array_equal(mask_values(path, mask), values[inside] > 0.5)


def test_numbers_without_a_value_are_no_label(mask, atlas):
    values = np.full(mask.shape, np.nan, np.float32)
    values[4] = 3
    found = label_values(atlas(values, affine=mask.affine), mask)
    assert set(found) == {0, 3}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.full((9, 8, 7), 1.5, np.float32), "whole numbers"),
        (np.full((9, 8, 7), -1, np.int16), "whole numbers"),
        (np.ones((9, 8, 7, 2, 2), np.int16), "three dimensions"),
        (np.ones((9, 8), np.int16), "three dimensions"),
    ],
    ids=["fractions", "negative", "five dimensions", "two dimensions"],
)
def test_images_that_hold_no_labels(mask, atlas, values, problem):
    path = atlas(values, affine=mask.affine)
    with pytest.raises(DataError, match=problem) as caught:
        label_values(path, mask)
    assert str(path) in str(caught.value) and "remedy" in str(caught.value)


def test_a_mask_has_three_dimensions(mask, atlas):
    path = atlas(np.ones((9, 8, 7, 2), np.uint8))
    with pytest.raises(DataError, match="one mask a file") as caught:
        mask_values(path, mask)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("shape", [(30, 30, 30), (30, 30, 30, 3)])
def test_a_truncated_image(mask, atlas, shape):
    random = np.random.default_rng(0)
    path = atlas(random.integers(0, 200, shape).astype(np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read") as caught:
        label_values(path, mask)
    assert str(path) in str(caught.value) and "get the file again" in str(caught.value)


def test_what_is_no_image(mask, tmp_path):
    path = tmp_path / "atlas.nii.gz"
    with pytest.raises(MissingInputError, match="not there"):
        label_values(path, mask)
    path.write_text("index,name")
    with pytest.raises(DataError, match="cannot be read") as caught:
        label_values(path, mask)
    assert str(path) in str(caught.value)


def test_regions_with_too_few_voxels_are_left_out(caplog):
    labels = np.repeat([0, 2, 5, 9], [20, 6, 4, 5])
    with caplog.at_level(logging.INFO):
        found = to_regions("A", labels, {0: "Background", 2: "V1", 5: "V2", 9: "V3"}, "a.nii")
    assert found.names == {2: "V1", 9: "V3"}
    np.testing.assert_array_equal(found.labels, np.where(labels == 5, 0, labels))
    assert "1 of 3 regions have fewer than 5" in caplog.text and "V2" in caplog.text


def test_regions_without_a_name_are_called_by_their_numbers(caplog):
    labels = np.repeat([1, 2], 6)
    assert to_regions("A", labels, {1: "V1"}, "a.nii").names == {1: "V1", 2: "2"}
    assert "no table names 1 of 2 regions" in caplog.text
    assert to_regions("A", labels, None, "a.nii").names == {1: "1", 2: "2"}


def test_where_masks_overlap_the_smaller_counts():
    large, small = np.array([1, 1, 1, 1, 0], bool), np.array([0, 0, 1, 0, 0], bool)
    for masks, expected in (([large, small], [1, 1, 2, 1, 0]), ([small, large], [2, 2, 1, 2, 0])):
        labels, overlap = join_masks(masks)
        assert (labels.tolist(), overlap) == (expected, 1)
