"""--synthesize FILE.json, from the command line, where the truth is known."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from tiny_contrasts import (
    CONTRASTS,
    FIRST,
    NEW,
    NEW_VALUES,
    PICTURES,
    prepare,
    readout,
    true_effect,
)
from tiny_dataset import (
    LAYERS,
    brain,
    layer_values,
    run_app,
    tree,
    truth,
    write_bold,
    write_features,
)

from bids_encoder.synthesis.refit import Refit

OPTIONS = ("--participant-label", "01", "--n-permutations", 0, "--no-neural-code")


@pytest.fixture(scope="module")
def done(pristine, tmp_path_factory):
    """The first participant with all three contrasts, and which samples trained what."""
    folder = tmp_path_factory.mktemp("contrasts")
    tiny = prepare(pristine, folder / "data")
    seen = []
    predict = Refit.predict

    def watched(self, layer, store, pictures):
        shown = np.array(self.samples.stimuli, dtype=object)[self.train]
        seen.append((set(shown), set(pictures)))
        return predict(self, layer, store, pictures)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Refit, "predict", watched)
        end = run_app(
            tiny.bids, folder / "out", "participant", *OPTIONS,
            "--features", tiny.features, "--synthesize", tiny.folder / "contrasts.json",
        )  # fmt: skip
    assert end.code == 0
    return tiny, folder / "out", seen, end


def path_of(out, contrast, rest):
    [path] = (out / "sub-01" / "func").glob(f"*_contrast-{contrast}_{rest}")
    return path


def read(out, contrast, stat, desc="features+synthesized"):
    path = path_of(out, contrast, f"stat-{stat}_desc-{desc}_statmap.nii.gz")
    return np.asarray(nibabel.load(path).dataobj)


def test_no_picture_trains_the_model_that_predicts_it(done):
    _, _, seen, _ = done
    every = [pair for pair in seen if len(pair[1]) > 10]
    assert len(every) == 2 * 3 + 3  # two halves of one contrast, one other, three layers
    for trained, predicted in seen:
        assert trained and predicted and not trained & predicted
    halves = {frozenset(predicted) for _, predicted in seen}
    assert set().union(*halves) == set(PICTURES)


def test_responses_are_measured_once(done):
    *_, end = done
    assert len([line for line in end.err.splitlines() if line.startswith("responses ")]) == 1


@pytest.mark.parametrize("contrast", ["every", "some", "new"])
def test_a_synthesized_contrast_is_the_true_one(done, contrast):
    _, out, *_ = done
    early = layer_values()["early"][:-1]
    odd = np.arange(len(PICTURES)) % 2 == 1
    expected = {
        "every": (early, FIRST),
        "some": (early[odd], FIRST[odd]),
        "new": (NEW_VALUES, np.array([name[4] == "a" for name in NEW])),
    }[contrast]
    found = read(out, contrast, "effect", "features+early+synthesized")
    assert np.corrcoef(found[truth() == 1], true_effect(*expected))[0, 1] > 0.8
    assert np.isnan(found[~brain()]).all()


def test_precision_and_recall(done):
    _, out, *_ = done
    table = pd.read_table(path_of(out, "every", "desc-features_precisionrecall.tsv"))
    assert list(table.layer.unique()) == ["all", *LAYERS]
    areas = table.set_index(["layer", "statistic", "direction"])
    for direction in ("positive", "negative"):
        every, by_t = (areas.loc["all", statistic, direction] for statistic in ("effect", "t"))
        assert every.average_precision > 0.5 > 5 * every.chance and every.recall >= 0.5
        assert by_t.average_precision > 4 * every.chance
        # No voxel follows the layer in the middle.
        assert areas.loc["middle", "effect", direction].average_precision < 3 * every.chance
    curves = pd.read_table(path_of(out, "every", "desc-features+curves_precisionrecall.tsv"))
    assert set(curves.layer) == {"all", *LAYERS}
    assert not list(out.rglob("*contrast-new*precisionrecall*"))


def test_the_measured_contrast_finds_the_voxels_that_differ(done):
    _, out, *_ = done
    t = read(out, "every", "t", "measured")
    expected = true_effect(layer_values()["early"][:-1], FIRST)
    assert np.corrcoef(t[truth() == 1], expected)[0, 1] > 0.8
    assert not list(out.rglob("*contrast-new*measured*"))
    agreement = np.asarray(nibabel.load(path_of(out, "every", "desc-*_dseg.nii.gz")).dataobj)
    both = np.isin(agreement, (1, 4))
    assert both[truth() == 1].mean() > 3 * both[(truth() == 0) & brain()].mean()


def test_sidecars_say_what_was_done(done):
    _, out, *_ = done
    path = path_of(out, "some", "stat-t_desc-features+synthesized_statmap.json")
    side = json.loads(path.read_text())
    n = sum(number % 2 for number in range(len(PICTURES)))
    assert sum(side["Pictures"].values()) == n
    assert side["TrainingSamples"] == [len(PICTURES) - n] and side["Parts"] == 1
    assert side["DegreesOfFreedom"] == n - 2
    every = json.loads(
        path_of(out, "every", "stat-t_desc-features+synthesized_statmap.json").read_text()
    )
    assert every["Parts"] == 2 and len(every["TrainingSamples"]) == 2


def test_what_is_done_is_not_done_again_and_what_changed_is(done, monkeypatch):
    tiny, out, *_ = done
    before = tree(out / "sub-01" / "func")
    arguments = (tiny.bids, out, "participant", *OPTIONS, "--features", tiny.features)
    monkeypatch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
    with monkeypatch.context() as patch:
        patch.setattr("bids_encoder.analysis.measured_data.measure", None)
        again = run_app(*arguments, "--synthesize", tiny.folder / "contrasts.json")
    assert again.code == 0 and "3 contrasts done before" in again.said
    assert tree(out / "sub-01" / "func") == before
    content = json.loads(json.dumps(CONTRASTS))
    content["Contrasts"] = content["Contrasts"][1:]
    content["Contrasts"][1]["Weights"] = [-1, 1]
    other = tiny.folder / "other.json"
    other.write_text(json.dumps(content))
    assert run_app(*arguments, "--synthesize", other).code == 0
    after = tree(out / "sub-01" / "func")
    changed = {name for name in before if after[name] != before[name]}
    assert changed and all("contrast-new" in name for name in changed)
    other.unlink()


def test_saved_models_predict_pictures_from_elsewhere_only(done, tmp_path, monkeypatch):
    tiny, out, *_ = done
    monkeypatch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
    arguments = (tiny.bids, out, "participant", *OPTIONS, "--features", tiny.features)
    refused = run_app(*arguments, "--reuse-models", "--synthesize", tiny.folder / "contrasts.json")
    assert refused.code == 2
    for word in ("have learned from pictures", "Conditions.a", "leave out --reuse-models"):
        assert word in refused.said
    names = {"Conditions": CONTRASTS["Conditions"], "Contrasts": CONTRASTS["Contrasts"][2:]}
    path = tiny.folder / "only new.json"
    path.write_text(json.dumps(names))
    assert run_app(*arguments, "--synthesize", path).code == 0
    before = read(out, "new", "effect")
    path_of(out, "new", "stat-t_desc-features+synthesized_statmap.json").unlink()
    end = run_app(*arguments, "--reuse-models", "--synthesize", path)
    assert end.code == 0 and "done before" not in end.said
    np.testing.assert_allclose(read(out, "new", "effect"), before, atol=1e-4)
    path.unlink()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"Contrasts": []}, 65, ["names no contrasts", "contrasts.json"]),
        (
            {
                "Contrasts": [
                    {"Name": "x", "ConditionList": ["half.1", "half.7"], "Weights": [1, -1]}
                ]
            },
            65,
            ["a value that its column does not have", "half", "0, 1"],
        ),
        (
            {"Conditions": {**CONTRASTS["Conditions"], "new a": {"Folder": "nowhere"}}},
            66,
            ["no such folder of pictures", "Conditions.new a.Folder"],
        ),
    ],
)
def test_a_dry_run_finds_what_is_wrong(done, tmp_path, change, code, words):
    tiny, *_ = done
    path = tiny.folder / "contrasts.json"
    kept = path.read_text()
    path.write_text(json.dumps({**CONTRASTS, **change}))
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", *OPTIONS, "--dry-run",
        "--features", tiny.features, "--synthesize", path,
    )  # fmt: skip
    path.write_text(kept)
    assert end.code == code and all(word in end.said for word in words)
    assert "Traceback" not in end.said and not (tmp_path / "out" / "sub-01").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--test-set", "ses=2"], 65, ["cannot be held out", "8 of 20 samples", "contrast every"]),
        (["--synthesize", "{}/new"], 65, ["12 of 12 stimuli have no features", "--network"]),
        (["--hrf", "rank1"], 0, ["measured with the canonical response (spm)", "--hrf rank1"]),
    ],
)
def test_a_dry_run_finds_what_does_not_go_together(done, tmp_path, options, code, words):
    tiny, *_ = done
    options = [one.format(tiny.folder) for one in options]
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", *OPTIONS, "--dry-run",
        "--features", tiny.features, "--synthesize", tiny.folder / "contrasts.json", *options,
    )  # fmt: skip
    assert end.code == code and all(word in end.said for word in words)
    assert "Traceback" not in end.said and not (tmp_path / "out" / "sub-01").exists()


def test_left_out_volumes_and_confounds_reach_the_measured_contrast(
    pristine, app, tmp_path, no_page
):
    """Volumes that are skipped are three times as bright, and all follow the motion."""
    tiny = prepare(pristine, tmp_path / "data")
    for path in tiny.preprocessed.glob("sub-01/ses-*/func/*_space-T1w_desc-preproc_bold.nii.gz"):
        table = path.with_name(path.name.split("_space")[0] + "_desc-confounds_timeseries.tsv")
        data = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
        data[brain()] += 200 * pd.read_table(table).trans_x.to_numpy(np.float32)
        data[..., :4] *= 3
        write_bold(path, data)
    path = tmp_path / "every.json"
    path.write_text(json.dumps({**CONTRASTS, "Contrasts": CONTRASTS["Contrasts"][:1]}))
    arguments = (
        tiny.bids, tmp_path / "out", "participant", *OPTIONS, "--features", tiny.features,
        "-d", tiny.preprocessed, "--space", "T1w", "--confounds", "motion,high_pass",
        "--skip-volumes", 4, "--hrf", "rank1", "--save-weights", "primal", "--synthesize", path,
    )  # fmt: skip
    assert app(*arguments).code == 0
    out = tmp_path / "out"
    expected = true_effect(layer_values()["early"][:-1], FIRST)
    for stat, desc in (("t", "measured"), ("effect", "features+early+synthesized")):
        found = read(out, "every", stat, desc)[truth() == 1]
        assert np.corrcoef(found, expected)[0, 1] > 0.7, desc
    again = app(*arguments)
    assert again.code == 0 and "1 contrast done before" in again.said


def test_our_names_pass_the_extended_schema(done, validate_bids, extended_schema_file):
    _, out, *_ = done
    issues = validate_bids(out, extended_schema_file)
    assert not [one for one in issues if one["severity"] == "error"]
    assert not [one for one in validate_bids(out) if one["severity"] == "error"]


def test_every_picture_of_a_folder_is_predicted(done, monkeypatch):
    tiny, out, *_ = done
    monkeypatch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
    arguments = (
        tiny.bids, out, "participant", *OPTIONS, "--features", tiny.features,
        "--reuse-models", "--synthesize", tiny.folder / "looked at",
    )  # fmt: skip
    folder = tiny.folder / "looked at"
    shutil.copytree(tiny.folder / "new", folder)
    copy = tiny.bids / "stimuli" / PICTURES[0]
    (folder / "set0").mkdir()
    shutil.copy(copy, folder / PICTURES[0])
    table = folder / "stimuli.tsv"
    table.write_text(table.read_text() + f"{PICTURES[0]}\told\n")
    refused = run_app(*arguments)
    assert refused.code == 65 and "have no features in the file" in refused.said
    names = [name[4:] for name in NEW]
    values = {
        layer: np.vstack([own[:-1], NEW_VALUES, own[-1:]]) for layer, own in layer_values().items()
    }
    write_features(tiny.features, [*PICTURES, *names], values)
    end = run_app(*arguments)
    assert end.code == 0 and "have learned from 1 of the 13 pictures" in end.said
    image = nibabel.load(path_of(out, "lookedat", "stat-prediction_desc-*.nii.gz"))
    rows = pd.read_table(path_of(out, "lookedat", "stat-prediction_desc-*.tsv"))
    assert image.shape[3] == len(rows) == 13
    assert rows.filename.tolist() == [*names, PICTURES[0]]
    assert rows.trained.tolist() == [0] * 12 + [1] and rows.kind[0] == "a"
    maps = np.asarray(image.dataobj)
    expected = NEW_VALUES @ readout()
    found = maps[truth() == 1].T[:12]
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, expected.T, strict=True)]
    assert np.median(each) > 0.6
    means = nibabel.load(path_of(out, "lookedat", "stat-mean_desc-*.nii.gz"))
    values = pd.read_table(path_of(out, "lookedat", "stat-mean_desc-*.tsv"))
    assert values.value.tolist() == ["a", "b", "old"] and values.pictures.tolist() == [6, 6, 1]
    np.testing.assert_allclose(
        np.asarray(means.dataobj)[..., 0], maps[..., :6].mean(axis=3), atol=1e-5
    )
    assert "done before" in run_app(*arguments).said
