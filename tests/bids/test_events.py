"""Tables of events, and the files of the stimuli that they name."""

from __future__ import annotations

import logging
import shutil

import pytest

from bids_encoder.bids.events import (
    NoStimulusColumn,
    Presentation,
    check_onsets,
    presentations,
    read_events,
    read_presentations,
)
from bids_encoder.errors import DataError, MissingInputError

HEADER = "onset\tduration\tstim_file\n"
EVENTS = "sub-01/func/sub-01_task-x_events.tsv"


@pytest.fixture
def shown(raw):
    """Names of stimuli -> what is found for them."""

    def find(*names, column="stim_file", **options):
        rows = "".join(f"{second}\t1\t{name}\n" for second, name in enumerate(names))
        path = raw.write(EVENTS, f"onset\tduration\t{column}\n{rows}")
        found = presentations(path, dataset_root=raw.root, **options)
        return [one.stimulus for one in found]

    return find


# ---- the table


def test_table(raw):
    path = raw.write(EVENTS, "onset\tduration\ttrial\n-1.5\t2\t007\n3e0\t0\tn/a\n")
    table = read_events(path)
    assert table["onset"].tolist() == [-1.5, 3.0]
    assert table["duration"].tolist() == [2.0, 0.0]
    assert table["trial"].tolist() == ["007", "n/a"]
    assert table.index.tolist() == [2, 3]


def test_rows_are_sorted_and_keep_their_lines(raw):
    path = raw.write(EVENTS, HEADER + "5\t1\tb\n\n1\t1\ta\n5\t1\tc\n")
    table = read_events(path)
    assert table["stim_file"].tolist() == ["a", "b", "c"]
    assert table.index.tolist() == [4, 2, 5]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf" + HEADER.encode() + b"0\t1\ta.png\n", "byte-order mark"),
        (HEADER.replace("\n", "\r\n").encode() + b"0\t1\ta.png\r\n", "Windows line ends"),
        (HEADER.encode() + b"0\tn/a\ta.png\n1\tn/a\ta.png\n", "durations n/a, taken as 0 s"),
    ],
)
def test_tolerated_faults_are_warned_of_once(raw, caplog, content, words):
    table = read_events(raw.write(EVENTS, content))
    assert table["stim_file"].tolist()[0] == "a.png"
    assert table["onset"].tolist()[0] == 0.0
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert words in warnings[0]


def test_trailing_tabs_and_quotes(raw):
    path = raw.write(EVENTS, 'onset\tduration\tnote\t\n0\t1\t"a\tb"\t\n1\t1\t5" wide\t\n')
    assert read_events(path)["note"].tolist() == ["a\tb", '5" wide']


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"0\t1\n1\t1\n", "no header.*line 1"),
        (b"duration\tx\n1\ta\n", "no column onset"),
        (b"onset\tx\n1\ta\n", "no column duration"),
        (b"Onset\tduration\n1\t1\n", "no column onset.*did you mean Onset"),
        (b"onset\tduration\tx\tx\n1\t1\ta\tb\n", "same name.*line 1.*x.*rename"),
        (b"onset\tduration\n1\t1\nsoon\t1\n", "onset.*not a number.*line 3, column onset.*soon"),
        (b"onset\tduration\n1,5\t1\n", "1,5.*a point, not a comma"),
        (b"onset\tduration\nn/a\t1\n", "onset.*not a number.*line 2.*n/a"),
        (b"onset\tduration\n\t1\n", "onset.*not a number.*line 2.*nothing"),
        (b"onset\tduration\nnan\t1\n", "line 2, column onset"),
        (b"onset\tduration\ninf\t1\n", "line 2, column onset.*inf"),
        (b"onset\tduration\n1_0\t1\n", "line 2, column onset.*1_0"),
        (b"onset\tduration\n1\t-2\n", "duration.*negative.*line 2, column duration.*-2"),
        (b"onset\tduration\n1\tlong\n", "duration.*not a number.*long"),
        (b"onset\tduration\tx\n1\t1\ta\n1\t1\n", "line 3.*2 values.*3: onset, duration, x"),
        (b"onset\tduration\n1\t1\ta\n", "line 2.*3 values"),
        (b"onset,duration\n1,1\n", "separated by commas"),
        (b"onset;duration\n1;1\n", "separated by semicolons"),
        (b"onset duration\n1 1\n", "separated by spaces"),
        ("onset\tduration\tx\n1\t1\té\n".encode("latin-1"), "UTF-8.*line 2.*0xe9.*save it"),
        (b"onset\tduration\tx\n1\t1\ta\0\n", "NUL.*restore"),
    ],
)
def test_bad_tables(raw, content, words):
    path = raw.write(EVENTS, content)
    with pytest.raises(DataError, match=f"(?s){words}") as caught:
        read_events(path)
    assert str(path) in str(caught.value)


