"""What runs have shown, and in which order: what folds of an event design are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bids_encoder.responses.classes import Classes
from bids_encoder.responses.grouping import JUMPS, SEPARATE
from bids_encoder.responses.groups import blocks, units_of


@dataclass(frozen=True)
class ShownRun:
    """What a run has shown.

    Attributes
    ----------
    name : str
    session : str or None
    stimuli : tuple of str
        In the order of the presentations.
    onsets : tuple of float, or None
        Of the presentations, in seconds; None where nothing says when they were.
    """

    name: str
    session: str | None
    stimuli: tuple[str, ...]
    onsets: tuple[float, ...] | None

    def take(self, stimuli: frozenset[str]) -> ShownRun:
        """Its presentations of some stimuli."""
        kept = [k for k, one in enumerate(self.stimuli) if one in stimuli]
        return replace(
            self,
            stimuli=tuple(self.stimuli[k] for k in kept),
            onsets=None if self.onsets is None else tuple(self.onsets[k] for k in kept),
        )


def order_of(shown: Sequence[ShownRun]) -> list[str]:
    """Stimuli in the order of their first showing."""
    return list(dict.fromkeys(stimulus for run in shown for stimulus in run.stimuli))


def names_of(shown: Sequence[ShownRun]) -> tuple[list[str], list[str | None]]:
    """Names of runs, and of their sessions."""
    return [run.name for run in shown], [run.session for run in shown]


def share_linked(shown: Sequence[ShownRun]) -> float:
    """Share of the stimuli that several sessions (or runs) show."""
    units, _ = units_of(*names_of(shown))
    seen: dict[str, set[int]] = {}
    for run, unit in zip(shown, units.tolist(), strict=True):
        for stimulus in run.stimuli:
            seen.setdefault(stimulus, set()).add(unit)
    return float(np.mean([len(where) > 1 for where in seen.values()]))


def has_common_order(shown: Sequence[ShownRun], order: Sequence[str], n_folds: int) -> bool:
    """Whether blocks of the order of first showing are blocks in each run, nearly."""
    block = dict(zip(order, blocks(len(order), n_folds).tolist(), strict=True))
    jumps = sum(
        int(np.count_nonzero(np.diff([block[stimulus] for stimulus in run.stimuli])))
        for run in shown
    )
    return jumps <= JUMPS * n_folds * len(shown)


def in_clumps(of_run: Sequence[Classes]) -> bool:
    """Whether presentations of one kind follow each other, so that they share noise."""
    for number in range(len(of_run[0].columns)):
        shown = [np.array([values[number] for values in run.values]) for run in of_run]
        _, counts = np.unique(np.concatenate(shown), return_counts=True)
        chance = np.square(counts / counts.sum()).sum()
        alike = np.concatenate([run[1:] == run[:-1] for run in shown]).mean()
        if alike - chance >= SEPARATE * (1 - chance):
            return True
    return False


def spacing_of(shown: Sequence[ShownRun]) -> float:
    """Seconds from one presentation to the next, median; 0 where no onsets are known."""
    known = [run.onsets for run in shown if run.onsets is not None]
    gaps = np.concatenate([np.zeros(0), *(np.diff(np.sort(onsets)) for onsets in known)])
    return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0
