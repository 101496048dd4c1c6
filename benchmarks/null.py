"""Is the permutation null right, does it find the same voxels as a long one, and what does it cost?

    python benchmarks/null.py                    # noise: are p-values uniform?
    python benchmarks/null.py --agreement        # signal: the same voxels as a long reference?
    python benchmarks/null.py --agreement --data FILE.npz

In each simulation of noise the features of three layers and the responses of all voxels are
independent; penalties are chosen, scores taken, p-values and false discovery rates computed as for
real data. Under a right null p-values are uniform, and voxels pass q = 0.01 in one simulation of
a hundred. Noise is white; autocorrelated as BOLD is (AR(1) with smooth features), with permutation
in blocks; or of all kinds from white to AR(0.95); or white but for one voxel in a hundred, whose
p-values are then shown apart.

With --agreement, a third of the voxels follow the features, most of them weakly. Voxels that pass
are compared with those of a reference: 100 000 permutations of as many voxels as there are,
fitted one by one and counted within strata. Beside ours stands what was done before: 20 000
permutations of 14 voxels, not whitened, pooled, fitted one by one and counted. Processor seconds of
both are of the same process, in turn. FILE.npz holds measured data: kernels (L, n, n), y (n, V),
fold (n,), block.
"""

from __future__ import annotations

import argparse
import os
import time

# Before NumPy and torch are loaded; the program itself does so as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from scipy.signal import lfilter
from scipy.stats import kstest

from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.null import false_discovery_rate, p_values
from bids_encoder.encoding.permute import permutations, permute
from bids_encoder.encoding.ridge import fit, linear_kernel
from bids_encoder.encoding.strata import p_by_stratum, permute_voxels

FDR = 0.01


def noise(rng: np.random.Generator, runs: int, length: int, width: int, rho) -> np.ndarray:
    """Runs of AR(1) noise, each z-scored, one below the other; `rho` a number or (width,)."""
    rho = np.broadcast_to(rho, width)
    values = rng.standard_normal((runs, length + 50, width))
    for value in np.unique(rho):
        values[..., rho == value] = lfilter([1], [1, -value], values[..., rho == value], axis=1)
    values = values[:, 50:]
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    return values.reshape(runs * length, width)


def statistic(kernels, responses, folds, score: str = "r2") -> np.ndarray:
    """T of all voxels."""
    fits = [fit(None, responses, folds, kernel=k, keep_weights=False) for k in kernels]
    return np.max([getattr(one, score) for one in fits], axis=0)


def simulate(seed: int, options: argparse.Namespace, smooth: float, rho, block: int) -> np.ndarray:
    """p-values of all voxels, of whose responses none has anything to do with the features."""
    rng = np.random.default_rng(seed)
    shape = options.runs, options.length
    kernels = [linear_kernel(noise(rng, *shape, options.features, smooth)) for _ in range(3)]
    responses = noise(rng, *shape, options.voxels, rho).astype("f")
    folds = make_folds(np.repeat(np.arange(options.runs), options.length))
    how = {"n_permutations": options.permutations, "block": block, "seed": seed}
    scored = np.arange(options.voxels)
    _, strata = permute_voxels(kernels, responses, folds, scored, score=options.score, **how)
    return p_by_stratum(strata, statistic(kernels, responses, folds, options.score))


def rates(p: np.ndarray) -> str:
    """Shares of p-values below some levels, in words."""
    return ", ".join(f"{np.mean(p <= x):.4f} at {x}" for x in (0.5, 0.1, 0.05, 0.01, 0.001))


def check_noise(options: argparse.Namespace) -> None:
    """Print how p-values of noise are distributed."""
    rare = np.zeros(options.voxels)
    rare[::100] = 0.95
    kinds = (
        ("white", 0.0, 0.0, 1),
        ("autocorrelated", 0.5, 0.5, 10),
        ("white to AR(0.95)", 0.9, np.linspace(0, 0.95, options.voxels).round(2), 10),
        ("white, one in 100 AR(0.95)", 0.9, rare, 10),
    )
    for name, smooth, rho, block in kinds:
        ps = [simulate(seed, options, smooth, rho, block) for seed in range(options.simulations)]
        clean = sum(false_discovery_rate(p).min() > FDR for p in ps)
        pooled = np.concatenate(ps)
        print(
            f"{name}: no voxel passes q = {FDR} in {clean} of {len(ps)} simulations; share of p "
            f"below {rates(pooled)}; distance from uniform "
            f"{kstest(pooled, 'uniform').statistic:.3f}; between simulations, p <= 0.05 varies "
            f"with a standard deviation of {np.std([np.mean(p <= 0.05) for p in ps]):.4f}",
            flush=True,
        )
        rho = np.broadcast_to(rho, options.voxels)
        if np.ptp(rho) > 0:
            slow = rho >= 0.9
            print(f"  voxels of AR(0.9) and more alone: {rates(np.stack(ps)[:, slow])}")


