"""Regions of interest, from the files to the fingerprints."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tiny_dataset import AFFINE, LAYERS, SHAPE, SPACE, TASK, Tiny, brain, run_app, tree, truth

from bids_encoder.app import cli
from bids_encoder.bids.dataset import find_runs, open_dataset
from bids_encoder.derivatives.read import find_analyses, read_fingerprints
from bids_encoder.derivatives.seals import sealed
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.regions.load import find_regions, load_regions

QUICK = ("--no-neural-code", "--n-permutations", "0", "--save-weights", "none")
TABLE = "index\tname\n1\tfront\n3\tback\n"


def write_labels(path: Path, labels=None, table: str | None = TABLE, affine=AFFINE) -> Path:
    """A label image (default: the true regions) and, beside it, its table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(truth() if labels is None else labels)
    kind = values.dtype if values.dtype.kind == "f" else np.int16
    nibabel.Nifti1Image(values.astype(kind), affine).to_filename(path)
    if table is not None:
        path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(table)
    return path


def anat(tiny: Tiny, name: str, *args, **keywords) -> Path:
    return write_labels(tiny.preprocessed / "sub-01" / "anat" / f"sub-01_{name}", *args, **keywords)


def settings_of(tiny: Tiny, *options, space: str | None = SPACE):
    chosen = ("--space", space) if space else ()
    line = [tiny.bids, tiny.folder / "out", "participant", "-d", tiny.preprocessed, *chosen]
    return cli.parse([str(word) for word in (*line, *options)])


def found_in(tiny: Tiny, *options, space: str | None = SPACE):
    settings = settings_of(tiny, *options, space=space)
    dataset = open_dataset(tiny.bids, participants=["01"], derivatives=[tiny.preprocessed])
    return find_regions(settings, dataset, "01", find_runs(dataset, "01", space=space))


def grid():
    return VolumeGrid(nibabel.Nifti1Image(brain().astype(np.uint8), AFFINE))


# From the command line to the tables


@pytest.fixture(scope="module")
def finished(pristine, tmp_path_factory):
    """A run whose derivatives have a segmentation with the two true regions."""
    folder = tmp_path_factory.mktemp("regions")
    shutil.copytree(pristine.folder, folder / "data")
    tiny = Tiny(folder / "data")
    anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz")
    line = (
        tiny.bids, folder / "out", "participant", "--participant-label", "01", "-w", folder / "w",
        "-d", tiny.preprocessed, "--space", SPACE, "--features", tiny.features, *QUICK,
    )  # fmt: skip
    end = run_app(*line)
    assert end.code == 0
    return tiny, folder / "out", line


def tables_of(out: Path):
    [written] = find_analyses(out, ["01"])
    return {atlas: read_fingerprints(path) for atlas, path in written.fingerprints().items()}


def test_each_region_peaks_at_the_layer_that_it_follows(finished):
    [(atlas, table)] = tables_of(finished[1]).items()
    assert atlas == "visual"
    assert list(dict.fromkeys(table["region"])) == ["front", "back"]
    for region, layer, number in (("front", "early", 1), ("back", "late", 3)):
        rows = table[table["region"] == region]
        assert rows["layer"].tolist() == list(LAYERS)
        assert rows["layer"].iloc[rows["fingerprint"].argmax()] == layer
        assert (rows["voxels"] == np.count_nonzero(truth() == number)).all()
        assert (rows["low"] <= rows["fingerprint"] + 1e-6).all()
        assert (rows["fingerprint"] <= rows["high"] + 1e-6).all()
        assert rows.set_index("layer")["highest"][layer] > 0.99


