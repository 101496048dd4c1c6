"""What a model file says of its columns, and the grid that follows from it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis

from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.grid import Meaning
from bids_encoder.grids.restore import DIMENSIONS, NotDescribedError, grid_described
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.grids.volume import VolumeGrid


def volume():
    inside = (np.arange(24).reshape(4, 3, 2) % 3 == 0).astype(np.uint8)
    return VolumeGrid(nibabel.Nifti1Image(inside, np.diag([2.0, 2, 3, 1])))


def surface():
    return SurfaceGrid.of({"L": np.arange(7) > 2, "R": np.arange(9) % 2 == 0})


def left_alone():
    return SurfaceGrid.of({"L": np.arange(7) > 2})


def grayordinates():
    """Vertices and voxels, some of which were not analysed, all of one structure among them."""
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 1, :3] = True
    affine = np.diag([2.0, 2, 2, 1])
    axis = (
        BrainModelAxis.from_surface([0, 2, 5, 6], 8, "CORTEX_LEFT")
        + BrainModelAxis.from_surface([1, 3], 8, "CORTEX_RIGHT")
        + BrainModelAxis.from_mask(mask, affine=affine, name="THALAMUS_LEFT")
        + BrainModelAxis.from_mask(mask[::-1, ::-1], affine=affine, name="THALAMUS_RIGHT")
    )
    keep = np.arange(len(axis)) != 1
    keep[-3:] = False
    return CiftiGrid.of(axis).restricted(keep)


def dense_cortex():
    axis = BrainModelAxis.from_surface([0, 2, 5, 6], 8, "CORTEX_LEFT")
    return CiftiGrid.of(axis).restricted(np.arange(4) > 0)


ALL = (volume, surface, left_alone, grayordinates, dense_cortex)


def arrays_of(grid):
    described = grid.described()
    return described, described.pop("structures", None)


@pytest.mark.parametrize("make", ALL)
def test_a_grid_comes_back_from_what_it_says_of_itself(make):
    grid = make()
    arrays, structures = arrays_of(grid)
    assert arrays.keys() <= DIMENSIONS.keys()
    assert {name: array.ndim for name, array in arrays.items()}.items() <= DIMENSIONS.items()
    again = grid_described(arrays, structures)
    assert type(again) is type(grid) and again.form == grid.form
    assert again.same_frame(grid)
    ours, theirs = grid.described(), again.described()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(theirs[name], values)
    # Maps have the same files.
    values = np.arange(grid.n_values, dtype=np.float32)
    for one, other in zip(*(g.images(values, np.nan, Meaning()).values() for g in (grid, again)),
                          strict=True):  # fmt: skip
        if grid.form == "gifti":
            np.testing.assert_array_equal(one.darrays[0].data, other.darrays[0].data)
        else:
            np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))


@pytest.mark.parametrize("make", ALL)
def test_series_have_one_map_after_the_other(make, tmp_path):
    grid = make()
    maps = np.random.default_rng(0).standard_normal((3, grid.n_values)).astype(np.float32)
    titles = ["a.png", "b/c.png", "d"]
    made = grid.series(maps, titles, Meaning("estimate", (), "prediction"))
    end = {None: "nii.gz", "gifti": "func.gii", "cifti": "dscalar.nii"}[grid.form]
    read = {}
    for side, image in made.items():
        nibabel.save(image, tmp_path / f"{side}.{end}")
        read[side] = nibabel.load(tmp_path / f"{side}.{end}")
    for number, values in enumerate(maps):
        single = grid.images(values, np.nan, Meaning())
        for side, image in read.items():
            if grid.form == "gifti":
                found, expected = image.darrays[number].data, single[side].darrays[0].data
                assert image.darrays[number].meta["Name"] == titles[number]
            else:
                found, expected = np.asarray(image.dataobj), np.asarray(single[side].dataobj)
                found = found[..., number] if grid.form is None else found[number]
                expected = expected if grid.form is None else expected[0]
            np.testing.assert_array_equal(found, expected)
    if grid.form == "cifti":
        assert list(read[None].header.get_axis(0).name) == titles


@pytest.mark.parametrize(
    ("make", "name", "change"),
    [
        (surface, "vertices", lambda v: v + 9),
        (surface, "vertices", lambda v: v[:-1]),
        (surface, "structure", lambda v: 1 - v),
        (surface, "mesh_sizes", lambda v: v[:1]),
        (surface, "mesh_sizes", lambda v: v + 2**30),
        (surface, "mesh_sizes", lambda v: v * np.nan),
        (grayordinates, "grayordinates", lambda v: v[::-1]),
        (grayordinates, "grayordinates", lambda v: v + 100),
        (grayordinates, "frame_sizes", lambda v: v + 1),
        (grayordinates, "frame_sizes", lambda v: v * 0),
        (grayordinates, "frame_vertices", lambda v: v + 7),
        (grayordinates, "frame_indices", lambda v: v * 100),
        (grayordinates, "frame_indices", lambda v: v[:, :2]),
        (grayordinates, "volume_shape", lambda v: v[:2]),
        (grayordinates, "affine", lambda v: v * np.nan),
        (grayordinates, "indices", lambda v: v + 1),
        (grayordinates, "vertices", lambda v: v[:-1]),
        (volume, "grid", lambda v: v * 0),
        (volume, "voxels", lambda v: v[::-1]),
        (volume, "affine", lambda v: v[:3]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(make, name, change):
    arrays, structures = arrays_of(make())
    with pytest.raises(NotDescribedError):
        grid_described({**arrays, name: change(arrays[name])}, structures)
    del arrays[name]
    if name != "grayordinates":
        with pytest.raises(NotDescribedError, match=f"{name}: no such array"):
            grid_described(arrays, structures)


@pytest.mark.parametrize(
    "structures", [["CORTEX_LEFT"], ["CORTEX_LEFT", "CORTEX_LEFT"], ["CORTEX_LEFT", "../x"]]
)
@pytest.mark.parametrize("make", [surface, grayordinates])
def test_parts_that_are_no_parts_are_refused(make, structures):
    arrays, _ = arrays_of(make())
    with pytest.raises(NotDescribedError):
        grid_described(arrays, structures)
