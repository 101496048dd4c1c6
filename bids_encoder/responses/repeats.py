"""Two independent measurements of stimuli that several runs show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.responses.assemble import EventRun, standardized_estimates


@dataclass(frozen=True)
class Halves:
    """Responses to the same stimuli, from two halves of the runs that show them.

    Attributes
    ----------
    stimuli : tuple of m str
    first, second : (m, V) float32
        Standardised as the response matrix is, and averaged within the half.
    """

    stimuli: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray


def split_halves(
    runs: Sequence[EventRun], stimuli: Collection[str], *, standardize: str = "session"
) -> Halves | None:
    """Average every other estimate of each stimulus, and the rest.

    Parameters
    ----------
    runs : sequence of EventRun
    stimuli : collection of str
        Which stimuli are wanted; those with one estimate only are left out.
    standardize : {"session", "run", "none"}
        As for :func:`bids_encoder.responses.assemble.event_matrix`.

    Returns
    -------
    Halves or None
        None where fewer than four of the stimuli are repeated.
    """
    stimuli = frozenset(stimuli)
    shown = Counter(stimulus for run in runs for stimulus in run.stimuli)
    repeated = [name for name, times in shown.items() if times > 1 and name in stimuli]
    if len(repeated) < 4:
        return None
    row_of = {name: row for row, name in enumerate(repeated)}
    sums = np.zeros((2, len(repeated), runs[0].betas.shape[1]), dtype=np.float32)
    counts = np.zeros((2, len(repeated)), dtype=np.float32)
    for names, betas in standardized_estimates(runs, standardize):
        for name, beta in zip(names, betas, strict=True):
            row = row_of.get(name)
            if row is not None:
                half = int(counts[:, row].sum()) % 2
                sums[half, row] += beta
                counts[half, row] += 1
    first, second = sums / counts[:, :, None]
    return Halves(tuple(repeated), first, second)