def test_the_table_is_that_of_the_written_maps(finished):
    out = finished[1]
    start = out / "sub-01" / "func" / f"sub-01_task-{TASK}_space-{SPACE}"
    r = np.stack(
        [
            nibabel.load(f"{start}_stat-r_desc-features+{layer}_statmap.nii.gz").get_fdata()
            for layer in LAYERS
        ]
    )[:, truth() == 1]
    best = np.argsort(-r.max(axis=0))[: -(-r.shape[1] // 4)]
    rows = tables_of(out)["visual"].query("region == 'front'")
    np.testing.assert_allclose(rows["score"], r[:, best].mean(axis=1), atol=1e-6)
    share = nibabel.load(f"{start}_stat-fingerprint_desc-features+early_statmap.nii.gz")
    expected = r[0].clip(0) / r.clip(0).sum(axis=0)
    np.testing.assert_allclose(share.get_fdata()[truth() == 1], expected, rtol=1e-5)


def test_sidecar_and_page_say_what_it_is(finished):
    _, out, _ = finished
    [written] = find_analyses(out, ["01"])
    [path] = written.fingerprints().values()
    side = json.loads(path.with_suffix(".json").read_text())
    assert side["Atlas"] == "visual" and "desc-visual_dseg" in side["AtlasSource"]
    _, _, uncovered = side["low"]["Description"].partition("Not covered: ")
    assert "what other participants, sessions or stimuli would show" in uncovered
    component = written.sidecar["FirstComponent"]
    assert 0 < component["ShareOfVariance"] <= 1 and set(component["Loadings"]) == set(LAYERS)
    assert component["CorrelationWithTrend"] > 0.8  # early and late, nothing between
    page = (out / "sub-01.html").read_text()
    assert "Fingerprints of regions: visual" in page and "first principal component" in page
    assert '"atlas": "visual"' in page  # in the interactive view


def test_an_atlas_can_be_added_without_fitting_again(finished, tmp_path):
    tiny, out, line = finished
    shutil.copytree(out, tmp_path / "out")
    line = [tmp_path / "out" if word == out else word for word in line]
    before = tree(tmp_path / "out")
    atlas = write_labels(tmp_path / "halves.nii.gz", 1 + (np.indices(SHAPE)[0] > 3), None)
    names = tmp_path / "names.csv"
    names.write_text("1,left\n2,right\n")
    end = run_app(*line, "--atlas", atlas, "--atlas-labels", names)
    assert end.code == 0 and "done before" in end.said
    table = tables_of(tmp_path / "out")["halves"]
    assert list(dict.fromkeys(table["region"])) == ["left", "right"]
    after = tree(tmp_path / "out")
    changed = {name for name in after if "/func/" in name and before.get(name) != after[name]}
    tables = {name for name in changed if "_atlas-halves_" in name and "_fingerprint." in name}
    images = {name for name in changed if "_seg-halves_" in name and "_dseg." in name}
    assert len(tables) == 2 and len(images) == 3 and changed == tables | images
    [image] = [name for name in images if name.endswith(".nii.gz")]
    numbers = np.asarray(nibabel.load(tmp_path / "out" / image).dataobj)[brain()]
    np.testing.assert_array_equal(numbers, 1 + (np.indices(SHAPE)[0] > 3)[brain()])
    # Another table of names makes the fingerprints anew, the same one does not.
    names.write_text("1,L\n2,R\n")
    assert run_app(*line, "--atlas", atlas, "--atlas-labels", names).code == 0
    assert set(tables_of(tmp_path / "out")["halves"]["region"]) == {"L", "R"}


def test_regions_of_older_scores_are_not_reported(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[1], out)
    [path] = (out / "sub-01" / "func").glob("*_scores.json")
    other = {**json.loads(path.read_text()), "SettingsHash": "another"}
    path.write_text(json.dumps(sealed(other)))
    assert tables_of(out) == {}


def test_an_atlas_without_overlap_ends_before_anything_is_fitted(tiny, tmp_path):
    far = AFFINE.copy()
    far[:3, 3] = 300
    atlas = write_labels(tmp_path / "far.nii.gz", affine=far)
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "-d", tiny.preprocessed, "--space", SPACE, "--features", tiny.features,
        "--atlas", atlas, "-w", tmp_path / "w",
    )  # fmt: skip
    assert end.code == 65
    assert "far.nii.gz" in end.said and "bring the atlas into the space" in end.said
    assert not list((tmp_path / "out").rglob("*statmap*"))


# Regions among the derivatives


def test_segmentations_of_the_anatomy_without_a_space_are_in_t1w(tiny):
    anat(tiny, "desc-aparcaseg_dseg.nii.gz", table=None)
    (tiny.preprocessed / "desc-aparcaseg_dseg.tsv").write_text(TABLE)
    assert found_in(tiny) == ()
    [one] = found_in(tiny, space="T1w")
    assert (one.atlas, one.names) == ("aparcaseg", {1: "front", 3: "back"})
    [regions] = load_regions([one], grid())
    np.testing.assert_array_equal(regions.labels, truth()[brain()])
    assert regions.names == {1: "front", 3: "back"}


def test_segmentations_in_another_space_are_mentioned(tiny, caplog):
    anat(tiny, "desc-aparcaseg_dseg.nii.gz")
    with caplog.at_level("INFO", "bids_encoder"):
        assert found_in(tiny) == ()
    assert "not in the space of the BOLD" in caplog.text and "T1w" in caplog.text


def test_the_resolution_of_the_bold_is_preferred_and_runs_count_once(tiny):
    anat(tiny, f"space-{SPACE}_res-1_desc-visual_dseg.nii.gz")
    plain = anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz")
    func = tiny.preprocessed / "sub-01" / "ses-1" / "func"
    write_labels(func / f"sub-01_ses-1_task-{TASK}_space-{SPACE}_desc-aseg_dseg.nii.gz")
    write_labels(func / f"sub-01_ses-1_task-other_space-{SPACE}_desc-x_dseg.nii.gz")
    found = {one.atlas: one.images for one in found_in(tiny)}
    assert set(found) == {"visual", "aseg"}
    assert found["visual"] == (plain,)


def test_tissues_are_no_regions_unless_a_table_names_them(tiny):
    path = anat(tiny, f"space-{SPACE}_dseg.nii.gz", table=None)
    assert found_in(tiny) == ()
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(TABLE)
    assert [one.atlas for one in found_in(tiny)] == ["dseg"]


def test_masks_of_regions_but_not_of_the_brain(tiny, caplog):
    for name, number in (("label-V1", 1), ("hemi-L_label-V4", 3), ("desc-FFA", 3)):
        mask = np.asarray(truth() == number, np.uint8)
        if name == "desc-FFA":
            mask[truth() == 1] = 1
        anat(tiny, f"space-{SPACE}_{name}_mask.nii.gz", mask, None)
    anat(tiny, f"space-{SPACE}_label-IT_desc-probmap_mask.nii.gz", 0.9 * (truth() == 3), None)
    for name in ("desc-brain", "label-brain", "desc-ribbon"):
        anat(tiny, f"space-{SPACE}_{name}_mask.nii.gz", brain(), None)
    other = anat(tiny, f"space-{SPACE}_desc-tight_mask.nii.gz", brain(), None)
    Path(str(other).replace(".nii.gz", ".json")).write_text('{"Type": "Brain"}')
    found = {one.atlas: one for one in found_in(tiny)}
    assert set(found) == {"masks", "probmap"}
    assert found["masks"].names == {1: "FFA", 2: "L V4", 3: "V1"}
    [masks, probmap] = load_regions([found["masks"], found["probmap"]], grid())
    expected = np.select([truth() == 1, truth() == 3], [3, 2])[brain()]
    np.testing.assert_array_equal(masks.labels, expected)
    assert "in several masks" in caplog.text
    assert np.count_nonzero(probmap.labels) == np.count_nonzero(truth() == 3)


def test_a_segmentation_that_misses_the_voxels_is_left_out_with_a_warning(tiny, caplog):
    far = AFFINE.copy()
    far[:3, 3] = 300
    anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz", affine=far)
    assert load_regions(found_in(tiny), grid()) == ()
    assert "is left out: none of its regions lies" in caplog.text


def test_a_segmentation_that_is_not_fetched(tiny):
    path = anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz")
    path.unlink()
    os.symlink("../../.git/annex/objects/x", path)
    with pytest.raises(MissingInputError, match="datalad get") as caught:
        found_in(tiny)
    assert path.name in str(caught.value)


def test_a_broken_table_of_a_segmentation(tiny):
    anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz", table="index\tname\none\tV1\n")
    with pytest.raises(DataError, match="line 2") as caught:
        found_in(tiny)
    assert "desc-visual_dseg.tsv" in str(caught.value)


# Atlases that the user names


def dry_run(tiny: Tiny, *options, space: str | None = SPACE):
    chosen = ("--space", space) if space else ()
    return run_app(
        tiny.bids, tiny.folder / "out", "participant", "--participant-label", "01", "--dry-run",
        "-d", tiny.preprocessed, "--features", tiny.features, *chosen, *options,
    )  # fmt: skip


def test_an_atlas_that_is_not_there(tiny):
    end = dry_run(tiny, "--atlas", "nowhere/atlas.nii.gz")
    assert end.code == 66
    assert "nowhere/atlas.nii.gz" in end.said and "correct the path" in end.said


def test_an_atlas_that_is_not_fetched(tiny, tmp_path):
    os.symlink("../.git/annex/objects/x", tmp_path / "atlas.nii.gz")
    end = dry_run(tiny, "--atlas", tmp_path / "atlas.nii.gz")
    assert end.code == 66 and "datalad get" in end.said


def test_tables_and_atlases_must_be_as_many(tiny, tmp_path):
    atlas = write_labels(tmp_path / "a.nii.gz")
    end = dry_run(tiny, "--atlas", atlas, "--atlas-labels", "one.tsv", "two.tsv")
    assert end.code == 2 and "2 tables for 1 files" in end.said and "--atlas-labels" in end.said


def test_a_table_that_is_not_there(tiny, tmp_path):
    atlas = write_labels(tmp_path / "a.nii.gz")
    end = dry_run(tiny, "--atlas", atlas, "--atlas-labels", tmp_path / "one.tsv")
    assert end.code == 66 and "one.tsv" in end.said


def test_a_table_that_cannot_be_read(tiny, tmp_path):
    atlas = write_labels(tmp_path / "a.nii.gz", table="1,V1\n2,V2\n")
    end = dry_run(tiny, "--atlas", atlas)
    assert end.code == 65 and "a.tsv" in end.said and "line 1" in end.said


def test_two_atlases_of_one_name(tiny, tmp_path):
    anat(tiny, f"space-{SPACE}_desc-visual_dseg.nii.gz")
    atlas = write_labels(tmp_path / "visual.nii.gz")
    end = dry_run(tiny, "--atlas", atlas)
    assert end.code == 2 and "atlas-visual" in end.said and "rename" in end.said


@pytest.mark.parametrize(
    ("name", "space"),
    [
        (f"tpl-{SPACE}_atlas-A_dseg.nii.gz", "T1w"),
        ("sub-01_space-T1w_desc-A_dseg.nii.gz", SPACE),
        ("tpl-OASIS_atlas-A_dseg.nii.gz", SPACE),
    ],
)
def test_an_atlas_in_another_space(tiny, tmp_path, name, space):
    end = dry_run(tiny, "--atlas", write_labels(tmp_path / name), space=space)
    assert end.code == 2
    assert name in end.said and f"BOLD in {space}" in end.said and "--space" in end.said


def test_an_atlas_in_raw_space_and_a_standard_one(tiny, tmp_path):
    atlas = write_labels(tmp_path / f"tpl-{SPACE}_atlas-A_dseg.nii.gz")
    end = run_app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01", "--dry-run",
        "--features", tiny.features, "--atlas", atlas,
    )  # fmt: skip
    assert end.code == 2 and "its own space" in end.said