def test_missing_and_unfetched_tables(raw):
    with pytest.raises(MissingInputError, match="no such table"):
        read_events(raw.root / EVENTS)
    with pytest.raises(MissingInputError, match="datalad get"):
        read_events(raw.annexed(EVENTS))
    pointer = raw.write(EVENTS, "/annex/objects/MD5E-s9--0.tsv\n")
    with pytest.raises(MissingInputError, match=f"datalad get {pointer}"):
        read_events(pointer)


# ---- which file


def test_presentations(raw):
    path = raw.write(EVENTS, HEADER + "4\t.5\tb.png\n0\t1\ta.png\n2\t1\tn/a\n3\t1\t\n")
    assert presentations(path, dataset_root=raw.root) == [
        Presentation(0.0, 1.0, "a.png", 3),
        Presentation(4.0, 0.5, "b.png", 2),
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stimuli/a.png", "begin with stimuli/"),
        ("/a.png", "begin with /"),
        ("/stimuli/a.png", "begin with stimuli/"),
        ("sub\\c.png", "backslashes"),
        ("stimuli\\sub\\c.png", "backslashes"),
    ],
)
def test_one_warning_for_wrong_beginnings(raw, shown, caplog, name, words):
    raw.write("stimuli/sub/c.png")
    expected = "sub/c.png" if "c.png" in name else "a.png"
    assert shown(name, name, "b.png", name) == [expected, expected, "b.png", expected]
    assert len([r for r in caplog.records if words in r.getMessage()]) == 1


def test_absolute_path_inside(raw, shown, caplog):
    assert shown(f"{raw.root}/stimuli/a.png") == ["a.png"]
    assert "begin with /" in caplog.text


def test_a_folder_that_is_called_stimuli(raw, shown, caplog):
    raw.write("stimuli/stimuli/a.png")
    assert shown("stimuli/a.png", "a.png") == ["stimuli/a.png", "a.png"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../secret.png", "leaves the folder"),
        ("x/../../secret.png", "leaves the folder"),
        ("..\\secret.png", "leaves the folder"),
        ("..", "leaves the folder"),
        (".", "leaves the folder"),
        ("/etc/passwd", "an absolute path"),
        ("C:\\pictures\\a.png", "a drive letter"),
        ("c:/pictures/a.png", "a drive letter"),
    ],
)
def test_names_that_escape_are_refused(raw, shown, name, kind):
    raw.write("secret.png")
    with pytest.raises(DataError) as caught:
        shown("a.png", name)
    message = str(caught.value)
    assert kind in message
    assert name in message
    assert "line 3, column stim_file" in message
    assert "--stim-dir" in message
    assert str(raw.root / EVENTS) in message


def test_names_that_turn_back_are_fine(shown):
    assert shown("x/../a.png", "./b.png", "../stimuli/a.png") == ["a.png", "b.png", "a.png"]


def test_stim_dir_is_not_left_either(raw, shown, make_files):
    elsewhere = make_files("pictures")
    elsewhere.write("in/a.png")
    elsewhere.write("secret.png")
    with pytest.raises(DataError, match="leaves the folder"):
        shown("../secret.png", stim_dir=elsewhere.root / "in")


