"""Groups for cross-validation: blocks, merging, union of what is shared."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_encoder.responses.groups import blocks, join, merge_tiny, units_of


def test_units_are_sessions_from_three_on():
    units, names = units_of(["r1", "r2", "r3", "r4"], ["1", "1", "2", "3"])
    np.testing.assert_array_equal(units, [0, 0, 1, 2])
    assert names == ("ses-1", "ses-2", "ses-3")
    units, names = units_of(["r1", "r2", "r3"], ["1", "1", "2"])
    np.testing.assert_array_equal(units, [0, 1, 2])
    assert names == ("r1", "r2", "r3")
    assert units_of(["r1", "r2", "r3"], [None] * 3)[1] == ("r1", "r2", "r3")


@given(st.integers(1, 200), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_blocks_are_contiguous_and_even(n, n_blocks):
    cut = blocks(n, n_blocks)
    assert (np.diff(cut) >= 0).all()
    sizes = np.bincount(cut)
    assert len(sizes) == max(1, min(n // 2, n_blocks))
    assert n < 2 or sizes.min() >= 2
    assert sizes.max() - sizes.min() <= 1


def test_small_groups_are_merged_smallest_first():
    groups = np.repeat([0, 1, 2, 3], [20, 3, 20, 6])
    merged, names = merge_tiny(groups, ["a", "b", "c", "d"])
    assert names == ("a", "c", "b+d")
    np.testing.assert_array_equal(merged, np.repeat([0, 2, 1, 2], [20, 3, 20, 6]))


def test_even_groups_are_left_alone():
    groups = np.repeat([0, 1, 2], [20, 12, 15])
    merged, names = merge_tiny(groups, ["a", "b", "c"])
    np.testing.assert_array_equal(merged, groups)
    assert names == ("a", "b", "c")


def test_groups_of_one_row_are_merged():
    merged, names = merge_tiny(np.array([0, 0, 1, 2]), ["a", "b", "c"])
    assert names == ("a", "b+c")
    np.testing.assert_array_equal(merged, [0, 0, 1, 1])


def test_one_group_holds_everything():
    merged, names = merge_tiny(np.zeros(10, dtype=int), ["a", "b", "c"])
    assert names == ("a+b+c",)
    assert not merged.any()


@given(st.lists(st.sets(st.integers(0, 12), max_size=4), min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_join_is_the_transitive_closure_of_sharing(items):
    adjacent = np.array(
        [
            [a == b or bool(items[a] & items[b]) for b in range(len(items))]
            for a in range(len(items))
        ]
    )
    reach = np.linalg.matrix_power(adjacent.astype(np.int64), len(items)) > 0
    groups = join(items)
    np.testing.assert_array_equal(groups[:, None] == groups[None], reach)
    first = [int(np.flatnonzero(groups == k)[0]) for k in range(groups.max() + 1)]
    assert first == sorted(first)