def test_of_several_spaces_an_atlas_fits_one(tiny, tmp_path):
    atlas = write_labels(tmp_path / f"tpl-{SPACE}_atlas-A_dseg.nii.gz")
    end = dry_run(tiny, "--space", "T1w", SPACE, "--atlas", atlas, space=None)
    assert end.code == 0
    assert "Space T1w: The atlas is in another space" in end.said
    assert f"tpl-{SPACE}_atlas-A_dseg.nii.gz" in end.said


@pytest.mark.parametrize(
    ("name", "space", "said"),
    [
        ("atlas.nii.gz", "T1w", "Nothing says in which space"),
        ("tpl-MNI152NLin6Asym_atlas-A_dseg.nii.gz", SPACE, "off by some millimetres"),
        ("atlas.nii.gz", SPACE, None),
        (f"tpl-{SPACE}_atlas-A_dseg.nii.gz", SPACE, None),
    ],
)
def test_doubts_about_the_space_are_said(tiny, tmp_path, caplog, name, space, said):
    [one] = found_in(tiny, "--atlas", str(write_labels(tmp_path / name)), space=space)
    assert one.names == {1: "front", 3: "back"} and one.asked
    assert (said in caplog.text) if said else not caplog.text


def test_a_probabilistic_atlas_counted_from_zero(tiny, tmp_path):
    shares = np.stack([60.0 * (truth() == 1), 60.0 * (truth() == 3)], axis=-1)
    atlas = write_labels(tmp_path / "atlas_prob.nii.gz", shares, None)
    (tmp_path / "labels_prob.csv").write_text("index,name\n0,front\n1,back\n")
    [regions] = load_regions(found_in(tiny, "--atlas", str(atlas)), grid())
    assert regions.names == {1: "front", 2: "back"}
    np.testing.assert_array_equal(
        regions.labels, np.select([truth() == 1, truth() == 3], [1, 2])[brain()]
    )


