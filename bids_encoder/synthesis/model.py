"""A saved model and what it predicts, without the BOLD that it was fitted on.

A model of dual coefficients a (n × voxels) on samples with features X predicts

    ŷ(x) = Σ_i a_i <x, x_i> + b.

In an event design x_i are the features of stimulus i. In a continuous design they are those of
volume i at several delays, X = [W_1 F, W_2 F, ...], and what is predicted is the response to a
picture that stays: the same features f at every delay. With F the features of the stimuli,

    ŷ(f) = Σ_d f (W_d F)' a + b = f F' (Σ_d W_d)' a + b,

so that both kinds of model are weights on the features of stimuli.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bids_encoder.encoding.ridge import linear_kernel
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.grid import Grid

BLOCK_BYTES = 2**28  # of coefficients, or of features, at a time


@dataclass(frozen=True, eq=False)
class Model:
    """The model of one layer; its coefficients stay in its file.

    Attributes
    ----------
    path : Path
        The HDF5 file.
    network, layer : str
    origin : mapping
        What the features depend on but the stimulus; see `FeatureStore.origin`.
    samples : Samples
        What the rows of the coefficients are.
    stamps : tuple of str
        Checksum of each of the samples' stimuli; see `FeatureStore.stamps`.
    unseen : dict of str to str
        Stimuli that were held out of the fit (a test set), and their checksums.
    n_features : int or None
        Features that each delay of a primal model has; None for a dual one.
    grid : Grid
        Where the V columns lie.
    """

    path: Path
    network: str
    layer: str
    origin: Mapping[str, object]
    samples: Samples
    stamps: tuple[str, ...]
    unseen: dict[str, str]
    n_features: int | None
    grid: Grid

    @property
    def is_dual(self) -> bool:
        """Whether predictions need the features of the stimuli that the model was fitted on."""
        return self.n_features is None

    def predict(self, features: np.ndarray, training: FeatureStore | None = None) -> np.ndarray:
        """Responses to stimuli, each as if it had been shown for long.

        Parameters
        ----------
        features : (m, p) array
            Of the layer, as the model's own were made.
        training : FeatureStore, optional
            Has the features of the stimuli that the model was fitted on; a dual model needs it.

        Returns
        -------
        (m, V) float32 array
            In the units of the responses that the model was fitted on (z-scores, as a rule); NaN
            for voxels that have no model.

        Raises
        ------
        ValueError
            The model is dual, and `training` is not given.
        """
        if self.is_dual:
            if training is None:
                raise ValueError("a dual model needs the features that it was fitted on")
            rows = kernel_with(features, self.layer, self.samples, training)
            coefficients = "dual"
        else:
            rows, coefficients = features, "primal"
        with h5py.File(self.path, "r") as file:
            total = np.tile(file["intercept"][:].astype(np.float32), (len(features), 1))
            stored = file[coefficients]
            for some in _blocks(len(stored), stored.shape[1]):
                columns = np.arange(some.start, some.stop)
                if self.n_features is not None:  # the delays stand one behind the other
                    columns %= self.n_features
                total += rows[:, columns].astype(np.float32) @ stored[some].astype(np.float32)
        return total


def kernel_with(
    features: np.ndarray, layer: str, samples: Samples, store: FeatureStore
) -> np.ndarray:
    """Inner products of stimuli, each as if shown for long, with samples: (m, n), rows centred.

    Coefficients sum to 0 over samples, so that the mean of a row changes nothing but the
    rounding.

    Parameters
    ----------
    features : (m, p) array
        Of the m stimuli.
    layer : str
    samples : Samples
        n of them.
    store : FeatureStore
        Has the features of the samples' stimuli.
    """
    stimuli = samples.stimuli
    kernel = np.empty((len(features), len(stimuli)))
    for some in _blocks(len(stimuli), features.shape[1]):
        theirs = store.load(layer, stimuli[some]).values
        kernel[:, some] = linear_kernel(features, theirs)
    if samples.weights is not None:
        kernel = (sum(samples.weights) @ kernel.T).T
    return kernel - kernel.mean(axis=1, keepdims=True)


def mean_prediction(
    models: Sequence[Model],
    new: FeatureStore,
    stimuli: Sequence[str],
    training: FeatureStore | None,
) -> np.ndarray:
    """What the layers predict, averaged over layers: (m, V) float32.

    Parameters
    ----------
    models : sequence of Model
        Of the layers to be averaged, of the same voxels.
    new : FeatureStore
        Has the features of the m stimuli.
    stimuli : sequence of m str
    training : FeatureStore, optional
        See :meth:`Model.predict`.
    """
    predictions = (
        model.predict(new.load(model.layer, stimuli).values, training) for model in models
    )
    total = next(predictions)
    for prediction in predictions:
        total = total + prediction
    return total / np.float32(len(models))


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices of rows that hold about BLOCK_BYTES of float32."""
    step = max(1, BLOCK_BYTES // (4 * max(n_columns, 1)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
