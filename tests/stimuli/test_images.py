import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.stimuli.images import blank_image, read_image

RAMP = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def refusal(kind, path):
    with pytest.raises(kind) as caught:
        read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "remedy:" in message
    return message


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.webp", "a.ppm"])
def test_lossless_formats_are_read_exactly(tmp_path, name):
    two_colours = np.zeros((4, 6, 3), np.uint8)
    two_colours[:, 3:] = (250, 20, 90)
    options = {"lossless": True} if name.endswith("webp") else {}
    read = read_image(save(tmp_path / name, two_colours, **options))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, two_colours)


def test_jpeg_is_read_closely(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    read = read_image(save(tmp_path / "a.jpg", flat, quality=95))
    assert np.abs(read.astype(int) - flat).max() <= 3


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    read = read_image(save(tmp_path / "a.jpg", flat, "CMYK", quality=95))
    assert np.abs(read.astype(int) - flat).max() <= 6


def test_grey_becomes_three_equal_channels(tmp_path):
    read = read_image(save(tmp_path / "a.png", RAMP[..., 0]))
    np.testing.assert_array_equal(read, np.repeat(RAMP[..., :1], 3, axis=2))


def test_one_bit_becomes_black_and_white(tmp_path):
    checks = np.indices((4, 4)).sum(0) % 2 == 0
    read = read_image(save(tmp_path / "a.png", checks))
    np.testing.assert_array_equal(read[..., 0], checks * 255)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32896], [65535, 51400, 1285]], np.uint16)
    read = read_image(save(tmp_path / "a.png", values))
    np.testing.assert_array_equal(read[..., 0], [[0, 1, 128], [255, 200, 5]])


def test_sixteen_bit_big_endian_tiff(tmp_path):
    values = np.array([[0, 65535], [32896, 257]], ">u2")
    image = Image.frombytes("I;16B", (2, 2), values.tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], [[0, 255], [128, 1]])


def test_transparency_shows_mid_grey(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 255
    rgba[0, :, 3] = (255, 0, 128)
    read = read_image(save(tmp_path / "a.png", rgba))
    np.testing.assert_array_equal(read[0, 0], [255, 0, 0])
    np.testing.assert_array_equal(read[0, 1], [128, 128, 128])
    # half of each: 0.502 * 255 + 0.498 * 128 and 0.498 * 128
    np.testing.assert_allclose(read[0, 2], [192, 64, 64], atol=1)


def test_grey_with_alpha(tmp_path):
    la = np.array([[[10, 255], [10, 0]]], np.uint8)
    Image.fromarray(la, "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [10, 128])


@pytest.mark.parametrize("transparent, expected", [(None, (255, 0, 0)), (0, (128, 128, 128))])
def test_palette(tmp_path, transparent, expected):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    options = {} if transparent is None else {"transparency": transparent}
    image.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], [expected, (0, 0, 255)])


def test_exif_rotation_is_applied(tmp_path):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, :16] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    read = read_image(save(tmp_path / "a.jpg", picture, exif=exif))
    assert read.shape == (32, 16, 3)
    assert read[:12].min() > 240 and read[-12:].max() < 15  # white on top


def test_camera_file_with_previews_gives_its_main_picture(tmp_path):
    main = Image.new("RGB", (32, 32), (200, 10, 10))
    main.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[main.resize((8, 8))])
    assert read_image(tmp_path / "a.jpg").shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_animations_are_refused(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    message = refusal(DataError, tmp_path / name)
    assert "3 frames" in message and "film" in message


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif"])
def test_animation_formats_with_one_frame_are_read(tmp_path, name):
    assert read_image(save(tmp_path / name, RAMP)).shape == (4, 4, 3)


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert "0 bytes" in refusal(DataError, tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.gif", "a.webp"])
def test_truncated_file(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(DataError, path)


def test_damaged_picture(tmp_path):
    path = save(tmp_path / "a.png", np.tile(RAMP, (20, 20, 1)))
    data = bytearray(path.read_bytes())
    data[60:100] = bytes(40)
    path.write_bytes(data)
    assert "damaged" in refusal(DataError, path)


def test_text_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("hello, I am not a picture")
    assert "hello" in refusal(DataError, tmp_path / "a.png")


def test_postscript_is_not_run(tmp_path):
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    refusal(DataError, tmp_path / "a.eps")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_decompression_bomb(tmp_path, side):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    assert "too large" in refusal(DataError, path)


def test_32_bit_pictures_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((4, 4), np.float32))
    assert "32 bits" in refusal(DataError, path)


def test_missing_file(tmp_path):
    assert "missing" in refusal(MissingInputError, tmp_path / "a.png")


def test_broken_annex_link(tmp_path):
    path = tmp_path / "a.png"
    os.symlink(".git/annex/objects/xx/yy/SHA256E-s1--aa.png", path)
    assert f"datalad get {path}" in refusal(MissingInputError, path)


def test_annex_pointer_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("/annex/objects/SHA256E-s1--aa.png\n")
    assert f"datalad get {path}" in refusal(MissingInputError, path)


def test_other_broken_link(tmp_path):
    os.symlink("nowhere.png", tmp_path / "a.png")
    assert "broken link" in refusal(MissingInputError, tmp_path / "a.png")


def test_folder(tmp_path):
    assert "folder" in refusal(DataError, tmp_path)


def test_blank_is_uniform_grey():
    assert blank_image(3, 5).shape == (3, 5, 3)
    assert np.unique(blank_image()) == [128]
