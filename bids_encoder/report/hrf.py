"""Figures of the haemodynamic responses that were estimated, one a voxel (--hrf rank1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.read import verified
from bids_encoder.report import figures, palettes

if TYPE_CHECKING:
    from bids_encoder.report.maps import Maps

_OTHERS, _OURS = "#b5bfce", "#5e81ac"


def hrf_figures(maps: Maps) -> list[tuple]:
    """Name, title, figure and caption of each figure; none where one response served all."""
    written = maps.written
    if written.matching_sidecar("hrfpeak") is None:
        return []
    peaks = maps.grid.values_of(written.images("hrfpeak"))
    counted = maps.counted
    with h5py.File(verified(written.path("hrf"))) as file:
        times, curves = file["times"][()], file["curves"][()]
        coefficients = file["coefficients"][()]
    drawn = maps.grid.drawn(peaks)
    found = [
        (
            "hrf",
            "Haemodynamic responses",
            draw(peaks, counted.where, times, curves, coefficients, counted.note),
            f"Estimated from all runs together, one for each of the {written.places}. Left: when "
            "they peak after an impulse. Right: median response and the middle two thirds at each "
            f"time. Vertical lines: medians. {_colors_said(counted, peaks)}",
        )
    ]
    if maps.view is not None:
        shown = maps.shown(drawn)
        low, high = limits(shown if np.isfinite(shown).any() else drawn)
        found.append(
            (
                "hrfpeak",
                "When responses peak",
                maps.rows(
                    [("peak", drawn)], vmin=low, vmax=high, colors=palettes.PEAKS,
                    label="seconds from an impulse to the peak of the response",
                ),
                maps.counted.drawn,
            )
        )  # fmt: skip
    return found


def _colors_said(counted: Counted, peaks: np.ndarray) -> str:
    """What the colours mean that are drawn."""
    others = "where little or nothing responds and the estimate says nothing"
    ours, rest = (np.isfinite(peaks) & which for which in (counted.where, ~counted.where))
    said = []
    if ours.any():
        said.append(f"Blue: {counted.rule}.")
    if rest.any():
        said.append(f"Grey: the others, {others if counted.tested else 'without a score'}.")
    return " ".join(said)


def limits(peaks: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale, in seconds: all but the outermost peaks, half a second at least."""
    peaks = peaks[np.isfinite(peaks)]
    low, high = np.quantile(peaks, (0.03, 0.97)) if peaks.size else (4.0, 6.0)
    wide = max(0.25 - (high - low) / 2, 0)
    return float(low - wide), float(high + wide)


def draw(
    peaks: np.ndarray,
    passed: np.ndarray,
    times: np.ndarray,
    curves: np.ndarray,
    coefficients: np.ndarray,
    note: str = "",
) -> plt.Figure:
    """Draw a histogram of peaks and the responses themselves.

    Parameters
    ----------
    peaks : (V,) array
        Seconds; NaN where there is no estimate.
    passed : (V,) bool array
        Where the models predict.
    times : (n,) array
        Seconds after an impulse.
    curves : (n, B) array
        Basis functions at these times.
    coefficients : (B, V) array
    note : str
        Stands above the panels.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
    usable = np.isfinite(peaks)
    low, high = np.quantile(peaks[usable], (0.005, 0.995)) if usable.any() else (3, 8)
    bins = np.linspace(low - 0.25, high + 0.25, 40)
    for which, color in ((usable & ~passed, _OTHERS), (usable & passed, _OURS)):
        if not which.any():
            continue
        share = np.full(np.count_nonzero(which), 100 / np.count_nonzero(which))
        left.hist(peaks[which], bins, weights=share, color=color, alpha=0.75)
        middle = np.median(peaks[which])
        left.axvline(middle, color=color, linewidth=1.5)
        # Some thousand voxels tell the quantiles.
        chosen = np.flatnonzero(which)[:: max(1, np.count_nonzero(which) // 1000)]
        responses = curves @ coefficients[:, chosen]
        lower, median, upper = np.quantile(responses, (1 / 6, 1 / 2, 5 / 6), axis=1)
        right.fill_between(times, lower, upper, color=color, alpha=0.35, linewidth=0)
        right.plot(times, median, color=color, linewidth=1.5)
    left.set_xlabel("peak of the response (s)", fontsize=9, color=figures.INK)
    left.set_ylabel("% of the voxels of a colour", fontsize=9, color=figures.INK)
    right.axhline(0, color=figures.INK, linewidth=0.6, linestyle=":")
    right.set_xlabel("seconds after an impulse", fontsize=9, color=figures.INK)
    right.set_ylabel("response (peak: 1)", fontsize=9, color=figures.INK)
    figures.tidy(left, right)
    if note:
        figure.suptitle(note, fontsize=10, **figures.WARNING)
    return figure
