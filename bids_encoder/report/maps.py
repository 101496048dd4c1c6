"""The maps of one analysis, drawn for the report."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np

from bids_encoder.bids import outputs
from bids_encoder.bids.written import Written
from bids_encoder.report import figures
from bids_encoder.report.diagnostics import diagnostic_figure
from bids_encoder.report.interactive import interactive_view
from bids_encoder.report.page import Figure


@dataclass(frozen=True)
class Maps:
    """The maps of one analysis as arrays (x, y, z), NaN where there is no value."""

    r: dict[str, np.ndarray]
    highest: np.ndarray  # over layers
    best: np.ndarray
    slope: np.ndarray
    background: np.ndarray
    inside: np.ndarray
    passed: np.ndarray
    rule: str  # which voxels passed, in words
    view: figures.View
    vmax: float

    def shown(self, values: np.ndarray) -> np.ndarray:
        """The values of the voxels that are worth drawing."""
        return np.where(self.passed, values, np.nan)


def read_maps(written: Written) -> Maps:
    r = {layer: volume_of(written.image("r", layer)) for layer in written.layers}
    mask = written.image("mask")
    inside = np.asarray(mask.dataobj) != 0
    highest = np.full(inside.shape, np.nan)
    highest[inside] = np.fmax.reduce([volume[inside] for volume in r.values()])
    scores = highest[inside & np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    side = written.matching_sidecar("q")
    if side is not None and side["VoxelsPassed"]:
        passed = volume_of(written.image("q")) <= side["FalseDiscoveryRate"]
        rule = "voxels that some layer predicts better than chance"
    else:
        passed = np.nan_to_num(highest) > 0.2 * vmax
        rule = f"voxels whose highest r exceeds {0.2 * vmax:.2f}"
    return Maps(
        r=r,
        highest=highest,
        best=volume_of(written.image("bestlayer")),
        slope=volume_of(written.image("slope")),
        background=volume_of(written.image("boldref")),
        inside=inside,
        passed=passed,
        rule=rule,
        view=figures.view_of(mask, np.where(passed, np.nan_to_num(highest).clip(0) ** 2, 0)),
        vmax=vmax,
    )


def volume_of(image: nibabel.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj, dtype=np.float32)


def draw_maps(written: Written) -> tuple[tuple[Figure, ...], str]:
    """Draw the maps of an analysis and the profile over layers; write them as PNG.

    Voxels that are predicted better than chance are drawn; where there are no
    p-values, those whose score is above a fifth of the scale.

    Returns
    -------
    figures : tuple of Figure
    view : str
        The same maps for the interactive view.
    """
    layers, maps = written.layers, read_maps(written)
    scores = np.stack([volume[maps.inside] for volume in maps.r.values()])
    slopes = np.abs(maps.slope[maps.passed & np.isfinite(maps.slope)])
    limit = max(float(np.quantile(slopes, 0.98)), 1e-3) if slopes.size else 1.0

    def values(kind: str, layer: str | None) -> np.ndarray:
        return volume_of(written.image(kind, layer))[maps.inside]

    view = interactive_view(written, vmax=maps.vmax, limit=limit, passed=maps.passed[maps.inside])
    drawn = [
        (
            "r",
            "Where each layer predicts",
            figures.map_rows(
                [(layer, maps.shown(volume.clip(0))) for layer, volume in maps.r.items()],
                maps.background, maps.view, vmin=0.0, vmax=maps.vmax, colors="inferno",
                label="correlation r of prediction and held-out response",
            ),
            f"Mean over folds; one scale for all layers; {maps.rule}. "
            "Axial slices of the analysed voxels over their mean BOLD, z in mm, left is left.",
        ),
        (
            "profile",
            "Scores over layers",
            figures.profile(layers, scores, maps.best[maps.inside].astype(int)),
            "Left: mean over the voxels with the highest score in any layer (chosen by the "
            "same scores, so that heights are optimistic and shapes count). Right: voxels in "
            "the best-layer map.",
        ),
        (
            "bestlayer",
            "Which layer predicts best",
            figures.map_rows(
                [("best layer", maps.shown(np.where(maps.best > 0, maps.best, np.nan)))],
                maps.background, maps.view, vmin=0.5, vmax=len(layers) + 0.5,
                colors=figures.layer_colors(len(layers)),
                ticks=list(enumerate(layers, start=1)),
            ),
            f"Argmax over layers after smoothing by one voxel; {maps.rule}.",
        ),
        (
            "slope",
            "Early or late",
            figures.map_rows(
                [("slope", maps.shown(maps.slope))], maps.background, maps.view,
                vmin=-limit, vmax=limit, colors="PuOr_r",
                label="early layers predict better  ←  →  late layers predict better",
            ),
            "Inner product of the normalised profile with a trend from −1 (first layer) to 1 "
            "(last layer); the same voxels as above.",
        ),
    ]  # fmt: skip
    pages = []
    for name, title, figure, caption in drawn:
        path = outputs.output_path(written.root, "figure", {**written.names, "layer": name})
        figures.save(figure, path)
        pages.append(Figure(title, path, caption))
    pages.append(diagnostic_figure(written, values))
    return tuple(pages), view
