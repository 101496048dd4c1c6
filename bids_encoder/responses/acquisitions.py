"""Runs that are one acquisition under several names: their copies would count as repeats.

Reconstructions, or other versions, of one acquisition share its noise. Averaged as repeats they
feign a noise ceiling near 1, and on both sides of a split they feign predictions. Names do not
always say so (``acq-raw`` and ``acq-dico`` may be one acquisition, ``acq-hi`` and ``acq-lo`` two),
but the noise does: from one volume to the next, what has been measured twice in truth changes in
unlike ways, even where the same is shown at the same times.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.bids.records import BetasRun
from bids_encoder.errors import DataError
from bids_encoder.responses.nifti import open_image, volumes
from bids_encoder.responses.read_bold import BoldInfo
from bids_encoder.responses.surface_bold import cifti_values
from bids_encoder.surfaces.gifti import maps

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation
    from bids_encoder.bids.records import BoldRun, Run

log = logging.getLogger(__name__)

# Median over voxels of the correlation of successive differences from which on two runs are one.
# Of two acquisitions it is near 0 (below 0.2 even where a stimulus drives most voxels alike).
SAME_NOISE = 0.5
SAME_MAPS = 0.9  # of precomputed responses, which signal may dominate
_APART = ("ses", "run")  # who names these claims another acquisition
_SKIPPED = 5  # volumes at the start, whose signal falls in every run
_FEWEST = 10  # differences that a correlation needs
_MOST_BYTES = 200_000_000  # of the volumes that are looked at, as stored
_LEAST_VOLUMES, _MOST_VOLUMES = 40, 120
_MOST_VOXELS = 20_000
_WORDS = {"acq": "acquisition", "rec": "reconstruction", "dir": "direction", "run": "run",
          "ses": "session", "ce": "ceagent", "task": "task"}  # fmt: skip


def refuse_copies(
    runs: Sequence[BoldRun],
    infos: Sequence[BoldInfo],
    presentations: Sequence[Sequence[Presentation]],
) -> None:
    """Refuse versions of one acquisition, and warn of a run that looks like a copy of another.

    Only runs that show the same at the same times, and are as long, are looked at: the first
    volumes of each.

    Parameters
    ----------
    runs, infos, presentations : sequences, one entry a run

    Raises
    ------
    DataError
        Two runs of one session and number share their noise.
    """
    alike: dict[object, list[int]] = {}
    for number, (info, shown) in enumerate(zip(infos, presentations, strict=True)):
        times = tuple(sorted((one.stimulus, round(one.onset, 1)) for one in shown))
        key = (info.shape, info.n_volumes, round(info.repetition_time, 3), times)
        alike.setdefault(key, []).append(number)
    for members in _several(alike):
        changes = [_changes(runs[number], infos[number]) for number in members]
        _compare([runs[number] for number in members], changes, SAME_NOISE)


class MapCopies:
    """Looks for copies among precomputed responses: runs whose maps show the same in one order.

    Parameters
    ----------
    runs : sequence of Run
    stimuli : sequence of sequences of str
        What the maps of each run show.
    n_values : int
        Places of a map, of which some are kept.
    """

    def __init__(self, runs: Sequence[Run], stimuli: Sequence[Sequence[str]], n_values: int):
        self.runs = runs
        alike: dict[object, list[int]] = {}
        for number, shown in enumerate(stimuli):
            alike.setdefault(tuple(shown), []).append(number)
        self.alike = _several(alike)
        self.step = max(1, n_values // _MOST_VOXELS)
        places = len(range(0, n_values, self.step))
        self.kept = {
            number: np.full((min(len(stimuli[number]), _MOST_VOLUMES), places), np.nan, np.float32)
            for members in self.alike
            for number in members
        }

    def add(self, number: int, maps: np.ndarray, rows: Sequence[int], start: int) -> None:
        """Take some maps of a run, (m, places from ``start`` on), which are these rows of it."""
        kept = self.kept.get(number)
        if kept is None:
            return
        first = -start % self.step
        columns = maps[:, first :: self.step]
        here = (start + first) // self.step
        for row, values in zip(rows, columns, strict=True):
            if row < len(kept):
                kept[row, here : here + len(values)] = values

    def check(self) -> None:
        """Refuse copies of one session and number, and warn of others.

        Raises
        ------
        DataError
            Two runs of one session and number share their noise.
        """
        for members in self.alike:
            changes = [np.diff(self.kept[number], axis=0) for number in members]
            _compare([self.runs[number] for number in members], changes, SAME_MAPS)


def _several(alike: Mapping[object, list[int]]) -> list[list[int]]:
    return [members for members in alike.values() if len(members) > 1]


def _compare(runs: Sequence[Run], changes: Sequence[np.ndarray], suspicious: float) -> None:
    for one, other in itertools.combinations(range(len(runs)), 2):
        first, second = runs[one], runs[other]
        claimed = any(first.entities.get(name) != second.entities.get(name) for name in _APART)
        shared = shared_noise(changes[one], changes[other])
        if not claimed and shared >= SAME_NOISE:
            raise one_acquisition(first, second, shared)
        if claimed and shared >= suspicious:
            log.warning(
                "%s looks like a copy of %s: %s. If it is one, noise ceilings and scores are far "
                "too high; leave one of them out.",
                second.name,
                first.name,
                _in_words(shared),
            )


def shared_noise(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two measurements change from row to row.

    Parameters
    ----------
    first, second : (n, V) arrays
        Differences of successive volumes (or maps).

    Returns
    -------
    float
        Median over voxels of the Pearson correlation; NaN with fewer than ten rows, or where
        nothing varies.
    """
    if len(first) < _FEWEST or first.shape != second.shape:
        return float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (x - x.mean(axis=0) for x in (first, second))
        r = (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    r = r[np.isfinite(r)]
    return float(np.median(r)) if r.size else float("nan")


def one_acquisition(first: Run, second: Run, shared: float) -> DataError:
    """The error for two runs that are one acquisition, with the filter that chooses one.

    Parameters
    ----------
    first, second : Run
    shared : float
        What :func:`shared_noise` found.
    """
    return DataError(
        "Two runs are versions of one acquisition: they would count as repeats, with the same "
        "noise.",
        file=second.bold,
        place=second.name,
        found=f"also {first.bold.name}; {_in_words(shared)}",
        expected="one version of each acquisition",
        remedy="choose one with --bids-filter-file, for example "
        + filter_for(
            first.entities, second.entities, "betas" if isinstance(first, BetasRun) else "bold"
        ),
    )


def _in_words(shared: float) -> str:
    return (
        "the same is shown at the same times, and changes from one image to the next correlate "
        f"with r = {shared:.2f} (median over places; of two acquisitions: about 0)"
    )


def filter_for(first: Mapping[str, str], second: Mapping[str, str], kind: str) -> str:
    """Content of a BIDS filter file that keeps the first of two, by the entities that differ."""
    differing = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    query = {_WORDS.get(name, name): first.get(name) for name in differing}
    return json.dumps({kind: query})


def _changes(run: BoldRun, info: BoldInfo) -> np.ndarray:
    """Differences of successive volumes of a run at its start: (n, places) float32."""
    values = _first_volumes(run, info)[_SKIPPED:]
    values = values[:, :: max(1, values.shape[1] // _MOST_VOXELS)]
    return np.diff(values, axis=0)


def _first_volumes(run: BoldRun, info: BoldInfo) -> np.ndarray:
    size = 4 * int(np.prod(info.shape))
    limit = int(np.clip(_MOST_BYTES // size, _LEAST_VOLUMES, _MOST_VOLUMES))
    if run.form == "gifti":
        return maps(run.bold)[:limit]
    if run.form == "cifti":
        return cifti_values(run.bold)[:limit]
    image = open_image(run.bold)
    step = max(1, int(np.prod(info.shape)) // (4 * _MOST_VOXELS))
    found = [volume.ravel()[::step] for volume in volumes(image, run.bold, limit)]
    values = np.array(found, dtype=np.float32)
    # Outside of the head there is noise of the scanner, or nothing.
    strength = np.abs(values).mean(axis=0)
    return np.where(strength >= np.median(strength), values, np.nan)
