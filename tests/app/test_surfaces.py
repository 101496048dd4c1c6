"""The app on surfaces: the tiny dataset's time series as GIFTI and CIFTI."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
from nibabel.cifti2 import ScalarAxis
from tiny_dataset import LAYERS, TASK, Tiny, run_app, tree
from tiny_meshes import write_gifti
from tiny_surfaces import HALF, N, add_surfaces, axis, write_cifti

from bids_encoder.derivatives.read import find_analyses

QUICK = ("--no-neural-code", "--n-permutations", "100", "--participant-label", "01")
REPORT = "bids_encoder.app.participant_level.write_report"


@pytest.fixture(scope="module")
def surfaces(pristine, tmp_path_factory) -> Tiny:
    """The dataset with surfaces, which nobody changes."""
    folder = tmp_path_factory.mktemp("surfaces")
    shutil.copytree(pristine.folder, folder / "data")
    tiny = Tiny(folder / "data")
    add_surfaces(tiny)
    return tiny


@pytest.fixture(scope="module")
def finished(surfaces, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Participant 01 on both kinds of surface and as a volume; the output and what was said."""
    out, said = tmp_path_factory.mktemp("out") / "out", {}
    for space in ("fsnative", "fsLR", "T1w"):
        with pytest.MonkeyPatch.context() as patch:
            if space != "fsnative":  # pages take half of the time
                patch.setattr(REPORT, lambda *args: "left out")
            end = run_app(*command(surfaces, out, space))
        assert end.code == 0, end.said
        said[space] = end.said
    return out, said


def command(tiny: Tiny, out: Path, space: str, *more):
    return (
        tiny.bids, out, "participant", "-d", tiny.preprocessed, "--space", space,
        "--features", tiny.features, *QUICK, *more,
    )  # fmt: skip


def analysis_in(out: Path, space: str):
    [one] = [w for w in find_analyses(out, ["01"]) if w.names["space"] == space]
    return one


def values(out: Path, space: str, kind: str, layer: str | None = None) -> np.ndarray:
    one = analysis_in(out, space)
    return one.grid().values_of(one.images(kind, layer))


def test_the_same_values_have_the_same_scores_on_surfaces_as_in_a_volume(finished):
    out, _ = finished
    for layer in LAYERS:
        for kind in ("r", "r2"):
            expected = values(out, "T1w", kind, layer)
            assert np.isfinite(expected).any()
            for space in ("fsnative", "fsLR"):
                found = values(out, space, kind, layer)
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_files_are_named_and_made_as_their_formats_want(finished):
    func = finished[0] / "sub-01" / "func"
    start = f"sub-01_task-{TASK}"
    left = nibabel.load(
        func / f"{start}_hemi-L_space-fsnative_stat-slope_desc-features_statmap.func.gii"
    )
    assert left.darrays[0].data.shape == (N,) and np.isnan(left.darrays[0].data[HALF:]).all()
    labels = nibabel.load(
        func / f"{start}_hemi-R_space-fsnative_desc-features+bestlayer_dseg.label.gii"
    )
    assert [one.label for one in labels.labeltable.labels] == ["???", *LAYERS]
    dense = nibabel.load(
        func / f"{start}_space-fsLR_den-91k_stat-slope_desc-features_statmap.dscalar.nii"
    )
    assert dense.shape == (1, 2 * N) and dense.header.get_axis(1) == axis()
    named = nibabel.load(
        func / f"{start}_space-fsLR_den-91k_desc-features+bestlayer_dseg.dlabel.nii"
    )
    assert [name for name, _ in named.header.get_axis(0).label[0].values()] == ["???", *LAYERS]
    sidecar = json.loads(
        (func / f"{start}_hemi-L_space-fsnative_desc-analysis_mask.json").read_text()
    )
    assert sidecar["Surfaces"]["drawn"]["R"].endswith("sub-01_hemi-R_inflated.surf.gii")
    assert any("midthickness" in source for source in sidecar["Sources"])


def test_the_validator_finds_no_error(finished, validate_bids):
    assert not [one for one in validate_bids(finished[0]) if one["severity"] == "error"]


def test_maps_are_drawn_on_the_inflated_surface(finished):
    figures = {path.name for path in (finished[0] / "sub-01" / "figures").iterdir()}
    assert {f"sub-01_task-{TASK}_space-fsnative_desc-features+{name}_figure.png"
            for name in ("r", "profile", "bestlayer", "slope")} <= figures  # fmt: skip


