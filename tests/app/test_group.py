"""The group level on results of participants that are written here, not fitted."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
from scipy import stats
from tiny_dataset import AFFINE, LAYERS, SHAPE, SPACE, TASK, brain, run_app, tree, write_json

from bids_encoder.analysis.summary_tables import write_region_fingerprints
from bids_encoder.derivatives import dataset_description
from bids_encoder.derivatives import write as derivatives
from bids_encoder.derivatives.meanings import is_explained, is_uncertain
from bids_encoder.derivatives.seals import sealed
from bids_encoder.fingerprints.agreement import N_RANDOM, beyond_chance, sign_flip_test
from bids_encoder.fingerprints.profile import best_layer, slope
from bids_encoder.grids.neighbourhood import smooth_in_mask
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.regions.volume_labels import Regions
from bids_encoder.report.group import write_group_report

NETWORK = "net"
START = f"tpl-{SPACE}_task-{TASK}"
HALVES = (np.indices(SHAPE)[0] > 3)[brain()]


def scores_of(number: int, n_layers: int = 3) -> np.ndarray:
    """Scores (L, V) of one participant: one half of the brain is early, the other late."""
    random = np.random.default_rng(number)
    early, late = np.linspace(0.5, 0.1, n_layers), np.linspace(0.1, 0.5, n_layers)
    scores = np.where(HALVES, late[:, None], early[:, None])
    return scores + random.normal(0, 0.05, scores.shape)


CHANCE = dict.fromkeys(("measure", "layer", "mean", "deviation", "draws"), "A column.")


def chance_of(number: int, layers: Sequence[str]) -> dict[str, list]:
    """A table of chance: scores just below 0, slope and best layer early."""
    rows = [("r", layer, -0.01 * number, 0.05, 100) for layer in layers]
    rows += [("slope", None, -0.1 - 0.001 * number, 0.4, 100), ("bestlayer", None, -0.2, 0.7, 100)]
    return dict(zip(CHANCE, map(list, zip(*rows, strict=True)), strict=True))


class Study:
    """A dataset and results of its participants."""

    def __init__(self, folder: Path):
        self.bids, self.out = folder / "raw", folder / "out"
        write_json(
            self.bids / "dataset_description.json",
            {"Name": "Study", "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"},
        )
        self.bold = self.bids / "sub-01" / "bold.nii.gz"
        self.bold.parent.mkdir()
        nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE).to_filename(self.bold)

    def add(
        self,
        label: str,
        *,
        space: str | None = SPACE,
        layers: Sequence[str] = LAYERS,
        affine=AFFINE,
        regions: dict[int, str] | None = None,
        scores: np.ndarray | None = None,
        p: np.ndarray | None | bool = None,
        **sidecar: object,
    ) -> np.ndarray:
        """Write the results of a participant; returns its scores.

        ``p``: of its voxels, by default low; False: no permutations. ``sidecar``: further keys
        of the table of scores; ``Settings`` go into all files.
        """
        (self.bids / f"sub-{label}").mkdir(exist_ok=True)
        r = scores_of(int(label), len(layers)) if scores is None else scores
        grid = VolumeGrid(nibabel.Nifti1Image(brain().astype(np.uint8), affine))
        datasets = dataset_description.init_dataset(self.out, self.bids)
        dataset_description.add_descriptions(self.out, NETWORK, layers)
        names = {"sub": label, "task": TASK, "space": space, "res": None, "network": NETWORK}
        one = derivatives.start_analysis(
            datasets, names, settings=sidecar.pop("Settings", {}), sources=[self.bold]
        )
        derivatives.write_mask(one, grid)
        if p is not False:
            ours = one.with_settings(n_permutations=20_000)
            low = np.random.default_rng(int(label)).uniform(0, 1e-3, r.shape[1])
            derivatives.write_statmap(ours, "p", low if p is None else p, grid)
            derivatives.write_table(ours, "chance", chance_of(int(label), layers), CHANCE)
        derivatives.write_statmap(one, "boldref", r[0] + 5, grid)
        for layer, values in zip(layers, r, strict=True):
            derivatives.write_statmap(one, "r", values, grid, layer=layer)
        best = best_layer(smooth_in_mask(r, brain()))
        derivatives.write_dseg(one, "bestlayer", best, grid, layers)
        derivatives.write_statmap(one, "slope", slope(r), grid)
        columns = {"layer": layers, "voxels": [r.shape[1]] * len(layers)}
        columns |= {"voxels_predicted": [None] * len(layers), "r_max": r.max(axis=1)}
        columns |= {"r_median": np.median(r, axis=1), "voxels_r03": (r > 0.3).sum(axis=1)}
        columns["voxels_best"] = [np.count_nonzero(best == k + 1) for k in range(len(layers))]
        extra = {"Network": NETWORK, "Layers": list(layers), "NumberOfSamples": 40}
        component = {"ShareOfVariance": 0.7 + int(label) / 100, "CorrelationWithTrend": 0.9}
        extra |= {"FirstComponent": component, **sidecar}
        meanings = dict.fromkeys(columns, "A column.")
        derivatives.write_table(one, "scores", columns, meanings, extra=extra)
        if regions:
            labels = np.where(HALVES, 2, 1).astype(np.int32)
            made = Regions(
                "halves", np.where(np.isin(labels, list(regions)), labels, 0), regions, ""
            )
            write_region_fingerprints(datasets, one, layers, [made], grid)
        return r

    def run(self, *options):
        return run_app(self.bids, self.out, "group", *options)

    def map(self, end: str) -> np.ndarray:
        path = self.out / f"tpl-{SPACE}" / "func" / f"{START}_{end}"
        return np.asarray(nibabel.load(path).dataobj)[brain()]

    def sidecar(self, end: str) -> dict:
        path = self.out / f"tpl-{SPACE}" / "func" / f"{START}_{end}"
        return json.loads(path.read_text())

    def p_of(self, label: str) -> np.ndarray:
        path = self.participant(label, f"stat-p_desc-{NETWORK}_statmap.nii.gz")
        return np.asarray(nibabel.load(path).dataobj)[brain()]

    def participant(self, label: str, end: str) -> Path:
        [path] = (self.out / f"sub-{label}" / "func").glob(f"*_{end}")
        return path


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    monkeypatch.chdir(tmp_path)
    # The page takes most of the time; it is looked at once, in `seven`.
    monkeypatch.setattr("bids_encoder.group.level.write_group_report", lambda *args: "left out")
    return Study(tmp_path)


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> tuple[Study, np.ndarray, str]:
    """Seven participants, their scores (n, L, V), and what the run said."""
    study = Study(tmp_path_factory.mktemp("seven"))
    regions = {1: "front", 2: "back"}
    # Twenty voxels are predicted by chance only.
    p = [np.random.default_rng(n).uniform(0, 1e-3, brain().sum()) for n in range(7)]
    for n, one in enumerate(p):
        one[:20] = np.random.default_rng(100 + n).uniform(0.3, 1, 20)
    scores = [study.add(f"{n:02d}", regions=regions, p=p[n - 1]) for n in range(1, 7)]
    scores.append(study.add("07", regions={1: "front"}, p=p[6]))
    end = study.run()
    assert end.code == 0
    return study, np.stack(scores), end.said


# What is written is right


def test_mean_and_t_are_those_of_scipy(seven):
    study, scores, _ = seven
    slopes = np.stack([slope(r) for r in scores])
    for values, name in [
        (slopes, f"slope+{{}}_desc-{NETWORK}"),
        *((scores[:, i], f"r+{{}}_desc-{NETWORK}+{layer}") for i, layer in enumerate(LAYERS)),
    ]:
        mean = study.map(f"stat-{name.format('mean')}_statmap.nii.gz")
        t = study.map(f"stat-{name.format('t')}_statmap.nii.gz")
        there = np.isfinite(t)
        assert there.all() or "slope" in name
        np.testing.assert_allclose(mean, values.mean(axis=0), atol=1e-5)
        expected = stats.ttest_1samp(values, 0).statistic
        np.testing.assert_allclose(t[there], expected[there], rtol=1e-3)


def test_encoding_of_the_group_is_stouffers_z_with_flipped_signs(seven):
    study, _, said = seven
    p = np.stack([study.p_of(f"{n:02d}") for n in range(1, 8)])
    found = study.map(f"stat-encoding+pfwe_desc-{NETWORK}_statmap.nii.gz")
    z = stats.norm.isf(np.clip(p, 1e-12, 1 - 1e-4))
    expected = sign_flip_test(z, one_sided=True, noise_variance=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    unpredicted = np.arange(len(found)) < 20
    assert (found[unpredicted] > 0.05).all() and (found[~unpredicted] <= 0.05).all()
    assert f"{(~unpredicted).sum()} voxels with significant encoding" in said


def test_p_is_that_of_all_sign_flips_against_own_chance(seven):
    study, scores, said = seven
    r = scores[:, 0].astype(np.float32).astype(float)
    chance = -0.01 * np.arange(1, 8)[:, None]
    signs = np.array(list(itertools.product((1, -1), repeat=7)))[..., None]
    flipped = stats.ttest_1samp(signs * (r - chance), 0, axis=1).statistic
    t = stats.ttest_1samp(r - chance, 0).statistic
    order = np.argsort(t)
    share = (np.maximum.accumulate(flipped[:, order], axis=1) >= t[order] - 1e-9).mean(axis=0)
    expected = np.empty(len(t))
    expected[order] = np.maximum.accumulate(share[::-1])[::-1]
    found = study.map(f"stat-r+pfwe_desc-{NETWORK}+{LAYERS[0]}_statmap.nii.gz")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    side = study.sidecar(f"stat-slope+pfwe_desc-{NETWORK}_statmap.json")
    assert (side["NumberOfFlips"], side["NumberOfParticipants"]) == (128, 7)
    assert "all 128 ways of flipping the signs" in said


def test_slope_and_best_layer_are_tested_where_encoding_is_significant(seven):
    study, scores, _ = seven
    encoded = study.map(f"stat-encoding+pfwe_desc-{NETWORK}_statmap.nii.gz") <= 0.05
    slopes = np.stack([slope(r) for r in scores]).astype(np.float32).astype(float)
    chance = -0.1 - 0.001 * np.arange(1, 8)
    expected = beyond_chance(slopes[:, encoded], chance, 0.4**2)
    found = study.map(f"stat-slope+pfwe_desc-{NETWORK}_statmap.nii.gz")
    np.testing.assert_allclose(found[encoded], expected, atol=1e-6)
    assert np.isnan(found[~encoded]).all() and (expected <= 0.05).mean() > 0.5
    for measure in ("slope", "bestlayer"):
        for stat in ("t", "pfwe"):
            values = study.map(f"stat-{measure}+{stat}_desc-{NETWORK}_statmap.nii.gz")
            assert np.isnan(values[~encoded]).all()
        side = study.sidecar(f"stat-{measure}+pfwe_desc-{NETWORK}_statmap.json")
        assert side["PlacesTested"] == encoded.sum() and len(side["Chance"]) == 7
        assert is_explained(side["Description"])


def test_agreement_and_the_most_frequent_best_layer(seven):
    study, scores, _ = seven
    slopes = np.stack([slope(r) for r in scores])
    agree = (np.sign(slopes) == np.sign(slopes.mean(axis=0))).mean(axis=0)
    found = study.map(f"stat-slope+consistency_desc-{NETWORK}_statmap.nii.gz")
    np.testing.assert_allclose(found, agree, atol=1e-6)
    labels = np.stack([best_layer(smooth_in_mask(r, brain())) for r in scores])
    counts = np.stack([(labels == k).sum(axis=0) for k in (1, 2, 3)])
    modal = study.map(f"desc-{NETWORK}+bestlayer_dseg.nii.gz")
    np.testing.assert_array_equal(modal, counts.argmax(axis=0) + 1)
    share = study.map(f"stat-bestlayer+consistency_desc-{NETWORK}_statmap.nii.gz")
    np.testing.assert_allclose(share, counts.max(axis=0) / 7, atol=1e-6)
    place = study.map(f"stat-bestlayer+mean_desc-{NETWORK}_statmap.nii.gz")
    np.testing.assert_allclose(place, (labels - 2).mean(axis=0), atol=1e-6)
    far = np.abs(np.indices(SHAPE)[0] - 3.5)[brain()] > 2
    assert (modal[far] == np.where(HALVES, 3, 1)[far]).all()


def test_region_fingerprints_of_the_group(seven):
    study, _, _ = seven
    path = study.out / f"task-{TASK}_space-{SPACE}_atlas-halves_desc-{NETWORK}_groupfingerprint.tsv"
    table = pandas.read_table(path)
    each = [f"sub-{n:02d}" for n in range(1, 8)]
    assert table.columns.tolist() == [
        "region", "layer", "participants", "weak_participants", "mean", "low", "high", *each,
    ]  # fmt: skip
    front, back = table[table["region"] == "front"], table[table["region"] == "back"]
    assert set(front["participants"]) == {7} and set(back["participants"]) == {6}
    assert back["sub-07"].isna().all()
    np.testing.assert_allclose(table["mean"], table[each].mean(axis=1), atol=1e-6)
    # The best layer has a share of 1 in everybody: that says nothing of how sure it is.
    same = (table["mean"] == 1).to_numpy()
    assert table["low"].isna()[same].all() and same.sum() == 2
    known = table[~same]
    assert (known["low"] < known["mean"]).all() and (known["mean"] < known["high"]).all()
    assert front["layer"].iloc[front["mean"].argmax()] == "early"
    assert back["layer"].iloc[back["mean"].argmax()] == "late"
    own = pandas.read_table(study.participant("03", "fingerprint.tsv"))
    np.testing.assert_allclose(
        own.query("region == 'front'")["fingerprint"], front["sub-03"], atol=1e-6
    )


def test_the_page_shows_it(seven):
    page = (seven[0].out / "group.html").read_text()
    for said in (
        "Fingerprints of regions: halves", "How many participants agree", "p ≤ 0.05",
        "71% to 77% of their variance", "all 128 ways", "Which layer most often predicts best",
    ):  # fmt: skip
        assert said in page


def test_what_is_written_is_valid(seven, validate_bids, extended_schema_file):
    for schema in (None, extended_schema_file):
        issues = validate_bids(seven[0].out, schema)
        assert not [issue for issue in issues if issue["severity"] == "error"]


def test_beyond_twelve_participants_flips_are_random(study):
    for n in range(1, 14):
        study.add(f"{n:02d}")
    end = study.run()
    assert f"{N_RANDOM} random ways of flipping the signs of 13" in end.said
    side = study.sidecar(f"stat-slope+pfwe_desc-{NETWORK}_statmap.json")
    assert side["NumberOfFlips"] == N_RANDOM
    found = study.map(f"stat-slope+pfwe_desc-{NETWORK}_statmap.nii.gz")
    assert (found <= 0.05).mean() > 0.5


def test_every_interval_p_and_ceiling_says_what_was_resampled(seven):
    checked = set()
    for path in sorted(seven[0].out.rglob("*.json")):
        content = json.loads(path.read_text())
        if path.stem.partition("_stat-")[2].startswith(("p_", "q_")) or "+pfwe" in path.stem:
            assert is_explained(content["Description"]), path.name
            checked.add("map")
        for name, entry in content.items():
            if isinstance(entry, dict) and "Description" in entry and is_uncertain(name):
                assert is_explained(entry["Description"]) or entry["Description"] == "A column."
                checked.add(name)
    assert checked >= {"map", "low", "high", "highest"}


# Few participants, and participants who are still being added


def test_few_participants_have_no_p_values(study):
    for label in ("01", "02"):
        study.add(label, regions={1: "front", 2: "back"})
    end = study.run()
    assert end.code == 0
    assert "with 2 participants flipping signs cannot reach p = 0.05" in end.said
    assert not list(study.out.rglob("*pfwe*"))
    # Not 0 by chance: without a test of encoding there is no t either.
    assert list(study.out.rglob("*r+t*")) and not list(study.out.rglob("*slope+t*"))
    [path] = study.out.glob("*groupfingerprint.tsv")
    assert pandas.read_table(path)["low"].isna().all()


def test_one_participant_has_no_t(study):
    study.add("01")
    assert study.run().code == 0
    assert list(study.out.rglob("*slope+mean*")) and not list(study.out.rglob("*r+t*"))


def test_participants_without_permutations_are_named_and_nothing_is_tested(study):
    for n in range(1, 8):
        study.add(f"{n:02d}", p=False if n in (3, 5) else None)
    end = study.run()
    assert end.code == 0
    assert "No p-values: sub-03, sub-05 have no permutations" in end.said
    assert not list(study.out.rglob("*pfwe*"))
    table = json.loads(next(study.out.glob("*groupscores.json")).read_text())
    assert "sub-03, sub-05" in table["Test"]


def test_a_second_run_writes_nothing_until_somebody_is_added(study):
    for label in ("01", "02"):
        study.add(label)
    study.run()
    before = tree(study.out)
    end = study.run()
    assert "all is there already" in end.said and tree(study.out) == before
    study.add("03")
    assert study.run().code == 0
    side = study.sidecar(f"stat-slope+mean_desc-{NETWORK}_statmap.json")
    assert side["NumberOfParticipants"] == 3


@pytest.mark.parametrize("harm", ["removed", "no sidecar", "other settings"])
def test_a_participant_that_is_not_finished_is_left_out(study, harm):
    for label in ("01", "02", "03"):
        study.add(label)
    path = study.participant("02", "stat-slope_desc-net_statmap.nii.gz")
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    if harm == "removed":
        path.unlink()
    elif harm == "no sidecar":
        sidecar.unlink()
    else:
        other = {"SettingsHash": "x", "AnalysisHash": "x"}
        sidecar.write_text(json.dumps(sealed({**json.loads(sidecar.read_text()), **other})))
    end = study.run()
    assert end.code == 0
    assert f"sub-02, task {TASK}: left out" in end.said and path.name in end.said
    table = pandas.read_table(next(study.out.glob("*groupscores.tsv")))
    assert set(table["participant_id"]) == {"sub-01", "sub-03"}


def test_nobody_is_finished(study):
    study.add("01")
    study.participant("01", "stat-slope_desc-net_statmap.nii.gz").unlink()
    end = study.run()
    assert end.code == 66 and str(study.out) in end.said and "participant level" in end.said


def test_participants_without_regions_are_named(study):
    study.add("01", regions={1: "front"})
    study.add("02")
    end = study.run()
    assert end.code == 0 and "Atlas halves: sub-02 without region fingerprints" in end.said
    table = pandas.read_table(next(study.out.glob("*groupfingerprint.tsv")))
    assert set(table["participants"]) == {1} and table["sub-02"].isna().all()


# Participants that cannot be compared


def test_different_spaces_are_refused_with_the_list(study):
    study.add("01", space="T1w")
    study.add("02")
    study.add("03")
    end = study.run()
    assert end.code == 65
    assert f"sub-01: T1w; sub-02, sub-03: {SPACE}" in end.said and "--space" in end.said
    assert not list(study.out.glob("*groupscores*"))
    assert study.run("--space", SPACE).code == 0
    assert study.run("--participant-label", "01").code == 0


def test_a_space_that_some_lack_is_summarised_without_them(study):
    for label in ("01", "02"):
        study.add(label)
    study.add("01", space="T1w")
    end = study.run()
    assert end.code == 0
    assert "sub-02 has no results in the space T1w" in end.said
    assert len(list(study.out.glob("*groupscores.tsv"))) == 2


def test_different_layers_are_refused_with_the_list(study):
    study.add("01")
    study.add("02", layers=("a", "b"))
    end = study.run()
    assert end.code == 65
    assert "sub-01: early, middle, late; sub-02: a, b" in end.said and "--layers" in end.said


def test_different_grids_are_refused(study):
    study.add("01")
    study.add("02", affine=AFFINE + np.array([[0, 0, 0, 2], *[[0] * 4] * 3]))
    end = study.run()
    assert end.code == 65 and "different grids" in end.said and "as sub-01 has" in end.said


def test_native_spaces_have_tables_only(study):
    for label in ("01", "02"):
        study.add(label, space="T1w", regions={1: "front", 2: "back"})
    end = study.run()
    assert end.code == 0 and "no maps" in end.said
    assert not list(study.out.glob("tpl-*"))
    assert len(list(study.out.glob("*groupfingerprint.tsv"))) == 1


def test_a_task_that_nobody_has(study):
    study.add("01")
    end = study.run("--task-id", "rest")
    assert end.code == 66
    assert study.run("--task-id", TASK).code == 0


@pytest.mark.parametrize("harm", ["zeros", "cut", "a byte", "sidecar", "table"])
def test_a_damaged_file_is_named(study, harm):
    for label in ("01", "02"):
        study.add(label)
    path = study.participant("02", "stat-slope_desc-net_statmap.nii.gz")
    content = path.read_bytes()
    if harm == "zeros":
        path.write_bytes(b"\0" * len(content))
    elif harm == "cut":
        path.write_bytes(content[:-20])
    elif harm == "a byte":
        path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    elif harm == "sidecar":
        path = path.with_name(path.name.replace(".nii.gz", ".json"))
        path.write_text(json.dumps({**json.loads(path.read_text()), "Units": "mm"}))
    else:
        path = study.participant("02", "scores.tsv")
        path.write_text(path.read_text() + "\n")
    end = study.run()
    assert end.code == 65 and str(path) in end.said
    assert "run the participant level again" in end.said
    assert not list(study.out.glob("*groupscores.tsv"))


def test_a_damaged_sidecar_of_regions_leaves_nobody_out(study):
    """The others' mean would stand there as that of all."""
    for label in ("01", "02"):
        study.add(label, regions={1: "front", 2: "back"})
    path = study.participant("02", "fingerprint.json")
    path.write_text(path.read_text().replace("front", "frond").replace("region", "regiom", 1))
    end = study.run()
    assert end.code == 65 and str(path) in end.said
    assert not list(study.out.glob("*groupfingerprint.tsv"))


