"""What it costs to compute features of films, beside the bare forward passes of their frames.

    python benchmarks/films.py                        # a film of 2 minutes, three times in turn
    python benchmarks/films.py --minutes 2 10         # is memory the same for both?
    python benchmarks/films.py --network alexnet --untrained --size 640x360

The sides take turns, in processes of their own, so that other programs on the machine
disturb all alike. Both bare sides hold prepared frames in memory and do nothing but forward
passes over as many frames as the film has samples, in the same batches, with the same layers
tapped: "bare" one batch after the other, each on all cores; "at once" as the program does it,
several batches on a core each. "ours" is the program's own `extract`: opening, decoding,
scaling, forward passes, reduction, averaging, writing.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from itertools import product
from pathlib import Path
from statistics import median

FPS, REPETITION_TIME = 15, 2.0
SIDES = ("bare", "ours", "at once")


def write_film(path: Path, minutes: float, width: int, height: int) -> None:
    """H.264 with sound, 30 frames a second: shapes that move over a textured ground."""
    import av
    import numpy as np

    random = np.random.default_rng(0)
    ground = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    ground = ground.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    rate, n = 30, round(minutes * 1800)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(n):
            picture = np.roll(ground, (i // 2, 2 * i), axis=(0, 1))
            side = height // 4
            top, left = (3 * i) % (height - side), (5 * i) % (width - side)
            picture[top : top + side, left : left + side] = (i % 256, 80, 200)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        for start in range(0, round(n / rate * 16000), 16000):
            tone = np.sin(np.arange(start, start + 16000) / 8, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def network_of(options):
    from bids_encoder.networks.registry import load_network

    return load_network(options.network, untrained=options.untrained)


def ours(path: Path, options) -> dict[str, float]:
    """The program's way, in pieces of one repetition time."""
    from bids_encoder.features.extract import extract
    from bids_encoder.stimuli.films import n_samples, read_film
    from bids_encoder.stimuli.segments import Segment

    network = network_of(options)
    start = time.perf_counter(), time.process_time()
    film = read_film(path)
    step = round(REPETITION_TIME * FPS)
    last = n_samples(film.duration, FPS)
    pieces = {str(k): Segment(film, k, min(k + step, last), FPS) for k in range(0, last, step)}
    with tempfile.TemporaryDirectory() as cache:
        extract(network, pieces, cache_dir=cache)
    return measured(start, last)


def bare(path: Path, options, *, at_once: bool = False) -> dict[str, float]:
    """Nothing but forward passes."""
    import torch

    from bids_encoder.features.batches import batch_size, batches_of
    from bids_encoder.features.extractors import NetworkExtractor
    from bids_encoder.networks.network import activations
    from bids_encoder.stimuli.films import n_samples, read_film, sampled_frames

    class Bare(NetworkExtractor):
        def compute(self, batch):
            activations(self.network, batch, lambda output, tap: output)
            return batch.new_empty(len(batch), 0)

    extractor = Bare(network_of(options))
    film = read_film(path)
    frames = [extractor.prepare(f.image) for f in sampled_frames(film, FPS, 0, 64)]
    last, size = n_samples(film.duration, FPS), batch_size(extractor)
    ready = [frames[k : k + size] for k in range(0, 64, size)]
    turns = ((k, ready[(k // size) % len(ready)]) for k in range(0, last, size))
    start = time.perf_counter(), time.process_time()
    if at_once:
        with batches_of(extractor) as run:
            deque(run.compute(turns), maxlen=0)
    else:
        for _, batch in turns:
            extractor.compute(torch.stack(batch))
    return measured(start, last)


def measured(start: tuple[float, float], frames: int) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - start[0],
        "processor": time.process_time() - start[1],
        "frames": frames,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def in_turn(path: Path, options) -> list[dict[str, dict[str, float]]]:
    """One side after the other, several times, each first in turn."""
    found = []
    for number in range(options.repeats):
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        found.append({side: in_process(side, path) for side in order})
    return found


def in_process(side: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--film", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0])
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--film", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        if options.side == "ours":
            found = ours(options.film, options)
        else:
            found = bare(options.film, options, at_once=options.side == "at once")
        print(json.dumps(found))
        return
    width, height = map(int, options.size.split("x"))
    print(f"{options.network}, {options.size} at 30/s, sampled at {FPS}/s")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            path = Path(folder) / f"{minutes:g}.mp4"
            write_film(path, minutes, width, height)
            rounds = in_turn(path, options)
            for side in SIDES:
                runs = [one[side] for one in rounds]
                print(
                    f"{minutes:g} min  {side:7}  {min(r['seconds'] for r in runs):7.1f} s  "
                    f"{min(r['processor'] for r in runs):7.1f} s of the processor  "
                    f"{max(r['peak'] for r in runs):5.2f} GiB  {runs[0]['frames']} frames"
                )
            for side, key in product(("bare", "at once"), ("seconds", "processor")):
                ratios = sorted(one["ours"][key] / one[side][key] for one in rounds)
                print(
                    f"{minutes:g} min  ratio to {side!r} by {key}: {median(ratios):.2f} "
                    f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )


if __name__ == "__main__":
    main()
