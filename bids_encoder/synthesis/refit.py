"""Predictions for pictures by models that have never seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import fit
from bids_encoder.errors import naming
from bids_encoder.features.kernels import LayerKernels, where
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.responses.assemble import Responses
from bids_encoder.synthesis.model import kernel_with


@dataclass(frozen=True, eq=False)
class Refit:
    """Models as those of an analysis, fitted again on some of its samples.

    Attributes
    ----------
    samples : Samples
        Of the analysis, n of them.
    responses : Responses
        To these.
    train : (n,) bool
        Those that the models learn from.
    folds : sequence of Fold
        Of these rows; the penalty is chosen by cross-validation over them.
    penalties : (m,) array
        See :func:`bids_encoder.encoding.ridge.fit`.
    mem_bytes : int
        See :func:`bids_encoder.encoding.ridge.fit`.
    device : str
    """

    samples: Samples
    responses: Responses
    train: np.ndarray
    folds: Sequence[Fold]
    penalties: np.ndarray
    mem_bytes: int
    device: str

    def predict(self, layer: str, store: FeatureStore, pictures: Sequence[str]) -> np.ndarray:
        """What one layer predicts for m pictures: (m, V) float32.

        Parameters
        ----------
        layer : str
        store : FeatureStore
            Has the features of the samples and of the pictures.
        pictures : sequence of m str

        Raises
        ------
        DataError
            Too little is left to learn from.
        """
        training = self.responses.take(self.train)
        with naming(**where(store, layer)):
            kernel = LayerKernels(self.samples, store).of(layer)
            found = fit(
                None,
                training.values,
                self.folds,
                kernel=kernel[np.ix_(self.train, self.train)],
                penalties=self.penalties,
                mem_bytes=self.mem_bytes,
                device=self.device,
            )
        features = store.load(layer, pictures).values
        rows = kernel_with(features, layer, self.samples, store)
        return found.predict(rows[:, self.train])
