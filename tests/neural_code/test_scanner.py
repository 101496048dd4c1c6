"""The simulated scanner and super-voxel smoothness."""

from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.rsa.neighbouring_voxels import neighbour_similarity
from bids_encoder.simulations import scanner


@pytest.fixture(scope="module")
def scans():
    return {(s.layout, s.voxel): s for s in scanner.scan(repeats=4, side=64)}


def test_a_voxel_is_the_mean_of_its_units():
    sheet = np.arange(2 * 5 * 5, dtype=float).reshape(2, 5, 5)
    found = scanner.voxels_of(sheet, 2)
    assert found.shape == (2, 2, 2)
    assert found[1, 0, 1] == sheet[1, :2, 2:4].mean()
    np.testing.assert_array_equal(scanner.voxels_of(sheet, 1), sheet)


def test_a_layout_moves_units_and_changes_none():
    random = np.random.default_rng(0)
    sheet = random.standard_normal((3, 8, 8))
    units = {tuple(u) for u in sheet.reshape(3, -1).T}
    for share in (0.0, 0.5, 1.0):
        moved = scanner.rearranged(random, sheet, share)
        assert {tuple(u) for u in moved.reshape(3, -1).T} == units
        kept = (moved == sheet).all(axis=0).mean()
        assert 1 - share <= kept <= 1 - share + 0.1


def test_without_voxels_larger_than_a_unit_layouts_do_not_matter(scans):
    for layout in scanner.LAYOUTS:
        assert scans[layout, 1].without_noise == pytest.approx(1)
        assert scans[layout, 1].survival > 0.99


def test_a_smooth_layout_survives_the_scanner_and_a_random_one_does_not(scans):
    smooth, between, none = (scans[layout, 16] for layout in ("smooth", "intermediate", "random"))
    assert smooth.survival > 0.85
    assert smooth.survival > between.survival > none.survival + 0.2
    assert smooth.signal > between.signal > none.signal


def test_neighbours_are_alike_on_a_smooth_sheet_only(scans):
    assert scans["smooth", 1].neighbours > 0.8
    assert abs(scans["random", 1].neighbours) < 0.15


def test_units_have_unit_variance_and_items_are_nested():
    random = np.random.default_rng(0)
    items = scanner.nested_items(random, 2000)
    similar = np.corrcoef(items)
    np.testing.assert_allclose(
        [similar[0, 1], similar[0, 7], similar[0, 15], similar[0, 35]],
        [0.75, 0.5, 0.25, 0], atol=0.08,
    )  # fmt: skip
    sheet = scanner.sheet_of_units(random, items[:, :50], side=32)
    np.testing.assert_allclose(sheet.std(axis=0), 1)


def test_neighbours_share_a_face():
    places = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [5, 5, 5], [5, 5, 6]])
    random = np.random.default_rng(0)
    values = random.standard_normal((30, 5))
    found = neighbour_similarity(values, places)
    r = np.corrcoef(values.T)
    assert found.near_pairs == 3
    assert found.near == pytest.approx((r[0, 1] + r[1, 2] + r[3, 4]) / 3, abs=1e-6)


def test_far_voxels_are_far():
    places = np.column_stack([np.arange(40), np.zeros(40, int)])
    # Voxels at most three apart are equal, others independent.
    values = np.repeat(np.random.default_rng(0).standard_normal((400, 10)), 4, axis=1)
    found = neighbour_similarity(values, places, distance=4)
    assert found.near == pytest.approx((30 + 9 * 0) / 39, abs=0.02)
    assert abs(found.far) < 0.02


def test_noise_that_voxels_share_does_not_count_across_measurements():
    random = np.random.default_rng(0)
    places = np.argwhere(np.ones((6, 6, 3), bool))
    signal = random.standard_normal((200, 1))
    noise = 2 * random.standard_normal((2, 200, 1))
    first, second = (signal + shared + 0.1 * random.standard_normal((200, 108)) for shared in noise)
    plain = neighbour_similarity(first, places)
    crossed = neighbour_similarity(first, places, second)
    assert plain.near > 0.95
    assert crossed.near == pytest.approx(0.2, abs=0.12)  # 1 / (1 + 2²)


def test_a_lonely_voxel_has_no_neighbours():
    found = neighbour_similarity(np.ones((5, 1)), np.zeros((1, 3), int))
    assert np.isnan(found.near) and np.isnan(found.far) and found.near_pairs == 0


def test_voxels_without_variance_do_not_count():
    random = np.random.default_rng(0)
    values = random.standard_normal((20, 3))
    values[:, 1] = 4.0
    places = np.array([[0, 0], [0, 1], [1, 0]])
    found = neighbour_similarity(values, places)
    assert found.near == pytest.approx(np.corrcoef(values[:, 0], values[:, 2])[0, 1], abs=1e-6)
    assert found.near_pairs == 1
