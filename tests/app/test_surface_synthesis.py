"""--synthesize on surfaces: the same values as in a volume, in the format of the BOLD."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from tiny_contrasts import CONTRASTS, NEW, NEW_VALUES, PICTURES, prepare
from tiny_dataset import TASK, Tiny, layer_values, run_app, write_features
from tiny_surfaces import HALF, N, add_surfaces, axis

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.images import read_images
from bids_encoder.derivatives.read import find_analyses
from bids_encoder.errors import DataError
from bids_encoder.experiments import retinotopy, saved_models
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.features.store import Features
from bids_encoder.report.participant import write_report
from bids_encoder.synthesis.model_file import read_model

SPACES = ("T1w", "fsnative", "fsLR")
LAYERS = ("early", "late")
RETINOTOPY = ("--synthesize", "retinotopy", "--reuse-models")


class Shown:
    """Features of wedges and rings, without a network: random, the same for every space."""

    def load(self, layer, stimuli=None):
        random = np.random.default_rng(len(layer))
        values = random.standard_normal((len(stimuli), NEW_VALUES.shape[1]))
        return Features(layer, tuple(stimuli), values.astype(np.float32))


@pytest.fixture(scope="module", autouse=True)
def quick():
    """No page, no figures of pictures, and wedges and rings that no network looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
        patch.setattr("bids_encoder.app.participant_level.write_stimuli_figure", lambda *args: None)
        patch.setattr(retinotopy, "write_examples", lambda *args: None)
        patch.setattr(retinotopy, "N_CARRIERS", 1)
        patch.setattr(retinotopy, "check", lambda settings: None)
        patch.setattr(ExperimentContext, "show", lambda self, pictures: Shown())
        yield


