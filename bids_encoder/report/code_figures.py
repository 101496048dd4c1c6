"""Figures of the neural code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.report.figures import layer_ticks, small_panels
from bids_encoder.report.palettes import EFFECTS, INK, layer_colors, layer_rgb

if TYPE_CHECKING:
    import pandas

BLUE, ORANGE = "#2a6f97", "#c8553d"  # told apart by the colour-blind, and in grey
SOFT = "#a3adbf"
FIRST_THREE = {"smooth": "#2a6f97", "intermediate": "#7a9e7e", "random": "#c8553d"}


def smoothness(table: pandas.DataFrame) -> plt.Figure:
    """Functional smoothness and Gini coefficient over layers.

    Parameters
    ----------
    table : DataFrame
        With the columns of the table ``smoothness``.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.6), layout="constrained", gridspec_kw={"width_ratios": (1.6, 1)}
    )
    places = np.arange(len(table))
    left.fill_between(
        places, table["to_pixels_low"], table["to_pixels_high"], color=BLUE, alpha=0.18, linewidth=0
    )
    left.plot(places, table["to_pixels"], marker="o", color=BLUE, label="with pixels")
    left.plot(
        places, table["to_previous"], marker="s", ls="--", color=ORANGE, label="with layer before"
    )
    left.axhline(0, color="#d8dee9", zorder=0)
    left.set_ylim(top=1.05)
    left.set_ylabel("functional smoothness")
    left.legend(frameon=False, fontsize=9)
    right.bar(places, table["gini"], color=layer_colors(len(table)).colors)
    right.set_ylim(0, 1)
    right.set_ylabel("Gini coefficient")
    for axes in (left, right):
        layer_ticks(axes, table["layer"])
    return figure


def similarity_profiles(table: pandas.DataFrame) -> plt.Figure:
    """Agreement of regions with layers, one panel a region.

    Parameters
    ----------
    table : DataFrame
        With the columns of the table ``similarity``.
    """
    regions = list(dict.fromkeys(table["region"]))
    figure, panels = small_panels(len(regions))
    for axes, region in zip(panels, regions, strict=True):
        rows = table[table["region"] == region]
        places = np.arange(len(rows))
        low, high = rows[["ceiling_low", "ceiling_high"]].iloc[0]
        if np.isfinite([low, high]).all():
            axes.axhspan(low, high, color="#e5e9f0", zorder=0)
        r = rows["pearson"].to_numpy()
        error = np.abs(rows[["pearson_low", "pearson_high"]].to_numpy().T - r)
        axes.errorbar(places, r, yerror(error), color=SOFT, linewidth=1, zorder=1, label="_r")
        colors = np.vstack([[0.64, 0.68, 0.75], layer_colors(len(rows) - 1).colors])
        sure = rows["p"].to_numpy() < 0.05
        for shown, face in ((sure, colors), (~sure, np.ones_like(colors))):
            axes.scatter(places[shown], r[shown], 42, face[shown], edgecolors=colors[shown],
                         linewidths=1.8, zorder=2)  # fmt: skip
        axes.axhline(0, color="#d8dee9", zorder=0)
        said = f"{rows['voxels'].iloc[0]} voxels"
        if rows["p"].isna().all():
            said += ", not tested"
        axes.set_title(f"{region} ({said})", fontsize=10, color=INK)
        layer_ticks(axes, rows["layer"])
    figure.supylabel("similarity analysis, r", fontsize=10)
    return figure


def yerror(values: np.ndarray) -> np.ndarray:
    """Lengths of error bars; 0 where there is no interval."""
    return np.nan_to_num(values)


