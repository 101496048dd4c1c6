"""The ridge engine beside himalaya: time, peak memory, agreement.

    python benchmarks/engine.py            # a small problem, under a minute
    python benchmarks/engine.py --full     # 1750 samples, 20 000 features, 20 000 voxels

Every measurement is a process of its own, so that each has its own peak memory; the engines
take turns, so that a busy machine troubles both alike. Time is from features and responses in
memory to scores, penalties and dual coefficients, imports left out. Peak memory is of the whole
process, data and libraries included. Set OMP_NUM_THREADS to the number of idle cores; where none
is idle, OMP_NUM_THREADS=1 and the processor's time are the fairest comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# For both engines, and before NumPy and torch are loaded: threads that wait by spinning make
# either tens of times slower where other programs use the cores. The program itself does so, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

SMALL = {"n": 600, "p": 5000, "voxels": 4000}
FULL = {"n": 1750, "p": 20_000, "voxels": 20_000}
PENALTIES = np.logspace(-3, 5, 20)
N_FOLDS = 5


def make_data(n: int, p: int, voxels: int, spectrum: float) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, p) whose variances fall off as a power law, and responses (n, voxels).

    A quarter of the voxels is noise; in the others the share of signal is between 0 and 0.8, and
    each voxel leans on the leading features more or less, so that best penalties differ.
    """
    rng = np.random.default_rng(0)
    scale = (np.arange(p, dtype=np.float32) + 1) ** np.float32(-spectrum / 2)
    features = rng.standard_normal((n, p), dtype=np.float32)
    features *= scale
    rank = min(p, 2000)
    lean = rng.uniform(-0.5, 1, voxels).astype(np.float32)
    weights = rng.standard_normal((rank, voxels), dtype=np.float32)
    weights *= (np.arange(rank, dtype=np.float32)[:, None] + 1) ** -lean
    responses = features[:, :rank] @ weights
    share = np.where(rng.random(voxels) < 0.25, 0, rng.uniform(0, 0.8, voxels))
    responses *= (np.sqrt(share) / responses.std(0)).astype(np.float32)
    noise = np.sqrt(1 - share).astype(np.float32)
    for column in range(0, voxels, 1000):
        some = slice(column, column + 1000)
        block = responses[:, some]
        block += rng.standard_normal(block.shape, dtype=np.float32) * noise[some]
    # Mix the features, so that no engine can profit from their order.
    return features[:, rng.permutation(p)], responses