def test_medial_wall_and_meshes_are_mentioned(finished):
    assert "324 vertices" in finished[1]["fsnative"] and "medial wall" in finished[1]["fsnative"]
    assert "3 layers × 160 vertices" in finished[1]["fsnative"]
    assert "voxels" not in finished[1]["fsnative"]
    assert "meshes   prep: meshes of sub-01" in finished[1]["fsLR"]


def test_a_second_run_does_what_is_missing_of_one_hemisphere(surfaces, finished, tmp_path, no_page):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    before = tree(out / "sub-01" / "func")
    assert "all is there already" in run_app(*command(surfaces, out, "fsnative")).said
    [right] = (out / "sub-01" / "func").glob(
        "*_hemi-R_*_stat-r_desc-features+early_statmap.func.gii"
    )
    right.unlink()
    [scores] = right.parent.glob("*_space-fsnative_*_scores.json")  # stopped before the end
    scores.unlink()
    end = run_app(*command(surfaces, out, "fsnative"))
    assert end.code == 0 and end.said.count("done before") == 2
    assert tree(out / "sub-01" / "func") == before


def test_group_maps_of_surfaces(surfaces, finished, tmp_path, no_page):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    assert run_app(*command(surfaces, out, "fsLR", "--participant-label", "02")).code == 0
    end = run_app(surfaces.bids, out, "group", "--space", "fsLR")
    assert end.code == 0, end.said
    [mean] = (out / "tpl-fsLR" / "func").glob("*_stat-slope+mean_*_statmap.dscalar.nii")
    found = np.asarray(nibabel.load(mean).dataobj)[0]
    ours = [one for one in find_analyses(out) if one.names["space"] == "fsLR"]
    each = [np.asarray(nibabel.load(one.path("slope")).dataobj)[0] for one in ours]
    assert len(each) == 2 and np.isfinite(found).any()
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-6)
    assert list((out / "tpl-fsLR" / "func").glob("*+bestlayer_dseg.dlabel.nii"))
    assert list((out / "figures").glob("*_space-fsLR_den-91k_*+slope_figure.png"))


# Regions


def test_an_atlas_on_the_surface_has_fingerprints(surfaces, tmp_path, no_page):
    for side in "LR":
        path = tmp_path / f"hemi-{side}_desc-halves_dseg.label.gii"
        labels = np.where(np.arange(N) < 40, 1, 2)
        image = nibabel.GiftiImage(darrays=[
            nibabel.gifti.GiftiDataArray(labels.astype(np.int32), intent="NIFTI_INTENT_LABEL")
        ])  # fmt: skip
        for key, name in ((1, "front"), (2, "back")):
            label = nibabel.gifti.GiftiLabel(key)
            label.label = name
            image.labeltable.labels.append(label)
        nibabel.save(image, path)
    out = tmp_path / "out"
    end = run_app(*command(surfaces, out, "fsnative", "--atlas", path))
    assert end.code == 0, end.said
    [table] = (out / "sub-01" / "func").glob("*_atlas-halves_*_fingerprint.tsv")
    rows = pandas.read_table(table)
    assert set(rows["region"]) == {"L front", "L back", "R front", "R back"}
    assert rows.set_index("region").loc["L front", "voxels"].iloc[0] == 40


# Bad input


@pytest.fixture
def broken(surfaces, tmp_path) -> Tiny:
    shutil.copytree(surfaces.folder, tmp_path / "data")
    return Tiny(tmp_path / "data")


def bold_of(tiny: Tiny, end: str, session: str = "1") -> Path:
    [path] = (tiny.preprocessed / "sub-01" / f"ses-{session}" / "func").glob(f"*{end}")
    return path


def fails(tiny: Tiny, space: str, code: int, *said: str, options=()) -> None:
    end = run_app(*command(tiny, tiny.folder / "out", space, "--dry-run", *options))
    assert end.code == code, end.said
    for words in said:
        assert words in end.said
    assert "Traceback" not in end.said


def test_a_hemisphere_that_is_missing(broken):
    path = bold_of(broken, "hemi-R_space-fsnative_bold.func.gii")
    path.unlink()
    fails(broken, "fsnative", 66, path.name, "one hemisphere only", "--bids-filter-file")


