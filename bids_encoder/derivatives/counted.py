"""Which places the counts, means and pictures of an analysis are about, and how that is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.grids.grid import Grid

NOT_TESTED = "Not tested for significance (no p-values were asked for)"


@dataclass(frozen=True, eq=False)
class Counted:
    """The places that count: predicted better than chance, or all that have a score.

    Attributes
    ----------
    where : (V,) bool array
        Predicted better than chance; where nothing was tested, all places with a score.
    rate : float or None
        The false discovery rate at which they passed; None where nothing was tested.
    places : str
        What a place is called: voxels, vertices.
    """

    where: np.ndarray
    rate: float | None = None
    places: str = "voxels"

    @property
    def tested(self) -> bool:
        """Whether there are p-values."""
        return self.rate is not None

    @property
    def number(self) -> int:
        """How many places count."""
        return int(np.count_nonzero(self.where))

    @property
    def none_passed(self) -> bool:
        """Whether all was tested and nothing found."""
        return self.tested and not self.where.any()

    @property
    def rule(self) -> str:
        """Which places count, in words that go on from "Number of" or "Mean over"."""
        if not self.tested:
            return f"all scored {self.places}, not tested"
        return f"{self.places} predicted better than chance (q ≤ {self.rate:g})"

    @property
    def said(self) -> str:
        """How many places count, and which they are."""
        if not self.tested:
            return f"all {self.number} scored {self.places}, not tested"
        return f"{self.number} {self.rule}"

    @property
    def drawn(self) -> str:
        """What the caption of a picture says of the places in it."""
        return self.note if self.none_passed else f"Drawn: {self.rule}."

    @property
    def note(self) -> str:
        """What a picture of these places must say; empty where it shows what was found."""
        if not self.tested:
            return f"{NOT_TESTED}: all scored {self.places} are drawn, those of pure noise too."
        if self.none_passed:
            return f"No {self.places} are predicted better than chance (q ≤ {self.rate:g})."
        return ""


def counted_in(written: SavedAnalysis, grid: Grid) -> Counted:
    """The places that count in an analysis, from its files.

    Parameters
    ----------
    written : SavedAnalysis
    grid : Grid
        Of the analysis.
    """
    side = written.matching_sidecar("predicted")
    if side is None:
        scores = [grid.values_of(written.images("r", layer)) for layer in written.layers]
        return Counted(np.isfinite(np.asarray(scores)).any(axis=0), None, written.places)
    where = grid.values_of(written.images("predicted")) > 0
    return Counted(where, side["FalseDiscoveryRate"], written.places)
