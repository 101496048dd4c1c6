"""The maps that the interactive view of a participant's report offers."""

from __future__ import annotations

import numpy as np

from bids_encoder.bids.written import Written
from bids_encoder.report.viewer import Shown, ShownMap, color_table, label_colors, volume_payload


def interactive_view(written: Written, *, vmax: float, limit: float, passed: np.ndarray) -> str:
    """Collect the maps of one analysis for the interactive view.

    Parameters
    ----------
    written : Written
    vmax : float
        Upper end of the scale of scores.
    limit : float
        Either end of the scale of slopes.
    passed : (V,) bool
        Voxels that are drawn at first.

    Returns
    -------
    str
        See :func:`bids_encoder.report.viewer.volume_payload`.
    """
    layers = written.layers
    mask = written.image("mask")
    inside = np.asarray(mask.dataobj) != 0

    def values(kind: str, layer: str | None = None) -> np.ndarray:
        return np.asarray(written.image(kind, layer).dataobj)[inside].astype(np.float32)

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
    numbers = {kind: values(kind) for kind in ("p", "q") if written.matching_sidecar(kind)}
    shown = Shown(layers, scores, passed, maps, numbers, regions={})
    return volume_payload(shown, mask, values("boldref"))
