"""Which voxels are predicted better than chance, and how well they could be predicted at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from bids_encoder import console
from bids_encoder.bids.derivatives import Analysis, is_done, read_values, write_statmap
from bids_encoder.bids.written import places_in_words
from bids_encoder.encoding.ceiling import (
    SMALLEST_CEILING,
    ceiling_from_means,
    ceiling_from_passes,
    normalise,
)
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.null import (
    N_VOXELS,
    false_discovery_rate,
    null_distribution,
    p_values,
    spread_voxels,
)
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.recurring import Recurring
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.grid import Grid
from bids_encoder.plan import Plan
from bids_encoder.responses.assemble import Responses
from bids_encoder.settings import Inference
from bids_encoder.summary import LayerScores

logger = logging.getLogger(__name__)

# Neighbouring samples share noise for about as long as a haemodynamic response lasts.
BLOCK_SECONDS = 30.0
LEAST_REPEATED = 10  # stimuli with repeats; of fewer no ceiling is worth having
LEAST_VOLUMES = 30  # that recur; neighbouring ones are alike, and count for less than stimuli


def inference_is_done(chosen: Inference, analysis: Analysis) -> bool:
    """Whether the p-values that are asked for are there."""
    ours = _with_settings(chosen, analysis)
    return chosen.n_permutations == 0 or all(is_done(ours, kind) for kind in ("p", "q"))


def write_inference(
    chosen: Inference,
    analysis: Analysis,
    plan: Plan,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: Sequence[Fold],
    scores: Sequence[LayerScores],
    *,
    nested: bool,
    mem_bytes: int,
    device: str,
) -> None:
    """Write p- and q-maps, unless they are there or none are asked for.

    Parameters
    ----------
    chosen : settings.Inference
    analysis, plan, store, samples, responses, folds, scores
        Of the analysis; the null is made as the scores were.
    nested, mem_bytes, device
        As for :func:`bids_encoder.encoding.ridge.fit`.
    """
    if inference_is_done(chosen, analysis):
        return
    highest = np.max([score.r2 for score in scores], axis=0)
    block = max(1, round(BLOCK_SECONDS / _seconds_per_row(plan)))
    voxels = spread_voxels(np.isfinite(highest))
    if not voxels.size:
        return
    with console.stage("p-values") as words:
        null = null_distribution(
            LayerKernels(samples, store),
            responses.values[:, voxels],
            folds,
            n_permutations=chosen.n_permutations,
            block=block,
            nested=nested,
            mem_bytes=mem_bytes,
            device=device,
            seed=chosen.permutation_seed,
        ).highest()
        p = p_values(highest, null)
        q = false_discovery_rate(p)
        passed = int(np.count_nonzero(q <= chosen.fdr))
        words += [
            f"{passed} {places_in_words(responses.grid.form)} at a false discovery rate of "
            f"{chosen.fdr:g}",
            f"{chosen.n_permutations} permutations",
        ]
    extra = {
        "Statistic": "highest r2 over layers",
        "Permutations": chosen.n_permutations,
        "PermutedVoxels": min(N_VOXELS, len(voxels)),
        "PermutedBlock": block,
        "FalseDiscoveryRate": chosen.fdr,
        "VoxelsPassed": passed,
        "Threshold": float(highest[q <= chosen.fdr].min()) if passed else None,
        "NullQuantiles": {
            str(share): float(np.quantile(null, share)) for share in (0.5, 0.95, 0.99, 0.999)
        },
    }
    ours = _with_settings(chosen, analysis)
    write_statmap(ours, "p", p, responses.grid, extra=extra)
    write_statmap(ours, "q", q, responses.grid, extra=extra)


def passed_voxels(chosen: Inference, analysis: Analysis, grid: Grid) -> np.ndarray | None:
    """Voxels that are predicted better than chance, (V,); None where no p-values are wanted."""
    if chosen.n_permutations == 0 or not inference_is_done(chosen, analysis):
        return None
    return read_values(analysis, "q", grid) <= chosen.fdr


def write_noise_ceiling(
    analysis: Analysis,
    responses: Responses,
    scores: Sequence[LayerScores],
    recurring: Recurring | None = None,
) -> None:
    """Write the noise ceiling and the scores in its units, where stimuli have repeats.

    Parameters
    ----------
    analysis : Analysis
    responses : Responses
        Of the test set, where there is one.
    scores : sequence of LayerScores
        Those on the test set are normalised, where there is one.
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
        write_statmap(
            analysis,
            "normalizedr2",
            normalise(score.r2 if score.test_r2 is None else score.test_r2, ceiling),
            responses.grid,
            extra={"SmallestCeiling": SMALLEST_CEILING},
            layer=score.layer,
        )
    reliable = np.count_nonzero(ceiling >= SMALLEST_CEILING)
    logger.info(
        f"{repeated}: {reliable} {places_in_words(responses.grid.form)} have a noise ceiling of at "
        f"least {SMALLEST_CEILING:g}"
    )


# A ceiling (V,), what it is from in words, and for the sidecar.
_Ceiling = tuple[np.ndarray, str, dict[str, object]]


def _ceiling_of_stimuli(responses: Responses) -> _Ceiling | None:
    """From the repeats of single stimuli; None where there are too few."""
    repeats = responses.repeats
    if repeats is None or np.count_nonzero(repeats > 1) < LEAST_REPEATED:
        return None
    number = int(np.count_nonzero(repeats > 1))
    return (
        ceiling_from_means(responses.values, repeats, responses.squares),
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


def _seconds_per_row(plan: Plan) -> float:
    """Time from one row of the responses to the next: volumes, or successive stimuli."""
    if plan.design.kind == "continuous":
        return plan.infos[0].repetition_time
    gaps = [np.diff(sorted(one.onset for one in shown)) for shown in plan.presentations]
    gaps = np.concatenate(gaps)
    return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else BLOCK_SECONDS


def _with_settings(chosen: Inference, analysis: Analysis) -> Analysis:
    return analysis.with_settings(
        n_permutations=chosen.n_permutations,
        fdr=chosen.fdr,
        permutation_seed=chosen.permutation_seed,
    )