def test_links_out_of_the_dataset_are_refused(raw, shown, make_files):
    outside = make_files("outside")
    secret = outside.write("secret.png")
    (raw.root / "stimuli/link.png").symlink_to(secret)
    (raw.root / "stimuli/folder").symlink_to(outside.root)
    for name in ("link.png", "folder/secret.png"):
        with pytest.raises(DataError, match="(?s)leads out of the dataset.*--stim-dir") as caught:
            shown(name)
        assert str(secret) in str(caught.value)
    assert shown("secret.png", stim_dir=outside.root) == ["secret.png"]


def test_annexed_stimuli(raw, shown, make_files):
    key = ".git/annex/objects/1A/2B/MD5E-s9--0.png/MD5E-s9--0.png"
    raw.write(key)
    (raw.root / "stimuli/c.png").symlink_to(f"../{key}")
    assert shown("c.png") == ["c.png"]
    # An ephemeral clone links the annex itself to another clone.
    other = make_files("other")
    shutil.move(raw.root / ".git/annex", other.root.parent / "annex")
    (raw.root / ".git/annex").symlink_to(other.root.parent / "annex")
    assert shown("c.png") == ["c.png"]
    raw.annexed("stimuli/d.png")
    with pytest.raises(MissingInputError, match=f"datalad get {raw.root}/stimuli/d.png"):
        shown("c.png", "d.png")


def test_pointer_files(raw, shown):
    raw.write("stimuli/a.png", "/annex/objects/MD5E-s9--0.png\n")
    with pytest.raises(MissingInputError, match="datalad get"):
        shown("a.png")


def test_missing_files_are_listed_together(raw, shown):
    names = [f"p{number}.png" for number in range(12)]
    with pytest.raises(MissingInputError) as caught:
        shown("a.png", *names, names[0])
    message = str(caught.value)
    assert "12 stimuli have no file" in message
    assert "p0.png" in message and "p9.png" in message and "p10.png" not in message
    assert "and 2 more" in message
    assert "line 3" in message
    assert str(raw.root / "stimuli") in message
    assert "--stim-dir" in message


def test_near_names_are_suggested(shown):
    with pytest.raises(MissingInputError, match=r"is a\.png meant"):
        shown("a.pngg")


def test_empty_files(raw, shown):
    raw.write("stimuli/a.png", "")
    with pytest.raises(DataError, match=r"(?s)1 file of stimuli is empty.*line 2") as caught:
        shown("a.png", "b.png")
    assert str(raw.root / "stimuli/a.png") in str(caught.value)


def test_no_folder_of_stimuli(raw, shown):
    shutil.rmtree(raw.root / "stimuli")
    with pytest.raises(MissingInputError, match="(?s)no folder with the stimuli.*--stim-dir"):
        shown("a.png")
    with pytest.raises(MissingInputError, match="(?s)nowhere.*--stim-dir"):
        shown("a.png", stim_dir="nowhere")


def test_bare_names_are_looked_up_below(shown, make_files):
    pictures = make_files("pictures")
    for path in ("COCO/1.jpg", "ImageNet/2.jpg", "Scene/3.jpg", "ImageNet/4.jpg", "Scene/4.jpg"):
        pictures.write(path)
    found = shown("3.jpg", "1.jpg", "Scene/4.jpg", stim_dir=pictures.root)
    assert found == ["Scene/3.jpg", "COCO/1.jpg", "Scene/4.jpg"]
    with pytest.raises(DataError, match=r"(?s)line 2.*ImageNet/4\.jpg, Scene/4\.jpg"):
        shown("4.jpg", stim_dir=pictures.root)


def test_names_may_lack_folders_and_extensions(shown, make_files):
    pictures = make_files("pictures")
    for path in ("all/pie/pie_12s.jpg", "all/pie/pie_12s.json", "all/n01.5_2.JPEG", "x.png"):
        pictures.write(path)
    found = shown("pie/pie_12s.jpg", "pie/pie_12s", "n01.5_2", "x", stim_dir=pictures.root)
    assert found == ["all/pie/pie_12s.jpg", "all/pie/pie_12s.jpg", "all/n01.5_2.JPEG", "x.png"]
    pictures.write("y/x.jpg")
    with pytest.raises(DataError, match="2 files fit"):
        shown("x", stim_dir=pictures.root)


