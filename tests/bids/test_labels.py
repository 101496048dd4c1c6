"""Tables of labels of every kind that people have."""

from __future__ import annotations

import os

import pytest

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.regions.label_tables import find_labels, from_one, read_labels

FSL = """<?xml version="1.0" encoding="ISO-8859-1"?>
<atlas version="1.0"><header><name>Juelich</name><type>{kind}</type>
<images><imagefile>/Juelich/Juelich-prob-2mm</imagefile>
<summaryimagefile>/Juelich/Juelich-maxprob-thr25-2mm</summaryimagefile></images></header>
<data><label index="0" x="1" y="2" z="3">V1</label><label index="1" x="1" y="2" z="3">V2</label>
</data></atlas>"""

READABLE = {
    "bids.tsv": "index\tname\tcolor\n0\tBackground\t#000000\n1\tV1\t#ff0000\n7\tV4 left\t#00ff00\n",
    "capitals.tsv": "Name\tIndex\nBackground\t0\nV1\t1\nV4 left\t7\n",
    "header.csv": "index,name\n0,Background\n1,V1\n7,V4 left\n",
    "semicolons.csv": "index;name\n0;Background\n1;V1\n7;V4 left\n",
    "bare.csv": "0,Background\n1,V1\n7,V4 left\n",
    "bom.csv": "\ufeffindex,name\r\n0,Background\r\n1,V1\r\n7,V4 left\r\n",
    "list.txt": "0 Background\n1 V1\n7 V4 left\n",
    "freesurfer.lut": "# no. label r g b a\n0 Background 0 0 0 0\n1 V1 9 8 7 0\n7 V4 left 1 2 3 0",
}


@pytest.mark.parametrize("name", READABLE)
def test_tables_that_are_read(tmp_path, name):
    path = tmp_path / name
    path.write_text(READABLE[name], encoding="utf-8", newline="")
    assert read_labels(path) == {0: "Background", 1: "V1", 7: "V4 left"}


def test_a_list_of_names_counts_from_one(tmp_path):
    (tmp_path / "names.txt").write_text("V1\nV4 left\n")
    assert read_labels(tmp_path / "names.txt") == {1: "V1", 2: "V4 left"}


def test_components_of_a_probabilistic_atlas_count_from_one(tmp_path):
    path = tmp_path / "difumo.tsv"
    path.write_text("Component\tDifumo_names\tGM\n1\tFusiform\t0.3\n2\tCuneus\t0.4\n")
    assert read_labels(path) == {1: "Fusiform", 2: "Cuneus"}


@pytest.mark.parametrize(("kind", "first"), [("Probabilistic", 1), ("Label", 0)])
def test_fsl_counts_from_zero(tmp_path, kind, first):
    (tmp_path / "Juelich.xml").write_text(FSL.format(kind=kind))
    assert read_labels(tmp_path / "Juelich.xml") == {first: "V1", first + 1: "V2"}


def test_names_that_come_twice_are_told_apart(tmp_path):
    (tmp_path / "a.csv").write_text("1,V1\n2,V2\n101,V1\n")
    assert read_labels(tmp_path / "a.csv") == {1: "V1 (1)", 2: "V2", 101: "V1 (101)"}


@pytest.mark.parametrize(
    ("name", "text", "place", "remedy"),
    [
        ("a.tsv", "index\tname\n1\tV1\nx\tV2\n", "line 3", "correct the table"),
        ("a.tsv", "index\tname\n1.5\tV1\n", "line 2", "correct the table"),
        ("a.tsv", "index\tname\n-1\tV1\n", "line 2", "correct the table"),
        ("a.tsv", "index\tname\n1\tV1\n1\tV2\n", "line 3", "correct the table"),
        ("a.tsv", "key\tword\n1\tV1\n", "line 1", "--atlas-labels"),
        ("a.csv", "key,word\n1,V1\n", "line 1", "--atlas-labels"),
        ("a.csv", "1,V1\n2\n", "line 2", "--atlas-labels"),
        ("a.txt", "1 V1\n2\n", "line 2", "--atlas-labels"),
        ("a.csv", "", None, "--atlas-labels"),
        ("a.txt", "# nothing\n", None, "--atlas-labels"),
        ("a.xml", "<atlas>", None, "--atlas-labels"),
        ("a.xml", "<atlas/>", None, "--atlas-labels"),
        ("a.xml", '<atlas><data><label index="x">V1</label></data></atlas>', "label 1", "correct"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, text, place, remedy):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_labels(path)
    message = str(caught.value)
    assert str(path) in message and remedy in message
    assert place is None or place in message


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,V1\n2,\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8") as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "a.txt"
    with open(path, "wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(DataError, match="20000000 bytes"):
        read_labels(path)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(MissingInputError, match="--atlas-labels"):
        read_labels(tmp_path / "a.tsv")
    os.symlink("../.git/annex/objects/x", tmp_path / "b.tsv")
    with pytest.raises(MissingInputError, match="datalad get"):
        read_labels(tmp_path / "b.tsv")


@pytest.mark.parametrize(
    ("image", "table"),
    [
        ("tpl-MNI_res-02_atlas-A_desc-x_dseg.nii.gz", "tpl-MNI_atlas-A_desc-x_dseg.tsv"),
        ("areas.nii.gz", "areas.csv"),
        ("areas.nii", "areas.txt"),
        ("atlas_juelich.nii.gz", "labels_juelich.csv"),
        ("atlas_marsatlas.nii.gz", "labels_marsatlas.csv"),
        ("areas.nii.gz", "areas_labels.lut"),
    ],
)
def test_the_table_beside_an_image(tmp_path, image, table):
    assert find_labels(tmp_path / image) is None
    (tmp_path / "other_labels.csv").write_text("1,V1\n")
    (tmp_path / "tpl-MNI_atlas-B_desc-x_dseg.tsv").write_text("index\tname\n1\tV1\n")
    (tmp_path / table).write_text("1,V1\n")
    assert find_labels(tmp_path / image) == tmp_path / table


def test_fsls_table_lies_one_folder_above(tmp_path):
    folder = tmp_path / "Juelich"
    folder.mkdir()
    (tmp_path / "Juelich.xml").write_text(FSL.format(kind="Probabilistic"))
    (tmp_path / "Other.xml").write_text("<atlas/>")
    assert find_labels(folder / "Juelich-maxprob-thr25-2mm.nii.gz") == tmp_path / "Juelich.xml"
    assert find_labels(folder / "Juelich-prob-2mm.nii.gz") == tmp_path / "Juelich.xml"
    assert find_labels(folder / "Juelich-prob-1mm.nii.gz") is None


def test_volumes_are_counted_from_one():
    assert from_one({0: "a", 1: "b"}, 2) == {1: "a", 2: "b"}
    assert from_one({1: "a", 2: "b"}, 2) == {1: "a", 2: "b"}
    assert from_one({0: "Background", 1: "a", 2: "b"}, 2) == {0: "Background", 1: "a", 2: "b"}
