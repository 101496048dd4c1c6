"""Published data, where this machine has them: what people will really feed the app."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas
import pytest
from openneuro_tables import complete_dataset
from tiny_dataset import run_app, tree


def write_random_features(path: Path, names: list[str]) -> None:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["stimuli"] = names
        for layer in ("one", "two"):
            file[layer] = random.standard_normal((len(names), 10)).astype(np.float32)


def sidecar_of(out: Path) -> dict:
    [path] = out.rglob("*_scores.json")
    return json.loads(path.read_text())


def test_bold5000(real_data, tmp_path, no_page):
    bids = tmp_path / "ds001499"
    names = complete_dataset(
        real_data / "openneuro_tables/ds001499", bids, "stim_file", runs="*_ses-01_*_run-0[1-3]"
    )
    assert len(names) == 3 * 37
    write_random_features(tmp_path / "features.h5", names)
    end = run_app(
        bids, tmp_path / "out", "participant", "--participant-label", "CSI1",
        "--features", tmp_path / "features.h5",
    )  # fmt: skip
    assert end.code == 0
    assert "events: presentations of 1 s (median) start every 9.99 s" in end.err
    assert "Tolerated: Windows line ends in a table" in end.err
    sidecar = sidecar_of(tmp_path / "out")
    assert sidecar["NumberOfStimuli"] == 111 and len(sidecar["Runs"]) == 3
    assert sidecar["RepetitionTime"] == 2


def test_things(real_data, tmp_path, no_page):
    """The pictures are named in a column of their own, and lie beside the dataset."""
    bids = tmp_path / "ds004192"
    names = complete_dataset(
        real_data / "openneuro_tables/ds004192", bids, "file_path", runs="*_task-things_run-0[12]",
        stim_dir="../pictures",
    )  # fmt: skip
    write_random_features(tmp_path / "features.h5", names)
    base = (bids, tmp_path / "out", "participant", "--features", tmp_path / "features.h5")
    end = run_app(*base)
    assert end.code == 65
    assert "--stim-column file_path" in end.err  # it says what to do
    end = run_app(*base, "--stim-column", "file_path")
    assert end.code == 66
    assert "--stim-dir" in end.err
    before = tree(bids)
    end = run_app(*base, "--stim-column", "file_path", "--stim-dir", tmp_path / "pictures")
    assert end.code == 0
    assert tree(bids) == before
    sidecar = sidecar_of(tmp_path / "out")
    assert sidecar["NumberOfStimuli"] == len(names) > 150
    assert sidecar["RepetitionTime"] == 1.5
    assert "LSS" in end.err  # a picture every 4.5 s


@pytest.mark.slow
def test_bars(real_data, tmp_path):
    """Retinotopy with the bare command: a continuous design, scores known from elsewhere."""
    end = run_app(
        real_data / "bars", tmp_path / "out", "participant", "-w", tmp_path / "work",
        "--n-permutations", "0",
    )  # fmt: skip
    assert end.code == 0
    assert sidecar_of(tmp_path / "out")["Design"] == "continuous"
    best = np.fmax.reduce(
        [
            np.asarray(nibabel.load(path).dataobj)
            for path in (tmp_path / "out").glob("sub-*/func/*_stat-r_*.nii.gz")
        ]
    )
    assert np.nanmax(best) >= 0.55
    assert np.count_nonzero(best > 0.3) >= 150


@pytest.mark.slow
def test_localizer(real_data, tmp_path):
    """Whole brain; stim_file values that begin with stimuli/, as upstream published them."""
    end = run_app(
        real_data / "localizer", tmp_path / "out", "participant", "-w", tmp_path / "work",
        "--n-permutations", "0",
    )  # fmt: skip
    assert end.code == 0
    assert "begin with stimuli/, the folder they are relative to" in end.err
    assert end.err.count("begin with stimuli/") == 1


@pytest.mark.slow
def test_responses_to_single_pictures_make_the_contrast_of_nilearn(real_data):
    """Houses and scenes against faces and bodies, from one estimate a picture (LSS)."""
    from nilearn.glm.first_level import FirstLevelModel
    from nilearn.masking import compute_epi_mask

    from bids_encoder.bids.events import Presentation
    from bids_encoder.responses.events_design import event_responses

    [path] = (real_data / "localizer").rglob("*_bold.nii.gz")
    events = pandas.read_table(path.parent / path.name.replace("bold.nii.gz", "events.tsv"))
    image = nibabel.load(path)
    mask = compute_epi_mask(image)
    inside = mask.get_fdata() > 0
    bold = np.asarray(image.dataobj)[inside].T.astype(np.float32)
    shown = [
        Presentation(row.onset, row.duration, row.stim_file, row=k)
        for k, row in enumerate(events.itertuples())
    ]
    stimuli, betas = event_responses(bold, shown, 2.0)
    kind = events.groupby("stim_file")["trial_type"].first()[list(stimuli)].to_numpy()
    ours = betas[np.isin(kind, ["house", "scene"])].mean(0)
    ours -= betas[np.isin(kind, ["face", "body"])].mean(0)
    model = FirstLevelModel(
        2.0, slice_time_ref=0, hrf_model="spm", high_pass=0.01, mask_img=mask, signal_scaling=False
    )
    model.fit(image, events[["onset", "duration", "trial_type"]])
    found = model.compute_contrast("house + scene - face - body", output_type="all")
    assert found["stat"].get_fdata().max() > 10
    theirs = found["effect_size"].get_fdata()[inside]
    usable = np.isfinite(ours)
    assert np.corrcoef(ours[usable], theirs[usable])[0, 1] > 0.95
