"""What a participant's scores, slope and best layer are by chance: written for the group level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.significance import rows_together
from bids_encoder.analysis.summary_tables import SMOOTHING
from bids_encoder.bids.spaces import is_own
from bids_encoder.config.settings import InferenceSettings
from bids_encoder.derivatives.write import Analysis, is_done, write_table
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.strata import spread_evenly
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.fingerprints.chance import (
    N_NEIGHBOURHOODS,
    Chance,
    chance_level,
    neighbourhoods,
)
from bids_encoder.responses.assemble import Responses
from bids_encoder.runtime import console

_MOST_PERMUTATIONS = 5  # of each neighbourhood
_PERMUTATIONS_EACH = 2000  # of the p-values, for one of these: by default 100 best layers
_COLUMNS = {
    "measure": "r: score of a layer; slope: of the fingerprint; bestlayer: place of the best "
    "layer on the scale of the slope, from -1 (first layer) to 1 (last layer).",
    "layer": "Layer of the network; n/a: all together.",
    "mean": "Mean where nothing is predicted: over permuted responses of voxels spread over the "
    "mask, with the choice of the penalty (and for the best layer the smoothing) repeated.",
    "deviation": "Standard deviation of the same.",
    "draws": "Number of voxels and permutations that have a value. They lie in "
    f"{N_NEIGHBOURHOODS} neighbourhoods, so that not all are independent.",
}


def chance_is_done(chosen: InferenceSettings, analysis: Analysis) -> bool:
    """Whether the table is there, or none is wanted."""
    return not _wanted(chosen, analysis) or is_done(_with_settings(chosen, analysis), "chance")


def chance_parts(chosen: InferenceSettings, analysis: Analysis) -> list[Analysis]:
    """What the table, if it is wanted, belongs to."""
    return [_with_settings(chosen, analysis)] if _wanted(chosen, analysis) else []


def write_chance(
    chosen: InferenceSettings,
    analysis: Analysis,
    plan: Plan,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: Sequence[Fold],
    scored: np.ndarray,
    *,
    penalties: np.ndarray,
    nested: bool,
    mem_bytes: int,
    device: str,
) -> None:
    """Write the table, unless it is there, or no p-values or no maps of a group can be made.

    Parameters
    ----------
    chosen : settings.InferenceSettings
    analysis, plan, store, samples, responses, folds
        Of the analysis; scores of chance are made as the scores were.
    scored : (V,) bool array
        Voxels that have a score.
    penalties, nested, mem_bytes, device
        As for :func:`bids_encoder.encoding.ridge.fit`.
    """
    seeds = _spread(scored)
    if chance_is_done(chosen, analysis) or not seeds.size:
        return
    alone = np.zeros((len(seeds), len(scored)))
    alone[np.arange(len(seeds)), seeds] = 1
    smoothed = np.where(scored, responses.grid.smooth(alone, SMOOTHING), 0)
    number = int(np.clip(chosen.n_permutations // _PERMUTATIONS_EACH, 1, _MOST_PERMUTATIONS))
    with console.stage("chance level") as words:
        found = chance_level(
            LayerKernels(samples, store),
            responses.values,
            folds,
            neighbourhoods(smoothed, seeds),
            n_permutations=number,
            block=rows_together(plan),
            penalties=penalties,
            nested=nested,
            mem_bytes=mem_bytes,
            device=device,
            seed=chosen.permutation_seed,
        )
        words.append(f"slope {found.slope.mean:.2f}, best layer {found.place.mean:.2f}")
    ours = _with_settings(chosen, analysis)
    write_table(ours, "chance", _rows(found, store.layers), _COLUMNS)


def _spread(scored: np.ndarray) -> np.ndarray:
    """Voxels spread evenly over those that have a score."""
    candidates = np.flatnonzero(scored)
    count = min(N_NEIGHBOURHOODS, len(candidates))
    return candidates[spread_evenly(len(candidates), count)]


def _rows(found: Chance, layers: Sequence[str]) -> dict[str, list]:
    levels = [
        *(("r", layer, level) for layer, level in zip(layers, found.r, strict=True)),
        ("slope", None, found.slope),
        ("bestlayer", None, found.place),
    ]
    rows = [(name, layer, one.mean, one.deviation, one.draws) for name, layer, one in levels]
    return dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True))


def _wanted(chosen: InferenceSettings, analysis: Analysis) -> bool:
    """The group has maps in a common space only."""
    return chosen.n_permutations > 0 and not is_own(analysis.names.get("space"))


def _with_settings(chosen: InferenceSettings, analysis: Analysis) -> Analysis:
    return analysis.with_settings(
        n_permutations=chosen.n_permutations, permutation_seed=chosen.permutation_seed
    )