def test_names_with_quotes_and_layers_that_are_numbers(study):
    regions, layers = {1: '"front', 2: 'b"ack'}, ("01", "2", "10")
    for label in ("01", "02"):
        study.add(label, regions=regions, layers=layers)
    assert study.run().code == 0
    [path] = study.out.glob("*groupfingerprint.tsv")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [[r, one] for r in regions.values() for one in layers]
    assert all(row[-2] != "n/a" and row[-1] != "n/a" for row in rows)


def test_p_values_of_more_participants_do_not_stay(study):
    """Seven have p-values, two have none; a person's own files stay."""
    for number in range(1, 8):
        study.add(f"{number:02d}", regions={1: "front"} if number > 2 else None)
    study.run()
    before = tree(study.out)
    assert [name for name in before if "pfwe" in name]
    assert [name for name in before if "groupfingerprint" in name]
    own = next(study.out.glob("tpl-*/func")) / "tpl-mine_task-look_stat-r+pfwe_statmap.json"
    own.write_text("{}")
    end = study.run("--participant-label", "01", "02")
    assert end.code == 0 and "Removed" in end.said and "pfwe" in end.said
    fresh = study.out.with_name("fresh")
    for folder in ("sub-01", "sub-02"):
        shutil.copytree(study.out / folder, fresh / folder)
    options = ("group", "--participant-label", "01", "02")
    assert run_app(study.bids, fresh, *options).code == 0
    both = [
        {name: one for name, one in tree(out).items() if name.startswith(("tpl-", "task-", "fig"))}
        for out in (study.out, fresh)
    ]
    assert both[0].pop(own.relative_to(study.out).as_posix())
    assert both[0] == both[1]