# TemplateFlow


@pytest.fixture
def templateflow(tmp_path, monkeypatch) -> Path:
    """A folder in TemplateFlow's layout; any download would fail the test."""
    home = tmp_path / "templateflow"
    folder = home / f"tpl-{SPACE}"
    for desc in ("100Parcels7Networks", "400Parcels7Networks"):
        name = f"tpl-{SPACE}_res-01_atlas-Schaefer2018_desc-{desc}_dseg.nii.gz"
        write_labels(folder / name, table=None)
        (folder / f"tpl-{SPACE}_atlas-Schaefer2018_desc-{desc}_dseg.tsv").write_text(TABLE)
    for res in ("01", "02"):
        write_labels(folder / f"tpl-{SPACE}_res-{res}_atlas-HOCPA_desc-th25_dseg.nii.gz", table="")
    # What is not fetched is an empty file.
    (folder / f"tpl-{SPACE}_res-01_atlas-DiFuMo_desc-64_probseg.nii.gz").touch()
    write_labels(folder / f"tpl-{SPACE}_res-01_atlas-Half_dseg.nii.gz", table=None)
    (folder / f"tpl-{SPACE}_atlas-Half_dseg.tsv").touch()
    for path in folder.glob("*HOCPA*.tsv"):
        path.unlink()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(home))
    return home


