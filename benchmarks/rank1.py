"""One haemodynamic response a voxel (--hrf rank1) beside the canonical one: time and memory.

    python benchmarks/rank1.py            # 2500 voxels, 5 runs
    python benchmarks/rank1.py --full     # 25 000 voxels, 25 runs of 300 volumes

Both start from BOLD in memory and end with one estimate a stimulus and run; designs are made
anew by each. They take turns, each in this process, so that a busy machine troubles both alike.
Half of the voxels respond, with peaks from 3.5 to 8 s, under autocorrelated noise.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from scipy.signal import lfilter
from scipy.stats import gamma

SMALL = {"voxels": 2500, "runs": 5}
FULL = {"voxels": 25_000, "runs": 25}
VOLUMES, TR, STIMULI = 300, 2.0, 70


def make_runs(voxels: int, runs: int):
    """Presentations (a picture every 8 s or so) and BOLD (T, V) of each run."""
    from bids_encoder.bids.events import Presentation

    rng = np.random.default_rng(0)
    peaks = rng.uniform(3.5, 8, voxels).round(1)
    strength = np.where(rng.random(voxels) < 0.5, 0, 0.7)
    frame_times = TR * np.arange(VOLUMES)
    for run in range(runs):
        onsets = 4 + np.cumsum(rng.uniform(6.3, 9.9, STIMULI))
        shown = [
            Presentation(float(onset), 1.0, f"r{run}p{k}", row=k) for k, onset in enumerate(onsets)
        ]
        bold = rng.standard_normal((VOLUMES, voxels), dtype=np.float32)
        bold = lfilter([1], [1, -0.3], bold, axis=0).astype(np.float32)
        for peak in np.unique(peaks):
            its = np.flatnonzero(peaks == peak)
            since = np.maximum(frame_times[:, None] - onsets, 0)
            design = gamma.pdf(since, peak + 1) - gamma.pdf(since, peak + 11) / 6
            amplitudes = 1 + rng.standard_normal((STIMULI, len(its)))
            bold[:, its] += strength[its] * (design / design.max() @ amplitudes)
        yield shown, 800 + bold


def canonical(data) -> None:
    """Estimates with SPM's response, run by run."""
    from bids_encoder.responses.events_design import event_responses

    for shown, bold in data:
        event_responses(bold, shown, TR, on_separate=lambda reason: None)


def rank1(data) -> None:
    """Estimates with a response for each voxel, all runs together."""
    from bids_encoder.responses.hrf_bases import make_basis
    from bids_encoder.responses.rank1_runs import rank1_design, rank1_responses

    basis = make_basis("fourier", TR)
    designs = [
        rank1_design(shown, VOLUMES, TR, 0.0, basis, on_separate=lambda reason: None)[1]
        for shown, _ in data
    ]
    load = [partial(lambda bold: bold, bold) for _, bold in data]
    shapes, _ = rank1_responses(load, designs, basis, data[0][1].shape[1], lambda *_: None)
    print(f"{np.isfinite(shapes.peak).sum()} voxels; {sum(d.separate for d in designs)} runs LSS")


def main() -> None:
    """Time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    for name in SMALL:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    size = {k: getattr(options, k) or v for k, v in (FULL if options.full else SMALL).items()}
    data = list(make_runs(**size))
    print(f"{size['voxels']} voxels, {size['runs']} runs of {VOLUMES} volumes, {STIMULI} stimuli")
    taken: dict[str, list] = {"canonical": [], "rank1": []}
    for _ in range(options.repeats):
        for name, work in (("canonical", canonical), ("rank1", rank1)):
            start, busy = time.perf_counter(), time.process_time()
            work(data)
            taken[name].append((time.perf_counter() - start, time.process_time() - busy))
    for name, times in taken.items():
        clock, busy = np.min(times, axis=0)
        print(f"{name:<10}{clock:9.1f} s by the clock{busy:9.1f} s of the processor")
    ratios = np.array(taken["rank1"]) / np.array(taken["canonical"])
    print("ratio: {:.1f} by the clock, {:.1f} of the processor".format(*np.median(ratios, axis=0)))


if __name__ == "__main__":
    main()
