"""A whole participant: where the time goes, and how much memory it takes.

    python benchmarks/participant.py          # a tenth of the size, two minutes
    python benchmarks/participant.py --full   # 1750 pictures, 25 000 voxels, 5 sessions

A dataset of the size of Eickenberg et al. 2017 is made in a temporary folder: pictures of 64 × 64
pixels, five sessions of BOLD with masks and confounds as fMRIPrep writes them. The app is run on it
from its command line, in a process of its own, with AlexNet and random weights (they cost the same
as trained ones), no region atlas, and whatever options follow `--`. Its functions are timed from
outside; the time of a stage is exclusive of the stages inside it. The ratio is the whole run over
what no program could leave out: the network's forward passes, the kernels, and the ridge fits. The
former are timed once more when all is done, one batch after the other on all cores, since the
program has several in work at once. Set OMP_NUM_THREADS to the number of idle cores. On a busy
machine the processor's time says more than the clock's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

# Before NumPy and torch are loaded; the program itself does so as well.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

SESSIONS, PICTURES, VOXELS = 5, 1750, 25_000
PICTURES_PER_RUN, SECONDS_BETWEEN, TR = 70, 4, 1.0
SPACE = "T1w"

# (stage, module, function): a function is replaced where it is used. None of them runs in
# several threads at once.
TIMED = [
    ("dataset", "app.participant_level", "_read"),
    ("network", "app.participant_level", "open_source"),
    ("report", "app.participant_level", "write_report"),
    ("features", "analysis.run", "_features"),
    ("writing features", "features.extract", "write_entry"),
    ("reading features", "features.cache", "CachedFeatures.load"),
    ("kernels", "features.kernels", "linear_kernel"),
    ("reading kernels", "features.kernels", "_read"),
    ("ridge", "compute.local", "fit"),
    ("ridge of the p-values", "encoding.strata", "null_distribution"),
    ("p-values, the rest", "analysis.run", "write_inference"),
    ("joint model", "analysis.run", "write_joint"),
    ("reading BOLD", "responses.grids", "load_bold"),
    ("responses", "analysis.measured_data", "MeasuredData._measure"),
    ("writing", "analysis.run", "write_statmap"),
    ("writing", "analysis.run", "write_weights"),
    ("writing", "analysis.run", "write_summary"),
    ("writing", "analysis.significance", "write_statmap"),
    ("similarity", "analysis.run", "write_neural_code"),
]
FORWARD = "forward passes alone"  # timed apart, one batch after the other
BARE = (FORWARD, "kernels", "ridge", "ridge of the p-values")


def write_dataset(folder: Path, scale: float, seed: int = 0) -> None:
    """One participant whose voxels follow coarse pixels of the pictures, with noise."""
    import nibabel
    from PIL import Image

    rng = np.random.default_rng(seed)
    n_pictures, n_voxels = (round(size * scale) for size in (PICTURES, VOXELS))
    n_pictures -= n_pictures % SESSIONS
    side = int(np.ceil((3 * n_voxels) ** (1 / 3)))
    mask = np.zeros(side**3, bool)
    mask[rng.permutation(side**3)[:n_voxels]] = True
    mask = np.sort(mask)[::-1].reshape(side, side, side)
    coarse = rng.integers(0, 256, (n_pictures, 6, 6, 3), dtype=np.uint8)
    (folder / "raw" / "stimuli").mkdir(parents=True)
    for number, values in enumerate(coarse):
        picture = Image.fromarray(values).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(folder / "raw" / "stimuli" / f"{number:04d}.png")
    pixels = (coarse.reshape(n_pictures, -1) / 128.0 - 1).astype("f")
    weights = rng.standard_normal((pixels.shape[1], n_voxels), dtype="f") / 10
    weights *= rng.uniform(0, 1, n_voxels).astype("f")
    for name, kind in (("raw", "raw"), ("prep", "derivative")):
        description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": kind}
        description["GeneratedBy"] = [{"Name": "fMRIPrep"}]
        _json(folder / name / "dataset_description.json", description)
    affine = np.diag([2.5, 2.5, 2.5, 1])
    for session, shown in enumerate(np.arange(n_pictures).reshape(SESSIONS, -1), start=1):
        for run, some in enumerate(_cut(shown), start=1):
            onsets = 8 + SECONDS_BETWEEN * np.arange(len(some))
            times = np.arange(onsets[-1] + 20) * TR
            since = np.clip(times[:, None] - onsets, 0, None)
            design = (since**5 * np.exp(-since) / 120).astype("f")
            bold = np.full((*mask.shape, len(times)), 100, np.float32)
            noise = rng.standard_normal((n_voxels, len(times)), dtype="f")
            bold[mask] = 5000 + 50 * (noise + (design @ (pixels[some] @ weights)).T)
            stem = f"sub-01/ses-{session}/func/sub-01_ses-{session}_task-look_run-{run}"
            start = folder / "prep" / f"{stem}_space-{SPACE}_desc"
            start.parent.mkdir(parents=True, exist_ok=True)
            for data, name in ((bold.astype(np.int16), "preproc_bold"), (mask, "brain_mask")):
                image = nibabel.Nifti1Image(data.astype(np.int16), affine)
                image.header.set_xyzt_units("mm", "sec")
                image.to_filename(f"{start}-{name}.nii.gz")
            _json(Path(f"{start}-preproc_bold.json"), {"RepetitionTime": TR})
            _write_confounds(folder / "prep" / f"{stem}_desc-confounds_timeseries", times, rng)
            raw = folder / "raw" / stem
            raw.parent.mkdir(parents=True, exist_ok=True)
            same = Path(f"{start}-preproc_bold.nii.gz")
            Path(f"{raw}_bold.nii.gz").write_bytes(same.read_bytes())
            _json(Path(f"{raw}_bold.json"), {"TaskName": "look", "RepetitionTime": TR})
            lines = [f"{o}\t1\t{k:04d}.png\n" for o, k in zip(onsets, some, strict=True)]
            Path(f"{raw}_events.tsv").write_text("onset\tduration\tstim_file\n" + "".join(lines))


def _cut(shown: np.ndarray) -> list[np.ndarray]:
    return np.array_split(shown, max(1, round(len(shown) / PICTURES_PER_RUN)))


def _json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_confounds(stem: Path, times: np.ndarray, rng: np.random.Generator) -> None:
    """Motion with its derivatives, cosine drift, one component: what `--confounds` wants."""
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    names += [f"{name}_derivative1" for name in names]
    names += [f"{name}_power2" for name in names]
    columns = dict(zip(names, rng.standard_normal((len(names), len(times))), strict=True))
    for order in range(int(2 * len(times) * TR / 128)):
        wave = np.cos(np.pi * (order + 1) * (times + 0.5) / len(times))
        columns[f"cosine{order:02d}"] = wave
    columns["a_comp_cor_00"] = rng.standard_normal(len(times))
    rows = np.array(list(columns.values())).T
    lines = ["\t".join(columns), *("\t".join(f"{value:.6g}" for value in row) for row in rows)]
    Path(f"{stem}.tsv").write_text("\n".join(lines) + "\n")
    kept = {"a_comp_cor_00": {"Method": "aCompCor", "Mask": "combined", "Retained": True}}
    _json(Path(f"{stem}.json"), kept)


class Clock:
    """Exclusive times of stages, which may lie within each other."""

    def __init__(self):
        # Seconds, seconds, and bytes by which the stage raised the peak of the process.
        self.wall, self.cpu, self.peak = (defaultdict(float) for _ in range(3))
        self._open, self._last = ["start and rest"], self._now()

    def _now(self) -> tuple[float, float, float]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return time.perf_counter(), time.process_time(), peak

    def book(self) -> None:
        """Count what has passed since the last call to the innermost stage."""
        now = self._now()
        for total, new, old in zip((self.wall, self.cpu, self.peak), now, self._last, strict=True):
            total[self._open[-1]] += new - old
        self._last = now

    @contextmanager
    def stage(self, name: str):
        self.book()
        self._open.append(name)
        try:
            yield
        finally:
            self.book()
            self._open.pop()

    def time(self, stage: str, owner: object, name: str) -> None:
        """Time every call of a function from now on."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args, **keywords):
            with self.stage(stage):
                return function(*args, **keywords)

        setattr(owner, name, timed)


