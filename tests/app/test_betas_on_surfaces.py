"""Precomputed responses on surfaces: the same as in a volume, and every way that they go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import ScalarAxis, SeriesAxis
from tiny_betas import (
    FUNC,
    assert_are,
    expected_responses,
    refused,
    save,
    shown_in,
    write_table,
)
from tiny_dataset import SESSIONS, TASK, brain, describe_derivative, truth, write_json
from tiny_meshes import sphere, write_gifti, write_mesh
from tiny_surfaces import HALF, N, on_vertices, write_cifti

from bids_encoder.errors import DataError, MissingInputError, UsageError
from bids_encoder.responses import surface_bold

NAME = "sub-01_ses-{session}_task-look_{hemi}space-fsnative_betas.func.gii"


def rows(maps: np.ndarray) -> np.ndarray:
    """Maps (x, y, z, n) as rows: (n, V)."""
    return maps[brain()].T


def write_pair(folder: Path, session: str, values: np.ndarray, name: str = NAME) -> dict[str, Path]:
    sides = on_vertices(values)
    return {
        side: write_gifti(folder / name.format(session=session, hemi=f"hemi-{side}_"), sides[side])
        for side in "LR"
    }


@pytest.fixture
def pairs(sessions_maps, tmp_path):
    """Two hemispheres a session, in the order of the events; the folder."""
    for session, maps in sessions_maps.items():
        write_pair(tmp_path / "b", session, rows(maps))
    return tmp_path / "b"


@pytest.fixture
def pattern(pairs):
    return str(pairs / "sub-{subject}_ses-{session}_task-look_hemi-*_space-fsnative_betas.func.gii")


def assert_same_as_in_a_volume(found, bare, sessions_maps) -> None:
    sheets = found.responses.grid.sheets
    assert [len(sheet.vertices) for sheet, _ in sheets.values()] == [HALF, brain().sum() - HALF]
    assert_are(found, expected_responses(bare, sessions_maps))


def test_pairs_of_gifti_files(bare, measured, sessions_maps, pattern):
    plan, found = measured(betas=pattern)
    assert plan.names["form"] == "gifti" and plan.names["space"] == "fsnative"
    assert [run.name for run in plan.runs] == [FUNC.format(session=s) for s in SESSIONS]
    assert len([path for path in plan.sources if path.suffix == ".gii"]) == 4
    assert_same_as_in_a_volume(found, bare, sessions_maps)


def test_names_of_freesurfer(bare, measured, sessions_maps, tmp_path):
    for session, maps in sessions_maps.items():
        for side, values in on_vertices(rows(maps)).items():
            write_gifti(tmp_path / f"01/{session}/{side.lower()}h.betas.gii", values)
        write_table(tmp_path / f"01/{session}.tsv", shown_in(bare, session))
    plan, found = measured(
        betas=str(tmp_path / "{subject}/{session}/{hemi}.betas.gii"),
        betas_table=str(tmp_path / "{subject}/{session}.tsv"),
    )
    assert plan.runs[0].events == tmp_path / "01/1.tsv"
    assert list(plan.runs[0].hemispheres) == ["L", "R"]
    assert_same_as_in_a_volume(found, bare, sessions_maps)


@pytest.mark.parametrize("piece", [None, 4 * 20 * 7])
@pytest.mark.parametrize("form", ["dscalar", "dtseries"])
def test_cifti(bare, measured, sessions_maps, tmp_path, form, piece, monkeypatch):
    if piece:  # bytes that are read at a time: seven places of all maps
        monkeypatch.setattr(surface_bold, "_BLOCK_BYTES", piece)
    for session, maps in sessions_maps.items():
        path = tmp_path / f"sub-01_ses-{session}_task-look_space-fsLR_betas.{form}.nii"
        values = np.concatenate(list(on_vertices(rows(maps)).values()), axis=1)
        n = len(values)
        axis = ScalarAxis([str(k) for k in range(n)]) if form == "dscalar" else SeriesAxis(0, 1, n)
        write_cifti(path, values, axis)
        write_table(Path(str(path).replace(f".{form}.nii", ".tsv")), shown_in(bare, session))
    name = "sub-{subject}_ses-{session}_task-look_space-fsLR_betas." + f"{form}.nii"
    plan, found = measured(betas=str(tmp_path / name))
    assert plan.names["form"] == "cifti" and plan.names["space"] == "fsLR"
    assert_same_as_in_a_volume(found, bare, sessions_maps)


@pytest.mark.parametrize("form", ["gifti", "cifti"])
def test_one_file_a_contrast_among_derivatives(bare, measured, sessions_maps, tmp_path, form):
    """As nilearn's save_glm_to_bids writes them for surfaces: hemi- and contrast- in the name."""
    root = tmp_path / "nilearn"
    describe_derivative(root, "nilearn")
    for session, maps in sessions_maps.items():
        folder = root / f"sub-01/ses-{session}/func"
        for name, values in zip(shown_in(bare, session), rows(maps), strict=True):
            end = f"contrast-{Path(name).stem.title()}_stat-effect_statmap"
            start = FUNC.format(session=session)
            if form == "gifti":
                write_pair(folder, session, values[None], f"{start}_{{hemi}}{end}.gii")
            else:
                both = np.concatenate(list(on_vertices(values[None]).values()), axis=1)
                folder.mkdir(parents=True, exist_ok=True)
                write_cifti(folder / f"{start}_{end}.dscalar.nii", both, ScalarAxis(["x"]))
    filters = tmp_path / "filters.json"
    write_json(filters, {"betas": {"suffix": "statmap", "stat": "effect"}})
    plan, found = measured(derivatives=(str(root),), filters=filters)
    assert [len(run.betas.files) for run in plan.runs] == [40 if form == "gifti" else 20] * 2
    assert [one.stimulus for one in plan.presentations[0]] == shown_in(bare, "1")
    assert_same_as_in_a_volume(found, bare, sessions_maps)


