"""The maps of one analysis, drawn for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.bids import outputs
from bids_encoder.bids.written import Written
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report import figures, palettes
from bids_encoder.report.diagnostics import diagnostic_figure
from bids_encoder.report.hrf import hrf_figures
from bids_encoder.report.page import Figure
from bids_encoder.report.surface_canvas import surface_meshes
from bids_encoder.report.surface_view import SurfaceView, surface_view


@dataclass(frozen=True)
class Maps:
    """The maps of one analysis as arrays, NaN where there is no value.

    Volumes are (x, y, z); surfaces have one value for each vertex of both hemispheres.
    """

    written: Written
    grid: Grid
    r: dict[str, np.ndarray]
    highest: np.ndarray  # over layers
    best: np.ndarray
    slope: np.ndarray
    background: np.ndarray
    inside: np.ndarray
    passed: np.ndarray
    rule: str  # which voxels passed, in words
    on: str  # what they are drawn on, in words
    view: figures.View | SurfaceView | None  # None: the surface is not known
    meshes: Mapping[str, Mesh]  # of surfaces, by hemisphere
    vmax: float

    def drawn(self, kind: str, layer: str | None = None, **names: str) -> np.ndarray:
        """Read another map of the analysis, as an array of the same kind."""
        images = self.written.images(kind, layer, **names)
        return self.grid.drawn(self.grid.values_of(images))

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
        """The values of the voxels that are worth drawing."""
        return np.where(self.passed, values, np.nan)


def read_maps(written: Written) -> Maps:
    grid = written.grid()

    def drawn(kind: str, layer: str | None = None) -> np.ndarray:
        return grid.drawn(grid.values_of(written.images(kind, layer)))

    r = {layer: drawn("r", layer) for layer in written.layers}
    inside = np.isfinite(grid.drawn(np.ones(grid.n_values)))
    highest = np.full(inside.shape, np.nan)
    highest[inside] = np.fmax.reduce([values[inside] for values in r.values()])
    scores = highest[inside & np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    side = written.matching_sidecar("q")
    if side is not None and side["VoxelsPassed"]:
        passed = drawn("q") <= side["FalseDiscoveryRate"]
        rule = f"{written.places} that some layer predicts better than chance"
    else:
        passed = np.nan_to_num(highest) > 0.2 * vmax
        rule = f"{written.places} whose highest r exceeds {0.2 * vmax:.2f}"
    meshes: dict[str, Mesh] = {}
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
        passed=passed,
        rule=rule,
        on=on,
        view=view,
        meshes=meshes,
        vmax=vmax,
    )


def draw_maps(maps: Maps) -> tuple[Figure, ...]:
    """Draw the maps of an analysis and the profile over layers; write them as PNG.

    Voxels that are predicted better than chance are drawn; where there are no
    p-values, those whose score is above a fifth of the scale.
    """
    written, layers = maps.written, maps.written.layers
    scores = np.stack([volume[maps.inside] for volume in maps.r.values()])
    best = maps.best[maps.inside].astype(int)
    drawn = [
        (
            "profile",
            "Scores over layers",
            figures.profile(layers, scores, best, places=written.places),
            f"Left: mean over the {written.places} with the highest score in any layer (chosen by "
            "the same scores, so that heights are optimistic and shapes count). Right: "
            f"{written.places} in the best-layer map, from scores {maps.smoothed}.",
        )
    ]
    if maps.view is not None:
        first, *others = _map_figures(layers, maps)
        drawn = [first, *drawn, *others]
    drawn += hrf_figures(maps)
    pages = []
    for name, title, figure, caption in drawn:
        path = outputs.output_path(written.root, "figure", {**written.names, "layer": name})
        figures.save(figure, path)
        pages.append(Figure(title, path, caption))
    pages.append(diagnostic_figure(maps))
    return tuple(pages)


def _map_figures(layers: Sequence[str], maps: Maps) -> list[tuple]:
    """Name, title, figure and caption of each figure of maps."""
    limit, best = maps.slope_limit, np.where(maps.best > 0, maps.best, np.nan)
    near = "by one voxel" if isinstance(maps.view, figures.View) else "along the surface"
    return [
        (
            "r",
            "Where each layer predicts",
            figures.map_rows(
                [(layer, maps.shown(values.clip(0))) for layer, values in maps.r.items()],
                maps.background, maps.view, vmin=0.0, vmax=maps.vmax, colors=palettes.SCORES,
                label="correlation r of prediction and held-out response",
            ),
            f"Mean over folds; one scale for all layers; {maps.rule}. {maps.on}",
        ),
        (
            "bestlayer",
            "Which layer predicts best",
            figures.map_rows(
                [("best layer\n(smoothed)", maps.shown(best))],
                maps.background, maps.view, vmin=0.5, vmax=len(layers) + 0.5,
                colors=palettes.layer_colors(len(layers)),
                ticks=list(enumerate(layers, start=1)),
            ),
            f"Argmax over layers after smoothing {near}; {maps.rule}.",
        ),
        (
            "slope",
            "Early or late",
            figures.map_rows(
                [("slope", maps.shown(maps.slope))], maps.background, maps.view,
                vmin=-limit, vmax=limit, colors=palettes.SLOPES,
                label="early layers predict better  ←  →  late layers predict better",
            ),
            "Inner product of the normalised profile with a trend from −1 (first layer) to 1 "
            "(last layer); the same places as above.",
        ),
    ]  # fmt: skip
