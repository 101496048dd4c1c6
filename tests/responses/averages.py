"""Means of estimates that are all there, as tests have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.responses import assemble
from bids_encoder.responses.means import Averaging, Means, unit_by_unit


@dataclass(frozen=True)
class EventRun:
    """Estimates of one run: `betas` (n_stimuli, V), rows in the order of `stimuli`."""

    name: str
    session: str | None
    stimuli: tuple[str, ...]
    betas: np.ndarray


def average(runs: Sequence[EventRun], *, width: int | None = None, **how) -> Means:
    """The means of the estimates, given run by run, or by blocks of `width` voxels."""
    n_voxels = runs[0].betas.shape[1]
    averaging = Averaging(
        [run.name for run in runs],
        [run.session for run in runs],
        n_voxels,
        len({stimulus for run in runs for stimulus in run.stimuli}),
        in_pieces=width is not None,
        **how,
    )
    order = unit_by_unit(averaging.units)
    for number in order:
        averaging.begin(number, runs[number].stimuli)
    for start in range(0, n_voxels, width or n_voxels):
        for number in order:
            averaging.add(
                number, runs[number].betas[:, start : start + (width or n_voxels)], start=start
            )
    return averaging.finish()


def event_matrix(runs: Sequence[EventRun], grid, **how) -> assemble.Responses:
    return assemble.event_matrix(
        average(runs, **how),
        grid,
        [run.name for run in runs],
    )
