"""Folds from the command line: what the plan says, and what is done."""

from __future__ import annotations

import json
import re

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

N, N_VOXELS = 60, 12


@pytest.fixture(scope="module")
def averages(tmp_path_factory):
    """Averaged betas of 60 pictures in five categories, which most of the variance is between."""
    folder = tmp_path_factory.mktemp("averages")
    raw = folder / "raw"
    (raw / "sub-01").mkdir(parents=True)
    (raw / "stimuli").mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "t", "BIDSVersion": "1.9.0"}')
    random = np.random.default_rng(0)
    names = [f"p{k:02d}.png" for k in range(N)]
    for name in names:
        pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(raw / "stimuli" / name)
    category = np.arange(N) * 5 // N
    features = 1.5 * random.standard_normal((5, 30))[category] + random.standard_normal((N, 30))
    responses = features @ random.standard_normal((30, N_VOXELS))
    responses += 0.5 * responses.std() * random.standard_normal(responses.shape)
    with h5py.File(folder / "features.h5", "w") as file:
        file["stimuli"], file["a"] = names, features
    return folder, names, category, responses


def save(averages, order, **columns):
    """Write the maps in some order, with a table that has these columns, and say how to run."""
    folder, names, _, responses = averages
    data = responses[order].T.reshape(N_VOXELS, 1, 1, -1).astype("f")
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), folder / "sub-01_task-t_betas.nii.gz")
    rows = [["stim_file", *columns]]
    rows += [[names[k], *(str(values[k]) for values in columns.values())] for k in order]
    text = "".join("\t".join(row) + "\n" for row in rows)
    (folder / "sub-01_task-t_betas.tsv").write_text(text)
    return (
        "--betas", folder / "sub-{subject}_task-t_betas.nii.gz",
        "--features", folder / "features.h5", "--no-neural-code",
    )  # fmt: skip


def sidecar(out, name="desc-features_scores"):
    return json.loads((out / f"sub-01/func/sub-01_task-t_{name}.json").read_text())


def read(out, stat):
    path = out / f"sub-01/func/sub-01_task-t_stat-{stat}_desc-features+a_statmap.nii.gz"
    return nibabel.load(path).get_fdata().ravel()


def test_averages_sorted_by_category_score_as_in_any_order(app, averages, tmp_path, no_page):
    """Contiguous blocks of them would hold out whole categories."""
    folder, _, category, _ = averages
    found = {}
    orders = {"sorted": np.arange(N), "shuffled": np.random.default_rng(1).permutation(N)}
    for kind, order in orders.items():
        options = save(averages, order, category=category)
        end = app(folder / "raw", tmp_path / kind, "participant", *options)
        assert end.code == 0 and "too high" not in end.said
        found[kind] = read(tmp_path / kind, "r2")
        side = sidecar(tmp_path / kind)
        assert side["SamplesPerFold"] == [12] * 5 and side["NumberOfFolds"] == 5
        expected = "stimuli, dealt out at random, with equal shares of category"
        assert side["FoldsLeaveOut"] == expected
        assert "no onsets" in side["FoldsRemark"]
    np.testing.assert_allclose(found["sorted"], found["shuffled"], atol=1e-3)
    assert np.median(found["sorted"]) > 0.5
    options = save(averages, orders["sorted"], category=category, onset=10 * np.arange(N))
    end = app(folder / "raw", tmp_path / "blocks", "participant", *options, "--folds", "block")
    assert end.code == 0 and "most of what is of one kind (category)" in end.said
    assert np.median(read(tmp_path / "blocks", "r2")) < 0.25


