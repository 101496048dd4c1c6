"""Do intervals over participants cover the truth as often as they say?

    python benchmarks/coverage.py

Participants are drawn from a population of known mean, 2000 times for each number of participants:
from a normal distribution, from skewed ones, and fingerprints, whose scores are divided by their
maximum over layers, so that many participants have a 1. Printed is how often an interval that
was given covers the mean, and in brackets how often there was one.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from bids_encoder.fingerprints.mean_interval import mean_interval
from bids_encoder.fingerprints.regions import relative

PARTICIPANTS = (5, 8, 12, 20, 40)
_PROFILE = 0.3 * np.array([0.5, 0.7, 0.95, 1.0, 0.8, 0.6])
_SPREAD = 0.06
# What is drawn for participants (n, groups), and its mean.
POPULATIONS = {
    "normal": (lambda rng, shape: rng.normal(0.3, 0.1, shape), 0.3),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 0.7, shape), float(np.exp(0.245))),
    "shares near 1": (lambda rng, shape: rng.beta(4, 0.6, shape), 4 / 4.6),
    "fingerprint, a low layer": (lambda rng, shape: fingerprints(rng, shape)[..., 0], None),
    "fingerprint, the highest": (lambda rng, shape: fingerprints(rng, shape)[..., 3], None),
}


def fingerprints(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Scores of six layers, divided by their maximum: (*shape, 6)."""
    return relative(rng.normal(_PROFILE, _SPREAD, (*shape, len(_PROFILE))))


def percentile(values: np.ndarray, draws: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of a bootstrap, which is too narrow."""
    n = len(values)
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws)
    low, high = np.quantile(counts @ values / n, (0.025, 0.975), axis=0)
    return low, high


def student(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval, which is too narrow where values are skewed."""
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


METHODS = {
    "percentile": percentile,
    "t": student,
    "bootstrap-t": lambda values: mean_interval(values, draws=1999)[1:],
}


def coverage(name: str, n: int, method: str, groups: int = 2000, seed: int = 0):
    """How often an interval covers the mean of its population, and how often there is one."""
    rng = np.random.default_rng((seed, n))
    draw, mean = POPULATIONS[name]
    if mean is None:
        mean = draw(rng, (400_000,)).mean()
    low, high = METHODS[method](draw(rng, (n, groups)))
    given = np.isfinite(low)
    covered = (low <= mean) & (mean <= high)
    return covered[given].mean(), given.mean()


def main() -> None:
    """Print a table for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=2000)
    options = parser.parse_args()
    for method in METHODS:
        print(f"| {method} | {' | '.join(map(str, PARTICIPANTS))} |")
        for name in POPULATIONS:
            found = [coverage(name, n, method, options.groups) for n in PARTICIPANTS]
            cells = [f"{c:.3f}" + (f" ({g:.0%})" if g < 1 else "") for c, g in found]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
