"""What all layers together say of one analysis: maps, the table of scores, fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.config.settings import InferenceSettings
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.meanings import uncertain
from bids_encoder.derivatives.provenance import content_stamp, plain
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import (
    Analysis,
    is_done,
    read_values,
    remove_files,
    start_analysis,
    write_dseg,
    write_statmap,
    write_table,
)
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.penalties import at_end, piled_up
from bids_encoder.encoding.scores import steady_score
from bids_encoder.features.feature_source import FeatureSource
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
from bids_encoder.regions.load import Regions
from bids_encoder.regions.volume_labels import region_stamp
from bids_encoder.responses.assemble import Responses
from bids_encoder.responses.grouping import Grouping

logger = logging.getLogger(__name__)

SMOOTHING = 1.0  # of the scores in the best-layer map, in voxels


def _columns(counted: Counted) -> dict[str, str]:
    """What the columns of the table of scores mean; the voxels that count are named in each."""
    rule = counted.rule
    return {
        "layer": "Layer of the network, from shallow to deep.",
        "voxels": f"Number of {counted.places} with a score, noise included.",
        "voxels_predicted": f"Number of {counted.places} that are predicted better than chance by "
        "some layer, not this one in particular; n/a: not tested.",
        "voxels_best": f"Number of {rule} that this layer predicts best (best-layer map).",
        "r_median": f"Median of the held-out correlation r over {rule}. They were chosen by the "
        "same responses, so that it is somewhat too high.",
        "r_q95": f"95th percentile of r over {rule}.",
        "r_max": f"Largest r of {rule}.",
        "voxels_r03": f"Number of {rule} with r above 0.3.",
        "r2_max": f"Largest held-out share of variance, r2, of {rule}.",
        "pooled_r2_max": "Largest share of the variance of all held-out samples together, pooled "
        f"r2, of {rule}.",
        "test_r_median": f"Median of r on the test set over {rule}. The test set chose none of "
        "them.",
        "test_r_q95": f"95th percentile of r on the test set over {rule}.",
        "test_r_max": f"Largest r on the test set of {rule}.",
        "penalty_median": "Median of log10 of the penalty, in units of the mean kernel diagonal, "
        f"over {rule}.",
        "penalty_at_low_edge": f"Number of {rule} whose penalty is the smallest of the grid.",
        "penalty_at_high_edge": f"Number of {rule} whose penalty is the largest of the grid.",
    }


_OVER_VOXELS = {
    "resampled": f"voxels of the region with replacement ({DRAWS} draws), the best of them chosen "
    "anew",
    "not_covered": "that neighbouring voxels are alike, and what other participants, sessions or "
    "stimuli would show",
}
_FINGERPRINT_COLUMNS = {
    "region": "Name of the region.",
    "index": "Its number in the atlas.",
    "voxels": "Number of its voxels with a score.",
    "voxels_predicted": "Number of those that are predicted better than chance by some layer; n/a: "
    "not tested.",
    "weak": "true: none of its voxels is predicted better than chance, so that the fingerprint is "
    "one of noise, and has no interval; false: some are; n/a: not tested.",
    "best_voxels": f"Number of voxels that were averaged: the {BEST_SHARE:.0%} of the region with "
    "the highest score over layers, whether or not they pass. They are chosen by the scores that "
    "are averaged, so that scores are too high, in noise too.",
    "layer": "Layer of the network, from shallow to deep.",
    "score": "Mean held-out correlation r over the averaged voxels.",
    "fingerprint": "The score divided by its maximum over layers.",
    "low": uncertain(
        f"Lower end of the {CONFIDENCE:.0%} interval of the fingerprint; n/a in weak regions.",
        **_OVER_VOXELS,
    ),
    "high": uncertain("Upper end of that interval.", **_OVER_VOXELS),
    "highest": uncertain(
        "Share of the bootstrap draws in which this layer has the highest score.", **_OVER_VOXELS
    ),
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
        return self.cross_validated(folds)

    def cross_validated(self, folds: Sequence[Fold]) -> tuple[str, np.ndarray]:
        """Which r2 over folds can be counted with: pooled r2 where folds are small."""
        score = steady_score(folds)
        return score.replace("_", " "), getattr(self, score)


def warn_of_edges(
    scores: Sequence[LayerScores],
    grid: np.ndarray,
    counted: Counted,
    useful: Callable[[str], float],
    folds: Sequence[Fold],
) -> None:
    """Warn where a grid of penalties that was given is too narrow for many voxels that passed.

    Parameters
    ----------
    scores : sequence of LayerScores
    grid : (m,) array
        Of penalties.
    counted : Counted
        Where nothing was tested, nothing is said: noise takes any penalty.
    useful : callable
        Gives the smallest penalty of a layer that is of use.
    folds : sequence of Fold
    """
    if not counted.tested:
        return
    for score in scores:
        asked = counted.where & (score.cross_validated(folds)[1] > 0)  # by this layer
        low, high = piled_up(score.penalty, asked, grid)
        low = low and useful(score.layer) < grid[0]
        for there, end, name, other in (
            (low, 0, "smallest", "smaller"),
            (high, -1, "largest", "larger"),
        ):
            if there:
                number = np.count_nonzero(at_end(score.penalty, grid, end) & asked)
                logger.warning(
                    f"layer {score.layer}: the best penalty of {number} of "
                    f"{np.count_nonzero(asked)} predicted {counted.places} is the {name} of the "
                    f"grid, {grid[end]:.2g}; a {other} one might predict them better "
                    "(--penalties LOW HIGH N)"
                )


def summary_is_done(chosen: InferenceSettings, analysis: Analysis) -> bool:
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
    found: dict[str, list[str]] = {
        kind: [] for kind in ("noiseceiling", "pc1") if is_done(analysis, kind)
    }
    of_layers = [layer for layer in layers if is_done(analysis, "normalizedr2", layer=layer)]
    return found | ({"normalizedr2": of_layers} if of_layers else {})


def write_summary(
    chosen: InferenceSettings,
    analysis: Analysis,
    plan: Plan,
    source: FeatureSource,
    responses: Responses,
    grouping: Grouping,
    scores: Sequence[LayerScores],
    warnings: Sequence[str],
    counted: Counted,
    grid: np.ndarray,
) -> None:
    """Write what all layers together say; the table comes last and means: done.

    ``chosen`` says how it was tested, ``grouping`` is of the rows that models learn from,
    ``counted`` are the voxels that the table is about, ``grid`` the penalties that were tried.
    """
    layers = [score.layer for score in scores]
    r = np.stack([score.r for score in scores])
    best = best_layer(responses.grid.smooth(r, SMOOTHING))
    write_dseg(analysis, "bestlayer", best, responses.grid, layers)
    write_statmap(analysis, "slope", slope(r), responses.grid)
    for layer, values in zip(layers, normalized(r), strict=True):
        write_statmap(analysis, "fingerprint_map", values, responses.grid, layer=layer)
    shown, rule = counted.where, counted.rule
    if not counted.tested:
        shown = well_predicted(r)
        rule = f"{counted.places}, not tested, whose best score is higher than chance makes "
        rule += "scores low"
    component = first_component(r, shown)
    if component is None:
        remove_files(analysis, "pc1")
    else:
        write_statmap(analysis, "pc1", component.values, responses.grid)
    rows = [_row(score, best == i, counted, grid) for i, score in enumerate(scores, start=1)]
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
        "VoxelsCounted": {
            "Which": counted.rule,
            "Number": counted.number,
            "Tested": counted.tested,
            "FalseDiscoveryRate": counted.rate,
        },
        "Penalties": grid.tolist(),
        "VoxelsWithoutScore": int(np.count_nonzero(~np.isfinite(scores[0].r))),
        "FirstComponent": component and _described(component, layers, rule),
        "Warnings": list(warnings),
    }
    meanings = _columns(counted)
    columns = {name: [row[name] for row in rows] for name in meanings}
    write_table(analysis, "scores", columns, meanings, extra=extra)


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
    counted: Counted | None = None,
) -> list[Analysis]:
    """Write the fingerprints of all regions, one table an atlas, from the maps of scores.

    Parameters
    ----------
    datasets : mapping of str to Path
        As :func:`bids_encoder.derivatives.dataset_description.init_dataset` returns them.
    analysis : Analysis
        Whose maps are there.
    layers : sequence of str
    regions : sequence of Regions
        On the voxels of the analysis.
    grid : Grid
        Of the analysis.
    counted : Counted, optional
        Says which voxels passed; without it, or where nothing was tested, no region is weak.

    Returns
    -------
    list of Analysis
        What the tables and the label images belong to.
    """
    written = []
    passed = counted.where if counted is not None and counted.tested else None
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
                "passed": None if passed is None else content_stamp([passed]),
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
        in_region = {
            number: None if passed is None else int(np.count_nonzero(passed[one.labels == number]))
            for number in one.names
        }
        write_table(
            ours,
            "fingerprint",
            _fingerprint_rows(one, found, in_region, layers),
            _FINGERPRINT_COLUMNS,
            extra={"Atlas": one.atlas, "AtlasSource": one.source, "AtlasStamp": one.stamp},
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
    regions: Regions,
    found: Mapping[int, Fingerprint],
    passed: Mapping[int, int | None],
    layers: Sequence[str],
) -> dict[str, list]:
    """The table's columns; ``passed`` is how many voxels of each region passed."""
    rows = []
    for number, one in found.items():
        weak = None if passed[number] is None else passed[number] == 0
        region = (
            regions.names[number], number, one.n_voxels, passed[number],
            None if weak is None else str(weak).lower(), one.n_best,
        )  # fmt: skip
        for i, layer in enumerate(layers):
            sure = (None,) * 3 if weak else (one.low[i], one.high[i], one.winners[i])
            rows.append((*region, layer, one.score[i], one.values[i], *sure))
    return dict(zip(_FINGERPRINT_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def _row(
    score: LayerScores, best: np.ndarray, counted: Counted, grid: np.ndarray
) -> dict[str, object]:
    """One line of the table; ``best`` (V,) is where the layer is the best."""
    there = counted.where & np.isfinite(score.r)
    penalty = score.penalty[there]
    return {
        "layer": score.layer,
        "voxels": int(np.isfinite(score.r).sum()),
        "voxels_predicted": counted.number if counted.tested else None,
        "voxels_best": int(np.count_nonzero(best & counted.where)),
        "r_median": _quantile(score.r, 0.5, there),
        "r_q95": _quantile(score.r, 0.95, there),
        "r_max": _quantile(score.r, 1, there),
        "voxels_r03": int(np.count_nonzero(score.r[there] > 0.3)),
        "r2_max": _quantile(score.r2, 1, there),
        "pooled_r2_max": _quantile(score.pooled_r2, 1, there),
        "test_r_median": _quantile(score.test_r, 0.5, there),
        "test_r_q95": _quantile(score.test_r, 0.95, there),
        "test_r_max": _quantile(score.test_r, 1, there),
        "penalty_median": _quantile(score.penalty, 0.5, there),
        "penalty_at_low_edge": int(np.count_nonzero(at_end(penalty, grid, 0))),
        "penalty_at_high_edge": int(np.count_nonzero(at_end(penalty, grid, -1))),
    }


def _quantile(values: np.ndarray | None, share: float, there: np.ndarray) -> float | None:
    """A quantile over some voxels; None where there is none of them, or no values."""
    if values is None or not np.isfinite(values[there]).any():
        return None
    return float(np.nanquantile(values[there], share))
