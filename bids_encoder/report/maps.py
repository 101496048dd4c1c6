"""The maps of one analysis, drawn for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.counted import Counted, counted_in
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report import figures, palettes
from bids_encoder.report.diagnostics import diagnostic_figure
from bids_encoder.report.hrf import hrf_figures
from bids_encoder.report.page import Figure
from bids_encoder.report.profiles import profile
from bids_encoder.report.surface_canvas import surface_meshes
from bids_encoder.report.surface_view import SurfaceView, surface_view


@dataclass(frozen=True)
class Maps:
    """The maps of one analysis as arrays, NaN where there is no value.

    Volumes are (x, y, z); surfaces have one value for each vertex of both hemispheres.
    """

    written: SavedAnalysis
    grid: VolumeGrid | PartsGrid
    r: dict[str, np.ndarray]
    highest: np.ndarray  # over layers
    best: np.ndarray
    slope: np.ndarray
    background: np.ndarray
    inside: np.ndarray
    counted: Counted  # the voxels that are drawn and counted, as (V,)
    passed: np.ndarray  # the same, as the maps are
    on: str  # what they are drawn on, in words
    view: figures.View | SurfaceView | None  # None: the surface is not known
    meshes: Mapping[str, Mesh]  # of surfaces, by hemisphere
    vmax: float

    def drawn(self, kind: str, layer: str | None = None, **names: str) -> np.ndarray:
        """Read another map of the analysis, as an array of the same kind."""
        images = self.written.images(kind, layer, **names)
        return self.grid.drawn(self.grid.values_of(images))

    @property
    def rule(self) -> str:
        """Which voxels passed, in words."""
        return self.counted.rule

    @property
    def smoothed(self) -> str:
        """How scores were smoothed before the best layer was chosen, in words."""
        if isinstance(self.grid, VolumeGrid):
            return "smoothed by one voxel"
        return "smoothed along the surface" if self.meshes else "not smoothed"

    @property
    def slope_limit(self) -> float:
        """Either end of the scale of slopes."""
        slopes = np.abs(self.slope[self.passed & np.isfinite(self.slope)])
        return max(float(np.quantile(slopes, 0.98)), 1e-3) if slopes.size else 1.0

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The values of the voxels that passed; of all, where nothing was tested."""
        return np.where(self.passed, values, np.nan)

    def rows(self, maps: Sequence[tuple[str, np.ndarray]], **style) -> figures.Figure:
        """Draw maps of the voxels that passed; where none did, an empty brain that says so.

        Only where there is a `view`.
        """
        assert self.view is not None
        if self.counted.none_passed:
            return figures.empty_row(self.background, self.view, self.counted.note)
        shown = [(title, self.shown(values)) for title, values in maps]
        note = self.counted.note
        return figures.map_rows(shown, self.background, self.view, note=note, **style)


def read_maps(written: SavedAnalysis) -> Maps:
    grid = written.grid()

    def drawn(kind: str, layer: str | None = None) -> np.ndarray:
        return grid.drawn(grid.values_of(written.images(kind, layer)))

    r = {layer: drawn("r", layer) for layer in written.layers}
    inside = np.isfinite(grid.drawn(np.ones(grid.n_values)))
    highest = np.full(inside.shape, np.nan)
    highest[inside] = np.fmax.reduce([values[inside] for values in r.values()])
    scores = highest[inside & np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    counted = counted_in(written, grid)
    passed = np.nan_to_num(grid.drawn(counted.where.astype(np.float32))) > 0
    meshes: dict[str, Mesh] = {}
    view: figures.View | SurfaceView | None
    if isinstance(grid, VolumeGrid):
        background, on = drawn("boldref"), "Axial slices of the analysed voxels over their mean "
        on += "BOLD, z in mm, left is left."
        weights = np.where(passed, np.nan_to_num(highest).clip(0) ** 2, 0)
        view = figures.view_of(grid.mask, weights)
    else:
        meshes, background = surface_meshes(written, grid)
        view = surface_view(meshes) if meshes else None
        on = "Inflated cortex; sulci are darker."
    return Maps(
        written=written,
        grid=grid,
        r=r,
        highest=highest,
        best=drawn("bestlayer"),
        slope=drawn("slope"),
        background=background,
        inside=inside,
        counted=counted,
        passed=passed,
        on=on,
        view=view,
        meshes=meshes,
        vmax=vmax,
    )


def draw_maps(maps: Maps) -> tuple[Figure, ...]:
    """Draw the maps of an analysis and the profile over layers; write them as PNG.

    Voxels that are predicted better than chance are drawn; where there are no p-values, all
    that have a score, and the pictures say that they were not tested.
    """
    written, layers = maps.written, maps.written.layers
    scores = np.stack([volume[maps.inside] for volume in maps.r.values()])
    best = maps.best[maps.inside].astype(int)
    drawn = [
        (
            "profile",
            "Scores over layers",
            profile(layers, scores, best, maps.counted),
            f"Left: mean over {maps.rule}, and over those of them with the highest score in any "
            "layer (chosen by the same scores, so that heights are optimistic and shapes count). "
            f"Right: how many {maps.rule} each layer predicts best (best-layer map, from "
            f"scores {maps.smoothed}).",
        )
    ]
    if maps.view is not None:
        first, *others = _map_figures(layers, maps)
        drawn = [first, *drawn, *others]
    drawn += hrf_figures(maps)
    pages = []
    for name, title, figure, caption in drawn:
        path = file_names.output_path(written.root, "figure", {**written.names, "layer": name})
        figures.save(figure, path)
        pages.append(Figure(title, path, caption))
    pages.append(diagnostic_figure(maps))
    return tuple(pages)


def _map_figures(layers: Sequence[str], maps: Maps) -> list[tuple]:
    """Name, title, figure and caption of each figure of maps."""
    limit = maps.slope_limit
    near = "by one voxel" if isinstance(maps.view, figures.View) else "along the surface"
    drawn = maps.counted.drawn
    return [
        (
            "r",
            "Where each layer predicts",
            maps.rows(
                [(layer, values.clip(0)) for layer, values in maps.r.items()],
                vmin=0.0, vmax=maps.vmax, colors=palettes.SCORES,
                label="correlation r of prediction and held-out response",
            ),
            f"Mean over folds; one scale for all layers. {drawn} {maps.on}",
        ),
        (
            "bestlayer",
            "Which layer predicts best",
            maps.rows(
                [("best layer\n(smoothed)", np.where(maps.best > 0, maps.best, np.nan))],
                vmin=0.5, vmax=len(layers) + 0.5, colors=palettes.layer_colors(len(layers)),
                ticks=list(enumerate(layers, start=1)),
            ),
            f"Argmax over layers after smoothing {near}. {drawn}",
        ),
        (
            "slope",
            "Early or late",
            maps.rows(
                [("slope", maps.slope)], vmin=-limit, vmax=limit, colors=palettes.SLOPES,
                label="early layers predict better  ←  →  late layers predict better",
            ),
            "Inner product of the normalised profile with a trend from −1 (first layer) to 1 "
            f"(last layer). {drawn}",
        ),
    ]  # fmt: skip
