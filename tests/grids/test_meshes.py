"""Smoothing along meshes, and neighbours on them, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis
from tiny_meshes import sphere

from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.mesh import Mesh, diffuse
from bids_encoder.grids.neighbourhood import smooth_in_mask
from bids_encoder.grids.structures import with_meshes
from bids_encoder.grids.surface import SurfaceGrid


def whole(mesh: Mesh) -> np.ndarray:
    return np.ones(len(mesh.coordinates), bool)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_spherical_harmonics_decay_as_the_heat_equation_says(sigma):
    """exp(-l (l + 1) σ² / 2 R²), for l = 1 and 2."""
    mesh = sphere(3)
    z = mesh.coordinates[:, 2] / 10
    harmonics = np.stack([z, 1.5 * z**2 - 0.5])
    smoothed = diffuse(mesh, whole(mesh), harmonics, sigma)
    share = (sigma * mesh.edge_length / 10) ** 2 / 2
    for values, before, degree in zip(smoothed, harmonics, (1, 2), strict=True):
        kept = (values @ before) / (before @ before)
        assert kept == pytest.approx(np.exp(-degree * (degree + 1) * share), rel=0.02)


def test_a_point_spreads_to_the_standard_deviation():
    mesh = sphere(4, radius=100)
    point = np.zeros(len(mesh.coordinates))
    point[700] = 1
    [spread] = diffuse(mesh, whole(mesh), point[None], 2.0)
    cosine = mesh.coordinates @ mesh.coordinates[700] / 100**2
    distance = 100 * np.arccos(cosine.clip(-1, 1))
    found = np.sqrt((spread * distance**2).sum() / spread.sum() / 2) / mesh.edge_length
    assert found == pytest.approx(2.0, rel=0.04)
    assert spread.min() >= 0 and spread.argmax() == 700


def test_constants_stay_and_values_stay_within_their_range():
    mesh = sphere(3)
    random = np.random.default_rng(0)
    keep = random.random(len(mesh.coordinates)) > 0.2
    values = np.stack([np.full(keep.sum(), 0.7), random.random(keep.sum())])
    smoothed = diffuse(mesh, keep, values, 1.5)
    np.testing.assert_allclose(smoothed[0], 0.7, rtol=1e-9)
    assert values[1].min() <= smoothed[1].min() < smoothed[1].max() <= values[1].max()
    assert smoothed[1].std() < 0.7 * values[1].std()


def test_nothing_leaks_through_vertices_that_are_left_out():
    mesh = sphere(3)
    keep = np.abs(mesh.coordinates[:, 2]) > 2.5  # two caps
    upper = mesh.coordinates[keep, 2] > 0
    smoothed = diffuse(mesh, keep, np.where(upper, 1.0, 0.0)[None], 5.0)[0]
    np.testing.assert_allclose(smoothed, upper, atol=1e-9)


def two_spheres(missing=()) -> SurfaceGrid:
    inside = {side: np.ones(162, bool) for side in "LR"}
    for side, vertex in missing:
        inside[side][vertex] = False
    return with_meshes(SurfaceGrid.of(inside), {side: sphere() for side in "LR"})


def test_hemispheres_share_nothing_though_their_meshes_overlap():
    grid = two_spheres()
    values = np.repeat([1.0, 0.0], 162)[None]
    np.testing.assert_allclose(grid.smooth(values, 3.0), values, atol=1e-9)
    pairs = grid.neighbours()
    assert len(pairs) == 2 * 480  # edges of an icosphere: 30 · 4²
    assert ((pairs < 162).all(axis=1) | (pairs >= 162).all(axis=1)).all()
    lengths = np.linalg.norm(np.diff(grid.places[pairs], axis=1)[:, 0], axis=1)
    assert lengths.mean() == pytest.approx(1)


def test_places_without_a_score_are_left_out_of_smoothing():
    grid = two_spheres(missing=[("L", 3)])
    random = np.random.default_rng(0)
    values = random.random((2, grid.n_values))
    values[1, 20] = np.nan
    smoothed = grid.smooth(values, 1.0)
    assert np.isnan(smoothed[:, 20]).all() and np.isfinite(np.delete(smoothed, 20, axis=1)).all()
    values[0, 20] = 1e9
    np.testing.assert_array_equal(grid.smooth(values, 1.0), smoothed)


def test_without_a_mesh_nothing_is_smoothed():
    grid = SurfaceGrid.of({"L": np.ones(12, bool)})
    values = np.arange(12.0)[None]
    np.testing.assert_array_equal(grid.smooth(values, 1.0), values)
    assert grid.neighbours().shape == (0, 2)


def test_voxels_of_cifti_are_smoothed_within_their_structure():
    mask = np.zeros((6, 5, 4), bool)
    mask[1:5, 1:4, :] = True
    affine = np.diag([2, 2, 2, 1])
    axis = (
        BrainModelAxis.from_surface(np.arange(162), 162, "CORTEX_LEFT")
        + BrainModelAxis.from_mask(mask, affine=affine, name="THALAMUS_LEFT")
        + BrainModelAxis.from_mask(mask, affine=affine, name="PUTAMEN_LEFT")
    )
    grid = with_meshes(CiftiGrid.of(axis), {"L": sphere()})
    values = np.random.default_rng(0).random((1, grid.n_values))
    smoothed = grid.smooth(values, 1.0)
    n = mask.sum()
    for start in (162, 162 + n):
        part = slice(start, start + n)
        expected = smooth_in_mask(values[:, part], mask, 1.0)
        np.testing.assert_allclose(smoothed[:, part], expected, rtol=1e-12)
