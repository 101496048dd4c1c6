"""What folds do to scores, on responses whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.encoding.strata import p_by_stratum, permute_voxels
from bids_encoder.responses.event_groups import event_groups
from bids_encoder.responses.grouping import FoldWish
from bids_encoder.responses.groups import blocks
from bids_encoder.responses.shown_runs import ShownRun


def folds_of(grouping):
    return make_folds(grouping.groups, max_folds=len(grouping.names))


def run(name, stimuli, is_timed=True):
    onsets = tuple(8.0 * k for k in range(len(stimuli)))
    return ShownRun(name, None, tuple(stimuli), onsets if is_timed else None)


def named(n):
    return [f"{k:03d}.png" for k in range(n)]


def categories(rng, n=100, n_categories=5):
    """Features of sorted categories, and the column that tells them."""
    kind = np.arange(n) * n_categories // n
    features = 1.5 * rng.standard_normal((n_categories, 40))[kind] + rng.standard_normal((n, 40))
    return features, {"category": {one: (str(k),) for one, k in zip(named(n), kind, strict=True)}}


def signal(rng, features, n_voxels, noise):
    truth = features @ rng.standard_normal((features.shape[1], n_voxels))
    truth /= truth.std(0)
    return truth + noise * rng.standard_normal(truth.shape)


@pytest.mark.parametrize("is_timed", [True, False])
def test_sorted_categories_score_as_shuffled_ones(is_timed):
    """Blocks of the whole leave out categories: r² is a tenth of what the model can do."""
    rng = np.random.default_rng(0)
    features, columns = categories(rng)
    responses = signal(rng, features, 60, 0.5)

    def score(folds):
        return np.median(fit(features, responses, folds, keep_weights=False).r2)

    stimuli = named(100)
    ours = event_groups(stimuli, [run("r", stimuli, is_timed)], columns)
    at_random = score(make_folds(rng.permutation(np.arange(100) // 20)))
    assert score(folds_of(ours)) == pytest.approx(at_random, abs=0.06)
    assert score(make_folds(blocks(100))) < 0.25 * at_random


def alternating(seed, n_voxels):
    """Normalised pooled r² of ten runs that show two sets of 100 pictures in turn."""
    rng = np.random.default_rng(seed)
    stimuli = named(200)
    runs = [
        run(f"r{k}", rng.permutation(stimuli[100 * (k % 2) :][:100]).tolist()) for k in range(10)
    ]
    features = rng.standard_normal((200, 120))
    responses = signal(rng, features, n_voxels, 2 / np.sqrt(5))  # means of five repeats
    ceiling = 1 / (1 + 4 / 5)
    found = {}
    for name, grouping in {
        "ours": event_groups(stimuli, runs),
        "halves": event_groups(stimuli, runs, None, FoldWish("run")),
    }.items():
        got = fit(features, responses, folds_of(grouping), keep_weights=False)
        found[name] = got.pooled_r2.mean() / ceiling
    rows = rng.permutation(200)
    train, test = rows[:160], rows[160:]
    weights = fit(features[train], responses[train], make_folds(np.arange(160) // 32))
    predicted = features[test] @ (features[train].T @ weights.dual) + weights.intercept
    left = np.square(responses[test] - predicted).sum()
    spread = np.square(responses[test] - responses[train].mean(0)).sum()
    found["four fifths"] = (1 - left / spread) / ceiling
    return found


@pytest.mark.parametrize(
    ("n_voxels", "seeds"), [(60, 1), pytest.param(500, 8, marks=pytest.mark.slow)]
)
def test_runs_that_repeat_two_sets_in_turn_are_learned_from_four_fifths(n_voxels, seeds):
    found = [alternating(seed, n_voxels) for seed in range(seeds)]
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["ours"] == pytest.approx(mean["four fifths"], abs=0.08 if seeds == 1 else 0.04)
    assert mean["ours"] > mean["halves"] + 0.1


def noise_of_one_run(rho, seed, n_voxels, layout):
    """Mean r of noise that neighbours share, and share of p < .05, with folds by default."""
    rng = np.random.default_rng(seed)
    features, columns = categories(rng)
    order = np.arange(100) if layout == "sorted" else rng.permutation(100)
    noise = lfilter([1], [1, -rho], rng.standard_normal((150, n_voxels)), axis=0)[50:]
    shown = [named(100)[k] for k in order]
    kernel = linear_kernel(features[order])
    found = {}
    for wish in (FoldWish(), FoldWish("block"), FoldWish("stimulus")):
        folds = folds_of(event_groups(shown, [run("r", shown)], columns, wish))
        got = fit(None, noise, folds, kernel=kernel, keep_weights=False)
        _, strata = permute_voxels(
            [kernel],
            noise,
            folds,
            np.flatnonzero(got.valid),
            n_permutations=1000,
            block=5,
            seed=seed,
        )
        found[wish.by] = got.r.mean(), np.mean(p_by_stratum(strata, got.r2) < 0.05)
    return found


def test_blocks_keep_shared_noise_out_of_the_scores():
    """In a run that is sorted by category, whole blocks do; random parts do not."""
    found = noise_of_one_run(0.6, 0, 300, "sorted")
    assert abs(found["block"][0]) < 0.06
    assert found["stimulus"][0] > 0.15
    assert found[None][0] < 0.75 * found["stimulus"][0]  # blocks of each category


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.15, 0.3])
def test_noise_of_one_run_passes_about_as_often_as_it_should(rho):
    for layout in ("sorted", "mixed"):
        found = [noise_of_one_run(rho, seed, 500, layout) for seed in range(8)]
        false = {by: np.mean([one[by][1] for one in found]) for by in found[0]}
        assert false["block"] < 0.07
        # Edges of blocks of each category let in a little of the noise that neighbours share.
        assert false[None] < (0.1 if layout == "sorted" else 0.07)
        if layout == "sorted":
            assert false[None] < false["stimulus"]
