"""--synthesize and --reuse-models, from the command line."""

from __future__ import annotations

import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest
from tiny_dataset import Tiny, brain, run_app, write_pictures, write_tiny

from bids_encoder.derivatives.seals import sealed
from bids_encoder.experiments import retinotopy
from bids_encoder.report.participant import write_report

ONE = (
    "--participant-label", "01", "--n-permutations", 0, "--no-neural-code",
    "--layers", "stage1", "stage3", "--save-weights",
)  # fmt: skip
RETINOTOPY = ("--synthesize", "retinotopy")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One picture behind the wedges, and no page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retinotopy, "N_CARRIERS", 1)
        patch.setattr("bids_encoder.app.participant_level.write_report", lambda *args: "left out")
        yield


def read(out, stat):
    [path] = (out / "sub-01" / "func").glob(f"*_stat-{stat}_desc-efficientnetlite0+retinotopy*.gz")
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A continuous dataset, fitted, and retinotopy synthesized in the same run."""
    folder = tmp_path_factory.mktemp("models")
    tiny = write_tiny(folder / "data", continuous=True)
    end = run_app(
        tiny.bids, folder / "out", "participant", *ONE, "dual", *RETINOTOPY, "-w", folder / "work"
    )
    assert end.code == 0
    return tiny, folder, end


@pytest.fixture
def without_bold(fitted, tmp_path):
    """The models and the pictures alone: ``(tiny, out, work)``."""
    tiny, folder, _ = fitted
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "raw" / "sub-01")
    func = tmp_path / "out" / "sub-01" / "func"
    func.mkdir(parents=True)
    for path in (folder / "out" / "sub-01" / "func").glob("*_weights.*"):
        shutil.copy(path, func)
    return Tiny(tmp_path / "data"), tmp_path / "out", folder / "work"


def again(tiny, out, work, *options):
    return run_app(
        tiny.bids, out, "participant", *ONE[4:], "dual", *RETINOTOPY, "--reuse-models", "-w", work,
        *options,
    )  # fmt: skip


def test_maps_are_written_and_say_what_they_are(fitted):
    _, folder, end = fitted
    out = folder / "out"
    angle, f, eccentricity = read(out, "angle"), read(out, "F"), read(out, "eccentricity")
    assert np.isfinite(angle[brain()]).all() and np.isnan(angle[~brain()]).all()
    assert np.abs(angle[brain()]).max() <= 180
    assert (f[brain()] >= 0).all()
    assert np.nanmin(eccentricity) > 0 and np.nanmax(eccentricity) <= 1
    [sidecar] = out.rglob("*_stat-angle_*.json")
    content = json.loads(sidecar.read_text())
    assert "0: right horizontal meridian; counter-clockwise" in content["Description"]
    assert content["Units"] == "degrees" and content["Layers"] == ["stage1", "stage3"]
    assert all("_weights.h5" in source for source in content["Sources"])
    assert "retinotopy: " in end.said


def test_the_page_shows_the_maps_of_these_models_only(fitted, tmp_path):
    _, folder, _ = fitted
    shutil.copytree(folder / "out", tmp_path / "out")
    page = write_report(tmp_path / "out", "01").read_text()
    assert "Synthesized retinotopy, task look" in page and "Eccentricity" in page
    figures = {path.name for path in (tmp_path / "out" / "sub-01" / "figures").iterdir()}
    for what in ("angle", "eccentricity", "wedges"):
        assert any(f"retinotopy{what}_" in name for name in figures)
    [path] = (tmp_path / "out").rglob("*_stat-F_*.json")
    content = json.loads(path.read_text())
    content["Settings"]["models"] = ["of another fit"]
    path.write_text(json.dumps(sealed(content)))
    page = write_report(tmp_path / "out", "01").read_text()
    assert "Synthesized retinotopy" not in page


def test_mostly_uniform_pictures_are_warned_of(caplog):
    bar = np.zeros((20, 20, 3), np.uint8)
    bar[8:11] = 255
    with caplog.at_level("WARNING", "bids_encoder"):
        retinotopy._warn_of_uniform([bar] * 3)
    assert "mostly uniform (85%" in caplog.text and "--carrier-images" in caplog.text
    caplog.clear()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    with caplog.at_level("WARNING", "bids_encoder"):
        retinotopy._warn_of_uniform([noise] * 3)
    assert not caplog.text


def test_a_second_run_skips_and_other_settings_do_not(fitted):
    tiny, folder, _ = fitted
    base = (tiny.bids, folder / "out", "participant", *ONE, "dual", "-w", folder / "work")
    assert "retinotopy is there already" in run_app(*base, *RETINOTOPY).said
    end = run_app(*base, *RETINOTOPY, "--stimulus-degrees", 20)
    assert end.code == 0 and "is there already, with the same models" not in end.said
    [sidecar] = (folder / "out").rglob("*_stat-eccentricity_*.json")
    assert json.loads(sidecar.read_text())["Units"] == "degrees of visual angle"
    assert 1 < np.nanmax(read(folder / "out", "eccentricity")) <= 10
    assert run_app(*base, *RETINOTOPY).code == 0  # as it was for the other tests


def test_models_travel_without_the_bold(fitted, without_bold):
    _, folder, _ = fitted
    tiny, out, work = without_bold
    assert "planned" in again(tiny, out, work, "--dry-run").said
    assert not list(out.glob("*.json"))
    assert again(tiny, out, work).code == 0
    for stat in ("angle", "F", "eccentricity"):
        np.testing.assert_array_equal(read(out, stat), read(folder / "out", stat))


def test_pictures_may_be_gone_where_their_features_are_cached(fitted, without_bold, tmp_path):
    _, folder, _ = fitted
    tiny, out, work = without_bold
    shutil.rmtree(tiny.bids / "stimuli")
    write_pictures(tmp_path / "others", ["a.png"])
    end = again(tiny, out, work, "--carrier-images", tmp_path / "others")
    assert end.code == 0
    # Without the cache nothing is left to predict from, nor are there pictures by default.
    end = again(tiny, out, tmp_path / "empty", "--carrier-images", tmp_path / "others")
    assert end.code == 66
    assert "nor are their features in the cache" in end.said and "-w" in end.said
    end = again(tiny, out, work)
    assert end.code == 66 and "--carrier-images" in end.said


def test_primal_models_need_no_pictures_and_predict_alike(fitted, tmp_path):
    tiny, folder, _ = fitted
    base = (tiny.bids, tmp_path / "out", "participant")
    assert run_app(*base, *ONE, "primal", "-w", folder / "work").code == 0
    carriers = tmp_path / "carriers"
    write_pictures(carriers, ["a.png"])
    options = ("--carrier-images", carriers, *RETINOTOPY, "--reuse-models", "-w")
    shutil.copytree(folder / "out", tmp_path / "dual")
    shutil.copytree(tiny.folder, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "raw" / "stimuli")
    for out in (tmp_path / "out", tmp_path / "dual"):
        work = tmp_path / "new" if out.name == "out" else folder / "work"
        end = run_app(
            tmp_path / "data" / "raw", out, "participant", *ONE[4:], "dual", *options, work
        )
        assert end.code == 0
    maps = [read(folder, "F") for folder in (tmp_path / "out", tmp_path / "dual")]
    np.testing.assert_allclose(*maps, rtol=0.02)


def test_changed_pictures_are_refused(without_bold):
    tiny, out, work = without_bold
    write_pictures(tiny.bids / "stimuli", ["set0/picture00.png"], side=20)
    end = again(tiny, out, work)
    assert end.code == 65
    assert "set0/picture00.png" in end.said and "not those that the model was fitted" in end.said
    assert not list(out.rglob("*statmap*"))


def test_another_network_is_refused(without_bold):
    tiny, out, work = without_bold
    for path in out.rglob("*_weights.h5"):
        name = path.name.replace("efficientnetlite0", "efficientnetlite0untrained")
        path.rename(path.with_name(name))
    end = again(tiny, out, work, "--untrained")
    assert end.code == 65
    assert "fitted with other features" in end.said and "weights" in end.said


def test_a_damaged_model_is_refused(without_bold):
    tiny, out, work = without_bold
    [path] = out.rglob("*stage3_weights.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:])
    end = again(tiny, out, work)
    assert end.code == 65 and str(path) in end.said and "damaged since" in end.said
    path.write_bytes(whole)
    path.with_name(path.name.replace(".h5", ".json")).unlink()
    end = again(tiny, out, work)
    assert end.code == 0 and f"{path.name} came without its sidecar" in end.said
    with h5py.File(path, "a") as file:
        del file["stamps"]
    end = again(tiny, out, work)
    assert end.code == 65 and str(path) in end.said and "earlier version" in end.said
    path.unlink()
    end = again(tiny, out, work)
    assert end.code == 66 and str(path) in end.said


def test_without_saved_models(fitted, tmp_path):
    tiny, folder, _ = fitted
    end = again(tiny, tmp_path / "out", folder / "work")
    assert end.code == 66
    assert "no saved models" in end.said and "without --reuse-models" in end.said
    assert not (tmp_path / "out").exists()
    shutil.copytree(folder / "out", tmp_path / "out")
    end = again(tiny, tmp_path / "out", folder / "work", "--task-id", "rest")
    assert end.code == 66 and "of the task rest" in end.said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--reuse-models",), "nothing is asked of them"),
        ((*RETINOTOPY, "--save-weights", "none"), "leave out --save-weights none"),
        ((*RETINOTOPY, "--surround", "256"), "from 0 to 255"),
        ((*RETINOTOPY, "--stimulus-degrees", "0"), "above 0"),
        (("--synthesize", "meridians"), "no such experiment"),
        ((*RETINOTOPY, "--synthesis-layers", "stage7"), "stage1, stage3"),
    ],
)
def test_options_that_do_not_go_together(fitted, tmp_path, options, words):
    tiny, *_ = fitted
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", *ONE, "dual", *options, "--dry-run",
        "-w", tmp_path,
    )  # fmt: skip
    assert end.code == 2 and words in end.said


def test_features_computed_elsewhere_cannot_see_wedges(pristine, tmp_path):
    end = run_app(
        pristine.bids, tmp_path / "out", "participant", "--features", pristine.features, *RETINOTOPY
    )
    assert end.code == 2 and "--features" in end.said and not (tmp_path / "out").exists()


@pytest.mark.parametrize("made", ["nothing", "empty", "file"])
def test_carriers_that_are_not_there(fitted, tmp_path, made):
    tiny, *_ = fitted
    folder = tmp_path / "carriers"
    if made == "empty":
        folder.mkdir()
    elif made == "file":
        folder.write_text("no folder")
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", *ONE, "dual", *RETINOTOPY, "--dry-run",
        "--carrier-images", folder, "-w", tmp_path,
    )  # fmt: skip
    assert end.code == (65 if made == "file" else 66)
    assert str(folder) in end.said and "--carrier-images" in end.said


def test_models_remember_their_test_set_and_removed_ones_come_back(pristine, tmp_path):
    out = tmp_path / "out"
    options = ("--participant-label", "01", "--features", pristine.features, "--no-neural-code")
    base = (pristine.bids, out, "participant", *options, "--test-set", "ses=2")
    assert run_app(*base).code == 0
    paths = sorted(out.rglob("*_weights.h5"))
    with h5py.File(paths[0]) as file:
        seen, unseen = (set(file[name].asstr()[:]) for name in ("stimuli", "unseen"))
        assert len(file["stamps"]) == len(file["stimuli"])
    assert len(unseen) == 20 and not seen & unseen
    paths[0].unlink()
    assert run_app(*base).code == 0
    assert paths[0].exists()
