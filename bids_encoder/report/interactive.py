"""The maps that the interactive view of a participant's report offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.derivatives import file_names
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report import hrf, palettes
from bids_encoder.report.contrasts import found_contrasts, scale_limit
from bids_encoder.report.viewer import (
    SCORE_STEP,
    ShownMap,
    ViewedMap,
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
    shown = ViewedMap(
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
        best=np.nan_to_num(maps.best[inside]).astype(int),
        smoothed=maps.smoothed,
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
    found = [
        _score_map("score r of a layer", scores, maps.vmax),
        _score_map("highest score r", maps.highest[maps.inside], maps.vmax),
        ShownMap(
            f"best layer ({maps.smoothed})", np.where(best > 0, best, np.nan), 0.5,
            len(layers) + 0.5, label_colors(len(layers)), list(names.items()), names,
        ),
        ShownMap(
            "slope over layers", slope, -limit, limit, color_table(palettes.SLOPES),
            [(-limit, f"{-limit:.2g} early"), (0.0, "0"), (limit, f"{limit:.2g} late")],
        ),
    ]  # fmt: skip
    if written.matching_sidecar("noiseceiling"):
        ceiling, colors = values("noiseceiling"), color_table(palettes.CEILINGS)
        found.append(ShownMap("noise ceiling of r²", ceiling, 0.0, 1.0, colors))
    if written.matching_sidecar("hrfpeak"):
        peaks = values("hrfpeak")
        low, high = hrf.limits(peaks[maps.passed[maps.inside]])
        colors = color_table(palettes.PEAKS)
        found.append(ShownMap("peak of the response", peaks, low, high, colors, unit="s"))
    return [*found, *_retinotopy(maps, values), *_contrasts(maps)]


def _retinotopy(maps: Maps, values: Callable[[str], np.ndarray]) -> list[ShownMap]:
    """Angle and eccentricity, where predictions depend on the angle, as in the figures."""
    written = maps.written
    found = []
    test = written.sidecar_from_models("retinotopy_f")
    tuned = values("retinotopy_f") > test["ShownAbove"] if test else True
    if written.sidecar_from_models("angle"):
        wheel = color_table(palettes.wheel_colors())
        ticks = [
            (-180.0, "−180° left"), (-90.0, "−90° down"), (0.0, "0° right"), (90.0, "90° up"),
            (180.0, "180° left"),
        ]  # fmt: skip
        angle = np.where(tuned, values("angle"), np.nan)
        found.append(
            ShownMap("angle in the visual field", angle, -180, 180, wheel, ticks, unit="°")
        )
    side = written.sidecar_from_models("eccentricity")
    if side:
        far = np.where(tuned, values("eccentricity"), np.nan)
        colors = color_table(palettes.ECCENTRICITIES)
        unit = {"degrees of visual angle": "°"}.get(side["Units"], f"× {side['Units']}")
        top = max(side["RingEccentricities"])
        found.append(ShownMap("eccentricity", far, 0.0, top, colors, unit=unit))
    return found


def _contrasts(maps: Maps) -> list[ShownMap]:
    """Synthesized contrasts and, where there are any, the measured ones."""
    found = []
    for label, side in found_contrasts(maps.written):
        for kind, what, unit in (
            ("measured_t", "measured, t", ""),
            ("synthesized_effect", "synthesized", "SD"),
        ):
            files = file_names.image_files(
                maps.written.root, kind, {**maps.written.names, "contrast": label}
            )
            if not all(path.exists() for path in files.values()):
                continue
            shown = maps.drawn(kind, contrast=label)[maps.inside]
            passed = maps.passed[maps.inside]
            counts = passed if what == "synthesized" and passed.any() else np.isfinite(shown)
            limit = scale_limit(shown[counts])  # as in the figure
            title = f"contrast {side['Contrast']}, {what}"
            colors = color_table(palettes.EFFECTS)
            found.append(ShownMap(title, shown, -limit, limit, colors, unit=unit))
    return found


def _score_map(title: str, scores: np.ndarray, top: float) -> ShownMap:
    return ShownMap(title, scores, 0.0, top, color_table(palettes.SCORES), step=SCORE_STEP)
