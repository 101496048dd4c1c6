"""Stretches of films, which are stimuli of their own, and one picture of each stimulus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.stimuli.films import Film, sampled_frames
from bids_encoder.stimuli.images import read_image


@dataclass(frozen=True)
class Segment:
    """A stretch of a film; its features are the mean over its samples.

    Attributes
    ----------
    film : Film
    first, stop : int
        Samples from `first` to `stop` - 1; sample k is the frame at k / fps seconds.
    fps : float
        Samples per second.
    """

    film: Film
    first: int
    stop: int
    fps: float

    @property
    def digest(self) -> str:
        """SHA-256 of the content: of the film's file, and which samples of it."""
        text = f"film {self.film.content} samples {self.first} to {self.stop} at {self.fps:g}/s"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def fragment(self) -> str:
        """From when to when, as a media fragment (W3C): ``#t=12,14`` in seconds."""
        return f"#t={_seconds(self.first / self.fps)},{_seconds(self.stop / self.fps)}"


def pictures_of(stimuli: Sequence[Path | Segment]) -> list[np.ndarray]:
    """Return one picture of each stimulus: a film's is the sample in the middle of the stretch.

    Parameters
    ----------
    stimuli : sequence of Path or Segment
        Files of pictures; stretches of films, each of which is decoded once for all.

    Returns
    -------
    pictures : list of arrays (height, width, 3), uint8

    Raises
    ------
    MissingInputError, DataError
        A file is missing or damaged.
    """
    pictures: dict[int, np.ndarray] = {}
    stills = [i for i, one in enumerate(stimuli) if isinstance(one, Path)]
    with ThreadPoolExecutor(4) as pool:  # decoding lets go of the lock
        pictures |= zip(stills, pool.map(lambda i: read_image(stimuli[i]), stills), strict=True)
    films: dict[tuple[Film, float], dict[int, list[int]]] = {}
    for i, one in enumerate(stimuli):
        if isinstance(one, Segment):
            middle = (one.first + one.stop) // 2
            films.setdefault((one.film, one.fps), {}).setdefault(middle, []).append(i)
    for (film, fps), wanted in films.items():
        for frame in sampled_frames(film, fps, 0, max(wanted) + 1):
            for sample in range(frame.first, frame.stop):
                for i in wanted.get(sample, ()):
                    pictures[i] = frame.image
    return [pictures[i] for i in range(len(stimuli))]


def _seconds(time: float) -> str:
    return f"{time:.3f}".rstrip("0").rstrip(".")
