"""Kernels of layers: inner products of the features of samples, as often as they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore


@dataclass(frozen=True, eq=False)
class LayerKernels:
    """The kernels (n, n) of all layers, from shallow to deep, one in memory at a time."""

    samples: Samples
    store: FeatureStore

    def __len__(self) -> int:
        return len(self.store.layers)

    def __iter__(self) -> Iterator[np.ndarray]:
        for layer in self.store.layers:
            yield self.samples.kernel(self.store.load(layer, self.samples.stimuli).values)
