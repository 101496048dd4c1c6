"""What comes into a fit: checked, sorted by fold, and turned into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from bids_encoder.encoding.blocks import System
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.scores import CONSTANT
from bids_encoder.encoding.systems import FeatureSystem, KernelSystem
from bids_encoder.errors import DataError

# Voxels, and features, that are copied at a time.
STRIP = 256
STRIP_OF_FEATURES = 4096


class Rows(Protocol):
    """What `linear_kernel` asks of a matrix that may lie in a file, (n, p)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[slice, slice], /) -> np.ndarray: ...


def linear_kernel(features: Rows, others: Rows | None = None) -> np.ndarray:
    """Inner products K = X Z' of samples.

    The products are made in float32 from features less their mean, and what the mean contributes
    is added in float64, so that a mean much larger than the differences among samples costs no
    precision.

    Parameters
    ----------
    features : (n, p) array
        X.
    others : (m, p) array, optional
        Z; X where it is not given.

    Returns
    -------
    (n, n) or (n, m) float64 array
    """
    reference = features if others is None else others
    kernel = np.zeros((len(features), len(reference)))
    for start in range(0, features.shape[1], STRIP_OF_FEATURES):
        some = slice(start, start + STRIP_OF_FEATURES)
        z = np.asarray(reference[:, some], dtype=np.float32)
        mean = z.mean(0)
        z = z - mean
        # NumPy does half the work where both factors are the same.
        x = z if others is None else np.asarray(features[:, some], dtype=np.float32) - mean
        kernel += x @ z.T
        kernel += (x @ mean)[:, None] + (z @ mean).astype(np.float64) + float(mean @ mean)
    return kernel


def check_penalties(penalties) -> np.ndarray:
    """The grid as a float64 array; ValueError where it is not positive and rising."""
    grid = np.array(penalties, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not (grid > 0).all() or not (np.diff(grid) > 0).all():
        raise ValueError("penalties must be positive and rising")
    return grid


def check_rows(features, kernel, n: int) -> None:
    """ValueError where features and kernel do not belong to n responses."""
    if features is None and kernel is None:
        raise ValueError("features or a kernel must be given")
    for name, values in (("features", features), ("kernel rows", kernel)):
        if values is not None and len(values) != n:
            raise ValueError(f"{n} responses for {len(values)} {name}")


def sort_by_fold(folds: Sequence[Fold], n: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Rows fold by fold, and where each fold begins and ends."""
    order = np.concatenate([fold.test for fold in folds])
    if len(folds) < 2 or not np.array_equal(np.sort(order), np.arange(n)):
        raise ValueError("the test rows of the folds must hold every row exactly once")
    for fold in folds:
        if not np.array_equal(np.sort(fold.train), np.setdiff1d(np.arange(n), fold.test)):
            raise ValueError("the training rows of a fold must be all rows that are not tested")
    return order, (0, *np.cumsum([len(fold.test) for fold in folds]).tolist())


def make_system(features, kernel, order, bounds, device, *, by_features: bool) -> System:
    """The ridge problem of the features or the kernel, on the device."""
    if not by_features:
        kernel = linear_kernel(features) if kernel is None else kernel
        return make_kernel_system(kernel, order, bounds, device)
    x = torch.from_numpy(np.asarray(features, dtype=np.float64)[order]).to(device)
    system = FeatureSystem(x, bounds)
    check_features_vary(system.unit)
    return system


def make_kernel_system(kernel, order, bounds, device) -> KernelSystem:
    """The ridge problem of the kernel, on the device."""
    k = np.array(kernel, dtype=np.float64)
    system = KernelSystem(torch.from_numpy(reorder(reorder(k, order).T, order)).to(device), bounds)
    check_features_vary(system.unit)
    return system


def check_features_vary(unit: float) -> None:
    """DataError where the mean diagonal of a centred kernel is not a positive number."""
    if not np.isfinite(unit) or unit <= 0:
        raise DataError(
            "The features cannot be used for ridge regression.",
            found="values that are not finite"
            if not np.isfinite(unit)
            else "the same features for every sample",
            expected="finite features that differ among samples",
            remedy="look at the stimuli and the layer; leave this layer out",
        )


def usable(responses: np.ndarray, folds: Sequence[Fold]) -> np.ndarray:
    """Voxels that are finite everywhere and vary in the held-out rows of every fold, (V,) bool."""
    usable = np.ones(responses.shape[1], dtype=bool)
    for fold in folds:
        values = responses[_as_slice(fold.test)]
        high, low = values.max(0), values.min(0)
        with np.errstate(invalid="ignore"):
            usable &= np.isfinite(high) & np.isfinite(low)
            usable &= high - low > CONSTANT * np.maximum(np.abs(high), np.abs(low))
    return usable


def _as_slice(rows: np.ndarray) -> np.ndarray | slice:
    """A slice where rows are consecutive: a view instead of a copy."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def voxels_first(responses, columns, order, device) -> torch.Tensor:
    """Some voxels as a (V, n) float32 tensor, samples in the given order."""
    values = np.empty((len(columns), len(order)), dtype=np.float32)
    # A strip at a time: transposing the whole would miss the cache at every step.
    for start in range(0, len(columns), STRIP):
        strip = responses[:, _as_slice(columns[start : start + STRIP])].T
        values[start : start + STRIP] = reorder(strip, order)
    return torch.from_numpy(values).to(device)


def reorder(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Columns in another order, without a copy where it is the same."""
    return values if np.array_equal(order, np.arange(len(order))) else values[:, order]
