"""Features of stretches of films: the mean over their frames, each computed once."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from film_files import grey_levels, write_film

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.features.cache import FeatureLayout
from bids_encoder.features.extract import extract, recall
from bids_encoder.features.reduction import Reduction
from bids_encoder.stimuli.films import read_film
from bids_encoder.stimuli.images import BLANK
from bids_encoder.stimuli.segments import Segment

LEVELS = list(range(0, 250, 5))  # 50 frames, 15 a second


class Levels:
    """The grey level of a frame, its square, and the mean level of what is around it."""

    name, device, batch = "levels", "cpu", None
    layout = FeatureLayout({"network": "levels"}, ("level",), (Reduction((3,), 1, (3,)),))

    def __init__(self, context=0):
        self.context = context
        self.computed = []

    def prepare(self, image):
        return torch.tensor(float(image[0, 0, 0]))

    def compute(self, batch):
        c = self.context
        self.computed += batch[c : len(batch) - c].tolist()
        around = batch.unfold(0, 2 * c + 1, 1).mean(dim=1)
        middle = batch[c : len(batch) - c]
        return torch.stack([middle, middle**2, around], dim=1)

    def replica(self):
        return self


@pytest.fixture
def film(tmp_path):
    return read_film(write_film(tmp_path / "film.mkv", grey_levels(LEVELS), rate=15))


def segments(film, *spans, fps=15.0):
    return {f"{a}-{b}": Segment(film, a, b, fps) for a, b in spans}


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_means_over_stretches(film, tmp_path, batch_size):
    wanted = segments(film, (0, 10), (10, 20), (5, 15), (30, 31), (48, 50), (0, 50))
    store = extract(Levels(), wanted, cache_dir=tmp_path, batch_size=batch_size)
    values = store.load("level").values
    for row, one in zip(values, wanted.values(), strict=True):
        levels = np.array(LEVELS[one.first : one.stop], float)
        np.testing.assert_allclose(row[:2], [levels.mean(), (levels**2).mean()], rtol=1e-6)


def test_frames_are_computed_once_however_often_they_are_sampled(film, tmp_path):
    extractor = Levels()
    wanted = segments(film, (0, 40), (20, 60), (59, 60), fps=60.0)
    # Of 15 frames, so that no batch is filled up.
    store = extract(extractor, wanted, cache_dir=tmp_path, batch_size=5)
    assert sorted(extractor.computed) == LEVELS[:15]  # 4 samples each
    expected = [np.mean(np.repeat(LEVELS, 4)[a:b]) for a, b in ((0, 40), (20, 60), (59, 60))]
    np.testing.assert_allclose(store.load("level").values[:, 0], expected, rtol=1e-6)


def test_frames_that_nobody_wants_are_not_computed(film, tmp_path):
    extractor = Levels()
    extract(extractor, segments(film, (2, 4), (8, 10)), cache_dir=tmp_path)
    assert sorted(extractor.computed) == LEVELS[2:4] + LEVELS[8:10]


def test_what_is_kept_is_not_computed_again(film, tmp_path):
    extract(Levels(), segments(film, (0, 10), (20, 30)), cache_dir=tmp_path)
    extractor, seen = Levels(), []
    wanted = segments(film, (0, 10), (10, 20), (20, 30))
    extract(
        extractor, wanted, cache_dir=tmp_path, batch_size=5,
        on_progress=lambda *a: seen.append(a),
    )  # fmt: skip
    assert sorted(extractor.computed) == LEVELS[10:20]
    assert seen == [(2, 3), (3, 3)]


def test_same_film_under_another_name_and_in_two_participants(film, tmp_path):
    one = extract(Levels(), segments(film, (0, 9)), cache_dir=tmp_path)
    other = extract(Levels(), {"other name": Segment(film, 0, 9, 15.0)}, cache_dir=tmp_path)
    assert list(one.digests.values()) == list(other.digests.values())


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_features_that_depend_on_neighbours(film, tmp_path, batch_size):
    extractor = Levels(context=2)
    wanted = segments(film, (0, 1), (0, 10), (7, 25), (49, 50))
    store = extract(extractor, {**wanted, BLANK: None}, cache_dir=tmp_path, batch_size=batch_size)
    padded = np.array([128, 128, *LEVELS, 128, 128], float)  # grey before and after
    around = np.convolve(padded, np.full(5, 0.2), "valid")
    values = store.load("level").values
    for row, one in zip(values, wanted.values(), strict=False):
        np.testing.assert_allclose(row[2], around[one.first : one.stop].mean(), rtol=1e-6)
    np.testing.assert_allclose(values[-1], [128, 128**2, 128])


def test_many_clips_share_batches(tmp_path):
    clips = {}
    for i in range(5):
        path = write_film(tmp_path / f"{i}.mkv", grey_levels([i, i + 10, i + 20]), rate=15)
        clips[f"{i}.mkv"] = Segment(read_film(path), 0, 3, 15.0)
    for context in (0, 1):
        store = extract(Levels(context), clips, cache_dir=tmp_path / str(context), batch_size=4)
        np.testing.assert_allclose(store.load("level").values[:, 0], np.arange(5) + 10)


def test_damage_ends_the_work_with_words_and_without_threads(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (90, 16, 24, 3)).astype(np.uint8)
    path = write_film(tmp_path / "film.mov", list(noise))
    film = read_film(path)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 4000] = bytes(4000)
    path.write_bytes(content)
    before = threading.active_count()
    with pytest.raises(DataError, match="damaged") as caught:
        extract(Levels(), segments(film, (0, 10), (0, 45)), cache_dir=tmp_path)
    assert str(path) in str(caught.value)
    assert threading.active_count() == before
    # What was whole before the damage is kept.
    assert len(list(tmp_path.glob("features/*/??/*.npy"))) == 1


def test_an_error_of_the_network_ends_the_decoding(film, tmp_path):
    class Failing(Levels):
        def compute(self, batch):
            raise RuntimeError("no")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no"):
        extract(Failing(), segments(film, (0, 50)), cache_dir=tmp_path)
    assert threading.active_count() == before


def test_models_of_clips_recall_them_from_the_cache_alone(film, tmp_path):
    store = extract(Levels(), {"film.mkv": Segment(film, 0, 9, 15.0)}, cache_dir=tmp_path)
    again = recall(Levels(), store.digests, film.path.parent, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.load("level").values, store.load("level").values)
    with pytest.raises(MissingInputError, match="work folder of the fit with -w"):
        recall(Levels(), store.digests, film.path.parent, cache_dir=tmp_path / "other")