# ---- which column


def test_given_column_wins(raw):
    path = raw.write(EVENTS, "onset\tduration\tstim_file\tother\n0\t1\ta.png\tb.png\n")
    found = presentations(path, dataset_root=raw.root, column="other")
    assert [one.stimulus for one in found] == ["b.png"]


def test_stim_file_goes_before_stim_id(raw):
    raw.write("stimuli/stimuli.tsv", "stimulus_id\tfilename\nstim-b\tb.png\n")
    path = raw.write(EVENTS, "onset\tduration\tstim_id\tstim_file\n0\t1\tstim-b\ta.png\n")
    assert presentations(path, dataset_root=raw.root)[0].stimulus == "a.png"
    raw.write(EVENTS, "onset\tduration\tstim_id\tstim_file\n0\t1\tstim-b\tn/a\n")
    assert presentations(path, dataset_root=raw.root)[0].stimulus == "b.png"


@pytest.mark.parametrize("header", ["stimulus_id\ttype\tfilename", "stim_id\ttype\tstim_file"])
def test_catalogue(raw, shown, header):
    raw.write("stimuli/stimuli.tsv", f"{header}\nstim-1\timage\ta.png\nstim-2\timage\tb.png\n")
    assert shown("stim-2", "stim-1", column="stim_id") == ["b.png", "a.png"]


def test_catalogue_without_file_names(raw, shown):
    raw.write("stimuli/stimuli.tsv", "stimulus_id\ttype\nstim-1\timage\nstim-11\timage\n")
    raw.write("stimuli/stim-1_image.png")
    raw.write("stimuli/stim-1_image.json", "{}")
    raw.write("stimuli/stim-11_image.png")
    found = shown("stim-1", "stim-11", column="stim_id")
    assert found == ["stim-1_image.png", "stim-11_image.png"]


def test_bad_catalogues(raw, shown):
    raw.write("stimuli/stimuli.tsv", "name\tfilename\nx\ta.png\n")
    with pytest.raises(DataError, match="(?s)no column of ids.*name, filename.*stimulus_id"):
        shown("x", column="stim_id")
    raw.write("stimuli/stimuli.tsv", "stimulus_id\tfilename\nx\ta.png\nx\tb.png\n")
    with pytest.raises(DataError, match="(?s)twice.*line 3.*a.png and b.png"):
        shown("x", column="stim_id")


def test_no_stimulus_column(raw):
    path = raw.write(EVENTS, "onset\tduration\ttrial_type\n0\t1\tface\n")
    with pytest.raises(NoStimulusColumn) as caught:
        presentations(path, dataset_root=raw.root)
    message = str(caught.value)
    assert "columns onset, duration, trial_type" in message
    assert "--stim-column" in message
    assert str(path) in message


def test_a_column_that_looks_right_is_suggested(raw):
    path = raw.write(EVENTS, "onset\tduration\tkind\tshown\n0\t1\tface\tx/a.JPG\n")
    with pytest.raises(NoStimulusColumn, match="--stim-column shown"):
        presentations(path, dataset_root=raw.root)


def test_a_column_that_no_table_has(raw):
    path = raw.write(EVENTS, "onset\tduration\tfile_path\n0\t1\ta.png\n")
    with pytest.raises(NoStimulusColumn, match="(?s)file_pth.*did you mean file_path") as caught:
        presentations(path, dataset_root=raw.root, column="file_pth")
    assert caught.value.exit_code == 65


def test_columns_of_times_are_no_stimuli(raw):
    path = raw.write(EVENTS, HEADER + "0\t1\ta.png\n")
    with pytest.raises(NoStimulusColumn):
        presentations(path, dataset_root=raw.root, column="onset")


def test_all_absent(raw):
    path = raw.write(EVENTS, HEADER + "0\t1\tn/a\n")
    with pytest.raises(NoStimulusColumn, match="n/a in every row"):
        presentations(path, dataset_root=raw.root)


