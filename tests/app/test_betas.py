"""Precomputed responses in place of BOLD: every format, and every way that they go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from tiny_betas import (
    FUNC,
    assert_are,
    expected_responses,
    refused,
    save,
    shown_in,
    trial_maps,
    write_table,
)
from tiny_dataset import (
    AFFINE,
    LAYERS,
    SESSIONS,
    SHAPE,
    TASK,
    brain,
    describe_derivative,
    truth,
    write_json,
)

from bids_encoder.app.cli import main
from bids_encoder.betas import volume_files
from bids_encoder.errors import DataError, MissingInputError, UsageError


def write_matlab(path: Path, data: np.ndarray) -> None:
    """As MATLAB 7.3 does: axes in reverse, and an attribute that names the class."""
    with h5py.File(path, "w") as file:
        file["betasmd"] = data.T
        file["betasmd"].attrs["MATLAB_class"] = np.bytes_("single")
        file.create_group("#refs#")


@pytest.mark.parametrize(
    "form",
    ["table", "order", "hdf5", "hdf5 in lines", "flat", "flat in pieces", "matlab", "matlab flat"],
)
def test_every_format_says_the_same(bare, measured, sessions_maps, tmp_path, form, monkeypatch):
    """One file a session: NIfTI with a table, or in the order of events; GLMsingle's files."""
    if " in " in form:  # as files are read that are too large for memory
        monkeypatch.setattr(volume_files, "_BYTES", 4 * SHAPE[2] * 20)
        form = form.split()[0]
    mask = save(tmp_path / "mask.nii.gz", brain().astype(np.uint8))
    for session, maps in sessions_maps.items():
        stem = tmp_path / "glm" / f"sub-01/ses-{session}/TYPED_FITHRF_GLMDENOISE_RR"
        stem.parent.mkdir(parents=True)
        if form in ("table", "order"):
            save(stem.with_suffix(".nii.gz"), maps)
        elif form.startswith("matlab"):
            inside = maps.transpose(2, 1, 0, 3)[brain().T]  # MATLAB's order of voxels
            write_matlab(stem.with_suffix(".mat"), inside if "flat" in form else maps)
        else:
            with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
                file["betasmd"] = maps[brain()][:, None, None] if form == "flat" else maps
                file["R2"] = np.zeros(SHAPE)
        if form == "table":
            table = [*shown_in(bare, session)]
            write_table(stem.with_suffix(".tsv"), table)
    ending = {"table": "nii.gz", "order": "nii.gz", "hdf5": "hdf5", "flat": "hdf5"}
    pattern = (
        tmp_path
        / "glm/sub-{subject}/ses-{session}"
        / (f"TYPED_FITHRF_GLMDENOISE_RR.{ending.get(form, 'mat')}")
    )
    options = {"betas": str(pattern)}
    if form not in ("table", "order"):
        options["betas_mask"] = str(mask)
    plan, found = measured(**options)
    assert [run.name for run in plan.runs] == [FUNC.format(session=s) for s in SESSIONS]
    assert np.array_equal(found.responses.grid.inside, brain())
    assert_are(found, expected_responses(bare, sessions_maps))
    assert plan.grouping.names == tuple(run.name for run in plan.runs)
    assert plan.design.kind == "events"


def test_one_file_with_sessions_and_runs_in_its_table(bare, measured, sessions_maps, tmp_path):
    names = {s: shown_in(bare, s) for s in SESSIONS}
    order = np.random.default_rng(0).permutation(40)
    everything = np.concatenate([sessions_maps[s] for s in SESSIONS], axis=3)[..., order]
    everything = np.concatenate([everything, np.ones((*SHAPE, 1))], axis=3)  # shows nothing
    save(tmp_path / "sub-01_task-look_betas.nii", everything)
    columns = {"session": list(np.repeat(SESSIONS, 20)[order]) + ["1"]}
    rows = [(names["1"] + names["2"])[k] for k in order] + ["n/a"]
    write_table(tmp_path / "sub-01_task-look_betas.tsv", rows, **columns)
    plan, found = measured(betas=str(tmp_path / "sub-{subject}_task-{task}_betas.nii"))
    assert [run.session for run in plan.runs] == list(SESSIONS)
    assert_are(found, expected_responses(bare, sessions_maps))


