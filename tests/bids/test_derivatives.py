"""Data files with their sidecars, what counts as done, and what the dataset says of itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas
import pytest

from bids_encoder.derivatives import atomic, dataset_description, provenance
from bids_encoder.derivatives import write as derivatives
from bids_encoder.errors import MissingInputError, OutputError, UsageError
from bids_encoder.grids.grid import Meaning
from bids_encoder.grids.volume import VolumeGrid

RAW = {"Name": "Pictures", "BIDSVersion": "1.8.0", "License": "CC0"}


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    atomic.write_json(folder / "dataset_description.json", RAW)
    bold = nibabel.Nifti1Image(np.ones((4, 4, 3, 2), np.float32), np.eye(4))
    atomic.write_image(folder / "sub-01/func/sub-01_task-x_bold.nii.gz", bold)
    atomic.write_text(folder / "sub-01/func/sub-01_task-x_events.tsv", "onset\tduration\n1\t1\n")
    return folder


@pytest.fixture
def mask():
    inside = np.zeros((4, 4, 3), np.int16)
    inside[1:3, 0:2, 1:] = 1
    image = nibabel.Nifti1Image(inside, np.diag([-2, 2, 3, 1]))
    image.set_sform(image.affine, 4)
    image.set_qform(image.affine, 1)
    return image


def start(raw, output, **settings):
    sources = sorted(raw.glob("sub-01/func/*"), key=lambda path: "events" in path.name)
    return derivatives.start_analysis(
        dataset_description.init_dataset(output, raw),
        {"sub": "01", "task": "x", "space": None, "network": "alexnet"},
        settings={"nested": False, **settings},
        sources=sources,
    )


@pytest.fixture
def analysis(raw, tmp_path):
    return start(raw, tmp_path / "out")


def sidecar(path):
    return json.loads(path.with_name(path.name.partition(".")[0] + ".json").read_text())


# --- data files -----------------------------------------------------------------------------


def test_a_statmap_is_on_the_grid_of_the_mask_with_nan_outside(analysis, mask):
    values = np.arange(8) / 10
    values[3] = np.nan
    path = derivatives.write_statmap(analysis, "r2", values, VolumeGrid(mask), layer="features.1")
    assert path.name == "sub-01_task-x_stat-r2_desc-alexnet+features1_statmap.nii.gz"
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_intent()[0] == "estimate"
    inside = np.asarray(mask.dataobj) == 1
    assert np.isnan(image.get_fdata()[~inside]).all()
    np.testing.assert_array_equal(image.get_fdata()[inside], values.astype(np.float32))


def test_voxels_are_in_the_order_of_nilearn(mask):
    from nilearn.masking import unmask

    values = np.arange(1.0, 9.0)
    ours = VolumeGrid(mask).images(values, 0, Meaning())[None]
    np.testing.assert_array_equal(ours.get_fdata(), unmask(values, mask).get_fdata())


def test_a_mask_without_codes_gets_some(mask):
    bare = nibabel.Nifti1Image(np.asarray(mask.dataobj), None)
    bare.header.set_zooms((2, 2, 3))
    bare = nibabel.Nifti1Image(np.asarray(mask.dataobj), bare.header.get_base_affine())
    bare.header["sform_code"] = bare.header["qform_code"] = 0
    image = VolumeGrid(bare).images(np.ones(8), 0, Meaning())[None]
    np.testing.assert_allclose(image.affine, bare.affine)
    assert image.header["sform_code"] > 0


def test_values_that_do_not_fit_the_mask_are_refused(analysis, mask):
    with pytest.raises(ValueError, match=r"\(7,\) values do not fit the 8 voxels"):
        derivatives.write_statmap(analysis, "r", np.ones(7), VolumeGrid(mask), layer="a")


def test_the_sidecar_of_a_map(analysis, mask):
    path = derivatives.write_statmap(
        analysis, "r", np.ones(8), VolumeGrid(mask), layer="features.1"
    )
    content = sidecar(path)
    assert "layer features.1 of alexnet" in content["Description"]
    assert content["Sources"] == [
        "bids:raw:sub-01/func/sub-01_task-x_bold.nii.gz",
        "bids:raw:sub-01/func/sub-01_task-x_events.tsv",
    ]
    assert content["SpatialReference"] == content["Sources"][0]
    assert content["Units"] == "1"
    assert content["SkullStripped"] is True
    assert content["Settings"] == {"nested": False}
    assert content["SettingsHash"] == analysis.hash
    assert "numpy " + np.__version__ in content["SoftwareVersions"]
    assert content["FileSizes"] == {".nii.gz": path.stat().st_size}
    assert "Resolution" not in content


def test_a_resolution_is_explained(raw, tmp_path, mask):
    one = start(raw, tmp_path / "out")
    one = dataclasses.replace(one, names={**one.names, "space": "T1w", "res": "2"})
    assert "res-2" in sidecar(derivatives.write_mask(one, VolumeGrid(mask)))["Resolution"]
    told = derivatives.write_mask(one, VolumeGrid(mask), {"Resolution": "2 mm cubes"})
    assert sidecar(told)["Resolution"] == "2 mm cubes"


def test_no_path_of_this_machine_reaches_a_sidecar(raw, tmp_path, mask):
    one = start(raw, tmp_path / "out", features=tmp_path / "secret" / "f.h5", other=str(tmp_path))
    path = derivatives.write_statmap(one, "r", np.ones(8), VolumeGrid(mask), layer="a")
    assert sidecar(path)["Settings"]["features"] == "f.h5"
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert str(tmp_path).encode() not in file.read_bytes(), file


def test_a_mask_is_written_as_zeros_and_ones(analysis, mask):
    path = derivatives.write_mask(analysis, VolumeGrid(mask), {"Type": "ROI"})
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.get_fdata(), np.asarray(mask.dataobj))
    assert sidecar(path)["Type"] == "ROI"


def test_labels_come_with_their_table(analysis, mask):
    layers = ["conv1", "conv2", "fc"]
    labels = np.array([0, 1, 2, 3, 3, 2, 1, 0])
    path = derivatives.write_dseg(analysis, "bestlayer", labels, VolumeGrid(mask), layers)
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_intent()[0] == "label"
    np.testing.assert_array_equal(np.asarray(image.dataobj)[np.asarray(mask.dataobj) == 1], labels)
    table = pandas.read_csv(analysis.path("bestlayer", ".tsv"), sep="\t")
    assert table.to_dict("list") == {
        "index": [1, 2, 3],
        "name": layers,
        "color": ["#471365", "#21908d", "#dfe318"],
    }
    with pytest.raises(ValueError, match="0 to 3"):
        derivatives.write_dseg(analysis, "bestlayer", labels, VolumeGrid(mask), layers[:2])


def test_tables_explain_their_columns(analysis):
    columns = {"layer": ["conv1", "conv2"], "r": [0.25, np.nan]}
    meanings = {"layer": "Layer.", "r": {"Description": "Correlation.", "Units": "1"}, "more": "-"}
    path = derivatives.write_table(analysis, "scores", columns, meanings)
    assert path.read_text() == "layer\tr\nconv1\t0.25\nconv2\tn/a\n"
    assert sidecar(path)["layer"] == {"Description": "Layer."}
    assert sidecar(path)["r"] == {"Description": "Correlation.", "Units": "1"}
    assert "more" not in sidecar(path)
    with pytest.raises(ValueError, match=r"without a meaning: \['r'\]"):
        derivatives.write_table(analysis, "scores", columns, {"layer": "Layer."})


def test_weights_keep_their_arrays_and_attributes(analysis):
    dual = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = derivatives.write_weights(
        analysis, "weights", {"dual": dual, "stimuli": ["a", "b"]}, {"layer": "c"}, layer="c"
    )
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["dual"], dual)
        assert file.attrs["layer"] == "c"
    assert sidecar(path)["FileSizes"] == {".h5": path.stat().st_size}


# --- resume ---------------------------------------------------------------------------------


def test_done_means_whole_and_made_with_these_settings(raw, tmp_path, mask):
    one = start(raw, tmp_path / "out")
    assert not derivatives.is_done(one, "r", layer="a")
    path = derivatives.write_statmap(one, "r", np.ones(8), VolumeGrid(mask), layer="a")
    assert derivatives.is_done(one, "r", layer="a")
    assert derivatives.is_done(start(raw, tmp_path / "out"), "r", layer="a")
    assert not derivatives.is_done(one, "r", layer="b")
    assert not derivatives.is_done(one, "r2", layer="a")
    assert not derivatives.is_done(start(raw, tmp_path / "out", nested=True), "r", layer="a")
    assert not derivatives.is_done(one.with_settings(layers=["a"]), "r", layer="a")

    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not derivatives.is_done(one, "r", layer="a")
    path.write_bytes(whole)
    for broken in ("", "{", "[]", "{}"):
        one.path("r", ".json", layer="a").write_text(broken)
        assert not derivatives.is_done(one, "r", layer="a")


def test_one_flipped_byte_makes_work_undone(raw, tmp_path, mask, caplog):
    one = start(raw, tmp_path / "out")
    grid = VolumeGrid(mask)
    path = derivatives.write_statmap(one, "r", np.ones(8), grid, layer="a")
    sidecar = one.path("r", ".json", layer="a")
    for damaged in (path, sidecar):
        whole = damaged.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        damaged.write_bytes(changed)
        assert not derivatives.is_done(one, "r", layer="a")
        derivatives.write_statmap(one, "r", np.ones(8), grid, layer="a")
        assert derivatives.is_done(one, "r", layer="a") and damaged.read_bytes() == whole
    assert caplog.text.count("was removed or damaged since it was written") == 2


def test_networks_share_what_is_of_the_data_alone(raw, tmp_path, mask):
    """The mask of one network's analysis is that of another one's; maps of scores are not."""
    events = raw / "sub-01/func/sub-01_task-x_events.tsv"
    first, second, other = (
        derivatives.start_analysis(
            {"raw": raw, "": tmp_path / "out"},
            {"sub": "01", "task": "x", "network": "net"},
            settings={"network": network, "hrf": hrf},
            sources=[events],
            of_network=["network"],
        )
        for network, hrf in (("a", "spm"), ("b", "spm"), ("a", "glover"))
    )
    derivatives.write_mask(first, VolumeGrid(mask))
    derivatives.write_statmap(first, "r", np.ones(8), VolumeGrid(mask), layer="a")
    assert derivatives.is_done(second, "mask") and not derivatives.is_done(other, "mask")
    assert not derivatives.is_done(second, "r", layer="a")


def test_a_label_image_without_its_table_is_not_done(analysis, mask):
    derivatives.write_dseg(analysis, "bestlayer", np.ones(8, int), VolumeGrid(mask), ["a"])
    assert derivatives.is_done(analysis, "bestlayer")
    analysis.path("bestlayer", ".tsv").unlink()
    assert not derivatives.is_done(analysis, "bestlayer")


def test_a_changed_input_makes_work_undone(raw, tmp_path, mask):
    derivatives.write_mask(start(raw, tmp_path / "out"), VolumeGrid(mask))
    atomic.write_text(raw / "sub-01/func/sub-01_task-x_events.tsv", "onset\tduration\n2\t1\n")
    assert not derivatives.is_done(start(raw, tmp_path / "out"), "mask")


def test_an_end_between_data_and_sidecar_makes_work_undone(raw, tmp_path, monkeypatch):
    # HDF5 files of the same shape have the same size whatever is in them.
    before, after = (start(raw, tmp_path / "out", seed=seed) for seed in (1, 2))
    derivatives.write_weights(before, "weights", {"dual": np.ones(3)}, {}, layer="a")

    def end(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(derivatives, "_finish", end)
        derivatives.write_weights(after, "weights", {"dual": np.zeros(3)}, {}, layer="a")
    assert not derivatives.is_done(before, "weights", layer="a")
    assert not derivatives.is_done(after, "weights", layer="a")


def test_a_second_write_gives_the_same_bytes(analysis, mask):
    def write():
        derivatives.write_statmap(analysis, "r", np.ones(8), VolumeGrid(mask), layer="a")
        derivatives.write_dseg(analysis, "bestlayer", np.ones(8, int), VolumeGrid(mask), ["a"])
        derivatives.write_weights(analysis, "weights", {"dual": np.ones(3)}, {}, layer="a")
        files = [path for path in analysis.root.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    assert write() == write()


# --- provenance -----------------------------------------------------------------------------


def test_the_hash_depends_on_values_not_on_their_form_or_order():
    @dataclasses.dataclass
    class Part:
        a: int
        b: tuple

    first = {"x": 1, "y": [0.5, None, True], "p": Path("a/b"), "s": {"c", "a"}, "n": float("nan")}
    second = {
        "s": {"a", "c"},
        "n": np.float32("nan"),
        "p": "a/b",
        "y": (np.float64(0.5), None, True),
        "x": np.int64(1),
    }
    assert provenance.settings_hash(first) == provenance.settings_hash(second)
    assert provenance.settings_hash({"a": Part(1, (2.0,))}) == provenance.settings_hash(
        {"a": {"a": 1.0, "b": [2]}}
    )
    hashes = [
        provenance.settings_hash({"a": value})
        for value in (0, 1, True, None, "1", [1], 0.1, np.inf, -np.inf, [], {}, "")
    ]
    assert len(set(hashes)) == len(hashes)
    # The text itself is fixed: a hash that drifts would redo everybody's work.
    assert provenance.settings_hash({"b": (1.0, 2.5), "a": None}) == (
        hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()
    )
    with pytest.raises(TypeError, match="object is not a setting"):
        provenance.settings_hash({"a": object()})


def test_bids_uris_name_the_innermost_dataset(tmp_path):
    nested = tmp_path / "raw" / "derivatives" / "fmriprep"
    nested.mkdir(parents=True)
    datasets = {"raw": tmp_path / "raw", "fmriprep": nested, "": tmp_path / "out"}
    for path, uri in [
        (tmp_path / "raw/sub-01/a b.tsv", "bids:raw:sub-01/a%20b.tsv"),
        (nested / "sub-01/x_desc-a+b_bold.nii.gz", "bids:fmriprep:sub-01/x_desc-a+b_bold.nii.gz"),
        (tmp_path / "out/sub-01/x.tsv", "bids::sub-01/x.tsv"),
    ]:
        assert provenance.bids_uri(path, datasets) == uri
    with pytest.raises(ValueError, match="in none of the datasets"):
        provenance.bids_uri(tmp_path / "elsewhere.tsv", datasets)


def test_bids_uris_follow_links_only_where_they_must(tmp_path):
    store = tmp_path / "store" / "raw"
    (store / ".git" / "annex").mkdir(parents=True)
    (store / ".git" / "annex" / "key").write_text("content")
    (store / "a.tsv").symlink_to(".git/annex/key")
    (tmp_path / "link").symlink_to(store)
    assert provenance.bids_uri(store / "a.tsv", {"raw": store}) == "bids:raw:a.tsv"
    assert provenance.bids_uri(tmp_path / "link/a.tsv", {"raw": tmp_path / "link"}) == (
        "bids:raw:a.tsv"
    )
    (store / "b.tsv").write_text("content")
    assert provenance.bids_uri(store / "b.tsv", {"raw": tmp_path / "link"}) == "bids:raw:b.tsv"


def test_stamps_notice_one_byte_in_the_middle_of_a_file(tmp_path):
    """Of the same size, with the same times, in the same place."""
    path = tmp_path / "a.nii"
    content = bytearray(np.random.default_rng(0).bytes(3_000_000))
    path.write_bytes(content)
    before, times = provenance.file_stamp(path), path.stat()
    assert provenance.file_stamp(path) == before
    content[1_500_000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert provenance.file_stamp(path) != before
    assert before.startswith("3000000-")


def test_stamps_of_content_notice_every_bit():
    values = np.arange(6.0).reshape(2, 3)
    stamps = {
        provenance.content_stamp({"a": one})
        for one in (
            values, values.astype(np.float32), values.T, values.ravel(), np.nextafter(values, 9),
            values.tolist(), None, [values], [values, None],
        )
    }  # fmt: skip
    assert len(stamps) == 9
    assert provenance.content_stamp({"a": 1, "b": 2}) == provenance.content_stamp({"b": 2, "a": 1})


def test_stamps_notice_changes_anywhere_in_an_image(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    stamps = set()
    for change in (0, 1e-3):
        values[20, 20, 20] += change
        atomic.write_image(tmp_path / "a.nii.gz", nibabel.Nifti1Image(values, np.eye(4)))
        assert (tmp_path / "a.nii.gz").stat().st_size > 2**17
        stamps.add(provenance.file_stamp(tmp_path / "a.nii.gz").partition("-")[2])
    assert len(stamps) == 2


def test_an_input_without_content_is_missing(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(".git/annex/objects/gone")
    with pytest.raises(MissingInputError) as error:
        provenance.file_stamp(tmp_path / "a.nii.gz")
    assert f"datalad get {tmp_path / 'a.nii.gz'}" in str(error.value)


# --- the dataset ----------------------------------------------------------------------------


def test_the_description_of_a_fresh_output(raw, tmp_path):
    prep = tmp_path / "prep"
    atomic.write_json(
        prep / "dataset_description.json",
        {"Name": "fMRIPrep", "DatasetDOI": "doi:10.5/x", "GeneratedBy": [{"Name": "fMRIPrep"}]},
    )
    datasets = dataset_description.init_dataset(tmp_path / "a" / "out", raw, {"fmriprep": prep})
    assert datasets == {"": tmp_path / "a" / "out", "raw": raw, "fmriprep": prep}
    content = json.loads((tmp_path / "a/out/dataset_description.json").read_text())
    assert content["Name"] == "Encoding models: Pictures"
    assert content["DatasetType"] == "derivative"
    assert [maker["Name"] for maker in content["GeneratedBy"]] == ["bids_encoder"]
    assert content["License"] == "CC0"
    assert content["DatasetLinks"] == {"fmriprep": "../../prep", "raw": "../../raw"}
    assert content["SourceDatasets"] == [
        {"URL": "../../raw"},
        {"URL": "../../prep", "DOI": "doi:10.5/x"},
    ]
    assert (tmp_path / "a/out/README.md").read_text() == dataset_description.readme()
    assert "**/log" in (tmp_path / "a/out/.bidsignore").read_text().splitlines()


def test_a_second_start_changes_nothing_and_keeps_what_people_added(raw, tmp_path):
    output = tmp_path / "out"
    dataset_description.init_dataset(output, raw)
    dataset_description.add_descriptions(output, "alexnet", ["features.1"])
    path = output / "dataset_description.json"
    atomic.write_json(path, {**json.loads(path.read_text()), "Authors": ["A", "B"]})
    (output / "README.md").write_text("My notes.\n")
    before = {file: (file.stat().st_ino, file.read_bytes()) for file in output.iterdir()}
    dataset_description.init_dataset(output, raw)
    dataset_description.add_descriptions(output, "alexnet", ["features.1"])
    after = {file: (file.stat().st_ino, file.read_bytes()) for file in output.iterdir()}
    assert after == before


def test_the_container_tells_what_it_is(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("BIDS_ENCODER_CONTAINER_TYPE", "docker")
    monkeypatch.setenv("BIDS_ENCODER_CONTAINER_TAG", "bids_encoder:0.1.0")
    dataset_description.init_dataset(tmp_path / "out", raw)
    content = json.loads((tmp_path / "out/dataset_description.json").read_text())
    container = {"Type": "docker", "Tag": "bids_encoder:0.1.0"}
    assert content["GeneratedBy"][0]["Container"] == container
    monkeypatch.setenv("APPTAINER_CONTAINER", "/somewhere/bids_encoder.sif")
    found = dataset_description.container_from_environment()
    assert found == {**container, "Type": "apptainer"}


@pytest.mark.parametrize(
    ("there", "found", "better"),
    [
        ({"GeneratedBy": [{"Name": "fMRIPrep"}]}, "fMRIPrep", "bids_encoder"),
        ({"Name": "a raw dataset"}, "a dataset of its own", "out/derivatives/bids_encoder"),
        ([], "a dataset of its own", "out/derivatives/bids_encoder"),
    ],
)
def test_the_folder_of_another_dataset_is_refused(raw, tmp_path, there, found, better):
    atomic.write_json(tmp_path / "out" / "dataset_description.json", there)
    with pytest.raises(OutputError) as error:
        dataset_description.init_dataset(tmp_path / "out", raw)
    for part in ("dataset_description.json", "GeneratedBy", found, str(tmp_path / better)):
        assert part in str(error.value)
    assert os.listdir(tmp_path / "out") == ["dataset_description.json"]


def test_a_description_that_cannot_be_read_is_refused(raw, tmp_path):
    atomic.write_text(tmp_path / "out" / "dataset_description.json", "{half")
    with pytest.raises(OutputError, match="(?s)dataset_description.json.*choose another"):
        dataset_description.init_dataset(tmp_path / "out", raw)


def test_an_output_that_is_a_file_is_refused(raw, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="(?s)out.*choose another output"):
        dataset_description.init_dataset(tmp_path / "out", raw)


@pytest.mark.parametrize("name", ["raw", "", "a:b", "a/b"])
def test_names_of_derivatives_that_cannot_be_used(raw, tmp_path, name):
    with pytest.raises(UsageError, match="--derivatives fmriprep=PATH"):
        dataset_description.init_dataset(tmp_path / "out", raw, {name: tmp_path})


def test_descriptions_of_several_networks_share_a_table(tmp_path):
    dataset_description.add_descriptions(tmp_path / "out", "vgg16", ["features.3"])
    dataset_description.add_descriptions(tmp_path / "out", "alexnet", ["features.1"])
    table = pandas.read_csv(tmp_path / "out" / "descriptions.tsv", sep="\t", index_col="desc_id")
    assert table.index.is_monotonic_increasing
    assert table.loc["desc-vgg16+features3", "description"] == (
        "From layer features.3 of the network vgg16."
    )
    assert "desc-alexnet+bestlayer" in table.index


def _start_one(raw, output, barrier, number):
    barrier.wait()
    dataset_description.init_dataset(output, raw, {f"prep{number}": raw})
    dataset_description.add_descriptions(output, f"net{number}", ["conv1"])


def test_eight_participants_may_start_at_once(raw, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    arguments = [(raw, tmp_path / "out", barrier, number) for number in range(8)]
    workers = [context.Process(target=_start_one, args=args) for args in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    content = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert set(content["DatasetLinks"]) == {"raw", *(f"prep{number}" for number in range(8))}
    table = pandas.read_csv(tmp_path / "out" / "descriptions.tsv", sep="\t")
    assert {f"desc-net{number}+conv1" for number in range(8)} <= set(table["desc_id"])
    assert not list((tmp_path / "out").glob(".tmp-*"))