def test_pooled_r2_is_that_of_all_held_out_predictions(app, averages, tmp_path, no_page):
    """scikit-learn's models, with the penalties that were chosen, and its score."""
    folder, _, _, responses = averages
    part = np.arange(N) % 12
    options = save(averages, np.arange(N), part=part)
    out = tmp_path / "out"
    end = app(
        folder / "raw", out, "participant", *options, "--folds", "part", "--n-folds", 10,
        "--standardize", "none",
    )  # fmt: skip
    assert end.code == 0
    names, sizes = sidecar(out)["Groups"], sidecar(out)["SamplesPerFold"]
    held = [np.isin(part, [int(k) for k in re.findall(r"\d+", name)]) for name in names]
    assert len(held) == 10 and [int(one.sum()) for one in held] == sizes
    with h5py.File(folder / "features.h5") as file:
        features = file["a"][()]
    unit = np.square(features - features.mean(0)).sum() / N
    penalty = 10 ** read(out, "penalty") * unit
    predicted, means = np.empty_like(responses), np.empty_like(responses)
    for test in held:
        means[test] = responses[~test].mean(0)
        for v in range(N_VOXELS):
            model = Ridge(alpha=penalty[v]).fit(features[~test], responses[~test, v])
            predicted[test, v] = model.predict(features[test])
    # Deviations from the training means, each with both signs, so that 0 is their mean.
    actual, guess = (np.concatenate([y - means, means - y]) for y in (responses, predicted))
    expected = r2_score(actual, guess, multioutput="raw_values")
    np.testing.assert_allclose(read(out, "pooledr2"), expected, atol=1e-3)
    assert np.abs(read(out, "r2") - expected).max() > 0.05


@pytest.mark.parametrize("n_test", [19, 15])
def test_a_test_set_at_the_end_leaves_whole_blocks(app, averages, tmp_path, n_test, no_page):
    folder, _, _, _ = averages
    split = ["train"] * (N - n_test) + ["test"] * n_test
    options = save(averages, np.arange(N), split=split, onset=10 * np.arange(N))
    out = tmp_path / "out"
    end = app(folder / "raw", out, "participant", *options, "--test-set", "split=test")
    assert end.code == 0, end.said
    assert f"split=test: {n_test} stimuli that train no model" in end.err
    sizes = sidecar(out)["SamplesPerFold"]
    assert len(sizes) == 5 and sum(sizes) == N - n_test and max(sizes) - min(sizes) <= 1


def test_the_plan_names_folds_with_their_sizes(app, averages, tmp_path):
    folder, _, category, _ = averages
    options = save(averages, np.arange(N), category=category, run=np.arange(N) % 3)
    for wish, words in (
        ((), "3 for cross-validation, which leave out runs: run-0 (20), run-1 (20), run-2 (20)"),
        (("--folds", "category"), "values of category: category=0 (12), category=1 (12)"),
        (("--folds", "stimulus", "--n-folds", 4), "part 1 (15), part 2 (15), part 3 (15)"),
        (("--test-set", "run=2"), "leave out runs: run-0 (20), run-1 (20) stimuli"),
    ):
        end = app(folder / "raw", tmp_path / "out", "participant", *options, *wish, "--dry-run")
        assert end.code == 0 and words in end.err, end.said
    for wish, words in (
        (("--n-folds", 4), ("at most 3", "--folds stimulus")),
        (("--folds", "categry"), ("did you mean category",)),
        (("--folds", "session"), ("no sessions",)),
    ):
        end = app(folder / "raw", tmp_path / "out", "participant", *options, *wish, "--dry-run")
        assert end.code == 2 and all(word in end.err for word in words), end.said


@pytest.mark.parametrize(
    ("options", "found"),
    [(("run=2",), "run=2, which shows all 60 stimuli"), (("kind=a",), "kind=a, which shows all")],
)
def test_a_test_set_that_shows_all_stimuli_is_refused(app, averages, tmp_path, options, found):
    """Each run shows all of them, so that one run alone leaves no stimulus to learn from."""
    folder, names, _, _ = averages
    chosen = save(averages, np.tile(np.arange(N), 3))
    rows = [f"{name}\t{run}\t{'abb'[run]}\n" for run in range(3) for name in names]
    table = folder / "sub-01_task-t_betas.tsv"
    table.write_text("stim_file\trun\tkind\n" + "".join(rows))
    for more in ((), ("--dry-run",)):
        end = app(
            folder / "raw", tmp_path / "out", "participant", *chosen, "--test-set", *options, *more
        )
        assert end.code == 2 and found in end.said, end.said
        assert "nothing is left to learn from" in end.said
