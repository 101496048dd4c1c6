from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.errors import DataError


def _check_partition(folds, n):
    tests = np.concatenate([fold.test for fold in folds])
    assert sorted(tests) == list(range(n))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(n))


def test_one_fold_a_group():
    groups = np.array([3, 3, 7, 7, 7, 5, 5])
    folds = make_folds(groups)
    assert [fold.test.tolist() for fold in folds] == [[0, 1], [2, 3, 4], [5, 6]]
    _check_partition(folds, 7)


def test_group_names_and_scattered_rows():
    folds = make_folds(np.array(["b", "a", "b", "a"]))
    assert [fold.test.tolist() for fold in folds] == [[0, 2], [1, 3]]


@pytest.mark.parametrize("n_groups", [11, 12, 23, 100])
def test_many_groups_become_ten_balanced_folds(n_groups):
    groups = np.repeat(np.arange(n_groups), 3)
    folds = make_folds(groups)
    _check_partition(folds, groups.size)
    sizes = [len(fold.test) for fold in folds]
    assert len(folds) == 10
    assert max(sizes) - min(sizes) <= 3
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])


def test_very_unequal_groups_leave_no_empty_fold():
    groups = np.repeat(np.arange(12), [200] + [2] * 11)
    folds = make_folds(groups)
    _check_partition(folds, groups.size)
    assert 2 <= len(folds) <= 10


def test_one_group_becomes_five_blocks():
    folds = make_folds(np.zeros(52, int))
    assert len(folds) == 5
    _check_partition(folds, 52)
    for fold in folds:
        assert np.all(np.diff(fold.test) == 1)
        assert len(fold.test) in (10, 11)


def test_a_stimulus_on_both_sides_is_refused():
    with pytest.raises(DataError, match="both sides") as caught:
        make_folds(np.array([0, 0, 1, 1]), stimuli=["a", "b", "c", "a"])
    assert "stimulus a" in str(caught.value)
    assert "folds 1 and 2" in str(caught.value)
    assert "average the repeats" in str(caught.value)


def test_repeats_within_one_fold_are_fine():
    assert len(make_folds(np.array([0, 0, 1, 1]), stimuli=["a", "a", "c", "d"])) == 2


@pytest.mark.parametrize("groups", [[0, 0, 0, 1], [0] * 9, []])
def test_too_few_samples_are_refused(groups):
    with pytest.raises(DataError, match="fewer than two samples") as caught:
        make_folds(np.array(groups))
    assert "remedy" in str(caught.value)


def test_stimuli_of_another_length_are_refused():
    with pytest.raises(ValueError, match="3 stimuli for 4 rows"):
        make_folds(np.array([0, 0, 1, 1]), stimuli=["a", "b", "c"])
