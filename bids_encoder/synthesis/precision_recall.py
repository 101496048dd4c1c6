"""How well a synthesized contrast finds the voxels of the measured one.

The measured contrast, thresholded at t > 3, says which voxels are to be found; the
synthesized one, thresholded at every value in turn, says which are. Of the voxels above a
threshold, precision is the share that is to be found; of those to be found, recall is the
share above it (Eickenberg et al. 2017, NeuroImage, section "Synthesizing contrasts").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEASURED_AT = 3.0
LEAST_RECALL = 0.5


@dataclass(frozen=True)
class Curve:
    """Precision and recall at m falling thresholds.

    Attributes
    ----------
    threshold, precision, recall : (m,) float64
        Voxels with a value of at least the threshold are found. Recall rises.
    n_voxels : int
        Voxels with both a synthesized and a measured value.
    n_relevant : int
        Those to be found. Where there are none, precision and recall are empty.
    """

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    n_voxels: int
    n_relevant: int

    @property
    def chance(self) -> float:
        """Precision of a map that knows nothing: the share of voxels to be found."""
        return self.n_relevant / self.n_voxels if self.n_voxels else np.nan

    @property
    def area(self) -> float:
        """Average precision: Σ (recall_k − recall_{k−1}) precision_k; NaN without a curve."""
        if not self.n_relevant:
            return np.nan
        return float(np.sum(np.diff(self.recall, prepend=0) * self.precision))

    @property
    def best(self) -> int | None:
        """Where precision is highest with a recall of at least 50 % (t_R50)."""
        if not self.n_relevant:
            return None
        enough = np.flatnonzero(self.recall >= LEAST_RECALL)
        return int(enough[np.argmax(self.precision[enough])])

    def thinned(self, most: int = 200) -> Curve:
        """At most about that many points, evenly spread over recall, `best` among them."""
        best = self.best
        if len(self.recall) <= most or best is None:
            return self
        wanted = np.searchsorted(self.recall, np.linspace(0, 1, most - 1), side="left")
        kept = np.unique(np.append(wanted.clip(max=len(self.recall) - 1), best))
        return Curve(
            self.threshold[kept], self.precision[kept], self.recall[kept],
            self.n_voxels, self.n_relevant,
        )  # fmt: skip


def precision_recall(synthesized: np.ndarray, relevant: np.ndarray) -> Curve:
    """Threshold a map at each of its values.

    Parameters
    ----------
    synthesized : (V,) array
        NaN where there is no value; such voxels do not count.
    relevant : (V,) array
        1 where a voxel is to be found, 0 where not, NaN where that is not known.

    Returns
    -------
    Curve
        One point for each distinct value.
    """
    known = np.isfinite(synthesized) & np.isfinite(relevant)
    values, wanted = synthesized[known], relevant[known] > 0
    if not wanted.any():
        nothing = np.empty(0)
        return Curve(nothing, nothing, nothing, len(values), 0)
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], np.cumsum(wanted[order])
    # Voxels with the same value are found together.
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return Curve(
        values[last].astype(float), hits[last] / (last + 1), hits[last] / hits[-1],
        len(values), int(hits[-1]),
    )  # fmt: skip


def measured_voxels(t: np.ndarray, sign: int = 1) -> np.ndarray:
    """Which voxels the measured contrast shows: 1 where sign · t > 3, 0 elsewhere, NaN."""
    return np.where(np.isfinite(t), sign * t > MEASURED_AT, np.nan)
