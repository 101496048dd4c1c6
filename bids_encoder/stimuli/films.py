"""Films: what a file holds, and the frame that is on the screen at each sample time.

Time is counted from the first frame. Sample k is the frame on the screen k / fps
seconds after it, by the frames' time stamps, so that films of variable rate are
sampled as they were seen. Frames come upright (the rotation noted in the file is
applied), with square pixels, and one after the other: memory does not grow with the
length of a film. Sound is ignored.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from bids_encoder.errors import DataError
from bids_encoder.stimuli.files import digest_file, open_stimulus

FRAMES_PER_SECOND = 15.0
"""How often films are sampled (Eickenberg et al. 2017)."""

_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ogv", ".wmv"}
_SUFFIXES |= {".flv", ".ts", ".mts", ".m2ts", ".3gp", ".asf", ".vob"}
# Containers that hold their frames themselves. The library knows more, among them playlists
# (HLS, DASH, concat), which would make it open whatever other files and addresses they name.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,asf,flv"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1")  # pictures in the container of MP4
_MAX_PIXELS = 100_000_000
_LONGEST = 1e6  # seconds: eleven days
_ROUNDING = 1e-3  # seconds: Matroska rounds time stamps to this
_LACKING = 1.0  # seconds that a film may be shorter than its header says
_LACKING_SHARE = 0.02  # likewise, of its length; headers of AVI are rough


@dataclass(frozen=True)
class Film:
    """What is known of a film before its frames are decoded.

    Attributes
    ----------
    path : Path
    content : str
        SHA-256 of the file.
    duration : float
        Seconds from the first frame to the end of the last one.
    width, height : int
        In pixels, as shown.
    rate : float
        Frames per second, on average.
    """

    path: Path
    content: str
    duration: float
    width: int
    height: int
    rate: float


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame, and the samples at which it is on the screen.

    Attributes
    ----------
    first, stop : int
        Samples from `first` to `stop` - 1.
    image : array (height, width, 3), uint8
        RGB.
    """

    first: int
    stop: int
    image: np.ndarray


def is_film(path: str | Path) -> bool:
    """Whether a file is a film: by its ending, else by how it begins."""
    path = Path(path)
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return (
        (start[4:8] == b"ftyp" and start[8:12] not in _STILL_BRANDS)
        or start[:4] in (b"\x1aE\xdf\xa3", b"OggS")  # Matroska and WebM
        or (start[:4] == b"RIFF" and start[8:12] == b"AVI ")
    )


def read_film(path: str | Path) -> Film:
    """Find out what a film is and whether it is whole.

    The file is read from end to end, but only its first frame is decoded.

    Raises
    ------
    MissingInputError
        No such file, or its content was not fetched (git-annex).
    DataError
        No film, a playlist, no video in it, no frames, or it ends before its header
        says it does.
    """
    path = Path(path)
    content = digest_file(path)
    _refuse_short_avi(path)
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise _without_frames(path)
        image = _DecodedPictures(stream).of(first[1])
    with _opened(path) as (container, stream):
        start, end = _extent(container, stream, path)
        rate = float(stream.average_rate or stream.guessed_rate or 0) or 25.0
    height, width = image.shape[:2]
    return Film(path, content, end - start, width, height, rate)


def n_samples(duration: float, fps: float) -> int:
    """Number of samples, k / fps for k = 0, 1, ..., before the end of a film; at least 1."""
    return max(1, math.ceil(duration * fps - 1e-6))


def sampled_frames(film: Film, fps: float, first: int, stop: int) -> Iterator[Frame]:
    """Decode the frames that are on the screen at some samples.

    Parameters
    ----------
    film : Film
    fps : float
        Samples per second.
    first, stop : int
        Samples from `first` to `stop` - 1; those after the end of the film are left
        out. What comes after them is not decoded.

    Yields
    ------
    frame : Frame
        In order of time, without gap or overlap. A frame that is on the screen at
        several samples comes once, a frame that is on at none does not come.

    Raises
    ------
    MissingInputError, DataError
        As `read_film`; or the film is damaged, or ends early.
    """
    stop = min(stop, n_samples(film.duration, fps))
    if first >= stop:
        return
    with _opened(film.path) as (container, stream):
        pictures = _DecodedPictures(stream)
        shown, reached, zero, latest = None, first, None, 0.0
        for time, frame in _decoded(container, stream, film.path):
            zero = time if zero is None else zero
            # A frame whose time stamp goes back is shown where it stands in the file.
            latest = max(latest, time - zero)
            until = min(stop, max(reached, math.ceil((latest - _ROUNDING) * fps)))
            if shown is not None and until > reached:
                yield Frame(reached, until, pictures.of(shown))
                reached = until
            if reached >= stop:
                return
            shown = frame
        if shown is None:
            raise _without_frames(film.path)
        _refuse_early_end(film, latest, latest + _length(shown, film.rate))
        yield Frame(reached, stop, pictures.of(shown))


@contextmanager
def _opened(path: Path):
    """The container and its video, read through a file that is open already."""
    with open_stimulus(path) as file:
        try:
            with av.open(file, options=_OPTIONS, metadata_errors="replace") as container:
                if not container.streams.video:
                    raise _without_video(path)
                stream = container.streams.video[0]
                size = stream.codec_context
                if size is None or size.width * size.height > _MAX_PIXELS:
                    raise _unknown(path, "a video that cannot be decoded, or is too large")
                stream.thread_type = "AUTO"
                yield container, stream
        except av.FFmpegError as error:
            # What is not on the list of containers is refused as an invalid argument.
            other = error.errno == errno.EINVAL
            found = "a playlist, or a rare format" if other else error.strerror or error
            raise _unknown(path, found) from None


