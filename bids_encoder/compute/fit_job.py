"""What is to be fitted, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from bids_encoder.config.settings import Settings
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import Fit
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.stimuli.segments import Segment


@dataclass(frozen=True, eq=False)
class FitJob:
    """One analysis to be fitted, layer by layer.

    Attributes
    ----------
    key : str
        Changes with the settings and the inputs of the analysis.
    store : FeatureStore
    samples : Samples
        The n rows of the responses, those of a test set included.
    training : (n,) bool
        The m rows that models are learned from.
    responses : (m, V) float32
        Of the training rows.
    folds : sequence of Fold
        Of the training rows.
    penalties : (p,) array
    nested, keep_weights : bool
        As for :func:`bids_encoder.encoding.ridge.fit`.
    """

    key: str
    store: FeatureStore
    samples: Samples
    training: np.ndarray
    responses: np.ndarray
    folds: Sequence[Fold]
    penalties: np.ndarray
    nested: bool
    keep_weights: bool


def training_kernel(kernel: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Rows and columns of the training rows, without a copy where that is all of them."""
    return kernel if training.all() else kernel[np.ix_(training, training)]


def kernel_of(samples: Samples, store: FeatureStore) -> Callable[[str], np.ndarray]:
    """Give the (n, n) kernel of a layer; the last one is remembered."""
    return lru_cache(maxsize=1)(LayerKernels(samples, store).of)


class Executor(Protocol):
    """Who computes features and fits."""

    def extract(
        self,
        settings: Settings,
        stimuli: Mapping[str, Path | Segment],
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Bring the features of stimuli into the cache, if others than this process do it."""
        ...

    def fit(
        self,
        problem: FitJob,
        layers: Sequence[str],
        kernel: Callable[[str], np.ndarray],
        *,
        mem_bytes: int,
        on_progress: Callable[[float], None],
    ) -> Iterator[Fit]:
        """Fit layers, one after the other.

        Parameters
        ----------
        problem : FitJob
        layers : sequence of str
        kernel : callable
            Gives the (n, n) kernel of a layer, see :func:`kernel_of`.
        mem_bytes : int
            What this process may work in; workers of a cluster know their own limits.
        on_progress : callable
            Called with the share of all these fits that is done.
        """
        ...
