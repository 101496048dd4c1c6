"""Each input of a run is changed, and the run repeated over the old output: as if it were fresh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import tiny_contrasts
from PIL import Image
from tiny_betas import FUNC, save, shown_in, trial_maps, write_table
from tiny_dataset import (
    SESSIONS,
    SHAPE,
    SPACE,
    TASK,
    Tiny,
    brain,
    picture_names,
    run_app,
    tree,
    write_bold,
    write_json,
    write_tiny,
)
from tiny_surfaces import add_surfaces

FAST = ("--participant-label", "01", "--no-neural-code", "--n-permutations", "50")
ROOT = Path(__file__).parents[2]
ALL_THERE = "all is there already"
LEFT_OUT = ("/log/", ".html")


def results(out: Path) -> dict[str, str]:
    """Checksums of all files but the log of the settings; pages are not made here."""
    return {name: one for name, one in tree(out).items() if not any(s in name for s in LEFT_OUT)}


def run(tiny: Tiny, out: Path, options: Sequence[object], expected: int = 0):
    end = run_app(tiny.bids, out, "participant", "-w", out.parent / f"{out.name}-work",
                  *FAST, *options)  # fmt: skip
    assert end.code == expected, end.said
    return end


# What the dataset has besides


def catalogue(tiny: Tiny) -> None:
    """Pictures by their ids, which a table translates (BEP044)."""
    ids = {name: f"id{number:02d}" for number, name in enumerate(picture_names())}
    for session in SESSIONS:
        text = tiny.events(session).read_text().replace("stim_file", "stim_id")
        for name, id_ in ids.items():
            text = text.replace(name, id_)
        tiny.events(session).write_text(text)
    rows = "".join(f"{id_}\t{name}\n" for name, id_ in ids.items())
    (tiny.bids / "stimuli/stimuli.tsv").write_text("stimulus_id\tfilename\n" + rows)


def two_compcor(tiny: Tiny, order: str = "ab") -> None:
    """Two components, of which the JSON file says which is combined: the one that is kept."""
    for session in SESSIONS:
        path = prep(tiny, "_desc-confounds_timeseries.tsv", session)
        header, *rows = path.read_text().splitlines()
        if "a_comp_cor_01" not in header:
            new = np.random.default_rng(3).standard_normal(len(rows))
            rows = [f"{row}\t{value:.5f}" for row, value in zip(rows, new, strict=True)]
            path.write_text("\n".join([f"{header}\ta_comp_cor_01", *rows]) + "\n")
        masks = dict(zip(order, ("combined", "WM"), strict=True))
        kept = {f"a_comp_cor_0{'ab'.index(key)}": mask for key, mask in masks.items()}
        about = {k: {"Method": "aCompCor", "Mask": m, "Retained": True} for k, m in kept.items()}
        write_json(path.with_suffix(".json"), about)


def atlas(tiny: Tiny, names: Sequence[str] = ("V1", "IT"), last: int = 7) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 1:4], labels[5:last, 2:6, 1:4] = 1, 2
    write_bold(tiny.folder / "areas.nii.gz", labels)
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(names, start=1))
    (tiny.folder / "areas.tsv").write_text("index\tname\n" + rows)


def betas(tiny: Tiny) -> None:
    for session in SESSIONS:
        names = shown_in(tiny, session)
        path = tiny.folder / "glm" / f"{FUNC.format(session=session)}_betas.nii.gz"
        save(path, trial_maps(names, int(session)))
        write_table(Path(str(path).replace(".nii.gz", ".tsv")), names)
    save(tiny.folder / "glm" / "mask.nii.gz", brain().astype(np.uint8))


def columns(tiny: Tiny) -> None:
    """A column for --test-set: every fourth line of the events."""
    for session in SESSIONS:
        header, *rows = tiny.events(session).read_text().splitlines()
        rows = [f"{row}\t{'test' if k % 4 == 0 else 'train'}" for k, row in enumerate(rows)]
        tiny.events(session).write_text("\n".join([f"{header}\tpart", *rows]) + "\n")


def contrasts(tiny: Tiny) -> None:
    shutil.rmtree(tiny.folder)
    fresh = write_tiny(tiny.folder.parent / "contrasts")
    tiny_contrasts.prepare(fresh, tiny.folder)


def folder_of_pictures(tiny: Tiny) -> None:
    """Whose features are called after their places in the folder."""
    contrasts(tiny)
    with h5py.File(tiny.features, "r+") as file:
        names = [name.removeprefix("new/") for name in file["stimuli"].asstr()[:]]
        del file["stimuli"]
        file["stimuli"] = names


def carriers(tiny: Tiny) -> None:
    folder = tiny.folder / "carriers"
    shutil.copytree(tiny.bids / "stimuli" / "set0", folder)


# Changes


def prep(tiny: Tiny, suffix: str, session: str = "1") -> Path:
    return tiny.preprocessed / Path(tiny.run(session) + suffix).relative_to(tiny.bids)


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def edit_image(path: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change numbers of an image; its size and times stay as they were."""
    before = path.stat()
    image = nibabel.load(path)
    data = np.asarray(image.dataobj).copy()
    change(data)
    path.unlink()
    image.__class__(data, image.affine, image.header).to_filename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lose_a_voxel(data: np.ndarray) -> None:
    data[3, 3, 2] = 0


