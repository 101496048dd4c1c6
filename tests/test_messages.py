"""Every refusal says where it is, and what helps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bids_encoder
from bids_encoder import errors
from bids_encoder.errors import BidsEncoderError, DataError, OutputError, naming

PACKAGE = Path(bids_encoder.__file__).parent
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BidsEncoderError)
} | {"NoStimulusColumn"}
# They are given arrays and know no files: their callers say which run or layer it was (`naming`).
KNOW_NO_FILES = ("encoding/", "responses/drift.py")


def refusals():
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).as_posix()
        if inside == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in KINDS:
                yield inside, node.lineno, {keyword.arg for keyword in node.keywords}


def test_all_name_a_file_or_a_place():
    lacking = [
        f"{file}:{line}"
        for file, line, parts in refusals()
        if not parts & {"file", "place", None} and not file.startswith(KNOW_NO_FILES)
    ]
    assert not lacking


def test_all_say_what_should_be_or_what_helps():
    lacking = [
        f"{file}:{line}"
        for file, line, parts in refusals()
        if not parts & {"remedy", "expected", None}
    ]
    assert not lacking


def test_trouble_is_named_on_its_way_out():
    with pytest.raises(DataError) as caught, naming(file="own.h5", place="layer conv1"):
        raise DataError("The features cannot be used.", remedy="leave this layer out")
    assert caught.value.parts["file"] == "own.h5" and "conv1" in str(caught.value)
    with pytest.raises(DataError) as caught, naming(place="somewhere"):
        raise DataError("The row is wrong.", place="line 3")
    assert caught.value.parts["place"] == "line 3"


def test_naming_keeps_what_an_error_means():
    error = OutputError("The disk is full.")
    assert error.naming(file="x").exit_code == 73 and error.naming(file="x").everybody


def test_endless_parts_are_cut():
    text = str(DataError("Wrong.", found="a" * 10**6, file="x" * 10**5))
    assert len(text) < 3000 and "…" in text


def test_what_the_system_refuses_is_a_sentence(tmp_path):
    def failed(path, number):
        error = OSError(number, "reason", str(path))
        return errors.of_the_system(error, [tmp_path / "out"])

    assert failed(tmp_path / "a", 36).exit_code == 66
    assert failed(tmp_path / "out" / "a", 13).exit_code == 73
    assert failed(tmp_path / "a", 24).exit_code == 1  # too many open files
    assert errors.of_the_system(OSError("without a name")) is None
    said = str(errors.out_of_memory(MemoryError("Unable to allocate 9 GiB"), 4.0))
    assert "9 GiB" in said and "4 GB" in said and "--mem" in said
