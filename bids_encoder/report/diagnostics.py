"""How the models came about: penalties, the null distribution, scores under their ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.read import is_pooled, r2_in_words
from bids_encoder.report import figures, palettes
from bids_encoder.report.page import Figure

if TYPE_CHECKING:
    from bids_encoder.report.maps import Maps

_SMALLEST_CEILING = 0.05  # below it, a voxel has nothing to be compared with


def diagnostic_figure(maps: Maps) -> Figure:
    """Draw the diagnostics of one analysis."""
    written, layers = maps.written, maps.written.layers

    def values(kind: str, layer: str | None = None) -> np.ndarray:
        return maps.drawn(kind, layer)[maps.inside]

    null = written.matching_sidecar("q")
    kind = "pooled_r2" if is_pooled(null) else "r2"
    highest = np.fmax.reduce([values(kind, layer) for layer in layers])
    ceiling = values("noiseceiling") if written.matching_sidecar("noiseceiling") else None
    counted = maps.counted
    # The largest penalty is what noise takes: penalties are those of voxels that passed.
    penalties = [np.where(counted.where, values("penalty", one), np.nan) for one in layers]
    figure = draw(layers, penalties, highest, null, ceiling, counted)
    path = file_names.output_path(written.root, "figure", {**written.names, "layer": "diagnostics"})
    figures.save(figure, path)
    caption = _caption(null, ceiling is not None, counted)
    return Figure("How the models came about", path, caption)


def _caption(null: dict | None, with_ceiling: bool, counted: Counted) -> str:
    """What is drawn, and nothing that is not."""
    said = []
    if not counted.none_passed:
        said.append(
            "Left: the penalties that were chosen, as multiples of the mean kernel diagonal, one "
            f"line a layer, in {counted.rule}; voxels piled up at an end of the grid would like a "
            "wider one (large penalties: the layer has little to predict them with)."
        )
    said.append(
        f"Next: the highest {r2_in_words(null)} over layers of all scored {counted.places}."
    )
    if null is not None:
        said.append("Dotted: quantiles of the same under permutation.")
        if null["Threshold"] is None:
            said.append("None reaches the false discovery rate, so that no threshold is drawn.")
        else:
            said.append("Right of the red line they count as predicted.")
    if with_ceiling:
        which = f"{counted.rule}"
        if counted.tested:
            which = f"all scored {counted.places} (grey), and of {counted.rule} (blue)"
        said.append(
            f"Right: the same r² against the noise ceiling of {which}; the ceiling is an "
            "estimate, which noise makes too. On the red line a model predicts all that can be."
        )
    return " ".join(said)


def draw(
    layers: Sequence[str],
    penalties: Sequence[np.ndarray],
    highest: np.ndarray,
    null: dict | None,
    ceiling: np.ndarray | None,
    counted: Counted,
) -> plt.Figure:
    """Draw two or three panels side by side.

    Parameters
    ----------
    layers : sequence of L str
    penalties : sequence of L (V,) arrays
        log10 of the penalty chosen; NaN where it does not count.
    highest : (V,) array
        Highest r² over layers; pooled r², where the null is of that.
    null : dict or None
        Sidecar of the q-map: Statistic, NullQuantiles, Threshold.
    ceiling : (V,) array or None
        Noise ceiling of r².
    counted : Counted
        Which of the voxels passed.
    """
    panels = 2 + (ceiling is not None)
    figure, axes = plt.subplots(1, panels, figsize=(11, 3.2), layout="constrained")
    _penalties(axes[0], layers, penalties, counted)
    _null(axes[1], highest, null, counted.places)
    if ceiling is not None:
        _ceiling(axes[2], highest, ceiling, counted, r2_in_words(null))
    figures.tidy(*axes)
    return figure


def _penalties(
    axes, layers: Sequence[str], penalties: Sequence[np.ndarray], counted: Counted
) -> None:
    found = np.unique(np.concatenate(penalties).round(4))
    grid = found[np.isfinite(found)]
    colors = palettes.layer_rgb(len(layers)) / 255
    for color, layer, chosen in zip(colors, layers, penalties, strict=True):
        chosen = chosen[np.isfinite(chosen)].round(4)
        counts = np.array([np.count_nonzero(chosen == one) for one in grid])
        axes.plot(grid, counts, color=color, marker="o", markersize=3, linewidth=1, label=layer)
    axes.set_title(f"{counted.said}", fontsize=7, color=figures.INK)
    axes.set_xlabel("log10 of the penalty", fontsize=9, color=figures.INK)
    axes.set_ylabel(counted.places, fontsize=9, color=figures.INK)
    axes.set_ylim(bottom=0)
    if not grid.size:
        figures.say_nothing_found(axes, counted.note or f"No {counted.places} with a score.")
    elif len(layers) <= 10:
        axes.legend(frameon=False, fontsize=7, ncols=1 + (len(layers) > 5))


def _null(axes, highest: np.ndarray, null: dict | None, places: str) -> None:
    shown = highest[np.isfinite(highest)]
    low, high = np.quantile(shown, (0.005, 1)) if shown.size else (0, 1)
    axes.hist(shown, bins=np.linspace(low, high, 60), color="#b5bfce", log=True)
    axes.set_title(f"all scored {places}", fontsize=7, color=figures.INK)
    axes.set_xlabel(f"highest {r2_in_words(null)} over layers", fontsize=9, color=figures.INK)
    axes.set_ylabel(places, fontsize=9, color=figures.INK)
    if null is None:
        return
    top = axes.get_ylim()[1]
    for number, (share, value) in enumerate(null["NullQuantiles"].items()):
        axes.axvline(value, color=figures.INK, linewidth=0.8, linestyle=":")
        axes.text(
            value, top * 0.5 ** number, f" {100 * float(share):g} % of the null", fontsize=6.5,
            color=figures.INK, va="top",
        )  # fmt: skip
    if null["Threshold"] is not None:
        axes.axvline(null["Threshold"], color="#bf616a", linewidth=1.5)
        axes.text(
            null["Threshold"], top * 0.5 ** len(null["NullQuantiles"]),
            f" q = {null['FalseDiscoveryRate']:g}", fontsize=8, color="#bf616a", va="top",
        )  # fmt: skip


def _ceiling(axes, highest: np.ndarray, ceiling: np.ndarray, counted: Counted, score: str) -> None:
    shown = np.isfinite(highest) & (ceiling > _SMALLEST_CEILING)
    axes.hexbin(
        ceiling[shown], highest[shown], gridsize=40, bins="log", cmap="bone_r", mincnt=1,
        linewidths=0,
    )  # fmt: skip
    if counted.tested:
        ours = shown & counted.where
        axes.plot(ceiling[ours], highest[ours], ".", color="#5e81ac", markersize=3)
    axes.axline((0, 0), slope=1, color="#bf616a", linewidth=1)
    axes.set_xlabel("noise ceiling of r²", fontsize=9, color=figures.INK)
    axes.set_ylabel(f"highest {score} over layers", fontsize=9, color=figures.INK)
