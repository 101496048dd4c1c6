"""Stretches of films, which are stimuli of their own, and one picture of each stimulus."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
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


def pictures_of(
    stimuli: Sequence[Path | Segment], use: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Use one picture of each stimulus: a film's is the sample in the middle of the stretch.

    Parameters
    ----------
    stimuli : sequence of Path or Segment
        Files of pictures; stretches of films, each film being decoded once for all.
    use : function of a picture, uint8 (height, width, 3)
        Called for each at once, so that not all need be held whole.

    Returns
    -------
    used : list
        What the function gave for each stimulus.

    Raises
    ------
    MissingInputError, DataError
        A file is missing or damaged.
    """
    found: dict[int, np.ndarray] = {}
    stills = {i: one for i, one in enumerate(stimuli) if isinstance(one, Path)}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # decoding lets go of the lock
        used = pool.map(lambda path: use(read_image(path)), stills.values())
        found |= zip(stills, used, strict=True)
    films: dict[tuple[Film, float], dict[int, list[int]]] = {}
    for i, one in enumerate(stimuli):
        if isinstance(one, Segment):
            middle = (one.first + one.stop) // 2
            films.setdefault((one.film, one.fps), {}).setdefault(middle, []).append(i)
    for (film, fps), wanted in films.items():
        for frame in sampled_frames(film, fps, min(wanted), max(wanted) + 1):
            for sample in range(frame.first, frame.stop):
                found |= {i: use(frame.image) for i in wanted.get(sample, ())}
    return [found[i] for i in range(len(stimuli))]


def _seconds(time: float) -> str:
    return f"{time:.3f}".rstrip("0").rstrip(".")
