"""The Gabor pyramid and motion energy, against pymoten and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from film_files import write_film
from moten import core
from moten.pyramids import MotionEnergyPyramid
from PIL import Image
from skimage.color import rgb2lab

from bids_encoder.errors import UsageError
from bids_encoder.features.extract import extract
from bids_encoder.features.pyramids import luminance, make_pyramid
from bids_encoder.stimuli.films import read_film
from bids_encoder.stimuli.images import BLANK
from bids_encoder.stimuli.segments import Segment


@pytest.fixture(scope="module")
def motion():
    return make_pyramid("motion_energy", ["all"])


@pytest.fixture(scope="module")
def gabor():
    return make_pyramid("gabor")


def noise(n, seed=0, size=96):
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 12, 12, 3)).astype(np.uint8)
    return coarse.repeat(size // 12, axis=1).repeat(size // 12, axis=2)


def prepared(pyramid, pictures):
    return torch.stack([pyramid.prepare(picture) for picture in pictures])


def test_luminance_is_that_of_scikit_image():
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    picture[:2] = [0, 1, 2]
    np.testing.assert_allclose(luminance(picture), rgb2lab(picture)[..., 0], atol=2e-3)


@pytest.mark.parametrize("fps", [15.0, 14.0])
def test_motion_energy_is_that_of_pymoten(fps):
    """With 10 and 9 samples in the filters."""
    pyramid = make_pyramid("motion_energy", ["all"], fps)
    frames = prepared(pyramid, noise(24))
    c = pyramid.context
    silence = torch.zeros(c, frames.shape[1])
    found = pyramid.compute(torch.cat([silence, frames, silence])).numpy()

    whole = MotionEnergyPyramid((96, 96), stimulus_fps=int(fps))
    assert found.shape == (24, whole.nfilters)
    some = np.random.default_rng(1).choice(whole.nfilters, 60, replace=False)
    expected = core.project_stimulus(
        frames.numpy().reshape(24, 96, 96).astype(np.float64),
        [whole.filters[i] for i in some],
        output_nonlinearity=np.log1p,
        dtype="float64",
    )
    np.testing.assert_allclose(found[:, some], expected, rtol=1e-3, atol=1e-3)


def test_a_film_in_parts_gives_what_it_gives_as_a_whole(tmp_path, motion):
    film = read_film(write_film(tmp_path / "film.mkv", list(noise(50, size=24)), rate=15))
    wanted = {f"{a}": Segment(film, a, a + 10, 15.0) for a in range(0, 50, 10)}
    store = extract(motion, wanted, cache_dir=tmp_path, batch_size=7)
    c = motion.context
    frames = prepared(motion, noise(50, size=24))
    silence = torch.zeros(c, frames.shape[1])
    whole = motion.compute(torch.cat([silence, frames, silence])).numpy()
    expected = whole.reshape(5, 10, -1).mean(axis=1)
    np.testing.assert_allclose(store.load("all").values, expected, rtol=1e-4, atol=1e-4)


def test_direction_of_motion(motion):
    """A drifting grating excites filters of one direction, played backwards those opposite."""
    x = np.arange(96) / 95
    rows = [np.uint8(127.5 + 120 * np.sin(2 * np.pi * (4 * x - 2 * k / 15))) for k in range(20)]
    frames = prepared(motion, [np.tile(row[None, :, None], (96, 1, 3)) for row in rows])
    whole = MotionEnergyPyramid((96, 96), stimulus_fps=15).parameters
    tuned = (whole.spatial_freq == 4) & (whole.temporal_freq == 2)
    answers = []
    for film in (frames, frames.flip(0)):
        energy = np.expm1(motion.compute(film).numpy()).mean(axis=0)
        answers.append({d: energy[tuned & (whole.direction == d)].mean() for d in (0, 90, 180)})
    forth, back = answers
    along, against = sorted((0, 180), key=forth.get, reverse=True)
    assert forth[along] > 10 * forth[against] and back[against] > 10 * back[along]
    assert forth[along] > 100 * forth[90]


def test_orientation_and_spatial_frequency_of_gabors(gabor):
    """The band of a grating's frequency answers most, whatever its phase."""
    x = np.arange(128) / 127
    bands = {layer: gabor.layout.where(layer) for layer in gabor.layers}
    assert list(bands) == ["sf2", "sf4", "sf8", "sf16", "sf32"]
    for frequency, layer in ((4, "sf4"), (8, "sf8"), (16, "sf16")):
        phases = [
            np.uint8(127.5 + 100 * np.sin(2 * np.pi * (frequency * x - phase)))
            for phase in (0, 0.25, 0.6)
        ]
        pictures = [np.repeat(np.repeat(row[None, :, None], 128, 0), 3, 2) for row in phases]
        energy = np.expm1(gabor.compute(prepared(gabor, pictures)).numpy())
        most = {name: energy[:, part].max(axis=1) for name, part in bands.items()}
        assert all(max(most, key=lambda name, i=i: most[name][i]) == layer for i in range(3))
        np.testing.assert_allclose(most[layer], most[layer][0], rtol=0.1)


def test_an_empty_screen_is_nothing_and_a_picture_is_a_film_that_stands_still(
    tmp_path, motion, gabor
):
    Image.fromarray(noise(1)[0]).save(tmp_path / "a.png")
    stimuli = {"a": tmp_path / "a.png", BLANK: None}
    for pyramid in (motion, gabor):
        store = extract(pyramid, stimuli, cache_dir=tmp_path)
        values = store.load(store.layers[-1]).values
        assert not values[1].any() and values[0].max() > 1
    store = extract(motion, stimuli, cache_dir=tmp_path)
    still = store.load("all").values[0]
    moving = motion.frequencies > 0
    assert still[~moving].mean() > still[moving].mean() + 1


def test_bands(motion):
    chosen = make_pyramid("motion_energy", ["all", "tf2", "sf4"])
    assert chosen.layers == ("sf4", "tf2", "all")
    assert chosen.layout.sizes == {"sf4": 20, "tf2": 540, "all": 1380}
    frames = prepared(chosen, noise(12))
    values, every = chosen.compute(frames), motion.compute(frames)
    np.testing.assert_array_equal(values[:, chosen.layout.where("all")], every)
    assert chosen.layout.key != motion.layout.key


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("gabor", ["sf3"]), ("no layer 'sf3'", "sf2, sf4", "--layers")),
        (("motion_energy", [], 8.0), ("too rarely", "at least 10", "--frames-per-second")),
    ],
)
def test_what_pyramids_do_not_have(arguments, words):
    with pytest.raises(UsageError) as caught:
        make_pyramid(*arguments)
    assert all(word in str(caught.value) for word in words)