def test_a_damaged_map_of_the_group_is_made_again(study):
    for label in ("01", "02"):
        study.add(label)
    study.run()
    before = tree(study.out)
    for name in before:
        if name.startswith(("tpl-", "task-")):
            path = study.out / name
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            assert study.run().code == 0
            assert tree(study.out) == before, name


# Participants who were analysed in different ways

HOW = {"hrf": "spm", "nested": False, "confounds": "motion", "standardize": "session"}
HOW |= {"stimuli": "all", "features": "one"}


@pytest.mark.parametrize(
    "settings, sidecar, said",
    [
        ({"hrf": "glover"}, {}, "--hrf: spm (sub-01, sub-03); glover (sub-02)"),
        ({"nested": True}, {}, "--nested: no (sub-01, sub-03); yes (sub-02)"),
        ({"confounds": "none"}, {}, "--confounds: motion (sub-01, sub-03); none (sub-02)"),
        ({"standardize": "run"}, {}, "--standardize: session (sub-01, sub-03); run (sub-02)"),
        ({}, {"Design": "continuous"}, "design: events (sub-01, sub-03); continuous (sub-02)"),
        ({}, {"Preprocessed": False}, "raw BOLD of raw (sub-02)"),
        ({}, {"Precomputed": {}}, "precomputed betas of raw (sub-02)"),
        ({}, {"FramesPerSecond": 5}, "frames per second of films: default (sub-01, sub-03); 5"),
        ({}, {"FeaturesFrom": {"weights": "sha256:b"}}, "features: weights: sha256:a (sub-01"),
        ({}, {"FeaturesFrom": {}}, "not recorded (sub-02)"),
        (
            {"features": "two"},
            {},
            "features of the same stimuli: one (sub-01, sub-03); two",
        ),
    ],
)
def test_different_settings_are_refused_with_the_list(study, settings, sidecar, said):
    usual = {"Design": "events", "Preprocessed": True, "FramesPerSecond": None}
    usual |= {"FeaturesFrom": {"weights": "sha256:a"}}
    for label in ("01", "03"):
        study.add(label, Settings=HOW, **usual)
    study.add("02", Settings=HOW | settings, **{**usual, **sidecar})
    for options in ((), ("--dry-run",), ("--reports-only",)):
        end = study.run(*options)
        assert end.code == 65 and said in end.said and "--allow-mixed" in end.said
    assert not list(study.out.glob("*groupscores*"))
    assert study.run("--participant-label", "01", "03").code == 0


