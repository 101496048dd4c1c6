"""Rows of the response matrix, written as mixtures of stimuli.

In an event design a row is a stimulus. In a continuous design a row is a volume,
and its features at each delay are a weighted mean of the features of the stimuli
that were on the screen then. Either way the kernel of the rows follows from the
kernel of the stimuli, so that delayed copies of large feature matrices are never
made: with weights W_d (n × m) at delay d and stimulus features F (m × p),

    K = Σ_d W_d (F Fᵀ) W_dᵀ
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bids_encoder.features.time import features_in_time, kernel_in_time, time_weights
from bids_encoder.stimuli.images import BLANK

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation


@dataclass(frozen=True, eq=False)
class Samples:
    """What was on the screen for each row of the responses.

    Attributes
    ----------
    stimuli : tuple of m str
        Ids of the stimuli; BLANK is the empty screen.
    weights : tuple of (n, m) sparse arrays, one a delay; or None
        Share of each stimulus in each row. None: row i is stimulus i.
    delays : tuple of float
        Seconds, one a matrix in ``weights``; empty in event designs.
    """

    stimuli: tuple[str, ...]
    weights: tuple[sparse.csr_array, ...] | None = None
    delays: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.stimuli) if self.weights is None else self.weights[0].shape[0]

    @property
    def shown(self) -> tuple[str, ...]:
        """Stimuli that some row has seen, without the empty screen."""
        if self.weights is None:
            return self.stimuli
        seen = np.sum([abs(w).sum(axis=0) for w in self.weights], axis=0) > 0
        pairs = zip(self.stimuli, seen, strict=True)
        return tuple(name for name, some in pairs if some and name != BLANK)

    def take(self, rows: np.ndarray) -> Samples:
        """Some of the rows: (n,) bool."""
        if self.weights is None:
            return Samples(tuple(np.array(self.stimuli, dtype=object)[rows]))
        return replace(self, weights=tuple(w[np.flatnonzero(rows)] for w in self.weights))

    def kernel(self, kernel: np.ndarray) -> np.ndarray:
        """Inner products of the rows' features, from those of the stimuli.

        Parameters
        ----------
        kernel : (m, m) array
            Inner products of the stimuli's features, in the order of ``stimuli``.

        Returns
        -------
        (n, n) array
        """
        return kernel if self.weights is None else kernel_in_time(kernel, self.weights)

    def matrix(self, features: np.ndarray) -> np.ndarray:
        """Features of the rows, delays side by side: (n, p × delays) float32."""
        return features if self.weights is None else features_in_time(features, self.weights)


def continuous_samples(
    presentations: Sequence[Sequence[Presentation]],
    n_volumes: Sequence[int],
    repetition_times: Sequence[float],
    start_times: Sequence[float],
    delays: Sequence[float],
) -> Samples:
    """Samples of a continuous design: the volumes of all runs, one run after the other.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        One sequence a run.
    n_volumes, repetition_times, start_times : sequences, one entry a run
        Times in seconds. Volume k stands for the moment start + k · TR; what it saw is
        averaged over one repetition time around that moment.
    delays : sequence of float
        Seconds.
    """
    stimuli = tuple(sorted({one.stimulus for shown in presentations for one in shown} | {BLANK}))
    timing = list(zip(presentations, n_volumes, repetition_times, start_times, strict=True))
    weights = tuple(
        sparse.vstack(
            [
                time_weights(shown, stimuli, n, tr, start - tr / 2, delay)
                for shown, n, tr, start in timing
            ],
            format="csr",
        )
        for delay in delays
    )
    return Samples(stimuli, weights, tuple(delays))
