"""The maps that the interactive view of a participant's report offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report.figures import wheel_colors
from bids_encoder.report.viewer import (
    Shown,
    ShownMap,
    color_table,
    label_colors,
    surface_payload,
    volume_payload,
)

if TYPE_CHECKING:
    from bids_encoder.report.maps import Maps


def interactive_view(maps: Maps) -> str:
    """Encode the maps of one analysis for the interactive view.

    Returns
    -------
    str
        See :func:`bids_encoder.report.viewer.volume_payload`; empty where surfaces have no
        meshes.
    """
    written, inside = maps.written, maps.inside

    def values(kind: str, **names: str) -> np.ndarray:
        return maps.drawn(kind, **names)[inside]

    scores = np.stack([one[inside] for one in maps.r.values()])
    shown = Shown(
        layers=written.layers,
        scores=scores,
        passed=maps.passed[inside],
        rule=f"{maps.rule} ({maps.counted.number})",
        maps=_shown_maps(maps, scores, values),
        values={kind: values(kind) for kind in ("p", "q") if written.matching_sidecar(kind)},
        regions={
            atlas: (
                np.nan_to_num(values("regions", atlas=atlas)).astype(int),
                dict(enumerate(names, start=1)),
            )
            for atlas, names in written.regions().items()
        },
    )
    if isinstance(maps.grid, VolumeGrid):
        return volume_payload(shown, maps.grid.mask, maps.background[inside])
    if not maps.meshes:
        return ""
    parts = {
        {"L": "left", "R": "right"}[side]: (mesh.coordinates, mesh.faces)
        for side, mesh in maps.meshes.items()
    }
    return surface_payload(shown, parts, np.flatnonzero(inside), maps.background)


def _shown_maps(
    maps: Maps, scores: np.ndarray, values: Callable[[str], np.ndarray]
) -> list[ShownMap]:
    """What can be chosen; ``values`` reads another map at the places of the scores, (L, V)."""
    written, layers, limit = maps.written, maps.written.layers, maps.slope_limit
    best, slope = maps.best[maps.inside], maps.slope[maps.inside]
    names = dict(enumerate(layers, start=1))
    ticks = [(number, name if len(layers) <= 4 else str(number)) for number, name in names.items()]
    inferno = color_table("inferno")
    found = [
        ShownMap("score r of a layer", scores, 0.0, maps.vmax, inferno),
        ShownMap("highest score r", maps.highest[maps.inside], 0.0, maps.vmax, inferno),
        ShownMap(
            "best layer", np.where(best > 0, best, np.nan), 0.5, len(layers) + 0.5,
            label_colors(len(layers)), ticks, names,
        ),
        ShownMap(
            "slope", slope, -limit, limit, color_table("PuOr_r"),
            [(-limit, "early layers"), (limit, "late layers")],
        ),
    ]  # fmt: skip
    if written.matching_sidecar("noiseceiling"):
        ceiling = values("noiseceiling")
        found.append(ShownMap("noise ceiling of r²", ceiling, 0.0, 1.0, color_table("bone")))
    if written.matching_sidecar("hrfpeak"):
        peaks = values("hrfpeak")
        found.append(ShownMap("HRF peak (s)", peaks, 3.0, 9.0, color_table("viridis")))
    if written.sidecar_from_models("angle"):
        ticks = [(-90.0, "−90° down"), (0.0, "0° right"), (90.0, "90° up")]
        found.append(
            ShownMap("angle", values("angle"), -180.0, 180.0, color_table(wheel_colors()), ticks)
        )
    if written.sidecar_from_models("eccentricity"):
        far = values("eccentricity")
        top = float(np.nanmax(far)) if np.isfinite(far).any() else 1.0
        found.append(ShownMap("eccentricity", far, 0.0, top, color_table("viridis")))
    return found
