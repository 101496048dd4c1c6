"""From the runs of one task to its response matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.grids.grid import Grid
from bids_encoder.responses.assemble import (
    ContinuousRun,
    EventRun,
    Responses,
    continuous_matrix,
    event_matrix,
)
from bids_encoder.responses.bold import BoldInfo
from bids_encoder.responses.continuous import continuous_responses
from bids_encoder.responses.events_design import event_responses
from bids_encoder.responses.grids import load_values
from bids_encoder.responses.repeats import Halves, split_halves
from bids_encoder.responses.volumes import Cleaning

if TYPE_CHECKING:
    from bids_encoder.bids.dataset import Run
    from bids_encoder.bids.events import Presentation

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
    """

    responses: Responses
    mean_bold: np.ndarray
    halves: Halves | None = None


def measure(
    runs: Sequence[Run],
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
    hrf, high_pass, standardize
        See :func:`event_responses`, :func:`event_matrix`.
    cleanings : sequence of Cleaning
        Which volumes of each run count, and its confounds.
    halves_of : collection of str
        Stimuli that are also wanted as two measurements, where runs repeat them.
    squares_of : collection of str, optional
        See :func:`event_matrix`.
    on_progress : callable, optional
        Called with the numbers of runs done and of all runs.

    Raises
    ------
    DataError, MissingInputError
        As the reading of BOLD and confounds raises them.
    """
    estimated: list = []
    separate: list[str] = []
    mean_bold = np.zeros(grid.n_values, dtype=np.float64)
    for number, (run, info, shown, cleaning) in enumerate(
        zip(runs, infos, presentations, cleanings, strict=True), start=1
    ):
        bold = load_values(run, grid)
        kept = None if cleaning.kept.all() else cleaning.kept
        bold = bold if kept is None else bold[kept]
        mean_bold += bold.mean(axis=0, dtype=np.float64) / len(runs)
        unwanted = cleaning.confounds
        drift = None if unwanted is not None and unwanted.has_drift else high_pass
        nuisance = None if unwanted is None else unwanted.values
        if kind == "continuous":
            values = continuous_responses(
                bold, info.repetition_time, high_pass=drift, confounds=nuisance, kept=kept
            )
            estimated.append(
                ContinuousRun(run.name, run.session, values, shown, info.repetition_time, kept)
            )
        else:
            stimuli, betas = event_responses(
                bold, shown, info.repetition_time, run.start_time,
                hrf=hrf, high_pass=drift, confounds=nuisance, kept=kept, name=run.name,
                on_separate=separate.append,
            )  # fmt: skip
            estimated.append(EventRun(run.name, run.session, stimuli, betas))
        if on_progress:
            on_progress(number, len(runs))
    if separate:  # one line for all runs, which are mostly alike
        also = f" (and {len(separate) - 1} more runs likewise)" if len(separate) > 1 else ""
        logger.warning(separate[0] + also)
    background = mean_bold.astype(np.float32)
    if kind == "continuous":
        return Measured(continuous_matrix(estimated, grid), background)
    responses = event_matrix(estimated, grid, standardize=standardize, squares_of=squares_of)
    return Measured(
        responses, background, split_halves(estimated, halves_of, standardize=standardize)
    )