def swap_volumes(data: np.ndarray) -> None:
    data[..., [10, 40]] = data[..., [40, 10]]


def edit_features(tiny: Tiny, stimulus: str, layer: str = "early") -> None:
    with h5py.File(tiny.features, "r+") as file:
        row = file["stimuli"].asstr()[:].tolist().index(stimulus)
        file[layer][row] = file[layer][row] * 1.5


def swap_lines(path: Path, first: int, second: int, column: int) -> None:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    rows[first][column], rows[second][column] = rows[second][column], rows[first][column]
    path.write_text("\n".join(map("\t".join, rows)) + "\n")


def timing(tiny: Tiny, **keys: object) -> None:
    path = tiny.bids / f"task-{TASK}_bold.json"
    write_json(path, {**json.loads(path.read_text()), **keys})


def move_vertex(tiny: Tiny) -> None:
    path = next(tiny.preprocessed.rglob("sub-01_hemi-L_midthickness.surf.gii"))
    image = nibabel.load(path)
    image.darrays[0].data[:] = image.darrays[0].data * np.array([3, 1, 1], np.float32)
    nibabel.save(image, path)


def edit_series(tiny: Tiny) -> None:
    path = next(tiny.preprocessed.rglob("sub-01_ses-1_*hemi-L_space-fsnative_bold.func.gii"))
    image = nibabel.load(path)
    first, second = image.darrays[10], image.darrays[40]
    first.data, second.data = second.data.copy(), first.data.copy()
    nibabel.save(image, path)


def repaint(path: Path) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def features_of(tiny: Tiny) -> tuple:
    return ("--features", tiny.features)


def prep_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "-d", tiny.preprocessed, "--space", "T1w")


def betas_of(tiny: Tiny) -> tuple:
    start = tiny.folder / "glm" / FUNC.format(session="{session}")
    mask = tiny.folder / "glm" / "mask.nii.gz"
    return (*features_of(tiny), "--betas", f"{start}_betas.nii.gz", "--betas-mask", mask)


def surfaces_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "-d", tiny.preprocessed, "--space", "fsnative")


def atlas_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "--atlas", tiny.folder / "areas.nii.gz")


def contrasts_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "--synthesize", tiny.folder / "contrasts.json")


def folder_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "--synthesize", f"{tiny.folder / 'new'}/")


def held_out_of(tiny: Tiny) -> tuple:
    return (*features_of(tiny), "--test-set", "part=test")


def network_of(tiny: Tiny) -> tuple:
    return ("--layers", "stage1")


def carriers_of(tiny: Tiny) -> tuple:
    folder = tiny.folder / "carriers"
    return (*network_of(tiny), "--synthesize", "retinotopy", "--carrier-images", folder)


@dataclass(frozen=True)
class Case:
    """An input: how it comes to be, with which options it is read, and how it changes."""

    name: str
    options: Callable[[Tiny], tuple]
    change: Callable[[Tiny], object]
    prepare: Callable[[Tiny], object] = lambda tiny: None
    continuous: bool = False
    quick: bool = False


