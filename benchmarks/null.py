"""Is the permutation null right? Simulations in which nothing is to be found.

    python benchmarks/null.py

In each simulation the features of three layers and the responses of all voxels are independent
noise; penalties are chosen, scores taken, p-values and false discovery rates computed as for real
data. Under a right null p-values are uniform, and voxels pass q = 0.01 in one simulation of a
hundred. Noise is white, or autocorrelated as BOLD is (AR(1) with smooth features), with
permutation in blocks.
"""

from __future__ import annotations

import argparse
import os

# Before NumPy and torch are loaded; the program itself does so as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from scipy.signal import lfilter
from scipy.stats import kstest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.null import (
    false_discovery_rate,
    null_distribution,
    p_values,
    spread_voxels,
)
from bids_encoder.encoding.ridge import fit, linear_kernel


def noise(rng: np.random.Generator, runs: int, length: int, width: int, rho: float) -> np.ndarray:
    """Runs of AR(1) noise, each z-scored, one below the other."""
    white = rng.standard_normal((runs, length + 50, width))
    values = lfilter([1], [1, -rho], white, axis=1)[:, 50:]
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    return values.reshape(runs * length, width)


def simulate(seed: int, options: argparse.Namespace, rho: float, block: int) -> np.ndarray:
    """p-values of all voxels, of whose responses none has anything to do with the features."""
    rng = np.random.default_rng(seed)
    shape = options.runs, options.length
    kernels = [linear_kernel(noise(rng, *shape, options.features, rho)) for _ in range(3)]
    responses = noise(rng, *shape, options.voxels, rho).astype("f")
    folds = make_folds(np.repeat(np.arange(options.runs), options.length))
    fits = [fit(None, responses, folds, kernel=k, keep_weights=False) for k in kernels]
    chosen = spread_voxels(fits[0].valid)
    null = null_distribution(
        kernels,
        responses[:, chosen],
        folds,
        n_permutations=options.permutations,
        block=block,
        seed=seed,
    ).highest(options.score)
    return p_values(np.max([getattr(f, options.score) for f in fits], axis=0), null)


def main() -> None:
    """Run the simulations, and print what passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=50)
    parser.add_argument("--voxels", type=int, default=1000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--permutations", type=int, default=10_000)
    parser.add_argument("--score", choices=("r2", "r"), default="r2")
    options = parser.parse_args()
    for name, rho, block in (("white", 0.0, 1), ("autocorrelated", 0.5, 10)):
        ps = [simulate(seed, options, rho, block) for seed in range(options.simulations)]
        clean = sum(false_discovery_rate(p).min() > 0.01 for p in ps)
        pooled = np.concatenate(ps)
        rates = ", ".join(
            f"{np.mean(pooled <= level):.4f} at {level}" for level in (0.5, 0.1, 0.05, 0.01, 0.001)
        )
        print(
            f"{name}: no voxel passes q = 0.01 in {clean} of {len(ps)} simulations; share of p "
            f"below {rates}; distance from uniform {kstest(pooled, 'uniform').statistic:.3f}"
        )


if __name__ == "__main__":
    main()
