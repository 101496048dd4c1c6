"""The current BIDS validator on an output with every kind of file that we declare."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis

from bids_encoder.derivatives import atomic, dataset_description, file_names
from bids_encoder.derivatives import write as derivatives
from bids_encoder.grids.cifti import CiftiGrid
from bids_encoder.grids.surface import SurfaceGrid
from bids_encoder.grids.volume import VolumeGrid

NETWORK, LAYERS = "alexnet", ["features.1", "features.4"]
TABLE = {"layer": ["a"], "r": [0.5]}
LAYER_MAPS = {  # kind to label of stat-
    "r2": "r2",
    "r": "r",
    "penalty": "penalty",
    "pooled_r2": "pooledr2",
    "normalizedr2": "normalizedr2",
    "test_r2": "testr2",
    "test_r": "testr",
    "fingerprint_map": "fingerprint",
    "share": "share",
    "unique": "unique",
}
FREE = "**/log\n**/figures\n*.html\n"  # pages and logs, whose names BIDS leaves free
MEANINGS = {"layer": "Layer.", "r": {"Description": "Correlation.", "Units": "1"}}


def write_everything(root, bids_dir, spaces=(None, "T1w", "MNI152NLin2009cAsym")):
    """Write one file of each kind, in each space, and say which paths were written."""
    raw = {"Name": "Pictures", "BIDSVersion": "1.8.0", "License": "CC0"}
    atomic.write_json(bids_dir / "dataset_description.json", raw)
    affine = np.diag([2, 2, 2.5, 1])
    bold = bids_dir / "sub-01/func/sub-01_task-pictures_bold.nii.gz"
    atomic.write_image(bold, nibabel.Nifti1Image(np.ones((4, 4, 3, 2), np.float32), affine))
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[1:3, 1:3] = 1
    grid = VolumeGrid(nibabel.Nifti1Image(mask, affine))
    values = np.linspace(-0.1, 0.5, 12)

    datasets = dataset_description.init_dataset(root, bids_dir)
    dataset_description.add_descriptions(root, NETWORK, LAYERS)
    for space in spaces:
        names = {"task": "pictures", "space": space, "res": space and "2", "network": NETWORK}
        one = derivatives.start_analysis(
            datasets, {**names, "sub": "01"}, settings={"nested": False}, sources=[bold]
        )
        derivatives.write_mask(one, grid)
        derivatives.write_statmap(one, "boldref", values, grid)
        for layer in LAYERS:
            for kind in LAYER_MAPS:
                derivatives.write_statmap(one, kind, values, grid, layer=layer)
            arrays = {"dual": np.ones((5, 12), np.float32), "stimuli": ["a.png", "b.png"]}
            derivatives.write_weights(one, "weights", arrays, {"layer": layer}, layer=layer)
        single = (
            "slope",
            "pc1",
            "p",
            "q",
            "noiseceiling",
            "hrfpeak",
            "joint_r2",
            "joint_pooled_r2",
        )
        for kind in (*single, "angle", "eccentricity", "retinotopy_f"):
            derivatives.write_statmap(one, kind, values, grid)
        write_contrasts(one, values, grid)
        derivatives.write_dseg(one, "bestlayer", np.arange(12) % 3, grid, LAYERS)
        derivatives.write_places(one, "predicted", np.arange(12) % 3 > 0, grid)
        for kind in ("scores", "smoothness", "similarity", "neighbours", "chance", "matched"):
            derivatives.write_table(one, kind, TABLE, MEANINGS)
        derivatives.write_weights(one, "hrf", {"times": np.arange(3.0)}, {})
        derivatives.write_weights(one, "similarities", {"stimuli": ["a.png"]}, {})
        derivatives.write_dseg(
            one, "regions", np.arange(12) % 3, grid, ["V1", "V2"], atlas="visual"
        )
        derivatives.write_table(one, "fingerprint", TABLE, MEANINGS, atlas="visual")
        group = derivatives.start_analysis(
            datasets, {**names, "tpl": space or "study"}, settings={}, sources=[bold]
        )
        for measure, layer in (("r", LAYERS[0]), ("slope", None)):
            more = {"measure": measure, "layer": layer}
            derivatives.write_statmap(group, "group_mean", values, grid, **more)
            derivatives.write_statmap(group, "group_t", values, grid, dof=3, **more)
            derivatives.write_statmap(group, "group_p", values, grid, **more)
        derivatives.write_statmap(group, "group_encoding", values, grid)
        for measure in ("slope", "bestlayer"):
            derivatives.write_statmap(group, "group_consistency", values, grid, measure=measure)
        derivatives.write_dseg(group, "group_bestlayer", np.arange(12) % 3, grid, LAYERS)
        derivatives.write_table(group, "group_fingerprint", TABLE, MEANINGS, atlas="visual")
        derivatives.write_table(group, "group_scores", TABLE, MEANINGS)
        derivatives.write_table(group, "group_similarity", TABLE, MEANINGS)
        atomic.write_text(one.path("figure", layer="r"), "png")
        atomic.write_text(group.path("group_figure", layer="r"), "png")
    write_on_surfaces(datasets, bold)
    atomic.write_text(one.path("report"), "html")
    atomic.write_text(group.path("group_report"), "html")
    for extension in (".md", ".bib"):
        atomic.write_text(file_names.output_path(root, "citation", {}, extension), "methods")
    atomic.write_text(one.path("config", runid="20260102-030405"), "a = 1\n")


def write_on_surfaces(datasets, bold):
    """Maps as GIFTI and as CIFTI, of a participant and of the group."""
    sides = {side: np.arange(20) % 4 > 0 for side in ("L", "R")}
    meshes = [bold.with_name(f"sub-01_hemi-{side}_midthickness.surf.gii") for side in sides]
    for path in meshes:
        path.write_bytes(b"a mesh")
    axis = BrainModelAxis.from_surface(np.arange(20), 20, "CORTEX_LEFT")
    for space, den, form, grid in (
        ("fsaverage5", None, "gifti", SurfaceGrid.of(sides)),
        ("fsLR", "91k", "cifti", CiftiGrid.of(axis)),
    ):
        names = {"task": "pictures", "space": space, "den": den, "form": form, "network": NETWORK}
        values = np.linspace(0, 1, grid.n_values)
        for level, prefix, more in (
            ({"sub": "01"}, "", {}),
            ({"tpl": space}, "group_", {"measure": "slope"}),
        ):
            one = derivatives.start_analysis(
                datasets, {**names, **level}, settings={}, sources=[bold, *meshes]
            )
            if not prefix:
                derivatives.write_mask(one, grid)
                derivatives.write_table(one, "scores", TABLE, MEANINGS)
                write_contrasts(one, values, grid)
            kind = f"{prefix}mean" if prefix else "slope"
            derivatives.write_statmap(one, kind, values, grid, **more)
            labels = np.arange(grid.n_values) % 3
            derivatives.write_dseg(one, f"{prefix}bestlayer", labels, grid, LAYERS)


def write_contrasts(one, values, grid):
    """A contrast, synthesized and measured, and the pictures of a folder."""
    for layer in (*LAYERS, None):
        names = {"contrast": "facesScenes", "layer": layer}
        derivatives.write_statmap(one, "synthesized_effect", values, grid, **names)
        derivatives.write_statmap(one, "synthesized_t", values, grid, dof=9, **names)
    names = {"contrast": "facesScenes"}
    derivatives.write_statmap(one, "measured_effect", values, grid, **names)
    derivatives.write_statmap(one, "measured_t", values, grid, dof=99, **names)
    labels = np.arange(grid.n_values) % 3
    derivatives.write_dseg(one, "agreement", labels, grid, ["both", "one"], **names)
    for kind in ("precisionrecall", "curves"):
        derivatives.write_table(one, kind, TABLE, MEANINGS, **names)
    rows, meanings = {"volume": [0, 1]}, {"volume": "Which volume."}
    for kind in ("prediction", "prediction_mean"):
        maps = np.stack([values, values])
        derivatives.write_series(
            one, kind, maps, grid, ["a.png", "b.png"], rows, meanings, contrast="folder"
        )


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validator")
    write_everything(folder / "derivatives", folder / "raw")
    return folder / "derivatives"


def errors(issues):
    return [issue for issue in issues if issue["severity"] == "error"]


def test_every_declared_kind_is_in_the_fake_output(output):
    paths = {path.relative_to(output).as_posix() for path in output.rglob("*")}
    for kind in file_names.kinds().values():
        name = re.escape(kind.path).replace(r"\[", "(?:").replace(r"\]", ")?")
        name = re.sub(r"\\{(\w+)\\}", "[0-9A-Za-z-]+", name)
        for extension in kind.extensions:
            assert any(re.fullmatch(name + extension, path) for path in paths), kind.name


def test_the_validator_reports_no_error(output, validate_bids):
    issues = validate_bids(output)
    assert not errors(issues)
    # The one warning that is left: authors of an output are for its owner to name.
    assert {issue["code"] for issue in issues} == {"TOO_FEW_AUTHORS"}


def test_each_line_of_bidsignore_hides_something_that_is_an_error(output, validate_bids, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    lines = (copy / ".bidsignore").read_text().splitlines()
    assert not [line for line in lines if line.endswith("/")]
    (copy / ".bidsignore").unlink()
    found = {issue["location"] for issue in errors(validate_bids(copy))}
    for line in lines:
        end = line.strip("*/").rstrip(".*")
        assert any(end in location for location in found), line


def test_our_own_names_fit_the_extended_schema(
    output, validate_bids, extended_schema_file, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    (copy / ".bidsignore").write_text(FREE)
    issues = validate_bids(copy, extended_schema_file)
    assert not errors(issues)


def test_the_extended_schema_finds_wrong_names(
    output, validate_bids, extended_schema_file, tmp_path
):
    wrong = [
        "sub-01_task-pictures_desc-alexnet+conv1_stat-r_statmap.nii.gz",  # order
        "sub-01_stat-r_desc-alexnet+conv1_statmap.nii.gz",  # no task
        "sub-01_task-pictures_stat-r_desc-alexnet.conv1_statmap.nii.gz",  # a dot
        "sub-01_task-pictures_stat-r_desc-alexnet+conv1_statmaps.nii.gz",  # suffix
        "sub-01_task-pictures_stat-r_desc-alexnet+conv1_weights.h5",  # stat of no map
    ]
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    (copy / ".bidsignore").write_text(FREE)
    for name in wrong:
        (copy / "sub-01/func" / name).write_bytes(b"something")
    codes = {"NOT_INCLUDED", "FILENAME_MISMATCH", "MISSING_REQUIRED_ENTITY"}
    codes |= {"ENTITY_NOT_IN_RULE", "ALL_FILENAME_RULES_HAVE_ISSUES", "EXTENSION_MISMATCH"}
    found = {
        Path(issue["location"]).name
        for issue in errors(validate_bids(copy, extended_schema_file))
        if issue["code"] in codes
    }
    assert found == set(wrong)


def test_leftovers_of_a_killed_run_are_no_error(output, validate_bids):
    leftover = output / "sub-01/func/.tmp-123-deadbeef.nii.gz"
    leftover.write_bytes(b"half a file")
    try:
        assert not errors(validate_bids(output))
    finally:
        leftover.unlink()


def test_pybids_reads_our_names(output):
    from bids import BIDSLayout

    layout = BIDSLayout(output, validate=False, is_derivative=True)
    found = layout.get(
        subject="01", task="pictures", space="T1w", res="2", desc="alexnet+features1",
        suffix="statmap", extension=".nii.gz",
    )  # fmt: skip
    # pybids has no word for stat- yet; it tells the maps apart by their names.
    stats = sorted(file.filename.split("_stat-")[1].split("_")[0] for file in found)
    assert stats == sorted(LAYER_MAPS.values())
    assert all(file.get_metadata()["Settings"] == {"nested": False} for file in found)
