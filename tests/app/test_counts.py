"""Counts, tables, pictures and the log are of voxels that pass, and say so."""

from __future__ import annotations

import json
import re

import h5py
import nibabel
import numpy as np
import pandas
import pytest
from tiny_dataset import (
    AFFINE,
    LAYERS,
    N_VOLUMES,
    SESSIONS,
    SHAPE,
    TASK,
    Tiny,
    brain,
    run_app,
    tree,
    truth,
    write_bold,
    write_tiny,
)

from bids_encoder.analysis.significance import is_predicted
from bids_encoder.encoding.penalties import PENALTIES

START = f"sub-01_task-{TASK}"
ENOUGH = ("--n-permutations", 8000)
ONE = ("--participant-label", "01")


def write_atlas(tiny: Tiny):
    """Regions: where voxels follow the early layer, and half of where they follow none."""
    noise = brain() & (truth() == 0)
    noise[:, SHAPE[1] // 2 :] = False
    labels = np.where(truth() == 1, 1, np.where(noise, 2, 0)).astype(np.int16)
    path = tiny.folder / "atlas.nii.gz"
    nibabel.Nifti1Image(labels, AFFINE).to_filename(path)
    path.with_name("atlas.tsv").write_text("index\tname\n1\tsignal\n2\tnoise\n")
    return path


def only_noise(tiny: Tiny, participant: str) -> None:
    """Put noise in place of the participant's BOLD."""
    random = np.random.default_rng(int(participant))
    for session in SESSIONS:
        data = 1000 + random.normal(0, 10, (*SHAPE, N_VOLUMES))
        data = np.where(brain()[..., None], np.rint(data), 0)
        write_bold(tiny.bold(session, participant), data.astype(np.int16))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A participant with signal, one of pure noise, and the group."""
    tiny = write_tiny(tmp_path_factory.mktemp("counts") / "data")
    only_noise(tiny, "02")
    out = tiny.folder / "out"
    line = ("--features", tiny.features, "--atlas", write_atlas(tiny), "-w", tiny.folder / "w")
    more = (*ENOUGH, "--joint", "--joint-draws", 1, "--match-dimensions", "2")
    end = run_app(tiny.bids, out, "participant", *line, *more)
    assert end.code == 0
    assert run_app(tiny.bids, out, "group").code == 0
    return tiny, out, end, (tiny.bids, out, "participant", *line, *more)


def func(out, end: str, participant: str = "01"):
    return out / f"sub-{participant}" / "func" / f"sub-{participant}_task-{TASK}_{end}"


def volume(out, end: str, participant: str = "01") -> np.ndarray:
    return np.asarray(nibabel.load(func(out, end, participant)).dataobj)[brain()]


def passed(out, participant: str = "01") -> np.ndarray:
    return volume(out, "desc-features+predicted_mask.nii.gz", participant) > 0


def table(out, end: str, participant: str = "01") -> pandas.DataFrame:
    return pandas.read_table(func(out, f"desc-features_{end}.tsv", participant))


def page(out, name: str) -> str:
    """The words of a page, without those of its program and of the settings."""
    text = re.sub(
        r"<script.*?</script>|<style.*?</style>", "", (out / name).read_text(), flags=re.S
    )
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_a_negative_score_is_never_predicted():
    q, highest = np.array([0.001, 0.001, 0.5, np.nan]), np.array([-0.1, 0.2, 0.3, np.nan])
    assert is_predicted(q, highest, 0.01).tolist() == [False, True, False, False]


def test_the_mask_is_that_of_q_and_a_positive_score(study):
    out = study[1]
    q = volume(out, "stat-q_desc-features_statmap.nii.gz")
    r2 = [volume(out, f"stat-r2_desc-features+{layer}_statmap.nii.gz") for layer in LAYERS]
    np.testing.assert_array_equal(passed(out), (q <= 0.01) & (np.max(r2, axis=0) > 0))
    follows = truth()[brain()] > 0
    assert passed(out)[follows].mean() > 0.8 and not passed(out, "02").any()


def test_the_table_counts_what_passed(study):
    out = study[1]
    where, scores = passed(out), table(out, "scores")
    best = volume(out, "desc-features+bestlayer_dseg.nii.gz")
    for number, row in enumerate(scores.itertuples(), start=1):
        r = volume(out, f"stat-r_desc-features+{row.layer}_statmap.nii.gz")
        assert row.voxels == len(r) and row.voxels_predicted == where.sum()
        assert row.voxels_best == np.count_nonzero((best == number) & where)
        assert row.voxels_r03 == np.count_nonzero(r[where] > 0.3)
        assert row.r_median == pytest.approx(np.median(r[where]), abs=1e-6)
        assert row.r_max == pytest.approx(r[where].max(), abs=1e-6)
    side = json.loads(func(out, "desc-features_scores.json").read_text())
    for column in ("voxels_best", "r_q95", "voxels_r03", "penalty_median"):
        assert "predicted better than chance (q ≤ 0.01)" in side[column]["Description"]
    assert side["VoxelsCounted"]["Number"] == where.sum()


def test_the_table_of_noise_counts_nothing(study):
    scores = table(study[1], "scores", "02")
    assert (scores[["voxels_predicted", "voxels_best", "voxels_r03"]] == 0).all(axis=None)
    assert scores[["r_median", "r_q95", "r_max", "r2_max", "penalty_median"]].isna().all(axis=None)
    side = json.loads(func(study[1], "desc-features_scores.json", "02").read_text())
    assert side["FirstComponent"] is None


def test_the_log_says_how_many_passed(study):
    _, out, end, _ = study
    n, scored = passed(out).sum(), brain().sum()
    first, second = [one for one in end.err.splitlines() if one.startswith("sub-0")][-2:]
    assert f"{n} of {scored} voxels predicted better than chance, their highest r 0.9" in first
    assert f"none of {scored} voxels predicted better than chance" in second
    assert "above r" not in end.err


def test_a_region_in_which_nothing_passes_is_weak(study):
    out = study[1]
    [path] = (out / "sub-01" / "func").glob("*_fingerprint.tsv")
    rows = pandas.read_table(path)
    signal, noise = rows[rows["region"] == "signal"], rows[rows["region"] == "noise"]
    where = passed(out)
    assert set(signal["voxels_predicted"]) == {where[truth()[brain()] == 1].sum()}
    assert not signal["weak"].any() and signal["low"].notna().all()
    assert noise["weak"].all() and set(noise["voxels_predicted"]) == {0}
    assert noise[["low", "high", "highest"]].isna().all(axis=None)
    assert noise["score"].notna().all()
    side = json.loads(path.with_suffix(".json").read_text())
    assert "chosen by the scores" in side["best_voxels"]["Description"]


def test_the_group_leaves_out_weak_participants(study):
    out = study[1]
    [path] = out.glob("*_groupfingerprint.tsv")
    rows = pandas.read_table(path)
    signal, noise = rows[rows["region"] == "signal"], rows[rows["region"] == "noise"]
    assert set(signal["participants"]) == {1} and set(signal["weak_participants"]) == {"sub-02"}
    np.testing.assert_array_equal(signal["mean"], signal["sub-01"])
    assert set(noise["participants"]) == {0} and noise["low"].isna().all()
    assert set(noise["weak_participants"]) == {"sub-01, sub-02"}
    said = page(out, "group.html")
    n = passed(out).sum()
    assert f"sub-01 40 {brain().sum()} {n} " in said
    assert f"sub-02 40 {brain().sum()} 0 – 0 –" in said


def test_pages_say_what_is_counted(study):
    out = study[1]
    n = passed(out).sum()
    first, second = page(out, "sub-01.html"), page(out, "sub-02.html")
    assert f"Held-out scores per layer: {n} voxels predicted better than chance (q ≤ 0.01)" in first
    assert f"mean r² of 0.{''}" in first and f"over {n} voxels predicted better" in first
    assert "No voxels are predicted better than chance by some layer" in second
    assert second.count("No voxels are predicted better than chance (q ≤ 0.01).") >= 4  # captions
    assert "exceeds" not in second and "Drawn:" not in second
    for text in (first, second):
        assert "not tested" not in text
    view = re.search(
        r'<script type="application/json">(.*?)</script>', (out / "sub-02.html").read_text()
    )
    assert "(0)" in json.loads(view.group(1))["rule"]


def test_pictures_of_noise_show_no_map(study):
    from matplotlib.image import imread

    out = study[1]
    for name in ("r", "bestlayer", "slope"):
        coloured = []
        for participant in ("01", "02"):
            folder = out / f"sub-{participant}" / "figures"
            image = imread(
                folder / f"sub-{participant}_task-{TASK}_desc-features+{name}_figure.png"
            )
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            strong = np.ptp(image[..., :3], axis=-1) > 0.13
            # The note is written in red: more red than green and blue, which are much alike.
            note = (red > green) & (np.abs(green - blue) < 0.12)
            coloured.append(np.count_nonzero(strong & ~note))
        assert coloured[0] > 100 and coloured[1] == 0


def test_as_many_features_of_each_layer(study):
    out = study[1]
    rows = table(out, "matched")
    assert set(rows["features"]) == {4} and set(rows["features_drawn"]) == {2}
    n = passed(out).sum()
    assert rows["voxels_best"].sum() == rows["voxels_best_matched"].sum() == n
    r = np.stack([volume(out, f"stat-r_desc-features+{one}_statmap.nii.gz") for one in LAYERS])
    best = r[:, passed(out)].argmax(axis=0)
    assert rows["voxels_best"].tolist() == [np.count_nonzero(best == k) for k in range(len(LAYERS))]
    assert (rows["r_median_matched"] < rows["r_median"]).any()
    side = json.loads(func(out, "desc-features_matched.json").read_text())
    assert side["VoxelsEarlier"] + side["VoxelsLater"] == side["VoxelsChanged"] <= n
    assert 0 < side["ShareChangedBetweenDraws"] < 1
    assert "With 2 features of each layer, drawn at random" in page(out, "sub-01.html")


def test_the_same_command_again_does_nothing_and_another_rate_counts_anew(study, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(study[1], out)
    line = [out if word == study[1] else word for word in study[3]]
    before = tree(out / "sub-01" / "func")
    assert "done before" in run_app(*line, *ONE).said
    assert tree(out / "sub-01" / "func") == before
    assert run_app(*line, *ONE, "--fdr", 1e-9).code == 0  # nothing passes so strict a rate
    assert not passed(out).any()
    assert set(table(out, "scores")["voxels_predicted"]) == {0}
    [path] = (out / "sub-01" / "func").glob("*_fingerprint.tsv")
    assert pandas.read_table(path)["weak"].all()
    assert "No voxels are predicted better than chance (q ≤ 1e-09)." in page(out, "sub-01.html")
    assert table(out, "matched")["voxels_best"].sum() == 0


def test_without_p_values_everything_is_said_to_be_untested(tiny, app, tmp_path):
    out = tmp_path / "out"
    options = (*ONE, "--features", tiny.features, "--n-permutations", 0)
    end = app(tiny.bids, out, "participant", *options, "--atlas", write_atlas(tiny))
    assert end.code == 0 and "not tested (--n-permutations 0)" in end.said
    assert "predicted better" not in end.said
    scores = table(out, "scores")
    assert scores["voxels_predicted"].isna().all() and scores["voxels_best"].sum() > 100
    side = json.loads(func(out, "desc-features_scores.json").read_text())
    assert "all scored voxels, not tested" in side["voxels_best"]["Description"]
    [path] = (out / "sub-01" / "func").glob("*_fingerprint.tsv")
    assert pandas.read_table(path)["weak"].isna().all()
    said = page(out, "sub-01.html")
    assert "Not tested for significance" in said and "predicted better than chance" not in said
    assert app(tiny.bids, out, "group").code == 0
    assert "not tested" in page(out, "group.html")


# Penalties


def dominate(tiny: Tiny) -> None:
    """Give the early layer a feature that is large and irrelevant."""
    with h5py.File(tiny.features, "r+") as file:
        values = file["early"][()]
        large = 100 * np.random.default_rng(0).standard_normal((len(values), 1))
        del file["early"]
        file["early"] = np.hstack([values, large]).astype(np.float32)


def tried(out, layer: str = "early") -> list[float]:
    return json.loads(func(out, f"stat-penalty_desc-features+{layer}_statmap.json").read_text())[
        "Penalties"
    ]


def test_the_grid_grows_where_predicted_voxels_pile_up(tiny, app, tmp_path, no_page, monkeypatch):
    from bids_encoder.analysis import significance

    used = []
    made = significance.permute_voxels

    def remember(*args, **options):
        used.append(options["penalties"])
        return made(*args, **options)

    monkeypatch.setattr(significance, "permute_voxels", remember)
    dominate(tiny)
    options = (*ONE, "--features", tiny.features, *ENOUGH, "--no-neural-code")
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    end = app(tiny.bids, wide, "participant", *options)
    assert end.code == 0 and "all layers are fitted again with" in end.said
    given = app(tiny.bids, narrow, "participant", *options, "--penalties", 1e-3, 1e5, 20)
    assert given.code == 0
    assert "is the smallest of the grid, 0.001" in given.said and "--penalties" in given.said
    assert "of the grid, 0" not in end.said
    grids = tried(wide), tried(narrow)
    assert grids[0][0] < 1e-4 and grids[0][-20:] == pytest.approx(PENALTIES)
    assert grids[1] == pytest.approx(PENALTIES) and tried(wide, "late") == grids[0]
    np.testing.assert_array_equal(used[0], grids[0])
    np.testing.assert_array_equal(used[1], grids[1])
    assert json.loads(func(wide, "desc-features_scores.json").read_text())["Penalties"] == grids[0]
    own = truth()[brain()] == 1
    r2 = [volume(out, "stat-r2_desc-features+early_statmap.nii.gz") for out in (wide, narrow)]
    assert np.median(r2[0][own]) > np.median(r2[1][own]) + 0.01
    # A run that was stopped goes on with the grid that it had come to.
    before = tree(wide / "sub-01" / "func")
    func(wide, "stat-r_desc-features+middle_statmap.nii.gz").unlink()
    func(wide, "desc-features_scores.json").unlink()
    again = app(tiny.bids, wide, "participant", *options)
    assert again.code == 0 and "fitted again" not in again.said
    assert tree(wide / "sub-01" / "func") == before


def test_noise_at_the_end_of_the_grid_is_no_reason_to_warn(tiny, app, tmp_path, no_page):
    only_noise(tiny, "01")
    options = (*ONE, "--features", tiny.features, *ENOUGH, "--penalties", 1, 100, 3)
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0 and "of the grid" not in end.said
    r2 = volume(tmp_path / "out", "stat-r2_desc-features+early_statmap.nii.gz")
    penalty = volume(tmp_path / "out", "stat-penalty_desc-features+early_statmap.nii.gz")
    assert np.count_nonzero((r2 > 0) & (penalty == 0)) > 0.05 * np.count_nonzero(r2 > 0)


@pytest.mark.parametrize("wrong", [(5, 1, 10), (1, 5, 1), (1, 5, 2.5), (1, 5, 1e6)])
def test_numbers_that_make_no_grid(tiny, app, tmp_path, wrong):
    options = ("--features", tiny.features, "--penalties", *wrong)
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 2 and "--penalties" in end.said and "LOW HIGH N" in end.said
