"""Profiles over layers: the scores of voxels that passed, of one participant and of all."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bids_encoder.derivatives.counted import Counted
from bids_encoder.report.figures import say_nothing_found
from bids_encoder.report.palettes import INK, layer_colors


def profile(
    layers: Sequence[str], scores: np.ndarray, best: np.ndarray, counted: Counted
) -> Figure:
    """Scores over layers of the voxels that count, and how many of them each layer wins.

    Parameters
    ----------
    layers : list of str, early to late
    scores : (L, V) array
        Correlations on held-out data.
    best : (V,) int array
        Best layer of each voxel, 1 to L; 0: none.
    counted : Counted
        Which of the V voxels these are; where none passed, the panels are empty and say so.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    positions = np.arange(len(layers))
    ours, places = scores[:, counted.where], counted.places
    if ours.size:
        top = np.fmax.reduce(ours)
        for share, style in ((1, "-"), (0.25, "--"), (0.05, ":")):
            chosen = top >= np.nanquantile(top, 1 - share)
            which = counted.rule if share == 1 else f"best {share:.0%} of them"
            left.plot(
                positions, np.nanmean(ours[:, chosen], axis=1), style, color=INK, marker="o",
                markersize=4, label=f"{which} ({chosen.sum()})",
            )  # fmt: skip
        left.axhline(0, color="#d8dee9", zorder=0)
        left.legend(frameon=False, fontsize=8)
        counts = np.bincount(best[counted.where], minlength=len(layers) + 1)[1:]
        right.bar(positions, counts, color=layer_colors(len(layers)).colors)
    left.set_ylabel("mean correlation r, held out")
    right.set_ylabel(f"{places} that the layer predicts best")
    right.set_title(f"of {counted.said}", fontsize=9, color=INK)
    for axes in (left, right):
        axes.set_xticks(positions, layers, rotation=35, ha="right", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if not ours.size:
            say_nothing_found(axes, counted.note or f"No {places} with a score.")
    return figure


def group_profile(layers: Sequence[str], scores: dict[str, np.ndarray], rule: str) -> Figure:
    """Scores over layers: a thin line a participant, and their mean.

    Parameters
    ----------
    layers : list of str, early to late
    scores : dict of str to (L,) array
        By participant; NaN of those in whom no voxel passed.
    rule : str
        Which voxels they are of.
    """
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    positions = np.arange(len(layers))
    known = {name: values for name, values in scores.items() if np.isfinite(values).all()}
    for name, values in known.items():
        axes.plot(positions, values, color="#a3adbf", linewidth=1, label=name)
    if known:
        mean = np.mean(list(known.values()), axis=0)
        axes.plot(positions, mean, color=INK, linewidth=2.5, marker="o", label="mean")
    else:
        say_nothing_found(axes, f"No participant has {rule}.")
    axes.set_xticks(positions, layers, rotation=35, ha="right", fontsize=8)
    axes.set_ylabel("median correlation r, held out")
    axes.set_title(f"{rule}: {len(known)} of {len(scores)} participants", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
