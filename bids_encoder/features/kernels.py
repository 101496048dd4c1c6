"""Kernels of layers: inner products of the features of stimuli, computed once.

A kernel depends on stimuli and network only. Beside the cached features, in
``CACHE/features/KEY/kernels/``, lie the kernels of the sets of stimuli that were
asked for, float64, one file a layer. Rows are sorted by the content of the stimuli,
so that participants who saw the same ones, in whatever order, share a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.encoding.ridge import linear_kernel
from bids_encoder.errors import MessageParts
from bids_encoder.features.cache import CachedFeatures, read_array, write_array
from bids_encoder.features.external import ExternalFeatures
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore


def load_kernel(store: FeatureStore, layer: str, stimuli: Sequence[str]) -> np.ndarray:
    """Inner products of the features of stimuli, from the cache where they are there.

    Parameters
    ----------
    store : FeatureStore
        The kernel of all its stimuli is kept, if the store is a cache.
    layer : str
    stimuli : sequence of m str
        Any of the store's, in any order.

    Returns
    -------
    (m, m) float64 array

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    if isinstance(store, ExternalFeatures):
        return linear_kernel(store.matrix(layer, stimuli))
    if not isinstance(store, CachedFeatures):
        return linear_kernel(store.load(layer, stimuli).values)
    names = {digest: name for name, digest in store.digests.items()}
    digests = sorted(names)
    path = _place(store, layer, digests)
    kernel = _read(path, len(digests))
    if kernel is None:
        kernel = linear_kernel(store.load(layer, [names[digest] for digest in digests]).values)
        write_array(path, kernel)
    rows = np.searchsorted(digests, [store.digests[name] for name in stimuli])
    return kernel[np.ix_(rows, rows)]


def where(store: FeatureStore, layer: str) -> MessageParts:
    """The file and the layer that features are of, for messages."""
    return {
        "file": store.path if isinstance(store, ExternalFeatures) else None,
        "place": f"layer {layer} of {store.network}",
    }


def _place(store: CachedFeatures, layer: str, digests: Sequence[str]) -> Path:
    key = hashlib.sha256("\n".join([layer, *digests]).encode()).hexdigest()[:32]
    return store.folder / "kernels" / f"{key}.npy"


def _read(path: Path, n: int) -> np.ndarray | None:
    """A kernel from its file; None where there is none that is whole."""
    kernel = read_array(path)
    if kernel is None:
        return None
    return kernel if kernel.dtype == np.float64 and kernel.shape == (n, n) else None


@dataclass(frozen=True, eq=False)
class LayerKernels:
    """The kernels of samples, (n, n) each, of all layers from shallow to deep.

    One is in memory at a time, as often as they are asked for.
    """

    samples: Samples
    store: FeatureStore

    def __len__(self) -> int:
        return len(self.store.layers)

    def __iter__(self) -> Iterator[np.ndarray]:
        for layer in self.store.layers:
            yield self.of(layer)

    def of(self, layer: str) -> np.ndarray:
        """The kernel of one layer."""
        return self.samples.kernel(load_kernel(self.store, layer, self.samples.stimuli))
