"""Films: which frame is on the screen when, and what cannot be a film."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from film_files import grey_levels, write_film
from PIL import Image

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.stimuli.films import is_film, n_samples, read_film, sampled_frames
from bids_encoder.stimuli.segments import Segment, pictures_of

LEVELS = list(range(0, 240, 8))  # 30 frames


def samples(path, fps=15.0, first=0, stop=10**6):
    """Grey level of each sample."""
    frames = list(sampled_frames(read_film(path), fps, first, stop))
    for before, after in zip(frames, frames[1:], strict=False):
        assert before.stop == after.first
    return [int(f.image[0, 0, 0]) for f in frames for _ in range(f.first, f.stop)]


@pytest.mark.parametrize("ending", ["mkv", "avi", "mov"])
def test_constant_rate(tmp_path, ending):
    path = write_film(tmp_path / f"film.{ending}", grey_levels(LEVELS))
    film = read_film(path)
    assert (film.width, film.height, film.rate) == (24, 16, 30)
    assert film.duration == pytest.approx(1, abs=0.002)
    # The second frame of each pair is never sampled, though Matroska rounds times to 1 ms.
    assert samples(path) == LEVELS[::2]
    assert samples(path, fps=30) == LEVELS
    assert samples(path, fps=60) == list(np.repeat(LEVELS, 2))
    assert samples(path, fps=1) == [0]


def test_lossy_film_with_sound(tmp_path):
    path = write_film(
        tmp_path / "film.mp4", grey_levels(LEVELS, 32, 48), codec="libx264", sound=True
    )
    assert read_film(path).duration == pytest.approx(1, abs=0.002)
    np.testing.assert_allclose(samples(path), LEVELS[::2], atol=3)


@pytest.mark.parametrize("ending", ["mkv", "mov"])
def test_variable_rate_is_sampled_by_time_stamps(tmp_path, ending):
    times = [0, 500, 600, 2000, 2050]
    path = write_film(tmp_path / f"film.{ending}", grey_levels([0, 50, 100, 150, 200]), times=times)
    found = samples(path, fps=20)
    on_screen = np.searchsorted(times, np.arange(len(found)) * 50 + 1, side="right") - 1
    assert found == [[0, 50, 100, 150, 200][i] for i in on_screen]
    assert found[:14] == [0] * 10 + [50] * 2 + [100] * 2


def test_only_what_is_wanted(tmp_path):
    path = write_film(tmp_path / "film.mkv", grey_levels(LEVELS))
    assert samples(path, first=3, stop=6) == LEVELS[6:12:2]
    assert samples(path, first=14, stop=99) == LEVELS[28:29]
    assert samples(path, first=15, stop=99) == []


def test_nothing_after_what_is_wanted_is_decoded(tmp_path, monkeypatch):
    path = write_film(tmp_path / "film.mkv", grey_levels(LEVELS))
    film, decoded = read_film(path), []
    from bids_encoder.stimuli import films

    every = films._decoded
    monkeypatch.setattr(
        films, "_decoded", lambda *a: (decoded.append(f) or f for f in every(*a))
    )  # fmt: skip
    list(sampled_frames(film, 15.0, 0, 3))
    assert len(decoded) == 6  # of 30; the last one ends the third sample


def test_a_film_starts_with_its_first_frame(tmp_path):
    times = [1000 + 100 * i for i in range(5)]
    path = write_film(tmp_path / "film.mkv", grey_levels([0, 50, 100, 150, 200]), times=times)
    assert samples(path, fps=10) == [0, 50, 100, 150, 200]


def test_odd_sizes(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (47, 63, 3)).astype(np.uint8)
    film = read_film(write_film(tmp_path / "film.mkv", [picture] * 3))
    assert (film.width, film.height) == (63, 47)
    np.testing.assert_array_equal(next(sampled_frames(film, 15, 0, 1)).image, picture)


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_rotation_is_applied(tmp_path, angle):
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    film = read_film(write_film(tmp_path / "film.mov", [picture] * 3, rotation=angle))
    # As in OpenCV and PyAV, a positive angle turns counter-clockwise.
    expected = np.rot90(picture, angle // 90)
    assert (film.height, film.width) == expected.shape[:2]
    np.testing.assert_array_equal(next(sampled_frames(film, 15, 0, 1)).image, expected)


def test_mirrored_display_matrix(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    path = write_film(tmp_path / "film.mov", [picture] * 3, rotation=180)
    turned = np.array([-1, 0, 0, 0, -1], ">i4") * 65536
    mirrored = np.array([-1, 0, 0, 0, 1], ">i4") * 65536
    content = path.read_bytes()
    assert content.count(turned.tobytes()) == 1
    path.write_bytes(content.replace(turned.tobytes(), mirrored.tobytes()))
    image = next(sampled_frames(read_film(path), 15, 0, 1)).image
    np.testing.assert_array_equal(image, picture[:, ::-1])


def test_pixels_that_are_not_square(tmp_path):
    path = write_film(
        tmp_path / "film.mp4",
        grey_levels(LEVELS, 30, 36),
        codec="libx264",
        pixel_aspect=Fraction(4, 3),
    )
    film = read_film(path)
    assert (film.width, film.height) == (48, 30)
    assert next(sampled_frames(film, 15, 0, 1)).image.shape == (30, 48, 3)


def test_number_of_samples():
    assert [n_samples(d, 15) for d in (0.01, 1.0, 1.0001, 2 / 15)] == [1, 15, 16, 2]


def test_what_is_a_film(tmp_path):
    write_film(tmp_path / "a.mkv", grey_levels([0, 9]))
    write_film(tmp_path / "a.mov", grey_levels([0, 9]))
    write_film(tmp_path / "a.avi", grey_levels([0, 9]))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for name in ("a.mkv", "a.mov", "a.avi"):
        assert is_film(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "without_ending")
        assert is_film(tmp_path / "without_ending")
    assert not is_film(tmp_path / "a.png")
    assert not is_film(tmp_path / "nothing")
    assert is_film("not/there.MP4")


def refused(path):
    with pytest.raises((DataError, MissingInputError)) as caught:
        film = read_film(path)
        list(sampled_frames(film, 15, 0, 10**6))
    text = str(caught.value)
    assert str(path) in text and "remedy:" in text
    return caught.value


@pytest.mark.parametrize(
    "ending, options",
    [("mov", {}), ("mov", {"movflags": "faststart"}), ("mkv", {}), ("avi", {}), ("mp4", {})],
)
def test_files_that_were_cut_short(tmp_path, ending, options):
    noise = np.random.default_rng(0).integers(0, 256, (90, 16, 24, 3)).astype(np.uint8)
    codec = "libx264" if ending == "mp4" else None
    path = write_film(tmp_path / f"film.{ending}", list(noise), codec=codec, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert isinstance(refused(path), DataError)


def test_damage_in_the_middle_is_found_where_it_is(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 16, 24, 3)).astype(np.uint8)
    path = write_film(tmp_path / "film.mov", list(noise))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    assert "s after its start" in str(refused(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no film at all " * 100,
        b"ffconcat version 1.0\nfile other.mkv\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mkv\n#EXT-X-ENDLIST\n",
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    ],
)
def test_what_is_no_film(tmp_path, content):
    write_film(tmp_path / "other.mkv", grey_levels(LEVELS))
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    assert isinstance(refused(path), DataError)


def test_playlists_open_no_other_file(tmp_path, monkeypatch):
    other = write_film(tmp_path / "other.mkv", grey_levels(LEVELS))
    path = tmp_path / "film.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{other}'\n")
    # Without the list of containers the library follows it, though it was given an open file.
    monkeypatch.setattr("bids_encoder.stimuli.films._OPTIONS", {"safe": "0"})
    assert read_film(path).duration == pytest.approx(1, abs=0.002)
    monkeypatch.undo()
    assert "playlist" in str(refused(path))


def test_a_picture_is_no_film(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "film.mp4", format="PNG")
    refused(tmp_path / "film.mp4")


def test_sound_alone(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        silence = np.zeros((1, 8000), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no picture, only sound" in str(refused(path))


def test_missing_and_not_fetched(tmp_path):
    assert isinstance(refused(tmp_path / "film.mp4"), MissingInputError)
    (tmp_path / "link.mp4").symlink_to(".git/annex/objects/x/y/film.mp4")
    assert "datalad get" in str(refused(tmp_path / "link.mp4"))
    (tmp_path / "pointer.mp4").write_text("/annex/objects/MD5E-s9--0.mp4\n")
    assert "datalad get" in str(refused(tmp_path / "pointer.mp4"))


def test_pictures_of_stimuli(tmp_path):
    film = read_film(write_film(tmp_path / "film.mkv", grey_levels(LEVELS)))
    Image.new("RGB", (9, 9), (7, 7, 7)).save(tmp_path / "a.png")
    stimuli = [Segment(film, 10, 13, 15.0), tmp_path / "a.png", Segment(film, 0, 15, 15.0)]
    stimuli += [Segment(film, 11, 12, 15.0)]
    levels = pictures_of(stimuli, lambda picture: int(picture[0, 0, 0]))
    assert levels == [LEVELS[22], 7, LEVELS[14], LEVELS[22]]


def test_segments_are_told_apart(tmp_path):
    film = read_film(write_film(tmp_path / "film.mkv", grey_levels(LEVELS)))
    other = read_film(write_film(tmp_path / "other.mkv", grey_levels(LEVELS[:-1])))
    segments = [
        Segment(film, 0, 3, 15.0),
        Segment(film, 0, 3, 12.0),
        Segment(film, 0, 4, 15.0),
        Segment(film, 1, 3, 15.0),
        Segment(other, 0, 3, 15.0),
    ]
    assert len({one.digest for one in segments}) == 5
    assert [one.fragment for one in segments[:2]] == ["#t=0,0.2", "#t=0,0.25"]
