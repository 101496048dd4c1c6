"""The neural code from the command lines: what is written, that it is right, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas
import pytest
from PIL import Image
from tiny_dataset import LAYERS, TASK, layer_values, picture_names, run_app, truth

from bids_encoder.analysis.rsa import pixel_values
from bids_encoder.rsa.similarity import functional_smoothness, pairs
from bids_encoder.simulations import cli as simulations
from bids_encoder.simulations.coding_schemes import NAMES

LEVELS = ("subordinate", "basic", "superordinate")


def read(path: Path, **how) -> pandas.DataFrame:
    return pandas.read_table(path, na_values="n/a", **how)


def results(out: Path, kind: str, sub: str = "01", atlas: str = "") -> Path:
    return out / f"sub-{sub}" / "func" / f"sub-{sub}_task-{TASK}{atlas}_desc-features_{kind}"


def command(*arguments) -> int:
    return simulations.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def repeated(pristine, tmp_path_factory):
    """One participant who sees the pictures of the first session in the second one too."""
    folder = tmp_path_factory.mktemp("repeated")
    tiny = type(pristine)(folder / "data")
    shutil.copytree(pristine.folder, tiny.folder)
    for end in ("events.tsv", "bold.nii.gz"):
        shutil.copy(f"{tiny.run('1')}_{end}", f"{tiny.run('2')}_{end}")
    noise = np.random.default_rng(0)
    tiny.edit_bold(lambda data: data + (data > 0) * noise.normal(0, 20, data.shape))
    labels = folder / "places.nii.gz"
    affine = nibabel.load(tiny.bold()).affine
    nibabel.save(nibabel.Nifti1Image(truth().astype(np.int16), affine), labels)
    (folder / "places.tsv").write_text("index\tname\n1\tearly place\n3\tNA\n")
    out = folder / "out"
    options = ("--participant-label", "01", "--features", tiny.features, "--atlas", labels)
    options += ("--similarity-permutations", 99, "--n-permutations", 0)
    for level in ("participant", "group"):
        assert run_app(tiny.bids, out, level, *options).code == 0
    return tiny, out, options


def test_smoothness_of_the_layers(events):
    tiny, out, _ = events
    table = read(results(out, "smoothness.tsv"))
    assert table["layer"].tolist() == list(LAYERS)
    names = picture_names()
    pixels = pixel_values([tiny.bids / "stimuli" / name for name in names])
    for layer, row in zip(LAYERS, table.itertuples(), strict=True):
        values = layer_values()[layer][: len(names)]
        assert row.to_pixels == pytest.approx(functional_smoothness(pixels, values), abs=1e-5)
        assert row.to_pixels_low < row.to_pixels < row.to_pixels_high
    assert table["to_previous"][0] == table["to_pixels"][0]
    side = json.loads(results(out, "smoothness.json").read_text())
    assert side["NumberOfSampledStimuli"] == side["NumberOfStimuli"] == 40
    assert side["NumberOfPairs"] == 780
    assert set(table.columns) <= side.keys()


def test_the_best_predicted_voxels_are_compared_with_the_layers(events):
    _, out, _ = events
    table = read(results(out, "similarity.tsv"))
    assert table["layer"].tolist() == ["pixels", *LAYERS]
    assert set(table["region"]) == {"best quarter"}
    strong = table.set_index("layer")["pearson"]
    # The voxels follow the first and the third layer; the middle one and pixels play no part.
    assert strong[["early", "late"]].min() > strong[["pixels", "middle"]].max() + 0.1
    side = json.loads(results(out, "similarity.json").read_text())
    number = side["Settings"]["similarity_permutations"]
    assert table["p"].min() == pytest.approx(1 / (1 + number)) and table["p"].max() <= 1
    assert table["ceiling_low"].isna().all()  # no picture is repeated
    with h5py.File(results(out, "similarities.h5")) as file:
        assert sorted(file["stimuli"].asstr()[()]) == sorted(picture_names())
        layers, regions = file["layer_similarity"][()], file["region_similarity"][()]
    compared = np.isfinite(regions[0])
    n = table["pictures"][0]
    # A third of the pictures chose the voxels: their pairs are not there.
    assert n == 26 and np.count_nonzero(compared) == n * (n - 1) // 2
    again = [np.corrcoef(layer[compared], regions[0][compared])[0, 1] for layer in layers]
    np.testing.assert_allclose(table["pearson"], again, atol=1e-5)
    assert set(table["chosen_on"]) == {"other samples"}
    assert side["SamplesThatChose"] == 14 and side["SamplesCompared"] == 26
    assert (table["encoding_r"].dropna() < 0.9).all() and table["encoding_r"].max() > 0.2


def test_pages_show_the_neural_code(events):
    _, out, _ = events
    page = (out / "sub-01.html").read_text()
    assert "Functional smoothness of the layers" in page
    assert "Where the layers and the brain agree" in page
    assert "How alike neighbouring voxels are" in page
    assert "Where along the network each region peaks" in (out / "group.html").read_text()


def test_the_group_has_the_means_of_its_participants(events):
    _, out, _ = events
    each = [read(results(out, "similarity.tsv", sub)) for sub in ("01", "02")]
    [path] = out.glob("*_groupsimilarity.tsv")
    table = read(path)
    np.testing.assert_allclose(table["pearson"], np.mean([t["pearson"] for t in each], axis=0))
    np.testing.assert_allclose(
        table["encoding_r"], np.mean([t["encoding_r"] for t in each], axis=0)
    )
    assert (table["participants"] == 2).all() and (table["common_stimuli"] == 26).all()
    assert table["pearson_low"].isna().all()  # two participants have no interval
    similar = []
    for sub in ("01", "02"):
        with h5py.File(results(out, "similarities.h5", sub)) as file:
            similar.append(file["region_similarity"][0])
    # Participants who saw the same pictures compare the same pairs.
    compared = np.isfinite(similar).all(axis=0)
    assert np.array_equal(compared, np.isfinite(similar[0]))
    similar = [one[compared] for one in similar]
    assert (table["untested"] == 0).all()
    assert table["ceiling_low"][0] == pytest.approx(np.corrcoef(similar)[0, 1], abs=1e-5)


def test_regions_find_their_own_layer_and_repeats_give_a_ceiling(repeated):
    _, out, _ = repeated
    table = read(results(out, "similarity.tsv", atlas="_atlas-places"), keep_default_na=False)
    best = table.loc[table.groupby("region")["pearson"].idxmax()].set_index("region")["layer"]
    assert best.to_dict() == {"early place": "early", "NA": "late"}
    own = table[table["layer"] == table["region"].map(best)]
    assert (own["ceiling_low"] > 0.3).all() and (own["ceiling_low"] < own["ceiling_high"]).all()
    assert (own["crossvalidated"] > 0.3).all() and (own["pearson_half"] > 0.3).all()
    assert (own["p"] == 0.01).all()
    near = read(results(out, "neighbours.tsv", atlas="_atlas-places"), keep_default_na=False)
    assert near["region"].tolist() == ["early place", "NA"]
    assert np.isfinite(near["near_r_crossed"]).all()
    assert (out / f"task-{TASK}_atlas-places_desc-features_groupsimilarity.tsv").exists()


def test_a_second_run_leaves_the_tables_and_a_new_seed_makes_them_again(repeated):
    tiny, out, options = repeated
    path = results(out, "similarity.tsv")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*_desc-features*") if p.is_file()}
    assert "done before" in run_app(tiny.bids, out, "participant", *options).said
    assert {p: p.stat().st_mtime_ns for p in before} == before
    more = (*options, "--similarity-items", 10, "--similarity-seed", 3)
    assert run_app(tiny.bids, out, "participant", *more).code == 0
    side = json.loads(path.with_suffix(".json").read_text())
    assert side["NumberOfSampledStimuli"] == 10 and side["SamplingSeed"] == 3
    assert side["NumberOfPairs"] == 45
    # The models are not fitted again.
    weights = results(out, "x").with_name(f"sub-01_task-{TASK}_desc-features+early_weights.h5")
    assert weights.stat().st_mtime_ns == before[weights]


def test_it_can_be_left_out(tiny, app, tmp_path):
    options = ("--participant-label", "01", "--features", tiny.features, "--no-neural-code")
    options += ("--n-permutations", 0)
    assert app(tiny.bids, tmp_path / "out", "participant", *options).code == 0
    assert not list((tmp_path / "out").rglob("*_smoothness.*"))
    assert "Functional smoothness" not in (tmp_path / "out" / "sub-01.html").read_text()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A table of 16 pictures in 8, 4 and 2 nested categories of colour."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    rows = ["\t".join(("picture", *LEVELS))]
    for sub in range(8):
        color = 128 + 90 * np.array([sub // 4 - 0.5, sub // 2 % 2 - 0.5, sub % 2 - 0.5])
        for number in range(2):
            pixels = color + 25 * random.standard_normal((24, 24, 3))
            name = f"{sub}{number}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append(f"{name}\ts{sub}\tb{sub // 2}\tw{sub // 4}")
    path = folder / "pictures.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def simulated(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "out"
    code = command(
        out,
        "--simulated_networks",
        4,
        "--simulated-sheets",
        2,
        "--pictures",
        pictures,
        "--untrained",
    )
    assert code == 0
    return out


def test_the_simulations_write_tables_figures_and_a_page(simulated):
    schemes = read(simulated / "schemes.tsv").set_index("name")
    assert schemes["scheme"].dropna().tolist() == list(range(1, 12))
    assert schemes["smoothness"]["vector space coding"] == pytest.approx(1)
    assert schemes["smoothness"][NAMES[3]] > schemes["smoothness"][NAMES[10]] + 0.3
    assert np.isnan(schemes["smoothness"]["factorial design coding"])
    assert schemes["published"].dropna().to_dict() == {NAMES[3]: 0.86, NAMES[10]: 0.22}
    curves = read(simulated / "distortions.tsv")
    assert (curves.drop(columns="distortion").iloc[0] == 1).all()
    assert (curves["factorial design coding"][1:] == 0).all()
    assert set(read(simulated / "scanner.tsv")["layout"]) == {"smooth", "intermediate", "random"}
    for table in simulated.glob("*.tsv"):
        side = json.loads(table.with_suffix(".json").read_text())
        assert set(read(table).columns) <= side.keys() and side["Seed"] == 0
    page = (simulated / "index.html").read_text()
    assert page.count("data:image/png") == len(list((simulated / "figures").glob("*.png"))) == 4


def test_pictures_are_compared_layer_by_layer(simulated):
    layers = read(simulated / "layers.tsv")
    assert len(layers) == 9 and layers["gini"].between(0, 1).all()
    categories = read(simulated / "categories.tsv")
    assert categories["level"].tolist() == list(LEVELS) * 9
    np.testing.assert_allclose(
        categories["difference"], categories["within"] - categories["between"], atol=1e-7
    )


def test_the_same_command_writes_the_same_bytes(simulated, pictures):
    before = {p: p.stat().st_mtime_ns for p in simulated.rglob("*.tsv")}
    options = (
        "--simulated-networks",
        4,
        "--simulated-sheets",
        2,
        "--pictures",
        pictures,
        "--untrained",
    )
    assert command(simulated, *options) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_inception_with_random_weights(pictures, tmp_path):
    options = ("--network", "inception_v3", "--layers", "Mixed_5d", "Mixed_7c", "--untrained")
    few = ("--simulated-networks", 2, "--simulated-sheets", 1)
    assert command(tmp_path, *few, "--pictures", pictures, *options) == 0
    assert read(tmp_path / "layers.tsv")["layer"].tolist() == ["Mixed_5d", "Mixed_7c"]


def broken(pictures: Path, folder: Path, old: str, new: str) -> Path:
    """A copy of the table with one change."""
    text = pictures.read_text()
    assert old in text
    path = folder / "pictures.tsv"
    path.write_text(text.replace(old, new))
    for picture in pictures.parent.glob("*.png"):
        shutil.copy(picture, folder)
    return path


@pytest.mark.parametrize(
    "old, new, code, words",
    [
        ("basic", "basics", 65, ["the header", "missing: basic", "separated by tabs"]),
        ("00.png\ts0", "00.png\t", 65, ["line 2, column subordinate", "fill it in"]),
        ("10.png\ts1\tb0", "10.png\ts1\tb3", 65, ["s1 belongs to", "not nested", "names"]),
        ("00.png\ts0\t", "00.png\tlone\t", 65, ["single picture", "lone", "add a picture"]),
        ("00.png", "gone.png", 66, ["gone.png", "column picture", "relative"]),
    ],
)
def test_a_table_that_is_wrong_says_where(pictures, tmp_path, capsys, old, new, code, words):
    table = broken(pictures, tmp_path, old, new)
    assert command(tmp_path / "out", "--pictures", table) == code
    said = capsys.readouterr().err
    assert str(table) in said
    for word in words:
        assert word in said, said
    assert not (tmp_path / "out").exists()


def test_other_bad_input_of_the_simulations(tmp_path, capsys):
    assert command(tmp_path / "out", "--pictures", tmp_path / "none.tsv") == 66
    assert "none.tsv" in capsys.readouterr().err
    assert command(tmp_path / "out", "--untrained") == 2
    assert "--pictures" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert command(tmp_path / "file") == 2
    assert "a file, not a folder" in capsys.readouterr().err
    few = tmp_path / "few.tsv"
    few.write_text("\t".join(("picture", *LEVELS)) + "\na.png\ta\tb\tc\n")
    assert command(tmp_path / "out", "--pictures", few) == 65
    assert "1 pictures" in capsys.readouterr().err
    few.write_bytes(b"\xff\xfe\x00picture\n")
    assert command(tmp_path / "out", "--pictures", few) == 65
    assert "cannot be read" in capsys.readouterr().err


def test_pairs_of_pixels_are_those_of_the_pictures(tmp_path):
    colors = [(255, 0, 0), (0, 255, 0), (250, 5, 5)]
    for number, color in enumerate(colors):
        Image.new("RGB", (50, 40), color).save(tmp_path / f"{number}.png")
    found = pixel_values([tmp_path / f"{number}.png" for number in range(3)], side=8)
    assert found.shape == (3, 8 * 8 * 3)
    similar = pairs(np.corrcoef(found))
    assert similar[1] > 0.99 > similar[0]


def test_pictures_whose_response_lies_outside_of_the_run_are_left_out(tiny, app, tmp_path, no_page):
    last = tiny.events().read_text().splitlines()[-1]
    onset, name = last.split("\t")[0], last.split("\t")[2]
    tiny.edit_events(f"\n{onset}\t", "\n158\t")
    options = ("--participant-label", "01", "--features", tiny.features, "--n-permutations", 0)
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0 and f"left out: {name}" in end.err
    with h5py.File(results(tmp_path / "out", "similarities.h5")) as file:
        stimuli = file["stimuli"].asstr()[:].tolist()
    assert len(stimuli) == 39 and name not in stimuli
