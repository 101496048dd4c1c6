"""From the runs of one task to its response matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import naming
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.assemble import (
    Responses,
    continuous_matrix,
    event_matrix,
)
from bids_encoder.responses.cleaning import Cleaning
from bids_encoder.responses.continuous import continuous_responses
from bids_encoder.responses.events_design import event_responses
from bids_encoder.responses.grids import load_values
from bids_encoder.responses.hrf_bases import make_basis
from bids_encoder.responses.means import Averaging, Halves, repeated_among, unit_by_unit
from bids_encoder.responses.rank1_runs import RANK1, Shapes, rank1_design, rank1_responses
from bids_encoder.responses.read_bold import BoldInfo

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation
    from bids_encoder.bids.records import BoldRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """Responses, and what the brain looks like under them.

    Attributes
    ----------
    responses : Responses
    mean_bold : (V,) float32
        Mean over runs and their volumes that count, in the units of the images; a background
        for maps.
    halves : Halves or None
        Two independent measurements of stimuli that are repeated across runs.
    shapes : Shapes or None
        The haemodynamic response of each voxel, where it was estimated.
    """

    responses: Responses
    mean_bold: np.ndarray
    halves: Halves | None = None
    shapes: Shapes | None = None


@dataclass(frozen=True)
class _Input:
    """One run: its files, what was shown, and what is to be taken out."""

    run: BoldRun
    info: BoldInfo
    shown: Sequence[Presentation]
    cleaning: Cleaning

    @property
    def kept(self) -> np.ndarray | None:
        return None if self.cleaning.kept.all() else self.cleaning.kept

    def bold(self, grid: Grid) -> np.ndarray:
        """The volumes that count, (K, V)."""
        bold = load_values(self.run, grid)
        return bold if self.kept is None else bold[self.kept]

    def unwanted(self, high_pass: float) -> dict[str, object]:
        """Drift, confounds and volumes that count, as arguments."""
        confounds = self.cleaning.confounds
        return {
            "high_pass": None if confounds is not None and confounds.has_drift else high_pass,
            "confounds": None if confounds is None else confounds.values,
            "kept": self.kept,
        }


def measure(
    runs: Sequence[BoldRun],
    infos: Sequence[BoldInfo],
    presentations: Sequence[Sequence[Presentation]],
    grid: Grid,
    *,
    kind: str,
    hrf: str = "spm",
    high_pass: float = 0.01,
    cleanings: Sequence[Cleaning],
    standardize: str = "session",
    halves_of: Collection[str] = (),
    squares_of: Collection[str] | None = None,
    mem_bytes: int = 4 * 10**9,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Read the runs one after the other and estimate what the voxels did.

    Parameters
    ----------
    runs, infos, presentations : sequences, one entry a run
    grid : Grid
        Of the runs (see :func:`bids_encoder.responses.grids.common_grid`).
    kind : {"events", "continuous"}
        One row per stimulus, or one per volume.
    hrf : str
        "spm", "glover", or one of ``rank1_runs.RANK1``: estimated for each voxel from all runs
        together.
    high_pass, standardize
        See :func:`event_responses`, :func:`event_matrix`.
    cleanings : sequence of Cleaning
        Which volumes of each run count, and its confounds.
    halves_of : collection of str
        Stimuli that are also wanted as two measurements, where runs repeat them.
    squares_of : collection of str, optional
        See :func:`event_matrix`.
    mem_bytes : int
        For the BOLD of all runs at once, where that is needed; else they are read repeatedly.
    device : str
        "cpu" or "cuda".
    on_progress : callable, optional
        Called with the numbers of runs done and of all runs.

    Raises
    ------
    DataError, MissingInputError
        As the reading of BOLD and confounds raises them.
    """
    inputs = [_Input(*one) for one in zip(runs, infos, presentations, cleanings, strict=True)]
    mean_bold = np.zeros(grid.n_values, dtype=np.float64)
    seen: set[int] = set()

    def read(number: int) -> np.ndarray:
        bold = inputs[number].bold(grid)
        if number not in seen:
            seen.add(number)
            mean_bold[:] += bold.mean(axis=0, dtype=np.float64) / len(inputs)
        if on_progress:
            on_progress(len(seen), len(inputs))
        return bold

    if kind == "continuous":
        return Measured(_time_series(inputs, read, grid, high_pass), mean_bold.astype(np.float32))
    averaging = Averaging(
        [one.run.name for one in inputs],
        [one.run.session for one in inputs],
        grid.n_values,
        len({p.stimulus for one in inputs for p in one.shown}),
        standardize=standardize,
        squares_of=squares_of,
        halves_of=repeated_among(
            halves_of, [s for one in inputs for s in {p.stimulus for p in one.shown}]
        ),
        in_pieces=hrf in RANK1,
    )
    shapes = None
    with _said_once() as on_separate:
        if hrf in RANK1:
            basis = make_basis(RANK1[hrf], max(info.repetition_time for info in infos))
            designs = [
                _named(
                    one, rank1_design, one.shown, one.info.n_volumes, one.info.repetition_time,
                    one.run.start_time, basis, **one.unwanted(high_pass), name=one.run.name,
                    on_separate=on_separate,
                )
                for one in inputs
            ]  # fmt: skip
            for number, (stimuli, _) in enumerate(designs):
                averaging.begin(number, stimuli)
            shapes, height = rank1_responses(
                [partial(read, number) for number in range(len(inputs))],
                [design for _, design in designs],
                basis,
                grid.n_values,
                lambda number, start, betas: averaging.add(number, betas, start=start),
                mem_bytes=mem_bytes,
                device=device,
            )
            means = averaging.finish(height)
        else:
            for number in unit_by_unit(averaging.units):
                one = inputs[number]
                stimuli, betas = _named(
                    one, event_responses, read(number), one.shown, one.info.repetition_time,
                    one.run.start_time, hrf=hrf, **one.unwanted(high_pass), name=one.run.name,
                    on_separate=on_separate,
                )  # fmt: skip
                averaging.begin(number, stimuli)
                averaging.add(number, betas)
                del betas
            means = averaging.finish()
    responses = event_matrix(means, grid, averaging.names)
    return Measured(responses, mean_bold.astype(np.float32), means.halves, shapes)


def _named(one: _Input, estimate: Callable, *arguments, **keywords):
    """What a function makes of a run; where it cannot, the message names the run."""
    with naming(file=one.info.path, place=one.run.name):
        return estimate(*arguments, **keywords)


def _time_series(
    inputs: Sequence[_Input], read: Callable[[int], np.ndarray], grid: Grid, high_pass: float
) -> Responses:
    """All volumes that count; each run goes into its place, so that there is no second copy."""
    ends = np.cumsum([0, *(one.cleaning.n_kept for one in inputs)])
    values = np.empty((ends[-1], grid.n_values), dtype=np.float32)
    for number, one in enumerate(inputs):
        here = values[ends[number] : ends[number + 1]]
        here[:] = _named(
            one, continuous_responses, read(number), one.info.repetition_time,
            **one.unwanted(high_pass),
        )  # fmt: skip
    return continuous_matrix(values, grid)


@contextmanager
def _said_once() -> Iterator[Callable[[str], None]]:
    """Collect what is said of runs, which are mostly alike, and say it in one line."""
    words: list[str] = []
    yield words.append
    if words:
        also = f" (and {len(words) - 1} more runs likewise)" if len(words) > 1 else ""
        logger.warning(words[0] + also)