CASES = [
    Case("an onset", features_of, lambda t: t.edit_events("\t1\t", "\t1.5\t", count=1)),
    Case("two volumes", features_of, lambda t: edit_image(t.bold(), swap_volumes)),
    Case("repetition time", features_of, lambda t: timing(t, RepetitionTime=2.015), quick=True),
    Case("slice timing", features_of, lambda t: timing(t, SliceTiming=[0.5] * SHAPE[2])),
    Case("features", features_of, lambda t: edit_features(t, picture_names()[3])),
    Case("which picture an id is", features_of,
         lambda t: swap_lines(t.bids / "stimuli/stimuli.tsv", 1, 2, 1), catalogue, quick=True),
    Case("mask", prep_of,
         lambda t: edit_image(prep(t, "_space-T1w_desc-brain_mask.nii.gz"), lose_a_voxel),
         quick=True),
    Case("preprocessed BOLD", prep_of,
         lambda t: edit_image(prep(t, "_space-T1w_desc-preproc_bold.nii.gz"), swap_volumes)),
    Case("start time", prep_of,
         lambda t: edit(prep(t, "_space-T1w_desc-preproc_bold.json"), '"StartTime": 0.0',
                        '"StartTime": 0.7')),
    Case("a confound's value", prep_of,
         lambda t: swap_lines(prep(t, "_desc-confounds_timeseries.tsv"), 5, 9, 0)),
    Case("which component is kept", prep_of, lambda t: two_compcor(t, "ba"), two_compcor,
         quick=True),
    Case("labels of an atlas", atlas_of, lambda t: atlas(t, last=6), atlas),
    Case("names of an atlas", atlas_of, lambda t: atlas(t, ("V1", "LO")), atlas),
    Case("one region less", atlas_of, lambda t: atlas(t, ("V1",), last=5), atlas),
    Case("betas", betas_of,
         lambda t: edit_image(t.folder / f"glm/{FUNC.format(session=1)}_betas.nii.gz",
                              lambda data: np.multiply(data, -1, out=data)), betas),
    Case("table of betas", betas_of,
         lambda t: swap_lines(t.folder / f"glm/{FUNC.format(session=1)}_betas.tsv", 1, 2, 0),
         betas),
    Case("mask of betas", betas_of,
         lambda t: edit_image(t.folder / "glm/mask.nii.gz", lose_a_voxel), betas),
    Case("a column that divides", held_out_of, lambda t: swap_lines(t.events(), 1, 2, 3), columns),
    Case("the empty screen", features_of, lambda t: edit_features(t, ""), continuous=True),
    Case("a picture's time", features_of, lambda t: swap_lines(t.events(), 5, 9, 2),
         continuous=True),
    Case("a mesh", surfaces_of, move_vertex, add_surfaces),
    Case("a time series on a surface", surfaces_of, edit_series, add_surfaces),
    Case("weights of a contrast", contrasts_of,
         lambda t: edit(t.folder / "contrasts.json", "[1, -1]", "[2, -2]"), contrasts),
    Case("features of new pictures in a contrast", contrasts_of,
         lambda t: edit_features(t, tiny_contrasts.NEW[0]), contrasts),
    Case("table of a folder of pictures", folder_of,
         lambda t: edit(t.folder / "new/stimuli.tsv", "\ta\n", "\tb\n"), folder_of_pictures),
    Case("features of a folder of pictures", folder_of,
         lambda t: edit_features(t, Path(tiny_contrasts.NEW[0]).name), folder_of_pictures),
    Case("a picture", network_of, lambda t: repaint(t.bids / "stimuli" / picture_names()[0])),
    Case("a picture behind wedges", carriers_of,
         lambda t: repaint(sorted((t.folder / "carriers").iterdir())[0]), carriers),
]  # fmt: skip


@pytest.fixture(scope="module")
def films_without_pause(tmp_path_factory) -> Tiny:
    return write_tiny(tmp_path_factory.mktemp("continuous"), continuous=True)


@pytest.fixture
def of_case(pristine, films_without_pause, tmp_path, app, no_page):
    def make(case: Case) -> Tiny:
        source = films_without_pause if case.continuous else pristine
        shutil.copytree(source.folder, tmp_path / "data")
        tiny = Tiny(tmp_path / "data")
        case.prepare(tiny)
        return tiny

    return make


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if case.quick else pytest.mark.slow)
        for case in CASES
    ],
)
def test_a_changed_input_gives_what_a_fresh_run_gives(case, of_case, tmp_path):
    tiny = of_case(case)
    run(tiny, tmp_path / "out", case.options(tiny))
    before = results(tmp_path / "out")
    case.change(tiny)
    run(tiny, tmp_path / "out", case.options(tiny))
    run(tiny, tmp_path / "fresh", case.options(tiny))
    fresh = results(tmp_path / "fresh")
    assert fresh != before  # it is an input
    assert results(tmp_path / "out") == fresh


