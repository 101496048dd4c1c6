"""Layers on an equal footing: scores from as many features of each, drawn at random.

What ridge regression learns in a layer depends on how many features the layer has: more of them
average out more noise where they say the same, and are harder to learn where they do not. Scores
of layers of very different size differ for that reason too. Here each layer is fitted from a
random draw of its features, as many as the others have, and scores are compared over some draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import HowToFit, fit, linear_kernel

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on


def matched_scores(
    features: np.ndarray,
    responses: np.ndarray,
    folds: Sequence[Fold],
    *,
    n_drawn: int,
    n_draws: int,
    seed: Sequence[int],
    kernel_of_rows: Callable[[np.ndarray], np.ndarray] = lambda kernel: kernel,
    **how: Unpack[HowToFit],
) -> np.ndarray:
    """Held-out correlations of models of some features of a layer.

    Parameters
    ----------
    features : (m, p) array
        One row a stimulus.
    responses : (n, V) array
    folds : sequence of Fold
        Of the n rows.
    n_drawn : int
        Features in each draw, without replacement; a layer that has no more is taken whole.
    n_draws : int
    seed : sequence of int
        Of the draws; another one for each layer.
    kernel_of_rows : callable
        Makes the (n, n) kernel of the rows from the (m, m) kernel of the stimuli.
    **how
        As for :func:`bids_encoder.encoding.ridge.fit`.

    Returns
    -------
    (n_draws, V) float32 array
        r of each draw; all alike where the layer is taken whole.
    """
    p = features.shape[1]
    random = np.random.default_rng(seed)
    found = []
    for _ in range(n_draws if n_drawn < p else 1):
        some = np.sort(random.choice(p, n_drawn, replace=False)) if n_drawn < p else slice(None)
        kernel = kernel_of_rows(linear_kernel(features[:, some]))
        found.append(fit(None, responses, folds, kernel=kernel, keep_weights=False, **how).r)
    return np.broadcast_to(found, (n_draws, responses.shape[1])).copy()


def changes_between_draws(scores: np.ndarray) -> float:
    """Share of voxels whose best layer differs between two draws, mean over all pairs of draws.

    Parameters
    ----------
    scores : (L, n_draws, V) array
    """
    best = scores.argmax(axis=0)
    first, second = np.triu_indices(len(best), k=1)
    return float(np.mean(best[first] != best[second])) if len(first) and best.size else float("nan")
