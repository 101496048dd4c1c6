"""``--match-dimensions``: how scores and best layers change with as many features of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.analysis.summary_tables import LayerScores
from bids_encoder.config.settings import Dimensions, InferenceSettings
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.write import Analysis, is_done, write_table
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.matched import changes_between_draws, matched_scores
from bids_encoder.encoding.ridge import HowToFit
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.responses.assemble import Responses
from bids_encoder.runtime import console

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on


def matched_is_done(chosen: Dimensions, inference: InferenceSettings, analysis: Analysis) -> bool:
    """Whether the comparison that is asked for is there, of the voxels that pass now."""
    ours = _with_settings(chosen, inference, analysis)
    return chosen.match_dimensions is None or is_done(ours, "matched")


def matched_parts(
    chosen: Dimensions, inference: InferenceSettings, analysis: Analysis
) -> list[Analysis]:
    """What the comparison, if it is asked for, belongs to."""
    ours = _with_settings(chosen, inference, analysis)
    return [] if chosen.match_dimensions is None else [ours]


def number_drawn(asked: str, sizes: Mapping[str, int]) -> int:
    """How many features of each layer are drawn: ``auto`` is the size of the smallest layer."""
    return min(sizes.values()) if asked == "auto" else int(asked)


def write_matched(
    chosen: Dimensions,
    inference: InferenceSettings,
    analysis: Analysis,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: Sequence[Fold],
    scores: Sequence[LayerScores],
    counted: Counted,
    **how: Unpack[HowToFit],
) -> None:
    """Write the table that compares best layers, unless it is there or not asked for.

    Parameters
    ----------
    chosen : settings.Dimensions
    inference : settings.InferenceSettings
    analysis, store, samples, responses, folds, scores
        Of the analysis.
    counted : Counted
        The voxels that are compared.
    **how
        As for :func:`bids_encoder.encoding.ridge.fit`: as the scores were made.
    """
    asked = chosen.match_dimensions
    if asked is None or matched_is_done(chosen, inference, analysis):
        return
    sizes = {layer: store.sizes[layer] for layer in store.layers}
    n_drawn = number_drawn(asked, sizes)
    where = np.flatnonzero(counted.where)
    plain = np.stack([score.r[where] for score in scores])
    matched = np.full((len(sizes), chosen.match_draws, len(where)), np.nan, np.float32)
    with console.stage("dimensions") as words, console.progress("dimensions", "layers") as bar:
        for number, layer in enumerate(store.layers if len(where) else ()):
            matched[number] = matched_scores(
                store.load(layer, samples.stimuli).values,
                responses.values[:, where],
                folds,
                n_drawn=n_drawn,
                n_draws=chosen.match_draws,
                seed=(chosen.match_seed, number),
                kernel_of_rows=samples.kernel,
                **how,
            )
            bar(number + 1, len(sizes))
        before, after = plain.argmax(axis=0), matched.mean(axis=1).argmax(axis=0)
        changed = int(np.count_nonzero(before != after))
        words += [
            f"{n_drawn} features of each layer, {chosen.match_draws} draws",
            f"the best layer of {changed} of {counted.said} is another one",
        ]
    extra = {
        "FeaturesDrawn": n_drawn,
        "Draws": chosen.match_draws,
        "VoxelsCounted": {"Which": counted.rule, "Number": counted.number},
        "VoxelsChanged": changed,
        "VoxelsEarlier": int(np.count_nonzero(after < before)),
        "VoxelsLater": int(np.count_nonzero(after > before)),
        "ShareChangedBetweenDraws": changes_between_draws(matched) if len(where) else None,
    }
    rows = [
        (
            layer, sizes[layer], min(n_drawn, sizes[layer]),
            np.median(plain[i]) if len(where) else None,
            np.median(matched[i].mean(axis=0)) if len(where) else None,
            int(np.count_nonzero(before == i)), int(np.count_nonzero(after == i)),
        )
        for i, layer in enumerate(sizes)
    ]  # fmt: skip
    meanings = _columns(counted, chosen.match_draws)
    columns = dict(zip(meanings, map(list, zip(*rows, strict=True)), strict=True))
    ours = _with_settings(chosen, inference, analysis)
    write_table(ours, "matched", columns, meanings, extra=extra)


def _columns(counted: Counted, n_draws: int) -> dict[str, str]:
    return {
        "layer": "Layer of the network, from shallow to deep.",
        "features": "Number of its features.",
        "features_drawn": "Number of features in each random draw of them.",
        "r_median": f"Median over {counted.rule} of the held-out correlation r of the model of all "
        "features.",
        "r_median_matched": "The same for models of the drawn features (the mean of r over "
        f"{n_draws} draws first).",
        "voxels_best": f"Number of {counted.rule} that the layer predicts best (highest r, not "
        "smoothed), by all features.",
        "voxels_best_matched": f"The same by the drawn features (mean of r over {n_draws} draws).",
    }


def _with_settings(
    chosen: Dimensions, inference: InferenceSettings, analysis: Analysis
) -> Analysis:
    return analysis.with_settings(
        n_permutations=inference.n_permutations,
        fdr=inference.fdr,
        permutation_seed=inference.permutation_seed,
        match_dimensions=chosen.match_dimensions,
        match_draws=chosen.match_draws,
        match_seed=chosen.match_seed,
    )
