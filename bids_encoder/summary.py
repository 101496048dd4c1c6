"""What all layers together say of one analysis: maps, the table of scores, fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bids_encoder.bids.derivatives import (
    Analysis,
    is_done,
    read_values,
    remove_files,
    start_analysis,
    write_dseg,
    write_statmap,
    write_table,
)
from bids_encoder.bids.provenance import plain
from bids_encoder.bids.seals import sidecar_of
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import PENALTIES
from bids_encoder.encoding.scores import are_small
from bids_encoder.fingerprints.components import Component, first_component, well_predicted
from bids_encoder.fingerprints.profile import best_layer, normalized, slope
from bids_encoder.fingerprints.regions import (
    BEST_SHARE,
    CONFIDENCE,
    DRAWS,
    Fingerprint,
    region_fingerprint,
)
from bids_encoder.grids.grid import Grid
from bids_encoder.plan import Plan
from bids_encoder.regions import Regions
from bids_encoder.responses.assemble import Responses
from bids_encoder.responses.atlas import region_stamp
from bids_encoder.responses.grouping import Grouping
from bids_encoder.settings import Inference
from bids_encoder.source import Source

logger = logging.getLogger(__name__)

SMOOTHING = 1.0  # of the scores in the best-layer map, in voxels

_COLUMNS = {
    "layer": "Layer of the network, from shallow to deep.",
    "voxels": "Number of voxels with a score.",
    "r_median": "Median over voxels of the held-out correlation r.",
    "r_q95": "95th percentile over voxels of r.",
    "r_max": "Largest r.",
    "voxels_r03": "Number of voxels with r above 0.3.",
    "r2_max": "Largest held-out share of variance, r2.",
    "pooled_r2_max": "Largest share of the variance of all held-out samples together, pooled r2.",
    "test_r_q95": "95th percentile over voxels of r on the test set.",
    "test_r_max": "Largest r on the test set.",
    "voxels_best": "Number of voxels that this layer predicts best (best-layer map).",
    "penalty_median": "Median of log10 of the penalty, in units of the mean kernel diagonal.",
    "penalty_at_low_edge": "Number of voxels whose penalty is the smallest of the grid.",
    "penalty_at_high_edge": "Number of voxels whose penalty is the largest of the grid.",
}

_FINGERPRINT_COLUMNS = {
    "region": "Name of the region.",
    "index": "Its number in the atlas.",
    "voxels": "Number of its voxels with a score.",
    "best_voxels": f"Number of those that were averaged: the best {BEST_SHARE:.0%} by the highest "
    "score over layers.",
    "layer": "Layer of the network, from shallow to deep.",
    "score": "Mean held-out correlation r over these voxels.",
    "fingerprint": "The score divided by its maximum over layers.",
    "low": f"Lower end of the {CONFIDENCE:.0%} bootstrap interval of the fingerprint, over voxels "
    f"({DRAWS} draws). It says how much the fingerprint hangs on single voxels of this "
    "participant, not what other participants or stimuli would show.",
    "high": "Upper end of that interval.",
    "highest": "Share of the bootstrap draws in which this layer has the highest score.",
}


@dataclass(frozen=True)
class LayerScores:
    """What one layer predicts: arrays over voxels, NaN where there is no score."""

    layer: str
    r2: np.ndarray
    r: np.ndarray
    pooled_r2: np.ndarray
    penalty: np.ndarray  # log10
    test_r2: np.ndarray | None = None  # on a test set, where there is one
    test_r: np.ndarray | None = None

    def share_of_variance(self, folds: Sequence[Fold]) -> tuple[str, np.ndarray]:
        """Which r2 can be counted with, and its values: on the test set, where there is one.

        Else r2, or pooled r2 where folds are small (`encoding.scores.SMALL_FOLD`).
        """
        if self.test_r2 is not None:
            return "r2 on the test set", self.test_r2
        return ("pooled r2", self.pooled_r2) if are_small(folds) else ("r2", self.r2)


def warn_of_edges(scores: Sequence[LayerScores], places: str = "voxels") -> None:
    """Warn where the grid of penalties was too narrow for many predicted voxels.

    Parameters
    ----------
    scores : sequence of LayerScores
    places : str
        What the places are called that have a score.
    """
    for score in scores:
        fitted = np.isfinite(score.penalty)
        predicted = fitted & (score.r2 > 0)
        low = np.count_nonzero(_at(score.penalty, 0) & predicted)
        if predicted.any() and low > 0.05 * np.count_nonzero(predicted):
            logger.warning(
                f"layer {score.layer}: the best penalty of {low} of "
                f"{np.count_nonzero(predicted)} predicted {places} is the smallest of the grid; "
                "a smaller one might predict them better"
            )


def _at(penalty: np.ndarray, place: int) -> np.ndarray:
    """Whether the penalty is that end of the grid (0 or -1), in float32's precision."""
    return np.isclose(penalty, np.log10(PENALTIES[place]), atol=1e-4)


