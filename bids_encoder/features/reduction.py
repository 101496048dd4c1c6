"""Activations made small enough to be regressors, and their skewness tamed.

Eickenberg et al. 2017, section "Feature extraction": maps are smoothed and
subsampled until a layer has at most 25 000 features, then compressed by log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

import numpy as np
import torch
from scipy import ndimage

log = logging.getLogger(__name__)

MAX_FEATURES = 25_000
SIGMA_PER_STEP = 0.35
"""Standard deviation of the Gaussian, in units of the distance between kept pixels."""


@dataclass(frozen=True)
class Reduction:
    """How the activations of one layer are reduced.

    Attributes
    ----------
    shape : tuple of int
        Before: (C, H, W), tokens (N, D) or a vector (D,).
    step : int
        Every step-th pixel (token) is kept; 1: all.
    kept : tuple of int
        After: (C, h, w), (n, D) or (D,).
    """

    shape: tuple[int, ...]
    step: int
    kept: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of features."""
        return prod(self.kept)


def plan_reduction(
    shape: tuple[int, ...], max_features: int = MAX_FEATURES, layer: str = ""
) -> Reduction:
    """Decide how to reduce activations of this shape.

    For (C, H, W), the smallest integer d with C * ceil(H/d) * ceil(W/d) <=
    `max_features`; for tokens (N, D), with ceil(N/d) * D. Where even one pixel
    per channel is too many, one pixel is kept, and the log says so. Vectors are
    kept whole.
    """
    if len(shape) == 1:
        if shape[0] > max_features:
            log.warning("Layer %s is a vector of %d features; all are kept.", layer, shape[0])
        return Reduction(shape, 1, shape)
    grid = shape[1:] if len(shape) == 3 else shape[:1]
    depth = shape[0] if len(shape) == 3 else shape[1]
    for step in range(1, max(grid) + 1):
        kept = tuple(ceil(side / step) for side in grid)
        if depth * prod(kept) <= max_features:
            break
    else:
        log.warning(
            "Layer %s has %d channels, more than the %d features wanted; "
            "one pixel per channel is kept.",
            *(layer, depth, max_features),
        )
    return Reduction(shape, step, (depth, *kept) if len(shape) == 3 else (*kept, depth))


def kept_pixels(side: int, step: int) -> slice:
    """Return which pixels of a side are kept: every step-th, what is left over shared by both ends.

    With ceil(side / step) pixels kept, (side - 1) % step pixels are left over;
    the first kept pixel is number ((side - 1) % step) // 2.
    """
    return slice((side - 1) % step // 2, None, step)


@lru_cache(maxsize=64)
def smoothing_matrix(side: int, step: int) -> np.ndarray:
    """Return the (kept, side) matrix that smooths a row of pixels and keeps every step-th.

    The Gaussian is `scipy.ndimage.gaussian_filter`'s: cut at 4 standard
    deviations, the picture mirrored at its edges (mode "reflect").
    """
    smooth = np.eye(side)
    if step > 1:
        smooth = ndimage.gaussian_filter1d(smooth, SIGMA_PER_STEP * step, axis=0)
    return smooth[kept_pixels(side, step)].astype(np.float32)


def reduce_activations(batch: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Smooth, subsample and compress a batch of activations.

    Parameters
    ----------
    batch : tensor (n, ``*reduction.shape``)
    reduction : Reduction

    Returns
    -------
    features : tensor (n, reduction.size), float32
        sign(x) * log(1 + abs(x)), which is log(1 + x) for what a ReLU gives;
        order: channel, row, column. Shares no memory with `batch`.
    """
    kept = batch.float()
    if reduction.step > 1 and len(reduction.shape) == 3:
        channels, height, width = reduction.shape
        rows, columns = (
            torch.from_numpy(smoothing_matrix(side, reduction.step)).to(batch.device)
            for side in (height, width)
        )
        # With channels last, both contractions are plain matrix products without a copy.
        kept = kept.permute(0, 2, 3, 1).reshape(-1, height, width * channels)
        kept = (rows @ kept).reshape(-1, len(rows), width, channels)
        kept = (columns @ kept).permute(0, 3, 1, 2)
    elif reduction.step > 1:
        kept = kept[:, kept_pixels(reduction.shape[0], reduction.step)]
    kept = kept.reshape(len(batch), -1)
    return torch.copysign(log1p(kept.abs()), kept)


def log1p(x: torch.Tensor) -> torch.Tensor:
    """log(1 + x) of x >= 0 to the last digit but one; torch's own takes five times as long.

    The logarithm of the rounded sum, with the rounding error made good to first order.
    """
    rounded = 1 + x
    error = (rounded - 1).sub_(x)
    return rounded.log().sub_(error.div_(rounded))
