"""What the tests of a group compare with: each participant's own level of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.derivatives.read import SavedAnalysis, read_table
from bids_encoder.fingerprints.agreement import ALPHA, MAX_EXACT, MIN_PARTICIPANTS, N_RANDOM

MEASURES = ("slope", "bestlayer")


@dataclass(frozen=True, eq=False)
class GroupChance:
    """Scores, slopes and places of the best layer of n participants where nothing is predicted.

    Attributes
    ----------
    r : (n, L) array
        Mean score of each layer.
    mean : dict of str to (n,) array
        Of "slope" and "bestlayer" (its place), by participant.
    variance : dict of str to float
        Over permutations, mean over participants.
    """

    r: np.ndarray
    mean: dict[str, np.ndarray]
    variance: dict[str, float]


def test_files(one: SavedAnalysis) -> dict[str, Path] | None:
    """The p-map and the table of chance of a participant; None where they are not both there."""
    sides = {kind: one.matching_sidecar(kind) for kind in ("p", "chance")}
    if any(side is None for side in sides.values()):
        return None
    return {f"{kind}{name}": path for kind in sides for name, path in one.files(kind).items()}


def why_untested(members: Sequence[SavedAnalysis]) -> str | None:
    """Why these participants allow no test, in a sentence; None where they do."""
    n = len(members)
    if n < MIN_PARTICIPANTS:
        return (
            f"No p-values: with {n} participant{'s' * (n != 1)} flipping signs cannot reach "
            f"p = {ALPHA}; it takes {MIN_PARTICIPANTS}."
        )
    lacking = [f"sub-{one.names['sub']}" for one in members if test_files(one) is None]
    if lacking:
        few = ", ".join(lacking[:10]) + (", …" if len(lacking) > 10 else "")
        return (
            f"No p-values: {few} {'have' if len(lacking) > 1 else 'has'} no permutations of "
            "their own, which the group is compared with (--n-permutations 0, or results of an "
            "older version)."
        )
    return None


def how_tested(members: Sequence[SavedAnalysis]) -> str:
    """Which test these participants allow, in words."""
    if reason := why_untested(members):
        return reason
    n = len(members)
    ways = f"all {2**n} ways" if n <= MAX_EXACT else f"{N_RANDOM} random ways"
    return (
        f"p-values from {ways} of flipping the signs of {n} participants, each compared with what "
        "permuted responses give. Slope and best layer are tested where encoding is significant "
        f"in the group (p ≤ {ALPHA}, corrected for all voxels)."
    )


def read_chance(members: Sequence[SavedAnalysis]) -> GroupChance:
    """Read the tables of chance, which are all there (see `why_untested`)."""
    tables = [read_table(one.path("chance")) for one in members]
    r = [
        table[table["measure"] == "r"].set_index("layer")["mean"].reindex(members[0].layers)
        for table in tables
    ]
    rows = [table.set_index("measure") for table in tables]
    return GroupChance(
        np.stack([one.to_numpy(float) for one in r]),
        {name: np.array([float(one["mean"][name]) for one in rows]) for name in MEASURES},
        {
            name: float(np.mean([float(one["deviation"][name]) ** 2 for one in rows]))
            for name in MEASURES
        },
    )