def test_settings_that_an_older_version_did_not_write_are_different(study):
    study.add("01", Settings=HOW)
    study.add("02", Settings={key: value for key, value in HOW.items() if key != "nested"})
    end = study.run()
    assert end.code == 65 and "--nested: no (sub-01); not recorded (sub-02)" in end.said


def test_what_belongs_to_a_participant_may_differ(study, caplog):
    for label in ("01", "02"):
        mine = {"stimuli": label, "reference_times": [int(label)], "meshes": label}
        study.add(
            label, Settings={**HOW, **mine}, Design="events", RepetitionTime=float(label),
            NumberOfFolds=int(label), Runs=["run"] * int(label),
        )  # fmt: skip
    end = study.run()
    assert end.code == 0
    assert "repetition times differ" in end.said and "1 s (sub-01); 2 s (sub-02)" in end.said


def test_settings_without_effect_may_differ(study):
    for label, delay, seed in (("01", 4.0, 0), ("02", 6.0, 1)):
        chosen = {**HOW, "delays": [delay], "network_seed": seed, "fd_threshold": delay}
        study.add(label, Settings=chosen, Design="events")
    assert study.run().code == 0


def test_mixed_settings_are_summarised_where_that_is_allowed_and_it_is_said(study, monkeypatch):
    monkeypatch.setattr("bids_encoder.group.level.write_group_report", write_group_report)
    regions = {1: "front", 2: "back"}
    study.add("01", Settings=HOW, regions=regions, Design="events")
    study.add("02", Settings=HOW | {"hrf": "glover"}, regions=regions, Design="events")
    end = study.run("--allow-mixed")
    said = "--hrf: spm (sub-01); glover (sub-02)"
    assert end.code == 0 and said in end.said
    written = [*study.out.glob("*group*.json"), *study.out.rglob("tpl-*/**/*statmap.json")]
    assert len(written) > 4
    for path in written:
        assert json.loads(path.read_text())["Settings"]["mixed_settings"] == [said], path
    assert "with different settings" in (study.out / "group.html").read_text()
    # Once they are alike, everything is made anew.
    study.add("02", Settings=HOW, regions=regions, Design="events")
    assert "all is there already" not in study.run().said
    for path in written:
        assert "mixed_settings" not in json.loads(path.read_text())["Settings"]
