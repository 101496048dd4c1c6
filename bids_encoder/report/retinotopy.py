"""Synthesized retinotopy in a participant's page: angle and eccentricity, and what was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.report import figures, palettes
from bids_encoder.report.maps import Maps
from bids_encoder.report.page import Figure, Section


def sections(maps: Maps) -> list[Section]:
    """The part of the page about retinotopy; none where it was not synthesized."""
    written = maps.written
    side = written.sidecar_from_models("retinotopy_f")
    if side is None:
        return []
    title = f"Synthesized retinotopy, task {written.names['task']}"
    if written.names["space"]:
        title += f", {written.names['space']}"
    f = maps.drawn("retinotopy_f")
    shown = maps.passed & (np.nan_to_num(f) > side["ShownAbove"])
    return [
        Section(
            title=title,
            anchor=file_names.label(title + (written.names["network"] or "")),
            paragraphs=(_said(side), _counted(maps, shown, side)),
            figures=(*_examples(written), *_map_figures(written, maps, shown, side)),
        )
    ]


def _said(side: Mapping) -> str:
    return (
        "What the models predict for an experiment that nobody ran (Eickenberg et al. 2017): "
        f"{len(side['Carriers'])} pictures seen through wedges {side['WedgeWidth']:g}° wide, in "
        f"steps of {side['WedgeStep']:g}°, and through {len(side['RingEccentricities'])} rings. "
        f"Predictions are the mean of those from {', '.join(side['Layers'])}."
    )


def _counted(maps: Maps, shown: np.ndarray, side: Mapping) -> str:
    counted = maps.counted
    if counted.none_passed:
        return f"{counted.note} No map is drawn: the models have no receptive fields to show."
    drawn = "Worth drawing" if maps.view is None else "Drawn"
    return (
        f"{drawn} are {np.count_nonzero(shown)} of {counted.said}: those where the predicted "
        f"responses depend on the angle (F > {side['ShownAbove']:g}). Other {counted.places} have "
        "a value in the files too, but it says little: where a model does not predict the "
        "responses, it has no receptive field to show."
    )


def _examples(written: SavedAnalysis) -> tuple[Figure, ...]:
    path = _path(written.root, written.names, "wedges")
    if not path.exists():
        return ()
    return (
        Figure(
            "What the models were shown", figures.checked(path), "Examples of wedges and rings."
        ),
    )


def write_examples(
    root: Path, names: Mapping[str, str | None], pictures: Sequence[tuple[str, np.ndarray]]
) -> None:
    """Draw some of the wedges and rings, while the pictures are at hand.

    Parameters
    ----------
    root : Path
        The derivatives dataset.
    names : mapping
        What the names of the analysis' files are made of.
    pictures : sequence of (title, (H, W, 3) uint8)
        At least two.
    """
    figure, axes = plt.subplots(1, len(pictures), figsize=(11, 1.4), layout="constrained")
    for one, (title, picture) in zip(axes, pictures, strict=True):
        one.imshow(picture)
        one.set_title(title, fontsize=8, color=figures.INK)
        one.set_axis_off()
    figures.save(figure, _path(root, names, "wedges"))


def _map_figures(
    written: SavedAnalysis, maps: Maps, shown: np.ndarray, side: Mapping
) -> tuple[Figure, ...]:
    """Angle and eccentricity; nothing where the surface is not known."""
    if maps.view is None:
        return ()
    return (
        _angle_figure(written, maps, shown, side),
        _eccentricity_figure(written, maps, shown),
    )


def _angle_figure(written: SavedAnalysis, maps: Maps, shown: np.ndarray, side: Mapping) -> Figure:
    angle = np.where(shown, maps.drawn("angle"), np.nan)
    figure = maps.rows(
        [("angle", angle)], vmin=-180, vmax=180, colors=palettes.wheel_colors(),
        legend=_wheel, foot=1.75,
    )  # fmt: skip
    path = _path(written.root, written.names, "angle")
    figures.save(figure, path)
    return Figure(
        "Angle",
        path,
        "The place in the visual field, as the wheel shows it, to which each place of the "
        "brain responds most; the right of the wheel is the right of the visual field. "
        f"Drawn: {maps.rule}, with F > {side['ShownAbove']:g}. Smoothing: {side['Smoothing']}. "
        f"{maps.on}",
    )


def _eccentricity_figure(written: SavedAnalysis, maps: Maps, shown: np.ndarray) -> Figure:
    side = written.sidecar_from_models("eccentricity") or {}
    values = np.where(shown, maps.drawn("eccentricity"), np.nan)
    high = max(side.get("RingEccentricities", [1.0]))
    figure = maps.rows(
        [("eccentricity", values)], vmin=0, vmax=high, colors=palettes.ECCENTRICITIES,
        label=f"distance from the centre, in {side.get('Units')}",
    )  # fmt: skip
    path = _path(written.root, written.names, "eccentricity")
    figures.save(figure, path)
    return Figure(
        "Eccentricity",
        path,
        "Of the ring to which each place of the brain responds most; the same places as above.",
    )


def _path(root: Path, names: Mapping[str, str | None], what: str) -> Path:
    return file_names.output_path(root, "figure", {**names, "layer": f"retinotopy{what}"})


def _wheel(figure: plt.Figure, size: float = 1.15) -> None:
    """The legend of angles: the visual field as a ring of colours, `size` inches wide."""
    width, height = size / figure.get_figwidth(), size / figure.get_figheight()
    axes = figure.add_axes(
        (0.56 - width / 2, 0.28 / figure.get_figheight(), width, height), projection="polar"
    )
    edges = np.deg2rad(np.linspace(-180, 180, 257))
    values = np.degrees((edges[:-1] + edges[1:]) / 2)[None]
    axes.pcolormesh(edges, [0.45, 1.0], values, cmap=palettes.wheel_colors(), vmin=-180, vmax=180)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    for angle in (0, 90, 180, -90):
        side = {0: "left", 180: "right"}.get(angle, "center")
        above = {90: "bottom", -90: "top"}.get(angle, "center")
        axes.text(
            np.deg2rad(angle), 1.12, f"{angle}°", ha=side, va=above, fontsize=8,
            color=figures.INK,
        )  # fmt: skip
