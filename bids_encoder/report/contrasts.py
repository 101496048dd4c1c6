"""Synthesized contrasts in a participant's page: maps side by side, precision and recall."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bids_encoder.bids.names import parse_name
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.counted import counted_in
from bids_encoder.derivatives.read import ENTITIES, SavedAnalysis, read_table
from bids_encoder.derivatives.seals import read_sidecar
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report import figures, palettes
from bids_encoder.report.page import Figure, Section, Table
from bids_encoder.report.surface_canvas import surface_canvas
from bids_encoder.report.surface_view import SurfaceView
from bids_encoder.synthesis.precision_recall import MEASURED_AT

_DRAWN = "effect"  # what of the synthesized contrast is thresholded in the figure
_DRAWN_FROM = 0.3  # of the scale


def sections(written: SavedAnalysis) -> list[Section]:
    """A part of the page for each contrast that was synthesized with these models."""
    return [_section(written, label, side) for label, side in found_contrasts(written)]


def found_contrasts(written: SavedAnalysis) -> list[tuple[str, dict]]:
    """Labels and sidecars of the contrasts of this analysis."""
    desc = f"{file_names.label(written.names['network'] or '')}+synthesized"
    ours = {key: value for key, value in written.names.items() if key in ENTITIES and value}
    ours |= {"stat": "t", "desc": desc}
    if written.names.get("form") == "gifti":
        ours.setdefault("hemi", "R")  # each hemisphere has a sidecar; both say the same
    found = []
    folder = written.path("scores").parent
    for path in sorted(folder.glob(f"*_contrast-*_stat-t_desc-{desc}_statmap.json")):
        entities = dict(parse_name(path).entities)
        label = entities.pop("contrast")
        side = read_sidecar(path, "run the participant level again with the same --synthesize")
        models = (side.get("Settings") or {}).get("models")
        if entities == ours and models == [written.sidecar.get("SettingsHash")]:
            found.append((label, side))
    return found


def _section(written: SavedAnalysis, label: str, side: dict) -> Section:
    title = f"Contrast {side['Contrast']}, task {written.names['task']}"
    table = _read(_path(written, "precisionrecall", label))
    curves = _read(_path(written, "curves", label))
    drawn = _maps(written, label)
    if table is not None and curves is not None and len(curves):
        drawn.append(_curves(written, label, table, curves))
    return Section(
        title=title,
        anchor=file_names.label(title + (written.names["network"] or "")),
        paragraphs=(_said(side), _learned(side)),
        tables=() if table is None else (_areas(table, written.places),),
        figures=tuple(drawn),
    )


def _path(written: SavedAnalysis, kind: str, label: str) -> Path:
    return file_names.output_path(written.root, kind, {**written.names, "contrast": label})


def _read(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.exists() else None


def _said(side: dict) -> str:
    terms = ", ".join(
        f"{weight:+.3g} × {name} ({side['Pictures'][name]} pictures)"
        for name, weight in side["Weights"].items()
    )
    return f"{terms}. Predictions are the mean of those from {', '.join(side['Layers'])}."


def _learned(side: dict) -> str:
    samples = side["TrainingSamples"]
    if samples is None:
        return "None of the pictures has trained the models of this analysis, which predict them."
    if side["Parts"] == 1:
        return (
            "The models that predict these pictures were fitted again without them, on "
            f"{samples[0]} samples."
        )
    return (
        "Hardly anything else was shown: the pictures are halved, and each half is predicted by "
        f"models fitted without it ({' and '.join(map(str, samples))} samples). Precision and "
        "recall compare each half with its own trials; the maps are of both halves, and the "
        "synthesized one owes some of its likeness to the measured one to that."
    )


def _maps(written: SavedAnalysis, label: str) -> list[Figure]:
    """The maps, measured and synthesized; nothing where the surface is not known."""
    grid = written.grid()
    counted = counted_in(written, grid)
    passed = np.nan_to_num(grid.drawn(counted.where.astype(np.float32))) > 0
    measured = all(path.exists() for path in _images(written, "measured_t", label).values())
    effect = _values(written, grid, "synthesized_effect", label)
    t = _values(written, grid, "measured_t", label) if measured else effect
    view, background = _canvas(written, grid, t if measured else np.where(passed, effect, 0))
    if view is None:
        return []
    path = file_names.output_path(
        written.root, "figure", {**written.names, "layer": f"contrast{label}"}
    )
    rows, scales = [], []
    if measured:
        limit = scale_limit(t)
        rows.append((f"measured\n± {limit:.2g}", np.where(np.abs(t) > MEASURED_AT, t, 0) / limit))
        scales.append(
            f"Measured: ± {limit:.2g} t, drawn beyond ± {MEASURED_AT:g} (not corrected for the "
            f"number of {written.places})"
        )
    if not counted.none_passed:
        limit = scale_limit(effect[passed])
        strong = passed & (np.abs(effect) > _DRAWN_FROM * limit)
        rows.append((f"synthesized\n± {limit:.2g}", np.where(strong, effect, 0) / limit))
        scales.append(
            f"Synthesized: ± {limit:.2g} standard deviations, in {counted.rule}; values below "
            f"{_DRAWN_FROM:.0%} of the scale are not drawn"
        )
    note = counted.note + (" No synthesized contrast is drawn." if counted.none_passed else "")
    if rows:
        figure = figures.map_rows(
            [(title, np.where(values != 0, values, np.nan)) for title, values in rows],
            background, view, vmin=-1, vmax=1, colors=palettes.EFFECTS,
            label="share of the scale of each row", note=note,
        )  # fmt: skip
    else:
        figure = figures.empty_row(background, view, counted.note)
    figures.save(figure, path)
    on = "Left is left." if isinstance(grid, VolumeGrid) else "Inflated cortex; sulci are darker."
    caption = (
        "Red: positive, blue: negative. The scale of each row ends at the 99.9th percentile of "
        f"its absolute values. {'. '.join([*scales, note])}".rstrip(". ")
        + f". {on}"
    )
    return [Figure("Measured and synthesized" if measured else "Synthesized", path, caption)]


def scale_limit(values: np.ndarray) -> float:
    """The end of the scale of a row of maps."""
    known = np.abs(values[np.isfinite(values)])
    return max(float(np.quantile(known, 0.999)), 1e-6) if known.size else 1.0


def _canvas(
    written: SavedAnalysis, grid: VolumeGrid | PartsGrid, values: np.ndarray
) -> tuple[figures.View | SurfaceView | None, np.ndarray]:
    """What maps are drawn on: slices where most is to be seen, or inflated hemispheres."""
    if not isinstance(grid, VolumeGrid):
        return surface_canvas(written, grid)
    weights = np.square(np.nan_to_num(values))
    strong = np.where(weights > np.quantile(weights, 0.98), weights, 0)
    background = grid.drawn(grid.values_of(written.images("boldref")))
    return figures.view_of(written.image("mask"), strong), background


def _values(written: SavedAnalysis, grid: Grid, kind: str, label: str) -> np.ndarray:
    return grid.drawn(grid.values_of(written.images(kind, contrast=label)))


def _images(written: SavedAnalysis, kind: str, label: str) -> dict[str | None, Path]:
    return file_names.image_files(written.root, kind, {**written.names, "contrast": label})


def _curves(
    written: SavedAnalysis, label: str, table: pd.DataFrame, curves: pd.DataFrame
) -> Figure:
    """Precision over recall: all layers together, and each alone."""
    drawn = curves[curves.statistic == _DRAWN]
    areas = table[table.statistic == _DRAWN].set_index(["layer", "direction"])
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    layers = [one for one in table.layer.unique() if one != "all"]
    every_layer = written.layers
    palette = palettes.layer_rgb(len(every_layer)) / 255
    colors = dict(zip(every_layer, palette, strict=True))
    for panel, direction in zip(axes, ("positive", "negative"), strict=True):
        for layer in [*layers, "all"]:
            points = drawn[(drawn.layer == layer) & (drawn.direction == direction)]
            style = {"color": colors.get(layer, figures.INK), "linewidth": 1.2}
            if layer == "all":
                style["linewidth"] = 2.8
            area = areas.loc[layer, direction].average_precision
            panel.plot(points.recall, points.precision, label=f"{layer} ({area:.3f})", **style)
        every = areas.loc["all", direction]
        panel.axhline(every.chance, color="#8b929e", linestyle=":", label="chance")
        panel.axvline(0.5, color="#d8dee9", zorder=0)
        panel.plot(every.recall, every.precision, "o", color=figures.INK, markersize=6)
        panel.set_title(
            f"{direction}: {every.voxels_measured:.0f} of {every.voxels:.0f} {written.places} "
            "to be found (t > 3)",
            fontsize=10, color=figures.INK,
        )  # fmt: skip
        panel.set_xlabel("recall")
        panel.set_xlim(0, 1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=7, ncols=2)
    axes[0].set_ylabel("precision")
    path = file_names.output_path(
        written.root, "figure", {**written.names, "layer": f"contrast{label}curves"}
    )
    figures.save(figure, path)
    dot = ""
    if areas.loc["all"][["recall", "precision"]].notna().all(axis=1).any():
        dot = " The dot is R50, the highest precision at a recall of at least one half."
    return Figure(
        "Precision and recall",
        path,
        "How well the synthesized effect, thresholded at every value in turn, finds what "
        "the measured contrast shows (t > 3, not corrected for their number, so that some are "
        f"noise), over all scored {written.places}: for the mean over layers (thick) and for each "
        f"layer alone, with average precision.{dot}",
    )


def _areas(table: pd.DataFrame, places: str) -> Table:
    header = ("layer", "direction", "average precision: effect", "t", "chance",
              "precision at R50", "recall at R50", f"{places} to be found (t > 3)")  # fmt: skip
    by_effect = table[table.statistic == _DRAWN]
    by_t = table[table.statistic == "t"].set_index(["layer", "direction"])
    rows = tuple(
        (
            row.layer, row.direction, f"{row.average_precision:.3f}",
            f"{by_t.loc[row.layer, row.direction].average_precision:.3f}", f"{row.chance:.3f}",
            f"{row.precision:.3f}", f"{row.recall:.2f}", f"{row.voxels_measured}",
        )
        for row in by_effect.itertuples()
    )  # fmt: skip
    title = f"Agreement with the measured contrast, over all scored {places}"
    return Table(title, header, rows)