def test_one_hemisphere_where_it_is_asked_for(bare, measured, sessions_maps, pairs):
    pattern = "sub-{subject}_ses-{session}_task-look_hemi-R_space-fsnative_betas.func.gii"
    plan, found = measured(betas=str(pairs / pattern))
    assert plan.names["hemi"] == "R"
    expected = expected_responses(bare, sessions_maps)
    assert_are(found, {name: values[HALF:] for name, values in expected.items()})


def test_vertices_that_are_not_finite_somewhere(measured, sessions_maps, pairs, pattern):
    values = rows(sessions_maps["1"])
    values[3, 5] = np.nan
    write_pair(pairs, "1", values)
    _, found = measured(betas=pattern)
    assert found.responses.grid.n_values == brain().sum() - 1
    assert np.isfinite(found.responses.values).all()


def test_from_end_to_end(bare, sessions_maps, pairs, pattern, tmp_path, app, no_page):
    """The scores are those of the same betas in a volume; maps are pairs of GIFTI files."""
    for session, maps in sessions_maps.items():
        save(tmp_path / f"v/sub-01_ses-{session}_task-look_betas.nii.gz", maps)
    prep = tmp_path / "prep"
    describe_derivative(prep, "fMRIPrep")
    for side in "LR":
        for kind in ("midthickness", "inflated"):
            write_mesh(prep / f"sub-01/anat/sub-01_hemi-{side}_{kind}.surf.gii", sphere())
    base = ("--participant-label", "01", "--features", bare.features)
    volume = tmp_path / "v/sub-{subject}_ses-{session}_task-look_betas.nii.gz"
    end = app(bare.bids, tmp_path / "volume", "participant", *base, "--betas", volume)
    assert end.code == 0, end.err
    options = (*base, "--betas", pattern, "-d", prep)
    end = app(bare.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0, end.err
    assert "2 runs in 2 sessions, 40 maps, precomputed" in end.err and "meshes" in end.err
    start = f"sub-01_task-{TASK}"
    expected = nibabel.load(
        tmp_path / f"volume/sub-01/func/{start}_stat-r_desc-features+late_statmap.nii.gz"
    ).get_fdata()[brain()]
    folder = tmp_path / "out/sub-01/func"
    name = f"{start}_hemi-{{}}_space-fsnative_stat-r_desc-features+late_statmap.func.gii"
    found = [nibabel.load(folder / name.format(side)).darrays[0].data for side in "LR"]
    assert [len(values) for values in found] == [N, N]
    found = np.concatenate([found[0][:HALF], found[1][: len(expected) - HALF]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.median(found[truth()[brain()] == 3]) > 0.6
    side = json.loads((folder / f"{start}_space-fsnative_desc-features_scores.json").read_text())
    assert sum("betas.func.gii" in one for one in side["Sources"]) == 4
    assert (
        folder / f"{start}_hemi-L_space-fsnative_desc-features+bestlayer_dseg.label.gii"
    ).exists()
    assert "done before" in app(bare.bids, tmp_path / "out", "participant", *options).said


# What goes wrong


def test_a_hemisphere_that_is_missing(measured, pairs, pattern):
    path = pairs / NAME.format(session="1", hemi="hemi-R_")
    path.unlink()
    refused(measured, MissingInputError, path, "one hemisphere only", betas=pattern)


def test_a_hemisphere_of_freesurfer_that_is_missing(measured, sessions_maps, tmp_path):
    write_gifti(tmp_path / "01/lh.b.gii", on_vertices(rows(sessions_maps["1"]))["L"])
    refused(
        measured, MissingInputError, f"{tmp_path / '01'}\n", "one hemisphere only", "lh.b.gii",
        betas=str(tmp_path / "{subject}/{hemi}.b.gii"),
    )  # fmt: skip


def test_a_contrast_of_one_hemisphere(bare, measured, sessions_maps, tmp_path):
    for session, maps in sessions_maps.items():
        for name, values in zip(shown_in(bare, session), rows(maps), strict=True):
            end = f"contrast-{Path(name).stem}_betas.gii"
            write_pair(tmp_path, session, values[None], f"{FUNC}_{{hemi}}{end}")
    gone = Path(shown_in(bare, "2")[4]).stem
    (tmp_path / f"{FUNC.format(session='2')}_hemi-R_contrast-{gone}_betas.gii").unlink()
    refused(
        measured, MissingInputError, f"contrast-{gone} of one hemisphere",
        betas=str(tmp_path / "sub-{subject}_ses-{session}_task-look_hemi-*_betas.gii"),
    )  # fmt: skip


def test_hemispheres_with_other_numbers_of_maps(measured, sessions_maps, pairs, pattern):
    right = on_vertices(rows(sessions_maps["1"]))["R"]
    path = write_gifti(pairs / NAME.format(session="1", hemi="hemi-R_"), right[:-1])
    refused(measured, DataError, path, "19 maps", "20, as", betas=pattern)


def test_numbers_of_maps_that_no_table_has(measured, sessions_maps, pairs, pattern):
    write_pair(pairs, "1", rows(sessions_maps["1"])[:-2])
    refused(measured, DataError, "hemi-L", "18 maps", "20, as many as", betas=pattern)


def test_other_meshes(measured, sessions_maps, pairs, pattern):
    for side, values in on_vertices(rows(sessions_maps["2"])).items():
        write_gifti(pairs / NAME.format(session="2", hemi=f"hemi-{side}_"), values[:, :-1])
    refused(measured, DataError, "different meshes", "161 vertices", "162", betas=pattern)


def test_geometry_in_place_of_maps(measured, pairs, pattern):
    path = write_mesh(pairs / NAME.format(session="1", hemi="hemi-L_"), sphere())
    refused(measured, DataError, path, "does not hold maps", "POINTSET", betas=pattern)


def test_labels_in_place_of_maps(measured, tmp_path):
    from nibabel.cifti2 import LabelAxis

    path = tmp_path / "sub-01_ses-1_task-look_betas.dscalar.nii"
    labels = LabelAxis(["x"], [{0: ("?", (0, 0, 0, 0))}])
    write_cifti(path, np.zeros((1, 2 * N)), labels)
    pattern = "sub-{subject}_ses-{session}_task-look_betas.dscalar.nii"
    refused(measured, DataError, path, "does not hold maps", "Label", betas=str(tmp_path / pattern))


def test_files_that_are_cut_short(measured, pairs, pattern):
    path = pairs / NAME.format(session="2", hemi="hemi-R_")
    path.write_bytes(path.read_bytes()[:-100])
    refused(measured, DataError, path, betas=pattern)


def test_volumes_among_surfaces(measured, sessions_maps, tmp_path):
    write_pair(tmp_path, "1", rows(sessions_maps["1"]), "sub-01_ses-{session}_{hemi}betas.gii")
    save(tmp_path / "sub-01_ses-2_betas.nii.gz", sessions_maps["2"])
    refused(
        measured, DataError, "different kinds", "volume", "GIFTI, as sub-01_ses-1_hemi-L",
        betas=str(tmp_path / "sub-{subject}_ses-{session}_*"),
    )  # fmt: skip


def test_several_files_of_a_hemisphere(measured, sessions_maps, tmp_path):
    for name in ("lh.a", "lh.b", "rh.a", "rh.b"):
        values = on_vertices(rows(sessions_maps["1"]))[name[0].upper()]
        write_gifti(tmp_path / f"01/{name}.gii", values)
    refused(
        measured, DataError, "Several files", "lh.b.gii",
        betas=str(tmp_path / "{subject}/{hemi}.*.gii"),
    )  # fmt: skip


def test_masks_are_not_read(measured, pattern, tmp_path):
    refused(measured, UsageError, "--betas-mask", betas=pattern, betas_mask=str(tmp_path / "m.nii"))


def test_betas_that_are_the_same_everywhere(measured, sessions_maps, pairs, pattern):
    write_pair(pairs, "2", np.ones_like(rows(sessions_maps["2"])))
    refused(measured, DataError, "no vertices that can be used", betas=pattern)
