"""What is no file is not waited for."""

from __future__ import annotations

import os

import pytest

from bids_encoder.bids.events import read_presentations
from bids_encoder.bids.sidecars import read_json
from bids_encoder.errors import DataError
from bids_encoder.responses.nifti import open_image


@pytest.mark.parametrize("read", [read_json, open_image])
def test_a_pipe_in_place_of_a_file(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(DataError, match="neither a file nor a folder") as caught:
        read(tmp_path / "pipe.nii")
    assert "pipe.nii" in str(caught.value) and "remedy" in str(caught.value)


def test_pipes_among_tables_and_stimuli(tmp_path):
    (tmp_path / "stimuli").mkdir()
    os.mkfifo(tmp_path / "stimuli" / "a.png")
    table = tmp_path / "sub-01_task-x_events.tsv"
    table.write_text("onset\tduration\tstim_file\n0\t1\ta.png\n")
    with pytest.raises(DataError, match="a.png"):
        read_presentations([table], dataset_root=tmp_path)
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(DataError, match="events.tsv"):
        read_presentations([table], dataset_root=tmp_path)