def test_an_atlas_of_templateflow(tiny, templateflow):
    before = tree(templateflow)
    [one] = found_in(tiny, "--atlas", "Schaefer2018:desc-400Parcels7Networks")
    assert one.atlas == "Schaefer2018+400Parcels7Networks"
    [regions] = load_regions([one], grid())
    assert regions.names == {1: "front", 3: "back"}
    assert tree(templateflow) == before


def test_of_several_resolutions_one_is_taken(tiny, templateflow):
    [one] = found_in(tiny, "--atlas", "HOCPA")
    assert "res-01" in one.images[0].name and one.names is None
    [one] = found_in(tiny, "--atlas", "HOCPA:res-02")
    assert "res-02" in one.images[0].name


@pytest.mark.parametrize("name", ["DiFuMo", "Half", "Nonsense"])
def test_an_atlas_that_templateflow_does_not_have_here(tiny, templateflow, name):
    end = dry_run(tiny, "--atlas", name)
    assert end.code == 66
    for said in (str(templateflow), "--allow-downloads", "templateflow.api import get", "Schaefer"):
        assert said in end.said


def test_nothing_is_made_where_there_is_no_templateflow(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "nowhere"))
    end = dry_run(tiny, "--atlas", "Schaefer2018")
    assert end.code == 66 and "no atlases" in end.said
    assert not (tmp_path / "nowhere").exists()


def test_a_name_that_stands_for_several_atlases(tiny, templateflow):
    end = dry_run(tiny, "--atlas", "Schaefer2018")
    assert end.code == 2
    assert "400Parcels7Networks" in end.said and "--atlas Schaefer2018:desc-" in end.said


def test_templateflow_has_standard_spaces_only(tiny, templateflow):
    end = dry_run(tiny, "--atlas", "HOCPA", space="T1w")
    assert end.code == 2 and "standard space" in end.said and "--space" in end.said


@pytest.mark.parametrize("name", ["Schaefer 2018", "Schaefer2018:400", "Schaefer_2018"])
def test_what_is_neither_a_file_nor_a_name(tiny, templateflow, name):
    end = dry_run(tiny, "--atlas", name)
    assert end.code == 2 and "NAME:desc-LABEL" in end.said


def test_downloads_are_asked_of_templateflow_only_when_allowed(tiny, templateflow, monkeypatch):
    from templateflow import api

    asked = []

    def get(space, **query):
        asked.append((space, query))
        folder = templateflow / f"tpl-{space}"
        write_labels(folder / f"tpl-{space}_res-01_atlas-DiFuMo_desc-64_dseg.nii.gz")

    monkeypatch.setattr(api, "get", get)
    [one] = found_in(tiny, "--atlas", "DiFuMo:res-01", "--allow-downloads")
    assert one.names == {1: "front", 3: "back"}
    assert asked == [
        (SPACE, {"suffix": ["dseg", "probseg"], "atlas": "DiFuMo", "resolution": "01"})
    ]
    found_in(tiny, "--atlas", "HOCPA", "--allow-downloads")
    assert len(asked) == 1


def test_a_download_that_fails(tiny, templateflow, monkeypatch):
    from templateflow import api

    def get(*args, **query):
        raise OSError("no route to host")

    monkeypatch.setattr(api, "get", get)
    with pytest.raises(MissingInputError, match="no route to host") as caught:
        found_in(tiny, "--atlas", "DiFuMo", "--allow-downloads")
    assert "check the network" in str(caught.value)


def test_atlases_can_be_named_in_the_configuration_file(tiny, tmp_path):
    atlas = write_labels(tmp_path / "a.nii.gz", table=None)
    (tmp_path / "names.csv").write_text("1,front\n3,back\n")
    file = tmp_path / "config.toml"
    file.write_text(f'[regions]\natlas = ["{atlas}"]\natlas_labels = ["{tmp_path}/names.csv"]\n')
    [one] = found_in(tiny, "--config-file", str(file))
    assert one.names == {1: "front", 3: "back"}
