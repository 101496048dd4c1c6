"""Runs with one haemodynamic response a voxel."""

from __future__ import annotations

import json

import h5py
import nibabel
import numpy as np
from tiny_dataset import TASK, brain, truth

STEM = f"sub-01/func/sub-01_task-{TASK}"


def test_peak_maps_are_written_and_right(tiny, app, tmp_path):
    out = tmp_path / "out"
    options = ("--features", tiny.features, "--participant-label", "01", "--no-neural-code")
    base = (tiny.bids, out, "participant", *options, "--n-permutations", "0", "--hrf", "rank1")
    end = app(*base)
    assert end.code == 0
    peak = nibabel.load(out / f"{STEM}_stat-hrfpeak_desc-analysis_statmap.nii.gz").get_fdata()
    followed = truth() > 0
    # SPM's response to an impulse; pictures are said to last 1 s.
    assert abs(np.median(peak[followed]) - 4.5) < 0.3
    assert np.isnan(peak[~brain()]).all() and np.isfinite(peak[brain()]).all()
    sidecar = json.loads((out / f"{STEM}_stat-hrfpeak_desc-analysis_statmap.json").read_text())
    assert sidecar["Units"] == "s" and sidecar["Settings"]["hrf"] == "rank1"
    with h5py.File(out / f"{STEM}_desc-analysis_hrf.h5") as file:
        curves = file["curves"][()] @ file["coefficients"][()]
        assert len(curves) == len(file["times"])
    np.testing.assert_allclose(curves.max(axis=0), 1, atol=1e-3)
    best = nibabel.load(out / f"{STEM}_stat-r_desc-features+early_statmap.nii.gz").get_fdata()
    assert np.median(best[truth() == 1]) > 0.8
    page = (out / "sub-01.html").read_text()
    assert "When responses peak" in page and "Haemodynamic responses" in page
    again = app(*base)
    assert again.code == 0 and "all is there already" in again.said
    (out / f"{STEM}_stat-hrfpeak_desc-analysis_statmap.json").unlink()
    assert "all is there already" not in app(*base).said
    assert (out / f"{STEM}_stat-hrfpeak_desc-analysis_statmap.json").exists()
    (out / f"{STEM}_desc-analysis_hrf.h5").unlink()
    assert app(*base).code == 0
    assert (out / f"{STEM}_desc-analysis_hrf.h5").exists()


def test_the_plan_counts_the_memory_of_all_runs(tiny, app, tmp_path):
    out = tmp_path / "out"
    options = ("--features", tiny.features, "--participant-label", "01", "--dry-run")
    end = app(tiny.bids, out, "participant", *options, "--hrf", "rank1-fir")
    assert end.code == 0 and "GB" in end.said
    assert app(tiny.bids, out, "participant", *options, "--hrf", "gamma").code == 2
