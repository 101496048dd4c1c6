"""One analysis (a participant, a task, a space): features, responses, models, maps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder import console, memory
from bids_encoder.bids.derivatives import (
    Analysis,
    is_done,
    start_analysis,
    write_dseg,
    write_mask,
    write_statmap,
    write_table,
    write_weights,
)
from bids_encoder.encoding.folds import MAX_FOLDS, Fold, make_folds
from bids_encoder.encoding.ridge import PENALTIES, fit
from bids_encoder.features.samples import Samples, continuous_samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.fingerprints.profile import best_layer, slope
from bids_encoder.plan import Plan
from bids_encoder.responses.assemble import Responses
from bids_encoder.responses.masks import common_mask
from bids_encoder.responses.measure import Measured, measure
from bids_encoder.settings import Settings, result_settings
from bids_encoder.source import Source

logger = logging.getLogger(__name__)

_LAYER_MAPS = ("r2", "r", "penalty")
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


def analyse(
    settings: Settings,
    datasets: Mapping[str, Path],
    plan: Plan,
    source: Source,
    device: str,
    warnings: Sequence[str],
) -> str:
    """Fit every layer; write maps, models and tables, or skip what is done already.

    Parameters
    ----------
    settings : Settings
    datasets : mapping of str to Path
        As :func:`bids_encoder.bids.description.init_dataset` returns them.
    plan : Plan
    source : Source
    device : str
        "cpu" or "cuda".
    warnings : sequence of str
        What has been warned of so far; it grows while this works, and goes into a sidecar.

    Returns
    -------
    str
        What came out, in a few words.
    """
    analysis = start_analysis(
        datasets,
        {**plan.names, "network": source.name},
        settings={
            **result_settings(settings),
            "design": plan.design.kind,
            "features": source.identity,
            "stimuli": plan.stimuli_stamp,
        },
        sources=plan.sources,
    )
    title = f"task {plan.task}"
    if is_done(analysis, "scores"):
        logger.info(f"{title}: all is there already, with the same input and settings")
        return f"{title}: done before"
    store = _features(settings, plan, source)
    mask, measured = _responses(settings, plan)
    responses = measured.responses
    samples = _samples(settings, plan, responses)
    folds = make_folds(
        responses.groups,
        max_folds=settings.encoding.n_folds or MAX_FOLDS,
        stimuli=responses.stimuli,
    )
    write_mask(analysis, mask)
    write_statmap(analysis, "boldref", measured.mean_bold, mask)
    scores = _fit_layers(settings, analysis, store, samples, responses, folds, device)
    _warn_of_edges(scores)
    best = best_layer(np.stack([s.r for s in scores]), np.asarray(mask.dataobj) != 0)
    _summarise(analysis, plan, source, responses, folds, scores, best, warnings)
    top = np.fmax.reduce([s.r for s in scores])
    return (
        f"{title}: {len(scores)} layers, {np.isfinite(scores[0].r).sum()} voxels, "
        f"best r {np.nanmax(top, initial=-1):.2f}, {(top > 0.3).sum()} voxels above r = 0.3"
    )


def _features(settings: Settings, plan: Plan, source: Source) -> FeatureStore:
    with console.stage("features") as words, console.progress("features", "pictures") as bar:
        store = source.store(
            plan.stimuli,
            blank=plan.design.kind == "continuous",
            cache_dir=settings.resources.work_dir,
            on_progress=bar,
        )
        words += [f"{len(store.stimuli)} pictures", f"{len(store.layers)} layers of {source.name}"]
    return store


def _responses(settings: Settings, plan: Plan) -> tuple[nibabel.Nifti1Image, Measured]:
    chosen = settings.responses
    with console.stage("responses") as words, console.progress("responses", "runs") as bar:
        mask = common_mask(plan.runs, plan.infos)
        measured = measure(
            plan.runs,
            plan.infos,
            plan.presentations,
            mask,
            kind=plan.design.kind,
            hrf=chosen.hrf,
            high_pass=chosen.high_pass,
            confounds=chosen.confounds,
            standardize=chosen.standardize,
            on_progress=bar,
        )
        n, voxels = measured.responses.values.shape
        rows = "stimuli" if plan.design.kind == "events" else "volumes"
        words += [f"{n} {rows}", f"{voxels} voxels", f"groups: {_listed(measured.responses)}"]
    return mask, measured


def _listed(responses: Responses) -> str:
    names = responses.group_names
    return ", ".join(names) if len(names) <= 6 else f"{len(names)} from {names[0]} to {names[-1]}"


def _samples(settings: Settings, plan: Plan, responses: Responses) -> Samples:
    if responses.stimuli is not None:
        return Samples(responses.stimuli)
    return continuous_samples(
        plan.presentations,
        [info.n_volumes for info in plan.infos],
        [info.repetition_time for info in plan.infos],
        [run.start_time for run in plan.runs],
        settings.responses.delays,
    )


def _fit_layers(
    settings: Settings,
    analysis: Analysis,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: tuple[Fold, ...],
    device: str,
) -> list[LayerScores]:
    """Fit layer after layer; a layer whose files are there already is read back."""
    n_voxels = responses.values.shape[1]
    budget = settings.resources.mem
    spare = memory.fit_budget(
        len(samples), n_voxels, int(budget * memory.GB) if budget else memory.available()
    )
    scores = []
    with console.stage("encoding") as words, console.progress("encoding", "voxels") as bar:
        for number, layer in enumerate(store.layers):
            done = _read_back(settings, analysis, layer, responses.mask)
            if done is None:
                on_progress = _shifted(bar, number, len(store.layers), n_voxels)
                done = _fit_layer(
                    settings.encoding, analysis, store, samples, responses, folds, layer,
                    mem_bytes=spare, device=device, on_progress=on_progress,
                )  # fmt: skip
            scores.append(done)
        words += [
            f"{len(store.layers)} layers × {n_voxels} voxels",
            f"{len(samples)} samples in {len(folds)} folds",
        ]
    return scores


def _shifted(bar: Callable, number: int, layers: int, n_voxels: int) -> Callable[[float], None]:
    return lambda share: bar(round((number + share) * n_voxels), layers * n_voxels)


def _read_back(settings, analysis, layer, mask) -> LayerScores | None:
    wanted = [*_LAYER_MAPS, *(["weights"] if settings.encoding.save_weights != "none" else [])]
    if not all(is_done(analysis, kind, layer=layer) for kind in wanted):
        return None
    inside = np.asarray(mask.dataobj) != 0
    maps = {
        kind: np.asarray(nibabel.load(analysis.path(kind, layer=layer)).dataobj)[inside]
        for kind in _LAYER_MAPS
    }
    logger.info(f"layer {layer}: done before")
    return LayerScores(layer, **maps)


def _fit_layer(encoding, analysis, store, samples, responses, folds, layer, **how) -> LayerScores:
    features = store.load(layer, samples.stimuli).values
    found = fit(
        None,
        responses.values,
        folds,
        kernel=samples.kernel(features),
        nested=encoding.nested,
        keep_weights=encoding.save_weights != "none",
        **how,
    )
    scores = LayerScores(layer, found.r2, found.r, np.log10(found.penalty))
    for kind in _LAYER_MAPS:
        write_statmap(analysis, kind, getattr(scores, kind), responses.mask, layer=layer)
    if found.dual is not None:
        model = {"dual": found.dual}
        if encoding.save_weights == "primal":
            model = {"primal": samples.matrix(features).T @ np.nan_to_num(found.dual)}
            model["primal"][:, ~found.valid] = np.nan
        write_weights(
            analysis,
            "weights",
            {**model, "intercept": found.intercept, **_described(samples, responses)},
            {"network": store.network, "layer": layer, "features": store.identity},
            layer=layer,
        )
    return scores


def _described(samples: Samples, responses: Responses) -> dict[str, np.ndarray | list[str]]:
    """What a model file says of its rows and columns, so that it can be used alone."""
    inside = np.flatnonzero(np.asarray(responses.mask.dataobj) != 0)
    described: dict[str, np.ndarray | list[str]] = {
        "stimuli": list(samples.stimuli),
        "groups": responses.groups,
        "voxels": inside.astype(np.int64),
        "grid": np.array(responses.mask.shape),
        "affine": responses.mask.affine,
    }
    if samples.weights is not None:
        matrices = [w.tocoo() for w in samples.weights]
        described |= {
            "delays": np.array(samples.delays),
            "shares_delay": np.repeat(np.arange(len(matrices)), [w.nnz for w in matrices]),
            "shares_row": np.concatenate([w.row for w in matrices]),
            "shares_stimulus": np.concatenate([w.col for w in matrices]),
            "shares": np.concatenate([w.data for w in matrices]),
        }
    return described


def _warn_of_edges(scores: list[LayerScores]) -> None:
    for score in scores:
        fitted = np.isfinite(score.penalty)
        predicted = fitted & (score.r2 > 0)
        low = np.count_nonzero(_at(score.penalty, 0) & predicted)
        if predicted.any() and low > 0.05 * np.count_nonzero(predicted):
            logger.warning(
                f"layer {score.layer}: {low} predicted voxels chose the smallest penalty of the "
                "grid; their models may be too smooth"
            )


def _at(penalty: np.ndarray, place: int) -> np.ndarray:
    """Whether the penalty is that end of the grid (0 or -1), in float32's precision."""
    return np.isclose(penalty, np.log10(PENALTIES[place]), atol=1e-4)


def _summarise(
    analysis: Analysis,
    plan: Plan,
    source: Source,
    responses: Responses,
    folds: tuple[Fold, ...],
    scores: list[LayerScores],
    best: np.ndarray,
    warnings: Sequence[str],
) -> None:
    """Write what all layers together say; the table comes last and means: done."""
    layers = [score.layer for score in scores]
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
