"""Figures of maps and profiles, as they stand in the report."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from nibabel import Nifti1Image, as_closest_canonical
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image

from bids_encoder.derivatives.atomic import atomic_path, remove
from bids_encoder.errors import DataError
from bids_encoder.report import alt_text
from bids_encoder.report.palettes import GREYS, INK, SCORES
from bids_encoder.report.surface_view import SurfaceView
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

SOURCE = "bids_encoder"  # what figures say inside that they are of


class TextStyle(TypedDict, total=False):
    """How matplotlib writes a text."""

    color: str
    weight: str


WARNING: TextStyle = {"color": "#bf616a", "weight": "bold"}
_ROOM = 75  # letters under a colour bar, before they stand aslant
matplotlib.rcParams["text.parse_math"] = False  # a name may hold any number of $


@dataclass(frozen=True)
class View:
    """Axial slices of one grid, drawn voxel by voxel: nothing is resampled.

    Attributes
    ----------
    orientation : (3, 2) array
        From the grid's axes to right, anterior, superior (nibabel's orientations).
    box : tuple of two slices
        What is shown of x and y.
    cuts : tuple of int
        Slices that are shown, from below to above.
    heights : tuple of float
        Their z in mm, in the middle of the box.
    aspect : float
        Height over width of a voxel.
    """

    orientation: np.ndarray
    box: tuple[slice, slice]
    cuts: tuple[int, ...]
    heights: tuple[float, ...]
    aspect: float

    @property
    def titles(self) -> tuple[str, ...]:
        """What stands above each slice."""
        return tuple(f"z = {round(height)} mm" for height in self.heights)

    def under(self, background: np.ndarray) -> list[np.ndarray]:
        """Cut a background."""
        return self.slices(background)

    def slices(self, volume: np.ndarray) -> list[np.ndarray]:
        """Cut a volume; rows go from posterior to anterior, columns from left to right."""
        turned = apply_orientation(volume, self.orientation)
        return [turned[(*self.box, cut)].T for cut in self.cuts]


def view_of(mask: Nifti1Image, weights: np.ndarray, number: int = 7) -> View:
    """Choose slices where something is to be seen.

    Parameters
    ----------
    mask : Nifti1Image
        Its bounding box is shown.
    weights : (x, y, z) array
        How much there is to see in each voxel; the slices span 90 % of it.
    number : int
        Of slices, at most.
    """
    canonical = as_closest_canonical(mask)
    orientation = io_orientation(mask.affine)
    inside = np.asarray(canonical.dataobj) != 0
    corners = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2))]
    x, y = (slice(max(c[0] - 1, 0), c[-1] + 2) for c in corners)
    mass = np.cumsum(apply_orientation(weights, orientation).sum(axis=(0, 1)))
    if mass[-1] > 0:
        seen = np.flatnonzero((mass > 0.05 * mass[-1]) & (mass < 0.95 * mass[-1]))
    else:
        seen = np.flatnonzero(inside.any(axis=(0, 1)))
    if seen.size < number:  # little to see: show what is around it
        centre = int(seen.mean()) if seen.size else int(np.argmax(mass))
        low = min(max(centre - number // 2, 0), max(len(mass) - number, 0))
        seen = np.arange(low, min(low + number, len(mass)))
    cuts = np.unique(np.linspace(seen[0], seen[-1], number).round().astype(int))
    middle = [(c[0] + c[-1]) / 2 for c in corners]
    heights = [float((canonical.affine @ [*middle, cut, 1])[2]) for cut in cuts]
    width, depth = canonical.header.get_zooms()[:2]
    return View(orientation, (x, y), tuple(cuts.tolist()), tuple(heights), float(depth / width))


def map_rows(
    maps: Sequence[tuple[str, np.ndarray]],
    background: np.ndarray,
    view: View | SurfaceView,
    *,
    vmin: float,
    vmax: float,
    colors,
    label: str = "",
    ticks: Sequence[tuple[float, str]] | None = None,
    legend: Callable[[Figure], None] | None = None,
    foot: float = 0.75,
    note: str = "",
) -> Figure:
    """Draw one row of axial slices per map, all on one scale.

    Parameters
    ----------
    maps : list of (title, array)
        Volumes (x, y, z), or values of all vertices; NaN is transparent.
    background : array
        Likewise; drawn in grey under the maps; NaN is white.
    view : View or SurfaceView
    vmin, vmax : float
    colors : matplotlib colour map or its name
    label : str
        Under the colour bar.
    ticks : list of (value, text), optional
        Of the colour bar.
    legend : function of the figure, optional
        Draws something else than a colour bar into the foot.
    foot : float
        Height in inches of what is left free under the slices.
    note : str
        Stands above the slices: what must not be overlooked.
    """
    grey = view.under(background)
    seen = background if isinstance(view, View) else np.stack(grey)
    low, high = np.nanquantile(seen, (0.02, 0.98))
    high = max(high, low + 1e-6)
    rows, columns = len(maps), len(grey)
    if _crowded(ticks):
        foot = max(foot, 1.15)
    tile_width = 9.5 / columns
    tile_height = tile_width * grey[0].shape[0] / grey[0].shape[1] * view.aspect
    head = 0.3 + 0.3 * bool(note)
    figure = plt.figure(figsize=(11, rows * tile_height + head + foot), facecolor="white")
    grid = figure.add_gridspec(
        rows, columns, left=0.125, right=0.995, wspace=0.02, hspace=0.02,
        top=1 - head / figure.get_figheight(), bottom=foot / figure.get_figheight(),
    )  # fmt: skip
    for row, (title, volume) in enumerate(maps):
        for column, (under, over) in enumerate(zip(grey, view.slices(volume), strict=True)):
            axes = figure.add_subplot(grid[row, column])
            show = partial(axes.imshow, origin="lower", aspect=view.aspect, interpolation="nearest")
            # Light grey to mid grey, so that dark and light colours both stand out.
            show(under, cmap=GREYS, vmin=low, vmax=high)
            show(over, cmap=colors, vmin=vmin, vmax=vmax)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(view.titles[column], fontsize=9, color=INK, pad=3)
            if column == 0 and isinstance(view, View):
                sides(axes)
            if column == 0:
                axes.text(
                    -0.06, 0.5, title, transform=axes.transAxes, ha="right", va="center",
                    fontsize=10, color=INK,
                )  # fmt: skip
    if note:
        top = 1 - 0.08 / figure.get_figheight()
        figure.text(0.56, top, note, ha="center", va="top", fontsize=10.5, **WARNING)
    if legend is not None:
        legend(figure)
    else:
        _color_bar(figure, colors, vmin, vmax, label, ticks, foot - 0.25)
    names = {int(value): text for value, text in ticks} if ticks and vmin == 0.5 else None
    figure.set_label(f"{note} {alt_text.of_maps(maps, view.titles, names)}".strip())
    return figure


def sides(axes: plt.Axes) -> None:
    """Mark what is left and right on an axial slice: left is left."""
    for x, side, align in ((0.0, "L", "left"), (1.0, "R", "right")):
        axes.text(
            x, 0.02, side, transform=axes.transAxes, ha=align, va="bottom", fontsize=8,
            color=INK,
        )  # fmt: skip


def empty_row(background: np.ndarray, view: View | SurfaceView, note: str) -> Figure:
    """Draw a brain in which nothing was found, and say so in it.

    Parameters
    ----------
    background, view
        As for :func:`map_rows`.
    note : str
        What is not there.
    """
    nothing = [("", np.full(background.shape, np.nan))]
    figure = map_rows(
        nothing, background, view, vmin=0, vmax=1, colors=SCORES,
        legend=lambda figure: None, foot=0.05,
    )  # fmt: skip
    figure.set_label(f"{note} Nothing is drawn.")
    said = f"{note}\nNothing is drawn."
    frame = {"facecolor": "white", "edgecolor": WARNING["color"], "boxstyle": "round,pad=0.6"}
    figure.text(0.56, 0.5, said, ha="center", va="center", fontsize=13, bbox=frame, **WARNING)
    return figure


def say_nothing_found(axes: plt.Axes, note: str) -> None:
    """Write into an empty panel why it is empty."""
    axes.text(
        0.5, 0.5, textwrap.fill(note, 34), ha="center", va="center", transform=axes.transAxes,
        fontsize=10, **WARNING,
    )  # fmt: skip


def tidy(*several: plt.Axes) -> None:
    """Axes of a plot in the report's manner: no frame, small figures."""
    for axes in several:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8)