def folds(n: int):
    """Contiguous blocks, as (train, test)."""
    from bids_encoder.encoding.folds import make_folds

    return make_folds(np.arange(n) * N_FOLDS // n)


def run_ours(features, responses):
    """Fit with this package."""
    from bids_encoder.encoding.ridge import fit

    splits = folds(len(features))
    start = time.perf_counter()
    result = fit(features, responses, splits, penalties=PENALTIES)
    return time.perf_counter() - start, result.penalty, result.r2


def run_himalaya(features, responses):
    """Fit with himalaya in its best configuration: torch, batches of 1000 voxels."""
    import torch
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.scoring import r2_score

    set_backend("torch")
    splits = [(fold.train, fold.test) for fold in folds(len(features))]
    centred = features - features.mean(0)
    unit = float(np.square(centred).sum(1).mean())
    del centred
    start = time.perf_counter()
    model = KernelRidgeCV(
        alphas=PENALTIES * unit,
        cv=splits,
        fit_intercept=True,
        solver_params={"n_targets_batch": 1000, "score_func": r2_score},
    )
    model.fit(torch.from_numpy(features), torch.from_numpy(responses))
    seconds = time.perf_counter() - start
    return seconds, model.best_alphas_.numpy() / unit, model.cv_scores_.numpy()


ENGINES = {"bids_encoder": run_ours, "himalaya": run_himalaya}


def measure_here(engine: str, data: Path, answer: Path) -> None:
    """In a process of its own: run one engine, write its answer, print its cost."""
    import torch  # noqa: F401  both engines use it: its import is not timed

    features, responses = np.load(data / "features.npy"), np.load(data / "responses.npy")
    before = time.process_time()
    seconds, penalty, score = ENGINES[engine](features, responses)
    busy = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.savez(answer, penalty=penalty, score=score)
    print(json.dumps({"seconds": seconds, "cpu": busy, "peak": peak}))


def measure(engine: str, data: Path) -> dict:
    """Run one engine in a new process."""
    command = [sys.executable, __file__, "--measure", engine, "--data", str(data)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def exact_penalties(features: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """The best penalty of each voxel: the whole grid, fold by fold, in float64."""
    from bids_encoder.encoding.ridge import linear_kernel

    kernel = linear_kernel(features)
    total = kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean()
    unit = np.diagonal(total).mean()
    scores = np.zeros((len(PENALTIES), responses.shape[1]))
    for fold in folds(len(kernel)):
        inside, rows = (kernel[np.ix_(part, fold.train)] for part in (fold.train, fold.test))
        means = inside.mean(0)
        rows = rows - rows.mean(1, keepdims=True) - means + means.mean()
        values, vectors = np.linalg.eigh(inside - means - means[:, None] + means.mean())
        rows = rows @ vectors
        for start in range(0, responses.shape[1], 1000):
            y = responses[:, start : start + 1000].astype(np.float64)
            mean, held_out = y[fold.train].mean(0), y[fold.test]
            rotated = vectors.T @ (y[fold.train] - mean)
            spread = np.square(held_out - held_out.mean(0)).sum(0)
            for score, penalty in zip(scores, PENALTIES, strict=True):
                errors = held_out - mean - rows @ (rotated / (values + penalty * unit)[:, None])
                score[start : start + 1000] -= np.square(errors).sum(0) / spread
    return PENALTIES[len(PENALTIES) - 1 - scores[::-1].argmax(0)]


def exactness(data: Path) -> str:
    """How many voxels got the penalty of the whole grid in float64."""
    exact = exact_penalties(np.load(data / "features.npy"), np.load(data / "responses.npy"))
    shares = []
    for engine in ENGINES:
        found = np.load(data / f"{engine}.npz")["penalty"].ravel()
        shares.append(f"{engine} {np.isclose(found, exact, rtol=1e-3).mean():.2%}")
    return f"penalty of the whole grid in float64: {', '.join(shares)} of voxels"


def agreement(data: Path) -> str:
    """How many voxels got the same penalty, and how far scores are apart."""
    ours, theirs = (np.load(data / f"{engine}.npz") for engine in ENGINES)
    same = np.isclose(ours["penalty"], theirs["penalty"].ravel(), rtol=1e-3)
    apart = np.abs(ours["score"] - theirs["score"].ravel())
    return (
        f"same penalty: {same.mean():.2%} of voxels; same, or r2 equal to 1e-6: "
        f"{np.mean(same | (apart < 1e-6)):.2%}; largest difference in r2: {apart.max():.1e}"
    )


def report(runs: list[dict]) -> None:
    """One line an engine, and how they compare run by run."""
    print(f"{'':14}{'fastest':>10}{'median':>10}{'processor':>11}{'peak':>11}")
    for engine in ENGINES:
        seconds, cpu, peak = (
            [run[engine][key] for run in runs] for key in ("seconds", "cpu", "peak")
        )
        print(
            f"{engine:<14}{min(seconds):8.2f} s{statistics.median(seconds):8.2f} s"
            f"{min(cpu):9.2f} s{max(peak):7.2f} GiB"
        )
    for key, name in (("seconds", "time"), ("cpu", "processor time"), ("peak", "peak memory")):
        ours, theirs = ([run[engine][key] for run in runs] for engine in ENGINES)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"ratio of {name}: {statistics.median(ratios):.2f} "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the size of the target")
    for name in SMALL:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--spectrum", type=float, default=1.0, help="decay of feature variances")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--exact", action="store_true", help="compare both with float64 as well")
    parser.add_argument("--measure", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure_here(options.measure, options.data, options.data / f"{options.measure}.npz")
        return
    size = {k: getattr(options, k) or v for k, v in (FULL if options.full else SMALL).items()}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        arrays = make_data(**size, spectrum=options.spectrum)
        for name, values in zip(("features", "responses"), arrays, strict=True):
            np.save(data / f"{name}.npy", values)
        del arrays
        print(
            "{n} samples, {p} features, {voxels} voxels, ".format(**size)
            + f"{len(PENALTIES)} penalties, {N_FOLDS} folds, spectrum {options.spectrum}"
        )
        runs = [{e: measure(e, data) for e in ENGINES} for _ in range(options.repeats)]
        report(runs)
        print(agreement(data))
        if options.exact:
            print(exactness(data))


if __name__ == "__main__":
    main()
