"""The region of the best-predicted voxels, chosen on other responses than those that test it.

A voxel whose noise happens to agree with the features of a layer is predicted well, and its noise
then makes pictures alike that are alike in that layer. Whatever is compared with the layers is
therefore taken from rows (pictures, or volumes in continuous designs) that had no part in the
choice: models are fitted for the choice within a third of the rows, and the rest is compared.
Where a test set is held out, the scores of the training rows choose, and the test set is compared.

Which pictures choose is decided by the checksums of their names, so that participants who saw the
same pictures compare the same pairs; in continuous designs whole groups (sessions, runs, blocks)
choose, because neighbouring volumes share their noise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.summary_tables import LayerScores
from bids_encoder.config.settings import NeuralCodeSettings
from bids_encoder.derivatives.rsa_columns import BEST, OTHERS, SAME, TRAINING
from bids_encoder.encoding.folds import Fold, make_folds
from bids_encoder.encoding.ridge import PENALTIES, fit
from bids_encoder.errors import DataError
from bids_encoder.responses.assemble import Responses
from bids_encoder.rsa.similarity import sample_items

logger = logging.getLogger(__name__)

FEWEST_VOXELS = 5
FEWEST_CHOOSING = 8  # rows that choose: two folds of four
FEWEST_COMPARED = 4  # of fewer pictures no similarity is compared
SHARE = 1 / 3  # of the rows that choose: the rest has four ninths of all pairs
_ROWS_PER_FOLD = 8
_MOST_FOLDS = 5
_COARSE = PENALTIES[::4]  # enough to tell the best quarter of the voxels
_HALF = PENALTIES[::2]  # for the mean of their scores


@dataclass(frozen=True)
class PredictedRegion:
    """The best-predicted voxels, and what may be said of them.

    Attributes
    ----------
    voxels : (V,) bool
    compared : (n,) bool
        Rows of the responses that had no part in the choice; all, where none are left.
    chosen_on : str
        "other samples", "training set", or "same samples": the choice has seen what is compared.
    encoding_r : (L,) array
        Mean over the voxels of the correlation r of held-out responses with their prediction,
        from models of rows that are compared (of a test set: from models of the training rows).
    n_choosing : int
        How many rows chose.
    """

    voxels: np.ndarray
    compared: np.ndarray
    chosen_on: str
    encoding_r: np.ndarray
    n_choosing: int


def sampled_stimuli(chosen: NeuralCodeSettings, plan: Plan) -> list[str]:
    """The stimuli whose similarities are looked at; none when they are not wanted.

    Where a sample has to be drawn, up to half of it are stimuli of the test set, which is what
    the best-predicted voxels are compared by.
    """
    if chosen.no_neural_code:
        return []
    most, seed = chosen.similarity_items, chosen.similarity_seed
    tested = set() if plan.test_set is None else plan.test_set.stimuli
    first = sample_items(sorted(name for name in plan.stimuli if name in tested), most // 2, seed)
    if len(plan.stimuli) <= most or not first:
        return sample_items(sorted(plan.stimuli), most, seed)
    others = sample_items(sorted(set(plan.stimuli) - tested), most - len(first), seed)
    return sorted([*first, *others])


def find_predicted_region(
    responses: Responses,
    groups: np.ndarray,
    held: np.ndarray,
    scores: Sequence[LayerScores],
    kernels: Callable[[str], np.ndarray],
    items: Collection[str],
    *,
    seed: int = 0,
    nested: bool = False,
    mem_bytes: int | None = None,
    device: str = "cpu",
) -> PredictedRegion | None:
    """Choose the quarter of voxels with the highest held-out r of any layer.

    Parameters
    ----------
    responses : Responses
        n rows.
    groups : (n,) int
        What cross-validation leaves out together; of the training rows where some are held out.
    held : (n,) bool
        Rows of a test set.
    scores : sequence of LayerScores
        Of all training rows.
    kernels : callable
        Gives the (n, n) kernel of a layer.
    items : collection of str
        Pictures whose similarities are looked at. Where most pictures are not among them, those
        choose.
    seed : int
        Of the choice of rows.
    nested : bool
        For ``encoding_r``, as the scores were made.
    mem_bytes, device
        As for :func:`bids_encoder.encoding.ridge.fit`.

    Returns
    -------
    PredictedRegion or None
        None where fewer than five voxels have a score.
    """
    everything = np.ones(len(responses.values), dtype=bool)
    if held.any():
        voxels = best_voxels([score.r for score in scores])
        test_r = [mean_score(one.test_r[voxels]) for one in scores if one.test_r is not None]
        return _if_enough(voxels, held, TRAINING, test_r, np.count_nonzero(~held))
    choosing = choosing_rows(responses, groups, items, seed=seed)
    how = {"groups": groups, "mem_bytes": mem_bytes, "device": device}
    layers = [score.layer for score in scores]
    if choosing is not None:
        try:
            rows = np.flatnonzero(choosing)
            found = _fit(layers, kernels, responses, rows, slice(None), grid=_COARSE, **how)
            voxels = best_voxels(found)
            rest = np.flatnonzero(~choosing)
            again = _fit(layers, kernels, responses, rest, voxels, grid=_HALF, nested=nested, **how)
            encoding_r = [mean_score(r) for r in again]
            return _if_enough(voxels, ~choosing, OTHERS, encoding_r, len(rows))
        except DataError as error:  # too few rows in a fold, or the same features in all of them
            logger.info("No rows can be set apart for the choice of voxels: %s", error.problem)
    voxels = best_voxels([score.r for score in scores])
    logger.warning(
        "The best quarter of voxels is chosen by the same responses that are compared "
        "with the layers, as these are too few to be divided: it would seem to agree with them in "
        "pure noise. It gets no p, no interval and no noise ceiling."
    )
    encoding_r = [mean_score(score.r[voxels]) for score in scores]
    return _if_enough(voxels, everything, SAME, encoding_r, len(everything))


def best_voxels(scores: Sequence[np.ndarray]) -> np.ndarray:
    """The best quarter of the voxels by the highest score over layers: (V,) bool.

    Parameters
    ----------
    scores : sequence of (V,) arrays
        One a layer. Voxels without any score are never among the best.
    """
    top = np.fmax.reduce(list(scores))
    scored = np.isfinite(top)
    best = np.zeros(top.shape, dtype=bool)
    if scored.any():
        best[scored] = top[scored] >= np.quantile(top[scored], 1 - BEST)
    return best


def choosing_rows(
    responses: Responses, groups: np.ndarray, items: Collection[str], *, seed: int = 0
) -> np.ndarray | None:
    """Rows that choose the voxels, (n,) bool; None where there are too few rows for that."""
    n = len(responses.values)
    wanted = max(FEWEST_CHOOSING, math.ceil(SHARE * n))
    if n - wanted < FEWEST_COMPARED:
        return None
    if responses.stimuli is None:
        return _whole_groups(groups, wanted)
    spare = [name for name in responses.stimuli if name not in frozenset(items)]
    among = spare if len(spare) >= wanted else responses.stimuli
    # Another seed than that of the sampled pictures, or the same ones would be taken.
    chosen = frozenset(sample_items(sorted(among), wanted, f"choice {seed}"))
    return np.array([name in chosen for name in responses.stimuli])


def _whole_groups(groups: np.ndarray, wanted: int) -> np.ndarray | None:
    """The first groups that have about so many rows; None where that would be all of them."""
    numbers = list(dict.fromkeys(groups.tolist()))
    sizes = [int(np.count_nonzero(groups == number)) for number in numbers]
    totals = np.cumsum(sizes)[:-1]
    if not totals.size:
        return None
    last = int(np.argmin(np.abs(totals - wanted)))
    return np.isin(groups, numbers[: last + 1])


def _fit(
    layers, kernels, responses: Responses, rows, voxels, *, groups, grid, nested=False, **how
) -> list[np.ndarray]:
    """Held-out r of each layer, from these rows alone."""
    values = responses.values[rows][:, voxels]
    folds = _folds(groups[rows])
    return [
        fit(
            None, values, folds, kernel=kernels(layer)[np.ix_(rows, rows)], penalties=grid,
            nested=nested and len(folds) > 2, keep_weights=False, **how,
        ).r
        for layer in layers
    ]  # fmt: skip


def _folds(groups: np.ndarray) -> tuple[Fold, ...]:
    """Whole groups where they are large enough for a correlation, else contiguous blocks."""
    most = min(_MOST_FOLDS, max(2, len(groups) // _ROWS_PER_FOLD))
    numbers = np.unique(groups, return_inverse=True)[1]
    if len(np.unique(groups)) > 1:
        folds = make_folds(groups, max_folds=most)
        if min(len(fold.test) for fold in folds) >= _ROWS_PER_FOLD // 2:
            return folds
    order = np.argsort(numbers, kind="stable")
    blocks = np.empty(len(groups), dtype=int)
    blocks[order] = np.arange(len(groups)) * most // len(groups)
    return make_folds(blocks, max_folds=most)


def _if_enough(voxels, compared, chosen_on, encoding_r, n_choosing) -> PredictedRegion | None:
    if np.count_nonzero(voxels) < FEWEST_VOXELS:
        return None
    return PredictedRegion(voxels, compared, chosen_on, np.array(encoding_r), int(n_choosing))


def mean_score(values: np.ndarray) -> float:
    """Mean of the finite scores; NaN where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
