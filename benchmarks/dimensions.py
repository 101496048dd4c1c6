"""How far scores depend on the number of features of a layer, in simulations of known truth.

    python benchmarks/dimensions.py

Half and half: voxels owe half of their signal to each of two layers, of 20 and of 2000 features.
Irrelevant: a layer has 20 features that voxels follow, and more that they do not. Copies: two
layers say the same, in 20 and in 2000 noisy features. Beside scores of all features stand those of
as many features of each layer, drawn at random (--match-dimensions): they put the copies on an
equal footing, and do nothing for the other two.
"""

from __future__ import annotations

import argparse
import os

# Before NumPy and torch are loaded; the program itself does so as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Sequence

import numpy as np

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.matched import matched_scores
from bids_encoder.encoding.ridge import fit

Simulated = tuple[list[np.ndarray], np.ndarray]


def _follow(rng: np.random.Generator, features: np.ndarray, n_voxels: int) -> np.ndarray:
    """Random weighted sums of features, one a voxel, z-scored."""
    signal = features @ rng.standard_normal((features.shape[1], n_voxels))
    return (signal - signal.mean(0)) / signal.std(0)


def half_and_half(
    rng: np.random.Generator, n: int, n_voxels: int, sizes: Sequence[int] = (20, 2000)
) -> Simulated:
    """Layers of independent features, and voxels that owe as much of their signal to each."""
    layers = [rng.standard_normal((n, size)) for size in sizes]
    signal = sum(_follow(rng, features, n_voxels) for features in layers) / np.sqrt(len(layers))
    return layers, signal + 0.5 * rng.standard_normal(signal.shape)


def irrelevant(
    rng: np.random.Generator, n: int, n_voxels: int, sizes: Sequence[int] = (0, 20, 100, 500)
) -> Simulated:
    """The same 20 features in each layer, which voxels follow, beside so many that they do not."""
    relevant = rng.standard_normal((n, 20))
    layers = [np.hstack([relevant, rng.standard_normal((n, size))]) for size in sizes]
    signal = _follow(rng, relevant, n_voxels)
    return layers, signal + 0.5 * rng.standard_normal(signal.shape)


def copies(
    rng: np.random.Generator, n: int, n_voxels: int, sizes: Sequence[int] = (20, 2000)
) -> Simulated:
    """Ten sources that voxels follow, seen by each layer in mixtures with noise of their own."""
    sources = rng.standard_normal((n, 10))
    layers = [
        sources @ rng.standard_normal((10, size)) / np.sqrt(10) + rng.standard_normal((n, size))
        for size in sizes
    ]
    signal = _follow(rng, sources, n_voxels)
    return layers, signal + 0.5 * rng.standard_normal(signal.shape)


def compare(simulated: Simulated, *, n_draws: int = 5, seed: int = 0) -> list[dict[str, float]]:
    """Scores of each layer, and voxels that it predicts best: of all and of drawn features."""
    layers, responses = simulated
    folds = make_folds(np.arange(len(responses)) * 5 // len(responses))
    fits = [fit(features, responses, folds, keep_weights=False) for features in layers]
    smallest = min(features.shape[1] for features in layers)
    drawn = [
        matched_scores(
            features, responses, folds, n_drawn=smallest, n_draws=n_draws, seed=(seed, number)
        ).mean(0)
        for number, features in enumerate(layers)
    ]
    best, best_drawn = np.argmax([one.r for one in fits], 0), np.argmax(drawn, 0)
    return [
        {
            "features": features.shape[1],
            "r2": float(np.median(fits[i].r2)),
            "r": float(np.median(fits[i].r)),
            "r_drawn": float(np.median(drawn[i])),
            "won": float(np.mean(best == i)),
            "won_drawn": float(np.mean(best_drawn == i)),
        }
        for i, features in enumerate(layers)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--voxels", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for simulation in (half_and_half, irrelevant, copies):
        rng = np.random.default_rng(options.seed)
        print(f"\n{simulation.__name__}: {simulation.__doc__}")
        print("features    r²     r   won    r, drawn  won, drawn")
        for row in compare(simulation(rng, options.samples, options.voxels), seed=options.seed):
            print(
                f"{row['features']:8.0f} {row['r2']:5.2f} {row['r']:5.2f} {row['won']:5.0%} "
                f"{row['r_drawn']:11.2f} {row['won_drawn']:11.0%}"
            )


if __name__ == "__main__":
    main()