def measure_here(folder: Path, options: list[str]) -> None:
    """Run the app in this process, and print what its stages took."""
    clock = Clock()
    from bids_encoder.app import cli

    with clock.stage("imports"):
        cli.set_threads()
        importlib.import_module("bids_encoder.app.levels")
        importlib.import_module("bids_encoder.app.participant_level")
    for stage, module, name in TIMED:
        clock.time(stage, *find(module, name))
    code = cli.main(
        [
            str(folder / "raw"), str(folder / "out"), "participant", "-w", str(folder / "work"),
            "-d", str(folder / "prep"), "--network", "alexnet", "--untrained", *options,
        ]
    )  # fmt: skip
    clock.book()
    n_pictures = len(list((folder / "raw" / "stimuli").rglob("*.png")))
    found = {"code": code, "wall": clock.wall, "cpu": clock.cpu, "peak": clock.peak}
    print(json.dumps(found | {"forward": forward_passes(n_pictures)}))


def find(module: str, name: str) -> tuple[object, str]:
    """The module or class that has a function, and its name there."""
    owner = importlib.import_module(f"bids_encoder.{module}")
    *classes, name = name.split(".")
    for one in classes:
        owner = getattr(owner, one)
    getattr(owner, name)
    return owner, name


def forward_passes(n_pictures: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor that nothing but the network takes."""
    import torch

    from bids_encoder.features.batches import batch_size
    from bids_encoder.features.extractors import extractor_of
    from bids_encoder.networks.network import activations
    from bids_encoder.networks.registry import load_network

    network = load_network("alexnet", untrained=True)
    size = batch_size(extractor_of(network))
    batch = torch.randn(size, 3, network.input_size, network.input_size)
    start = time.perf_counter(), time.process_time()
    for _ in range(-(-n_pictures // size)):
        activations(network, batch, lambda output, tap: output)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def report(found: dict) -> None:
    """Print the stages, and the ratio."""
    wall, cpu, peak = found["wall"], found["cpu"], found["peak"]
    print(f"\n{'':26}{'clock':>10}{'processor':>13}{'share':>9}{'peak raised by':>18}")
    for stage in sorted(wall, key=wall.get, reverse=True):
        share = wall[stage] / sum(wall.values())
        seconds = f"{wall[stage]:8.1f} s{cpu[stage]:11.1f} s"
        print(f"{stage:<26}{seconds}{share:9.1%}{peak[stage] / 1e9:15.2f} GB")
    total = sum(peak.values()) / 1e9
    print(f"{'all':<26}{sum(wall.values()):8.1f} s{sum(cpu.values()):11.1f} s{total:24.2f} GB")
    alone = dict(zip(("wall", "cpu"), found["forward"], strict=True))
    print(f"{FORWARD:<26}{alone['wall']:8.1f} s{alone['cpu']:11.1f} s")
    ratios = [
        sum(t.values()) / (alone[kind] + sum(t.get(s, 0) for s in BARE))
        for kind, t in (("wall", wall), ("cpu", cpu))
    ]
    print(
        "whole run / (forward passes + kernels + ridge): {:.2f} by the clock, {:.2f} by the "
        "processor".format(*ratios)
    )


def main() -> None:
    """Make the dataset, run the app on it, and print where the time went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.1, help="of pictures and of voxels")
    parser.add_argument("--full", action="store_true", help="the same as --scale 1")
    parser.add_argument("--folder", type=Path, help="keep everything there; reuse its dataset")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*", help="options of the app, after --")
    chosen = parser.parse_args()
    if chosen.measure:
        measure_here(chosen.folder, chosen.options)
        return
    scale = 1.0 if chosen.full else chosen.scale
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        if not (folder / "raw").exists():
            write_dataset(folder, scale)
        command = [sys.executable, __file__, "--measure", "--folder", str(folder), "--"]
        done = subprocess.run(
            [*command, *chosen.options], check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
    if found["code"]:
        raise SystemExit(found["code"])
    report(found)


if __name__ == "__main__":
    main()
