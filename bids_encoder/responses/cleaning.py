"""What is taken out of a run before responses are estimated: volumes, and confounds.

A volume that does not count has weight 0. With weights of 0 and 1, weighted least squares
are least squares on the volumes that are left, while onsets and frame times stay where they
were: nothing is interpolated, and nothing moves in time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError
from bids_encoder.responses.confounds import Confounds, Thresholds, load_confounds

if TYPE_CHECKING:
    from bids_encoder.bids.records import BoldRun

log = logging.getLogger(__name__)

_FEWEST = 10  # volumes that a run must keep


@dataclass(frozen=True)
class Cleaning:
    """Which volumes of a run count, and what is projected out of them.

    Attributes
    ----------
    kept : (T,) bool
        Volumes with weight 1; the others have weight 0.
    reasons : mapping of str to int
        How many volumes were left out why: "skipped" (``--skip-volumes``), "non-steady state",
        "scrubbed"; each volume counts once, in this order.
    confounds : Confounds or None
        Of all T volumes.
    """

    kept: np.ndarray
    reasons: Mapping[str, int]
    confounds: Confounds | None = None

    @property
    def n_kept(self) -> int:
        return int(np.count_nonzero(self.kept))

    @property
    def described(self) -> dict[str, object]:
        """For a sidecar."""
        names = () if self.confounds is None else self.confounds.names
        return {
            "Volumes": len(self.kept),
            "VolumesUsed": self.n_kept,
            "VolumesLeftOut": dict(self.reasons),
            "Confounds": list(names),
        }


def clean_run(
    run: BoldRun,
    n_volumes: int,
    *,
    strategy: str = "none",
    thresholds: Thresholds | None = None,
    skip_volumes: int = 0,
) -> Cleaning:
    """Decide what of a run counts.

    Parameters
    ----------
    run : BoldRun
    n_volumes : int
        T.
    strategy, thresholds
        See :func:`bids_encoder.responses.confounds.load_confounds`.
    skip_volumes : int
        Volumes at the start that do not count. ``NumberOfVolumesDiscardedByUser`` and
        ``…ByScanner`` of the raw sidecar are no such volumes: they are not in the image, and
        BIDS onsets count from its first volume.

    Raises
    ------
    UsageError
        The strategy is not one.
    DataError
        The confounds cannot be used, or fewer than ten volumes are left.
    """
    confounds = load_confounds(run, strategy, n_volumes, thresholds)
    skipped = np.arange(n_volumes) < skip_volumes
    none = np.zeros(n_volumes, dtype=bool)
    unsteady = none if confounds is None else confounds.unsteady & ~skipped
    scrubbed = none if confounds is None else confounds.scrubbed & ~unsteady & ~skipped
    reasons = {"skipped": skipped, "non-steady state": unsteady, "scrubbed": scrubbed}
    cleaning = Cleaning(
        ~(skipped | unsteady | scrubbed),
        {name: int(out.sum()) for name, out in reasons.items() if out.any()},
        confounds,
    )
    if cleaning.n_kept < min(_FEWEST, n_volumes):
        why = listed_reasons(cleaning.reasons)
        raise DataError(
            "Too few volumes of this run are left."
            if cleaning.n_kept
            else "No volume of this run is left.",
            file=run.confounds if scrubbed.any() else run.bold,
            place=f"{n_volumes} volumes",
            found=f"{cleaning.n_kept} after those that do not count: {why}",
            expected=f"at least {_FEWEST}",
            remedy="leave this run out, or scrub less (--fd-threshold, --std-dvars-threshold)"
            if scrubbed.any()
            else "leave this run out, or skip fewer (--skip-volumes)",
        )
    return cleaning


def clean_runs(runs: Sequence[BoldRun], n_volumes: Sequence[int], **how) -> tuple[Cleaning, ...]:
    """:func:`clean_run` for several runs, with a warning where most of one does not count."""
    cleanings = tuple(clean_run(run, n, **how) for run, n in zip(runs, n_volumes, strict=True))
    for run, cleaning in zip(runs, cleanings, strict=True):
        if cleaning.n_kept < len(cleaning.kept) / 2:
            log.warning(
                "%s: only %d of %d volumes count (left out: %s).",
                run.name,
                cleaning.n_kept,
                len(cleaning.kept),
                listed_reasons(cleaning.reasons),
            )
    return cleanings


def listed_reasons(reasons: Mapping[str, int]) -> str:
    """``"2 skipped, 5 scrubbed"``."""
    return ", ".join(f"{number} {reason}" for reason, number in reasons.items()) or "none"
