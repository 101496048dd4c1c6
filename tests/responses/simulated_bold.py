"""Voxels whose haemodynamic responses and amplitudes are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import gamma

from bids_encoder.bids.events import Presentation


@dataclass(frozen=True)
class SimulatedRun:
    """What was shown when, what the voxels do, and the amplitudes (K, V) behind it."""

    presentations: list[Presentation]
    frame_times: np.ndarray
    bold: np.ndarray
    amplitudes: np.ndarray


def response_curve(peak: float) -> tuple[np.ndarray, np.ndarray]:
    """A response (times, values) that peaks at `peak` s, with an undershoot 10 s later."""
    times = np.arange(0, 45, 0.02)
    values = gamma.pdf(times, peak + 1) - gamma.pdf(times, peak + 11) / 6
    return times, values / values.max()


def ar1(rng: np.random.Generator, shape: tuple[int, int], rho: float) -> np.ndarray:
    """Noise (T, V) of unit variance, autocorrelated over the rows."""
    white = rng.standard_normal((shape[0] + 50, shape[1]))
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], white, axis=0)[50:]


def simulate_runs(
    peaks,
    *,
    n_runs=4,
    n_stimuli=40,
    spacing=(6.0, 9.0),
    tr=2.0,
    signal=0.3,
    rho=0.3,
    duration=1.0,
    start_time=0.0,
    seed=0,
) -> list[SimulatedRun]:
    """Runs with jittered stimuli of their own; `signal` is the variance ratio to AR(1) noise."""
    rng = np.random.default_rng(seed)
    runs = []
    for run in range(n_runs):
        onsets = 4 + np.cumsum(rng.uniform(*spacing, n_stimuli))
        frame_times = start_time + tr * np.arange(int((onsets[-1] + 20) / tr))
        amplitudes = 1 + rng.standard_normal((n_stimuli, len(peaks)))
        clean = np.empty((len(frame_times), len(peaks)))
        for peak in set(peaks):
            times, values = response_curve(peak)
            integral = np.append(0, np.cumsum((values[1:] + values[:-1]) * 0.01))
            since = frame_times[:, None] - onsets
            design = np.interp(since, times, integral) - np.interp(
                since - duration, times, integral
            )
            its = np.flatnonzero(np.array(peaks) == peak)
            clean[:, its] = design @ amplitudes[:, its]
        noise = ar1(rng, clean.shape, rho) * clean.std(0) / np.sqrt(signal)
        drift = 3 * np.linspace(-1, 1, len(frame_times))[:, None] ** 2
        shown = [
            Presentation(float(onset), duration, f"r{run}p{k:02d}", row=2 + k)
            for k, onset in enumerate(onsets)
        ]
        bold = (800 + drift + clean + noise).astype(np.float32)
        runs.append(SimulatedRun(shown, frame_times, bold, amplitudes))
    return runs
