"""The app, run from its command line on a dataset of a few kilobytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tiny_betas import shown_in, trial_maps
from tiny_dataset import SESSIONS, Finished, Tiny, run_app, write_tiny

from bids_encoder.analysis.make_plans import make_plans
from bids_encoder.betas.measure import betas_grid, measure_betas
from bids_encoder.bids.dataset import open_dataset
from bids_encoder.config.settings import from_tables


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
    monkeypatch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")


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


@pytest.fixture(scope="session")
def bare(pristine, tmp_path_factory):
    """The dataset without any BOLD: events and pictures."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copytree(
        pristine.folder, folder / "data", ignore=shutil.ignore_patterns("*bold.nii.gz", "prep")
    )
    return type(pristine)(folder / "data")


@pytest.fixture
def measured(bare):
    """``measured(bids, **options)``: runs and responses of sub-01, as the app would have them."""

    def measure(tiny=bare, derivatives=(), filters=None, test_set=None, space=(), **betas):
        selection = {"derivatives": derivatives, "bids_filter_file": filters, "space": space}
        settings = from_tables(
            tiny.bids, tiny.folder / "out", "participant",
            {"selection": selection, "betas": betas, "encoding": {"test_set": test_set}},
        )  # fmt: skip
        dataset = open_dataset(tiny.bids, participants=["01"], derivatives=derivatives)
        [plan] = make_plans(settings, dataset, "01")
        grid = betas_grid(plan.runs, plan.infos)
        everything = list(plan.stimuli)
        return plan, measure_betas(plan.runs, plan.presentations, grid, halves_of=everything)

    return measure


@pytest.fixture
def sessions_maps(bare):
    return {s: trial_maps(shown_in(bare, s), int(s)) for s in SESSIONS}