def test_runs_without_stimuli_are_left_out(raw, caplog):
    one = raw.write("one_events.tsv", HEADER + "0\t1\ta.png\n")
    two = raw.write("two_events.tsv", "onset\tduration\n0\t1\n")
    shown, files = read_presentations([one, two], dataset_root=raw.root)
    assert list(shown) == [one]
    assert files == {"a.png": raw.root / "stimuli/a.png"}
    assert "two_events.tsv" in caplog.text


def test_faults_of_many_runs_are_one_warning(raw, caplog):
    paths = [
        raw.write(f"{number}_events.tsv", HEADER + "0\t1\tstimuli/a.png\r\n") for number in range(9)
    ]
    read_presentations(paths, dataset_root=raw.root)
    assert len(caplog.records) == 2
    assert "and 8 more" in caplog.text


# ---- the end of the run


def test_onsets_after_the_end():
    late = [Presentation(1.0, 1.0, "a", 2), Presentation(400.0, 1.0, "b", 3)]
    check_onsets(late, 400.5, "events.tsv")
    with pytest.raises(DataError, match="(?s)events.tsv.*line 3.*400 s.*less than 396 s"):
        check_onsets(late, 396.0, "events.tsv")


# ---- published tables


def test_things(real_data, make_files, caplog):
    root = real_data / "openneuro_tables" / "ds004192"
    paths = sorted(root.glob("sub-01/*/func/*_events.tsv"))
    pictures = make_files("things")
    for path in paths:
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        if "file_path" in lines[0]:
            for line in lines[1:]:
                if line[-1] != "n/a":
                    pictures.write(f"images/{line[-1]}", "picture")
    shown, files = read_presentations(
        paths, dataset_root=root, column="file_path", stim_dir=pictures.root
    )
    assert {path.name.split("_")[2] for path in shown} == {"task-things"}
    assert len(shown) == 10
    assert all(path.is_file() for path in files.values())
    assert all(one.stimulus.startswith("images/") for run in shown.values() for one in run)
    assert "task-6cat_run-01" in caplog.text and "task-pRF_run-02" in caplog.text
    with pytest.raises(NoStimulusColumn, match="--stim-column file_path"):
        read_presentations(paths, dataset_root=root)


def test_bold5000(real_data, make_files, caplog):
    root = real_data / "openneuro_tables" / "ds001499"
    paths = sorted(root.glob("sub-CSI1/ses-0[12]/func/*task-5000scenes*_events.tsv"))
    pictures = make_files("Presented_Stimuli")
    folders = {"imagenet": "ImageNet", "coco": "COCO", "scenes": "Scene"}
    for path in paths:
        for line in path.read_text().splitlines()[1:]:
            cells = line.split("\t")
            folder = next(name for key, name in folders.items() if key in cells[7])
            pictures.write(f"{folder}/{cells[-1]}", "picture")
    shown, files = read_presentations(paths, dataset_root=root, stim_dir=pictures.root)
    assert len(shown) == len(paths) > 10
    assert {stimulus.split("/")[0] for stimulus in files} == set(folders.values())
    assert caplog.text.count("Windows line ends") == 1
    with pytest.raises(MissingInputError, match="--stim-dir"):
        read_presentations(paths, dataset_root=root)


def test_real_tables_with_pictures(real_data, caplog):
    caplog.set_level(logging.WARNING)
    bars = sorted((real_data / "bars").glob("sub-01/func/*_events.tsv"))
    shown, files = read_presentations(bars, dataset_root=real_data / "bars")
    assert [len(run) for run in shown.values()] == [200, 200]
    assert len(files) == 400
    localizer = sorted((real_data / "localizer").glob("sub-02/func/*_events.tsv"))
    caplog.clear()
    shown, files = read_presentations(localizer, dataset_root=real_data / "localizer")
    assert [len(run) for run in shown.values()] == [192]
    assert len(files) == 141
    assert caplog.text.count("begin with stimuli/") == 1
