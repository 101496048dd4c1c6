"""Datasets, participants, runs, derivatives, filters and the kept index."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import shutil

import pytest

from bids_encoder.bids.dataset import find_runs, list_participants, open_dataset
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.errors import (
    DataError,
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    OutputError,
    UsageError,
)


@pytest.fixture(autouse=True)
def _hear_everything(caplog):
    caplog.set_level(logging.INFO, logger="bids_encoder")


def runs_of(files, participant="01", *, derivatives=(), **options):
    dataset = open_dataset(files.root, participants=[participant], derivatives=derivatives)
    return find_runs(dataset, participant, **options)


def names(runs):
    return [run.name for run in runs]


# ---- the dataset


def test_participants(raw):
    for label in ("02", "10", "CSI1"):
        raw.run(f"sub-{label}_task-x")
    assert list_participants(raw.root) == ["02", "10", "CSI1"]
    assert list_participants(raw.root, ["sub-10", "02", "10"]) == ["02", "10"]


@pytest.mark.parametrize(("label", "near"), [("2", "02"), ("csi1", "CSI1"), ("CSI", "CSI1")])
def test_unknown_participant(raw, label, near):
    raw.run("sub-02_task-x")
    raw.run("sub-CSI1_task-x")
    with pytest.raises(NothingSelectedError, match=f"(?s)no participant {label}.*{near}\\?"):
        list_participants(raw.root, [label])
    with pytest.raises(NothingSelectedError, match=str(raw.root)):
        open_dataset(raw.root, participants=[label])


def test_no_such_folder(tmp_path):
    with pytest.raises(MissingInputError, match="(?s)no such folder.*nowhere.*mounted"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match="nowhere"):
        list_participants(tmp_path / "nowhere")


def test_a_file_is_no_dataset(raw):
    path = raw.write("README", "hello")
    with pytest.raises(DataError, match="(?s)is a file, not a folder.*README.*give that folder"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (None, "not a BIDS dataset.*dataset_description.json.*--skip-bids-validation"),
        (b"{", "cannot be read.*line 1"),
        (b"[]", "cannot be read.*list"),
        ({"BIDSVersion": "1.9.0"}, "lacks Name"),
        ({"Name": "x"}, "lacks BIDSVersion.*add it"),
        ({"Name": "x", "BIDSVersion": 1.9}, "lacks BIDSVersion"),
        (
            {"Name": "x", "BIDSVersion": "1", "DatasetType": "derivative"},
            "is a derivative.*give the raw dataset first.*-d",
        ),
    ],
)
def test_invalid_descriptions(raw, caplog, description, words):
    raw.run("sub-01_task-x")
    if description is None:
        (raw.root / "dataset_description.json").unlink()
    else:
        raw.write("dataset_description.json", description)
    with pytest.raises(InvalidDatasetError, match=f"(?s){words}") as caught:
        open_dataset(raw.root)
    assert str(raw.root) in str(caught.value)
    assert caught.value.exit_code == 16
    dataset = open_dataset(raw.root, skip_validation=True)
    assert "validation is skipped" in caplog.text
    if isinstance(description, dict):
        assert dataset.description == description
    assert names(find_runs(dataset, "01")) == ["sub-01_task-x"]


def test_unfetched_description(raw):
    raw.run("sub-01_task-x")
    raw.annexed("dataset_description.json")
    with pytest.raises(MissingInputError, match="datalad get"):
        open_dataset(raw.root)


def test_no_participants(raw, caplog):
    (raw.root / "sub-a_b").mkdir()
    with pytest.raises(InvalidDatasetError, match="(?s)no participants.*sub-01"):
        open_dataset(raw.root)
    assert "sub-a_b is passed over" in caplog.text


# ---- raw runs


@pytest.fixture(scope="module")
def four_runs(shared_raw):
    """Indexed once: that is what takes the time."""
    for session, task, run in (("1", "x", "1"), ("1", "x", "2"), ("1", "y", "1"), ("2", "x", "1")):
        shared_raw.run(f"sub-01_ses-{session}_task-{task}_run-{run}")
    return open_dataset(shared_raw.root, participants=["01"])


def test_raw_runs(raw, caplog):
    raw.run("sub-01_ses-1_task-x_run-10")
    raw.run("sub-01_ses-1_task-x_run-2", seconds=None)
    raw.write("sub-01/ses-1/func/sub-01_ses-1_task-x_run-2_sbref.nii.gz")
    raw.run("sub-02_ses-1_task-x_run-1")
    runs = runs_of(raw)
    assert names(runs) == ["sub-01_ses-1_task-x_run-2", "sub-01_ses-1_task-x_run-10"]
    first, second = runs
    assert first.entities == {"sub": "01", "ses": "1", "task": "x", "run": "2"}
    assert list(first.entities) == ["sub", "ses", "task", "run"]
    assert (first.session, first.task) == ("1", "x")
    assert first.bold == raw.root / "sub-01/ses-1/func/sub-01_ses-1_task-x_run-2_bold.nii.gz"
    assert first.events == raw.root / "sub-01/ses-1/func/sub-01_ses-1_task-x_run-2_events.tsv"
    assert (first.repetition_time, second.repetition_time) == (None, 2.0)
    assert (first.mask, first.confounds, first.space, first.resolution) == (None,) * 4
    assert (first.start_time, second.start_time) == (0.0, 1.0)  # half of what is known of TR
    assert not first.preprocessed
    assert caplog.text.count("No preprocessed BOLD of sub-01") == 1


def test_the_place_of_the_dataset_does_not_matter(make_files, raw, caplog):
    raw.run("sub-01_ses-1_task-x_run-1")
    place = make_files("sub-99/ses-9_task-z_run-7/anat").root / "desc-y_part-phase"
    shutil.copytree(raw.root, place)
    dataset = open_dataset(place, participants=["01"])
    filters = {"bold": {"session": "1", "task": "x", "run": 1, "desc": None, "datatype": "func"}}
    assert names(find_runs(dataset, "01", filters=filters)) == ["sub-01_ses-1_task-x_run-1"]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"sessions": ["1"]}, ["1x1", "1x2", "1y1"]),
        ({"sessions": ["ses-2"]}, ["2x1"]),
        ({"tasks": ["task-y", "z"]}, ["1y1"]),
        ({"runs": ["01"]}, ["1x1", "1y1", "2x1"]),
        ({"runs": ["run-2"], "sessions": ["1"]}, ["1x2"]),
        ({"filters": {"bold": {"run": [2]}}}, ["1x2"]),
        ({"filters": {"bold": {"run": "02", "acquisition": None}}}, ["1x2"]),
        ({"filters": {"bold": {"task": ["y"], "session": "Query.ANY"}}}, ["1y1"]),
        ({"filters": {"bold": {"acq": "<Query.NONE: 1>", "ses": "2"}}}, ["2x1"]),
        ({"filters": {"bold": {"desc": "Query.OPTIONAL", "session": ["2", None]}}}, ["2x1"]),
    ],
)
def test_filters(four_runs, caplog, options, kept):
    found = find_runs(four_runs, "sub-01", **options)
    assert [run.session + run.task + run.entities["run"] for run in found] == kept
    assert ("no BOLD with task z" in caplog.text) == ("z" in options.get("tasks", ()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["z"]}, "task: x, y.*task: z"),
        ({"sessions": ["01"]}, "session: 1, 2;.*session: 01"),
        ({"runs": ["3"], "tasks": ["x"]}, "run: 1, 2.*task: x; run: 3"),
        ({"filters": {"bold": {"acquisition": "hi"}}}, "filter file.*acquisition.*hi"),
    ],
)
def test_filters_that_select_nothing(four_runs, options, words):
    with pytest.raises(NothingSelectedError, match=f"(?s){words}") as caught:
        find_runs(four_runs, "01", **options)
    assert "choose labels that are there" in str(caught.value)
    assert caught.value.exit_code == 18


def test_no_bold(raw):
    raw.write("sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(NothingSelectedError, match="sub-01 has no BOLD"):
        runs_of(raw)
    (raw.root / "sub-02").mkdir()
    with pytest.raises(NothingSelectedError, match=f"datalad get -n {raw.root}/sub-02"):
        runs_of(raw, "02")


def test_surface_data_is_not_read(raw):
    raw.write("sub-01/func/sub-01_task-x_bold.dtseries.nii")
    with pytest.raises(NothingSelectedError, match="has no BOLD"):
        runs_of(raw)


def test_parts_and_echoes(raw):
    for part in ("mag", "phase"):
        raw.run(f"sub-01_task-x_run-1_part-{part}")
    assert names(runs_of(raw)) == ["sub-01_task-x_run-1_part-mag"]
    for echo in (1, 2):
        raw.run(f"sub-01_task-e_echo-{echo}")
    with pytest.raises(DataError, match="(?s)several echoes.*task-e.*2 echoes.*with -d"):
        runs_of(raw)


@pytest.mark.parametrize("labels", [("raw", "dico"), (None, "norm")])
@pytest.mark.parametrize("prepared", [False, True])
def test_reconstructions_of_one_acquisition_are_refused(raw, fmriprep, labels, prepared):
    for label in labels:
        name = f"sub-01_task-x{f'_rec-{label}' if label else ''}_run-1"
        raw.run(name)
        fmriprep.preprocessed(name)
    derivatives = [fmriprep.root] if prepared else []
    with pytest.raises(DataError, match="reconstructions of one acquisition") as error:
        runs_of(raw, derivatives=derivatives)
    said = str(error.value)
    for label in labels:
        query = {"bold": {"reconstruction": label}}
        assert json.dumps(query) in said
        [run] = runs_of(raw, derivatives=derivatives, filters=query)
        assert run.entities.get("rec") == label


def test_reconstructions_of_different_runs_are_no_copies(raw):
    raw.run("sub-01_task-x_rec-a_run-1")
    raw.run("sub-01_task-x_rec-b_run-2")
    assert len(runs_of(raw)) == 2


def test_odd_names_are_no_trouble(raw, caplog):
    raw.run("sub-01_task-x")
    for name in (
        "sub-01_weird_task-y_bold.nii.gz",
        "sub-01_task-a.b_bold.nii.gz",
        "sub-01_task-_bold.nii.gz",
        "sub-01_bold.nii.gz",
        "_bold.nii.gz",
        "bold.nii.gz",
        "sub-01_task-x_-_bold.json",
        "sub-02_task-x_bold.nii.gz",
    ):
        raw.write(f"sub-01/func/{name}", "{}")
    found = runs_of(raw)
    assert names(found) == ["sub-01_task-x"]
    assert "sub-01_bold.nii.gz is left out: its name has no task-" in caplog.text


def test_two_files_of_one_run(raw, caplog):
    raw.run("sub-01_task-x")
    raw.write("sub-01/func/sub-01_task-x_bold.nii")
    assert len(runs_of(raw)) == 1
    assert "Several files fit one run" in caplog.text


def test_inherited_events(raw):
    raw.run("sub-01_ses-1_task-x_run-1", events=None)
    path = raw.write("task-x_events.tsv", "onset\tduration\n")
    assert runs_of(raw)[0].events == path


def test_events_by_filter(raw):
    raw.run("sub-01_task-x_acq-hi")
    general = raw.write("task-x_events.tsv", "onset\tduration\n")
    assert runs_of(raw, filters={"events": {"acquisition": None}})[0].events == general


def test_runs_without_events(raw, caplog):
    raw.run("sub-01_task-x")
    raw.run("sub-01_task-rest", events=None)
    assert names(runs_of(raw)) == ["sub-01_task-x"]
    assert "Left out, as they have no events: sub-01_task-rest" in caplog.text
    with pytest.raises(MissingInputError) as caught:
        runs_of(raw, tasks=["rest"])
    assert str(raw.root / "sub-01/func/sub-01_task-rest_events.tsv") in str(caught.value)
    assert "--task-id" in str(caught.value)


@pytest.mark.parametrize("ending", ["bold.nii.gz", "events.tsv", "bold.json"])
def test_unfetched_content(raw, ending):
    raw.run("sub-01_task-x")
    path = raw.annexed(f"sub-01/func/sub-01_task-x_{ending}")
    with pytest.raises(MissingInputError, match=f"datalad get {path}") as caught:
        runs_of(raw)
    assert caught.value.exit_code == 66


def test_pointer_files(raw):
    raw.run("sub-01_task-x")
    path = raw.write("sub-01/func/sub-01_task-x_bold.nii.gz", "/annex/objects/MD5E-s1--0.gz\n")
    with pytest.raises(MissingInputError, match=f"datalad get {path}"):
        runs_of(raw)


def test_annexed_content_that_is_there(raw):
    raw.run("sub-01_task-x")
    path = raw.annexed("sub-01/func/sub-01_task-x_bold.nii.gz")
    raw.write(".git/annex/objects/1A/2B/MD5E-s9--0.gz/MD5E-s9--0.gz")
    assert runs_of(raw)[0].bold == path


# ---- derivatives


def test_preprocessed(raw, fmriprep, caplog):
    raw.run("sub-01_ses-1_task-x_run-01", seconds=None)
    fmriprep.preprocessed("sub-01_ses-1_task-x_run-1")
    (run,) = runs_of(raw, derivatives=[fmriprep.root])
    func = fmriprep.root / "sub-01/ses-1/func"
    stem = "sub-01_ses-1_task-x_run-1"
    assert run.bold == func / f"{stem}_space-T1w_desc-preproc_bold.nii.gz"
    assert run.mask == func / f"{stem}_space-T1w_desc-brain_mask.nii.gz"
    assert run.confounds == func / f"{stem}_desc-confounds_timeseries.tsv"
    assert run.events.is_relative_to(raw.root)
    assert run.entities == {"sub": "01", "ses": "1", "task": "x", "run": "01"}
    assert (run.space, run.resolution, run.preprocessed) == ("T1w", None, True)
    assert (run.repetition_time, run.start_time) == (2.0, 0.975)
    assert "No preprocessed BOLD" not in caplog.text


def test_raw_bold_need_not_be_fetched(raw, fmriprep):
    raw.run("sub-01_task-x")
    raw.annexed("sub-01/func/sub-01_task-x_bold.nii.gz")
    fmriprep.preprocessed("sub-01_task-x")
    assert names(runs_of(raw, derivatives=[fmriprep.root])) == ["sub-01_task-x"]
    (raw.root / "sub-01/func/sub-01_task-x_bold.nii.gz").unlink()
    assert names(runs_of(raw, derivatives=[fmriprep.root])) == ["sub-01_task-x"]


def test_combined_echoes(raw, fmriprep):
    for echo in (1, 2):
        raw.run(f"sub-01_task-x_echo-{echo}", events=None)
    raw.write("sub-01/func/sub-01_task-x_events.tsv", "onset\tduration\n")
    fmriprep.preprocessed("sub-01_task-x")
    (run,) = runs_of(raw, derivatives=[fmriprep.root])
    assert run.preprocessed
    assert run.events.name == "sub-01_task-x_events.tsv"


@pytest.mark.parametrize(
    ("there", "space", "taken"),
    [
        (["MNI152NLin6Asym"], None, "MNI152NLin6Asym"),
        ([None], None, None),
        (["MNI152NLin2009cAsym", "T1w", None], None, "T1w"),
        (["MNI152NLin6Asym", "MNI152NLin2009cAsym"], None, "MNI152NLin2009cAsym"),
        ([None, "MNI152NLin6Asym", "OASIS"], None, "MNI152NLin6Asym"),
        (["T1w", "MNI152NLin6Asym"], "MNI152NLin6Asym", "MNI152NLin6Asym"),
        (["T1w", None], "func", None),
    ],
)
def test_spaces(raw, fmriprep, caplog, there, space, taken):
    raw.run("sub-01_task-x")
    for label in there:
        fmriprep.preprocessed("sub-01_task-x", label)
    (run,) = runs_of(raw, derivatives=[fmriprep.root], space=space)
    assert run.space == taken
    assert run.mask.name == run.bold.name.replace("preproc_bold", "brain_mask")
    assert ("there are also" in caplog.text) == (space is None and len(there) > 1)


def test_the_space_that_covers_most_runs(raw, fmriprep, caplog):
    for run in (1, 2):
        raw.run(f"sub-01_task-x_run-{run}")
        fmriprep.preprocessed(f"sub-01_task-x_run-{run}", "MNI152NLin6Asym")
    fmriprep.preprocessed("sub-01_task-x_run-2", "T1w")
    assert {run.space for run in runs_of(raw, derivatives=[fmriprep.root])} == {"MNI152NLin6Asym"}
    (run,) = runs_of(raw, derivatives=[fmriprep.root], space="T1w")
    assert run.name == "sub-01_task-x_run-2"
    assert "sub-01_task-x_run-1 is left out: the derivatives do not have it" in caplog.text


def test_absent_space(raw, fmriprep):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x", "T1w")
    fmriprep.preprocessed("sub-01_task-x", None)
    with pytest.raises(NothingSelectedError, match="(?s)'MNI'.*T1w, native.*--space"):
        runs_of(raw, derivatives=[fmriprep.root], space="MNI")


def test_resolutions(raw, fmriprep, caplog):
    raw.run("sub-01_task-x")
    for resolution in ("1", "2"):
        fmriprep.preprocessed("sub-01_task-x", "MNI", f"_res-{resolution}")
    (run,) = runs_of(raw, derivatives=[fmriprep.root])
    assert run.resolution == "1"
    assert "_res-1_" in run.mask.name
    assert "Taking resolution 1 (there are also: 2)" in caplog.text
    (run,) = runs_of(raw, derivatives=[fmriprep.root], space="MNI:res-2")
    assert run.resolution == "2"
    with pytest.raises(NothingSelectedError, match="(?s)res: 1, 2.*res-3"):
        runs_of(raw, derivatives=[fmriprep.root], space="MNI:res-3")


def test_older_fmriprep(raw, make_files, caplog):
    raw.run("sub-01_task-x")
    old = make_files("old")
    old.preprocessed("sub-01_task-x")
    func = old.root / "sub-01/func"
    table = func / "sub-01_task-x_desc-confounds_timeseries.tsv"
    table.rename(func / "sub-01_task-x_desc-confounds_regressors.tsv")
    (run,) = runs_of(raw, derivatives=[old.root])
    assert run.confounds.name == "sub-01_task-x_desc-confounds_regressors.tsv"
    assert "no dataset_description.json. Going on without" in caplog.text


@pytest.mark.parametrize(
    "description",
    [b"{", b"[]", b'{"DatasetType": "derivative"}', b'{"PipelineDescription": {"Name": "x"}}'],
)
def test_broken_descriptions_of_derivatives(raw, fmriprep, description):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    fmriprep.write("dataset_description.json", description)
    assert len(runs_of(raw, derivatives=[fmriprep.root])) == 1


def test_missing_mask_and_confounds(raw, fmriprep, caplog):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    for path in fmriprep.root.glob("sub-01/func/*"):
        if not path.name.startswith("sub-01_task-x_space-T1w_desc-preproc"):
            path.unlink()
    (run,) = runs_of(raw, derivatives=[fmriprep.root])
    assert (run.mask, run.confounds) == (None, None)
    assert "has no mask" in caplog.text and "has no confounds" in caplog.text


@pytest.mark.parametrize(
    "ending",
    [
        "space-T1w_desc-preproc_bold.nii.gz",
        "space-T1w_desc-preproc_bold.json",
        "space-T1w_desc-brain_mask.nii.gz",
        "desc-confounds_timeseries.tsv",
    ],
)
def test_unfetched_derivatives(raw, fmriprep, ending):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    path = fmriprep.annexed(f"sub-01/func/sub-01_task-x_{ending}")
    with pytest.raises(MissingInputError, match=f"datalad get {path}"):
        runs_of(raw, derivatives=[fmriprep.root])


def test_other_pipelines_by_filter(raw, make_files):
    raw.run("sub-01_task-x_run-1")
    other = make_files("other")
    stem = "sub-01/func/sub-01_task-x_run-1"
    bold = other.write(f"{stem}_desc-denoised_bold.nii.gz")
    mask = other.write(f"{stem}_desc-grey_mask.nii.gz")
    table = other.write(f"{stem}_desc-motion_timeseries.tsv", "x\n0\n")
    with pytest.raises(NothingSelectedError, match="(?s)denoised.*--bids-filter-file"):
        runs_of(raw, derivatives=[other.root])
    filters = {
        "bold": {"desc": "denoised"},
        "mask": {"desc": "grey"},
        "confounds": {"desc": "motion"},
    }
    (run,) = runs_of(raw, derivatives=[other.root], filters=filters)
    assert (run.bold, run.mask, run.confounds) == (bold, mask, table)
    assert run.repetition_time == 2.0  # from the raw run


def test_surfaces_among_derivatives(raw, fmriprep):
    raw.run("sub-01_task-x")
    fmriprep.write("sub-01/func/sub-01_task-x_space-fsLR_den-91k_bold.dtseries.nii")
    (run,) = runs_of(raw, derivatives=[fmriprep.root])
    assert (run.form, run.space, run.density, run.mask) == ("cifti", "fsLR", "91k", None)


def test_derivatives_without_bold(raw, make_files, caplog):
    raw.run("sub-01_task-x")
    regions = make_files("regions")
    regions.write("sub-01/anat/sub-01_space-T1w_dseg.nii.gz")
    (run,) = runs_of(raw, derivatives=[regions.root])
    assert not run.preprocessed
    assert "No preprocessed BOLD of sub-01" in caplog.text


def test_participant_that_was_not_preprocessed(raw, fmriprep):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-02_task-x")
    with pytest.raises(MissingInputError, match="(?s)No derivative has sub-01.*leave -d out"):
        runs_of(raw, derivatives=[fmriprep.root])
    raw.run("sub-02_task-x")
    with pytest.raises(MissingInputError, match=f"-d {fmriprep.root}"):
        runs_of(raw, "02", derivatives=[fmriprep.root.parent])


def test_session_that_was_not_preprocessed(raw, fmriprep):
    for session in (1, 2):
        raw.run(f"sub-01_ses-{session}_task-x")
    fmriprep.preprocessed("sub-01_ses-1_task-x")
    with pytest.raises(NothingSelectedError, match="(?s)session: 1; task: x.*session: 2"):
        runs_of(raw, derivatives=[fmriprep.root], sessions=["2"])


def test_the_first_pipeline_is_taken(raw, fmriprep, make_files):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    other = make_files("other")
    other.preprocessed("sub-01_task-x")
    (run,) = runs_of(raw, derivatives=[other.root, fmriprep.root])
    assert run.bold.is_relative_to(other.root)
    assert run.mask.is_relative_to(other.root)


def test_names_of_derivatives(raw, fmriprep, make_files):
    raw.run("sub-01_task-x")
    standard = raw.root / "derivatives/prep"
    shutil.copytree(fmriprep.root, standard)
    odd = make_files("a=b")
    odd.root.mkdir()
    given = [f"first={fmriprep.root}", "prep", str(odd.root), "named=prep"]
    dataset = open_dataset(raw.root, participants=["01"], derivatives=given)
    assert [(one.name, one.root) for one in dataset.derivatives] == [
        ("first", fmriprep.root),
        ("prep", standard),
        ("a=b", odd.root),
        ("named", standard),
    ]
    with pytest.raises(MissingInputError, match="(?s)nowhere.*-d.*prep"):
        open_dataset(raw.root, derivatives=["nowhere"])
    with pytest.raises(DataError, match="(?s)derivative is a file"):
        open_dataset(raw.root, derivatives=[raw.root / "stimuli/a.png"])
    with pytest.raises(UsageError, match="(?s)Two derivatives.*'prep'.*other="):
        open_dataset(raw.root, derivatives=["prep", make_files("x/prep").write("a").parent])


# ---- the filter file


def test_filter_file(raw, caplog):
    caplog.set_level("DEBUG", logger="bids_encoder")
    content = {"bold": {"session": ["1", None], "run": 1}, "t1w": {"acquisition": "hi"}}
    path = raw.write("filter.json", content)
    assert load_filter_file(path) == {"bold": content["bold"]}
    assert "'t1w'" in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"blod": {}}, "'blod'.*bold, mask, confounds, events.*did you mean bold"),
        ({"bold": "x"}, "not entities with values.*'x'"),
        ({"bold": {"task": {"a": 1}}}, "bold.task"),
        ({"bold": {"task": [["x"]]}}, "bold.task"),
        ({"bold": {"task": 1.5}}, "bold.task"),
        ({"bold": {"task": True}}, "bold.task"),
        ({"bold": {"task": "Query.NOPE"}}, "Query.NOPE.*Query.NONE"),
    ],
)
def test_bad_filter_files(raw, content, words):
    path = raw.write("filter.json", content)
    with pytest.raises(UsageError, match=f"(?s){words}") as caught:
        load_filter_file(path)
    assert str(path) in str(caught.value)


def test_filter_file_missing_or_broken(raw):
    with pytest.raises(MissingInputError, match="--bids-filter-file"):
        load_filter_file(raw.root / "none.json")
    with pytest.raises(DataError, match="line 1"):
        load_filter_file(raw.write("filter.json", "{"))


@pytest.mark.parametrize(
    ("entity", "near"), [("sesion", "session"), ("aquisition", "acquisition"), ("TaskName", "task")]
)
def test_unknown_entities(four_runs, entity, near):
    with pytest.raises(UsageError, match=f"(?s){entity}.*{near}"):
        find_runs(four_runs, "01", filters={"bold": {entity: "x"}})


# ---- the index


def indexed(layout):
    return sorted(re.sub(r"^.*?/(?=sub-|dataset_)", "", path) for path in layout.files)


def test_only_the_participant_is_indexed(raw):
    for label in ("01", "011", "02"):
        raw.run(f"sub-{label}_task-x", events=None, seconds=None)
    for path in (
        "derivatives/p/sub-01/a.txt",
        "sourcedata/sub-01/a.txt",
        "code.v2/sub-01/a.txt",
        "sub-01.html",
        "sub-01/figures/a.svg",
        ".git/sub-01/a.txt",
        "sub-01/.hidden/a.txt",
    ):
        raw.write(path)
    one = open_dataset(raw.root, participants=["01"])
    bold = "sub-01/func/sub-01_task-x_bold.nii.gz"
    assert indexed(one.layout) == ["dataset_description.json", bold]
    everybody = open_dataset(raw.root)
    assert [path for path in indexed(everybody.layout) if path.endswith(".nii.gz")] == [
        bold.replace("01", label) for label in ("01", "011", "02")
    ]


def test_kept_index(raw, fmriprep, tmp_path, monkeypatch):
    raw.run("sub-01_task-x_run-1")
    raw.run("sub-02_task-x_run-1")
    fmriprep.preprocessed("sub-01_task-x_run-1")
    kept = tmp_path / "kept/index"
    before = sorted(raw.root.rglob("*"))

    def look():
        options = {"derivatives": [fmriprep.root], "database_dir": kept}
        dataset = open_dataset(raw.root, participants=["01"], **options)
        return names(find_runs(dataset, "01"))

    assert look() == ["sub-01_task-x_run-1"]
    assert len(list(kept.iterdir())) == 2  # one for the dataset, one for the derivative
    assert sorted(raw.root.rglob("*")) == before

    import bids.layout

    with monkeypatch.context() as patch:
        patch.setattr(
            bids.layout.BIDSLayoutIndexer, "__call__", lambda *_: pytest.fail("indexed again")
        )
        assert look() == ["sub-01_task-x_run-1"]
        # Another participant's files do not count.
        raw.run("sub-02_task-x_run-2")
        raw.run("sub-03_task-x_run-1")
        assert look() == ["sub-01_task-x_run-1"]

    raw.run("sub-01_task-x_run-2")
    fmriprep.preprocessed("sub-01_task-x_run-2")
    assert look() == ["sub-01_task-x_run-1", "sub-01_task-x_run-2"]
    fmriprep.root.joinpath(
        "sub-01/func/sub-01_task-x_run-1_space-T1w_desc-preproc_bold.nii.gz"
    ).unlink()
    assert look() == ["sub-01_task-x_run-2"]
    other = open_dataset(raw.root, participants=["02"], database_dir=kept)
    assert names(find_runs(other, "02")) == ["sub-02_task-x_run-1", "sub-02_task-x_run-2"]


def test_spoilt_index_is_not_used(raw, tmp_path, caplog):
    raw.run("sub-01_task-x")
    options = {"participants": ["01"], "database_dir": tmp_path / "kept"}
    open_dataset(raw.root, **options)
    (database,) = (tmp_path / "kept").glob("*/layout_index.sqlite")
    database.write_bytes(b"this is no database" * 100)
    assert names(find_runs(open_dataset(raw.root, **options), "01")) == ["sub-01_task-x"]
    assert f"The kept index {database.parent} was damaged: it is made again." in caplog.text


def test_one_changed_letter_in_a_kept_index(raw, tmp_path, caplog):
    """SQLite would not notice; another label would be read."""
    raw.run("sub-01_task-xx")
    options = {"participants": ["01"], "database_dir": tmp_path / "kept"}
    open_dataset(raw.root, **options)
    (database,) = (tmp_path / "kept").glob("*/layout_index.sqlite")
    whole = database.read_bytes()
    assert b"task-xx" in whole
    database.write_bytes(whole.replace(b"task-xx", b"task-xy"))
    assert names(find_runs(open_dataset(raw.root, **options), "01")) == ["sub-01_task-xx"]
    assert "was damaged: it is made again" in caplog.text


def test_index_is_never_in_the_dataset(raw):
    raw.run("sub-01_task-x")
    with pytest.raises(UsageError, match="(?s)--bids-database-dir.*give a folder outside"):
        open_dataset(raw.root, database_dir=raw.root / "code/index")


def test_index_that_cannot_be_written(raw, tmp_path):
    raw.run("sub-01_task-x")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="(?s)cannot be kept.*--bids-database-dir"):
        open_dataset(raw.root, database_dir=blocked / "index")


def _open(root, kept, queue):
    dataset = open_dataset(root, participants=["01"], database_dir=kept)
    queue.put([run.name for run in find_runs(dataset, "01")])


def test_several_processes_make_the_index_at_once(raw, tmp_path):
    raw.run("sub-01_task-x")
    kept = tmp_path / "kept"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_open, args=(raw.root, kept, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [["sub-01_task-x"]] * 4
    assert len(list(kept.iterdir())) == 1


# ---- published datasets


def test_published_datasets(real_data, make_files, caplog):
    bars = open_dataset(real_data / "bars", participants=["01"])
    assert [run.repetition_time for run in find_runs(bars, "01")] == [2.079, 2.079]
    things = make_files("things")
    shutil.copytree(real_data / "openneuro_tables/ds004192", things.root)
    for path in things.root.glob("sub-01/*/func/*_bold.json"):
        path.with_suffix(".nii.gz").write_bytes(b"nifti")
    runs = runs_of(things)
    assert sorted({run.task for run in runs}) == ["6cat", "pRF", "things"]
    assert [run.entities["run"] for run in runs if run.task == "things"][-1] == "10"
    assert "task-rest" in caplog.text
    assert {run.repetition_time for run in runs_of(things, tasks=["things"])} == {1.5}


def test_inherited_repetition_time_of_bold5000(real_data, make_files):
    scenes = make_files("scenes")
    shutil.copytree(real_data / "openneuro_tables/ds001499", scenes.root)
    top = json.loads((scenes.root / "task-5000scenes_bold.json").read_text())
    for path in scenes.root.glob("sub-CSI1/*/func/*5000scenes*_events.tsv"):
        path.with_name(path.name.replace("_events.tsv", "_bold.nii.gz")).write_bytes(b"nifti")
    runs = runs_of(scenes, "CSI1", sessions=["01", "ses-02"])
    assert {run.session for run in runs} == {"01", "02"}
    assert {run.repetition_time for run in runs} == {top["RepetitionTime"]}
