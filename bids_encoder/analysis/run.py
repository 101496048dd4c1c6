"""One analysis (a participant, a task, a space): features, responses, models, maps."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_encoder.analysis.banded_ridge import joint_is_done, joint_parts, write_joint
from bids_encoder.analysis.chance import chance_is_done, chance_parts, write_chance
from bids_encoder.analysis.identity import begin_analysis
from bids_encoder.analysis.matched_dimensions import matched_is_done, matched_parts, write_matched
from bids_encoder.analysis.measured_data import MeasuredData
from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.rsa import table_parts, tables_are_done, write_neural_code
from bids_encoder.analysis.significance import (
    counted_voxels,
    inference_is_done,
    inference_parts,
    write_inference,
    write_noise_ceiling,
)
from bids_encoder.analysis.summary_tables import (
    LayerScores,
    summary_is_done,
    warn_of_edges,
    write_region_fingerprints,
    write_summary,
)
from bids_encoder.compute.fit_job import Executor, FitJob, kernel_of, training_kernel
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.leftovers import remove_leftovers
from bids_encoder.derivatives.read import places_in_words
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import (
    Analysis,
    is_done,
    open_grid,
    read_values,
    write_mask,
    write_statmap,
    write_weights,
)
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.penalties import (
    extended,
    far_beyond_chance,
    make_grid,
    piled_up,
    smallest_useful,
)
from bids_encoder.encoding.ridge import Fit
from bids_encoder.encoding.scores import correlation, r2_score
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.grid import Grid
from bids_encoder.regions.load import Regions, load_regions
from bids_encoder.responses.rank1_runs import Shapes
from bids_encoder.runtime import console

logger = logging.getLogger(__name__)

_LAYER_MAPS = ("r2", "r", "pooled_r2", "penalty")  # that a fit makes
_TEST_MAPS = ("test_r2", "test_r")
_MAPS = ("mask", "boldref", "bestlayer", "slope")  # of all layers together


def analyse(
    settings: Settings,
    datasets: Mapping[str, Path],
    data: MeasuredData,
    source: FeatureSource,
    executor: Executor,
    warnings: Sequence[str],
) -> str:
    """Fit every layer; write maps, models and tables, or skip what is done already.

    Parameters
    ----------
    settings : Settings
    datasets : mapping of str to Path
        As :func:`bids_encoder.derivatives.dataset_description.init_dataset` returns them.
    data : MeasuredData
        Of the plan; nothing is measured where all is done.
    source : FeatureSource
    executor : Executor
        Who computes features and fits.
    warnings : sequence of str
        What has been warned of so far; it grows while this works, and goes into a sidecar.

    Returns
    -------
    str
        What came out, in a few words.
    """
    plan = data.plan
    analysis = begin_analysis(settings, datasets, plan, source)
    title = f"task {plan.task}"
    if (
        summary_is_done(settings.inference, analysis)
        and _maps_are_done(plan, analysis, source.layers)
        and _models_are_done(settings, analysis, source.layers)
        and inference_is_done(settings.inference, analysis)
        and chance_is_done(settings.inference, analysis)
        and joint_is_done(settings.joint, analysis, source.layers)
        and matched_is_done(settings.dimensions, settings.inference, analysis)
    ):
        grid = open_grid(analysis)
        regions = load_regions(plan.regions, grid)
        if tables_are_done(settings.neural_code, analysis, regions):
            logger.info(f"{title}: all is there already, with the same input and settings")
            scored = np.ones(grid.n_values, bool)  # not looked at: only those that passed are
            counted = counted_voxels(settings.inference, analysis, grid, scored)
            written = write_region_fingerprints(
                datasets, analysis, source.layers, regions, grid, counted
            )
            _remove_leftovers(settings, analysis, regions, written)
            return f"{title}: done before"
    # The BOLD first: it takes minutes, and features may take hours, before a fault comes out.
    grid, measured, responses = data.grid, data.measured, data.responses
    regions = load_regions(plan.regions, grid)
    store = _features(settings, executor, plan, source)
    training, samples = data.training
    folds = data.folds
    write_mask(
        analysis, grid, {"Surfaces": plan.surfaces.named(datasets)} if plan.surfaces else None
    )
    write_statmap(analysis, "boldref", measured.mean_bold, grid)
    if measured.shapes is not None:
        _write_shapes(analysis, measured.shapes, grid)
    scores, penalties = _fit_layers(settings, executor, analysis, store, data, folds)
    write_inference(
        settings.inference, analysis, plan, store, samples, training, folds, scores,
        penalties=penalties,
        nested=settings.encoding.nested,
        mem_bytes=data.spare_memory,
        device=data.device,
    )  # fmt: skip
    write_chance(
        settings.inference, analysis, plan, store, samples, training, folds,
        np.logical_and.reduce([np.isfinite(score.r) for score in scores]),
        penalties=penalties,
        nested=settings.encoding.nested,
        mem_bytes=data.spare_memory,
        device=data.device,
    )  # fmt: skip
    top = np.fmax.reduce([score.r for score in scores])
    counted = counted_voxels(settings.inference, analysis, grid, np.isfinite(top))
    if settings.encoding.penalties:
        useful = _useful(kernel_of(data.samples, store), ~data.held)
        warn_of_edges(scores, penalties, counted, useful, folds)
    scored = data.held if data.held.any() else ~data.held
    recurring = data.recurring and data.recurring.take(scored)
    write_noise_ceiling(analysis, responses.take(scored), scores, folds, counted, recurring)
    write_joint(
        settings.joint, analysis, store, samples, training, folds, counted,
        penalties=penalties,
        mem_bytes=data.spare_memory,
        device=data.device,
    )  # fmt: skip
    write_matched(
        settings.dimensions, settings.inference, analysis, store, samples, training, folds,
        scores, counted,
        penalties=penalties,
        nested=settings.encoding.nested,
        mem_bytes=data.spare_memory,
        device=data.device,
    )  # fmt: skip
    write_neural_code(settings.neural_code, analysis, data, store, scores, regions)
    write_summary(
        settings.inference, analysis, plan, source, responses, data.grouping, scores, warnings,
        counted, penalties,
    )  # fmt: skip
    written = write_region_fingerprints(datasets, analysis, source.layers, regions, grid, counted)
    _remove_leftovers(settings, analysis, regions, written)
    return f"{title}: {len(scores)} layers, {_counts(top, counted)}"


def _counts(top: np.ndarray, counted: Counted) -> str:
    """What came out, in a few words, from the highest r over layers (V,)."""
    scored = int(np.isfinite(top).sum())
    if not counted.tested:
        return (
            f"{scored} {counted.places} scored, not tested (--n-permutations 0), "
            f"highest r {np.nanmax(top, initial=-1):.2f}"
        )
    if counted.none_passed:
        return f"none of {scored} {counted.places} predicted better than chance"
    return (
        f"{counted.number} of {scored} {counted.places} predicted better than chance, "
        f"their highest r {np.nanmax(top[counted.where]):.2f}"
    )


def _maps_are_done(plan: Plan, analysis: Analysis, layers: Sequence[str]) -> bool:
    """Whether all maps are there still: somebody may have removed or damaged one."""
    hrf = ["hrf", "hrfpeak"] if plan.runs_together else []
    tested = _TEST_MAPS if plan.test_set is not None else ()
    return all(is_done(analysis, kind) for kind in (*_MAPS, *hrf)) and all(
        is_done(analysis, kind, layer=layer)
        for kind in (*_LAYER_MAPS, *tested, "fingerprint_map")
        for layer in layers
    )


def _remove_leftovers(
    settings: Settings, analysis: Analysis, regions: Sequence[Regions], written: Sequence[Analysis]
) -> None:
    """Remove what earlier runs wrote under the same names, and what is not part of this any more.

    ``written``: of the regions' tables and label images.
    """
    parts = [
        analysis,
        *inference_parts(settings.inference, analysis),
        *chance_parts(settings.inference, analysis),
        *joint_parts(settings.joint, analysis),
        *matched_parts(settings.dimensions, settings.inference, analysis),
        *table_parts(settings.neural_code, analysis, regions),
        *written,
    ]
    remove_leftovers(analysis, {one.hash for one in parts})


def _models_are_done(settings: Settings, analysis: Analysis, layers: Sequence[str]) -> bool:
    """Whether the models are there, unless none are wanted: somebody may have removed them."""
    wanted = settings.encoding.save_weights != "none"
    return not wanted or all(is_done(analysis, "weights", layer=layer) for layer in layers)


def _features(
    settings: Settings, executor: Executor, plan: Plan, source: FeatureSource
) -> FeatureStore:
    with console.stage("features") as words, console.progress("features", "stimuli") as bar:
        if source.is_network:
            executor.extract(settings, plan.stimuli, bar)
        store = source.store(
            plan.stimuli,
            blank=plan.design.kind == "continuous",
            cache_dir=settings.resources.work_dir,
            on_progress=bar,
        )
        kind = "pictures and stretches of films" if plan.films else "pictures"
        words += [f"{len(store.stimuli)} {kind}", f"{len(store.layers)} layers of {source.name}"]
    return store


def _write_shapes(analysis: Analysis, shapes: Shapes, grid: Grid) -> None:
    """Write the haemodynamic response of each voxel, and when it peaks."""
    curves = shapes.basis.curves.astype(np.float32)
    write_weights(
        analysis,
        "hrf",
        {
            "times": shapes.basis.times,
            "curves": curves,
            "coefficients": shapes.coefficients,
            **grid.described(),
        },
        {},
    )
    write_statmap(analysis, "hrfpeak", shapes.peak, grid)


def _fit_layers(
    settings: Settings,
    executor: Executor,
    analysis: Analysis,
    store: FeatureStore,
    data: MeasuredData,
    folds: tuple[Fold, ...],
) -> tuple[list[LayerScores], np.ndarray]:
    """Fit layer after layer; a layer whose files are there already is read back.

    Rows that are held out are a test set: predicted by the models of the others. Where the best
    penalty of many voxels lies at an end of the default grid, all layers are fitted again with a
    wider one, since what scores are compared with, and the null, must have had the same choice.

    Returns
    -------
    scores : list of LayerScores
    penalties : (m,) array
        The grid that all layers were fitted with.
    """
    samples, held = data.samples, data.held
    n_voxels = data.responses.values.shape[1]
    kernel = kernel_of(samples, store)
    useful = _useful(kernel, ~held)
    grid = make_grid(settings.encoding.penalties)
    if not settings.encoding.penalties:
        grid = _begun_with(analysis, store.layers, grid)
    with console.stage("encoding") as words:
        while True:
            scores = _fit_with(grid, settings, executor, analysis, store, data, folds, kernel)
            if settings.encoding.penalties:  # kept as they are
                break
            wider = _wider(scores, grid, folds, useful)
            if len(wider) == len(grid):
                break
            logger.info(
                "The best penalty of many well-predicted voxels is at an end of the grid: all "
                f"layers are fitted again with {len(wider)} penalties from {wider[0]:.2g} to "
                f"{wider[-1]:.2g}"
            )
            grid = wider
        words += [
            f"{len(store.layers)} layers × {n_voxels} {places_in_words(data.grid.form)}",
            f"{np.count_nonzero(~held)} samples in {len(folds)} folds",
            *([f"{np.count_nonzero(held)} test samples"] if held.any() else []),
        ]
    return scores, grid


def _useful(kernel: Callable[[str], np.ndarray], training: np.ndarray) -> Callable[[str], float]:
    """Give the smallest penalty of a layer that is of use."""
    return lambda layer: smallest_useful(training_kernel(kernel(layer), training))


def _begun_with(analysis: Analysis, layers: Sequence[str], grid: np.ndarray) -> np.ndarray:
    """The widest grid that layers of this analysis were fitted with, in a run that was stopped."""
    grids = [_tried(analysis, layer) for layer in layers]
    return max([grid, *(one for one in grids if one is not None)], key=len)


def _tried(analysis: Analysis, layer: str) -> np.ndarray | None:
    """The grid that a layer was fitted with, where it is done."""
    if not is_done(analysis, "penalty", layer=layer):
        return None
    return np.array(sidecar_of(analysis.sidecars("penalty", layer=layer)[-1])["Penalties"])


def _wider(
    scores: Sequence[LayerScores],
    grid: np.ndarray,
    folds: Sequence[Fold],
    useful: Callable[[str], float],
) -> np.ndarray:
    """The grid, further at the ends where voxels pile up that are predicted without any doubt.

    ``useful`` gives the smallest penalty of a layer that is of use.
    """
    n_samples = sum(len(fold.test) for fold in folds)
    found = {
        score.layer: piled_up(
            score.penalty, far_beyond_chance(score.cross_validated(folds)[1], n_samples), grid
        )
        for score in scores
    }
    low = [useful(layer) for layer, (below, _) in found.items() if below]
    ends = (bool(low), any(above for _, above in found.values()))
    return extended(grid, ends, min(low, default=grid[0]))


def _fit_with(
    grid: np.ndarray,
    settings: Settings,
    executor: Executor,
    analysis: Analysis,
    store: FeatureStore,
    data: MeasuredData,
    folds: tuple[Fold, ...],
    kernel: Callable[[str], np.ndarray],
) -> list[LayerScores]:
    """Fit all layers with one grid of penalties, but for those that are done with it."""
    samples, responses, held = data.samples, data.responses, data.held
    n_voxels = responses.values.shape[1]
    chosen = settings.encoding
    problem = FitJob(
        analysis.hash, store, samples, ~held, data.training[0].values, folds, grid,
        nested=chosen.nested, keep_weights=chosen.save_weights != "none" or bool(held.any()),
    )  # fmt: skip
    with console.progress("encoding", "voxels") as bar:
        done = {
            layer: _read_back(settings, analysis, layer, responses.grid, grid, tested=held.any())
            for layer in store.layers
        }
        scores = {layer: found for layer, found in done.items() if found is not None}
        missing = [layer for layer in store.layers if layer not in scores]
        total = len(missing) * n_voxels
        fits = executor.fit(
            problem, missing, kernel,
            mem_bytes=data.spare_memory,
            on_progress=lambda share: bar(round(share * total), total),
        )  # fmt: skip
        for layer, found in zip(missing, fits, strict=True):
            scores[layer] = _write_layer(chosen, analysis, store, data, layer, found, kernel)
    return [scores[layer] for layer in store.layers]


def _read_back(settings, analysis, layer, places, grid, *, tested) -> LayerScores | None:
    kinds = _LAYER_MAPS + (_TEST_MAPS if tested else ())
    wanted = [*kinds, *(["weights"] if settings.encoding.save_weights != "none" else [])]
    if not all(is_done(analysis, kind, layer=layer) for kind in wanted):
        return None
    tried = _tried(analysis, layer)
    if tried is None or not np.array_equal(tried, grid):
        return None
    maps = {kind: read_values(analysis, kind, places, layer=layer) for kind in kinds}
    logger.info(f"layer {layer}: done before")
    return LayerScores(layer, **maps)


def _write_layer(
    encoding, analysis, store, data: MeasuredData, layer, found: Fit, kernel
) -> LayerScores:
    samples, responses, held = data.samples, data.responses, data.held
    maps = {
        "r2": found.r2,
        "r": found.r,
        "pooled_r2": found.pooled_r2,
        "penalty": np.log10(found.penalty),
    }
    if held.any():
        actual = responses.values[held]
        among = kernel(layer)[np.ix_(held, ~held)]
        predicted = found.predict(among)
        maps |= {"test_r2": r2_score(actual, predicted), "test_r": correlation(actual, predicted)}
    for kind, values in maps.items():
        extra = {"Penalties": found.penalties.tolist()} if kind == "penalty" else None
        write_statmap(analysis, kind, values, responses.grid, extra=extra, layer=layer)
    if encoding.save_weights != "none":
        used = samples.take(~held)
        dual, intercept = found.weights
        model = {"dual": dual}
        if encoding.save_weights == "primal":
            features = used.matrix(store.load(layer, used.stimuli).values)
            model = {"primal": features.T @ np.nan_to_num(dual)}
            model["primal"][:, ~found.valid] = np.nan
        write_weights(
            analysis,
            "weights",
            {
                **model,
                "intercept": intercept,
                **_described(used, responses.grid, data.grouping.groups),
                **_stamped(store, layer, used, samples.take(held)),
            },
            {
                "network": store.network,
                "layer": layer,
                "features": store.identity,
                "origin": json.dumps(store.origin(layer), sort_keys=True),
            },
            layer=layer,
        )
    return LayerScores(layer, **maps)


def _stamped(
    store: FeatureStore, layer: str, samples: Samples, held: Samples
) -> dict[str, list[str]]:
    """What ties a model to its stimuli, and which ones it has not seen."""
    stamped = {"stamps": store.stamps(layer, samples.stimuli)}
    unseen = sorted(set(held.shown) - set(samples.shown))
    if unseen:
        stamped |= {"unseen": unseen, "unseen_stamps": store.stamps(layer, unseen)}
    return stamped


def _described(
    samples: Samples, grid: Grid, groups: np.ndarray
) -> dict[str, np.ndarray | list[str]]:
    """What a model file says of its rows and columns, so that it can be used alone."""
    described: dict[str, np.ndarray | list[str]] = {
        "stimuli": list(samples.stimuli),
        "groups": groups,
        **grid.described(),
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
