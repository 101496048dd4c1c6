"""Small made datasets: names and tables are what counts, the images are a few bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

RAW = {"Name": "made for tests", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
EVENTS = "onset\tduration\tstim_file\n0\t1\ta.png\n4\t1\tb.png\n"


class Files:
    """Writes files below a root."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, path: str, content="nifti") -> Path:
        """A file; dictionaries become JSON, bytes stay."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            content = json.dumps(content)
        if target.is_symlink():
            target.unlink()
        data = content if isinstance(content, bytes) else content.encode()
        target.write_bytes(data)
        return target

    def annexed(self, path: str) -> Path:
        """A link as git-annex leaves it where the content has not been fetched."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        up = os.path.relpath(self.root, target.parent)
        target.unlink(missing_ok=True)
        target.symlink_to(f"{up}/.git/annex/objects/1A/2B/MD5E-s9--0.gz/MD5E-s9--0.gz")
        return target

    def run(self, name: str, *, events: str | None = EVENTS, seconds: float | None = 2.0) -> None:
        """A raw run, e.g. "sub-01_ses-1_task-x_run-1"."""
        folders = "/".join(part for part in name.split("_") if part[:4] in ("sub-", "ses-"))
        stem = f"{folders}/func/{name}"
        self.write(f"{stem}_bold.nii.gz")
        if seconds is not None:
            self.write(f"{stem}_bold.json", {"RepetitionTime": seconds})
        if events is not None:
            self.write(f"{stem}_events.tsv", events)

    def preprocessed(self, name: str, space: str | None = "T1w", extra: str = "") -> None:
        """What fMRIPrep writes of a run; `extra` is e.g. "_res-2"."""
        folders = "/".join(part for part in name.split("_") if part[:4] in ("sub-", "ses-"))
        stem = f"{folders}/func/{name}"
        grid = f"{stem}_space-{space}{extra}" if space else stem
        self.write(f"{grid}_desc-preproc_bold.nii.gz")
        self.write(f"{grid}_desc-preproc_bold.json", {"RepetitionTime": 2.0, "StartTime": 0.975})
        self.write(f"{grid}_desc-brain_mask.nii.gz")
        self.write(f"{stem}_desc-confounds_timeseries.tsv", "trans_x\n0\n")


@pytest.fixture
def raw(tmp_path) -> Files:
    """A dataset with a description and two pictures, to which runs are added."""
    files = Files(tmp_path / "ds")
    files.write("dataset_description.json", RAW)
    files.write("stimuli/a.png", "picture")
    files.write("stimuli/b.png", "picture")
    return files


@pytest.fixture
def fmriprep(tmp_path) -> Files:
    """A derivative with a description."""
    files = Files(tmp_path / "fmriprep")
    files.write(
        "dataset_description.json",
        {
            "Name": "fMRIPrep",
            "BIDSVersion": "1.4.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "fMRIPrep"}],
        },
    )
    return files


@pytest.fixture
def make_files(tmp_path):
    """`make_files("name")`: an empty folder to write into."""
    return lambda name: Files(tmp_path / name)


@pytest.fixture(scope="module")
def shared_raw(tmp_path_factory) -> Files:
    """A dataset with a description, for all tests of a module that only read it."""
    files = Files(tmp_path_factory.mktemp("shared") / "ds")
    files.write("dataset_description.json", RAW)
    return files


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
