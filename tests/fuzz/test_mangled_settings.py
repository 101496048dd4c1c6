"""Sidecars, filter files, descriptions and configuration files as nobody meant them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st
from mangle import JSON_VALUES, TEXTS, damaged, folder, outcome, twice

from bids_encoder.bids.checks import read_description
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.bids.sidecars import inherited_metadata, read_json, repetition_time
from bids_encoder.bids.timing import reference_time
from bids_encoder.config.toml_file import read_toml
from bids_encoder.errors import DataError

GOOD = b'{"RepetitionTime": 2.0, "StartTime": 0, "SliceTiming": [0, 0.5, 1], "TaskName": "x"}'
KEYS = st.sampled_from(
    ["RepetitionTime", "VolumeTiming", "StartTime", "SliceTiming", "SliceTimingCorrected"]
)


def as_json(values: st.SearchStrategy) -> st.SearchStrategy:
    """Files that hold these values, NaN and huge numbers among them."""
    return values.map(lambda value: json.dumps(value).encode("utf-8", "replace"))


SIDECARS = st.one_of(
    as_json(st.dictionaries(KEYS, JSON_VALUES, max_size=4)), as_json(JSON_VALUES), damaged(GOOD)
)


def sidecar(content: bytes) -> None:
    with folder() as place:
        path = place / "sub-01_task-x_bold.json"
        path.write_bytes(content)
        bold = path.with_suffix(".nii.gz")
        metadata = outcome(inherited_metadata, bold, place, names=path.name)
        if metadata is None:
            return
        seconds = outcome(repetition_time, metadata, bold, names=bold.name)
        assert seconds is None or (isinstance(seconds, float) and 0 < seconds <= 20)
        for derived in (None, metadata):
            found = outcome(reference_time, metadata, derived, seconds, bold, None, names=bold.name)
            if found is not None and seconds is not None:
                assert 0 <= found.seconds <= seconds


test_sidecars, test_sidecars_thoroughly = twice(sidecar, SIDECARS, 40)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"RepetitionTime": ' + b"9" * 100_000 + b"}",
    ],
)
def test_a_sidecar_that_python_cannot_hold(tmp_path, content):
    path = tmp_path / "sub-01_task-x_bold.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="sub-01_task-x_bold.json"):
        read_json(path)


def description(content: bytes) -> None:
    with folder() as place:
        (place / "dataset_description.json").write_bytes(content)
        found = outcome(read_description, place, names="dataset_description.json")
        assert found is None or isinstance(found["Name"], str)
        outcome(read_description, place, skip_validation=True, names="dataset_description.json")


test_descriptions, test_descriptions_thoroughly = twice(
    description,
    st.one_of(
        as_json(st.fixed_dictionaries({"Name": JSON_VALUES, "BIDSVersion": JSON_VALUES})),
        as_json(JSON_VALUES),
        damaged(b'{"Name": "x", "BIDSVersion": "1.10.0"}'),
    ),
)


def filters(content: bytes) -> None:
    with folder() as place:
        path = place / "filter.json"
        path.write_bytes(content)
        found = outcome(load_filter_file, path, names=path.name)
        assert found is None or all(isinstance(query, dict) for query in found.values())


KINDS = st.sampled_from(["bold", "mask", "confounds", "events", "t1w"])
test_filters, test_filters_thoroughly = twice(
    filters,
    st.one_of(
        as_json(st.dictionaries(KINDS, st.dictionaries(TEXTS, JSON_VALUES, max_size=3))),
        as_json(JSON_VALUES),
        damaged(b'{"bold": {"task": "x", "run": [1, 2], "desc": null}}'),
    ),
)

CONFIG = (
    b'[selection]\ntask_id = ["x"]\n[network]\nnetwork = "alexnet"\nuntrained = true\n'
    b'[responses]\ndelays = [4.0, 6]\nhigh_pass = 0.01\n[resources]\nmem = "8GB"\nnprocs = 2\n'
)


@st.composite
def configurations(draw) -> bytes:
    option = draw(
        st.sampled_from(
            ["[selection]\ntask_id", "[network]\nnetwork", "[network]\nuntrained",
             "[responses]\ndelays", "[resources]\nmem", "[resources]\nwork_dir",
             "[encoding]\nn_folds", "[inference]\nfdr", "[inference]\nn_permutations"]
        )
    )  # fmt: skip
    value = draw(
        st.one_of(
            st.floats().map(repr),
            st.integers().map(repr),
            TEXTS.map(json.dumps),
            st.lists(st.one_of(TEXTS, st.integers()), max_size=3).map(json.dumps),
            st.sampled_from(
                ["true", "1979-05-27", "{a = 1}", "[[1]]", "nan", "[" * 2000, "{a=" * 2000]
            ),
        )
    )
    return f"{option} = {value}\n".encode("utf-8", "replace")


def config(content: bytes) -> None:
    with folder() as place:
        path = place / "config.toml"
        path.write_bytes(content)
        found = outcome(read_toml, path, names=path.name)
        work = (found or {}).get("resources", {}).get("work_dir")
        assert work is None or isinstance(work, Path)


test_configurations, test_configurations_thoroughly = twice(
    config, st.one_of(configurations(), damaged(CONFIG)), 60
)