def test_single_trials_are_averaged_and_their_repeats_known(bare, measured, tmp_path):
    """z-scored over the trials of a session; the truth's noise comes back from the repeats."""
    maps = {}
    for session in SESSIONS:
        names = shown_in(bare, session) * 2
        maps[session] = trial_maps(names, int(session))
        path = save(tmp_path / f"sub-01_ses-{session}_task-look_betas.nii", maps[session])
        write_table(path.with_suffix(".tsv"), names, run=list(np.repeat(["1", "2"], 20)))
    plan, found = measured(betas=str(tmp_path / "sub-{subject}_ses-{session}_task-look_betas.nii"))
    assert len(plan.runs) == 4
    responses = found.responses
    assert (responses.repeats == 2).all() and len(responses.stimuli) == 40
    expected = {}
    for session, values in maps.items():
        inside = values[brain()]
        scores = (inside - inside.mean(1, keepdims=True)) / inside.std(1, keepdims=True)
        expected |= dict(
            zip(shown_in(bare, session), (scores[:, :20] + scores[:, 20:]).T / 2, strict=True)
        )
    assert_are(found, expected)
    assert found.halves is not None and len(found.halves.stimuli) == 40
    np.testing.assert_allclose(
        (found.halves.first + found.halves.second) / 2,
        [expected[name] for name in found.halves.stimuli],
        atol=1e-4,
    )


@pytest.mark.parametrize("named", ["stimuli", "trials", "table"])
def test_one_image_a_contrast_among_derivatives(bare, measured, sessions_maps, tmp_path, named):
    """As nilearn's save_glm_to_bids and fitlins write them, found by a BIDS filter file."""
    root = tmp_path / "nilearn"
    describe_derivative(root, "nilearn")
    for session, maps in sessions_maps.items():
        folder = root / f"sub-01/ses-{session}/func"
        start = FUNC.format(session=session)
        labels = []
        for k, name in enumerate(shown_in(bare, session)):
            words = {"stimuli": Path(name).stem.title(), "trials": f"trial{k:03d}"}
            labels.append(words.get(named, f"c{k}x"))
            for stat in ("effect", "t"):
                end = f"contrast-{labels[-1]}_stat-{stat}_statmap.nii.gz"
                save(folder / f"{start}_{end}", maps[..., k] if stat == "effect" else maps[..., 0])
        if named == "table":
            path = folder / f"{start}_stat-effect_statmap.tsv"
            write_table(path, shown_in(bare, session)[::-1], contrast=labels[::-1])
    filters = tmp_path / "filters.json"
    write_json(filters, {"betas": {"suffix": "statmap", "stat": "effect"}})
    plan, found = measured(derivatives=(str(root),), filters=filters)
    assert [len(run.betas.images) for run in plan.runs] == [20, 20]
    if named != "table":  # in the order of time, which blocks and permutations rely on
        assert [one.stimulus for one in plan.presentations[0]] == shown_in(bare, "1")
    assert_are(found, expected_responses(bare, sessions_maps))


def test_from_end_to_end(bare, sessions_maps, tmp_path, app, no_page):
    for session, maps in sessions_maps.items():
        save(tmp_path / f"glm/sub-01_ses-{session}_task-look_betas.nii.gz", maps)
    options = (
        bare.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "--features", bare.features, "--betas",
        tmp_path / "glm/sub-{subject}_ses-{session}_task-{task}_betas.nii.gz",
        "--hrf", "rank1", "--skip-volumes", 3,
    )  # fmt: skip
    end = app(*options)
    assert end.code == 0
    for words in ("2 runs in 2 sessions, 40 maps, precomputed", "--hrf rank1 has no effect",
                  "--skip-volumes has no effect"):  # fmt: skip
        assert words in end.err
    start = tmp_path / f"out/sub-01/func/sub-01_task-{TASK}"
    for number, layer in ((1, "early"), (3, "late")):
        r = nibabel.load(f"{start}_stat-r_desc-features+{layer}_statmap.nii.gz").get_fdata()
        assert np.median(r[truth() == number]) > 0.6
        assert np.isnan(r[~brain()]).all()
    side = json.loads(Path(f"{start}_desc-features_scores.json").read_text())
    assert side["Design"] == "events" and len(side["Layers"]) == len(LAYERS)
    assert {one["Maps"] for one in side["Precomputed"].values()} == {20}
    assert "RepetitionTime" not in side
    sources = " ".join(side["Sources"])
    assert "bids:betas:sub-01_ses-1_task-look_betas.nii.gz" in sources
    assert "done before" in app(*options).said


