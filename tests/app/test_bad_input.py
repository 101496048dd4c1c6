"""Bad input ends in one clear message, the right exit code, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from tiny_dataset import PARTICIPANTS, SHAPE, brain, tree, write_bold, write_json

from bids_encoder.app import cli


@pytest.fixture
def refused(tiny, app, tmp_path):
    """``refused(code, *words)``: run the participant level and check how it is refused.

    ``words`` have to be in the message. Unless ``started``, the output folder must
    not even be made; else it holds no results of sub-01.
    """

    def check(code, *words, options=(), started=False, features=True, output=None):
        output = output or tmp_path / "out"
        before = tree(tiny.bids)
        source = ["--features", tiny.features] if features else []
        end = app(tiny.bids, output, "participant", "--participant-label", "01", *source, *options)
        assert end.code == code
        assert "Traceback" not in end.said
        assert end.err.count("Error: ") + end.err.count("bids-encoder: ") == 1
        for word in words:
            assert word in end.err
        assert tree(tiny.bids) == before
        if started:
            assert not leftovers(output)
            assert not list(output.glob("sub-01/func/*_scores.*"))
        else:
            assert not output.exists() or output == tiny.bids
        return end

    return check


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name != ".bidsignore"]


# The dataset


def test_no_such_folder(app, tmp_path):
    end = app(tmp_path / "nowhere", tmp_path / "out", "participant")
    assert end.code == 66
    assert str(tmp_path / "nowhere") in end.err and "remedy:" in end.err
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_dataset(app, tmp_path):
    (tmp_path / "file").write_text("x")
    end = app(tmp_path / "file", tmp_path / "out", "participant")
    assert end.code == 65
    assert "is a file, not a folder" in end.err
    assert not (tmp_path / "out").exists()


def test_not_a_bids_dataset(tiny, refused):
    (tiny.bids / "dataset_description.json").unlink()
    refused(16, "holds no dataset_description.json", str(tiny.bids), "--skip-bids-validation")


def test_validation_can_be_skipped(tiny, app, tmp_path):
    (tiny.bids / "dataset_description.json").unlink()
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--participant_label", "sub-01",
        "--skip_bids_validator", "--notrack", "--features", tiny.features, "--dry_run",
    )  # fmt: skip
    assert end.code == 0
    assert "Warning: The folder is not a BIDS dataset" in end.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ("cannot be read", "line 1")),
        ('{"BIDSVersion": "1.0"}', ("lacks Name", "place:")),
        (
            '{"Name": "x", "BIDSVersion": "1.0", "DatasetType": "derivative"}',
            ("is a derivative", "-d "),
        ),
    ],
)
def test_a_wrong_description(tiny, refused, content, words):
    (tiny.bids / "dataset_description.json").write_text(content)
    refused(16, "dataset_description.json", *words)


def test_a_dataset_without_participants(tiny, app, tmp_path):
    for participant in PARTICIPANTS:
        shutil.rmtree(tiny.bids / f"sub-{participant}")
    end = app(tiny.bids, tmp_path / "out", "participant")
    assert end.code == 16
    assert "no participants" in end.err and "sub-01" in end.err


def test_a_participant_that_does_not_exist(refused):
    refused(18, "no participant 1", "did you mean 01?", options=["--participant-label", "1"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--session-label", "9"], ("session: 9", "session: 1, 2")),
        (["--task-id", "rest"], ("task: rest", "task: look")),
        (["--run-id", "3"], ("run: 3",)),
        (["--space", "T1w"], ("T1w", "no derivatives were given", "-d")),
    ],
)
def test_filters_that_select_nothing(refused, options, words):
    refused(18, *words, "remedy:", options=options)


def test_a_filter_file_that_selects_nothing(refused, tmp_path):
    (tmp_path / "filter.json").write_text('{"bold": {"acquisition": "none"}}')
    refused(18, "acquisition", options=["--bids-filter-file", tmp_path / "filter.json"])


def test_a_filter_file_that_is_not_there(refused, tmp_path):
    refused(66, "nothing.json", options=["--bids-filter-file", tmp_path / "nothing.json"])


def test_a_filter_file_that_is_not_json(refused, tmp_path):
    (tmp_path / "filter.json").write_text("bold: x")
    refused(65, "filter.json", "line 1", options=["--bids-filter-file", tmp_path / "filter.json"])


def test_derivatives_that_are_not_there(refused, tmp_path):
    refused(66, "no such folder of derivatives", "none/", options=["-d", tmp_path / "none/there"])


def test_a_space_that_is_not_there(tiny, refused):
    refused(18, "MNI6", "T1w", options=["-d", tiny.preprocessed, "--space", "MNI6"])


# BOLD


def test_a_broken_annex_link(tiny, refused):
    tiny.bold().unlink()
    tiny.bold().symlink_to("../../../.git/annex/objects/1A/2B/MD5E-s9--0.nii.gz/MD5E-s9--0.nii.gz")
    refused(66, str(tiny.bold()), f"datalad get {tiny.bold()}")


def test_a_truncated_gzipped_bold(tiny, refused):
    tiny.bold().write_bytes(tiny.bold().read_bytes()[:-5000])
    refused(65, str(tiny.bold()), "volume", "of 80", "remedy:", started=True)


def test_a_truncated_plain_bold(tiny, refused):
    image = nibabel.load(tiny.bold())
    plain = tiny.bold().with_suffix("")
    write_bold(plain, np.asarray(image.dataobj))
    tiny.bold().unlink()
    plain.write_bytes(plain.read_bytes()[:-1])
    refused(65, str(plain), "truncated", "bytes")


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_a_bold_that_is_not_nifti(tiny, refused, content):
    tiny.bold().write_bytes(content)
    refused(65, str(tiny.bold()), "NIfTI", "remedy:")


@pytest.mark.parametrize("shape", [(*SHAPE, 1), SHAPE])
def test_a_bold_with_one_volume(tiny, refused, shape):
    write_bold(tiny.bold(), np.ones(shape, np.int16))
    refused(65, str(tiny.bold()), "at least two volumes", "found:")


@pytest.mark.parametrize("value", [np.nan, 100.0])
def test_a_bold_without_any_usable_voxel(tiny, refused, value):
    tiny.edit_bold(lambda data: np.full_like(data, value))
    refused(65, str(tiny.bold()), "constant or not finite", "remedy:", started=True)


def test_voxels_with_nan_score_nan_and_are_counted(tiny, app, tmp_path, no_page):
    bad = np.zeros(SHAPE, bool)
    bad[3:5, 3, 2] = True

    def spoil(data):
        data[bad, 50] = np.nan
        return data

    tiny.edit_bold(spoil)
    options = ("-d", tiny.preprocessed, "--space", "T1w", "--confounds", "none")
    raw_as_preprocessed(tiny)
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "--features", tiny.features, *options,
    )  # fmt: skip
    assert end.code == 0
    assert "2 of 160 voxels are constant or not finite" in end.err
    [sidecar] = (tmp_path / "out").glob("sub-01/func/*_scores.json")
    assert json.loads(sidecar.read_text())["VoxelsWithoutScore"] == 2
    for path in (tmp_path / "out").glob("sub-01/func/*_stat-r*_statmap.nii.gz"):
        values = np.asarray(nibabel.load(path).dataobj)
        assert np.array_equal(np.isnan(values), ~brain() | bad), path.name


def raw_as_preprocessed(tiny) -> None:
    """Let the derivative of the first run be the raw image, so that there is a mask."""
    stem = tiny.preprocessed / Path(tiny.run()).relative_to(tiny.bids)
    shutil.copy(tiny.bold(), f"{stem}_space-T1w_desc-preproc_bold.nii.gz")


def test_a_missing_repetition_time(tiny, refused):
    write_json(tiny.bids / "task-look_bold.json", {"TaskName": "look"})
    refused(65, str(tiny.bold()), "RepetitionTime", "header says 2", "remedy:")


def test_a_repetition_time_that_contradicts_the_header(tiny, refused):
    write_json(tiny.bids / "task-look_bold.json", {"TaskName": "look", "RepetitionTime": 1.5})
    refused(65, str(tiny.bold()), "1.5 s in the sidecar, 2 (sec) in the header", "remedy:")


@pytest.mark.parametrize("value", ["2", 2000, -2, None, True])
def test_a_repetition_time_that_is_none(tiny, refused, value):
    write_json(tiny.bids / "task-look_bold.json", {"TaskName": "look", "RepetitionTime": value})
    refused(65, "RepetitionTime", "remedy:")


def test_a_sidecar_that_is_not_json(tiny, refused):
    (tiny.bids / "task-look_bold.json").write_text("{'RepetitionTime': 2}")
    refused(65, "task-look_bold.json", "line 1")


def test_runs_on_different_grids(tiny, refused):
    write_bold(tiny.bold(), np.ones((7, 8, 6, 80), np.int16) * np.arange(80, dtype=np.int16))
    refused(65, "different grids", "7 × 8 × 6", "8 × 8 × 6", "remedy:", started=True)


# Events


def test_missing_events(tiny, refused):
    for session in "12":
        tiny.events(session).unlink()
    refused(66, "No run has events", tiny.events().name, "remedy:")


def test_a_run_without_events_is_left_out(tiny, app, tmp_path):
    tiny.events("2").unlink()
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "--features", tiny.features, "--dry-run",
    )  # fmt: skip
    assert end.code == 0
    assert "Left out, as they have no events: sub-01_ses-2_task-look" in end.err
    assert "1 run" in end.err


def test_no_usable_stimulus_column(tiny, refused):
    for session in "12":
        tiny.edit_events("stim_file", "picture", session)
    refused(65, str(tiny.events()), "picture", "--stim-column picture")


def test_an_empty_stimulus_column(tiny, refused):
    for session in "12":
        lines = [line.split("\t")[:2] + ["n/a"] for line in
                 tiny.events(session).read_text().splitlines()[1:]]  # fmt: skip
        text = "\n".join("\t".join(line) for line in lines)
        tiny.events(session).write_text(f"onset\tduration\tstim_file\n{text}\n")
    refused(65, str(tiny.events()), "n/a in every row")


def test_a_stimulus_column_that_does_not_exist(refused):
    refused(65, "has a column stim_fil.", "stim_file?", options=["--stim-column", "stim_fil"])


def test_an_onset_after_the_end_of_the_run(tiny, refused):
    tiny.edit_events("\n137\t", "\n1137\t")
    refused(65, str(tiny.events()), "line 21, column onset", "1137 s", "160 s", "remedy:")


def test_a_negative_duration(tiny, refused):
    tiny.edit_events("\n11\t1\t", "\n11\t-1\t")
    refused(65, str(tiny.events()), "line 3, column duration", "-1", "0 or more")


@pytest.mark.parametrize("text", ["soon", "11,5", "1_1", "inf"])
def test_text_where_numbers_belong(tiny, refused, text):
    tiny.edit_events("\n11\t", f"\n{text}\t")
    refused(65, str(tiny.events()), "line 3, column onset", text, "remedy:")


def test_duplicate_columns(tiny, refused):
    tiny.edit_events("onset\tduration", "onset\tonset")
    refused(65, str(tiny.events()), "line 1", "same name", "onset")


def test_a_table_that_is_no_table(tiny, refused):
    tiny.events().write_text(tiny.events().read_text().replace("\t", ","))
    refused(65, str(tiny.events()), "separated by commas")


def test_a_row_with_too_few_values(tiny, refused):
    tiny.edit_events("\n11\t1\t", "\n11\t")
    refused(65, str(tiny.events()), "line 3", "2 values", "3")


def test_no_onset_column(tiny, refused):
    tiny.edit_events("onset", "Onset")
    refused(65, str(tiny.events()), "no column onset", "did you mean Onset?")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, "byte-order mark"),
        (lambda data: data.replace(b"\n", b"\r\n"), "Windows line ends"),
    ],
)
def test_marks_of_other_systems_change_nothing(events, tiny, app, tmp_path, no_page, change, words):
    tiny.events().write_bytes(change(tiny.events().read_bytes()))
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "--features", tiny.features,
    )  # fmt: skip
    assert end.code == 0
    assert words in end.err and words not in events[2].err
    maps = [
        {path.name: path.read_bytes() for path in (out / "sub-01").rglob("*.nii.gz")}
        for out in (events[1], tmp_path / "out")
    ]
    assert maps[0] == maps[1]


# Stimuli


def picture(tiny, session="1") -> Path:
    """The file that the first event of a run shows."""
    return tiny.bids / "stimuli" / tiny.events(session).read_text().split()[5]


def test_a_missing_picture(tiny, refused):
    path = picture(tiny)
    path.unlink()
    refused(66, path.name, str(tiny.events()), "line 2, column stim_file", "--stim-dir")


def test_no_folder_of_pictures(tiny, refused):
    shutil.rmtree(tiny.bids / "stimuli")
    refused(66, str(tiny.bids / "stimuli"), "--stim-dir")


def test_an_empty_picture(tiny, refused):
    path = picture(tiny)
    path.write_bytes(b"")
    refused(65, str(path), "empty", tiny.events().name, "line 2")


def test_a_picture_that_is_not_fetched(tiny, refused):
    path = picture(tiny)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/1A/2B/MD5E-s9--0.png/MD5E-s9--0.png")
    refused(66, str(path), f"datalad get {path}")


@pytest.mark.parametrize("content", [b"text, not a picture", "cut"])
def test_a_corrupt_picture_is_found_before_any_is_computed(
    tiny, refused, content, monkeypatch, tmp_path
):
    path = picture(tiny, "2")
    path.write_bytes(path.read_bytes()[:-30] if content == "cut" else content)
    computed = []
    monkeypatch.setattr(
        "bids_encoder.features.extractors.activations", lambda *args: computed.append(args)
    )
    refused(65, str(path), "picture", "remedy:", started=True, features=False)
    assert not computed
    assert not list(tmp_path.rglob("*.npy"))


def test_a_stimulus_that_escapes_by_its_path(tiny, refused):
    name = picture(tiny).relative_to(tiny.bids / "stimuli").as_posix()
    tiny.edit_events(name, "../../secret.png")
    refused(65, str(tiny.events()), "line 2, column stim_file", "../../secret.png", "--stim-dir")


def test_a_stimulus_with_an_absolute_path(tiny, refused, tmp_path):
    shutil.copy(picture(tiny), tmp_path / "secret.png")
    name = picture(tiny).relative_to(tiny.bids / "stimuli").as_posix()
    tiny.edit_events(name, f"{tmp_path}/secret.png")
    refused(65, str(tiny.events()), "absolute path", "line 2, column stim_file")


def test_a_stimulus_that_escapes_by_a_link(tiny, refused, tmp_path):
    path = picture(tiny)
    path.rename(tmp_path / "secret.png")
    path.symlink_to(tmp_path / "secret.png")
    refused(65, "leads out of the dataset", str(path), "--stim-dir")


# Networks and features


def test_a_layer_that_does_not_exist(refused):
    refused(2, "blocks.1.", "near", features=False, options=["--layers", "blocks.1.9"])


def test_a_layer_that_the_file_does_not_have(tiny, refused):
    refused(2, "earl", "near ones: early", str(tiny.features), options=["--layers", "earl"])


def test_a_network_that_does_not_exist(refused):
    refused(2, "alexnett", "alexnet", features=False, options=["--network", "alexnett"])


def test_missing_weights(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    refused(
        66, "alexnet-owt-7be5be79.pth", str(tmp_path / "weights"), str(tmp_path / "torch"),
        "--allow-downloads", "put alexnet-owt-7be5be79.pth into", features=False,
        options=["--network", "alexnet", "--weights-dir", tmp_path / "weights"],
    )  # fmt: skip


def test_weights_of_another_network(refused, tmp_path):
    import torch

    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    refused(
        65, str(tmp_path / "other.pth"), "not those of alexnet", "remedy:", features=False,
        options=["--network", "alexnet", "--weights-dir", tmp_path / "other.pth"],
    )  # fmt: skip


def test_features_that_are_not_there(refused, tmp_path):
    refused(66, "none.h5", features=False, options=["--features", tmp_path / "none.h5"])


def test_features_that_lack_a_picture(tiny, refused):
    with h5py.File(tiny.features, "r+") as file:
        names = file["stimuli"][:]
        names[3] = "another.png"
        del file["stimuli"]
        file["stimuli"] = names
    refused(65, str(tiny.features), "1 of 40 stimuli", "picture03.png", "remedy:")


# Options


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-such-option"],
        ["--n-folds", "0"],
        ["--n-folds", "1"],
        ["--mem", "much"],
        ["--high-pass", "-0.1"],
        ["--high-pass", "nan"],
        ["--delays", "soon"],
        ["--delays", "nan"],
        ["--design", "block"],
    ],
)
def test_options_that_argparse_refuses(app, tiny, tmp_path, arguments):
    level = ["participant"] if arguments else []
    end = app(tiny.bids, tmp_path / "out", *level, *arguments)
    assert end.code == 2
    assert "error: " in end.err and "Traceback" not in end.err
    assert not (tmp_path / "out").exists()


def test_the_output_is_the_dataset(tiny, refused):
    words = ("is the dataset itself", str(tiny.bids / "derivatives"))
    refused(2, *words, output=tiny.bids)


def test_the_work_folder_is_in_the_dataset(tiny, refused):
    refused(2, "work folder lies inside the dataset", "-w ", options=["-w", tiny.bids / "work"])


def test_the_index_is_in_the_dataset(tiny, refused):
    refused(2, "--bids-database-dir", options=["--bids-database-dir", tiny.bids / "index"])


def test_a_confound_strategy_that_does_not_exist(tiny, refused):
    words = ("There is no such confound strategy", "moton", "motion,high_pass,compcor")
    refused(2, *words, options=["--confounds", "moton,high_pass"])


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("[network]\nlayer = ['a']\n", 2, ("layer", "layers", "[network]")),
        ("[net]\nlayers = ['a']\n", 2, ("net", "[network]")),
        ("[network]\nlayers = 'a'\n", 65, ("[network] layers", "'a'")),
        ("[responses]\ndesign = 'block'\n", 65, ("[responses] design", "continuous")),
        ("[encoding]\nn_folds = 0\n", 65, ("[encoding] n_folds",)),
        ("[resources]\nmem = 'much'\n", 65, ("[resources] mem",)),
        ("[responses]\nhigh_pass = -1\n", 65, ("[responses] high_pass",)),
        ("network: x", 65, ("not TOML",)),
    ],
)
def test_a_wrong_configuration_file(refused, tmp_path, text, code, words):
    (tmp_path / "config.toml").write_text(text)
    refused(
        code, str(tmp_path / "config.toml"), *words,
        options=["--config-file", tmp_path / "config.toml"],
    )  # fmt: skip


def test_a_configuration_file_that_is_not_there(refused, tmp_path):
    refused(66, "config.toml", options=["--config-file", tmp_path / "config.toml"])


# The output


def test_an_output_folder_below_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(73, str(tmp_path / "file"), "remedy:", output=tmp_path / "file" / "out")


def test_an_output_folder_that_is_a_file(tiny, app, tmp_path):
    (tmp_path / "out").write_text("x")
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--participant-label", "01",
    )  # fmt: skip
    assert end.code == 73
    assert str(tmp_path / "out") in end.err
    assert (tmp_path / "out").read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_without_the_right_to_write(refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(73, str(tmp_path / "locked"), "Permission", output=tmp_path / "locked" / "out")


def test_an_output_folder_of_another_program(tiny, app, tmp_path):
    out = tmp_path / "fmriprep"
    shutil.copytree(tiny.preprocessed, out)
    before = tree(out)
    end = app(
        tiny.bids, out, "participant", "--participant-label", "01", "--features", tiny.features
    )
    assert end.code == 73
    assert "fMRIPrep" in end.err and "remedy:" in end.err
    assert tree(out) == before


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("number", [0, 5, 20])
def test_a_full_disk(refused, monkeypatch, tmp_path, call, number):
    calls = []
    real = getattr(os, call)

    def full(*args, **more):
        calls.append(args)
        if len(calls) > number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **more)

    monkeypatch.setattr(f"bids_encoder.derivatives.atomic.os.{call}", full)
    refused(73, "No space left on device", "Free some space", started=True)


def test_a_quota_on_the_size_of_files(refused):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        refused(73, "File too large", "remedy:", started=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_work_folder_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(
        73, str(tmp_path / "file"), "--work-dir", features=False, started=True,
        options=["-w", tmp_path / "file" / "work"],
    )  # fmt: skip


# Several participants


def test_one_of_several_participants_is_broken(tiny, app, tmp_path, no_page):
    tiny.bold().write_bytes(b"broken")
    end = app(tiny.bids, tmp_path / "out", "participant", "--features", tiny.features)
    assert end.code == 65
    assert "Error: sub-01: This image cannot be opened as NIfTI." in end.err
    table = end.err[end.err.index("outcome") :]
    assert table.index("sub-01  failed (65)") < table.index("sub-02  done")
    assert "cannot be opened as NIfTI" in table
    assert not (tmp_path / "out/sub-01").exists()
    assert list((tmp_path / "out/sub-02/func").glob("*_scores.tsv"))


def test_it_stops_on_the_first_crash_if_told_to(tiny, app, tmp_path):
    tiny.bold().write_bytes(b"broken")
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--stop-on-first-crash",
    )  # fmt: skip
    assert end.code == 65
    assert "sub-02  not begun" in end.err
    assert not (tmp_path / "out").exists()


# Ends from outside, and our own bugs


@pytest.mark.parametrize(
    "where",
    [
        "analysis.make_plans.find_runs",
        "analysis.measured_data.measure",
        "analysis.summary_tables.write_table",
    ],
)
def test_an_interrupted_run_leaves_no_half_files(tiny, app, tmp_path, monkeypatch, where):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"bids_encoder.{where}", interrupt)
    before = tree(tiny.bids)
    end = app(tiny.bids, tmp_path / "out", "participant", "--features", tiny.features)
    assert end.code == 130
    assert "Interrupted" in end.err and "Traceback" not in end.said
    assert not leftovers(tmp_path / "out") if (tmp_path / "out").exists() else True
    assert not list(tmp_path.glob("out/sub-01/func/*_scores.*"))
    assert tree(tiny.bids) == before


def test_an_interruption_within_a_file(tiny, app, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bids_encoder.derivatives.atomic._flush_to_disk", interrupt)
    end = app(tiny.bids, tmp_path / "out", "participant", "--features", tiny.features)
    assert end.code == 130
    assert not tree(tmp_path / "out")


def test_a_bug_is_named_as_one_and_keeps_its_traceback(tiny, app, tmp_path, monkeypatch):
    def stumble(*args, **more):
        raise IndexError("of our making")

    monkeypatch.setattr("bids_encoder.app.participant_level.analyse", stumble)
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--features", tiny.features,
        "--participant-label", "01",
    )  # fmt: skip
    assert end.code == 70
    assert "a bug of this program" in end.err and "Traceback" not in end.err
    [kept] = (tmp_path / "out/logs").glob("crash_sub-01_*.txt")
    assert str(kept) in end.err
    assert "IndexError: of our making" in kept.read_text()


def test_main_reads_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bids-encoder", "--version"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("bids-encoder ")
