"""Conditions: which pictures and trials they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bids_encoder.bids.events import Presentation
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.synthesis.conditions import Shown, find_pictures
from bids_encoder.synthesis.contrast_file import read_contrast_file
from bids_encoder.synthesis.folder import read_folder

NAMES = [f"face{k}.png" for k in range(3)] + [f"house{k}.png" for k in range(3)]


@pytest.fixture
def shown(tmp_path) -> Shown:
    """Six pictures in two runs; face0 in both."""
    root = tmp_path / "data"
    (root / "stimuli").mkdir(parents=True)
    for name in NAMES:
        (root / "stimuli" / name).write_bytes(b"content of " + name.encode())
    rows = [f"{n}\t{n[:-5]}\t{int(n[-5] == '0')}\n" for n in NAMES]
    (root / "stimuli" / "stimuli.tsv").write_text("filename\tkind\tfirst\n" + "".join(rows))
    events, seen = [], []
    for run, names in enumerate((NAMES, [NAMES[0], "n/a", NAMES[3]])):
        path = tmp_path / f"run{run}_events.tsv"
        lines = [
            f"{10 * i}\t1\t{'blank' if name == 'n/a' else name[:-5]}\t{name}\t{run + 1:02d}"
            for i, name in enumerate(names)
        ]
        path.write_text("onset\tduration\ttrial_type\tstim_file\tpart\n" + "\n".join(lines) + "\n")
        events.append(path)
        seen.append(
            tuple(
                Presentation(10.0 * i, 1.0, name, i + 2)
                for i, name in enumerate(names)
                if name != "n/a"
            )
        )
    stimuli = {name: root / "stimuli" / name for name in NAMES}
    return Shown(tuple(events), tuple(seen), stimuli, root)


def find(tmp_path, shown, a, b, **more):
    content = {
        "Conditions": {"a": a, "b": b},
        "Contrasts": [{"Name": "c", "ConditionList": ["a", "b"], "Weights": [1, -1]}],
    }
    path = tmp_path / "contrasts.json"
    path.write_text(json.dumps({**content, **more}))
    return find_pictures(read_contrast_file(path), shown)


HOUSES = {"Events": {"trial_type": "house"}}


def folder(tmp_path, *names, table=None, name="other"):
    path = tmp_path / name
    path.mkdir()
    for one in names:
        (path / one).parent.mkdir(exist_ok=True)
        (path / one).write_bytes(b"other " + one.encode())
    if table is not None:
        (path / "stimuli.tsv").write_text(table)
    return path


def test_lines_of_events(tmp_path, shown):
    faces = {"Events": {"trial_type": "face", "part": 1}}
    [found], files = find(tmp_path, shown, faces, HOUSES)
    assert found.pictures == {"a": tuple(NAMES[:3]), "b": tuple(NAMES[3:])}
    assert [len(run["a"]) for run in found.trials] == [3, 0]
    assert [[one.row for one in run["b"]] for run in found.trials] == [[5, 6, 7], [4]]
    assert files == {} and found.conditions == ["a"] * 3 + ["b"] * 3


def test_lines_of_the_table_of_stimuli(tmp_path, shown):
    [found], _ = find(tmp_path, shown, {"Stimuli": {"kind": "face"}}, HOUSES)
    assert found.pictures["a"] == tuple(NAMES[:3])
    assert [len(run["a"]) for run in found.trials] == [3, 1]


def test_pictures_of_the_table_that_were_not_shown_do_not_count(tmp_path, shown):
    (shown.dataset_root / "stimuli" / "face9.png").write_bytes(b"new")
    table = shown.dataset_root / "stimuli" / "stimuli.tsv"
    table.write_text(table.read_text() + "face9.png\tface\t0\n")
    [found], _ = find(tmp_path, shown, {"Stimuli": {"kind": "face"}}, HOUSES)
    assert found.pictures["a"] == tuple(NAMES[:3])


def test_folders_from_elsewhere(tmp_path, shown):
    folder(tmp_path, "x.png", "deep/y.jpg", "README.txt", ".z.png")
    [found], files = find(tmp_path, shown, {"Folder": "other"}, HOUSES)
    assert found.pictures["a"] == ("other/deep/y.jpg", "other/x.png")
    assert files["other/x.png"] == tmp_path / "other" / "x.png"
    assert found.trials is None


def test_a_table_in_the_folder(tmp_path, shown):
    table = "filename\tkind\nx.png\tcat\ny.png\tdog\nz.png\tcat\n"
    folder(tmp_path, "x.png", "y.png", "z.png", "w.png", table=table)
    cats = {"Folder": "other", "Stimuli": {"kind": "cat"}}
    [found], _ = find(tmp_path, shown, cats, HOUSES)
    assert found.pictures["a"] == ("other/x.png", "other/z.png")


def test_copies_of_what_was_shown_are_what_was_shown(tmp_path, shown):
    path = folder(tmp_path, "x.png", "y.png")
    for name, source in (("x.png", "face1.png"), ("y.png", "face2.png")):
        (path / name).write_bytes(shown.stimuli[source].read_bytes())
    [found], files = find(tmp_path, shown, {"Folder": "other"}, HOUSES)
    assert found.pictures["a"] == ("face1.png", "face2.png") and files == {}
    assert [len(run["a"]) for run in found.trials] == [2, 0]


def test_a_picture_that_comes_twice_counts_once(tmp_path, shown):
    path = folder(tmp_path, "x.png", "y.png", "z.png")
    (path / "z.png").write_bytes((path / "x.png").read_bytes())
    [found], files = find(tmp_path, shown, {"Folder": "other"}, HOUSES)
    assert found.pictures["a"] == ("other/x.png", "other/y.png") and len(files) == 2


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"Events": {"trial_typ": "face"}}, ["a.Events", "not in the events", "'trial_type'?"]),
        ({"Events": {"trial_type": "fac"}}, ["a.Events.trial_type", "blank, face", "'face'?"]),
        ({"Events": {"trial_type": "blank"}}, ["place:    Conditions.a", "fewer than two"]),
        ({"Stimuli": {"sort": "x"}}, ["a.Stimuli", "not in the table of stimuli", "stimuli.tsv"]),
        ({"Stimuli": {"kind": "cat"}}, ["a.Stimuli.kind", "face, house"]),
        ({"Stimuli": {"first": "1", "kind": "face"}}, ["fewer than two", "face0.png"]),
        ({"Stimuli": {"kind": "house"}}, ["Contrasts[0]", "in two conditions", "house0.png"]),
    ],
)
def test_what_is_not_there(tmp_path, shown, condition, words):
    with pytest.raises(DataError) as caught:
        find(tmp_path, shown, condition, HOUSES)
    assert all(word in str(caught.value) for word in (*words, "contrasts.json"))
    assert caught.value.parts["remedy"]


def test_missing_tables_and_folders(tmp_path, shown):
    folder(tmp_path, "x.png")
    (shown.dataset_root / "stimuli" / "stimuli.tsv").unlink()
    for condition, words in (
        ({"Stimuli": {"kind": "face"}}, ["no table of stimuli", "stimuli.tsv", "Events"]),
        ({"Folder": "nowhere"}, ["no such folder", "nowhere", "Conditions.a.Folder"]),
        ({"Folder": "other", "Stimuli": {"k": "v"}}, ["has no table", "Conditions.a.Stimuli"]),
    ):
        with pytest.raises(MissingInputError) as caught:
            find(tmp_path, shown, condition, HOUSES)
        assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ("kind\tx\nb\tc\n", DataError, ["names no files", "line 1", "filename"]),
        ("filename\tkind\n", DataError, ["names no pictures", "header only"]),
        ("filename\tk\nx.png\ta\n./x.png\ta\n", DataError, ["twice", "line 3", "line 2 too"]),
        ("filename\tk\n../x.png\ta\n", DataError, ["line 2", "inside of it"]),
        ("filename\tk\n/etc/passwd\ta\n", DataError, ["line 2", "inside of it"]),
        ("filename\tk\nn/a\ta\n", DataError, ["line 2", "inside of it"]),
        ("filename\tk\nx.jpg\ta\n", MissingInputError, ["1 of 1", "line 2", "x.png meant?"]),
    ],
)
def test_broken_tables_of_folders(tmp_path, table, error, words):
    path = folder(tmp_path, "x.png", table=table)
    with pytest.raises(error) as caught:
        read_folder(path)
    assert all(word in str(caught.value) for word in (*words, "stimuli.tsv"))
    assert caught.value.parts["remedy"]


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no pictures"):
        read_folder(folder(tmp_path, "README.md"))


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    path = folder(tmp_path, "a.png")
    (path / "b.png").symlink_to(secret)
    (path / "inner.png").symlink_to("a.png")
    with pytest.raises(DataError, match="leads out") as caught:
        read_folder(path)
    assert "b.png" in str(caught.value) and "copy the picture" in str(caught.value)
    (path / "b.png").unlink()
    assert list(read_folder(path).files) == ["a.png", "inner.png"]
    (path / "loop").symlink_to(tmp_path)
    assert list(read_folder(path).files) == ["a.png", "inner.png"]
    (path / "stimuli.tsv").write_text("filename\tk\nloop/secret.png\tx\n")
    with pytest.raises(DataError, match="leads out"):
        read_folder(path)


def test_pictures_in_an_annex(tmp_path):
    content = tmp_path / ".git" / "annex" / "objects" / "ab" / "key.png"
    content.parent.mkdir(parents=True)
    content.write_bytes(b"x")
    path = folder(tmp_path, "a.png")
    (path / "b.png").symlink_to(os.path.relpath(content, path))
    assert list(read_folder(path).files) == ["a.png", "b.png"]
    content.unlink()
    with pytest.raises(MissingInputError, match="datalad get"):
        read_folder(Path(path))
