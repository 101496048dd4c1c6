"""The maps of the group, drawn for its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.counted import counted_in
from bids_encoder.derivatives.images import read_images
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.fingerprints.agreement import ALPHA
from bids_encoder.grids.frame import frame_of
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report import figures, palettes
from bids_encoder.report.page import Figure
from bids_encoder.report.surface_canvas import surface_canvas
from bids_encoder.report.surface_view import SurfaceView


@dataclass(frozen=True)
class GroupMaps:
    """The files of one summary that belong together.

    Attributes
    ----------
    root : Path
    names : mapping of str to str or None
        What their names are made of.
    sidecar : dict
        Of the table of scores, which is written last; empty where there is none.
    """

    root: Path
    names: Mapping[str, str | None]
    sidecar: dict

    @classmethod
    def find(cls, root: Path, names: Mapping[str, str | None]) -> GroupMaps:
        """Of a task, space, resolution and network."""
        names = {**names, "tpl": names["space"]}
        return cls(root, names, _sidecar(file_names.output_path(root, "group_scores", names)))

    def read(self, kind: str, **names: str | None) -> dict | None:
        """A map, or None where there is none that was made with the table of scores."""
        if self.names["tpl"] is None:
            return None
        names = {**self.names, **names}
        hash_ = self.sidecar.get("SettingsHash")
        files = file_names.image_files(self.root, kind, names)
        side = _sidecar(file_names.sidecars(self.root, kind, names)[-1])
        there = all(path.exists() for path in files.values())
        if hash_ is None or side.get("SettingsHash") != hash_ or not there:
            return None
        return read_images(files)

    def volume(self, kind: str, **names: str | None) -> np.ndarray | None:
        """Its values, as figures show them."""
        images = self.read(kind, **names)
        if images is None:
            return None
        frame = frame_of(images)
        return frame.drawn(frame.values_of(images))


def _sidecar(path: Path) -> dict:
    try:
        content = json.loads(path.with_name(f"{path.name.partition('.')[0]}.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@dataclass(frozen=True)
class _Canvas:
    """What the maps of a summary are drawn on.

    Attributes
    ----------
    background : array
        Mean BOLD, or the depth of sulci; NaN outside.
    seen : bool array
        Voxels that are drawn.
    rule : str
        Which these are, in words.
    note : str
        What the pictures must say; empty where they show what was found.
    nothing : bool
        Whether nothing was found.
    on : str
        What they are drawn on, in words.
    view : figures.View or SurfaceView
    """

    background: np.ndarray
    seen: np.ndarray
    rule: str
    note: str
    nothing: bool
    on: str
    view: figures.View | SurfaceView


def map_figures(maps: GroupMaps, members: Sequence[SavedAnalysis]) -> list[Figure]:
    """Draw the maps of a summary and write them as PNG; none without a common space.

    Drawn are voxels where encoding is significant in the group; where that cannot be
    tested, those that are predicted better than chance in more than half of the
    participants; where some participant has no p-values, all, and the pictures say that they
    were not tested.
    """
    layers = members[0].layers
    read = {layer: maps.read("group_mean", measure="r", layer=layer) for layer in layers}
    images = {layer: image for layer, image in read.items() if image is not None}
    if len(images) < len(read):
        return []
    frame = frame_of(images[layers[0]])
    means = {layer: frame.drawn(frame.values_of(image)) for layer, image in images.items()}
    highest = np.fmax.reduce(list(means.values()))
    scores = highest[np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    encoding = maps.read("group_encoding")
    p = None if encoding is None else frame.drawn(frame.values_of(encoding))
    canvas = _canvas(members, frame, highest, p)
    if canvas is None:
        return []
    made = [
        _draw(
            maps,
            canvas,
            "r",
            "Where each layer predicts, mean over participants",
            f"One scale for all layers. Drawn: {canvas.rule}. {canvas.on}",
            {layer: values.clip(0) for layer, values in means.items()},
            vmin=0.0,
            vmax=vmax,
            colors=palettes.SCORES,
            label="mean correlation r of prediction and held-out response",
        ),
        _best_layer(maps, canvas, layers),
        _slope(maps, canvas),
        _agreement(maps, canvas),
    ]
    return [figure for figure in made if figure is not None]


def _canvas(
    members: Sequence[SavedAnalysis],
    frame: VolumeGrid | PartsGrid,
    highest: np.ndarray,
    p: np.ndarray | None,
) -> _Canvas | None:
    """What there is to draw on; None where surfaces are not known."""
    inside = np.isfinite(highest)
    # Participants who came after the summary may lie on another grid.
    grids = [one.grid() for one in members]
    there = [
        (one, grid) for one, grid in zip(members, grids, strict=True) if grid.same_frame(frame)
    ]
    seen, rule, note = _seen(there, members[0].places, inside, p)
    nothing = not seen.any()
    if not isinstance(frame, VolumeGrid):
        sheets = [(one, grid) for one, grid in there if isinstance(grid, PartsGrid)]  # all are
        surface, background = surface_canvas(*sheets[0]) if sheets else (None, highest)
        on = "Inflated cortex; sulci are darker."
        if surface is None:
            return None
        return _Canvas(background, seen, rule, note, nothing, on, surface)
    background = np.ones(inside.shape)
    if there:
        background = np.mean([_drawn(one, grid, "boldref") for one, grid in there], axis=0)
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), frame.mask.affine)
    view = figures.view_of(mask, np.where(seen, np.nan_to_num(highest).clip(0) ** 2, 0))
    on = "Axial slices over the mean BOLD, z in mm, left is left."
    return _Canvas(np.where(inside, background, np.nan), seen, rule, note, nothing, on, view)


def _seen(
    there: Sequence[tuple[SavedAnalysis, Grid]],
    places: str,
    inside: np.ndarray,
    p: np.ndarray | None,
) -> tuple[np.ndarray, str, str]:
    """Which voxels are drawn, which these are in words, and what the pictures warn of."""
    if p is not None:
        seen = inside & (np.nan_to_num(p, nan=1) <= ALPHA)
        rule = f"{places} where encoding is significant in the group (p ≤ {ALPHA}, corrected)"
        note = "" if seen.any() else f"No {places} have significant encoding in the group."
        return seen, rule, note
    counted = [counted_in(one, grid) for one, grid in there]
    if not counted or not all(one.tested for one in counted):
        note = f"Not every participant was tested: all scored {places} are drawn, noise too."
        return inside, f"all scored {places}, not tested", note
    passed = np.mean(
        [
            np.nan_to_num(grid.drawn(one.where.astype(np.float32)))
            for one, (_, grid) in zip(counted, there, strict=True)
        ],
        axis=0,
    )
    seen = inside & (passed > 0.5)
    rule = (
        f"{places} that some layer predicts better than chance in more than half of the "
        "participants"
    )
    note = "" if seen.any() else (
        f"No {places} are predicted better than chance in more than half of the participants."
    )  # fmt: skip
    return seen, rule, note


def _drawn(one: SavedAnalysis, grid: Grid, kind: str) -> np.ndarray:
    return grid.drawn(grid.values_of(one.images(kind)))


def _best_layer(maps: GroupMaps, canvas: _Canvas, layers: Sequence[str]) -> Figure | None:
    best = maps.volume("group_bestlayer")
    if best is None:
        return None
    return _draw(
        maps,
        canvas,
        "bestlayer",
        "Which layer most often predicts best",
        f"The best layer of most participants. Drawn: {canvas.rule}.",
        {"best layer": np.where(best > 0, best, np.nan)},
        vmin=0.5,
        vmax=len(layers) + 0.5,
        colors=palettes.layer_colors(len(layers)),
        ticks=list(enumerate(layers, start=1)),
    )


def _slope(maps: GroupMaps, canvas: _Canvas) -> Figure | None:
    slope = maps.volume("group_mean", measure="slope")
    if slope is None:
        return None
    size = np.abs(slope[canvas.seen & np.isfinite(slope)])
    limit = max(float(np.quantile(size, 0.99)), 1e-3) if size.size else 1.0
    rows = {"slope": slope}
    caption = f"Mean slope. Drawn: {canvas.rule}."
    p = maps.volume("group_p", measure="slope")
    if p is not None:
        rows["slope,\np ≤ 0.05"] = np.where(p <= 0.05, slope, np.nan)
        caption += (
            " Below: where it lies further from 0 than chance does, at p ≤ 0.05, corrected for "
            "these voxels (signs of participants flipped, maximum statistic; other stimuli are "
            "not covered)."
        )
    return _draw(
        maps,
        canvas,
        "slope",
        "Early or late, mean over participants",
        caption,
        rows,
        vmin=-limit,
        vmax=limit,
        colors=palettes.SLOPES,
        label="early layers predict better  ←  →  late layers predict better",
    )


def _agreement(maps: GroupMaps, canvas: _Canvas) -> Figure | None:
    slope = maps.volume("group_consistency", measure="slope")
    best = maps.volume("group_consistency", measure="bestlayer")
    if slope is None or best is None:
        return None
    return _draw(
        maps,
        canvas,
        "agreement",
        "How many participants agree",
        "Slope: share of participants whose slope has the sign of the mean (at least about a "
        "half, by chance too). Best layer: share whose best layer is the most frequent one. "
        f"Drawn: {canvas.rule}.",
        {"slope": slope, "best layer": best},
        vmin=0.0,
        vmax=1.0,
        colors=palettes.SHARES,
        label="share of participants",
    )


def _draw(
    maps: GroupMaps,
    canvas: _Canvas,
    name: str,
    title: str,
    caption: str,
    rows: Mapping[str, np.ndarray],
    **style,
) -> Figure:
    path = file_names.output_path(maps.root, "group_figure", {**maps.names, "layer": name})
    if canvas.nothing:
        figure = figures.empty_row(canvas.background, canvas.view, canvas.note)
    else:
        shown = [(row, np.where(canvas.seen, volume, np.nan)) for row, volume in rows.items()]
        style["note"] = canvas.note
        figure = figures.map_rows(shown, canvas.background, canvas.view, **style)
    figures.save(figure, path)
    return Figure(title, path, caption)
