"""p-values, noise ceilings and test sets, from the command line."""

from __future__ import annotations

import json

import h5py
import nibabel
import numpy as np
import pytest
from tiny_dataset import (
    LAYERS,
    PICTURES_PER_RUN,
    SECONDS_BETWEEN,
    SECONDS_SHOWN,
    Tiny,
    brain,
    picture_names,
    signal,
    truth,
    write_bold,
    write_tiny,
)

from bids_encoder.analysis import significance
from bids_encoder.encoding.permute import autocorrelation
from bids_encoder.encoding.recombine import versions_for
from bids_encoder.encoding.strata import classify, draw_voxels, permute_voxels

ONE = ("--participant-label", "01")


@pytest.fixture(scope="module")
def continuous(tmp_path_factory) -> Tiny:
    return write_tiny(tmp_path_factory.mktemp("continuous"), continuous=True)


def read(out, stat: str, desc: str) -> np.ndarray:
    """A map of the first participant, over the voxels of the brain."""
    [path] = (out / "sub-01" / "func").glob(f"*_stat-{stat}_desc-{desc}_statmap.nii.gz")
    return np.asarray(nibabel.load(path).dataobj)[brain()]


def trained_on(out, layer: str = "early") -> list[str]:
    [path] = (out / "sub-01" / "func").glob(f"*_desc-features+{layer}_weights.h5")
    with h5py.File(path) as file:
        assert len(file["dual"]) == len(file["groups"])
        return [name.decode() for name in file["stimuli"]]


def shown_in(tiny: Tiny, session: str) -> set[str]:
    lines = tiny.events(session).read_text().splitlines()[1:]
    return {line.split("\t")[2] for line in lines}


