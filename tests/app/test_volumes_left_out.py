"""Dummy scans and scrubbed volumes, from the command line to the sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas
import pytest
from tiny_dataset import N_VOLUMES, SESSIONS, TASK, Tiny, truth, write_bold, write_tiny

from bids_encoder.analysis.make_plans import make_plans
from bids_encoder.bids.dataset import open_dataset
from bids_encoder.config.settings import from_tables
from bids_encoder.responses.grids import common_grid
from bids_encoder.responses.measure import measure

MOVED = [30, 31, 50]  # volumes of each run; 0 and 1 come before the steady state
SCRUB = "motion=basic,high_pass,scrub=0"
OUT = [0, 1, *MOVED]


def confounds_of(tiny: Tiny, session: str) -> Path:
    stem = tiny.preprocessed / Path(tiny.run(session)).relative_to(tiny.bids)
    return Path(f"{stem}_desc-confounds_timeseries.tsv")


@pytest.fixture(scope="module", params=["events", "continuous"])
def moved(request, tmp_path_factory):
    """Both designs, with garbage in the volumes that the confounds table tells of."""
    continuous = request.param == "continuous"
    tiny = write_tiny(tmp_path_factory.mktemp(request.param), continuous=continuous)
    for session in SESSIONS:
        path = confounds_of(tiny, session)
        table = pandas.read_table(path)
        table["framewise_displacement"] = 0.1
        table["std_dvars"] = [np.nan, *[1.0] * (N_VOLUMES - 1)]
        table.loc[MOVED[:2], "framewise_displacement"] = 0.9
        table.loc[MOVED[2], "std_dvars"] = 2.0
        for k in range(2):
            table[f"non_steady_state_outlier{k:02d}"] = np.eye(N_VOLUMES, dtype=int)[k]
        table.to_csv(path, sep="\t", na_rep="n/a", index=False)
        spoil(tiny, session, 3000)
    return request.param, tiny


def spoil(tiny: Tiny, session: str, size: float) -> None:
    path = Path(str(confounds_of(tiny, session)).replace("confounds_timeseries.tsv", ""))
    path = path.parent / f"{path.name[: -len('_desc-')]}_space-T1w_desc-preproc_bold.nii.gz"
    data = np.asarray(nibabel.load(path).dataobj).copy()
    data[..., OUT] = data.mean() + size * np.random.default_rng(0).standard_normal(
        (*data.shape[:3], len(OUT))
    )
    write_bold(path, data.astype(np.int16))


def measured(tiny: Tiny, **options):
    settings = from_tables(
        tiny.bids, tiny.folder / "out", "participant",
        {"responses": options, "selection": {"derivatives": (str(tiny.preprocessed),)}},
    )  # fmt: skip
    dataset = open_dataset(tiny.bids, participants=["01"], derivatives=[tiny.preprocessed])
    [plan] = make_plans(settings, dataset, "01")
    found = measure(
        plan.runs, plan.infos, plan.presentations, common_grid(plan.runs, plan.infos),
        kind=plan.design.kind, cleanings=plan.cleanings,
    )  # fmt: skip
    return plan, found


def test_what_stands_in_them_changes_nothing(moved):
    kind, tiny = moved
    plan, first = measured(tiny, confounds=SCRUB)
    assert plan.design.kind == kind
    assert plan.n_samples == len(first.responses.values)
    assert len(plan.grouping.groups) == plan.n_samples
    for session in SESSIONS:
        spoil(tiny, session, 500)
    _, second = measured(tiny, confounds=SCRUB)
    np.testing.assert_array_equal(first.responses.values, second.responses.values)
    np.testing.assert_array_equal(first.mean_bold, second.mean_bold)
    _, kept = measured(tiny, confounds="none")
    assert len(kept.responses.values) - len(first.responses.values) == (
        2 * len(OUT) if kind == "continuous" else 0
    )
    good = first.responses.values, kept.responses.values
    assert np.corrcoef(good[0][:20].ravel(), good[1][:20].ravel())[0, 1] < 0.9


@pytest.mark.parametrize("moved", ["continuous"], indirect=True)
def test_models_learn_from_what_is_left(moved, tmp_path, app, no_page):
    _, tiny = moved
    end = app(
        tiny.bids, tmp_path / "out", "participant", "-d", tiny.preprocessed, "--space", "T1w",
        "--participant-label", "01", "--features", tiny.features, "--confounds", SCRUB,
        "--skip-volumes", "3", "--n-permutations", "0", "--no-neural-code",
        "--test-set", "ses=2",
    )  # fmt: skip
    assert end.code == 0
    assert "left out volumes: 6 skipped, 6 scrubbed" in end.err
    start = tmp_path / f"out/sub-01/func/sub-01_task-{TASK}_space-T1w"
    side = json.loads(Path(f"{start}_desc-features_scores.json").read_text())
    assert side["ReferenceTime"] == {"StartTime": 1.0}
    for run in side["VolumesAndConfounds"].values():
        assert (run["Volumes"], run["VolumesUsed"]) == (N_VOLUMES, N_VOLUMES - 6)
        assert run["VolumesLeftOut"] == {"skipped": 3, "scrubbed": 3}
        assert len(run["Confounds"]) == 7 and "cosine00" in run["Confounds"]
    assert side["Settings"]["fd_threshold"] == 0.5 and side["Settings"]["skip_volumes"] == 3
    r = nibabel.load(f"{start}_stat-testr_desc-features+early_statmap.nii.gz").get_fdata()
    assert np.median(r[truth() == 1]) > 0.6
    assert side["NumberOfSamples"] == 2 * (N_VOLUMES - 6)
    with h5py.File(f"{start}_desc-features+early_weights.h5") as file:
        assert file["dual"].shape[0] == N_VOLUMES - 6


@pytest.mark.parametrize("moved", ["events"], indirect=True)
def test_a_dry_run_finds_what_is_wrong(moved, tmp_path, app):
    _, tiny = moved
    base = (
        tiny.bids, tmp_path / "out", "participant", "-d", tiny.preprocessed, "--space", "T1w",
        "--participant-label", "01", "--features", tiny.features, "--dry-run",
    )  # fmt: skip
    end = app(*base, "--confounds", "motion=basic,scrub", "--fd-threshold", "0.05")
    assert end.code == 65
    for word in (str(confounds_of(tiny, "1")), "All volumes", "--fd-threshold", "expected:"):
        assert word in end.err
    end = app(*base, "--skip-volumes", "75")
    assert end.code == 65 and "5 after those that do not count: 75 skipped" in end.err