def summary_is_done(chosen: Inference, analysis: Analysis) -> bool:
    """Whether the table of scores is there, and the maps beside it that some data have."""
    if not is_done(analysis, "scores"):
        return False
    side = sidecar_of(analysis.path("scores"))
    return side.get("Inference") == plain(asdict(chosen)) and all(
        is_done(analysis, kind, layer=layer)
        for kind, layers in side.get("FurtherMaps", {}).items()
        for layer in (layers or [None])
    )


def _further_maps(analysis: Analysis, layers: Sequence[str]) -> dict[str, list[str]]:
    """Maps that not all data have, and their layers (none: of all layers together)."""
    found = {kind: [] for kind in ("noiseceiling", "pc1") if is_done(analysis, kind)}
    of_layers = [layer for layer in layers if is_done(analysis, "normalizedr2", layer=layer)]
    return found | ({"normalizedr2": of_layers} if of_layers else {})


def write_summary(
    chosen: Inference,
    analysis: Analysis,
    plan: Plan,
    source: Source,
    responses: Responses,
    grouping: Grouping,
    scores: Sequence[LayerScores],
    warnings: Sequence[str],
    passed: np.ndarray | None = None,
) -> None:
    """Write what all layers together say; the table comes last and means: done.

    ``grouping`` is of the rows that models learn from; ``chosen`` says which voxels count, and
    ``passed`` (V,) are those that are predicted better than chance, where that is known.
    """
    layers = [score.layer for score in scores]
    r = np.stack([score.r for score in scores])
    best = best_layer(responses.grid.smooth(r, SMOOTHING))
    write_dseg(analysis, "bestlayer", best, responses.grid, layers)
    write_statmap(analysis, "slope", slope(r), responses.grid)
    for layer, values in zip(layers, normalized(r), strict=True):
        write_statmap(analysis, "fingerprint_map", values, responses.grid, layer=layer)
    rule = "voxels that some layer predicts better than chance"
    if passed is None:
        passed = well_predicted(r)
        rule = "voxels whose best score is higher than chance makes scores low"
    component = first_component(r, passed)
    if component is None:
        remove_files(analysis, "pc1")
    else:
        write_statmap(analysis, "pc1", component.values, responses.grid)
    rows = [_row(score, np.count_nonzero(best == i)) for i, score in enumerate(scores, start=1)]
    extra = {
        "Network": source.name,
        "NetworkCitation": source.citation,
        "Layers": layers,
        "FeaturesFrom": {k: v for k, v in source.described(layers[0]).items() if k != "layers"},
        "SourceStamps": dict(analysis.inputs),
        "DataHash": analysis.data.hash,
        "Inference": plain(asdict(chosen)),
        "FurtherMaps": _further_maps(analysis, layers),
        **({"MapFormat": analysis.names["form"]} if analysis.names.get("form") else {}),
        "Design": plan.design.kind,
        "DesignReason": plan.design.reason,
        "Runs": [run.name for run in plan.runs],
        "Preprocessed": plan.runs[0].preprocessed,
        **plan.recording,
        "NumberOfStimuli": plan.n_shown,
        "NumberOfFilms": len(plan.films),
        "NumberOfPictures": len(plan.stimuli),  # a piece of a film counts as one
        "FramesPerSecond": plan.frames_per_second,
        "NumberOfSamples": len(responses.values),
        "NumberOfFolds": len(grouping.names),
        "Groups": list(grouping.names),
        "SamplesPerFold": grouping.sizes,
        "FoldsLeaveOut": grouping.by,
        "FoldsRemark": grouping.remark,
        "VoxelsWithoutScore": int(np.count_nonzero(~np.isfinite(scores[0].r))),
        "FirstComponent": component and _described(component, layers, rule),
        "Warnings": list(warnings),
    }
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    write_table(analysis, "scores", columns, _COLUMNS, extra=extra)


