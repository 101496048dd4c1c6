"""Runs that go well: what is written, that it is right, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from tiny_dataset import (
    LAYERS,
    N_VOLUMES,
    PICTURES_PER_RUN,
    SPACE,
    TASK,
    TR,
    Tiny,
    brain,
    layer_values,
    picture_names,
    run_app,
    tree,
    truth,
    write_bold,
    write_features,
    write_tiny,
)

ROOT = Path(__file__).resolve().parents[2]
START = f"sub-01_task-{TASK}"


class Results:
    """What a run has written about sub-01."""

    def __init__(self, out: Path, start: str = START):
        self.out, self.start = out, start

    def path(self, end: str) -> Path:
        return self.out / "sub-01" / "func" / f"{self.start}_{end}"

    def map(self, end: str) -> np.ndarray:
        return np.asarray(nibabel.load(self.path(end)).dataobj)

    def r(self, layer: str) -> np.ndarray:
        return self.map(f"stat-r_desc-features+{layer}_statmap.nii.gz")

    def weights(self, layer: str) -> dict:
        with h5py.File(self.path(f"desc-features+{layer}_weights.h5")) as file:
            return {name: file[name][()] for name in file} | dict(file.attrs)

    @property
    def sidecar(self) -> dict:
        return json.loads(self.path("desc-features_scores.json").read_text())

    @property
    def table(self) -> pandas.DataFrame:
        return pandas.read_table(self.path("desc-features_scores.tsv"), index_col="layer")


def results_only(folder: Path) -> dict[str, str]:
    """Checksums of everything but the logs, which each run adds to."""
    return {name: digest for name, digest in tree(folder).items() if "/log/" not in f"/{name}"}


@pytest.fixture(scope="module")
def continuous(tmp_path_factory):
    """The participant of the continuous design, from raw data."""
    folder = tmp_path_factory.mktemp("continuous")
    tiny = write_tiny(folder / "data", continuous=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
        end = run_app(tiny.bids, folder / "out", "participant", "--features", tiny.features)
    assert end.code == 0
    return tiny, folder / "out", end


@pytest.fixture(scope="module")
def common_space(pristine, tmp_path_factory):
    """Both participants from derivatives in a standard space, and the group."""
    out = tmp_path_factory.mktemp("spaces") / "out"
    options = ("-d", pristine.preprocessed, "--space", SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
        ends = [
            run_app(pristine.bids, out, level, "--features", pristine.features, *options)
            for level in ("participant", "group")
        ]
    assert [end.code for end in ends] == [0, 0]
    return out, ends


# What comes out is right


@pytest.mark.parametrize("design", ["events", "continuous"])
def test_voxels_are_predicted_by_the_layer_that_they_follow(request, design):
    results = Results(request.getfixturevalue(design)[1])
    labels = truth()
    best = results.map("desc-features+bestlayer_dseg.nii.gz")
    for number, layer in enumerate(LAYERS, start=1):
        own, noise = results.r(layer)[labels == number], results.r(layer)[brain() & (labels == 0)]
        if layer != "middle":  # which no voxel follows
            assert np.median(own) > 0.8 and own.min() > 0.5
            assert (best[labels == number] == number).all()
        assert abs(np.median(noise)) < 0.15
        assert np.isnan(results.r(layer)[~brain()]).all()
    names = pandas.read_table(results.path("desc-features+bestlayer_dseg.tsv"))
    assert names["name"].tolist() == list(LAYERS) and names["index"].tolist() == [1, 2, 3]
    slope = results.map("stat-slope_desc-features_statmap.nii.gz")
    assert slope[labels == 1].max() < 0 < slope[labels == 3].min()
    assert np.array_equal(results.map("desc-analysis_mask.nii.gz") > 0, brain())
    assert results.sidecar["Design"] == design


def independent_event_responses(tiny: Tiny) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Stimuli, responses and groups by nilearn's design matrices and least squares."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    stimuli, responses = [], []
    for session in "12":
        table = pandas.read_table(tiny.events(session))
        shown = table["stim_file"].tolist()
        codes = [f"s{k:02d}" for k in range(len(shown))]
        design = make_first_level_design_matrix(
            TR * np.arange(N_VOLUMES),
            table[["onset", "duration"]].assign(trial_type=codes),
            hrf_model="spm",
            drift_model="cosine",
            high_pass=0.01,
        )
        bold = np.asarray(nibabel.load(tiny.bold(session)).dataobj)[brain()].T
        betas = np.linalg.lstsq(design.to_numpy(), bold, rcond=None)[0]
        betas = betas[[design.columns.get_loc(code) for code in codes]]
        responses.append((betas - betas.mean(axis=0)) / betas.std(axis=0))
        stimuli += shown
    return stimuli, np.concatenate(responses), np.repeat([0, 1], len(shown))


def independent_scores(x, y, groups, penalties) -> tuple[np.ndarray, np.ndarray]:
    """Mean over folds of r and r² by scikit-learn, each voxel with a penalty of its own."""
    centred = x - x.mean(axis=0)
    unit = np.square(centred).sum(axis=1).mean()
    scores = np.zeros((2, y.shape[1]))
    for group in np.unique(groups):
        test = groups == group
        for voxel, penalty in enumerate(penalties):
            model = Ridge(alpha=penalty * unit, solver="svd").fit(x[~test], y[~test, voxel])
            there, said = y[test, voxel], model.predict(x[test])
            scores[0, voxel] += np.corrcoef(there, said)[0, 1]
            scores[1, voxel] += (
                1 - np.square(there - said).sum() / np.square(there - there.mean()).sum()
            )
    return tuple(scores / len(np.unique(groups)))


def voxels_to_compare() -> np.ndarray:
    """A few voxels of each kind, as places among the voxels of the mask."""
    labels = truth()[brain()]
    return np.concatenate([np.flatnonzero(labels == kind)[:6] for kind in (0, 1, 3)])


def test_scores_of_events_agree_with_nilearn_and_scikit_learn(events):
    tiny, out, _ = events
    results = Results(out)
    stimuli, responses, groups = independent_event_responses(tiny)
    some = voxels_to_compare()
    rows = [picture_names().index(stimulus) for stimulus in stimuli]
    for layer in LAYERS:
        penalty = results.map(f"stat-penalty_desc-features+{layer}_statmap.nii.gz")
        r, r2 = independent_scores(
            layer_values()[layer][rows].astype(float),
            responses[:, some],
            groups,
            10.0 ** penalty[brain()][some],
        )
        assert np.allclose(results.r(layer)[brain()][some], r, atol=1e-3)
        map_r2 = results.map(f"stat-r2_desc-features+{layer}_statmap.nii.gz")
        assert np.allclose(map_r2[brain()][some], r2, atol=1e-3)


def test_scores_of_a_continuous_design_agree_with_scikit_learn(continuous):
    tiny, out, _ = continuous
    results = Results(out)
    some = voxels_to_compare()
    responses, matrices = [], []
    for session in "12":
        bold = np.asarray(nibabel.load(tiny.bold(session)).dataobj)[brain()].T.astype(float)
        # Cosines slower than 0.01 Hz, and the constant.
        order = int(2 * N_VOLUMES * TR * 0.01)
        phase = np.pi * (np.arange(N_VOLUMES) + 0.5) / N_VOLUMES
        basis = np.cos(np.outer(phase, np.arange(order + 1)))
        clean = bold - basis @ np.linalg.lstsq(basis, bold, rcond=None)[0]
        responses.append(clean / clean.std(axis=0))
        shown = pandas.read_table(tiny.events(session))["stim_file"]
        rows = [picture_names().index(name) for name in shown]
        blank = len(picture_names())
        # One picture a volume: delays of 4, 6 and 8 s are of 2, 3 and 4 volumes.
        matrices.append([[([blank] * lag + rows)[:N_VOLUMES]] for lag in (2, 3, 4)])
    groups = np.repeat([0, 1], N_VOLUMES)
    for layer in LAYERS:
        values = layer_values()[layer].astype(float)
        x = np.concatenate([np.hstack([values[lag[0]] for lag in run]) for run in matrices])
        penalty = results.map(f"stat-penalty_desc-features+{layer}_statmap.nii.gz")
        r, _ = independent_scores(
            x, np.concatenate(responses)[:, some], groups, 10.0 ** penalty[brain()][some]
        )
        assert np.allclose(results.r(layer)[brain()][some], r, atol=1e-3)


def test_the_table_counts_what_is_in_the_maps(events):
    """Of the voxels that pass; see test_counts.py for runs in which some do, and none."""
    results = Results(events[1])
    table = results.table
    passed = results.map("desc-features+predicted_mask.nii.gz") > 0
    best = results.map("desc-features+bestlayer_dseg.nii.gz")
    assert table.index.tolist() == list(LAYERS)
    for number, layer in enumerate(LAYERS, start=1):
        r = results.r(layer)[brain()]
        row = table.loc[layer]
        assert row["voxels"] == brain().sum() == len(r)
        ours = r[passed[brain()]]
        assert row["voxels_predicted"] == len(ours)
        assert row["voxels_r03"] == (ours > 0.3).sum()
        assert row["voxels_best"] == (best[passed] == number).sum()
        if len(ours):
            assert row["r_max"] == pytest.approx(ours.max())
            assert row["r_median"] == pytest.approx(np.median(ours), abs=1e-6)


def test_sidecars_say_what_was_done(events):
    results = Results(events[1])
    sidecar = results.sidecar
    assert sidecar["Layers"] == list(LAYERS)
    assert sidecar["NumberOfStimuli"] == sidecar["NumberOfSamples"] == 2 * PICTURES_PER_RUN
    assert sidecar["NumberOfFolds"] == 2
    assert sidecar["RepetitionTime"] == TR
    assert [source.partition(":")[0] for source in sidecar["Sources"]] == ["bids"] * 4
    assert any("No preprocessed BOLD" in warning for warning in sidecar["Warnings"])
    assert any("brain mask" in warning for warning in sidecar["Warnings"])
    assert sidecar["VoxelsWithoutScore"] == 0


def test_what_a_run_says(events):
    _, _, end = events
    lines = end.err.splitlines()
    for stage in ("dataset", "network", "responses", "features", "encoding", "report"):
        assert sum(line.startswith(f"{stage} ") for line in lines) == 2  # participants
    assert not end.out
    assert sum("done" in line for line in lines[-2:]) == 2
    assert "voxels predicted better than chance" in lines[-1]
    # Nothing that the reader can do nothing with.
    assert not [line for line in lines if "cache" in line or "deprecat" in line.lower()]


# The model files


def predicted(weights: dict, kernel: np.ndarray) -> np.ndarray:
    return kernel @ weights["dual"].astype(float) + weights["intercept"]


def rows_of(weights: dict, layer: str) -> np.ndarray:
    """Features of the rows of a model, from nothing but what the file says."""
    names = [*picture_names(), ""]
    stimuli = [name.decode() for name in weights["stimuli"]]
    values = layer_values()[layer][[names.index(name) for name in stimuli]].astype(float)
    if "shares" not in weights:
        return values
    n = len(weights["groups"])
    matrices = []
    for delay in range(len(weights["delays"])):
        here = weights["shares_delay"] == delay
        place = (weights["shares_row"][here], weights["shares_stimulus"][here])
        matrices.append(sparse.coo_array((weights["shares"][here], place), (n, len(stimuli))))
    return np.hstack([matrix @ values for matrix in matrices])


@pytest.mark.parametrize("design", ["events", "continuous"])
def test_models_predict_alike_from_dual_and_primal_weights(request, design, tmp_path, no_page):
    tiny, out, _ = request.getfixturevalue(design)
    results = Results(out)
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--participant-label", "01", "--save-weights", "primal", "-w", tmp_path,
    )  # fmt: skip
    assert end.code == 0
    primal = Results(tmp_path / "out")
    for layer in LAYERS:
        dual_file, primal_file = results.weights(layer), primal.weights(layer)
        x = rows_of(dual_file, layer)
        from_dual = predicted(dual_file, x @ x.T)
        from_primal = x @ primal_file["primal"] + primal_file["intercept"]
        assert from_dual.shape == (len(dual_file["groups"]), brain().sum())
        assert np.allclose(from_dual, from_primal, atol=1e-3)  # of 3; float32 in the files
        assert "dual" not in primal_file
        assert np.array_equal(dual_file["voxels"], np.flatnonzero(brain()))
        assert dual_file["grid"].tolist() == list(brain().shape)
        assert dual_file["layer"] == layer
    # The model was learned on these rows: voxels that follow the layer are predicted well.
    own = truth()[brain()] == 3
    late = results.weights("late")
    x = rows_of(late, "late")
    responses = bold_in_rows(tiny, late) if design == "continuous" else None
    if responses is None:
        stimuli, responses, _ = independent_event_responses(tiny)
        order = [stimuli.index(name.decode()) for name in late["stimuli"]]
        responses = responses[order]
    said = predicted(late, x @ x.T)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(said[:, own].T, responses[:, own].T, strict=True)]
    assert min(r) > 0.7


def bold_in_rows(tiny: Tiny, weights: dict) -> np.ndarray:
    """The BOLD of both runs, one behind the other."""
    runs = [np.asarray(nibabel.load(tiny.bold(s)).dataobj)[brain()].T for s in "12"]
    assert len(weights["groups"]) == sum(map(len, runs))
    return np.concatenate([run - run.mean(axis=0) for run in runs])


def test_no_weights(pristine, tmp_path, no_page):
    end = run_app(
        pristine.bids, tmp_path / "out", "participant", "--features", pristine.features,
        "--participant-label", "01", "--save-weights", "none",
    )  # fmt: skip
    assert end.code == 0
    assert not list(tmp_path.rglob("*weights*"))
    assert len(list(tmp_path.rglob("*_stat-r_*.nii.gz"))) == len(LAYERS)


# Choices


def test_nested_scores_are_lower_where_there_is_nothing(events, tmp_path, no_page):
    tiny, out, _ = events
    results = Results(out)
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--participant-label", "01", "--nested",
    )  # fmt: skip
    assert end.code == 0
    nested = Results(tmp_path / "out")
    end = "stat-r2_desc-features+middle_statmap.nii.gz"  # which no voxel follows
    assert np.nanmean(nested.map(end)) < np.nanmean(results.map(end))
    assert nested.r("early")[truth() == 1].min() > 0.5
    assert nested.sidecar["Settings"]["nested"] is True


def test_derivatives_bring_mask_confounds_and_space(common_space):
    out, ends = common_space
    assert "brain mask" not in ends[0].err and "No preprocessed" not in ends[0].err
    results = Results(out, f"{START}_space-{SPACE}")
    assert np.median(results.r("early")[truth() == 1]) > 0.7
    sidecar = results.sidecar
    assert sidecar["Preprocessed"] is True
    kinds = {source.rpartition("_")[2] for source in sidecar["Sources"]}
    assert kinds == {"bold.nii.gz", "events.tsv", "mask.nii.gz", "timeseries.tsv"}
    assert sum("bids:prep:" in source for source in sidecar["Sources"]) == 6
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert {"raw", "prep"} <= set(links)


def test_both_spaces_and_both_tasks_are_planned(pristine, tmp_path):
    end = run_app(
        pristine.bids, tmp_path / "out", "participant", "--features", pristine.features,
        "-d", pristine.preprocessed, "--space", "T1w", SPACE, "--dry-run",
    )  # fmt: skip
    assert end.code == 0
    assert end.err.count("space T1w") == end.err.count(f"space {SPACE}") == 2


def test_a_dry_run_says_much_and_writes_nothing(tiny, app, tmp_path):
    before = tree(tmp_path)
    end = app(tiny.bids, tmp_path / "out", "participant", "--participant-label", "01", "--dry-run")
    assert end.code == 0
    assert tree(tmp_path) == before and not (tmp_path / "out").exists()
    assert not list((tmp_path / "here").iterdir())
    for words in (
        "2 runs in 2 sessions, 160 volumes, TR 2 s, as acquired",
        "40 pictures, shown 40 times",
        "events: presentations of 1 s",
        "efficientnet_lite0: stage1",
        "2 for cross-validation, which leave out runs: ses-1 (20), ses-2 (20) stimuli",
        "GB",
        "planned, nothing written",
    ):
        assert words in end.err, words


def test_sessions_can_be_chosen(tiny, app, tmp_path, no_page):
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "sub-01",
        "--features", tiny.features, "--session-label", "2",
    )  # fmt: skip
    assert end.code == 0
    sidecar = Results(tmp_path / "out").sidecar
    assert sidecar["Runs"] == [f"sub-01_ses-2_task-{TASK}"]
    # One run where cross-validation needs two.
    assert "There is one run only: cross-validation leaves out contiguous blocks" in end.err
    assert sidecar["Groups"] == [f"block {k}" for k in range(1, 6)]
    assert any("one run only" in warning for warning in sidecar["Warnings"])


def test_a_single_run_of_a_continuous_design(continuous, app, tmp_path, no_page):
    tiny, _, _ = continuous
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--session-label", "1",
    )  # fmt: skip
    assert end.code == 0
    assert "There is one run only" in end.err
    assert np.median(Results(tmp_path / "out").r("late")[truth() == 3]) > 0.5


def test_the_default_network(tiny, app, tmp_path, no_page):
    """Features of a real network, trained and untrained, from the same command."""
    layers = ("stage1", "stage9")
    for options in ((), ("--untrained",)):
        end = app(
            tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
            "-w", tmp_path / "work", "--layers", *layers, *options,
        )  # fmt: skip
        assert end.code == 0
    func = tmp_path / "out/sub-01/func"
    networks = ("efficientnetlite0", "efficientnetlite0untrained")
    maps = [
        np.asarray(
            nibabel.load(func / f"{START}_stat-r_desc-{network}+stage9_statmap.nii.gz").dataobj
        )
        for network in networks
    ]
    assert maps[0].shape == maps[1].shape
    assert not np.allclose(maps[0][brain()], maps[1][brain()], atol=0.05)
    entries = list((tmp_path / "work/features").glob("*/??/*.npy"))
    assert len(entries) == 2 * len(picture_names())
    assert not tree(tiny.bids).keys() - tree(tiny.bids).keys()


def test_a_configuration_file_repeats_a_run(events, tmp_path, no_page):
    tiny, _, _ = events
    options = ("--high-pass", "0.02", "--n-folds", "2", "--layers", "late", "early")
    base = (tiny.bids, tmp_path / "one", "participant", "--participant-label", "01")
    assert run_app(*base, "--features", tiny.features, *options).code == 0
    [config] = (tmp_path / "one").rglob("config.toml")
    end = run_app(tiny.bids, tmp_path / "two", "participant", "--config-file", config)
    assert end.code == 0
    assert results_only(tmp_path / "one") == results_only(tmp_path / "two")
    [again] = (tmp_path / "two").rglob("config.toml")
    assert again.read_text() == config.read_text().replace("/one", "/two")


# Running again


def stamps(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "/log/" not in path.as_posix()
    }


def test_a_second_run_leaves_everything_as_it_is(events):
    tiny, out, _ = events
    results = Results(out)
    before, when = results_only(results.out), stamps(results.out)
    one = ("--features", tiny.features, "--participant-label", "01")
    for level, options in (("participant", one), ("group", ())):
        end = run_app(tiny.bids, results.out, level, *options)
        assert end.code == 0
        assert "done before" in end.err or "all is there already" in end.err
    assert results_only(results.out) == before
    assert stamps(results.out) == when


def test_two_runs_write_the_same_bytes(events, tmp_path):
    tiny, out, _ = events
    results = Results(out)
    one = ("--features", tiny.features, "--participant-label", "01")
    assert run_app(tiny.bids, tmp_path / "out", "participant", *one).code == 0
    first, second = results_only(results.out / "sub-01"), results_only(tmp_path / "out/sub-01")
    assert len(first) > 40 and first == second


def test_a_changed_setting_does_the_work_again(tiny, app, tmp_path, no_page):
    base = (tiny.bids, tmp_path / "out", "participant", "--participant-label", "01")
    base += ("--features", tiny.features)
    results = Results(tmp_path / "out")
    assert app(*base).code == 0
    before = results.r("early")
    end = app(*base, "--high-pass", "0.02")
    assert end.code == 0 and "done before" not in end.err
    assert not np.array_equal(results.r("early"), before, equal_nan=True)
    assert results.sidecar["Settings"]["high_pass"] == 0.02
    # Changed input, not settings: a BOLD file that was written again.
    write_bold(tiny.bold(), np.asarray(nibabel.load(tiny.bold()).dataobj)[..., ::-1])
    end = app(*base, "--high-pass", "0.02")
    assert end.code == 0 and "done before" not in end.err


def test_a_picture_that_changed_does_the_work_again(tiny, app, tmp_path, no_page):
    base = (tiny.bids, tmp_path / "out", "participant", "--participant-label", "01")
    base += ("--features", tiny.features)
    assert app(*base).code == 0
    paths = sorted((tiny.bids / "stimuli").rglob("*.png"))
    os.replace(paths[0], paths[1])
    shutil.copy(paths[2], paths[0])
    end = app(*base)
    assert end.code == 0 and "done before" not in end.err


def test_a_killed_run_is_taken_up_where_it_ended(tiny, app, tmp_path, no_page, monkeypatch):
    base = (tiny.bids, tmp_path / "out", "participant", "--participant-label", "01")
    base += ("--features", tiny.features)
    assert app(*base).code == 0
    results = Results(tmp_path / "out")
    whole = results_only(tmp_path / "out")
    results.path("stat-r_desc-features+middle_statmap.json").unlink()
    results.path("desc-features_scores.json").unlink()
    fitted = []
    from bids_encoder.analysis import run as analysis

    def noting(*args, **more):
        fitted.extend(arg for arg in args if isinstance(arg, str))
        return real(*args, **more)

    real = analysis._write_layer
    monkeypatch.setattr(analysis, "_write_layer", noting)
    end = app(*base)
    assert end.code == 0
    assert fitted == ["middle"]
    assert "layer early: done before" in end.err
    assert results_only(tmp_path / "out") == whole


@pytest.mark.parametrize(
    "name",
    [
        "stat-r_desc-features+middle_statmap.nii.gz",
        "stat-fingerprint_desc-features+early_statmap.nii.gz",
        "stat-slope_desc-features_statmap.nii.gz",
        "desc-features+bestlayer_dseg.tsv",
        "desc-analysis_mask.nii.gz",
    ],
)
def test_a_map_that_was_removed_is_made_again(events, app, tmp_path, no_page, name):
    tiny, out, _ = events
    shutil.copytree(out / "sub-01", tmp_path / "out/sub-01")
    shutil.copy(out / "dataset_description.json", tmp_path / "out")
    results = Results(tmp_path / "out")
    whole = results_only(tmp_path / "out/sub-01")
    results.path(name).unlink()
    base = ("--participant-label", "01", "--features", tiny.features)
    end = app(tiny.bids, tmp_path / "out", "participant", *base)
    assert end.code == 0, end.err
    assert results_only(tmp_path / "out/sub-01") == whole


def test_only_reports(tiny, app, tmp_path):
    base = (tiny.bids, tmp_path / "out", "participant", "--participant-label", "01")
    base += ("--features", tiny.features)
    assert app(*base).code == 0
    page = tmp_path / "out" / "sub-01.html"
    whole = results_only(tmp_path / "out")
    page.unlink()
    for path in (tmp_path / "out/sub-01/figures").iterdir():
        if "+stimuli_" not in path.name:  # made of the dataset's pictures, not of results
            path.unlink()
    end = app(*base, "--reports-only")
    assert end.code == 0 and str(page) in end.err
    assert results_only(tmp_path / "out") == whole
    shutil.rmtree(tmp_path / "out/sub-01/func")
    end = app(*base, "--reports-only")
    assert end.code == 66
    assert "run the participant level first" in end.err


# The group


def test_group_maps_in_a_common_space(common_space):
    out, ends = common_space
    start = out / f"tpl-{SPACE}/func/tpl-{SPACE}_task-{TASK}"
    maps = [
        np.asarray(
            nibabel.load(
                out / f"sub-{p}/func/sub-{p}_task-{TASK}_space-{SPACE}"
                "_stat-r_desc-features+early_statmap.nii.gz"
            ).dataobj
        )
        for p in ("01", "02")
    ]
    found = list(start.parent.glob(f"{start.name}*stat-*.nii.gz"))
    [mean] = [p for p in found if "r+mean" in p.name and "early" in p.name]
    [t] = [p for p in found if "r+t" in p.name and "early" in p.name]
    values = np.stack(maps)[:, brain()]
    assert np.allclose(np.asarray(nibabel.load(mean).dataobj)[brain()], values.mean(0), atol=1e-6)
    expected = values.mean(0) / (values.std(0, ddof=1) / np.sqrt(2))
    assert np.allclose(np.asarray(nibabel.load(t).dataobj)[brain()], expected, rtol=1e-3)
    assert "maps in " + SPACE in ends[1].err


def test_group_of_native_spaces_is_a_table(events):
    results = Results(events[1])
    table = pandas.read_table(results.out / f"task-{TASK}_desc-features_groupscores.tsv")
    assert table["participant_id"].tolist() == ["sub-01"] * 3 + ["sub-02"] * 3
    assert table["layer"].tolist() == 2 * list(LAYERS)
    own = table[table["participant_id"] == "sub-01"].set_index("layer")
    shared = [name for name in own if name in results.table.select_dtypes("number")]
    assert "voxels" in shared and (own["voxels"] > 0).all()
    # Of voxels that pass there may be none here: their columns are empty in both.
    pandas.testing.assert_frame_equal(own[shared], results.table[shared], check_dtype=False)
    assert not list(results.out.glob("tpl-*"))


def test_the_group_names_who_is_missing(events, tmp_path):
    tiny, out, _ = events
    results = Results(out)
    shutil.copytree(results.out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/sub-02")
    end = run_app(tiny.bids, tmp_path / "out", "group")
    assert end.code == 0
    assert "1 of 2 participants have no results yet and are left out: 02" in end.err
    shutil.rmtree(tmp_path / "out/sub-01")
    end = run_app(tiny.bids, tmp_path / "out", "group")
    assert end.code == 66
    assert "run the participant level first" in end.err


def test_the_group_refuses_different_layers(events, tmp_path, no_page):
    tiny, out, _ = events
    results = Results(out)
    shutil.copytree(results.out, tmp_path / "out")
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "02",
        "--features", tiny.features, "--layers", "early", "late",
    )  # fmt: skip
    assert end.code == 0
    end = run_app(tiny.bids, tmp_path / "out", "group")
    assert end.code == 65
    assert "sub-01: early, middle, late; sub-02: early, late" in end.err


def test_a_group_before_any_participant(pristine, tmp_path):
    end = run_app(pristine.bids, tmp_path / "out", "group")
    assert end.code == 66
    assert "run the participant level first" in end.err
    assert not (tmp_path / "out").exists()


# What others say of it


FREE = "**/log\n**/figures\n*.html\n"  # pages and logs, whose names BIDS leaves free


def test_the_validator_reports_no_error(
    events, common_space, validate_bids, extended_schema_file, tmp_path
):
    for name, out in (("raw", events[1]), ("spaces", common_space[0])):
        issues = validate_bids(out)
        assert not [issue for issue in issues if issue["severity"] == "error"]
        copy = tmp_path / name
        shutil.copytree(out, copy)
        (copy / ".bidsignore").write_text(FREE)
        issues = validate_bids(copy, extended_schema_file)
        assert not [issue for issue in issues if issue["severity"] == "error"]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option):
    heavy = {"torch", "torchvision", "nilearn", "bids", "pandas", "numpy", "scipy", "nibabel"}
    code = (
        "import sys\nfrom bids_encoder.app.cli import main\n"
        f"try: main([{option!r}])\n"
        f"except SystemExit as end: print('left', end.code, sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip().endswith("left 0 []")
    if option == "--help":
        for words in ("BIDS_DIR", "--participant-label", "--layers", "exit codes"):
            assert words in done.stdout


def test_run_py_from_a_shell_on_two_participants_at_once(tiny, tmp_path):
    tiny.events("1", "02").write_text("nothing")
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", tiny.bids, tmp_path / "out", "participant",
         "--participant_label", "sub-01", "sub-02", "--skip_bids_validator", "--notrack",
         "--nprocs", "2", "--n-permutations", "200", "--features", tiny.features],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    print(done.stderr)
    assert done.returncode == 65
    assert "Traceback" not in done.stderr and not done.stdout
    assert done.stderr.count("Error: ") == 1
    assert "Error: [sub-02] The table of events has no column onset." in done.stderr
    assert "[sub-01] encoding " in done.stderr
    table = done.stderr[done.stderr.index("outcome") :]
    assert table.index("sub-01  done") < table.index("sub-02  failed (65)")
    assert np.median(Results(tmp_path / "out").r("early")[truth() == 1]) > 0.8
    assert not (tmp_path / "out/sub-02").exists()
    config = next((tmp_path / "out").rglob("config.toml")).read_text()
    assert "nprocs = 2" in config


@pytest.mark.slow
def test_a_signal_ends_all_processes_and_leaves_no_half_files(pristine, tmp_path):
    """What a batch system sends before it kills, to the first process alone."""
    running = subprocess.Popen(
        [sys.executable, ROOT / "run.py", pristine.bids, tmp_path / "out", "participant",
         "--nprocs", "2", "--layers", "stage1", "-w", tmp_path / "work"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    try:
        # The pipe is read so that it cannot fill; the line says that work has begun.
        said = ""
        for line in running.stderr:
            said += line
            if "responses " in line:
                break
        running.send_signal(signal.SIGTERM)
        said += running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert running.returncode == 143, said
    assert said.count("Interrupted.") == 1 and "Traceback" not in said
    half = [path for path in tmp_path.rglob(".*") if path.name != ".bidsignore"]
    assert not half
    assert not alive(running.pid)


def alive(group: int) -> list[str]:
    """Processes of a group, but those that have ended and wait for init to notice."""
    done = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


def test_features_named_in_another_order(events, tmp_path, no_page):
    """Rows are found by their ids, not by their places."""
    tiny, out, _ = events
    results = Results(out)
    order = np.random.default_rng(0).permutation(len(picture_names()))
    values = {k: np.vstack([v[order], v[-1:]]) for k, v in layer_values().items()}
    write_features(tmp_path / "features.h5", [picture_names()[k] for k in order], values)
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "--features", tmp_path / "features.h5",
    )  # fmt: skip
    assert end.code == 0
    again = Results(tmp_path / "out")
    assert np.allclose(again.r("late"), results.r("late"), atol=1e-4, equal_nan=True)
