"""Datasets of films through the app: continuous films and clips as events."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from film_files import write_film
from tiny_dataset import SHAPE, TASK, brain, write_bold, write_json, write_pictures

RATE, SIDE = 5, 32
TR = 2.0


def moving_picture(n: int, seed: int) -> list[np.ndarray]:
    """Random coarse pictures, each of which lasts for a second."""
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 256, (n // RATE + 1, 4, 4, 3), dtype=np.uint8)
    large = pictures.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return list(large.repeat(RATE, axis=0)[:n])


COLUMNS = "onset\tduration\tstim_file"


def dataset(
    folder: Path, events: dict[str, str], volumes: int, signal=None, columns: str = COLUMNS
) -> Path:
    """A participant with a run for each table of events."""
    bids = folder / "raw"
    description = {"Name": "Films", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_json(bids / "dataset_description.json", description)
    (bids / "README").write_text("Made for tests.\n")
    write_json(bids / f"task-{TASK}_bold.json", {"TaskName": TASK, "RepetitionTime": TR})
    random = np.random.default_rng(1)
    for run, table in events.items():
        data = 10 * random.standard_normal((*SHAPE, volumes))
        if signal is not None:
            data += signal(run)
        start = bids / "sub-01" / "func" / f"sub-01_task-{TASK}_run-{run}"
        write_bold(Path(f"{start}_bold.nii.gz"), np.float32(brain()[..., None] * (900 + data)))
        Path(f"{start}_events.tsv").write_text(f"{columns}\n{table}")
    return bids


def sidecar(out: Path) -> dict:
    (path,) = out.glob("sub-01/func/*_scores.json")
    return json.loads(path.read_text())


@pytest.fixture
def films(tmp_path):
    stimuli = tmp_path / "raw" / "stimuli"
    write_film(stimuli / "one.mkv", moving_picture(30 * RATE, 1), rate=RATE, sound=True)
    write_film(stimuli / "two.mkv", moving_picture(30 * RATE, 2), rate=RATE)
    return stimuli


def options(tmp_path, *more):
    work = tmp_path / "work"
    return ("-w", work, "--network", "gabor", "--confounds", "none", "--fps", "2", *more)


def test_films_from_end_to_end(tmp_path, films, app):
    table = {"1": "0\t30\tone.mkv\n", "2": "3.5\tn/a\ttwo.mkv\n"}
    bids = dataset(tmp_path, table, 20)
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path))
    assert end.code == 0, end.err
    assert "2 films (1 min 00 s), shown 2 times" in end.said
    assert "continuous: films of 30 s (median)" in end.said
    side = sidecar(tmp_path / "out")
    assert side["NumberOfStimuli"] == 2 and side["NumberOfSamples"] == 40
    assert side["FramesPerSecond"] == 2 and side["NumberOfFilms"] == 2
    kept = len(list((tmp_path / "work").glob("features/*/??/*.npy")))
    # A piece a volume: 15 of the first film; of the second, which starts in the middle of
    # a volume, 16; and the empty screen.
    assert kept == 15 + 16 + 1
    again = app(bids, tmp_path / "out", "participant", *options(tmp_path))
    assert "all is there already" in again.said
    # Sampled in another way, the films have other features.
    other = app(bids, tmp_path / "out", "participant", *options(tmp_path), "--fps", "1")
    assert other.code == 0 and "all is there already" not in other.said


def test_clips_are_events(tmp_path, app, no_page):
    stimuli = tmp_path / "raw" / "stimuli"
    names = [f"clip{i:02d}.mkv" for i in range(16)]
    for i, name in enumerate(names):
        write_film(stimuli / name, moving_picture(3 * RATE, i), rate=RATE)
    tables = {
        run: "".join(
            f"{4 + 7 * k}\t3\t{name}\t{'ab'[k] if k < 2 else 'c'}\n"
            for k, name in enumerate(names[part])
        )
        for run, part in (("1", slice(8)), ("2", slice(8, 16)))
    }
    bids = dataset(tmp_path, tables, 36, columns=f"{COLUMNS}\ttrial_type")
    conditions = {kind: {"Events": {"trial_type": kind}} for kind in "ab"}
    contrast = {"Name": "aOverB", "ConditionList": ["a", "b"], "Weights": [1, -1]}
    file = tmp_path / "contrasts.json"
    write_json(file, {"Conditions": conditions, "Contrasts": [contrast]})
    arguments = (bids, tmp_path / "out", "participant", *options(tmp_path), "--synthesize", file)
    end = app(*arguments, "-v")
    assert end.code == 0, end.err
    found = {
        path.name for path in (tmp_path / "out/sub-01/func").glob("*_contrast-aOverB_*.nii.gz")
    }
    for end_of_name in ("t_desc-measured", "t_desc-gabor+synthesized"):
        assert f"sub-01_task-{TASK}_contrast-aOverB_stat-{end_of_name}_statmap.nii.gz" in found
    assert "1 contrast done before" in app(*arguments).said
    assert "16 films (48 s), shown 16 times" in end.said
    assert "events: presentations of 3 s (median) start every 7 s" in end.said
    assert sidecar(tmp_path / "out")["NumberOfSamples"] == 16
    assert len(list((tmp_path / "work").glob("features/*/??/*.npy"))) == 16


def followed(run: str) -> np.ndarray:
    """Voxels of the left half follow a film, the same in each run that shows it."""
    film = np.random.default_rng(11 if run in "123" else 12).standard_normal(60)
    data = np.zeros((*SHAPE, 60))
    data[:4] = 10 * (film - film.mean()) / film.std()
    return data


def maps(out: Path, kind: str) -> dict[str, np.ndarray]:
    found = out.glob(f"sub-01/func/*_stat-{kind}_*.nii.gz")
    return {path.name: np.asarray(nibabel.load(path).dataobj) for path in found}


@pytest.mark.parametrize("held", [False, True])
def test_a_film_that_recurs_in_several_runs_has_a_noise_ceiling(tmp_path, app, no_page, held):
    for seed, name in enumerate(("one.mkv", "two.mkv", "three.mkv")):
        film = moving_picture(120 * RATE, seed)
        write_film(tmp_path / "raw" / "stimuli" / name, film, rate=RATE)
    tables = {run: "0\t120\tone.mkv\n" for run in "123"}
    tables |= {"4": "0\t120\ttwo.mkv\n", "5": "0\t120\tthree.mkv\n"}
    bids = dataset(tmp_path, tables, 60, followed)
    more = ("--n-permutations", 0, *(("--test-set", "run=1") if held else ()))
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path, *more), "-v")
    assert end.code == 0, end.err
    ceilings = maps(tmp_path / "out", "noiseceiling")
    if held:  # one run of the test set, and nothing that repeats it there
        assert not ceilings
        return
    assert "volumes' worth of the stimulus recurs in several runs" in end.said
    [ceiling] = ceilings.values()
    # Signal and noise of the left half have equal variance; there is nothing in the right one.
    signal = np.nanmean(ceiling[:4][brain()[:4]])
    assert signal == pytest.approx(0.5, abs=0.08)
    assert abs(np.nanmean(ceiling[4:][brain()[4:]])) < 0.05
    normalized = maps(tmp_path / "out", "normalizedr2")
    for name, r2 in maps(tmp_path / "out", "r2").items():
        divided = normalized[name.replace("stat-r2", "stat-normalizedr2")]
        there = np.isfinite(divided)
        assert there.any()
        np.testing.assert_allclose(divided[there], (r2 / ceiling)[there], rtol=1e-3, atol=1e-5)


def test_runs_of_a_test_set_that_repeat_a_film_have_its_ceiling(tmp_path, app, no_page):
    stimuli = tmp_path / "raw" / "stimuli"
    for seed, name in enumerate(("one.mkv", "two.mkv", "three.mkv")):
        write_film(stimuli / name, moving_picture(120 * RATE, seed), rate=RATE)
    tables = {"4": "0\t120\ttwo.mkv\n", "5": "0\t120\tthree.mkv\n"}
    tables |= {run: "0\t120\tone.mkv\n" for run in "123"}
    bids = dataset(tmp_path, tables, 60, followed)
    for path in (bids / "sub-01" / "func").glob("*run-[123]_*"):
        path.rename(path.with_name(path.name.replace(f"task-{TASK}", "task-test")))
    write_json(bids / "task-test_bold.json", {"TaskName": "test", "RepetitionTime": TR})
    more = ("--n-permutations", 0, "--test-set", "task=test", "--no-neural-code")
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path, *more), "-v")
    assert end.code == 0, end.err
    [ceiling] = maps(tmp_path / "out", "noiseceiling").values()
    assert np.nanmean(ceiling[:4][brain()[:4]]) == pytest.approx(0.5, abs=0.08)
    [path] = (tmp_path / "out").glob("sub-01/func/*_stat-noiseceiling_*.json")
    side = json.loads(path.read_text())
    assert side["RepeatedVolumes"] > 50 and side["Repeats"] == {"mean": 3.0, "highest": 3}
    normalized = maps(tmp_path / "out", "normalizedr2")
    tested = maps(tmp_path / "out", "testr2")
    assert len(normalized) == len(tested) == 5
    for name, r2 in tested.items():
        divided = normalized[name.replace("stat-testr2", "stat-normalizedr2")]
        there = np.isfinite(divided)
        assert there.any()
        np.testing.assert_allclose(divided[there], (r2 / ceiling)[there], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("fault", ["cut", "text", "empty", "sound"])
def test_bad_films_are_found_before_anything_is_computed(tmp_path, films, app, fault):
    bids = dataset(tmp_path, {"1": "0\t30\tone.mkv\n"}, 15)
    path = films / "one.mkv"
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[: len(content) // 2], "text": b"words " * 99, "empty": b""}.get(fault, b"")
    )
    if fault == "sound":
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            silence = np.zeros((1, 8000), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path), "--dry-run")
    assert end.code == 65
    assert str(path) in end.err and "remedy:" in end.err and "Traceback" not in end.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "more, code, words",
    [
        (["--synthesize", "retinotopy"], 66, ["films only", "--carrier-images DIR"]),
        (
            ["--network", "motion_energy", "--fps", "15", "--synthesize", "pictures/"],
            2,
            ["Motion energy is for films", "--network gabor"],
        ),
    ],
)
def test_experiments_without_pictures_are_refused_in_the_plan(
    tmp_path, films, app, more, code, words
):
    write_pictures(Path("pictures"), ["a.png", "b.png"])
    bids = dataset(tmp_path, {"1": "0\t30\tone.mkv\n", "2": "0\t30\ttwo.mkv\n"}, 15)
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path, *more, "--dry-run"))
    assert end.code == code and all(word in end.said for word in words)
    assert "Traceback" not in end.said and not (tmp_path / "out").exists()


def test_events_longer_than_their_film(tmp_path, films, app):
    bids = dataset(tmp_path, {"1": "0\t40\tone.mkv\n", "2": "0\t30\ttwo.mkv\n"}, 20)
    more = ("--hrf", "rank1", "--dry-run")
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path, *more))
    assert end.code == 0
    assert "--hrf rank1 has no effect: in a continuous design" in end.said
    assert "one.mkv by 10.0 s" in end.said and "counts as grey" in end.said


def test_motion_energy_of_films(tmp_path, films, app, no_page):
    bids = dataset(tmp_path, {"1": "0\t30\tone.mkv\n", "2": "0\t30\ttwo.mkv\n"}, 15)
    network = ("--network", "motion_energy", "--fps", "15", "--layers", "tf0", "tf4")
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path), *network)
    assert end.code == 0, end.err
    names = {path.name for path in (tmp_path / "out/sub-01/func").glob("*stat-r_desc-*.nii.gz")}
    assert any("motionenergy+tf0" in name for name in names) and len(names) == 2


@pytest.mark.parametrize(
    "more, words",
    [
        (("--network", "motion_energy"), ("no film among the stimuli", "--network gabor")),
        (("--network", "gabor", "--untrained"), ("its filters are fixed", "--untrained")),
        (("--network", "gabor", "--layers", "sf5"), ("no layer 'sf5'", "sf4")),
    ],
)
def test_pyramids_that_cannot_be(tiny, app, more, words, tmp_path):
    end = app(tiny.bids, tmp_path / "out", "participant", *more, "--dry-run")
    assert end.code == 2 and all(word in end.err for word in words)
    assert "Traceback" not in end.err


def test_simulated_responses_are_predicted_by_the_band_that_made_them(
    tmp_path, films, app, no_page
):
    """Two sets of voxels follow the contrasts of a coarse and of a fine grating."""
    volumes, low, high = 64, "sf2", "sf32"
    contrasts = np.random.default_rng(4).standard_normal((2, 2, volumes))  # run, grating
    for name, ours in zip(("one", "two"), contrasts, strict=True):
        write_film(films / f"{name}.mkv", gratings(ours), rate=1)

    def signal(run):
        data = np.zeros((*SHAPE, volumes))
        for grating, part in enumerate((np.s_[:4], np.s_[4:])):
            # 4, 6 and 8 s later, which are the delays of the model.
            follow = np.pad(np.tanh(contrasts[int(run) - 1, grating]), (4, 0))
            data[part] = 20 * sum(follow[4 - lag : volumes + 4 - lag] for lag in (2, 3, 4))
        return data

    table = {"1": f"0\t{2 * volumes}\tone.mkv\n", "2": f"0\t{2 * volumes}\ttwo.mkv\n"}
    bids = dataset(tmp_path, table, volumes, signal)
    # The first volumes see the empty screen, whose features are far from all others.
    more = ("--layers", low, high, "--skip-volumes", "4")
    end = app(bids, tmp_path / "out", "participant", *options(tmp_path, *more))
    assert end.code == 0, end.err
    scores = {
        layer: np.asarray(
            nibabel.load(
                next((tmp_path / "out/sub-01/func").glob(f"*stat-r_desc-gabor+{layer}_*.nii.gz"))
            ).dataobj
        )
        for layer in (low, high)
    }
    better = scores[low] > scores[high]
    assert better[:4][brain()[:4]].mean() > 0.9 and better[4:][brain()[4:]].mean() < 0.1
    assert np.median(scores[low][:4][brain()[:4]]) > 0.5
    assert np.median(scores[high][4:][brain()[4:]]) > 0.5


def gratings(contrasts: np.ndarray) -> list[np.ndarray]:
    """A coarse and a fine grating, whose contrasts change every 2 s, over a ground that stays.

    A frame a second. The ground is noise: without it the fine band would follow the edges of the
    coarse grating as well. It is the same in all frames, so that filters of other orientations
    hardly change.
    """
    x = np.linspace(0, 1, 128)
    ground = 128 + 12 * np.random.default_rng(6).standard_normal((128, 128))
    coarse, fine = (np.sin(2 * np.pi * frequency * x) for frequency in (2, 32))
    frames = []
    for pair in contrasts.T.repeat(2, axis=0):
        a, b = 30 + 15 * np.tanh(pair)
        picture = ground + a * coarse + b * fine
        frames.append(np.uint8(picture.clip(0, 255))[..., None].repeat(3, axis=2))
    return frames
