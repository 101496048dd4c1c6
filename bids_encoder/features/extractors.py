"""What makes features of pictures: a network with its reductions, or a pyramid of filters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from bids_encoder.features.cache import FeatureLayout, layout_of
from bids_encoder.features.reduction import reduce_activations
from bids_encoder.networks.network import Network, activations


class Extractor(Protocol):
    """Makes features of pictures, all layers one behind the other.

    Attributes
    ----------
    name : str
    device : str
        "cpu" or "cuda".
    context : int
        How many samples of a film, before and after a sample, its features depend on;
        0 where each frame stands for itself.
    batch : int or None
        Pictures at a time, where it has a wish.
    layout : FeatureLayout
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def context(self) -> int: ...

    @property
    def batch(self) -> int | None: ...

    @property
    def layout(self) -> FeatureLayout: ...

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """What is fed for a picture, uint8 (H, W, 3); called in threads."""
        ...

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        """Features (n, layout.total) of n + 2 context prepared pictures, on any device."""
        ...

    def replica(self) -> Extractor:
        """The same for another thread, which may compute at the same time."""
        ...


@dataclass(frozen=True, eq=False)
class NetworkExtractor:
    """The reduced and compressed activations of a network's layers: an `Extractor`."""

    network: Network
    context: int = 0
    batch: int | None = None

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.network.name

    @property
    def device(self) -> str:
        """Where the network is."""
        return self.network.device

    @cached_property
    def layout(self) -> FeatureLayout:
        """Which features are of which layer."""
        return layout_of(self.network)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """The input of the network: (3, size, size) float32."""
        return self.network.preprocess(image)

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        """One forward pass."""
        reductions = dict(zip(self.layout.layers, self.layout.reductions, strict=True))
        found = activations(
            self.network,
            batch,
            lambda output, tap: reduce_activations(output, reductions[tap.name]),
        )
        return torch.cat(list(found.values()), dim=1)

    def replica(self) -> NetworkExtractor:
        """With hooks of its own; the weights are in memory once."""
        return replace(self, network=self.network.replica())


def extractor_of(origin: Network | Extractor) -> Extractor:
    """What makes features from a network; anything else is an extractor already."""
    return NetworkExtractor(origin) if isinstance(origin, Network) else origin
