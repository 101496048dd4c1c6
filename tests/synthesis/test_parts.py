"""Which samples train the models of a contrast."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_encoder.bids.events import Presentation
from bids_encoder.errors import DataError
from bids_encoder.features.samples import Samples, continuous_samples
from bids_encoder.synthesis.parts import make_parts, showing


def names(kind, n):
    return tuple(f"{kind}{k}" for k in range(n))


def test_a_contrast_of_few_pictures_leaves_them_all_out():
    stimuli = names("a", 10) + names("b", 10) + names("c", 20)
    pictures = {"a": stimuli[:10], "b": stimuli[10:20]}
    [part] = make_parts(pictures, Samples(stimuli), np.arange(40) // 8, "x")
    np.testing.assert_array_equal(part.train, np.arange(40) >= 20)
    assert part.ids == list(stimuli[:20]) and part.conditions == ["a"] * 10 + ["b"] * 10


def test_pictures_from_elsewhere_hold_nothing_out():
    [part] = make_parts(
        {"a": names("x", 3), "b": names("y", 3)}, Samples(names("a", 12)), np.zeros(12), "x"
    )
    assert part.train.all()


def test_a_contrast_of_all_pictures_is_halved_along_groups():
    stimuli = tuple(f"{'ab'[k % 2]}{k}" for k in range(60))
    groups = np.arange(60) // 10
    pictures = {key: tuple(s for s in stimuli if s[0] == key) for key in "ab"}
    parts = make_parts({**pictures, "elsewhere": names("z", 5)}, Samples(stimuli), groups, "x")
    assert [len(part.pictures["a"]) for part in parts] == [15, 15]
    assert [len(part.pictures["elsewhere"]) for part in parts] == [3, 2]
    held = [set(groups[~part.train]) for part in parts]
    assert len(held[0]) == len(held[1]) == 3 and not held[0] & held[1]


def test_conditions_that_groups_do_not_halve_are_halved_themselves(caplog):
    stimuli = names("a", 20) + names("b", 20)
    pictures = {"a": stimuli[:20], "b": stimuli[20:]}
    parts = make_parts(pictures, Samples(stimuli), np.arange(40) // 20, "both")
    assert [len(part.pictures["b"]) for part in parts] == [10, 10]
    assert "contrast both" in caplog.text and "share its noise" in caplog.text


def test_too_few_pictures_to_halve():
    stimuli = names("a", 27) + names("b", 3)
    with pytest.raises(DataError, match="cannot be parted") as caught:
        make_parts({"a": stimuli[:27], "b": stimuli[27:]}, Samples(stimuli), np.zeros(30), "small")
    assert "contrast small, condition b" in str(caught.value) and caught.value.parts["remedy"]


def film(order, n_volumes):
    """One picture a volume of 2 s, blank after the last."""
    shown = [Presentation(2.0 * k, 2.0, name, k + 2) for k, name in enumerate(order)]
    return continuous_samples([shown], [n_volumes], [2.0], [1.0], (4.0, 6.0, 8.0))


def test_volumes_of_a_continuous_design_are_left_out_with_their_delays():
    stimuli = names("a", 20)
    samples = film(stimuli, 30)
    rows = np.flatnonzero(showing(samples, [stimuli[5]]))
    np.testing.assert_array_equal(rows, [7, 8, 9])  # 10 s + 4, 6 and 8 s
    pictures = {"a": stimuli[2:5], "b": stimuli[5:8]}
    [part] = make_parts(pictures, samples, np.arange(30) // 6, "x")
    np.testing.assert_array_equal(np.flatnonzero(~part.train), np.arange(4, 12))


def test_pictures_that_recur_in_all_volumes_cannot_be_held_out():
    order = [f"a{k % 10}" for k in range(100)]
    pictures = {"a": names("a", 10)[:5], "b": names("a", 10)[5:]}
    with pytest.raises(DataError, match="hardly any sample") as caught:
        make_parts(pictures, film(order, 100), np.arange(100) // 20, "all")
    assert "contrast all" in str(caught.value) and "Folder" in caught.value.parts["remedy"]


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=12, max_size=60),
    n_groups=st.integers(1, 7),
    continuous=st.booleans(),
    repeated=st.booleans(),
)
def test_no_sample_that_trains_shows_a_picture_of_its_part(labels, n_groups, continuous, repeated):
    stimuli = tuple(f"{label}{k}" for k, label in enumerate(labels))
    samples = film(stimuli + stimuli[:5] * repeated, 80) if continuous else Samples(stimuli)
    groups = np.arange(len(samples)) * n_groups // len(samples)
    pictures = {key: tuple(s for s in stimuli if s[0] == key) for key in "ab"}
    try:
        parts = make_parts(pictures, samples, groups, "x")
    except DataError:
        return
    for part in parts:
        rows = np.flatnonzero(part.train)
        dense = [np.eye(len(stimuli))] if not continuous else [w.toarray() for w in samples.weights]
        columns = [samples.stimuli.index(id_) for id_ in part.ids]
        assert not sum(w[np.ix_(rows, columns)].sum() for w in dense)
        assert 3 * len(rows) >= len(samples)
    assert sorted(sum((part.ids for part in parts), [])) == sorted(sum(pictures.values(), ()))
