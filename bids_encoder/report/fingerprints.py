"""Fingerprints of regions in the reports of participants and of the group."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.bids import outputs
from bids_encoder.bids.written import Written, read_fingerprints
from bids_encoder.fingerprints.regions import BEST_SHARE, CONFIDENCE, MIN_PARTICIPANTS
from bids_encoder.report import figures, palettes
from bids_encoder.report.page import Figure

if TYPE_CHECKING:
    import pandas

_MANY = 12  # regions drawn of one atlas


def component_sentence(side: Mapping) -> str | None:
    """What the sidecar of the scores says of the first component of the fingerprints."""
    found = side.get("FirstComponent")
    if not found:
        return None
    return (
        f"How the fingerprints of single voxels differ: the first principal component, over "
        f"{found['Voxels']} {found['VoxelsAre']}, holds {found['ShareOfVariance']:.0%} of their "
        f"variance. Over layers it correlates at r = {found['CorrelationWithTrend']:.2f} with a "
        f"straight trend from the first to the last layer, over voxels at r = "
        f"{found['CorrelationWithSlope']:.2f} with the slope. The closer to 1, the more the "
        "slope alone says of how voxels differ."
    )


def participant_figures(written: Written) -> list[Figure]:
    """Draw the region fingerprints of a participant, one figure an atlas; write them as PNG."""
    made = []
    for atlas, path in written.fingerprints().items():
        table = read_fingerprints(path)
        regions, left_out = _best(table, "score")
        panels = {
            f"{region}\n{rows['best_voxels'].iloc[0]} voxels, r = {rows['score'].max():.2f}": (
                rows["fingerprint"], rows["low"], rows["high"], None,
            )
            for region, rows in ((name, table[table["region"] == name]) for name in regions)
        }  # fmt: skip
        if panels:
            figure = fingerprints(written.layers, panels)
            place = outputs.output_path(
                written.root, "figure", {**written.names, "layer": f"fingerprint{atlas}"}
            )
            figures.save(figure, place)
            made.append(
                Figure(
                    f"Fingerprints of regions: {atlas}",
                    place,
                    f"Mean r of each layer over the best {BEST_SHARE:.0%} of a region's voxels, "
                    f"divided by its maximum over layers (r above each panel). {_bars_said(panels)}"
                    f"The filled dot is the highest. Values below 0 are cut off.{left_out}",
                )
            )
    return made


def group_figures(root: Path, members: Sequence[Written]) -> list[Figure]:
    """Draw the region fingerprints of the group, one figure an atlas; write them as PNG."""
    names = members[0].names
    people = [f"sub-{one.names['sub']}" for one in members]
    made = []
    for atlas in sorted({atlas for one in members for atlas in one.fingerprints()}):
        path = outputs.output_path(root, "group_fingerprint", {**names, "atlas": atlas})
        if not path.exists():
            continue
        table = read_fingerprints(path)
        there = [name for name in people if name in table.columns]
        regions, left_out = _best(table, "participants")
        panels = {
            f"{region}\nn = {rows['participants'].iloc[0]}": (
                rows["mean"], rows["low"], rows["high"], rows[there],
            )
            for region, rows in ((name, table[table["region"] == name]) for name in regions)
        }  # fmt: skip
        if panels:
            place = outputs.output_path(
                root, "group_figure", {**names, "layer": f"fingerprint{atlas}"}
            )
            figures.save(fingerprints(members[0].layers, panels), place)
            made.append(
                Figure(
                    f"Fingerprints of regions: {atlas}",
                    place,
                    f"Thin lines: participants. Dots: their mean, {_intervals_said(panels)}. "
                    f"The filled dot is the highest.{left_out}",
                )
            )
    return made


def _has_intervals(panels: Mapping) -> bool:
    return any(np.isfinite(np.asarray(low, float)).any() for _, low, _, _ in panels.values())


def _bars_said(panels: Mapping) -> str:
    if not _has_intervals(panels):
        return ""
    return (
        f"Bars: {CONFIDENCE:.0%} bootstrap intervals over voxels; they say how much the shape "
        "hangs on single voxels, not what other participants would show. "
    )


def _intervals_said(panels: Mapping) -> str:
    if not _has_intervals(panels):
        return f"without intervals, which need {MIN_PARTICIPANTS} participants"
    return (
        f"with {CONFIDENCE:.0%} bootstrap intervals over participants (where there are at least "
        f"{MIN_PARTICIPANTS})"
    )


def _best(table: pandas.DataFrame, column: str) -> tuple[list[str], str]:
    """The regions that are drawn, in the order of the table, and what to say of the others."""
    value = "fingerprint" if "fingerprint" in table else "mean"
    known = table[table[value].notna()]
    every = list(dict.fromkeys(table["region"]))
    strength = known.groupby("region", sort=False)[column].max()
    best = set(strength.sort_values(ascending=False, kind="stable").index[:_MANY])
    drawn = [region for region in every if region in best]
    if len(drawn) == len(every):
        return drawn, ""
    return drawn, f" {len(drawn)} of {len(every)} regions are drawn; the table has all."


def fingerprints(
    layers: Sequence[str],
    panels: Mapping[str, tuple[Sequence, Sequence, Sequence, pandas.DataFrame | None]],
) -> plt.Figure:
    """One panel a region: values over layers with their intervals.

    Parameters
    ----------
    layers : sequence of str, early to late
    panels : mapping of title and facts, in two lines, to (values, low, high, each)
        The first three (L,), NaN where there is no interval; ``each`` (L, n): thin lines.
    """
    figure, places = figures.small_panels(len(panels))
    colors = palettes.layer_colors(len(layers)).colors
    lowest = 1.0
    x = np.arange(len(layers))
    for axes, (title, (values, low, high, each)) in zip(places, panels.items(), strict=True):
        values, low, high = (np.asarray(numbers, dtype=float) for numbers in (values, low, high))
        if each is not None:
            style = {"color": "#c3cad6", "linewidth": 1, "zorder": 1}
            axes.plot(x, each.to_numpy(float), label=list(each.columns), **style)
            lowest = min(lowest, float(np.nanmin(each.to_numpy(float))))
        lowest = min(lowest, float(np.nanmin([values, np.where(np.isnan(low), values, low)])))
        name = "values" if each is None else "mean"
        axes.plot(x, values, color="#7b8494", linewidth=1.2, zorder=2, label=name)
        known = np.isfinite(low)
        axes.vlines(x[known], low[known], high[known], color=colors[known], linewidth=2, zorder=3)
        axes.scatter(x, values, 34, "white", edgecolors=colors, linewidths=1.8, zorder=4)
        top = int(np.argmax(values))
        axes.scatter(x[top], values[top], 60, colors[[top]], zorder=5)
        region, _, facts = title.partition("\n")
        axes.set_title(
            textwrap.shorten(region.replace("_", " "), 38, placeholder=" …"),
            fontsize=10, color=figures.INK, pad=17,
        )  # fmt: skip
        axes.text(
            0.5, 1.03, facts, transform=axes.transAxes, ha="center", fontsize=8.5, color="#6b7484"
        )
        figures.layer_ticks(axes, layers)
    for axes in places:
        axes.set_ylim(max(np.floor(10 * (lowest - 0.02)) / 10, -0.05), 1.06)
    figure.supylabel("share of the best layer", fontsize=10, color=figures.INK)
    return figure