def _described(component: Component, layers: Sequence[str], rule: str) -> dict[str, object]:
    """The first principal component of the fingerprints, as the sidecar has it."""
    return {
        "Voxels": component.n_voxels,
        "VoxelsAre": rule,
        "ShareOfVariance": round(component.variance_share, 4),
        "CorrelationWithTrend": round(component.trend_correlation, 4),
        "CorrelationWithSlope": round(component.slope_correlation, 4),
        "Loadings": dict(zip(layers, component.loadings.round(4).tolist(), strict=True)),
    }


def write_region_fingerprints(
    datasets: Mapping[str, Path],
    analysis: Analysis,
    layers: Sequence[str],
    regions: Sequence[Regions],
    grid: Grid,
) -> list[Analysis]:
    """Write the fingerprints of all regions, one table an atlas, from the maps of scores.

    Parameters
    ----------
    datasets : mapping of str to Path
        As :func:`bids_encoder.bids.description.init_dataset` returns them.
    analysis : Analysis
        Whose maps are there.
    layers : sequence of str
    regions : sequence of Regions
        On the voxels of the analysis.
    grid : Grid
        Of the analysis.

    Returns
    -------
    list of Analysis
        What the tables and the label images belong to.
    """
    written = []
    paths = [path for layer in layers for path in analysis.files("r", layer=layer).values()]
    scores = None
    for one in regions:
        ours = start_analysis(
            datasets,
            analysis.names,
            settings={
                "scores": analysis.hash,
                "regions": region_stamp(one),
                "best_share": BEST_SHARE,
                "draws": DRAWS,
                "seed": 0,
            },
            sources=paths,
        )
        written += [ours, _write_regions(datasets, analysis, one, grid)]
        if is_done(ours, "fingerprint", atlas=one.atlas):
            continue
        if scores is None:
            scores = np.stack([read_values(analysis, "r", grid, layer=layer) for layer in layers])
        found = {
            number: region_fingerprint(scores[:, one.labels == number], seed=(0, number))
            for number in one.names
        }
        write_table(
            ours,
            "fingerprint",
            _fingerprint_rows(one, found, layers),
            _FINGERPRINT_COLUMNS,
            extra={"Atlas": one.atlas, "AtlasSource": one.source},
            atlas=one.atlas,
        )
    return written


def _write_regions(
    datasets: Mapping[str, Path], analysis: Analysis, regions: Regions, grid: Grid
) -> Analysis:
    """Write where the regions lie, numbered in their order."""
    mask = list(analysis.files("mask").values())
    stamp = {"regions": region_stamp(regions)}
    ours = start_analysis(datasets, analysis.names, settings=stamp, sources=mask)
    if is_done(ours, "regions", atlas=regions.atlas):
        return ours
    numbers = list(regions.names)
    labels = np.zeros(len(regions.labels), dtype=int)
    for i, number in enumerate(numbers, start=1):
        labels[regions.labels == number] = i
    extra = {"Atlas": regions.atlas, "AtlasSource": regions.source}
    names = [regions.names[number] for number in numbers]
    write_dseg(ours, "regions", labels, grid, names, extra=extra, atlas=regions.atlas)
    return ours


def _fingerprint_rows(
    regions: Regions, found: Mapping[int, Fingerprint], layers: Sequence[str]
) -> dict[str, list]:
    rows = [
        (
            regions.names[number], number, one.n_voxels, one.n_best, layer, one.score[i],
            one.values[i], one.low[i], one.high[i], one.winners[i],
        )
        for number, one in found.items()
        for i, layer in enumerate(layers)
    ]  # fmt: skip
    return dict(zip(_FINGERPRINT_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


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
        "pooled_r2_max": np.max(score.pooled_r2[scored]) if scored.any() else np.nan,
        "test_r_q95": None if score.test_r is None else np.nanquantile(score.test_r, 0.95),
        "test_r_max": None if score.test_r is None else np.nanmax(score.test_r),
        "voxels_best": voxels_best,
        "penalty_median": np.median(penalty),
        "penalty_at_low_edge": int(np.count_nonzero(_at(penalty, 0))),
        "penalty_at_high_edge": int(np.count_nonzero(_at(penalty, -1))),
    }