def test_voxels_with_signal_pass_and_noise_does_not(app, tiny, tmp_path, no_page, monkeypatch):
    permuted = []

    def remember(kernels, responses, folds, scored, **options):
        permuted.append((responses, folds, scored))
        return permute_voxels(kernels, responses, folds, scored, **options)

    monkeypatch.setattr(significance, "permute_voxels", remember)
    out = tmp_path / "out"
    options = [*ONE, "--features", tiny.features, "--n-permutations", 4000]
    assert app(tiny.bids, out, "participant", *options).code == 0
    signal_voxels = truth()[brain()] > 0
    p, q = read(out, "p", "features"), read(out, "q", "features")
    assert (q[signal_voxels] <= 0.01).mean() > 0.8
    assert (q[~signal_voxels] <= 0.01).mean() < 0.05
    assert np.mean(p[~signal_voxels]) == pytest.approx(0.5, abs=0.12)
    assert 0 < p.min() < 1 / 4001
    [sidecar] = (out / "sub-01" / "func").glob("*_stat-p_*.json")
    said = json.loads(sidecar.read_text())
    [stratum] = said["NullStrata"]
    assert stratum["Tail"]
    assert said["SmallestP"] < 1e-6
    assert said["FewestVoxels"] == 1
    assert said["Statistic"] == "highest pooled r2 over layers"  # 20 pictures in each fold
    pooled = [read(out, "pooledr2", f"features+{layer}") for layer in LAYERS]
    passed = np.max(pooled, axis=0)[q <= 0.01]
    assert said["Threshold"] == pytest.approx(passed[passed > 0].min())
    # Voxels of rare classes of autocorrelation come again: each counts once.
    [(responses, folds, scored)] = permuted
    count = -(-4000 // versions_for(4000) ** 2)
    classes = classify(autocorrelation(responses[:, scored], folds), count)
    sizes = np.unique(classes, return_counts=True)[1]
    drawn = [len(some) for some in draw_voxels(classes, count)]
    assert sum(drawn) == count and (sizes < drawn).any()
    assert said["PermutedVoxels"] == np.minimum(sizes, drawn).sum()
    assert stratum["VoxelsOwn95%"]["0.05"] < stratum["NullQuantiles"]["0.95"]
    assert stratum["Voxels"] == np.isfinite(p).sum()
    before = (out / "sub-01").stat()
    assert "done before" in app(tiny.bids, out, "participant", *options).said
    assert (out / "sub-01").stat().st_mtime_ns == before.st_mtime_ns


def test_what_p_values_cannot_reach_is_said(app, tiny, tmp_path, no_page):
    options = [*ONE, "--features", tiny.features, "--n-permutations", 150]
    end = app(tiny.bids, tmp_path / "out", "participant", *options, "--dry-run")
    assert "150 permutations, too few to fit the tail of the null: fewer than 255 of 384" in end.err
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0
    n_voxels = np.isfinite(read(tmp_path / "out", "p", "features")).sum()
    fewest = int(np.ceil(n_voxels / 151 / 0.01))
    assert f"fewer than {fewest} of {n_voxels} voxels can never pass" in " ".join(end.err.split())
    [sidecar] = (tmp_path / "out" / "sub-01" / "func").glob("*_stat-q_*.json")
    assert json.loads(sidecar.read_text())["FewestVoxels"] == fewest


def test_no_p_values_without_permutations(app, tiny, tmp_path, no_page):
    out = tmp_path / "out"
    options = [*ONE, "--features", tiny.features, "--n-permutations", 0]
    assert app(tiny.bids, out, "participant", *options).code == 0
    assert not list(out.rglob("*_stat-p_*"))
    assert list(out.rglob("*_scores.tsv"))


def test_blocks_are_permuted_in_continuous_designs(app, continuous, tmp_path, no_page):
    out = tmp_path / "out"
    options = ["--features", continuous.features, "--n-permutations", 200]
    assert app(continuous.bids, out, "participant", *options).code == 0
    [sidecar] = out.rglob("*_stat-p_*.json")
    assert '"PermutedBlock": 15' in sidecar.read_text()  # 30 s at a repetition time of 2 s


def test_a_session_as_test_set_trains_no_model(app, tiny, tmp_path, no_page):
    out = tmp_path / "out"
    options = [*ONE, "--features", tiny.features, "--test-set", "ses=2", "--n-permutations", 0]
    assert app(tiny.bids, out, "participant", *options).code == 0
    assert set(trained_on(out)) == shown_in(tiny, "1")
    follows = truth()[brain()]
    assert np.median(read(out, "testr", "features+early")[follows == 1]) > 0.5
    assert np.median(read(out, "testr2", "features+late")[follows == 3]) > 0.2
    assert abs(np.median(read(out, "testr", "features+early")[follows == 0])) < 0.15


def test_a_column_as_test_set_holds_out_its_stimuli_wherever_they_are_shown(
    app, tiny, tmp_path, no_page
):
    held = set()
    for session in ("1", "2"):
        lines = tiny.events(session).read_text().splitlines()
        kinds = ["kind", *(["test"] * 4 + ["train"] * (len(lines) - 5))]
        held |= {line.split("\t")[2] for line in lines[1:5]}
        text = "".join(f"{a}\t{b}\n" for a, b in zip(lines, kinds, strict=True))
        tiny.events(session).write_text(text)
    out = tmp_path / "out"
    options = [*ONE, "--features", tiny.features, "--test-set", "kind=test", "--n-permutations", 0]
    assert app(tiny.bids, out, "participant", *options).code == 0
    assert set(trained_on(out)) == set(picture_names()) - held


def test_a_session_as_test_set_of_a_continuous_design(app, continuous, tmp_path, no_page):
    out = tmp_path / "out"
    options = ["--features", continuous.features, "--test-set", "ses=2", "--n-permutations", 0]
    assert app(continuous.bids, out, "participant", *options).code == 0
    [path] = out.rglob("*_desc-features+early_weights.h5")
    with h5py.File(path) as file:
        assert file["dual"].shape[0] == 80
        assert file["shares_row"][:].max() == 79
    assert np.median(read(out, "testr", "features+early")[truth()[brain()] == 1]) > 0.4


@pytest.mark.parametrize(
    ("test_set", "words"),
    [
        ("ses=3", "ses= one of 1, 2"),
        ("stim_fil=a.png", "did you mean stim_file?"),
        ("stim_file=nobody.png", "No line of the events is of the test set."),
        ("task=look", "nothing is left to learn from"),
        ("session 2", "ses=LABEL"),
    ],
)
def test_test_sets_that_cannot_be(app, tiny, tmp_path, test_set, words):
    out = tmp_path / "out"
    end = app(tiny.bids, out, "participant", "--features", tiny.features, "--test-set", test_set)
    assert end.code == 2
    assert words in end.said and "Traceback" not in end.said
    assert not list(out.rglob("*.nii.gz"))


def test_a_column_cannot_divide_a_continuous_design(app, continuous, tmp_path):
    options = ["--features", continuous.features, "--test-set", "stim_file=a.png"]
    end = app(continuous.bids, tmp_path / "out", "participant", *options)
    assert end.code == 2
    assert "volumes" in end.said


def test_repeats_give_a_noise_ceiling_and_normalised_scores(app, tiny, tmp_path, no_page):
    random = np.random.default_rng(4)
    names, onsets = picture_names(), 4 + SECONDS_BETWEEN * np.arange(PICTURES_PER_RUN)
    for session in ("1", "2"):  # the same pictures in both
        order = random.permutation(PICTURES_PER_RUN)
        data = np.rint(signal(order, onsets, random)).astype(np.int16)
        write_bold(tiny.bold(session), data)
        rows = [
            f"{onset:g}\t{SECONDS_SHOWN}\t{names[k]}\n"
            for onset, k in zip(onsets, order, strict=True)
        ]
        tiny.events(session).write_text("onset\tduration\tstim_file\n" + "".join(rows))
    out = tmp_path / "out"
    options = [*ONE, "--features", tiny.features, "--n-permutations", 0]
    assert app(tiny.bids, out, "participant", *options).code == 0
    ceiling = read(out, "noiseceiling", "analysis")
    follows = truth()[brain()]
    assert np.median(ceiling[follows > 0]) > 0.5
    assert abs(np.median(ceiling[follows == 0])) < 0.2
    r2 = read(out, "pooledr2", "features+early")  # folds have four pictures each
    normalised = read(out, "normalizedr2", "features+early")
    reliable = ceiling >= 0.1
    np.testing.assert_allclose(normalised[reliable], r2[reliable] / ceiling[reliable], rtol=1e-4)
    assert np.isnan(normalised[~reliable]).all()