def _crowded(ticks: Sequence[tuple[float, str]] | None) -> bool:
    """Whether the names under a colour bar must stand aslant."""
    return sum(len(_shortened(text)) + 2 for _, text in ticks or ()) > _ROOM


def _shortened(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:15]}…"


def _color_bar(figure, colors, vmin, vmax, label, ticks, height) -> None:
    inch = 1 / figure.get_figheight()
    texts = [_shortened(text) for _, text in ticks or ()]
    crowded = _crowded(ticks)
    left, wide = (0.2, 0.72) if crowded else (0.36, 0.4)
    axes = figure.add_axes((left, height * inch, wide, 0.1 * inch))
    mappable = plt.cm.ScalarMappable(plt.Normalize(vmin, vmax), plt.get_cmap(colors))
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal")
    if ticks:
        bar.set_ticks([value for value, _ in ticks], labels=texts)
    bar.set_label(label, color=INK, fontsize=9)
    bar.outline.set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    if crowded:
        axes.set_xticks(
            axes.get_xticks(), texts, rotation=30, ha="right", fontsize=7, rotation_mode="anchor"
        )  # fmt: skip


def small_panels(count: int) -> tuple[Figure, list[plt.Axes]]:
    """Small panels, at most three in a row, with one scale."""
    columns = min(count, 3)
    rows = -(-count // columns)
    size = (max(3.3 * columns, 5.5), 2.9 * rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True
    )
    for left_over in axes.ravel()[count:]:
        left_over.set_axis_off()
    return figure, list(axes.ravel()[:count])


def layer_ticks(axes: plt.Axes, layers: Sequence[str]) -> None:
    """Name the layers along the x axis."""
    axes.set_xticks(range(len(layers)), list(layers), rotation=40, ha="right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path, of: str = "") -> None:
    """Write a figure as PNG, whole or not at all, without a date in it.

    What it shows stands in the file too, in words (its Description), that it is of this program
    (its Source), and, if that is given, a checksum ``of`` what it was drawn (its Comment).
    """
    seen = figure.get_label() or alt_text.of_plots(figure)
    said = {"Software": None, "Source": SOURCE, "Description": seen}
    if of:
        said["Comment"] = of
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata=said)
    plt.close(figure)


def about(path: Path) -> dict[str, str]:
    """What a figure says of itself; nothing where it is damaged, or no PNG file.

    Each part of a PNG file has a checksum, all of which are compared.
    """
    try:
        with Image.open(path) as image:
            said = {str(key): str(value) for key, value in image.info.items()}
            image.verify()
    except (OSError, SyntaxError, ValueError):  # what Pillow says of damaged files
        return {}
    return said


def checked(path: Path) -> Path:
    """The path of a figure that an earlier run drew.

    Raises
    ------
    DataError
        It is damaged.
    """
    if about(path).get("Source") != SOURCE:
        raise DataError(
            "A figure that an earlier run drew is damaged.",
            file=path,
            expected="a PNG file of this program, whole",
            remedy="remove it and run the participant level again",
        )
    return path


def remove_old_figures(folder: Path, kept: Iterable[Path]) -> None:
    """Remove figures of this program that are on no page any more; name them in the log."""
    stay = {path.name for path in kept}
    old = [
        path
        for path in sorted(folder.glob("*_figure.png"))
        if path.name not in stay and about(path).get("Source") == SOURCE
    ]
    for path in old:
        remove(path)
    if old:
        names = ", ".join(path.name for path in old)
        logger.warning(f"Removed figures of earlier results: {names}", extra=OF_THIS_RUN)
