"""Quotes in tables: marks around a value, and characters like others everywhere else."""

from __future__ import annotations

import pytest

from bids_encoder.bids import tables
from bids_encoder.bids.events import read_events
from bids_encoder.bids.tables import read_table, split_cells
from bids_encoder.errors import DataError
from bids_encoder.regions.label_tables import read_labels


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a\tb", ["a", "b"]),
        ('"a\tb"\tc', ["a\tb", "c"]),
        ('"a ""b"" c"\td', ['a "b" c', "d"]),
        ('"a\tb', ['"a', "b"]),
        ('a"\tb', ['a"', "b"]),
        ('a\t"', ["a", '"']),
        ('5" disc\t6" disc', ['5" disc', '6" disc']),
        ('""\t"b"', ["", "b"]),
        ('"a"b\tc', ['"a"b', "c"]),
        ('"\t"', ["\t"]),
        ('"a"\t', ["a", ""]),
        ("", [""]),
    ],
)
def test_cells_of_a_line(line, cells):
    assert split_cells(line) == cells


def test_long_cells(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text(f'onset\tduration\tnote\n1\t1\t"{"a" * 300_000}"\n2\t1\tb"\n')
    assert [len(one) for one in read_table(path)["note"]] == [300_000, 2]


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv"])
def test_a_lone_quote_swallows_no_region(tmp_path, name):
    path = tmp_path / name
    rows = [("index", "name"), ("1", '"V1'), ("2", "V2"), ("3", 'V3"'), ("4", "V4")]
    path.write_text("\n".join(("," if name.endswith("csv") else "\t").join(r) for r in rows))
    assert read_labels(path) == {1: '"V1', 2: "V2", 3: 'V3"', 4: "V4"}


def test_a_label_that_no_image_can_hold(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("index,name\n1e300,V1\n")
    with pytest.raises(DataError, match="no label can have"):
        read_labels(path)


def test_absurd_numbers_of_columns(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text("\t".join(f"c{k}" for k in range(tables.MOST_COLUMNS + 1)) + "\n")
    with pytest.raises(DataError, match="too many columns"):
        read_table(path)


def test_a_table_of_enormous_size(tmp_path):
    path = tmp_path / "events.tsv"
    with path.open("wb") as file:
        file.truncate(tables.LARGEST_TABLE + 1)
    with pytest.raises(DataError, match="too large"):
        read_table(path)


@pytest.mark.parametrize("value", ["86401", "3e6", "1e308", "-1e9"])
@pytest.mark.parametrize("column", ["onset", "duration"])
def test_times_that_no_run_has(tmp_path, value, column):
    path = tmp_path / "events.tsv"
    row = {"onset": "1", "duration": "1", column: value}
    path.write_text(f"onset\tduration\tstim_file\n{row['onset']}\t{row['duration']}\ta.png\n")
    with pytest.raises(DataError, match=f"column {column}"):
        read_events(path)