def peaks(table: pandas.DataFrame) -> plt.Figure:
    """Similarity analysis and encoding over layers, a panel a region.

    A symbol marks the highest layer where its interval lies above 0: noise, too, has a highest
    layer, so that there is none without an interval.

    Parameters
    ----------
    table : DataFrame
        With the columns of the table ``group_similarity``.
    """
    regions = list(dict.fromkeys(table["region"]))
    figure, panels = small_panels(len(regions))
    styles = (
        ("pearson", BLUE, ("o", 13, "none"), "similarity"),
        ("encoding_r", ORANGE, ("s", 7, "full"), "encoding"),
    )
    lowest, highest = -0.05, 1.1
    for axes, region in zip(panels, regions, strict=True):
        rows = table[(table["region"] == region) & table["encoding_r"].notna()]
        places = np.arange(len(rows))
        for name, color, (marker, size, fill), label in styles:
            mean, low, high = (rows[name + end].to_numpy(float) for end in ("", "_low", "_high"))
            top = mean.max() if mean.size and mean.max() > 0 else 1.0
            if np.isfinite(low).any():
                axes.fill_between(places, low / top, high / top, color=color, alpha=0.15, lw=0)
            axes.plot(places, mean / top, color=color, label=label)
            best = int(np.argmax(mean)) if mean.size else None
            if best is not None and low[best] > 0:
                axes.plot(
                    places[best], mean[best] / top, color=color, marker=marker, markersize=size,
                    fillstyle=fill,
                )  # fmt: skip
            lowest = np.nanmin([lowest, *low / top, *mean / top])
            highest = np.nanmax([highest, *high / top])
        axes.axhline(0, color="#d8dee9", zorder=0)
        untested = "untested" in rows and rows["untested"].any()
        title = f"{region}, not tested" if untested else region
        axes.set_title(title, fontsize=10, color=INK)
        layer_ticks(axes, rows["layer"])
    panels[0].set_ylim(max(lowest, -1), min(highest, 2))
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=9,
                  loc="outside upper center", ncols=2)  # fmt: skip
    figure.supylabel("share of the best layer", fontsize=10)
    return figure


