"""What was on the screen: which files, which films, and which stretches of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_encoder.bids.events import Presentation
from bids_encoder.features.film_time import cut_films, warn_of_ends, whole_clips, with_durations
from bids_encoder.stimuli.files import digest_file
from bids_encoder.stimuli.films import Film, is_film, read_film
from bids_encoder.stimuli.segments import Segment

log = logging.getLogger(__name__)

Shown = tuple[tuple[Presentation, ...], ...]  # what each run has shown


@dataclass(frozen=True)
class Screen:
    """What the runs of one analysis have shown.

    Attributes
    ----------
    presentations : tuple of tuples of Presentation
        One tuple a run. Films whose duration the table does not know have their own.
    files : dict of str to Path
        File of each stimulus, by its id. Files with the same content are one stimulus.
    films : dict of str to Film
        Those of them that are films.
    stamp : str
        Changes when the content of a stimulus does.
    """

    presentations: Shown
    files: dict[str, Path]
    films: dict[str, Film]
    stamp: str

    def clips(self, fps: float) -> dict[str, Path | Segment]:
        """The stimuli of an event design: films are taken as far as they were shown."""
        warn_of_ends(self.presentations, self.films)
        return {**self.files, **whole_clips(self.presentations, self.films, fps)}

    def pieces(
        self,
        n_volumes: Sequence[int],
        repetition_times: Sequence[float],
        start_times: Sequence[float],
        delays: Sequence[float],
        fps: float,
    ) -> tuple[Shown, dict[str, Path | Segment]]:
        """What is on the screen in a continuous design, and the stimuli: films are cut.

        See :func:`bids_encoder.features.film_time.cut_films`.
        """
        warn_of_ends(self.presentations, self.films)
        screen, segments = cut_films(
            self.presentations, self.films, n_volumes, repetition_times, start_times, delays, fps
        )
        stills = {name: path for name, path in self.files.items() if name not in self.films}
        return screen, {**stills, **segments}


def read_screen(
    presentations: Sequence[Sequence[Presentation]],
    files: Mapping[str, Path],
    fps: float,
    known: dict[Path, Film],
) -> Screen:
    """Look at the files of all stimuli.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        One sequence a run.
    files : mapping of str to Path
        File of each stimulus.
    fps : float
        Samples per second of films.
    known : dict of Path to Film
        Films that have been looked at; grows.

    Raises
    ------
    MissingInputError, DataError
        A file is missing; or it is a film that is damaged, cut short, or none.
    """
    films: dict[str, Film] = {}
    digests: dict[str, str] = {}
    for stimulus in dict.fromkeys(one.stimulus for shown in presentations for one in shown):
        path = files[stimulus]
        if path in known or is_film(path):
            films[stimulus] = known[path] = known.get(path) or read_film(path)
            digests[stimulus] = f"{films[stimulus].content} at {fps:g}/s"
        else:
            digests[stimulus] = digest_file(path)
    endless = sum(
        one.duration == 0 and one.stimulus in films for seen in presentations for one in seen
    )
    if endless:
        log.info("%d films without a duration in the events are as long as they are.", endless)
    # Copies of a picture under several names are one stimulus, or it would be on both sides of
    # a cross-validation split.
    first = {digest: stimulus for stimulus, digest in reversed(digests.items())}
    named = [
        [replace(one, stimulus=first[digests[one.stimulus]]) for one in shown]
        for shown in presentations
    ]
    return Screen(
        presentations=tuple(with_durations(shown, films) for shown in named),
        files={stimulus: files[stimulus] for stimulus in first.values()},
        films={stimulus: films[stimulus] for stimulus in first.values() if stimulus in films},
        stamp=hashlib.sha256(str(sorted(digests.items())).encode()).hexdigest(),
    )
