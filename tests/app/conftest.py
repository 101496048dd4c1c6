"""The app, run from its command line on a dataset of a few kilobytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_dataset import Finished, Tiny, run_app, write_tiny


def pytest_collection_modifyitems(config, items):
    """Skip slow tests, and say so, unless they are asked for by their mark."""
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes a minute or more: pytest -m slow"))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Tiny:
    """The dataset that nobody changes."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(pristine, tmp_path) -> Tiny:
    """A copy of the dataset, to be changed."""
    shutil.copytree(pristine.folder, tmp_path / "data")
    return Tiny(tmp_path / "data")


@pytest.fixture
def app(tmp_path, monkeypatch):
    """``app(bids_dir, output_dir, level, *options)``, in a folder of the test's own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments) -> Finished:
        return run_app(*arguments)

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Published datasets, where this machine has them."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("BIDS_ENCODER_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(
            f"needs real data in {folder}; the environment variable "
            "BIDS_ENCODER_TEST_DATA names another folder"
        )
    return folder


@pytest.fixture
def no_page(monkeypatch):
    """Leave out the participants' pages: they take half of a run's time."""
    monkeypatch.setattr("bids_encoder.participant.write_report", lambda *args: "left out")


@pytest.fixture(scope="session")
def events(pristine, tmp_path_factory) -> tuple[Tiny, Path, Finished]:
    """Both participants of the event design and the group, from raw data; nobody changes it."""
    out = tmp_path_factory.mktemp("events") / "out"
    ends = [
        run_app(pristine.bids, out, level, "--features", pristine.features)
        for level in ("participant", "group")
    ]
    assert [end.code for end in ends] == [0, 0]
    return pristine, out, ends[0]