def test_a_test_set_by_column_of_the_table(bare, measured, sessions_maps, tmp_path):
    for session, maps in sessions_maps.items():
        path = save(tmp_path / f"sub-01_ses-{session}_task-look_betas.nii", maps)
        kinds = ["test"] * 3 + ["train"] * 17
        onsets = [str(100 - k) for k in range(20)]
        write_table(path.with_suffix(".tsv"), shown_in(bare, session), kind=kinds, onset=onsets)
    pattern = str(tmp_path / "sub-{subject}_ses-{session}_task-look_betas.nii")
    plan, found = measured(betas=pattern, test_set="kind=test")
    assert [one.stimulus for one in plan.presentations[0]] == shown_in(bare, "1")[::-1]
    assert_are(found, expected_responses(bare, sessions_maps))
    assert plan.test_set.stimuli == {n for s in SESSIONS for n in shown_in(bare, s)[:3]}
    plan, _ = measured(betas=pattern, test_set="ses=2")
    assert plan.test_set.stimuli == set(shown_in(bare, "2"))


def test_voxels_that_are_not_finite_somewhere(bare, measured, sessions_maps, tmp_path, caplog):
    sessions_maps["1"][4, 4, 3, 7] = np.nan
    for session, maps in sessions_maps.items():
        save(tmp_path / f"sub-01_ses-{session}_task-look_betas.nii", maps)
    pattern = str(tmp_path / "sub-{subject}_ses-{session}_task-look_betas.nii")
    _, found = measured(betas=pattern)
    assert found.responses.grid.n_values == brain().sum() - 1
    mask = save(tmp_path / "mask.nii", brain().astype(np.uint8))
    _, found = measured(betas=pattern, betas_mask=str(mask))
    assert np.isnan(found.responses.values).all(axis=0).sum() == 1
    assert "1 of 160 voxels are not finite in some map" in caplog.text


# What goes wrong


@pytest.fixture
def files(bare, sessions_maps, tmp_path):
    """One file a session, in the order of the events; the pattern that finds them."""
    for session, maps in sessions_maps.items():
        save(tmp_path / f"b/sub-01_ses-{session}_task-look_betas.nii", maps)
    return tmp_path / "b/sub-{subject}_ses-{session}_task-look_betas.nii"


def first_of(pattern) -> Path:
    return Path(str(pattern).format(subject="01", session="1"))


def test_a_table_with_other_than_one_row_a_map(bare, measured, files):
    path = first_of(files)
    write_table(path.with_suffix(".tsv"), shown_in(bare, "1")[:-1])
    refused(
        measured, DataError, path, "20 maps", "19, as many as", ".tsv", "--betas-table",
        betas=str(files),
    )  # fmt: skip


def test_events_that_do_not_count_the_maps(measured, files, sessions_maps):
    save(first_of(files), sessions_maps["1"][..., :-2])
    refused(measured, DataError, first_of(files), "18 maps", "20, as many as", betas=str(files))


def test_other_grids(measured, files, sessions_maps):
    save(first_of(files), sessions_maps["1"][:-1])
    refused(measured, DataError, "different grids", "7 × 8 × 6", "8 × 8 × 6", betas=str(files))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_an_empty_map(measured, files, sessions_maps, tmp_path, value):
    sessions_maps["1"][..., 4] = value
    save(first_of(files), sessions_maps["1"])
    mask = save(tmp_path / "mask.nii", brain().astype(np.uint8))
    refused(
        measured, DataError, first_of(files), "map 5 (line 6 of sub-01_ses-1", "no values",
        betas=str(files), betas_mask=str(mask),
    )  # fmt: skip


