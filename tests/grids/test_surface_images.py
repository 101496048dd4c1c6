"""From values to GIFTI and CIFTI images, and back."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis

from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.frame import frame_of, grid_of
from bids_encoder.grids.grid import Meaning
from bids_encoder.grids.surface import SurfaceGrid

LABELS = (("early", "#440154"), ("late", "#fde725"))


def surface() -> SurfaceGrid:
    return SurfaceGrid.of({"R": np.arange(9) % 2 == 0, "L": np.arange(7) > 2})


def grayordinates() -> CiftiGrid:
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, :] = True
    axis = (
        BrainModelAxis.from_surface([0, 2, 5, 6], 8, "CORTEX_LEFT")
        + BrainModelAxis.from_surface([1, 3], 8, "CORTEX_RIGHT")
        + BrainModelAxis.from_mask(mask, affine=np.eye(4), name="THALAMUS_LEFT")
    )
    return CiftiGrid.of(axis).restricted(np.arange(9) != 1)


@pytest.mark.parametrize("grid", [surface(), grayordinates()])
def test_values_come_back_from_files(grid, tmp_path):
    values = np.linspace(-1, 1, grid.n_values).astype(np.float32)
    meaning = Meaning("estimate", (), "slope")
    read = {}
    for side, image in grid.images(values, np.nan, meaning).items():
        path = tmp_path / f"{side}.{'dscalar.nii' if side is None else 'func.gii'}"
        nibabel.save(image, path)
        read[side] = nibabel.load(path)
    np.testing.assert_array_equal(grid.values_of(read), values)
    everywhere = frame_of(read)
    assert everywhere.same_frame(grid)
    assert np.isfinite(everywhere.values_of(read)).sum() == grid.n_values
    ones = np.ones(grid.n_values, np.uint8)
    again = grid_of(grid.images(ones, 0, Meaning()))
    for key, value in grid.described().items():
        np.testing.assert_array_equal(again.described()[key], value)


def test_the_left_hemisphere_comes_first_and_files_say_which_is_which():
    images = surface().images(np.arange(9.0, dtype=np.float32), np.nan, Meaning("t test"))
    assert list(images) == ["L", "R"]
    np.testing.assert_array_equal(images["L"].darrays[0].data, [np.nan] * 3 + [0, 1, 2, 3])
    assert images["R"].meta["AnatomicalStructurePrimary"] == "CortexRight"
    assert images["R"].darrays[0].intent == nibabel.nifti1.intent_codes.code["t test"]


@pytest.mark.parametrize("grid", [surface(), grayordinates()])
def test_labels_carry_their_names_and_colours(grid):
    labels = np.arange(grid.n_values) % 3
    meaning = Meaning("label", (), "", LABELS)
    images = grid.images(labels.astype(np.uint8), 0, meaning)
    np.testing.assert_array_equal(grid.values_of(images), labels)
    if "L" in images:
        table = {one.key: (one.label, one.rgba) for one in images["L"].labeltable.labels}
    else:
        [table] = images[None].header.get_axis(0).label
    assert table[1][0] == "early" and table[2][0] == "late"
    np.testing.assert_allclose(table[2][1], (253 / 255, 231 / 255, 37 / 255, 1), rtol=1e-6)


def test_what_a_model_file_says_of_grayordinates():
    found = grayordinates().described()
    assert found["structures"] == ["CORTEX_LEFT", "CORTEX_RIGHT", "THALAMUS_LEFT"]
    np.testing.assert_array_equal(found["vertices"], [0, 5, 6, 1, 3, -1, -1, -1])
    np.testing.assert_array_equal(found["structure"], [0, 0, 0, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(found["indices"][-1], [1, 1, 2])


def test_other_meshes_are_other_frames():
    ours, theirs = surface(), SurfaceGrid.of({"L": np.ones(7, bool), "R": np.ones(10, bool)})
    assert ours.same_frame(surface()) and not ours.same_frame(theirs)
    assert "10 vertices (hemi-R)" in theirs.frame_in_words()
