"""Names of files: BIDS entity order, labels, and what cannot be named."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from bids_encoder.derivatives import file_names
from bids_encoder.errors import UsageError

NAMES = {
    "sub": "01", "task": "pictures", "space": "MNI152NLin2009cAsym", "res": "2", "tpl": "study",
    "atlas": "visual", "contrast": "faces", "network": "resnet18", "layer": "layer1.0.relu",
    "measure": "r",
    "runid": "20260102-030405",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("features.0", "features0"),
        ("layer1.0.relu", "layer10relu"),
        ("Mixed_5b", "Mixed5b"),
        ("a+b", "a+b"),
        ("Größe 3", "Gre3"),
    ],
)
def test_labels_keep_letters_digits_and_plus(text, expected):
    assert file_names.label(text) == expected


@pytest.mark.parametrize("text", ["", "..", "日本"])
def test_a_name_that_leaves_no_label_is_refused(text):
    with pytest.raises(UsageError) as error:
        file_names.label(text)
    assert repr(text) in str(error.value)
    assert "another name" in str(error.value)


def test_desc_labels_join_network_and_layer():
    assert file_names.desc_label("alexnet", "features.1") == "alexnet+features1"
    assert file_names.desc_label("vgg-16") == "vgg16"


def test_layers_with_names_of_their_own_pass():
    file_names.check_layer_labels("alexnet", ["features.1", "features.4", "classifier.1"])
    file_names.check_layer_labels("alexnet", ["features.1", "features.1"])


@pytest.mark.parametrize(
    "layers", [["a.11", "a.1.1"], ["conv1", "Conv1"], ["features.1", "best_layer"]]
)
def test_layers_that_would_overwrite_each_other_are_refused(layers):
    with pytest.raises(UsageError) as error:
        file_names.check_layer_labels("alexnet", layers)
    assert layers[1] in str(error.value)
    assert "--layers" in str(error.value)


def test_the_names_that_the_design_gives():
    def name(kind, **names):
        return file_names.output_path("out", kind, {**NAMES, **names}).relative_to("out").as_posix()

    func = "sub-01/func/sub-01_task-pictures_space-MNI152NLin2009cAsym"
    assert name("mask") == f"{func}_res-2_desc-analysis_mask.nii.gz"
    assert name("r2") == f"{func}_res-2_stat-r2_desc-resnet18+layer10relu_statmap.nii.gz"
    assert name("slope", res=None) == f"{func}_stat-slope_desc-resnet18_statmap.nii.gz"
    assert name("bestlayer") == f"{func}_res-2_desc-resnet18+bestlayer_dseg.nii.gz"
    assert name("fingerprint") == f"{func}_atlas-visual_res-2_desc-resnet18_fingerprint.tsv"
    assert name("weights", space=None, res=None) == (
        "sub-01/func/sub-01_task-pictures_desc-resnet18+layer10relu_weights.h5"
    )
    assert name("group_mean", layer=None, measure="slope") == (
        "tpl-study/func/tpl-study_task-pictures_res-2_stat-slope+mean_desc-resnet18_statmap.nii.gz"
    )
    assert name("config") == "sub-01/log/20260102030405/config.toml"


def test_the_extension_can_be_that_of_a_companion_or_of_the_sidecar():
    assert file_names.output_path("out", "bestlayer", NAMES, ".tsv").name.endswith("_dseg.tsv")
    assert file_names.output_path("out", "r", NAMES, ".json").name.endswith("_statmap.json")
    with pytest.raises(ValueError, match=r"'r' files .* not .tsv"):
        file_names.output_path("out", "r", NAMES, ".tsv")


def test_what_a_name_needs_must_be_given():
    with pytest.raises(ValueError, match="needs layer, task"):
        file_names.output_path("out", "r", {"sub": "01", "network": "alexnet"})
    with pytest.raises(KeyError, match="no such kind"):
        file_names.output_path("out", "no such kind", NAMES)


@pytest.mark.parametrize("wrong", ["0.1", "a_b", "../..", "a-b", "", "é"])
def test_entities_that_are_no_labels_are_refused(wrong):
    with pytest.raises(UsageError) as error:
        file_names.output_path("out", "r", {**NAMES, "sub": wrong})
    assert f"sub-{wrong}" in str(error.value)
    assert "Rename it" in str(error.value)


@pytest.mark.parametrize("kind", file_names.kinds().values(), ids=lambda kind: kind.name)
def test_declarations_follow_the_order_of_bids_entities(kind):
    schema = resources.files("bidsschematools") / "data" / "schema.json"
    schema = json.loads(schema.read_text("utf-8"))
    order = [schema["objects"]["entities"][name]["name"] for name in schema["rules"]["entities"]]
    order[-1:] = ["contrast", "stat", "desc"]
    file_name = kind.path.rpartition("/")[2]
    entities = re.findall(r"(?:^|_)([a-z]+)-", file_name)
    assert entities == sorted(entities, key=order.index)


@pytest.mark.parametrize("kind", file_names.kinds().values(), ids=lambda kind: kind.name)
def test_declarations_are_complete(kind):
    text = file_names.describe(kind.name, NAMES)
    assert text.endswith(".")
    assert not set("{}[]") & set(text)
    path = file_names.output_path("out", kind.name, NAMES)
    assert not set("{}[] ") & set(path.as_posix())
    assert all(extension.startswith(".") for extension in kind.extensions)


def test_no_two_kinds_share_a_path():
    paths = [file_names.output_path("out", kind, NAMES) for kind in file_names.kinds()]
    assert len(set(paths)) == len(paths)


def test_bidsignore_has_one_pattern_a_line_and_no_trailing_slashes():
    lines = file_names.bidsignore().splitlines()
    assert lines == sorted(set(lines))
    assert not any(line.endswith("/") for line in lines)
    # What the standard knows is never hidden.
    for standard in ("mask", "bestlayer"):
        name = file_names.output_path("out", standard, NAMES)
        assert not any(Path(name).match(line) for line in lines)


def test_every_desc_label_of_a_declared_file_is_explained():
    rows = file_names.label_descriptions("resnet18", ["layer1.0.relu"])
    assert rows["desc-resnet18+layer10relu"] == "From layer layer1.0.relu of the network resnet18."
    for kind in file_names.kinds():
        found = re.search(r"desc-[0-9A-Za-z+]+", file_names.output_path("out", kind, NAMES).name)
        if found:
            assert found[0] in rows
