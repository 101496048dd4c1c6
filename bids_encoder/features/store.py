"""Features of stimuli, layer by layer, wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Features:
    """Activations of one layer for a set of stimuli.

    Attributes
    ----------
    layer : str
    stimuli : tuple of str
        Ids; the order of the rows.
    values : array (n stimuli, p features), float32
        Log-compressed activations, no unit.
    """

    layer: str
    stimuli: tuple[str, ...]
    values: np.ndarray


class FeatureStore(Protocol):
    """What gives features, one layer at a time, so that memory holds one layer only.

    Attributes
    ----------
    network : str
        Name of the network, or of the file.
    identity : str
        Changes when any feature would: goes into the settings hash.
    layers : tuple of str
        From shallow to deep.
    stimuli : tuple of str
        Ids of all stimuli, in order.
    sizes : mapping of layer -> number of features
        Known before anything is loaded.
    """

    @property
    def network(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def layers(self) -> tuple[str, ...]: ...

    @property
    def stimuli(self) -> tuple[str, ...]: ...

    @property
    def sizes(self) -> Mapping[str, int]: ...

    def load(self, layer: str, stimuli: Sequence[str] | None = None) -> Features:
        """Read the features of one layer, for all stimuli or for these, in this order."""
        ...

    def origin(self, layer: str) -> dict[str, object]:
        """All that the features of a layer depend on but the stimulus, ready for JSON."""
        ...

    def stamps(self, layer: str, stimuli: Sequence[str]) -> list[str]:
        """A checksum of each stimulus: of its content, or else of its features."""
        ...