def test_nothing_but_constant_voxels(measured, files, sessions_maps):
    save(first_of(files), np.ones_like(sessions_maps["1"]))
    refused(measured, DataError, first_of(files), "0 voxels", "--betas-mask", betas=str(files))


def test_a_truncated_image(measured, files):
    path = first_of(files)
    path.write_bytes(path.read_bytes()[:-500])
    refused(measured, DataError, path, "truncated", betas=str(files))


def test_an_image_of_one_map(measured, files, sessions_maps):
    save(first_of(files), sessions_maps["1"][..., 0])
    refused(measured, DataError, first_of(files), "1 maps", "20", betas=str(files))


def test_no_file(measured, tmp_path):
    pattern = tmp_path / "b/sub-{subject}_betas.nii"
    refused(measured, MissingInputError, pattern, "--betas", betas=str(pattern))


@pytest.mark.parametrize(
    ("pattern", "word"),
    [("b/sub-{sub}.nii", "{subject}"), ("b/{subject}/../../x.nii", "no .."), ("b/{x.nii", "{run}")],
)
def test_patterns_that_cannot_be(bare, tmp_path, app, pattern, word):
    end = app(
        bare.bids, tmp_path / "out", "participant", "--features", bare.features,
        "--betas", tmp_path / pattern,
    )  # fmt: skip
    assert end.code == 2 and word in end.err and "--betas" in end.err


def test_one_file_for_several_participants(measured, files):
    pattern = first_of(files).rename(first_of(files).with_name("ses-1_task-look_betas.nii"))
    refused(measured, UsageError, "{subject}", "--betas", betas=str(pattern))


def test_two_files_of_one_run(measured, files):
    path = first_of(files)
    shutil.copy(path, path.with_name("sub-01_ses-1_task-look_desc-b_betas.nii"))
    pattern = str(files).replace("look_", "look*_")
    refused(measured, DataError, "same run", path, "narrower", betas=pattern)


@pytest.mark.parametrize("ending", ["npy", "pkl"])
def test_pickles_are_never_opened(measured, files, ending):
    path = first_of(files)
    path.rename(path.with_suffix(f".{ending}"))
    refused(
        measured, DataError, f".{ending}", "pickles", "wanthdf5",
        betas=str(Path(files).with_suffix(f".{ending}")),
    )  # fmt: skip


def test_a_matlab_file_of_an_older_version(measured, files):
    path = first_of(files)
    path.with_suffix(".mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    refused(
        measured, DataError, ".mat", "version 5", "-v7.3",
        betas=str(Path(files).with_suffix(".mat")),
    )  # fmt: skip


def hdf5_of(files, **datasets) -> str:
    for session in SESSIONS:
        path = Path(str(files).format(subject="01", session=session)).with_suffix(".hdf5")
        with h5py.File(path, "w") as file:
            for name, values in datasets.items():
                file[name] = values
    return str(Path(files).with_suffix(".hdf5"))


def test_hdf5_without_the_dataset(measured, files, sessions_maps, tmp_path):
    pattern = hdf5_of(files, modelmd=sessions_maps["1"], R2=np.zeros(3))
    refused(measured, DataError, "betasmd", "R2, modelmd", "--betas-key", betas=pattern)
    mask = save(tmp_path / "mask.nii", brain().astype(np.uint8))
    plan, _ = measured(betas=pattern, betas_key="modelmd", betas_mask=str(mask))
    assert plan.runs[0].betas.key == "modelmd"
    refused(measured, DataError, "no numbers", "(3,)", betas=pattern, betas_key="R2")


