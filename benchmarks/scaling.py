"""Time and memory of the ridge engine as the problem grows.

    python benchmarks/scaling.py                            # a minute
    python benchmarks/scaling.py --n 1750 --voxels 20000    # the size of a real experiment

One of samples n, features p, voxels, penalties, folds and layers is varied at a time; the others
stay as given. Every measurement is a process of its own. Time is from features and responses in
memory to scores, penalties and dual coefficients of all layers, each of which has features of its
own. "Working memory" is what the process held at its peak beyond features, responses and results,
and "planned" what `make_plan` had foreseen for it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# Before NumPy and torch are loaded; the program itself does so as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

BASE = {"n": 600, "p": 4000, "voxels": 4000, "penalties": 20, "folds": 5, "layers": 1}
VARIED = {
    "n": (0.5, 1, 2),
    "p": (0.05, 1, 4),
    "voxels": (0.25, 1, 4),
    "penalties": (0.5, 1, 2),
    "folds": (0.6, 1, 2),
    "layers": (1, 2, 4),
}


def measure_here(n: int, p: int, voxels: int, penalties: int, folds: int, layers: int) -> None:
    """Fit in this process, and print what it cost."""
    from bids_encoder.encoding.folds import make_folds
    from bids_encoder.encoding.memory import make_plan
    from bids_encoder.encoding.ridge import fit

    rng = np.random.default_rng(0)
    scale = (np.arange(p, dtype="f") + 1) ** -0.5
    features = [rng.standard_normal((n, p), dtype="f") * scale for _ in range(layers)]
    responses = rng.standard_normal((n, voxels), dtype="f")
    responses += features[0] @ rng.standard_normal((p, voxels), dtype="f") / 3
    splits = make_folds(np.arange(n) * folds // n)
    grid = np.logspace(-3, 5, penalties)
    small = fit(features[0][:, :50], responses[:, :100], splits, penalties=grid)  # warm up
    del small
    with suppress(OSError):  # forget what making the data took, where the system can
        Path("/proc/self/clear_refs").write_text("5")
    before, busy, start = _peak(), time.process_time(), time.perf_counter()
    for values in features:
        result = fit(values, responses, splits, penalties=grid)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    plan = make_plan(n, p, voxels, n_folds=folds, n_penalties=penalties)
    working = _peak() - before - result.dual.nbytes
    print(json.dumps([seconds, busy, working, plan.bytes, _peak()]))


def _peak() -> int:
    """Bytes that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(size: dict[str, int]) -> list[float]:
    """Fit in a process of its own."""
    command = [sys.executable, __file__, "--measure", json.dumps(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Vary one quantity after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in BASE.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--vary", nargs="+", choices=VARIED, default=list(VARIED))
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure_here(**chosen.measure)
        return
    base = {name: getattr(chosen, name) for name in BASE}
    print("around " + ", ".join(f"{value} {name}" for name, value in base.items()))
    print(f"{'':20}{'clock':>10}{'processor':>12}{'working':>12}{'planned':>12}{'peak':>12}")
    for name in chosen.vary:
        for factor in VARIED[name]:
            size = {**base, name: round(base[name] * factor)}
            seconds, busy, *memory = measure(size)
            gigabytes = "".join(f"{value / 1e9:9.2f} GB" for value in memory)
            print(f"{name:<10}{size[name]:>10}{seconds:8.2f} s{busy:10.2f} s{gigabytes}")


if __name__ == "__main__":
    main()
