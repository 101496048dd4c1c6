"""The maps that the interactive view of a participant's report offers."""

from __future__ import annotations

import numpy as np

from bids_encoder.bids.written import Written
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report.figures import wheel_colors
from bids_encoder.report.surface_canvas import surface_meshes
from bids_encoder.report.viewer import (
    Shown,
    ShownMap,
    color_table,
    label_colors,
    surface_payload,
    volume_payload,
)


def interactive_view(
    written: Written,
    grid: Grid,
    *,
    passed: np.ndarray,
    rule: str,
    background: np.ndarray,
    vmax: float,
    limit: float,
) -> str:
    """Collect the maps of one analysis for the interactive view.

    Parameters
    ----------
    written : Written
    grid : Grid
        Of the analysis.
    passed : bool array, as the grid draws maps
        Places that are drawn at first.
    rule : str
        Which these are, in words.
    background : array, as the grid draws maps
    vmax : float
        Upper end of the scale of scores.
    limit : float
        Either end of the scale of slopes.

    Returns
    -------
    str
        See :func:`bids_encoder.report.viewer.volume_payload`; empty where surfaces have no
        meshes.
    """
    inside = np.isfinite(grid.drawn(np.ones(grid.n_values)))

    def values(kind: str, layer: str | None = None, **names: str) -> np.ndarray:
        return grid.drawn(grid.values_of(written.images(kind, layer, **names)))[inside]

    shown = Shown(
        layers=written.layers,
        scores=np.stack([values("r", layer) for layer in written.layers]),
        passed=passed[inside],
        rule=rule,
        maps=_maps(written, values, vmax, limit),
        values={kind: values(kind) for kind in ("p", "q") if written.matching_sidecar(kind)},
        regions={
            atlas: (
                np.nan_to_num(values("regions", atlas=atlas)).astype(int),
                dict(enumerate(names, start=1)),
            )
            for atlas, names in written.regions().items()
        },
    )
    if isinstance(grid, VolumeGrid):
        return volume_payload(shown, grid.mask, background[inside])
    meshes, _ = surface_meshes(written, grid)
    if not meshes:
        return ""
    parts = {
        {"L": "left", "R": "right"}[side]: (mesh.coordinates, mesh.faces)
        for side, mesh in meshes.items()
    }
    return surface_payload(shown, parts, np.flatnonzero(inside), background)


def _maps(written: Written, values, vmax: float, limit: float) -> list[ShownMap]:
    layers = written.layers
    scores = np.stack([values("r", layer) for layer in layers])
    best = values("bestlayer")
    names = dict(enumerate(layers, start=1))
    ticks = [(number, name if len(layers) <= 4 else str(number)) for number, name in names.items()]
    maps = [
        ShownMap("score r of a layer", scores, 0.0, vmax, color_table("inferno")),
        ShownMap("highest score r", np.fmax.reduce(scores), 0.0, vmax, color_table("inferno")),
        ShownMap(
            "best layer", np.where(best > 0, best, np.nan), 0.5, len(layers) + 0.5,
            label_colors(len(layers)), ticks, names,
        ),
        ShownMap(
            "slope", values("slope"), -limit, limit, color_table("PuOr_r"),
            [(-limit, "early layers"), (limit, "late layers")],
        ),
    ]  # fmt: skip
    if written.matching_sidecar("noiseceiling"):
        ceiling = values("noiseceiling")
        maps.append(ShownMap("noise ceiling of r²", ceiling, 0.0, 1.0, color_table("bone")))
    if written.matching_sidecar("hrfpeak"):
        peaks = values("hrfpeak")
        maps.append(ShownMap("HRF peak (s)", peaks, 3.0, 9.0, color_table("viridis")))
    if written.sidecar_from_models("angle"):
        ticks = [(-90.0, "−90° down"), (0.0, "0° right"), (90.0, "90° up")]
        maps.append(
            ShownMap("angle", values("angle"), -180.0, 180.0, color_table(wheel_colors()), ticks)
        )
    if written.sidecar_from_models("eccentricity"):
        far = values("eccentricity")
        top = float(np.nanmax(far)) if np.isfinite(far).any() else 1.0
        maps.append(ShownMap("eccentricity", far, 0.0, top, color_table("viridis")))
    return maps
