"""The files of a contrast: maps, agreement, precision and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from bids_encoder.derivatives.write import Analysis, write_dseg, write_statmap, write_table
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.contrast_glm import RunContrast
from bids_encoder.synthesis.conditions import ContrastPictures
from bids_encoder.synthesis.effects import Effect, combine
from bids_encoder.synthesis.parts import Part
from bids_encoder.synthesis.precision_recall import (
    MEASURED_AT,
    Curve,
    measured_voxels,
    precision_recall,
)

ALL = "all"
"""Stands for the mean of the predictions of all layers."""

WHOLE = "whole"
"""A contrast that is measured from the trials of all its pictures."""

Synthesized: TypeAlias = Mapping[str, Sequence[Effect]]
"""Effects of each part, by layer."""

COMPARISON = ("precisionrecall", "curves", "agreement")
"""Kinds of files that compare a synthesized contrast with a measured one."""

MEASURED = ("measured_effect", "measured_t")

DIRECTIONS = {"positive": 1, "negative": -1}
STATISTICS = ("effect", "t")
AGREEMENT = (
    "positive: both", "positive: measured only", "positive: synthesized only",
    "negative: both", "negative: measured only", "negative: synthesized only",
)  # fmt: skip

_COLUMNS = {
    "layer": f"Layer whose predictions were compared; {ALL}: the mean over layers.",
    "statistic": "What of the synthesized contrast was thresholded: its effect, or its t over "
    "pictures.",
    "direction": "positive: voxels with a larger weighted sum; negative: the opposite contrast.",
    "average_precision": "Area under the precision-recall curve.",
    "chance": "Share of the voxels that the measured contrast shows: the area of a map that knows "
    "nothing.",
    "voxels": "Number of voxels compared, summed over parts: all that are scored, whether or not "
    "models predict them better than chance.",
    "voxels_measured": f"Number of these with a measured t above {MEASURED_AT:g}, which is not "
    "corrected for their number: some are noise.",
    "threshold": "R50: the threshold of highest precision among those that find at least half of "
    "the measured voxels (t_R50 for t).",
    "precision": "Precision at that threshold.",
    "recall": "Recall at that threshold.",
}
_CURVE_COLUMNS = {
    "layer": _COLUMNS["layer"],
    "statistic": _COLUMNS["statistic"],
    "direction": _COLUMNS["direction"],
    "threshold": "Threshold of the statistic (of its negative, for the opposite contrast).",
    "precision": "Share of the voxels above it that the measured contrast shows.",
    "recall": "Share of the voxels that the measured contrast shows that are above it.",
}


def part_name(number: int) -> str:
    """A contrast that is measured from the trials of one part."""
    return f"part {number}"


def write_contrast(
    analysis: Analysis,
    one: ContrastPictures,
    parts: Sequence[Part],
    found: Synthesized,
    measured: Mapping[str, RunContrast] | None,
    grid: Grid,
) -> str:
    """Write all files of a contrast but the measured maps; the last one means: done.

    Returns
    -------
    str
        The areas under the curves in a few words.
    """
    label = one.contrast.label
    compared = [] if measured is None else _compared(parts, measured)
    extra = {
        "Contrast": one.contrast.name,
        "Weights": dict(one.contrast.weights),
        "Pictures": {name: len(ids) for name, ids in one.pictures.items()},
        "Layers": [layer for layer in found if layer != ALL],
        "Parts": len(parts),
        "TrainingSamples": [int(np.count_nonzero(part.train)) for part in parts]
        if parts[0].train.size
        else None,
        "Measured": measured is not None,
        "Compared": bool(compared),
    }
    said = ""
    if compared:
        said = _write_comparison(analysis, label, compared, found, measured, grid, extra)
    for layer in [*(one for one in found if one != ALL), ALL]:
        named = None if layer == ALL else layer
        effect = combine(found[layer])
        write_statmap(
            analysis, "synthesized_effect", effect.effect, grid, extra=extra, contrast=label,
            layer=named,
        )  # fmt: skip
        write_statmap(
            analysis, "synthesized_t", effect.t, grid, dof=effect.dof, extra=extra, contrast=label,
            layer=named,
        )  # fmt: skip
    return said


def write_measured(
    analysis: Analysis, one: ContrastPictures, measured: RunContrast, grid: Grid
) -> None:
    """Write the maps of the measured contrast."""
    extra = {
        "Contrast": one.contrast.name,
        "Weights": dict(one.contrast.weights),
        "Runs": measured.n_runs,
    }
    label, dof = one.contrast.label, measured.dof
    write_statmap(analysis, "measured_effect", measured.effect, grid, extra=extra, contrast=label)
    write_statmap(analysis, "measured_t", measured.t, grid, dof=dof, extra=extra, contrast=label)


def _compared(
    parts: Sequence[Part], measured: Mapping[str, RunContrast]
) -> list[tuple[int, RunContrast]]:
    """Parts that were measured, and what was measured of them."""
    if len(parts) == 1:
        return [(0, measured[WHOLE])]
    told = [(number, measured.get(part_name(number))) for number in range(len(parts))]
    return [(number, one) for number, one in told if one is not None]


def _write_comparison(analysis, label, compared, found, measured, grid, extra) -> str:
    """Tables of precision and recall, and the map of agreement; the areas in words."""
    curves = {
        (layer, statistic, direction): precision_recall(
            np.concatenate([sign * getattr(effects[part], statistic) for part, _ in compared]),
            np.concatenate([measured_voxels(one.t, sign) for _, one in compared]),
        )
        for layer, effects in found.items()
        for statistic in STATISTICS
        for direction, sign in DIRECTIONS.items()
    }
    rows = [_summary(*key, curve) for key, curve in curves.items()]
    table = {name: [row[name] for row in rows] for name in _COLUMNS}
    write_table(analysis, "precisionrecall", table, _COLUMNS, extra=extra, contrast=label)
    points = [
        (*key, *point)
        for key, curve in curves.items()
        for point in zip(*_points(curve), strict=True)
    ]
    columns = zip(*points, strict=True) if points else ([] for _ in _CURVE_COLUMNS)
    table = dict(zip(_CURVE_COLUMNS, map(list, columns), strict=True))
    write_table(analysis, "curves", table, _CURVE_COLUMNS, extra=extra, contrast=label)
    agreement = _agreement(combine(found[ALL]).effect, measured[WHOLE].t, curves)
    write_dseg(analysis, "agreement", agreement, grid, AGREEMENT, extra=extra, contrast=label)
    areas = [
        f"{curve.area:.2f} (chance {curve.chance:.2f})"
        for (layer, statistic, _), curve in curves.items()
        if layer == ALL and statistic == "effect" and curve.n_relevant
    ]
    return f": average precision {', '.join(areas)}" if areas else ": no voxel measured at t > 3"


def _summary(layer: str, statistic: str, direction: str, curve: Curve) -> dict[str, object]:
    best = curve.best
    at = {
        name: None if best is None else getattr(curve, name)[best]
        for name in ("threshold", "precision", "recall")
    }
    return {
        "layer": layer,
        "statistic": statistic,
        "direction": direction,
        "average_precision": curve.area,
        "chance": curve.chance,
        "voxels": curve.n_voxels,
        "voxels_measured": curve.n_relevant,
        **at,
    }


def _points(curve: Curve) -> tuple[list[float], ...]:
    thin = curve.thinned()
    return thin.threshold.tolist(), thin.precision.tolist(), thin.recall.tolist()


def _agreement(synthesized: np.ndarray, measured: np.ndarray, curves) -> np.ndarray:
    """Which voxels both show, at R50 of the effect and at t > 3: numbers into AGREEMENT, from 1."""
    labels = np.zeros(len(synthesized), dtype=int)
    for offset, (direction, sign) in zip((0, 3), DIRECTIONS.items(), strict=True):
        curve = curves[ALL, "effect", direction]
        threshold = np.inf if curve.best is None else curve.threshold[curve.best]
        ours = sign * np.nan_to_num(synthesized) >= threshold
        theirs = sign * np.nan_to_num(measured) > MEASURED_AT
        for number, where in enumerate((ours & theirs, ~ours & theirs, ours & ~theirs), start=1):
            labels[where] = offset + number
    return labels
