"""Shapes that a haemodynamic response may have: sets of basis functions, and their regressors.

A basis function is a curve over the seconds after an impulse. The response to something that
stays on is the difference of two values of the curve's running integral, so that regressors
are exact at any onset, duration and repetition time, with no grid of micro-time in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

BASES = ("fourier", "fir", "spm3")
STEP = 0.05  # seconds between the points at which curves are held

_SPAN = {"fourier": 24.0, "fir": 24.0, "spm3": 32.0}  # seconds
_HARMONICS = 5
_OTHERWISE = 0.02  # standard deviation of shapes beside the plausible ones
_BIN = 2.0  # seconds, the least width of a bin of the FIR basis


@dataclass(frozen=True)
class ShapePrior:
    """Which shapes are plausible: a normal distribution of coefficients h.

    The scale of a shape says nothing (amplitudes take it up), so that shapes are compared where
    they have the same inner product with the canonical one: directionᵀ h = 1.

    Attributes
    ----------
    direction : (B,) float64
        The canonical response (SPM), as near as the basis comes to it, with length 1.
    mean : (B,) float64
    precision : (B, B) float64
        Inverse of the covariance.
    """

    direction: np.ndarray
    mean: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class HrfBasis:
    """Basis functions of the haemodynamic response, and what is known of it beforehand.

    Attributes
    ----------
    times : (n,) float64
        Seconds after an impulse, from 0, in equal steps.
    curves : (n, B) float64
        The basis functions, orthonormal over `times`.
    prior : ShapePrior
        Which coefficients are plausible.
    bin_width : float or None
        Seconds; for a basis that is constant over bins.
    """

    times: np.ndarray
    curves: np.ndarray
    prior: ShapePrior
    bin_width: float | None = None

    @property
    def n_functions(self) -> int:
        """B."""
        return self.curves.shape[1]


def make_basis(kind: str, repetition_time: float) -> HrfBasis:
    """Make a set of basis functions.

    "fourier": a constant, five sines and five cosines (periods of 24 to 4.8 s) under a Hann
    window of 24 s, as SPM's "Fourier set (Hanning)": smooth curves that begin and end at 0.
    "fir": bins of 2 s, or of one repetition time where that is longer, up to 24 s: any shape.
    "spm3": SPM's canonical response with its derivatives by time and dispersion, over 32 s.

    Parameters
    ----------
    kind : {"fourier", "fir", "spm3"}
    repetition_time : float
        Seconds; the longest of the runs.
    """
    span, bin_width = _SPAN[kind], None
    if kind == "fir":
        points = int(np.ceil(max(_BIN, repetition_time) / STEP - 1e-6))  # in each bin
        bin_width, n_bins = points * STEP, int(np.ceil(span / (points * STEP) - 1e-6))
        span = n_bins * bin_width
    times = STEP * np.arange(round(span / STEP) + 1)
    if kind == "fourier":
        phase = 2 * np.pi * times / span
        waves = [wave(k * phase) for k in range(1, _HARMONICS + 1) for wave in (np.sin, np.cos)]
        curves = np.column_stack([np.ones_like(times), *waves]) * (1 - np.cos(phase[:, None]))
    elif kind == "fir":
        number = np.minimum(np.arange(len(times)) // points, n_bins - 1)
        curves = (number[:, None] == np.arange(n_bins)).astype(float)
    else:
        curves = _spm3(times)
    # From the first on, so that the canonical response stays the first of its set.
    curves, triangle = np.linalg.qr(curves)
    curves *= np.sign(np.diagonal(triangle))
    return HrfBasis(times, curves, _prior(times, curves), bin_width)


def canonical(times: np.ndarray) -> np.ndarray:
    """SPM's canonical response: a gamma density of order 6 less a sixth of one of order 16.

    Parameters
    ----------
    times : (n,) array
        Seconds after the impulse.

    Returns
    -------
    response : (n,) float64
        Its peak is 1, at 5 s.
    """
    from scipy.stats import gamma

    response = gamma.pdf(times, 6) - gamma.pdf(times, 16) / 6
    return response / (gamma.pdf(5.0, 6) - gamma.pdf(5.0, 16) / 6)


def basis_regressors(
    presentations: Sequence[Sequence[Presentation]], frame_times: np.ndarray, basis: HrfBasis
) -> np.ndarray:
    """Convolve the presentations of each stimulus with each basis function.

    Parameters
    ----------
    presentations : sequence of sequences of Presentation
        Those of each stimulus. One without a duration is an impulse, and counts as one second.
    frame_times : (T,) array
        When the volumes are sampled, in seconds.
    basis : HrfBasis

    Returns
    -------
    regressors : (T, K, B) float64
        K stimuli. A unit is the height that the curve has for one second.
    """
    integral = np.zeros_like(basis.curves)
    integral[1:] = np.cumsum((basis.curves[1:] + basis.curves[:-1]) * (STEP / 2), axis=0)
    regressors = np.empty((len(frame_times), len(presentations), basis.n_functions))
    for k, times in enumerate(presentations):
        since = frame_times[:, None] - [one.onset for one in times]
        durations = np.array([one.duration for one in times])
        lasting = durations > 0
        response = _at(integral, since[:, lasting])
        response -= _at(integral, since[:, lasting] - durations[lasting])
        regressors[:, k] = response.sum(axis=1)
        impulses = since[:, ~lasting]
        within = (impulses >= 0) & (impulses <= basis.times[-1])
        regressors[:, k] += (_at(basis.curves, impulses) * within[..., None]).sum(axis=1)
    return regressors


def peak_times(coefficients: np.ndarray, basis: HrfBasis) -> tuple[np.ndarray, np.ndarray]:
    """When responses are highest, and how high.

    Parameters
    ----------
    coefficients : (B, V) array
        Voxels with NaN get NaN.
    basis : HrfBasis

    Returns
    -------
    seconds, heights : (V,) float32
        Of curves that are constant over bins, the peak is that of the parabola through the
        middles of three bins.
    """
    step, curves = STEP, basis.curves
    start = 0.0
    if basis.bin_width is not None:
        step, start = basis.bin_width, basis.bin_width / 2
        curves = curves[round(start / STEP) :: round(step / STEP)]
    values = curves @ np.nan_to_num(coefficients)
    best = values.argmax(axis=0)
    voxels = np.arange(values.shape[1])
    top = values[best, voxels]
    inner = (best > 0) & (best < len(values) - 1)
    before, after = (
        values[np.maximum(best - 1, 0), voxels],
        values[(best + 1) % len(values), voxels],
    )
    bend = np.where(inner, 2 * top - before - after, 0)
    shift = np.divide(after - before, 2 * bend, out=np.zeros_like(top), where=bend > 0)
    seconds = (start + step * (best + shift)).astype(np.float32)
    heights = (top + bend * shift**2 / 2).astype(np.float32)
    unusable = ~np.isfinite(coefficients).all(axis=0)
    seconds[unusable] = heights[unusable] = np.nan
    return seconds, heights


def _at(curves: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Curves (n, B) at any times (…), by linear interpolation, and constant beyond their ends."""
    place = np.clip(times / STEP, 0, len(curves) - 1)
    left = np.minimum(place.astype(int), len(curves) - 2)
    share = (place - left)[..., None]
    return (1 - share) * curves[left] + share * curves[left + 1]