def make_signal(options: argparse.Namespace):
    """Kernels, responses, folds and block: a third of the voxels follow some layer."""
    rng = np.random.default_rng(0)
    shape = options.runs, options.length
    layers = [noise(rng, *shape, options.features, 0.5) for _ in range(3)]
    responses = noise(rng, *shape, options.voxels, rng.choice([0, 0.3, 0.6], options.voxels))
    for voxel in range(0, options.voxels, 3):
        weights = rng.standard_normal(options.features) / np.sqrt(options.features)
        strength = rng.exponential(0.4)
        responses[:, voxel] += strength * layers[rng.integers(3)] @ weights
    folds = make_folds(np.repeat(np.arange(options.runs), options.length))
    return [linear_kernel(one) for one in layers], responses.astype("f"), folds, 10


def counted(
    kernels, responses, folds, voxels, count: int, block: int, seed: int, *, white: bool
) -> np.ndarray:
    """T of permutations that are fitted one by one, `count` shared out among the voxels."""
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, count, 10_000):
        numbers = np.arange(start, min(start + 10_000, count))
        orders = permutations(folds, len(numbers), block=block, rng=rng)
        whose = voxels[numbers % len(voxels)]
        permuted = permute(responses, whose, orders, folds) if white else responses[orders, whose]
        found.append(statistic(kernels, permuted, folds))
    return np.concatenate(found)


def check_agreement(options: argparse.Namespace) -> None:
    """Print how many voxels pass, how many of them with the reference, and what it took."""
    if options.data:
        with np.load(options.data) as data:
            kernels, responses, block = list(data["kernels"]), data["y"], int(data["block"])
            folds = make_folds(data["fold"])
    else:
        kernels, responses, folds, block = make_signal(options)
    t = statistic(kernels, responses, folds)
    scored = np.flatnonzero(np.isfinite(t))
    n_voxels = len(scored)

    took = {"ours": [], "before": []}
    passed: dict[str, list[np.ndarray]] = {"ours": [], "before": []}
    for seed in range(options.simulations):
        start = time.process_time()
        how = {"n_permutations": options.permutations, "block": block, "seed": seed}
        _, strata = permute_voxels(kernels, responses, folds, scored, **how)
        passed["ours"].append(false_discovery_rate(p_by_stratum(strata, t)) <= FDR)
        took["ours"].append(time.process_time() - start)
        start = time.process_time()
        few = scored[((np.arange(14) + 0.5) * n_voxels / 14).astype(int)]
        null = counted(kernels, responses, folds, few, 20_000, block, seed, white=False)
        passed["before"].append(false_discovery_rate(p_values(t, null)) <= FDR)
        took["before"].append(time.process_time() - start)

    p = np.full(len(t), np.nan)
    for number, stratum in enumerate(strata):
        share = max(int(options.reference * len(stratum.members) / n_voxels), 20_000)
        ours = np.random.default_rng(0).permutation(stratum.members)
        null = counted(kernels, responses, folds, ours, share, block, 1000 + number, white=True)
        p[stratum.members] = p_values(t[stratum.members], null)
    reference = false_discovery_rate(p) <= FDR
    print(f"{len(t)} voxels, {len(strata)} strata; the reference finds {reference.sum()}")
    for name, sets in passed.items():
        overlap = [np.sum(one & reference) / np.sum(one | reference) for one in sets]
        each_other = [np.sum(a & b) / np.sum(a | b) for i, a in enumerate(sets) for b in sets[:i]]
        print(
            f"{name}: {np.mean([one.sum() for one in sets]):.0f} voxels; Jaccard index with the "
            f"reference {np.median(overlap):.3f} ({min(overlap):.3f} to {max(overlap):.3f}), "
            f"between seeds {np.median(each_other or [np.nan]):.3f}; "
            f"{np.mean(took[name]):.1f} s of the processor"
        )
    print(f"cost: {np.mean(took['ours']) / np.mean(took['before']):.2f} of before")


def main() -> None:
    """Run the simulations, and print what comes out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=50)
    parser.add_argument("--voxels", type=int, default=1000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--length", type=int, default=60)
    parser.add_argument("--permutations", type=int, default=50_000)
    parser.add_argument("--score", choices=("r2", "r", "pooled_r2"), default="r2")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--reference", type=int, default=100_000)
    parser.add_argument("--data", help="measured data, with --agreement")
    options = parser.parse_args()
    if options.agreement:
        check_agreement(options)
    else:
        check_noise(options)


if __name__ == "__main__":
    main()
