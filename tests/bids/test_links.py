"""Links in a dataset are followed inside of it, and into git-annex, but not out of it."""

from __future__ import annotations

import os
import shutil

import pytest

from bids_encoder.bids.dataset import find_runs, open_dataset
from bids_encoder.bids.links import leads_out
from bids_encoder.errors import DataError
from bids_encoder.regions.find_in_volumes import find_region_files

STEM = "sub-01/func/sub-01_task-x"


def moved(files, path, elsewhere):
    """Move a file out of the dataset and leave a link to it."""
    elsewhere.mkdir(exist_ok=True)
    target = elsewhere / "secret"
    shutil.move(files.root / path, target)
    (files.root / path).symlink_to(target)
    return target


def read(raw, fmriprep=None, **options):
    derivatives = [fmriprep.root] if fmriprep else []
    dataset = open_dataset(raw.root, participants=["01"], derivatives=derivatives, **options)
    return dataset, find_runs(dataset, "01")


@pytest.mark.parametrize(
    "path",
    [
        f"{STEM}_bold.nii.gz",
        f"{STEM}_bold.json",
        f"{STEM}_events.tsv",
        "dataset_description.json",
    ],
)
def test_a_link_out_of_the_dataset_is_refused_unless_it_is_trusted(raw, tmp_path, path):
    raw.run("sub-01_task-x")
    target = moved(raw, path, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of it") as caught:
        read(raw)
    message = str(caught.value)
    assert path in message and str(target) in message and "--follow-links" in message
    assert len(read(raw, follow_links=True)[1]) == 1


def test_a_folder_that_is_a_link_out_of_the_dataset(raw, tmp_path):
    raw.run("sub-01_task-x")
    shutil.move(raw.root / "sub-01", tmp_path / "elsewhere")
    (raw.root / "sub-01").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of it"):
        read(raw)
    assert len(read(raw, follow_links=True)[1]) == 1


@pytest.mark.parametrize(
    "path",
    [
        f"{STEM}_space-T1w_desc-preproc_bold.json",
        f"{STEM}_space-T1w_desc-brain_mask.nii.gz",
        f"{STEM}_desc-confounds_timeseries.tsv",
    ],
)
def test_links_out_of_derivatives(raw, fmriprep, tmp_path, path):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    moved(fmriprep, path, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of it") as caught:
        read(raw, fmriprep)
    assert path in str(caught.value)


@pytest.mark.parametrize("ending", ["nii.gz", "tsv"])
def test_a_segmentation_that_lies_elsewhere(raw, fmriprep, tmp_path, ending):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    stem = "sub-01/anat/sub-01_desc-aseg_dseg"
    fmriprep.write(f"{stem}.nii.gz")
    fmriprep.write(f"{stem}.tsv", "index\tname\n1\tV1\n")
    assert find_region_files(*_with_participant(read(raw, fmriprep)))
    moved(fmriprep, f"{stem}.{ending}", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out of it") as caught:
        find_region_files(*_with_participant(read(raw, fmriprep)))
    assert f"{stem}.{ending}" in str(caught.value)


def _with_participant(found):
    dataset, runs = found
    return dataset, "01", runs


def test_links_between_a_dataset_and_its_derivatives(raw, fmriprep):
    raw.run("sub-01_task-x")
    fmriprep.preprocessed("sub-01_task-x")
    link = fmriprep.root / f"{STEM}_space-T1w_desc-preproc_bold.nii.gz"
    link.unlink()
    link.symlink_to(raw.root / f"{STEM}_bold.nii.gz")
    assert len(read(raw, fmriprep)[1]) == 1


def test_a_dataset_that_is_itself_a_link(raw, tmp_path):
    raw.run("sub-01_task-x")
    (tmp_path / "link").symlink_to(raw.root)
    dataset = open_dataset(tmp_path / "link", participants=["01"])
    assert len(find_runs(dataset, "01")) == 1


def test_links_of_git_annex(raw, tmp_path):
    """Fetched content, in the dataset's own annex and in one that is kept elsewhere."""
    raw.run("sub-01_task-x")
    path = f"{STEM}_bold.nii.gz"
    link = raw.annexed(path)
    key = link.parent / os.readlink(link)
    key = type(key)(os.path.normpath(key))
    key.parent.mkdir(parents=True)
    key.write_bytes(b"nifti")
    assert len(read(raw)[1]) == 1
    # a subdataset, whose .git is a link into the superdataset's
    shutil.move(raw.root / ".git", tmp_path / "modules")
    (raw.root / ".git").symlink_to(tmp_path / "modules")
    assert len(read(raw)[1]) == 1
    # a link to something that is merely called an annex
    link.unlink()
    other = tmp_path / "other" / ".git" / "annex" / "objects" / "key"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"nifti")
    link.symlink_to(other)
    with pytest.raises(DataError, match="leads out of it"):
        read(raw)


@pytest.mark.parametrize("which", ["the folder of objects", "an object"])
def test_an_annex_that_leads_to_something_else(raw, tmp_path, which):
    """A dataset brings its own .git: links through it must not open every file of the machine."""
    raw.run("sub-01_task-x")
    path = f"{STEM}_events.tsv"
    secret = moved(raw, path, tmp_path / "elsewhere")
    (raw.root / path).unlink()
    objects = raw.root / ".git" / "annex" / "objects"
    objects.parent.mkdir(parents=True)
    if which == "an object":
        objects.mkdir()
        (objects / secret.name).symlink_to(secret)
    else:
        objects.symlink_to(secret.parent)
    (raw.root / path).symlink_to(objects / secret.name)
    with pytest.raises(DataError, match="leads out of it"):
        read(raw)


def test_names_that_begin_alike_are_not_inside(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data2").mkdir()
    (tmp_path / "data2" / "secret").write_text("x")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data2" / "secret")
    assert leads_out(tmp_path / "data" / "link", [tmp_path / "data"])
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    assert leads_out(tmp_path / "data" / "loop", [tmp_path / "data"]) is None
    assert leads_out(tmp_path / "data" / "file", ["/"]) is None