def _prior(times: np.ndarray, curves: np.ndarray) -> ShapePrior:
    """Mean and covariance of many plausible responses (Woolrich et al. 2004, NeuroImage 21, 1748).

    Differences of two gamma densities, 10 s apart, with peaks from 3 to 9 s, dispersions from
    0.7 to 1.4 s, and undershoots of 0 to a third. In other directions a standard deviation of
    2 % of the shape is left.
    """
    from scipy.stats import gamma

    first = canonical(times) @ curves
    direction = first / np.linalg.norm(first)
    shapes = []
    for peak, dispersion, undershoot in product(
        np.arange(3, 9.5, 0.5), (0.7, 1.0, 1.4), (0, 1 / 6, 1 / 3)
    ):
        rise, fall = (
            gamma.pdf(times, late / dispersion + 1, scale=dispersion) for late in (peak, peak + 10)
        )
        shapes.append((rise - undershoot * fall) @ curves)
    family = np.array(shapes)
    family /= (family @ direction)[:, None]
    covariance = np.cov(family.T, bias=True) + _OTHERWISE**2 * np.eye(len(direction))
    return ShapePrior(direction, family.mean(0), np.linalg.inv(covariance))


def _spm3(times: np.ndarray) -> np.ndarray:
    """The canonical response and how it changes with time and dispersion (as nilearn: 1 s, 1 %)."""
    from scipy.stats import gamma

    def response(delay: float = 0.0, dispersion: float = 1.0) -> np.ndarray:
        shifted = times - delay
        rise = gamma.pdf(shifted, 6 / dispersion, scale=dispersion)
        return rise - gamma.pdf(shifted, 16) / 6

    by_time = (response() - response(delay=0.1)) / 0.1
    by_dispersion = (response() - response(dispersion=1.01)) / 0.01
    return np.column_stack([response(), by_time, by_dispersion])