def test_hdf5_links_are_not_followed(measured, files, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["betasmd"] = np.ones((*SHAPE, 20))
    pattern = hdf5_of(files, betasmd=h5py.ExternalLink(str(tmp_path / "secret.h5"), "betasmd"))
    refused(measured, DataError, "link out of the file", "betasmd", betas=pattern)


def test_links_out_of_the_folder_are_refused(measured, files):
    path = first_of(files)
    outside = path.rename(path.parent.parent / "elsewhere.nii")
    path.symlink_to(outside)
    refused(measured, DataError, path, outside, "--follow-links", betas=str(files))
    annex = path.parent.parent / ".git/annex/objects/x"
    annex.parent.mkdir(parents=True)
    shutil.move(outside, annex)
    path.unlink()
    path.symlink_to(annex)
    assert len(measured(betas=str(files))[0].runs) == 2


@pytest.mark.parametrize("voxels", ["none", "flat", "other"])
def test_hdf5_whose_voxels_have_no_place(measured, files, sessions_maps, tmp_path, voxels):
    maps = sessions_maps["1"]
    pattern = hdf5_of(files, betasmd=maps[brain()][:-1] if voxels == "flat" else maps)
    options = {}
    if voxels != "none":
        mask = brain().astype(np.uint8)[:-1] if voxels == "other" else brain().astype(np.uint8)
        options["betas_mask"] = str(save(tmp_path / "mask.nii", mask))
    words = {"none": "no image of that size", "flat": "has 160", "other": "(7, 8, 6)"}
    refused(measured, DataError, "--betas-mask", words[voxels], betas=pattern, **options)


def test_hdf5_on_the_grid_of_the_bold(pristine, measured, files, sessions_maps):
    for session in SESSIONS:
        path = Path(str(files).format(subject="01", session=session)).with_suffix(".hdf5")
        with h5py.File(path, "w") as file:
            file["betasmd"] = sessions_maps[session]
    pattern = str(Path(files).with_suffix(".hdf5"))
    plan, found = measured(pristine, betas=pattern)
    np.testing.assert_array_equal(plan.infos[0].affine, AFFINE)
    assert_are(found, expected_responses(pristine, sessions_maps))


def test_brain_masks_of_derivatives(pristine, measured, files, sessions_maps):
    """--space says in which space betas are whose names do not."""
    noise = np.random.default_rng(0).standard_normal((*SHAPE, 20)).astype(np.float32)
    for session in SESSIONS:
        path = Path(str(files).format(subject="01", session=session))
        save(path, np.where(brain()[..., None], sessions_maps[session], noise))
    prep = (str(pristine.preprocessed),)
    plan, found = measured(pristine, prep, space=("T1w",), betas=str(files))
    assert_are(found, expected_responses(pristine, sessions_maps))
    assert {run.space for run in plan.runs} == {"T1w"}
    _, found = measured(pristine, prep, betas=str(files))
    assert found.responses.grid.n_values == np.prod(SHAPE)


def test_contrasts_that_name_no_stimulus(bare, measured, sessions_maps, tmp_path):
    for k in range(4):
        name = f"sub-01_ses-1_task-look_contrast-what{k}x_stat-effect_statmap.nii"
        save(tmp_path / "b" / name, sessions_maps["1"][..., k])
    pattern = (
        tmp_path / "b/sub-{subject}_ses-1_task-look_contrast-{contrast}_stat-effect_statmap.nii"
    )
    refused(
        measured, DataError, "contrast-what0x", "4 of 4 contrasts", "--betas-table",
        betas=str(pattern),
    )  # fmt: skip
    table = tmp_path / "table.tsv"
    write_table(table, shown_in(bare, "1")[:3], contrast=[f"what{k}x" for k in range(3)])
    refused(
        measured, DataError, table, "no row for what3x",
        betas=str(pattern), betas_table=str(table),
    )  # fmt: skip


def test_no_table_and_no_events(measured, bare, files, tmp_path):
    shutil.copytree(bare.folder, tmp_path / "data")
    for path in (tmp_path / "data/raw/sub-01").rglob("*_events.tsv"):
        path.unlink()
    refused(
        measured, MissingInputError, "Nothing says what the betas show", "--betas-table",
        tiny=type(bare)(tmp_path / "data"), betas=str(files),
    )  # fmt: skip


def test_a_continuous_design_is_refused(bare, files, tmp_path):
    options = ["--betas", files, "--design", "continuous", "--features", bare.features]
    arguments = [bare.bids, tmp_path / "out", "participant", *options, "-w", tmp_path / "work"]
    assert main([str(one) for one in arguments]) == 2
