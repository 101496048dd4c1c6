"""Which voxels are predicted better than chance, and how well they could be predicted at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.summary_tables import LayerScores
from bids_encoder.config.settings import InferenceSettings
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.read import places_in_words
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import (
    Analysis,
    is_done,
    read_values,
    write_places,
    write_statmap,
)
from bids_encoder.encoding.ceiling import (
    SMALLEST_CEILING,
    ceiling_from_means,
    ceiling_from_passes,
    normalise,
)
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.null import false_discovery_rate
from bids_encoder.encoding.permute import autocorrelation
from bids_encoder.encoding.scores import steady_score
from bids_encoder.encoding.strata import (
    Stratum,
    fewest_voxels,
    p_by_stratum,
    permute_voxels,
)
from bids_encoder.encoding.tail import FEWEST_EXCESSES, SHARES
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.recurring import Recurring
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.assemble import Responses
from bids_encoder.runtime import console

logger = logging.getLogger(__name__)

QUANTILES = (0.5, 0.95, 0.99, 0.999)
# How the null is made: results of another way are computed anew.
NULL = "whitened permutations, strata of autocorrelation, fitted tail, pooled r2 in small folds"

# Neighbouring samples share noise for about as long as a haemodynamic response lasts.
BLOCK_SECONDS = 30.0
# Nulls of voxels that differ by more than this share of their size are warned of.
LARGEST_SPREAD = 0.25
SPREAD_P = 0.002
LEAST_REPEATED = 10  # stimuli with repeats; of fewer no ceiling is worth having
LEAST_VOLUMES = 30  # that recur; neighbouring ones are alike, and count for less than stimuli
_MAPS = ("p", "q", "predicted")


def inference_is_done(chosen: InferenceSettings, analysis: Analysis) -> bool:
    """Whether the p-values that are asked for are there."""
    ours = _with_settings(chosen, analysis)
    return chosen.n_permutations == 0 or all(is_done(ours, kind) for kind in _MAPS)


def inference_parts(chosen: InferenceSettings, analysis: Analysis) -> list[Analysis]:
    """What the maps of p-values that are asked for belong to."""
    return [_with_settings(chosen, analysis)] if chosen.n_permutations else []


def write_inference(
    chosen: InferenceSettings,
    analysis: Analysis,
    plan: Plan,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: Sequence[Fold],
    scores: Sequence[LayerScores],
    *,
    penalties: np.ndarray,
    nested: bool,
    mem_bytes: int,
    device: str,
) -> None:
    """Write p- and q-maps, unless they are there or none are asked for.

    Parameters
    ----------
    chosen : settings.InferenceSettings
    analysis, plan, store, samples, responses, folds, scores
        Of the analysis; the null is made as the scores were.
    penalties, nested, mem_bytes, device
        As for :func:`bids_encoder.encoding.ridge.fit`.
    """
    if inference_is_done(chosen, analysis):
        _warn_again(chosen, analysis)
        return
    # In small folds r2 is biased downwards, and finds less (`encoding.scores`); pooled r2 is not.
    score = steady_score(folds)
    name = score.replace("_", " ")
    highest = np.max([getattr(layer, score) for layer in scores], axis=0)
    block = rows_together(plan)
    scored = np.flatnonzero(np.isfinite(highest))
    if not scored.size:
        return
    places = places_in_words(responses.grid.form)
    with console.stage("p-values") as words:
        _, strata = permute_voxels(
            LayerKernels(samples, store),
            responses.values,
            folds,
            scored,
            score=score,
            n_permutations=chosen.n_permutations,
            block=block,
            penalties=penalties,
            nested=nested,
            mem_bytes=mem_bytes,
            device=device,
            seed=chosen.permutation_seed,
        )
        p = p_by_stratum(strata, highest)
        q = false_discovery_rate(p)
        passes = is_predicted(q, highest, chosen.fdr)
        passed = int(np.count_nonzero(passes))
        words += [
            f"{passed} of {len(scored)} {places} are predicted better than chance at a false "
            f"discovery rate of {chosen.fdr:g}",
            f"{chosen.n_permutations} permutations",
            *([f"{len(strata)} strata of autocorrelation"] if len(strata) > 1 else []),
        ]
    rho = autocorrelation(responses.values, folds)
    smallest = max(stratum.smallest_p for stratum in strata)
    fewest = fewest_voxels(len(scored), smallest, chosen.fdr)
    warnings = _warnings(strata, fewest, len(scored), chosen, places)
    for warning in warnings:
        logger.warning(warning)
    weights = np.concatenate([np.full(len(s.null), len(s.members) / len(s.null)) for s in strata])
    pooled = np.concatenate([stratum.null for stratum in strata])
    extra = {
        "Statistic": f"highest {name} over layers",
        "Permutations": chosen.n_permutations,
        "PermutedVoxels": len(np.unique(np.concatenate([s.permuted for s in strata]))),
        "PermutedBlock": block,
        "FalseDiscoveryRate": chosen.fdr,
        "VoxelsPassed": passed,
        "Threshold": float(highest[passes].min()) if passed else None,
        "SmallestP": smallest,
        "FewestVoxels": fewest,
        "NullQuantiles": {
            str(share): float(np.quantile(pooled, share, weights=weights, method="inverted_cdf"))
            for share in QUANTILES
        },
        "Warnings": warnings,
        "NullStrata": [_described(stratum, rho, highest, passes) for stratum in strata],
    }
    ours = _with_settings(chosen, analysis)
    write_statmap(ours, "p", p, responses.grid, extra=extra)
    write_statmap(ours, "q", q, responses.grid, extra=extra)
    # It comes last and means: done.
    write_places(ours, "predicted", passes, responses.grid, extra)


def is_predicted(q: np.ndarray, highest: np.ndarray, rate: float) -> np.ndarray:
    """Which voxels are predicted: the one place where this is decided.

    Parameters
    ----------
    q : (V,) array
        Adjusted p-values; NaN where there is no score.
    highest : (V,) array
        The statistic: highest r² over layers (pooled, where folds are small). A negative one can
        be rare under permutation, and yet be worse than predicting the mean of the responses.
    rate : float
        False discovery rate.

    Returns
    -------
    (V,) bool array
    """
    return (q <= rate) & (highest > 0)


def _warn_again(chosen: InferenceSettings, analysis: Analysis) -> None:
    """Give the warnings of maps that an earlier run made: they hold for the results of this one."""
    for ours in inference_parts(chosen, analysis):
        for warning in sidecar_of(ours.sidecars("predicted")[-1]).get("Warnings", ()):
            logger.warning(warning)


def _warnings(
    strata: Sequence[Stratum], fewest: int, n_voxels: int, chosen: InferenceSettings, places: str
) -> list[str]:
    """Where p-values cannot get small enough, or where one null does not suit all voxels."""
    found = []
    if fewest > 1:
        found.append(
            f"p-values are counted where the tail of the null could not be fitted, and cannot be "
            f"below {max(s.smallest_p for s in strata):.2g}: at a false discovery rate of "
            f"{chosen.fdr:g}, fewer than {fewest} of {n_voxels} {places} can never pass. More "
            "permutations (--n-permutations) help."
        )
    differ = [s for s in strata if s.spread_p < SPREAD_P and s.spread > LARGEST_SPREAD]
    if differ:
        found.append(
            f"The null distributions of {places} differ, and not only with their autocorrelation: "
            f"among {sum(len(s.members) for s in differ)} {places} that share a null, what is "
            f"reached with p = 0.05 there is reached in {_own_rate(differ)} of the permutations "
            f"of single {places} (mean ± standard deviation). Their p-values are right on "
            "average, too small for some and too large for others; most so where folds are small, "
            "or where they leave out stimuli of one kind."
        )
    return found


def _own_rate(differ: Sequence[Stratum]) -> str:
    return f"5 ± {100 * max(s.beyond_sd for s in differ):.0f} %"


def _described(
    stratum: Stratum, rho: np.ndarray, highest: np.ndarray, passes: np.ndarray
) -> dict[str, object]:
    """A stratum, for a sidecar."""
    ours = rho[stratum.members]
    passed = highest[stratum.members][passes[stratum.members]]
    tail = stratum.tail
    return {
        "Autocorrelation": [float(ours.min()), float(ours.max())],
        "Voxels": len(stratum.members),
        "VoxelsPassed": len(passed),
        "PermutedVoxels": len(np.unique(stratum.permuted)),
        "Permutations": len(stratum.null),
        "NullQuantiles": {str(q): float(np.quantile(stratum.null, q)) for q in QUANTILES},
        "Tail": None
        if tail is None
        else {"Threshold": tail.threshold, "Shape": tail.shape, "Scale": tail.scale},
        "SmallestP": stratum.smallest_p,
        "Threshold": float(passed.min()) if len(passed) else None,
        "VoxelsOwn95%": {
            str(q): float(np.quantile(stratum.own, q))
            for q in (0.05, 0.5, 0.95)
            if len(stratum.own)
        },
        "VoxelsSpread": stratum.spread,
        "VoxelsSpreadP": stratum.spread_p,
        "VoxelsBeyond95%SD": stratum.beyond_sd,
    }


def passed_voxels(chosen: InferenceSettings, analysis: Analysis, grid: Grid) -> np.ndarray | None:
    """Voxels that are predicted better than chance, (V,); None where no p-values are wanted."""
    if chosen.n_permutations == 0 or not inference_is_done(chosen, analysis):
        return None
    return read_values(analysis, "predicted", grid) > 0


def counted_voxels(
    chosen: InferenceSettings, analysis: Analysis, grid: Grid, scored: np.ndarray
) -> Counted:
    """The voxels that counts and means are about: those that passed, or all that are scored.

    Parameters
    ----------
    scored : (V,) bool array
    """
    places = places_in_words(grid.form)
    passed = passed_voxels(chosen, analysis, grid)
    if passed is None:
        return Counted(scored, None, places)
    return Counted(passed, chosen.fdr, places)


def write_noise_ceiling(
    analysis: Analysis,
    responses: Responses,
    scores: Sequence[LayerScores],
    folds: Sequence[Fold],
    counted: Counted,
    recurring: Recurring | None = None,
) -> None:
    """Write the noise ceiling and the scores in its units, where stimuli have repeats.

    Parameters
    ----------
    analysis : Analysis
    responses : Responses
        Of the test set, where there is one.
    scores : sequence of LayerScores
        Those on the test set are normalised, where there is one; else r2, and where folds are
        small (`encoding.scores.SMALL_FOLD`) pooled r2.
    folds : sequence of Fold
    counted : Counted
        The voxels that the log counts.
    recurring : Recurring, optional
        In continuous designs: which of these rows show what other runs show too.
    """
    found = (
        _ceiling_of_stimuli(responses)
        if recurring is None
        else _ceiling_of_stretches(responses, recurring)
    )
    if found is None:
        return
    ceiling, repeated, extra = found
    write_statmap(analysis, "noiseceiling", ceiling, responses.grid, extra=extra)
    for score in scores:
        name, values = score.share_of_variance(folds)
        write_statmap(
            analysis,
            "normalizedr2",
            normalise(values, ceiling),
            responses.grid,
            extra={"SmallestCeiling": SMALLEST_CEILING, "Score": name},
            layer=score.layer,
        )
    reliable = np.count_nonzero((ceiling >= SMALLEST_CEILING) & counted.where)
    logger.info(
        f"{repeated}: {reliable} of {counted.said} have a noise ceiling of at least "
        f"{SMALLEST_CEILING:g}"
    )


# A ceiling (V,), what it is from in words, and for the sidecar.
_Ceiling = tuple[np.ndarray, str, dict[str, object]]


def _ceiling_of_stimuli(responses: Responses) -> _Ceiling | None:
    """From the repeats of single stimuli; None where there are too few."""
    repeats, squares = responses.repeats, responses.squares
    if repeats is None or squares is None or np.count_nonzero(repeats > 1) < LEAST_REPEATED:
        return None
    number = int(np.count_nonzero(repeats > 1))
    return (
        ceiling_from_means(responses.values, repeats, squares),
        f"{number} stimuli were repeated",
        {
            "RepeatedStimuli": number,
            "Repeats": {"mean": float(repeats.mean()), "highest": int(repeats.max())},
        },
    )


def _ceiling_of_stretches(responses: Responses, recurring: Recurring) -> _Ceiling | None:
    """From stretches that recur in several runs; None where they are too short."""
    contents, runs = np.unique(recurring.content[recurring.content >= 0], return_counts=True)
    if len(contents) < LEAST_VOLUMES:
        return None
    return (
        ceiling_from_passes(responses.values, recurring.content, recurring.runs),
        f"{len(contents)} volumes' worth of the stimulus recurs in several runs",
        {
            "RepeatedVolumes": len(contents),
            "Repeats": {"mean": float(runs.mean()), "highest": int(runs.max())},
            "CeilingOf": "single volumes, as they are scored",
        },
    )


def rows_together(plan: Plan) -> int:
    """Neighbouring rows that are permuted together: those that share noise."""
    return max(1, round(BLOCK_SECONDS / _seconds_per_row(plan)))


def _seconds_per_row(plan: Plan) -> float:
    """Time from one row of the responses to the next: volumes, or successive stimuli."""
    if plan.design.kind == "continuous":
        return plan.bold_infos[0].repetition_time
    gaps = np.concatenate(
        [np.diff(sorted(one.onset for one in shown)) for shown in plan.presentations]
    )
    return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else BLOCK_SECONDS


def planned_p_values(chosen: InferenceSettings, n_voxels: int, places: str) -> str:
    """What p-values can reach, in words, before anything is computed."""
    count = chosen.n_permutations
    if count == 0:
        return "none"
    fewest = fewest_voxels(n_voxels, 1 / (1 + count), chosen.fdr)
    bound = (
        f"fewer than {fewest} of {n_voxels} {places} can never pass at a false discovery rate of "
        f"{chosen.fdr:g}"
        if fewest > 1
        else f"a single one of {n_voxels} {places} can pass at a false discovery rate of "
        f"{chosen.fdr:g}"
    )
    if count * SHARES[0] < FEWEST_EXCESSES:
        return f"{count} permutations, too few to fit the tail of the null: {bound}"
    return (
        f"{count} permutations; smaller ones than 1/{count + 1} from the fitted tail of the null, "
        f"so that a single one of the {places} can pass; where no tail fits, {bound}"
    )


def _with_settings(chosen: InferenceSettings, analysis: Analysis) -> Analysis:
    return analysis.with_settings(
        null=NULL,
        n_permutations=chosen.n_permutations,
        fdr=chosen.fdr,
        permutation_seed=chosen.permutation_seed,
    )