def command(tiny: Tiny, out: Path, space: str, *more):
    return (
        tiny.bids, out, "participant", "-d", tiny.preprocessed, "--space", space,
        "--features", tiny.features, "--participant-label", "01", "--n-permutations", 0,
        "--no-neural-code", "--layers", *LAYERS, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(pristine, tmp_path_factory):
    """Contrasts, predictions of a folder, and retinotopy, in three spaces."""
    folder = tmp_path_factory.mktemp("synthesis")
    tiny = prepare(pristine, folder / "data")
    add_surfaces(tiny)
    contrasts = [CONTRASTS["Contrasts"][0], CONTRASTS["Contrasts"][2]]
    (tiny.folder / "contrasts.json").write_text(json.dumps({**CONTRASTS, "Contrasts": contrasts}))
    values = {
        layer: np.vstack([own[:-1], NEW_VALUES, NEW_VALUES, own[-1:]])
        for layer, own in layer_values().items()
    }
    # In the file of contrasts the new pictures are in new/, in their folder they are not.
    write_features(tiny.features, [*PICTURES, *NEW, *(name[4:] for name in NEW)], values)
    shown = ("--synthesize", tiny.folder / "contrasts.json", tiny.folder / "new")
    for space in SPACES:
        end = run_app(*command(tiny, folder / "out", space, *shown))
        assert end.code == 0, end.said
        if space != "T1w":
            end = run_app(*command(tiny, folder / "out", space, *RETINOTOPY))
            assert end.code == 0, end.said
    return tiny, folder / "out"


def analysis_in(out: Path, space: str):
    [one] = [one for one in find_analyses(out, ["01"]) if one.names["space"] == space]
    return one


def files(out: Path, space: str, kind: str, **names) -> dict:
    one = analysis_in(out, space)
    return file_names.image_files(out, kind, {**one.names, **names})


def values(out: Path, space: str, kind: str, **names) -> np.ndarray:
    return analysis_in(out, space).grid().values_of(read_images(files(out, space, kind, **names)))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("synthesized_effect", {"contrast": "every"}),
        ("synthesized_t", {"contrast": "every", "layer": "early"}),
        ("synthesized_t", {"contrast": "new"}),
        ("measured_effect", {"contrast": "every"}),
        ("measured_t", {"contrast": "every"}),
        ("agreement", {"contrast": "every"}),
    ],
)
def test_contrasts_are_those_of_a_volume_with_the_same_values(done, kind, names):
    _, out = done
    expected = values(out, "T1w", kind, **names)
    assert np.isfinite(expected).any() and np.ptp(expected[np.isfinite(expected)]) > 0
    for space in SPACES[1:]:
        found = values(out, space, kind, **names)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_predictions_of_a_folder_are_maps_of_one_file(done):
    _, out = done
    volumes = np.asarray(
        nibabel.load(files(out, "T1w", "prediction", contrast="new")[None]).dataobj
    )
    expected = volumes[analysis_in(out, "T1w").grid().inside].T
    names = [name[4:] for name in NEW]
    sides = {
        side: nibabel.load(path)
        for side, path in files(out, "fsnative", "prediction", contrast="new").items()
    }
    found = np.hstack([[a.data[:HALF] for a in sides[side].darrays] for side in "LR"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [one.meta["Name"] for one in sides["R"].darrays] == names
    assert np.isnan(sides["L"].darrays[3].data[HALF:]).all()
    dense = nibabel.load(files(out, "fsLR", "prediction", contrast="new")[None])
    assert list(dense.header.get_axis(0).name) == names and dense.header.get_axis(1) == axis()
    inside = np.r_[:HALF, N : N + HALF]
    np.testing.assert_allclose(np.asarray(dense.dataobj)[:, inside], expected, atol=1e-5)
    for space, form in zip(SPACES[1:], ("gifti", "cifti"), strict=True):
        names = {**analysis_in(out, space).names, "contrast": "new", "form": form}
        for kind, rows in (("prediction", 12), ("prediction_mean", 2)):
            table = file_names.output_path(out, kind, names, ".tsv")
            assert len(pd.read_table(table)) == rows


def test_tables_of_precision_and_recall_are_alike(done):
    _, out = done
    tables = [
        pd.read_table(
            file_names.output_path(
                out, "precisionrecall", {**analysis_in(out, space).names, "contrast": "every"}
            )
        )
        for space in SPACES
    ]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other, tables[0], rtol=1e-3)


def test_retinotopy_is_smoothed_along_the_surface(done):
    _, out = done
    for kind in ("angle", "eccentricity", "retinotopy_f"):
        gifti, cifti = (values(out, space, kind) for space in SPACES[1:])
        assert np.isfinite(gifti).sum() > HALF
        np.testing.assert_allclose(gifti, cifti, rtol=1e-4, atol=1e-3)
    side = json.loads(
        file_names.sidecars(out, "angle", analysis_in(out, "fsnative").names)[0].read_text()
    )
    assert side["Smoothing"].endswith("along the surface")
    assert "SkullStripped" not in side


def test_models_travel_and_their_meshes_are_found_again(done, tmp_path):
    tiny, out = done
    for folder, derivatives in (("with", True), ("without", False)):
        func = tmp_path / folder / "sub-01" / "func"
        func.mkdir(parents=True)
        for space in SPACES[1:]:
            for path in (out / "sub-01" / "func").glob(f"*_space-{space}_*_weights.*"):
                shutil.copy(path, func)
        found = tmp_path / folder
        arguments = [*command(tiny, found, "fsnative", *RETINOTOPY)]
        arguments[6:7] = SPACES[1:]
        if not derivatives:
            del arguments[3:5]
        end = run_app(*arguments)
        assert end.code == 0, end.said
        assert end.said.count("predicted maps are not smoothed") == (0 if derivatives else 2)
        sides = [
            read_images({side: found / path.relative_to(out) for side, path in
                         files(out, space, "angle").items()})
            for space in SPACES[1:]
        ]  # fmt: skip
        for space, images in zip(SPACES[1:], sides, strict=True):
            angles = analysis_in(out, space).grid().values_of(images)
            same = np.allclose(angles, values(out, space, "angle"), atol=1e-3, equal_nan=True)
            assert same is derivatives


def test_meshes_are_remembered_by_the_mask(done):
    tiny, out = done
    copy = out.with_name("remembered")  # datasets are named relative to it
    shutil.copytree(out, copy)
    arguments = list(command(tiny, copy, "fsnative", *RETINOTOPY))
    del arguments[3:5]  # -d
    end = run_app(*arguments)
    assert end.code == 0 and "retinotopy is there already" in end.said


def test_what_is_done_is_not_done_again(done):
    tiny, out = done
    shown = ("--synthesize", tiny.folder / "contrasts.json", tiny.folder / "new", "retinotopy")
    end = run_app(*command(tiny, out, "fsnative", *shown))
    assert end.code == 0
    assert "contrasts are there already" in end.said and "retinotopy is there" in end.said
    assert "pictures of new are there already" in end.said


def test_names_are_those_of_bids(done, validate_bids):
    _, out = done
    assert not [one for one in validate_bids(out) if one["severity"] == "error"]


def test_the_page_shows_them_on_the_inflated_surface(done):
    _, out = done
    copy = out.with_name("page")
    shutil.copytree(out, copy)
    for path in (copy / "sub-01" / "func").glob("*_scores.json"):
        if "fsnative" not in path.name:
            path.unlink()  # one page is enough
    page = write_report(copy, "01").read_text()
    for title in ("Synthesized retinotopy, task look", "Contrast every", "Measured and synth"):
        assert title in page
    figures = {path.name for path in (copy / "sub-01" / "figures").iterdir()}
    for what in ("retinotopyangle", "retinotopyeccentricity", "contrastevery", "contrastnew"):
        assert f"sub-01_task-{TASK}_space-fsnative_desc-features+{what}_figure.png" in figures


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("vertices", lambda v: v[::-1], ["'vertices'", "rising"]),
        ("mesh_sizes", lambda v: v // 4, ["'vertices'", "rising, below 40"]),
        ("structure", lambda v: np.sort(v)[::-1], ["'structure'", "other numbers"]),
    ],
)
def test_a_damaged_model_of_a_surface_is_refused(done, tmp_path, name, change, said):
    tiny, out = done
    func = tmp_path / "out" / "sub-01" / "func"
    func.mkdir(parents=True)
    for path in (out / "sub-01" / "func").glob("*_space-fsnative_*_weights.*"):
        shutil.copy(path, func)
    [path] = func.glob("*early_weights.h5")
    with h5py.File(path, "a") as file:
        file[name][:] = change(file[name][:])
    path.with_name(path.name.replace(".h5", ".json")).unlink()  # which would say so at once
    end = run_app(*command(tiny, tmp_path / "out", "fsnative", *RETINOTOPY))
    assert end.code == 65 and "Traceback" not in end.said
    for word in (str(path), *said, "remove the file"):
        assert word in end.said


def test_a_cifti_model_without_its_axis_is_refused(done, tmp_path):
    """An earlier version wrote such: they look like GIFTI."""
    [path] = (done[1] / "sub-01" / "func").glob("*_space-fsLR_*early_weights.h5")
    old = Path(shutil.copy(path, tmp_path))
    assert saved_models._form(read_model(old), {"form": "cifti"}) == "cifti"
    with h5py.File(old, "a") as file:
        for name in ("grayordinates", "frame_sizes", "frame_vertices"):
            del file[name]
    with pytest.raises(DataError, match="does not lie where the BOLD does") as caught:
        saved_models._form(read_model(old), {"form": "cifti"})
    assert str(old) in str(caught.value) and "remove the file" in str(caught.value)