def _decoded(container, stream, path: Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames as they stand in the file, with their time in seconds."""
    time = 0.0
    try:
        for frame in container.decode(stream):
            # Where a file has no time stamp, frames follow each other at the mean rate.
            time = frame.time if frame.time is not None else time
            yield time, frame
            time += _length(frame, float(stream.average_rate or 25))
    except av.FFmpegError as error:
        raise DataError(
            "A film is damaged.",
            file=path,
            place=f"about {time:.1f} s after its start",
            found=error.strerror or error,
            expected="frames that can be decoded",
            remedy="copy or download the file again, or convert it to MP4 (H.264)",
        ) from None


def _length(frame: av.VideoFrame, rate: float) -> float:
    """Seconds for which a frame is shown."""
    if not frame.duration or frame.time_base is None:
        return 1 / rate
    return float(frame.duration * frame.time_base)


def _extent(container, stream, path: Path) -> tuple[float, float]:
    """First moment and end of the video in seconds, from its packets alone."""
    spans: dict[int, list[float]] = {}
    for packet in container.demux():
        time = packet.dts if packet.pts is None else packet.pts
        if time is None or packet.size == 0:
            continue
        length = packet.duration or 0
        if not length and packet.stream.type == "video":
            length = 1 / float((stream.average_rate or 25) * packet.time_base)
        start, end = float(time * packet.time_base), float((time + length) * packet.time_base)
        span = spans.setdefault(packet.stream.index, [start, end])
        span[:] = min(span[0], start), max(span[1], end)
    if stream.index not in spans:
        raise _without_frames(path)
    start, end = spans[stream.index]
    if not end - start <= _LONGEST:
        raise _unknown(path, f"time stamps that are {end - start:.4g} s apart")
    announced = [(float((stream.duration or 0) * stream.time_base), end - start)]
    whole = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    announced.append(((container.duration or 0) / av.time_base, whole[1] - whole[0]))
    for said, found in announced:
        if said - found > max(_LACKING, _LACKING_SHARE * said):
            raise _early(path, found, said)
    return start, end


def _refuse_short_avi(path: Path) -> None:
    """Compare the size in the header of an AVI with that of the file.

    The library takes the length of an AVI from what is there, and would not notice.
    """
    with open_stimulus(path) as file:
        start, size = file.read(12), os.fstat(file.fileno()).st_size
    said = int.from_bytes(start[4:8], "little") + 8
    if start[:4] == b"RIFF" and start[8:12] == b"AVI " and size < said < 2**32:
        raise DataError(
            "A film is shorter than its header says: the file was cut short.",
            file=path,
            found=f"{size:,} bytes",
            expected=f"{said:,} bytes",
            remedy="copy or download the file again",
        )


class _DecodedPictures:
    """Makes pictures of the frames of a film: RGB, with square pixels, upright.

    The tables that turn its colours into RGB are made once, not for every frame.
    """

    def __init__(self, stream):
        aspect = float(stream.sample_aspect_ratio or 1)  # width of a pixel divided by its height
        size = stream.codec_context
        fits = 0.1 <= aspect <= 10 and aspect * size.width * size.height <= _MAX_PIXELS
        self._aspect = aspect if fits else 1.0
        self._convert = VideoReformatter()

    def of(self, frame: av.VideoFrame) -> np.ndarray:
        width = max(1, round(frame.width * self._aspect))
        rgb = self._convert.reformat(frame, width, frame.height, "rgb24")
        return _upright(rgb.to_ndarray(), frame)


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turn or mirror a picture as its display matrix says (in steps of a quarter).

    In the matrix a pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift.
    """
    # PyAV's stub calls the keys text; they are these.
    side_data = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
    if side_data is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return image.transpose(1, 0, 2)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _refuse_early_end(film: Film, last: float, end: float) -> None:
    if film.duration - end > _LACKING:
        raise DataError(
            "A film ends before its header says: its last frames cannot be decoded.",
            file=film.path,
            place=f"{last:.1f} s after its start",
            found=f"frames up to {end:.1f} s",
            expected=f"{film.duration:.1f} s",
            remedy="copy or download the file again",
        )


def _early(path: Path, found: float, said: float) -> DataError:
    return DataError(
        "A film ends before its header says: the file was cut short.",
        file=path,
        place=f"{found:.1f} s after its start",
        found=f"{found:.1f} s of film",
        expected=f"{said:.1f} s",
        remedy="copy or download the file again",
    )


def _without_frames(path: Path) -> DataError:
    return DataError(
        "A film has no frames.",
        file=path,
        found="a video without a frame that can be decoded",
        expected="at least one frame",
        remedy="copy or download the file again",
    )


def _without_video(path: Path) -> DataError:
    return DataError(
        "A film has no picture, only sound or nothing at all.",
        file=path,
        found="no video",
        expected="a film",
        remedy="name the file with the pictures in events.tsv",
    )


def _unknown(path: Path, found: object) -> DataError:
    return DataError(
        "A stimulus is not a film that can be read.",
        file=path,
        found=found,
        expected="a whole film in MP4, MOV, MKV, WebM, AVI, MPEG, Ogg, WMV or FLV (no playlist)",
        remedy="copy or download the file again, or convert it to MP4 (H.264)",
    )
