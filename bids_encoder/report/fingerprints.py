"""Fingerprints of regions in the reports of participants and of the group."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.read import SavedAnalysis, read_fingerprints
from bids_encoder.fingerprints.mean_interval import MIN_PARTICIPANTS
from bids_encoder.fingerprints.regions import BEST_SHARE, CONFIDENCE
from bids_encoder.report import figures, palettes
from bids_encoder.report.page import Figure

if TYPE_CHECKING:
    import pandas

_MANY = 12  # regions drawn of one atlas
# Colours and kinds of lines.
_PERSON = ("#c3cad6", "-")
_ASIDE = ("#dfe4ec", "--")
_WEAK = ("#c3cad6", "--")


@dataclass(frozen=True, eq=False)
class Panel:
    """What is drawn of one region.

    Attributes
    ----------
    facts, region : str
        What stands above it, below the region's name.
    values, low, high : (L,) sequences
        NaN where there is no interval.
    weak : bool
        No voxel passes: it is pale and dashed, without intervals.
    each : DataFrame (L, n) or None
        Thin lines, one a participant.
    aside : collection of str
        Participants who do not count.
    """

    facts: str
    region: str
    values: Sequence
    low: Sequence
    high: Sequence
    weak: bool = False
    each: pandas.DataFrame | None = None
    aside: Collection[str] = ()


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


def participant_figures(written: SavedAnalysis) -> list[Figure]:
    """Draw the region fingerprints of a participant, one figure an atlas; write them as PNG."""
    made = []
    for atlas, path in written.fingerprints().items():
        table = read_fingerprints(path)
        regions, left_out = _best(table, "score")
        panels = [_panel(name, table[table["region"] == name]) for name in regions]
        if panels:
            figure = fingerprints(written.layers, panels)
            place = file_names.output_path(
                written.root, "figure", {**written.names, "layer": f"fingerprint{atlas}"}
            )
            figures.save(figure, place)
            tested = table["voxels_predicted"].notna().all()
            passed = (
                "Beside r: how many of the region's voxels are predicted better than chance by "
                "some layer. Where none is, the region is weak: pale and dashed, and what it "
                "shows is noise. "
                if tested
                else "Not tested (no p-values were asked for): noise has a fingerprint too. "
            )
            made.append(
                Figure(
                    f"Fingerprints of regions: {atlas}",
                    place,
                    f"Mean r of each layer over the {BEST_SHARE:.0%} of a region's voxels with "
                    "the highest r in any layer, divided by its maximum over layers (r above "
                    "each panel, too high, because these voxels are chosen by it). "
                    f"{passed}{_bars_said(panels)}The filled dot is the highest. Values below 0 "
                    f"are cut off.{left_out}",
                )
            )
    return made


def _panel(region: str, rows: pandas.DataFrame) -> Panel:
    """What is drawn of one region of a participant."""
    first = rows.iloc[0]
    found = region, rows["fingerprint"], rows["low"], rows["high"]
    r = f"r = {rows['score'].max():.2f}"
    if np.isnan(first["voxels_predicted"]):
        return Panel(f"{r} in {first['best_voxels']}, not tested", *found)
    passed = int(first["voxels_predicted"])
    if not passed:
        return Panel(f"weak: no voxel passes ({r})", *found, weak=True)
    return Panel(f"{r} in {first['best_voxels']}; {passed} of {first['voxels']} pass", *found)


def group_figures(root: Path, members: Sequence[SavedAnalysis]) -> list[Figure]:
    """Draw the region fingerprints of the group, one figure an atlas; write them as PNG."""
    names = members[0].names
    people = [f"sub-{one.names['sub']}" for one in members]
    made = []
    for atlas in sorted({atlas for one in members for atlas in one.fingerprints()}):
        path = file_names.output_path(root, "group_fingerprint", {**names, "atlas": atlas})
        if not path.exists():
            continue
        table = read_fingerprints(path)
        there = [name for name in people if name in table.columns]
        regions, left_out = _best(table, "participants")
        panels = [_group_panel(name, table[table["region"] == name], there) for name in regions]
        if panels:
            place = file_names.output_path(
                root, "group_figure", {**names, "layer": f"fingerprint{atlas}"}
            )
            figures.save(fingerprints(members[0].layers, panels), place)
            made.append(
                Figure(
                    f"Fingerprints of regions: {atlas}",
                    place,
                    "Thin lines: participants in whom some voxel of the region is predicted better "
                    "than chance (or who were not tested); dashed: those in whom none is, who are "
                    "left out of the mean. A region without such participants is weak: pale and "
                    "dashed, and what it shows is noise. Dots: the mean, "
                    f"{_intervals_said(panels)}. The filled dot is the highest.{left_out}",
                )
            )
    return made


def _group_panel(region: str, rows: pandas.DataFrame, people: Sequence[str]) -> Panel:
    """What is drawn of one region of the group."""
    number, names = rows["participants"].iloc[0], rows["weak_participants"].iloc[0]
    aside = names.split(", ") if isinstance(names, str) else []
    facts = f"n = {number}" + (f", {len(aside)} weak left out" if aside else "")
    weak = not number and bool(aside)
    if weak:
        facts = f"weak: no voxel passes in any of {len(aside)}"
    each = rows[list(people)]
    return Panel(facts, region, rows["mean"], rows["low"], rows["high"], weak, each, aside)


def _has_intervals(panels: Sequence[Panel]) -> bool:
    return any(np.isfinite(np.asarray(one.low, float)).any() for one in panels)


def _bars_said(panels: Sequence[Panel]) -> str:
    if not _has_intervals(panels):
        return ""
    return (
        f"Bars: {CONFIDENCE:.0%} bootstrap intervals over voxels; they say how much the shape "
        "hangs on single voxels, not what other participants would show. "
    )


def _intervals_said(panels: Sequence[Panel]) -> str:
    if not _has_intervals(panels):
        return f"without intervals, which need {MIN_PARTICIPANTS} participants"
    return (
        f"with {CONFIDENCE:.0%} bootstrap-t intervals over participants (from {MIN_PARTICIPANTS} "
        "participants on, where they differ; other stimuli are not covered)"
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


def fingerprints(layers: Sequence[str], panels: Sequence[Panel]) -> plt.Figure:
    """One panel a region: values over layers with their intervals.

    Parameters
    ----------
    layers : sequence of str, early to late
    panels : sequence of Panel
    """
    figure, places = figures.small_panels(len(panels))
    colors = palettes.layer_rgb(len(layers)) / 255
    lowest = 1.0
    x = np.arange(len(layers))
    for axes, panel in zip(places, panels, strict=True):
        values, low, high = (
            np.asarray(numbers, dtype=float) for numbers in (panel.values, panel.low, panel.high)
        )
        if panel.each is not None:
            for name, line in panel.each.items():
                color, dashes = _ASIDE if name in panel.aside else _PERSON
                axes.plot(
                    x, line.to_numpy(float), color=color, linestyle=dashes, linewidth=1, zorder=1,
                    label=f"_{name}",
                )  # fmt: skip
            if panel.each.notna().any(axis=None):
                lowest = min(lowest, float(np.nanmin(panel.each.to_numpy(float))))
        lowest = min(lowest, float(np.nanmin([values, np.where(np.isnan(low), values, low)])))
        if panel.weak:
            color, dashes = _WEAK
            axes.plot(
                x, values, color=color, linestyle=dashes, zorder=2, linewidth=1.2, marker="o",
                markersize=4,
            )  # fmt: skip
        else:
            _draw_known(axes, x, values, low, high, colors)
        axes.set_title(
            textwrap.shorten(panel.region.replace("_", " "), 38, placeholder=" …"),
            fontsize=10, color=_WEAK[0] if panel.weak else figures.INK, pad=17,
        )  # fmt: skip
        style: figures.TextStyle = figures.WARNING if panel.weak else {"color": "#6b7484"}
        axes.text(
            0.5, 1.03, panel.facts, transform=axes.transAxes, ha="center", fontsize=8.5, **style
        )
        figures.layer_ticks(axes, layers)
    for axes in places:
        axes.set_ylim(max(np.floor(10 * (lowest - 0.02)) / 10, -0.05), 1.06)
    figure.supylabel("share of the best layer", fontsize=10, color=figures.INK)
    return figure


def _draw_known(axes, x, values, low, high, colors) -> None:
    """The fingerprint of a region in which some voxels pass, in the colours of the layers."""
    axes.plot(x, values, color="#7b8494", linewidth=1.2, zorder=2)
    known = np.isfinite(low)
    axes.vlines(x[known], low[known], high[known], color=colors[known], linewidth=2, zorder=3)
    axes.scatter(x, values, 34, "white", edgecolors=colors, linewidths=1.8, zorder=4)
    top = int(np.argmax(values))
    axes.scatter(x[top], values[top], 60, colors[[top]], zorder=5)
