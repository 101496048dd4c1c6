"""JSON sidecars and inheritance."""

from __future__ import annotations

import logging

import pytest

from bids_encoder.bids.sidecars import (
    inherited_file,
    inherited_metadata,
    read_json,
    repetition_time,
)
from bids_encoder.errors import DataError, MissingInputError

BOLD = "sub-01/ses-1/func/sub-01_ses-1_task-x_run-1_bold.nii.gz"


def test_deeper_sidecars_override(raw):
    bold = raw.write(BOLD)
    raw.write("task-x_bold.json", {"RepetitionTime": 1.0, "TaskName": "x", "Up": "top"})
    raw.write("bold.json", {"RepetitionTime": 9.0, "Everywhere": True})
    raw.write("sub-01/sub-01_task-x_bold.json", {"Up": "subject"})
    raw.write("sub-01/ses-1/func/sub-01_ses-1_task-x_run-1_bold.json", {"RepetitionTime": 2.0})
    assert inherited_metadata(bold, raw.root) == {
        "RepetitionTime": 2.0,
        "TaskName": "x",
        "Up": "subject",
        "Everywhere": True,
    }


@pytest.mark.parametrize(
    "name",
    [
        "task-y_bold.json",  # another task
        "task-x_acq-hi_bold.json",  # an entity that the file lacks
        "task-x_events.json",  # another suffix
        "sub-02/sub-02_bold.json",  # not above the file
        "sub-01/ses-1/func/sub-01_ses-1_task-x_run-01_bold.json",  # labels are compared as written
    ],
)
def test_sidecars_that_do_not_apply(raw, name):
    bold = raw.write(BOLD)
    raw.write(name, {"RepetitionTime": 5.0})
    assert inherited_metadata(bold, raw.root) == {}


def test_more_entities_win_within_a_folder(raw):
    bold = raw.write(BOLD)
    raw.write("task-x_bold.json", {"A": 2})
    raw.write("bold.json", {"A": 1})
    assert inherited_metadata(bold, raw.root) == {"A": 2}


def test_search_ends_at_the_root(raw):
    bold = raw.write(BOLD)
    (raw.root.parent / "task-x_bold.json").write_text('{"A": 1}')
    assert inherited_metadata(bold, raw.root) == {}


def test_listing_is_reused_not_kept(raw):
    bold = raw.write(BOLD)
    listing = {}
    assert inherited_metadata(bold, raw.root, listing=listing) == {}
    raw.write("task-x_bold.json", {"A": 1})
    assert inherited_metadata(bold, raw.root, listing=listing) == {}
    assert inherited_metadata(bold, raw.root) == {"A": 1}


def test_nearest_file(raw):
    bold = raw.write(BOLD)
    top = raw.write("task-x_events.tsv", "")
    assert inherited_file(bold, raw.root, "events", ".tsv") == top
    near = raw.write("sub-01/ses-1/func/sub-01_ses-1_task-x_run-1_events.tsv", "")
    assert inherited_file(bold, raw.root, "events", ".tsv") == near
    assert inherited_file(bold, raw.root, "physio", ".tsv") is None


def test_byte_order_mark_is_tolerated(raw):
    assert read_json(raw.write("a.json", b'\xef\xbb\xbf{"A": 1}')) == {"A": 1}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{\n"A": 1,\n"B": }', "line 3"),
        (b"", "line 1"),
        (b'{"A": "\xe9"}', "byte 8"),
        (b"[1, 2]", "list"),
        (b'{"A": ' + b"[" * 100_000, "recursion"),
        (b'{"A": ' + b"9" * 5_000 + b"}", "digits"),
    ],
)
def test_broken_json(raw, content, place):
    path = raw.write("a.json", content)
    with pytest.raises(DataError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def test_missing_and_unfetched_json(raw):
    with pytest.raises(MissingInputError, match="no such file"):
        read_json(raw.root / "none.json")
    path = raw.annexed("a.json")
    with pytest.raises(MissingInputError, match=f"datalad get {path}"):
        read_json(path)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, None),
        ({"RepetitionTime": None}, None),
        ({"RepetitionTime": 2}, 2.0),
        ({"RepetitionTime": 0.72}, 0.72),
        ({"VolumeTiming": [0, 1.5, 3.0]}, 1.5),
    ],
)
def test_repetition_time(metadata, expected):
    assert repetition_time(metadata, "bold.nii.gz") == expected


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"RepetitionTime": "2.0"}, 'RepetitionTime.*"2.0".*without quotes'),
        ({"RepetitionTime": 0}, "not a positive number"),
        ({"RepetitionTime": -2.0}, "-2.0"),
        ({"RepetitionTime": True}, "true"),
        ({"RepetitionTime": 10**400}, "not a positive number"),
        ({"RepetitionTime": float("nan")}, "NaN"),
        ({"RepetitionTime": 2000}, "milliseconds.*write 2 in"),
        ({"VolumeTiming": [0, 1, 5]}, "equal steps.*--task-id"),
        ({"VolumeTiming": [0]}, "equal steps"),
        ({"VolumeTiming": "abc"}, "equal steps"),
    ],
)
def test_bad_repetition_times(metadata, words):
    with pytest.raises(DataError, match=f"(?s){words}") as caught:
        repetition_time(metadata, "some/bold.nii.gz")
    assert "some/bold.nii.gz" in str(caught.value)


def test_odd_names_are_no_trouble(raw, caplog):
    caplog.set_level(logging.WARNING)
    odd = ["_.json", "-_bold.json", "task-_bold.json", "x", "a_b_c.json", "task-x.y_bold.json"]
    for name in odd:
        raw.write(name, {})
    bold = raw.write(BOLD)
    assert inherited_metadata(bold, raw.root) == {}
