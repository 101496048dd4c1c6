"""The maps of the group, drawn for its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder.bids import outputs
from bids_encoder.bids.written import Written
from bids_encoder.report import figures
from bids_encoder.report.page import Figure


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
        return cls(root, names, _sidecar(outputs.output_path(root, "group_scores", names)))

    def read(self, kind: str, **names: str | None) -> nibabel.Nifti1Image | None:
        """A map, or None where there is none that was made with the table of scores."""
        if self.names["tpl"] is None:
            return None
        path = outputs.output_path(self.root, kind, {**self.names, **names})
        hash_ = self.sidecar.get("SettingsHash")
        if hash_ is None or _sidecar(path).get("SettingsHash") != hash_ or not path.exists():
            return None
        return nibabel.load(path)

    def volume(self, kind: str, **names: str | None) -> np.ndarray | None:
        """Its values (x, y, z)."""
        image = self.read(kind, **names)
        return None if image is None else np.asarray(image.dataobj, dtype=np.float32)


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
    background : (x, y, z) array
        Mean BOLD; NaN outside.
    seen : (x, y, z) bool array
        Voxels that are drawn.
    rule : str
        Which these are, in words.
    view : figures.View
    """

    background: np.ndarray
    seen: np.ndarray
    rule: str
    view: figures.View


def map_figures(maps: GroupMaps, members: Sequence[Written]) -> list[Figure]:
    """Draw the maps of a summary and write them as PNG; none without a common space.

    Drawn are voxels that are predicted better than chance in more than half of the
    participants; where there are no p-values, those whose mean score is above a fifth of
    the scale.
    """
    layers = members[0].layers
    images = {layer: maps.read("group_mean", measure="r", layer=layer) for layer in layers}
    if any(image is None for image in images.values()):
        return []
    means = {layer: np.asarray(image.dataobj, np.float32) for layer, image in images.items()}
    image = images[layers[0]]
    highest = np.fmax.reduce(list(means.values()))
    scores = highest[np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    canvas = _canvas(members, image, highest, 0.2 * vmax)
    made = [
        _draw(
            maps,
            canvas,
            "r",
            "Where each layer predicts, mean over participants",
            f"One scale for all layers; {canvas.rule}. Axial slices over the mean BOLD, z in mm, "
            "left is left.",
            {layer: values.clip(0) for layer, values in means.items()},
            vmin=0.0,
            vmax=vmax,
            colors="inferno",
            label="mean correlation r of prediction and held-out response",
        ),
        _best_layer(maps, canvas, layers),
        _slope(maps, canvas),
        _agreement(maps, canvas),
    ]
    return [figure for figure in made if figure is not None]


def _canvas(members: Sequence[Written], image, highest: np.ndarray, threshold: float) -> _Canvas:
    inside = np.isfinite(highest)
    seen = np.nan_to_num(highest) > threshold
    rule = f"voxels whose highest mean r exceeds {threshold:.2f}"
    # Participants who came after the summary may lie on another grid.
    members = [one for one in members if one.image("mask").shape == inside.shape]
    rates = [one.matching_sidecar("q") for one in members]
    if rates and all(rate is not None for rate in rates):
        passed = np.mean(
            [
                np.asarray(one.image("q").dataobj) <= rate["FalseDiscoveryRate"]
                for one, rate in zip(members, rates, strict=True)
            ],
            axis=0,
        )
        if (passed > 0.5).any():
            seen = inside & (passed > 0.5)
            rule = (
                "voxels that some layer predicts better than chance in more than half of the "
                "participants"
            )
    background = np.ones(inside.shape)
    if members:
        background = np.mean([np.asarray(one.image("boldref").dataobj) for one in members], axis=0)
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), image.affine)
    view = figures.view_of(mask, np.where(seen, np.nan_to_num(highest).clip(0) ** 2, 0))
    return _Canvas(np.where(inside, background, np.nan), seen, rule, view)


def _best_layer(maps: GroupMaps, canvas: _Canvas, layers: Sequence[str]) -> Figure | None:
    best = maps.volume("group_bestlayer")
    if best is None:
        return None
    return _draw(
        maps,
        canvas,
        "bestlayer",
        "Which layer most often predicts best",
        f"The best layer of most participants; {canvas.rule}.",
        {"best layer": np.where(best > 0, best, np.nan)},
        vmin=0.5,
        vmax=len(layers) + 0.5,
        colors=figures.layer_colors(len(layers)),
        ticks=list(enumerate(layers, start=1)),
    )


def _slope(maps: GroupMaps, canvas: _Canvas) -> Figure | None:
    slope = maps.volume("group_mean", measure="slope")
    if slope is None:
        return None
    size = np.abs(slope[canvas.seen & np.isfinite(slope)])
    limit = max(float(np.quantile(size, 0.99)), 1e-3) if size.size else 1.0
    rows = {"slope": slope}
    caption = f"Mean slope; {canvas.rule}."
    p = maps.volume("group_p", measure="slope")
    if p is not None:
        rows["slope,\np ≤ 0.05"] = np.where(p <= 0.05, slope, np.nan)
        caption += (
            " Below: where it differs from 0 at p ≤ 0.05, corrected for all voxels (signs of "
            "participants flipped, maximum statistic)."
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
        colors="PuOr_r",
        label="early layers predict better  ←  →  late layers predict better",
    )


def _agreement(maps: GroupMaps, canvas: _Canvas) -> Figure | None:
    rows = {
        "slope": maps.volume("group_consistency", measure="slope"),
        "best layer": maps.volume("group_consistency", measure="bestlayer"),
    }
    if any(volume is None for volume in rows.values()):
        return None
    return _draw(
        maps,
        canvas,
        "agreement",
        "How many participants agree",
        "Slope: share of participants whose slope has the sign of the mean (at least about a "
        "half, by chance too). Best layer: share whose best layer is the most frequent one. "
        f"Drawn: {canvas.rule}.",
        rows,
        vmin=0.0,
        vmax=1.0,
        colors="BuPu",
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
    path = outputs.output_path(maps.root, "group_figure", {**maps.names, "layer": name})
    shown = [(row, np.where(canvas.seen, volume, np.nan)) for row, volume in rows.items()]
    figures.save(figures.map_rows(shown, canvas.background, canvas.view, **style), path)
    return Figure(title, path, caption)