def distortions(levels: np.ndarray, curves: Mapping[str, np.ndarray]) -> plt.Figure:
    """Similarity to the prototype against distortion, after Guest and Love's Figure 2A.

    Parameters
    ----------
    levels : (20,) array
        Standard deviations of the noise.
    curves : mapping of scheme to (20,) array
        The first eleven are numbered 1 to 11; what comes after, at 0, is drawn dashed.
    """
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    names = list(curves)[:11]
    colors = layer_rgb(len(names)) / 255
    for number, (name, color) in enumerate(zip(names, colors, strict=True), start=1):
        axes.plot(levels, curves[name], color=color, linewidth=2, zorder=20 - number, label=name)
    ends = {f"{n}": curves[name][-1] for n, name in enumerate(names, start=1)}
    ends["1, 2, 3"] = np.mean([ends.pop(str(n)) for n in (1, 2, 3)])
    shown = colors[[3, 4, 5, 6, 7, 8, 9, 10, 1]]
    heights = _apart(list(ends.values()), 0.036)
    for text, height, color in zip(ends, heights, shown, strict=True):
        axes.text(levels[-1] + 0.012, height, text, color=color, va="center", fontsize=9)
    rest = list(curves)[11:]
    for name in rest:
        axes.plot(levels, curves[name], "--", color=ORANGE, linewidth=1.6, label=name)
    axes.text(levels[1] + 0.01, -0.022, " · ".join(rest), color=ORANGE, fontsize=9, va="top")
    axes.set_xlim(levels[0], levels[-1] + 0.085)
    axes.set_ylim(-0.09, 1.03)
    axes.set_xlabel("distortion (standard deviation of the noise)")
    axes.set_ylabel("similarity to the prototype, r")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scanner(sizes: Sequence[int], layouts: Mapping[str, Mapping[str, Sequence[float]]]):
    """What similarity survives the scanner, and the signal that is left, by size of voxel.

    Parameters
    ----------
    sizes : sequence of int
        Side of a voxel in units.
    layouts : mapping of layout to mapping of "survival", "without_noise", "signal" to values
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7), layout="constrained")
    for name, values in layouts.items():
        color = FIRST_THREE[name]
        left.plot(sizes, values["survival"], marker="o", color=color, label=name)
        left.plot(sizes, values["without_noise"], ":", color=color, label=f"_{name}, no noise")
        right.plot(sizes, values["signal"], marker="o", color=color, label=name)
    left.set_ylabel("similarity that survives, r")
    left.plot([], [], ":", color=INK, label="no scanner noise")
    left.legend(frameon=False, fontsize=9, loc="lower left")
    right.set_ylabel("signal of a voxel (SD of a unit)")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("side of a voxel in units")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def category_matrices(
    matrices: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[str]]
) -> plt.Figure:
    """Similarity matrices of layers side by side, after Guest and Love's Figure 4.

    Parameters
    ----------
    matrices : mapping of layer to (n, n) array
    labels : mapping of level to n labels
        The finest level first; items sorted by category.
    """
    figure, panels = plt.subplots(
        1, len(matrices), figsize=(4.4 * len(matrices) + 0.8, 4.6), layout="constrained",
        squeeze=False, sharey=True,
    )  # fmt: skip
    fine = next(iter(labels.values()))
    names, starts = np.unique(np.array(fine), return_index=True)
    order = np.argsort(starts)
    names, starts = names[order], starts[order]
    middles = (starts + np.append(starts[1:], len(fine)) - 1) / 2
    for axes, (layer, matrix) in zip(panels[0], matrices.items(), strict=True):
        image = axes.imshow(matrix, cmap=EFFECTS, vmin=-1, vmax=1, interpolation="nearest")
        for level, width in zip(labels.values(), (0.4, 0.9, 1.6), strict=False):
            edges = np.flatnonzero(np.array(level[1:]) != np.array(level[:-1])) + 0.5
            for edge in edges:
                axes.axhline(edge, color=INK, linewidth=width)
                axes.axvline(edge, color=INK, linewidth=width)
        axes.set_title(layer, fontsize=11, color=INK)
        axes.set_xticks([])
        axes.set_yticks(middles, names, fontsize=9)
        axes.tick_params(length=0)
    figure.colorbar(image, ax=list(panels[0]), shrink=0.8, label="similarity, r")
    return figure


def category_levels(table: Mapping[str, Mapping[str, Sequence]]) -> plt.Figure:
    """Similarity within and between categories at each level, a panel a layer.

    Parameters
    ----------
    table : mapping of layer to mapping of level to (within, between)
        Each an array (estimate, low, high).
    """
    figure, panels = plt.subplots(
        1, len(table), figsize=(3.6 * len(table) + 0.8, 3.4), layout="constrained",
        squeeze=False, sharey=True,
    )  # fmt: skip
    for axes, (layer, levels) in zip(panels[0], table.items(), strict=True):
        for shift, which, color in ((-0.16, 0, BLUE), (0.16, 1, ORANGE)):
            values = np.array([pair[which] for pair in levels.values()])
            lengths = np.abs(values[:, 1:].T - values[:, 0])
            axes.bar(np.arange(len(levels)) + shift, values[:, 0], 0.3, yerr=yerror(lengths),
                     color=color, error_kw={"ecolor": INK, "linewidth": 1.2},
                     label=("within", "between")[which])  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(levels)), list(levels), fontsize=9)
        axes.set_title(layer, fontsize=11, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("mean similarity, r")
    panels[0, 0].legend(frameon=False, fontsize=9)
    return figure


def _apart(heights: Sequence[float], distance: float) -> list[float]:
    """Move labels up until each is a distance above the one below."""
    order = np.argsort(heights)
    moved = np.array(heights, dtype=float)
    for below, above in zip(order[:-1], order[1:], strict=True):
        moved[above] = max(moved[above], moved[below] + distance)
    return moved.tolist()
