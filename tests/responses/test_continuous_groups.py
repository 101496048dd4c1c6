"""Which volumes are left out together, and what was on the screen meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.errors import UsageError
from bids_encoder.responses.continuous_groups import VolumeRun, continuous_groups
from bids_encoder.responses.grouping import FoldWish

TR = 2.0
BLOCKS = tuple(f"block {k}" for k in range(1, 6))


def pictures(first, last):
    return [f"{k:03d}.png" for k in range(first, last)]


@pytest.fixture
def series(show):
    """A run of one picture per volume."""

    def make(name, names, session=None, kept=None):
        shown = show(*[(TR * k, TR, stimulus) for k, stimulus in enumerate(names)])
        kept = np.ones(len(names), dtype=bool) if kept is None else kept
        return VolumeRun(name, session, shown, TR, kept)

    return make


@pytest.fixture
def film(show):
    """A run of 100 volumes of one film."""

    def make(name, title="film.mp4", n=100):
        return VolumeRun(name, None, show((10.0, 180.0, title)), TR, np.ones(n, dtype=bool))

    return make


def fold(runs, by=None, n=None, columns=None):
    return continuous_groups(runs, columns, FoldWish(by, n))


def test_folds_are_runs(series):
    found = fold([series(f"r{k}", pictures(20 * k, 20 * k + 20)) for k in range(2)])
    np.testing.assert_array_equal(found.groups, np.repeat([0, 1], 20))
    assert (found.names, found.by, found.remark) == (("r0", "r1"), "runs", None)


def test_folds_are_sessions_from_three_on(series):
    found = fold([series(f"r{k}", pictures(20 * k, 20 * k + 20), str(k // 2)) for k in range(6)])
    assert (found.names, found.by) == (("ses-0", "ses-1", "ses-2"), "sessions")
    np.testing.assert_array_equal(found.groups, np.repeat([0, 1, 2], 40))


def test_runs_that_show_the_same_film_stay_together(series):
    runs = [series(f"r{k}", pictures(20 * (k % 3), 20 * (k % 3) + 20)) for k in range(6)]
    found = fold(runs)
    assert found.names == ("r0+r3", "r1+r4", "r2+r5")
    np.testing.assert_array_equal(found.groups, np.repeat([0, 1, 2] * 2, 20))
    assert "left out together: 3 groups" in found.remark


@pytest.mark.parametrize("titles", ["ab" * 3, "aaaab"])
def test_two_films_that_alternate_leave_most_to_learn_from(film, titles):
    """The same stretch of a film is held out from all runs that show it."""
    found = fold([film(f"r{k}", f"{title}.mp4") for k, title in enumerate(titles)])
    assert found.names == BLOCKS
    assert max(found.sizes) < 0.25 * sum(found.sizes)
    folds = found.groups.reshape(len(titles), 100)
    assert (folds == folds[0]).all()
    assert "same stretch" in found.remark and not found.is_doubtful


def test_two_sets_of_pictures_in_disorder_are_two_folds(series):
    """Stretches would be in shreds; joined runs keep each picture on one side."""
    rng = np.random.default_rng(0)
    runs = [
        series(f"r{k}", rng.permutation(np.repeat(pictures(30 * (k % 2), 30 * (k % 2) + 30), 3)))
        for k in range(4)
    ]
    found = fold(runs)
    assert found.names == ("r0+r2", "r1+r3") and not found.is_doubtful


def test_one_film_in_all_runs_is_cut_into_stretches(film):
    found = fold([film(f"r{k}") for k in range(3)])
    assert found.names == BLOCKS
    folds = found.groups.reshape(3, 100)
    assert (folds == folds[0]).all()
    assert np.count_nonzero(np.diff(folds[0])) == 4
    assert "same stretch" in found.remark


def test_pictures_that_recur_everywhere_leave_runs_out_with_a_warning(series):
    rng = np.random.default_rng(0)
    names = np.array(pictures(0, 30))
    runs = [series(f"r{k}", list(names[rng.integers(0, 30, 100)])) for k in range(3)]
    for by in (None, "run"):
        found = fold(runs, by)
        np.testing.assert_array_equal(found.groups, np.repeat([0, 1, 2], 100))
        assert found.is_doubtful and "both" in found.remark and "recur" in found.remark


def test_one_run_is_cut_into_blocks_with_a_warning(series):
    found = fold([series("r0", pictures(0, 52))])
    assert found.names == BLOCKS
    assert np.count_nonzero(np.diff(found.groups)) == 4
    assert found.is_doubtful and "not independent" in found.remark


@pytest.mark.parametrize("lost", [slice(0, 19), slice(12, 24), slice(0, 100, 7), slice(40, 99)])
def test_blocks_are_cut_from_the_volumes_that_count(series, lost):
    """Of a block that was scrubbed, or skipped, a row or none would be left."""
    kept = np.ones(100, dtype=bool)
    kept[lost] = False
    found = fold([series("r0", pictures(0, 100), kept=kept)])
    assert len(found.groups) == kept.sum() and found.names == BLOCKS
    assert max(found.sizes) - min(found.sizes) <= 1


def test_stretches_are_cut_from_what_is_left(film):
    runs = [film(f"r{k}") for k in range(3)]
    for one in runs:
        one.kept[:19] = False
    found = fold(runs)
    assert found.names == BLOCKS and max(found.sizes) - min(found.sizes) <= 3


def test_runs_of_a_test_set_do_not_count(series):
    """Two sessions that train are not three: their runs are left out."""
    runs = [series(f"r{k}", pictures(20 * k, 20 * k + 20), str(k // 2)) for k in range(6)]
    for one in runs[4:]:
        one.kept[:] = False
    found = fold(runs)
    assert found.names == ("r0", "r1", "r2", "r3") and len(found.groups) == 80
    for one in runs[1:4]:
        one.kept[:] = False
    assert "one run only" in fold(runs).remark


def test_runs_without_presentations_do_no_harm(series):
    runs = [series("r0", pictures(0, 20)), VolumeRun("r1", None, [], TR, np.ones(20, bool))]
    np.testing.assert_array_equal(fold(runs).groups, np.repeat([0, 1], 20))


def test_a_run_of_sorted_categories_is_warned_of(series):
    names = pictures(0, 100)
    columns = {"category": {one: (str(k // 20),) for k, one in enumerate(names)}}
    found = fold([series("r0", names)], columns=columns)
    assert "category" in found.remark and "never seen" in found.remark
    mixed = np.random.default_rng(0).permutation(names)
    assert "never seen" not in fold([series("r0", mixed)], columns=columns).remark
    spread = np.concatenate([np.array(names).reshape(5, 4, 5)[:, k].ravel() for k in range(4)])
    assert "never seen" not in fold([series("r0", spread)], columns=columns).remark


@pytest.mark.parametrize(
    ("by", "n", "names", "sizes"),
    [
        ("session", None, ("ses-0", "ses-1"), [60, 60]),
        ("run", None, tuple(f"r{k}" for k in range(6)), [20] * 6),
        ("run", 2, ("r0+r1+r2", "r3+r4+r5"), [60, 60]),
        ("block", 4, BLOCKS[:4], [30] * 4),
        ("stimulus", None, BLOCKS, [24] * 5),
        ("stimulus", 2, BLOCKS[:2], [60] * 2),
        (None, 3, ("r0+r1", "r2+r3", "r4+r5"), [40] * 3),
    ],
)
def test_wishes_are_kept(series, by, n, names, sizes):
    runs = [series(f"r{k}", pictures(20 * k, 20 * k + 20), str(k // 3)) for k in range(6)]
    found = fold(runs, by, n)
    assert (found.names, found.sizes) == (names, sizes)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (("category", None), ("volumes", "--folds run", "session, run, block, stimulus")),
        (("session", None), ("two sessions",)),
        (("run", None), ("nothing new", "--folds stimulus")),
        (("block", None), ("both sides", "1 stimuli", "film.mp4", "--folds stimulus")),
        (("stimulus", 60), ("at most 47",)),
        ((None, 60), ("at most 47",)),
    ],
)
def test_wishes_that_cannot_be_kept_are_refused_with_a_reason(film, wish, words):
    with pytest.raises(UsageError) as error:
        fold([film(f"r{k}") for k in range(3)], *wish)
    for word in words:
        assert word in str(error.value), error.value


def test_other_wishes_that_cannot_be_kept(series):
    rng = np.random.default_rng(0)
    names = np.array(pictures(0, 30))
    runs = [series(f"r{k}", list(names[rng.integers(0, 30, 100)])) for k in range(3)]
    for wish, word in ((("stimulus", None), "disorder"), ((None, 4), "at most 3"),
                       (("run", 4), "at most 3")):  # fmt: skip
        with pytest.raises(UsageError, match=word):
            fold(runs, *wish)
    with pytest.raises(UsageError, match="two runs"):
        fold(runs[:1], "run")
    with pytest.raises(UsageError, match="at most 50"):
        fold(runs[:1], None, 51)
