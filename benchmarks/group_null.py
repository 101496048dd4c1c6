"""Does the group level find anything in noise? Familywise error of its tests, by simulation.

    python benchmarks/group_null.py

Scores of nine layers are noise in 512 voxels, with means, variances and correlations between
layers like those of a ridge model of a real network (whose first layers are least like the
others), in space independent or smooth. As in real data, slopes are made of the scores and best
layers of scores smoothed with their neighbours, and each participant's level of chance is
estimated from 100 draws. Printed is how often the lowest of all corrected p-values is at most
0.05: of the test against 0, of that against each participant's own chance in all voxels, and of
the whole procedure, which tests only where encoding is significant in the group. The last rows
are of voxels that all layers predict alike.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from bids_encoder.fingerprints.agreement import ALPHA, beyond_chance, sign_flip_test
from bids_encoder.fingerprints.profile import best_layer, places, slope

N_LAYERS = 9
PARTICIPANTS = (8, 12, 20, 40)
_MEAN = np.linspace(0.011, 0.002, N_LAYERS)
_SD = np.linspace(0.167, 0.160, N_LAYERS)
_NEAR = np.array([0.55, 0.65, 0.75, 0.85, 0.9, 0.93, 0.95, 0.97])  # of neighbouring layers
_MARGIN = 2


def _factor() -> np.ndarray:
    """Cholesky factor of the covariance of the scores: layers further apart are less alike."""
    steps = np.concatenate([[0], np.cumsum(-np.log(_NEAR))])
    alike = np.exp(-np.abs(steps[:, None] - steps))
    return np.linalg.cholesky(alike * _SD[:, None] * _SD)


@dataclass(frozen=True)
class Group:
    """Slope and place of the best layer, (n, V), and p of encoding, (n, V), of n participants."""

    slope: np.ndarray
    place: np.ndarray
    p: np.ndarray


def simulate(
    rng: np.random.Generator, n: int, *, smooth: bool, signal: float = 0.0, side: int = 8
) -> Group:
    """Draw a group; with a signal, all layers predict all voxels alike."""
    full = side + 2 * _MARGIN
    noise = rng.standard_normal((n, N_LAYERS, full, full, full), dtype=np.float32)
    if smooth:
        noise = gaussian_filter(noise, (0, 0, 1, 1, 1))
        noise /= noise.std()
    scores = np.einsum("kl,nlxyz->nkxyz", _factor(), noise) + signal
    scores += _MEAN[:, None, None, None]
    inside = (slice(None), slice(None), *[slice(_MARGIN, -_MARGIN)] * 3)
    own = scores[inside].reshape(n, N_LAYERS, -1)
    smoothed = gaussian_filter(scores, (0, 0, 1, 1, 1))[inside].reshape(n, N_LAYERS, -1)
    return Group(
        np.stack([slope(one) for one in own]),
        np.stack([places(best_layer(one), N_LAYERS) for one in smoothed]),
        # Of one layer, the last: its null is known.
        norm.sf((own[:, -1] - _MEAN[-1]) / _SD[-1]),
    )


def chance(smooth: bool, seed: int = 99) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of slope and place in noise."""
    group = simulate(np.random.default_rng(seed), 100, smooth=smooth)
    known = {name: getattr(group, name) for name in ("slope", "place")}
    return {name: (np.nanmean(one), np.nanstd(one)) for name, one in known.items()}


def lowest(values: np.ndarray, level: np.ndarray, sd: float, p: np.ndarray) -> dict[str, float]:
    """Lowest p-value of each test of a group; 1 where nothing is tested."""
    encoded = sign_flip_test(norm.isf(p), one_sided=True, noise_variance=1.0) <= ALPHA
    # Who has no value in a voxel says nothing there.
    of_chance = np.where(np.isfinite(values), values - level[:, None], 0)
    tests = {
        "against 0": sign_flip_test(np.nan_to_num(values)),
        "against chance": sign_flip_test(of_chance, noise_variance=sd**2),
    }
    whole = [1.0]
    tested = encoded & np.isfinite(values).all(axis=0)
    if tested.any():
        whole = beyond_chance(values[:, tested], level, sd**2)
    return {name: np.nanmin(one) for name, one in {**tests, "where encoded": whole}.items()}


def error_rates(
    n: int, *, smooth: bool, groups: int, signal: float = 0.0, seed: int = 0, side: int = 8
) -> dict[tuple[str, str], float]:
    """Share of groups in which a test of slopes or places finds something, by measure and test."""
    rng = np.random.default_rng((seed, n, smooth))
    levels = chance(smooth)
    found: dict[tuple[str, str], list[bool]] = {}
    for _ in range(groups):
        group = simulate(rng, n, smooth=smooth, signal=signal, side=side)
        for name, (mean, sd) in levels.items():
            level = rng.normal(mean, sd / 10, n)
            for test, p in lowest(getattr(group, name), level, sd, group.p).items():
                found.setdefault((name, test), []).append(p <= ALPHA)
    return {key: float(np.mean(values)) for key, values in found.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=200)
    options = parser.parse_args()
    for signal in (0.0, 0.3):
        for smooth in (False, True):
            for n in PARTICIPANTS:
                rates = error_rates(n, smooth=smooth, groups=options.groups, signal=signal)
                kind = f"{'signal' if signal else 'noise'}, {'smooth' if smooth else 'unsmooth'}"
                found = "; ".join(f"{' '.join(key)} {rate:.3f}" for key, rate in rates.items())
                print(f"{kind}, n = {n}: {found}", flush=True)


if __name__ == "__main__":
    main()
