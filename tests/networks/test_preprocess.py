import numpy as np
import pytest
from PIL import Image

from bids_encoder.networks.preprocess import Preprocess, fit_to_square


def test_square_picture_of_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(fit_to_square(picture, 9), picture)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_long_picture_is_centred_on_grey_and_whole(interpolation):
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 255
    square = fit_to_square(picture, 8, interpolation)
    assert square.shape == (8, 8, 3)
    assert np.unique(square[:2]) == [128] and np.unique(square[-2:]) == [128]
    assert square[2:6, 0].max() < 20 and square[2:6, -1].min() > 235
    tall = fit_to_square(picture.transpose(1, 0, 2), 8, interpolation)
    np.testing.assert_array_equal(tall, square.transpose(1, 0, 2))


def test_very_thin_picture_keeps_one_row():
    assert (fit_to_square(np.zeros((1, 500, 3), np.uint8), 10) == 0).any()


def test_units_and_colour_order():
    picture = np.empty((4, 4, 3), np.uint8)
    picture[:] = (10, 20, 30)
    recipe = Preprocess(4, (1, 2, 3), (1, 2, 4))
    tensor = recipe(picture)
    assert tensor.shape == (3, 4, 4) and tensor.dtype.is_floating_point
    np.testing.assert_allclose(tensor[:, 0, 0], [9, 9, 27 / 4])
    flipped = Preprocess(4, (1, 2, 3), (1, 2, 4), bgr=True)
    np.testing.assert_allclose(flipped(picture)[:, 0, 0], [27 / 4, 9, 9])
    assert flipped.description != recipe.description


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(240, 320), (480, 270), (64, 64), (33, 500), (500, 1)])
def test_agrees_with_pillow(interpolation, shape):
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (shape[0] // 8 + 1, shape[1] // 8 + 1, 3), dtype=np.uint8)
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)[: shape[0], : shape[1]]
    picture = np.uint8(np.clip(picture + random.normal(0, 20, picture.shape), 0, 255))
    square = fit_to_square(picture, 112, interpolation)
    height, width = (max(1, round(side * 112 / max(shape))) for side in shape)
    top, left = (112 - height) // 2, (112 - width) // 2
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(picture).resize((width, height), method)).astype(int)
    away = np.abs(square[top : top + height, left : left + width] - expected)
    assert away.max() <= 2 and away.mean() < 0.1
    # Turned by half a turn without a copy, as frames of films are.
    turned = fit_to_square(picture[::-1, ::-1], 112, interpolation)
    np.testing.assert_array_equal(
        turned, fit_to_square(picture[::-1, ::-1].copy(), 112, interpolation)
    )
