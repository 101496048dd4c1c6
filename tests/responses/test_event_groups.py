"""Which stimuli are left out together; none is ever on both sides of a split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_encoder.errors import UsageError
from bids_encoder.responses.event_groups import event_groups
from bids_encoder.responses.grouping import FoldWish
from bids_encoder.responses.shown_runs import ShownRun

BLOCKS = tuple(f"block {k}" for k in range(1, 6))


def pictures(first, last):
    return [f"{k:03d}.png" for k in range(first, last)]


def run(name, stimuli, session=None, every=10.0):
    """A run that shows a stimulus every 10 s; None: nobody knows when."""
    onsets = None if every is None else tuple(every * k for k in range(len(stimuli)))
    return ShownRun(name, session, tuple(stimuli), onsets)


def all_of(runs):
    return list(dict.fromkeys(stimulus for one in runs for stimulus in one.stimuli))


def fold(runs, columns=None, by=None, n=None, stimuli=None):
    return event_groups(stimuli or all_of(runs), runs, columns, FoldWish(by, n))


def refused(runs, *words, **wish):
    with pytest.raises(UsageError) as error:
        fold(runs, **wish)
    for word in words:
        assert str(word) in str(error.value), error.value


def sorted_by_category(n=100, n_categories=5):
    """Stimuli, category after category, and the column that says so."""
    names = pictures(0, n)
    said = {one: (f"c{k * n_categories // n}",) for k, one in enumerate(names)}
    return names, {"trial_type": said}


def shares(grouping, stimuli, said):
    """How many stimuli of each class each fold has."""
    labels = sorted({value for (value,) in said.values()})
    counts = np.zeros((len(grouping.names), len(labels)), dtype=int)
    for one, group in zip(stimuli, grouping.groups, strict=True):
        counts[group, labels.index(said[one][0])] += 1
    return counts


def test_folds_are_sessions_from_three_on_else_runs():
    runs = [run(f"r{k}", pictures(10 * k, 10 * k + 10), str(k // 2)) for k in range(6)]
    found = fold(runs)
    assert (found.names, found.by) == (("ses-0", "ses-1", "ses-2"), "sessions")
    found = fold(runs[:4])
    assert (found.names, found.by) == (("r0", "r1", "r2", "r3"), "runs")
    np.testing.assert_array_equal(found.groups, np.repeat(range(4), 10))
    assert found.remark is None


def test_a_repeated_stimulus_belongs_to_where_it_was_first_shown():
    runs = [run(f"r{k}", [*pictures(10 * k, 10 * k + 10), "test.png"]) for k in range(3)]
    found = fold(runs)
    assert found.names[found.groups[all_of(runs).index("test.png")]] == "r0"


def test_groups_emptied_by_repeats_are_merged():
    shown = [(0, 10), (0, 10), (10, 20), (20, 30)]
    found = fold([run(f"r{k}", pictures(*some)) for k, some in enumerate(shown)])
    assert len(found.names) == 3 and found.sizes == [10, 10, 10]


def test_runs_that_show_the_same_stimuli_in_the_same_order_are_cut_into_blocks():
    found = fold([run(f"r{k}", pictures(0, 23)) for k in range(4)])
    assert found.names == BLOCKS
    assert (np.diff(found.groups) >= 0).all()
    assert "folds are made by stimulus" in found.remark and not found.is_doubtful


def test_where_orders_differ_there_is_no_order_to_protect():
    rng = np.random.default_rng(0)
    names, columns = sorted_by_category()
    runs = [run(f"r{k}", rng.permutation(names)) for k in range(4)]
    found = fold(runs, columns)
    assert "dealt out at random, with equal shares of trial_type" in found.by
    assert (shares(found, all_of(runs), columns["trial_type"]) == 4).all()


def test_runs_that_alternate_between_two_sets_leave_most_to_learn_from():
    """Odd runs show pictures 0 to 99, even runs 100 to 199, five times each."""
    rng = np.random.default_rng(0)
    sets = (pictures(0, 100), pictures(100, 200))
    for order in (list, rng.permutation):
        found = fold([run(f"r{k}", order(sets[k % 2])) for k in range(10)])
        assert max(found.sizes) <= 0.25 * sum(found.sizes)
        assert len(found.names) == 5
        assert "by stimulus" in found.remark


def test_groups_that_repeats_leave_few_are_no_folds():
    """Of three runs the second shows the pictures of the first again, the third a few more."""
    runs = [run("r0", pictures(0, 100)), run("r1", pictures(60, 160)), run("r2", pictures(90, 120))]
    assert max(fold(runs).sizes) <= 0.25 * 160


def test_runs_of_their_own_stay_folds_where_one_is_short():
    runs = [run("r0", pictures(0, 50)), run("r1", pictures(50, 100)), run("r2", pictures(100, 106))]
    found = fold(runs)
    assert found.names == ("r0+r2", "r1") or found.names == ("r0", "r1+r2")
    assert found.by == "runs"


def test_one_run_is_cut_into_blocks_with_a_warning():
    found = fold([run("r0", pictures(0, 52))])
    assert found.names == BLOCKS and np.count_nonzero(np.diff(found.groups)) == 4
    assert "one run only" in found.remark and found.is_doubtful


def test_rows_in_another_order_have_the_same_blocks():
    names = pictures(0, 50)
    found = fold([run("r0", names)], stimuli=names[::-1])
    np.testing.assert_array_equal(found.groups, fold([run("r0", names)]).groups[::-1])


@pytest.mark.parametrize("said", ["column", "folder", "name"])
def test_blocks_of_a_run_that_is_sorted_by_category_are_cut_within_categories(said):
    names, columns = sorted_by_category()
    kind = columns["trial_type"]
    if said != "column":
        form = "{}/{}" if said == "folder" else "{}_{}"
        renamed = {one: form.format("abcde"[int(kind[one][0][1])], one) for one in names}
        kind = {renamed[one]: kind[one] for one in names}
        names, columns = list(kind), {}
    found = fold([run("r0", names)], columns)
    counts = shares(found, names, kind)
    assert (counts == 4).all()
    for label in range(5):  # neighbours in time stay together
        assert np.count_nonzero(np.diff(found.groups[20 * label : 20 * label + 20])) == 4
    assert "of each kind" in found.remark and found.is_doubtful


def test_a_run_of_small_categories_in_order_keeps_some_of_each():
    names, columns = sorted_by_category(60, 20)
    found = fold([run("r0", names, every=25.0)], columns)
    assert shares(found, names, columns["trial_type"]).max() == 1
    assert max(found.sizes) - min(found.sizes) <= 1


@pytest.mark.parametrize("every", [1.0, 4.0])
def test_blocks_stay_whole_where_neighbours_share_much_noise(every):
    """A localizer: five pictures of each category would last shorter than a response to them."""
    names, columns = sorted_by_category()
    found = fold([run("r0", names, every=every)], columns)
    assert np.count_nonzero(np.diff(found.groups)) == 4
    assert "never seen" in found.remark and found.is_doubtful


def test_repeats_in_a_single_run_leave_its_neighbours_together():
    rng = np.random.default_rng(0)
    names = pictures(0, 50)
    shown = [*names, *rng.permutation(names)]
    found = fold([run("r0", shown)], stimuli=names)
    assert found.names == BLOCKS and np.count_nonzero(np.diff(found.groups)) == 4


def test_runs_of_clumped_categories_keep_neighbours_together():
    """In each run pictures of one category follow each other, categories in another order."""
    names, columns = sorted_by_category()
    rng = np.random.default_rng(0)
    runs = [
        run(f"r{k}", np.concatenate([np.array(names).reshape(5, 20)[c] for c in order]), every=1.0)
        for k, order in enumerate(rng.permuted(np.tile(np.arange(5), (4, 1)), axis=1))
    ]
    found = fold(runs, columns)
    row = {one: group for one, group in zip(all_of(runs), found.groups, strict=True)}
    assert all(np.count_nonzero(np.diff([row[s] for s in one.stimuli])) <= 8 for one in runs)
    assert "never seen" in found.remark


def test_blocks_stay_whole_where_categories_are_spread():
    """What protects neighbours in time is not given up without need."""
    names, columns = sorted_by_category()
    mixed = list(np.random.default_rng(0).permutation(names))
    found = fold([run("r0", mixed)], columns)
    assert np.count_nonzero(np.diff(found.groups)) == 4


def test_maps_without_onsets_are_dealt_out_whatever_their_order():
    names, columns = sorted_by_category()
    found = fold([run("r0", names, every=None)], columns)
    assert (shares(found, names, columns["trial_type"]) == 4).all()
    assert "no onsets" in found.remark and not found.is_doubtful
    assert "too high" not in found.remark
    shuffled = list(np.random.default_rng(1).permutation(names))
    other = fold([run("r0", shuffled, every=None)], columns)
    of = dict(zip(shuffled, other.groups.tolist(), strict=True))
    assert [of[one] for one in names] == found.groups.tolist()


def test_maps_without_onsets_that_no_column_sorts_are_dealt_out_at_random():
    names = pictures(0, 103)
    found = fold([run("r0", names, every=None)])
    assert sorted(found.sizes) == [20, 20, 21, 21, 21]
    assert np.count_nonzero(np.diff(found.groups)) > 50


def test_sessions_that_show_the_same_averages_are_dealt_out_too():
    names, columns = sorted_by_category()
    runs = [run(f"s{k}", names, str(k), every=None) for k in range(3)]
    assert (shares(fold(runs, columns), names, columns["trial_type"]) == 4).all()


def test_runs_of_one_category_each_are_warned_of():
    names, columns = sorted_by_category()
    runs = [run(f"r{k}", names[20 * k : 20 * k + 20]) for k in range(5)]
    found = fold(runs, columns)
    assert found.names == tuple(f"r{k}" for k in range(5))
    assert found.is_doubtful and "trial_type" in found.remark and "never seen" in found.remark
    mixed = np.random.default_rng(0).permutation(names)
    runs = [run(f"r{k}", mixed[20 * k : 20 * k + 20]) for k in range(5)]
    assert fold(runs, columns).remark is None


def test_a_test_set_is_taken_out_before_blocks_are_cut():
    names = pictures(0, 100)
    for left in (names[:81], names[:85], names[30:], names[::3]):
        found = fold([run("r0", names)], stimuli=left)
        assert len(found.names) == 5
        assert max(found.sizes) - min(found.sizes) <= 1


def test_sessions_of_a_test_set_do_not_count_as_sessions():
    """Two sessions that train are not three: their runs are left out."""
    runs = [run(f"r{k}", pictures(10 * k, 10 * k + 10), str(k // 2)) for k in range(6)]
    found = fold(runs, stimuli=pictures(0, 40))
    assert found.names == ("r0", "r1", "r2", "r3")


def test_more_than_ten_runs_become_ten_folds_of_neighbours():
    found = fold([run(f"r{k}", pictures(10 * k, 10 * k + 10)) for k in range(12)])
    assert len(found.names) == 10 and min(found.sizes) >= 10
    assert (np.diff(found.groups) >= 0).all()
    assert sum("+" in name for name in found.names) == 2


RUNS = [run(f"r{k}", pictures(10 * k, 10 * k + 10), str(k // 3)) for k in range(6)]
COLUMN = {"part": {one: (str(k % 4),) for k, one in enumerate(pictures(0, 60))}}


@pytest.mark.parametrize(
    ("by", "n", "names", "sizes"),
    [
        ("session", None, ("ses-0", "ses-1"), [30, 30]),
        ("run", None, tuple(f"r{k}" for k in range(6)), [10] * 6),
        ("run", 3, ("r0+r1", "r2+r3", "r4+r5"), [20] * 3),
        ("block", None, BLOCKS, [12] * 5),
        ("block", 3, BLOCKS[:3], [20] * 3),
        ("stimulus", None, tuple(f"part {k}" for k in range(1, 6)), [12] * 5),
        ("stimulus", 30, tuple(f"part {k}" for k in range(1, 31)), [2] * 30),
        ("part", None, tuple(f"part={k}" for k in range(4)), [15] * 4),
        ("part", 2, ("part=0+part=1", "part=2+part=3"), [30] * 2),
        (None, 2, ("r0+r1+r2", "r3+r4+r5"), [30] * 2),
    ],
)
def test_wishes_are_kept(by, n, names, sizes):
    found = fold(RUNS, COLUMN, by, n)
    assert (found.names, found.sizes) == (names, sizes)
    divided = by in ("block", "stimulus", "part") and (by, n) != ("block", 3)
    assert ("share its noise" in (found.remark or "")) == divided == found.is_doubtful


@pytest.mark.parametrize(
    ("runs", "wish", "words"),
    [
        (RUNS, {"n": 7}, ("--n-folds", "7", "at most 6", "runs", "--folds stimulus")),
        (RUNS, {"by": "session", "n": 3}, ("at most 2", "sessions")),
        (RUNS, {"by": "stimulus", "n": 31}, ("at most 30", "60 stimuli")),
        (RUNS[:3], {"by": "session"}, ("--folds", "ses-0", "two sessions")),
        (RUNS[:1], {"by": "run"}, ("--folds", "two runs", "--folds block")),
        ([run("r", "abcdef")] * 3, {"by": "run"}, ("nothing new", "--folds stimulus")),
        (RUNS, {"by": "prat"}, ("did you mean part", "session, run, block, stimulus")),
        (RUNS, {"by": "sesion"}, ("did you mean session",)),
        (RUNS, {"by": "part", "n": 5}, ("at most 4", "values of part")),
    ],
)
def test_wishes_that_cannot_be_kept_are_refused_with_a_reason(runs, wish, words):
    refused(runs, *words, columns=COLUMN, **wish)


def test_a_column_must_say_one_thing_of_each_stimulus():
    both = {"part": {**COLUMN["part"], "007.png": ("1", "2")}}
    refused(RUNS, "both sides", "1 of 60", "007.png: 1, 2", columns=both, by="part")
    lacking = {"part": {k: v for k, v in COLUMN["part"].items() if k != "007.png"}}
    refused(RUNS, "1 of 60", "007.png: none", columns=lacking, by="part")
    alone = {"part": {**COLUMN["part"], "007.png": ("x",)}}
    refused(RUNS, "part=x (1)", columns=alone, by="part")
    one = {"part": dict.fromkeys(COLUMN["part"], ("x",))}
    refused(RUNS, "part=x (60)", columns=one, by="part")


def test_a_column_of_kinds_may_be_asked_for_without_a_warning_of_it():
    names, columns = sorted_by_category()
    found = fold([run("r0", names)], columns, by="trial_type")
    assert found.sizes == [20] * 5 and "never seen" not in found.remark


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_fold_can_be_scored(data):
    """Whatever is shown where: two rows or more in two folds or more."""
    n = data.draw(st.integers(4, 30))
    kinds = data.draw(st.integers(1, 6))
    drawn = st.lists(st.integers(0, n - 1), max_size=40)
    runs = []
    for k, shown in enumerate(data.draw(st.lists(drawn, min_size=1, max_size=6))):
        every = data.draw(st.sampled_from([None, 10.0]))
        runs.append(run(f"r{k}", [f"{s:02d}.png" for s in shown], str(k % 4), every))
    stimuli = all_of(runs)
    if len(stimuli) < 4:
        return
    columns = {"category": {one: (str(int(one[:2]) * kinds // n),) for one in stimuli}}
    found = fold(runs, columns)
    assert len(found.groups) == len(stimuli)
    assert len(found.sizes) >= 2 and min(found.sizes) >= 2