def test_one_hemisphere_alone_where_it_is_asked_for(broken, tmp_path, no_page):
    bold_of(broken, "hemi-R_space-fsnative_bold.func.gii").unlink()
    filters = tmp_path / "filters.json"
    filters.write_text(json.dumps({"bold": {"hemi": "L"}}))
    out = tmp_path / "out"
    end = run_app(*command(broken, out, "fsnative", "--bids-filter-file", filters))
    assert end.code == 0, end.said
    one = analysis_in(out, "fsnative")
    assert one.names["hemi"] == "L" and one.grid().n_values == HALF
    assert not list(out.rglob("*hemi-R*"))


def test_hemispheres_of_different_lengths(broken):
    path = bold_of(broken, "hemi-R_space-fsnative_bold.func.gii")
    write_gifti(path, np.ones((50, N)))
    fails(broken, "fsnative", 65, path.name, "50 volumes", "80", "preprocess the run again")


def test_runs_on_different_meshes(broken):
    path = bold_of(broken, "hemi-R_space-fsnative_bold.func.gii", session="2")
    write_gifti(path, np.ones((80, N + 5)))
    fails(broken, "fsnative", 65, "ses-2", "different meshes", "167 vertices", "--space")


@pytest.mark.parametrize(
    ("arrays", "intent"),
    [([np.ones(N)], "NIFTI_INTENT_SHAPE"), ([np.ones(N, int)] * 3, "NIFTI_INTENT_LABEL")],
)
def test_a_gifti_that_is_no_time_series(broken, arrays, intent):
    path = bold_of(broken, "hemi-L_space-fsnative_bold.func.gii")
    write_gifti(path, arrays, intent)
    fails(broken, "fsnative", 65, path.name, "not a series", intent, "--bids-filter-file")


def test_a_gifti_that_ends_early(broken):
    path = bold_of(broken, "hemi-L_space-fsnative_bold.func.gii")
    path.write_bytes(path.read_bytes()[:-5000])
    fails(broken, "fsnative", 65, path.name, "closing tag", "get the file again")


def test_a_gifti_that_points_to_other_files(broken):
    path = bold_of(broken, "hemi-L_space-fsnative_bold.func.gii")
    text = path.read_text().replace("GZipBase64Binary", "ExternalFileBinary")
    path.write_text(text)
    fails(broken, "fsnative", 65, path.name, "refers to other files", "wb_command")


def test_a_gifti_with_another_repetition_time(broken):
    path = bold_of(broken, "hemi-L_space-fsnative_bold.func.gii")
    path.with_name(path.name.replace(".func.gii", ".json")).write_text('{"RepetitionTime": 1.5}')
    fails(broken, "fsnative", 65, path.name, "1.5 s in the sidecar, 2000 (msec)", "mend the other")


def test_a_cifti_of_another_kind(broken):
    path = bold_of(broken, "_bold.dtseries.nii")
    write_cifti(path, np.ones((2, 2 * N)), ScalarAxis(["a", "b"]))
    fails(broken, "fsLR", 65, path.name, "2 Scalar × 324 BrainModel", "Series", "filter-file")


def test_a_cifti_that_ends_early(broken):
    path = bold_of(broken, "_bold.dtseries.nii")
    path.write_bytes(path.read_bytes()[:-5000])
    fails(broken, "fsLR", 65, path.name, "truncated or damaged", "get the file again")


def test_a_volume_with_the_name_of_a_cifti(broken):
    path = bold_of(broken, "_bold.dtseries.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3, 4), np.float32), np.eye(4)), path)
    fails(broken, "fsLR", 65, path.name, "not CIFTI", "filter-file")


def test_a_volume_atlas_for_surfaces(broken, tmp_path):
    atlas = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.int16), np.eye(4)), atlas)
    fails(broken, "fsnative", 2, "a.nii.gz", "another space", options=("--atlas", atlas))


def test_an_atlas_without_its_other_hemisphere(broken, tmp_path):
    atlas = write_gifti(tmp_path / "lh.a.label.gii", [np.ones(N, int)], "NIFTI_INTENT_LABEL")
    fails(broken, "fsnative", 66, "rh.a.label.gii", "hemisphere", options=("--atlas", atlas))


def test_without_meshes_nothing_is_smoothed_and_that_is_said(broken, tmp_path):
    shutil.rmtree(broken.preprocessed / "sub-01" / "anat")
    out = tmp_path / "out"
    end = run_app(*command(broken, out, "fsnative"))
    assert end.code == 0 and "No mesh of the surface fsnative" in end.said
    assert not list((out / "sub-01" / "figures").glob("*bestlayer*"))
