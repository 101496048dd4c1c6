"""What all layers together say of one analysis: maps, and the table of scores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.bids.derivatives import Analysis, write_dseg, write_statmap, write_table
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import PENALTIES
from bids_encoder.fingerprints.profile import best_layer, slope
from bids_encoder.plan import Plan
from bids_encoder.responses.assemble import Responses
from bids_encoder.source import Source

logger = logging.getLogger(__name__)

_COLUMNS = {
    "layer": "Layer of the network, from shallow to deep.",
    "voxels": "Number of voxels with a score.",
    "r_median": "Median over voxels of the held-out correlation r.",
    "r_q95": "95th percentile over voxels of r.",
    "r_max": "Largest r.",
    "voxels_r03": "Number of voxels with r above 0.3.",
    "r2_max": "Largest held-out share of variance, r2.",
    "voxels_best": "Number of voxels that this layer predicts best (best-layer map).",
    "penalty_median": "Median of log10 of the penalty, in units of the mean kernel diagonal.",
    "penalty_at_low_edge": "Number of voxels whose penalty is the smallest of the grid.",
    "penalty_at_high_edge": "Number of voxels whose penalty is the largest of the grid.",
}


@dataclass(frozen=True)
class LayerScores:
    """What one layer predicts: arrays over voxels, NaN where there is no score."""

    layer: str
    r2: np.ndarray
    r: np.ndarray
    penalty: np.ndarray  # log10


def warn_of_edges(scores: Sequence[LayerScores]) -> None:
    """Warn where the grid of penalties was too narrow for many predicted voxels."""
    for score in scores:
        fitted = np.isfinite(score.penalty)
        predicted = fitted & (score.r2 > 0)
        low = np.count_nonzero(_at(score.penalty, 0) & predicted)
        if predicted.any() and low > 0.05 * np.count_nonzero(predicted):
            logger.warning(
                f"layer {score.layer}: the best penalty of {low} of "
                f"{np.count_nonzero(predicted)} predicted voxels is the smallest of the grid; "
                "a smaller one might predict them better"
            )


def _at(penalty: np.ndarray, place: int) -> np.ndarray:
    """Whether the penalty is that end of the grid (0 or -1), in float32's precision."""
    return np.isclose(penalty, np.log10(PENALTIES[place]), atol=1e-4)


def write_summary(
    analysis: Analysis,
    plan: Plan,
    source: Source,
    responses: Responses,
    folds: tuple[Fold, ...],
    scores: Sequence[LayerScores],
    warnings: Sequence[str],
) -> None:
    """Write what all layers together say; the table comes last and means: done."""
    layers = [score.layer for score in scores]
    inside = np.asarray(responses.mask.dataobj) != 0
    best = best_layer(np.stack([s.r for s in scores]), inside)
    write_dseg(analysis, "bestlayer", best, responses.mask, layers)
    write_statmap(analysis, "slope", slope(np.stack([s.r for s in scores])), responses.mask)
    rows = [_row(score, np.count_nonzero(best == i)) for i, score in enumerate(scores, start=1)]
    extra = {
        "Network": source.name,
        "NetworkCitation": source.citation,
        "Layers": layers,
        "Design": plan.design.kind,
        "DesignReason": plan.design.reason,
        "Runs": [run.name for run in plan.runs],
        "Preprocessed": plan.runs[0].preprocessed,
        "RepetitionTime": plan.infos[0].repetition_time,
        "NumberOfStimuli": len(plan.stimuli),
        "NumberOfSamples": len(responses.values),
        "NumberOfFolds": len(folds),
        "Groups": list(responses.group_names),
        "VoxelsWithoutScore": int(np.count_nonzero(~np.isfinite(scores[0].r))),
        "Warnings": list(warnings),
    }
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    write_table(analysis, "scores", columns, _COLUMNS, extra=extra)


def _row(score: LayerScores, voxels_best: int) -> dict[str, object]:
    scored = np.isfinite(score.r)
    r, r2, penalty = score.r[scored], score.r2[scored], score.penalty[scored]
    if not scored.any():
        r = r2 = penalty = np.array([np.nan])
    return {
        "layer": score.layer,
        "voxels": int(scored.sum()),
        "r_median": np.median(r),
        "r_q95": np.quantile(r, 0.95),
        "r_max": r.max(),
        "voxels_r03": int(np.count_nonzero(r > 0.3)),
        "r2_max": r2.max(),
        "voxels_best": voxels_best,
        "penalty_median": np.median(penalty),
        "penalty_at_low_edge": int(np.count_nonzero(_at(penalty, 0))),
        "penalty_at_high_edge": int(np.count_nonzero(_at(penalty, -1))),
    }