def test_what_changes_nothing_is_not_computed_again(of_case, tmp_path):
    """Another place, other times, more features than are read, in another order."""
    tiny = of_case(Case("", prep_of, lambda t: None))
    run(tiny, tmp_path / "out", (*prep_of(tiny), "--layers", "early", "late"))
    before = results(tmp_path / "out")
    shutil.move(tiny.folder, tmp_path / "elsewhere")
    moved = Tiny(tmp_path / "elsewhere")
    for path in moved.folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    with h5py.File(moved.features, "r+") as file:
        order = np.random.default_rng(0).permutation(len(file["stimuli"]))
        names = file["stimuli"].asstr()[:]
        for layer in ("early", "late"):
            values = file[layer][:][order]
            del file[layer]
            file[layer] = np.vstack([values, values[:1]])
        del file["stimuli"], file["middle"]
        file["stimuli"] = [*names[order], "another.png"]
        file.attrs["layers"] = ["early", "late"]
    end = run(moved, tmp_path / "out", (*prep_of(moved), "--layers", "late", "early"))
    assert ALL_THERE in end.err
    after = results(tmp_path / "out")
    differing = {name for name in after | before if after.get(name) != before.get(name)}
    assert differing == {"dataset_description.json"}  # the relative path to the dataset


# What no longer belongs


EVERYTHING = "all of these"
DROPPED = {
    "a layer": (("--layers", "early"), ()),
    "p-values": (("--n-permutations", "0"), ("stat-p_", "stat-q_")),
    "models": (("--save-weights", "none"), ("_weights.",)),
    "the joint model": ((), ("joint", "stat-share")),
    "a test set": ((), ("stat-testr",)),
    "an atlas": ((), ("_seg-areas", "_atlas-areas")),
    "the neural code": ((), ("_smoothness", "_neighbours")),
}
DROPPED[EVERYTHING] = (
    [option for options, _ in DROPPED.values() for option in options],
    [mark for _, marks in DROPPED.values() for mark in marks],
)
WITH = {
    "the joint model": ("--joint", "--joint-draws", "2"),
    "a test set": ("--test-set", "ses=2"),
}


WITH[EVERYTHING] = [option for options in WITH.values() for option in options]


@pytest.mark.parametrize(
    "what",
    [one if one == EVERYTHING else pytest.param(one, marks=pytest.mark.slow) for one in DROPPED],
)
def test_what_is_not_asked_for_any_more_is_removed_and_named(
    what, pristine, tmp_path, app, no_page
):
    shutil.copytree(pristine.folder, tmp_path / "data")
    tiny = Tiny(tmp_path / "data")
    atlas(tiny)
    with_ = (*features_of(tiny), *WITH.get(what, ()))
    if what in ("an atlas", EVERYTHING):
        with_ += ("--atlas", tiny.folder / "areas.nii.gz")
    options, marks = DROPPED[what]
    first = ["--n-permutations", "50", "--participant-label", "01", *with_]
    without = [] if what in ("the neural code", EVERYTHING) else ["--no-neural-code"]
    end = run_app(tiny.bids, tmp_path / "out", "participant", *first, *without)
    assert end.code == 0, end.said
    there = results(tmp_path / "out")
    assert all(any(mark in name for name in there) for mark in marks)
    # Files of people, of another network and of another task stay.
    func = tmp_path / "out/sub-01/func"
    notes = func / f"sub-01_task-{TASK}_desc-features+notes_statmap.json"
    notes.write_text('{"Description": "Mine."}')
    others = [
        name.replace("features", "other") if number else name.replace(f"task-{TASK}", "task-rest")
        for number in (0, 1)
        for name in there
        if f"task-{TASK}_" in name and "desc-features" in name and name.endswith(".tsv")
    ]
    for name in others:
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    again = run(tiny, tmp_path / "out", (*features_of(tiny), *options))
    run(tiny, tmp_path / "fresh", (*features_of(tiny), *options))
    fresh = results(tmp_path / "fresh")
    found = results(tmp_path / "out")
    stay = {notes.relative_to(tmp_path / "out").as_posix(), *others}
    assert {name: one for name, one in found.items() if name not in stay} == fresh
    assert stay <= found.keys()
    assert "Removed" in again.err
    for mark in marks:
        assert mark in again.err and not any(mark in name for name in found.keys() - stay)


