"""Small films, made as tests need them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_film(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    rate: int = 30,
    codec: str | None = None,
    times: Sequence[int] | None = None,
    sound: bool = False,
    rotation: int = 0,
    pixel_aspect: Fraction | None = None,
    **options: str,
) -> Path:
    """Write pictures (height, width, 3) as a film, lossless by default; `times` in ms."""
    codec = codec or ("png" if path.suffix == ".mov" else "ffv1")
    height, width = pictures[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = {"ffv1": "bgr0", "png": "rgb24"}.get(codec, "yuv420p")
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            silence = np.zeros((1, 8000 * len(pictures) // rate), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.rate, frame.pts = 8000, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def grey_levels(levels: Sequence[int], height: int = 16, width: int = 24) -> list[np.ndarray]:
    """One uniform picture per level."""
    return [np.full((height, width, 3), level, np.uint8) for level in levels]