def test_two_networks_share_an_output(of_case, tmp_path):
    """What the first one wrote stays as it was, and is not computed again."""
    tiny = of_case(Case("", features_of, lambda t: None))
    second = tiny.folder / "second.h5"
    shutil.copy(tiny.features, second)
    run(tiny, tmp_path / "out", features_of(tiny))
    before = results(tmp_path / "out")
    end = run(tiny, tmp_path / "out", ("--features", second, "--layers", "late"))
    assert ALL_THERE not in end.err and "Removed" not in end.err
    both = results(tmp_path / "out")
    changed = {name for name in before if both.get(name) != before[name]}
    assert changed == {"descriptions.tsv"}
    end = run(tiny, tmp_path / "out", features_of(tiny))
    assert ALL_THERE in end.err and results(tmp_path / "out") == both


def test_experiments_last_as_long_as_their_models(of_case, tmp_path):
    case = Case("", contrasts_of, lambda t: None, contrasts)
    tiny = of_case(case)
    run(tiny, tmp_path / "out", contrasts_of(tiny))
    made = {name for name in results(tmp_path / "out") if "_contrast-" in name}
    assert made
    run(tiny, tmp_path / "out", features_of(tiny))
    assert made <= results(tmp_path / "out").keys()
    end = run(tiny, tmp_path / "out", (*features_of(tiny), "--nested"))
    assert "Removed" in end.err and "_contrast-" in end.err
    assert not [name for name in results(tmp_path / "out") if "_contrast-" in name]


# Damage


@pytest.mark.slow
def test_any_damaged_file_is_made_again(of_case, tmp_path):
    """One byte in the middle of each file, one after the other."""
    case = Case("", lambda t: (*contrasts_of(t), "--joint-unique"), lambda t: None, contrasts)
    tiny = of_case(case)
    atlas(tiny)
    options = (*contrasts_of(tiny), "--joint", "--joint-draws", "2", "--atlas",
               tiny.folder / "areas.nii.gz")  # fmt: skip
    run(tiny, tmp_path / "out", options)
    whole = results(tmp_path / "out")
    last = [name for name in whole if name.startswith("sub-01/")]
    for name in last:
        path = tmp_path / "out" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x15
        path.write_bytes(content)
        run(tiny, tmp_path / "out", options)
        assert results(tmp_path / "out") == whole, name


@pytest.mark.parametrize(
    "kind",
    ["_stat-r_*.nii.gz", "_scores.tsv", "_scores.json", "_mask.nii.gz", "_similarity.json"],
)
def test_damage_is_refused_by_who_cannot_mend_it(events, tmp_path, kind):
    tiny, out, _ = events
    shutil.copytree(out, tmp_path / "out")
    path = next(iter(sorted((tmp_path / "out/sub-01/func").glob(f"*{kind}*"))))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for level in (("group",), ("participant", "--reports-only")):
        end = run_app(tiny.bids, tmp_path / "out", *level, "--participant-label", "01")
        assert end.code == 65, end.said
        assert str(path) in end.err and "participant level again" in end.err


# Order


@pytest.mark.parametrize("options", [features_of, network_of])
def test_the_seed_of_hashes_changes_nothing(options, pristine, tmp_path):
    """Python draws the order of sets anew for each process, unless it is told."""
    found = []
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        done = subprocess.run(
            [sys.executable, ROOT / "run.py", pristine.bids, out, "participant", *FAST,
             "-w", tmp_path / f"work{seed}", "--joint", "--joint-draws", "2", *options(pristine)],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(tree(out))
    first, second = ({n: v for n, v in one.items() if "/log/" not in n} for one in found)
    assert first == second
    again = subprocess.run(
        [sys.executable, ROOT / "run.py", pristine.bids, tmp_path / "out1", "participant",
         *FAST, "-w", tmp_path / "work1", "--joint", "--joint-draws", "2", *options(pristine)],
        env={**os.environ, "PYTHONHASHSEED": "3"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0 and ALL_THERE in again.stderr


def test_the_group_refuses_atlases_of_other_content(tiny, app, tmp_path, no_page):
    """Two files of one name whose regions are called otherwise: areas would be mixed up."""
    atlas(tiny)
    out = tmp_path / "out"
    options = (
        "--features", tiny.features, "-d", tiny.preprocessed, "--space", SPACE,
        "--no-neural-code", "--atlas", tiny.folder / "areas.nii.gz",
    )  # fmt: skip

    def fit(label):
        assert app(tiny.bids, out, "participant", "--participant-label", label, *options).code == 0

    fit("01")
    fit("02")
    assert app(tiny.bids, out, "group").code == 0
    atlas(tiny, ("IT", "V1"))
    fit("02")
    end = app(tiny.bids, out, "group")
    assert end.code == 65 and "content of the atlas areas" in end.err
    assert app(tiny.bids, out, "group", "--allow-mixed").code == 0
