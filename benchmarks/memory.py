"""Memory that is announced, and that is used: `python benchmarks/memory.py`.

For each kind of analysis a dataset is made in a temporary folder, so large that arrays and not
libraries take the memory. The app is run on it from its command line, in a process of its own,
with a `--mem`; its largest resident size is compared with the figure of its plan. Prints the table
of docs/benchmarks.md, and fails where a run needs more than it may. `--only NAME` runs some;
`--scale 0.2` makes all of them smaller (then libraries take most of it).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TR, SECONDS_BETWEEN = 1.0, 3.0
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
FAST = (
    "--skip-bids-validation", "--confounds", "none", "--n-permutations", "2000",
    "--similarity-permutations", "20", "--device", "cpu",
)  # fmt: skip
_GB = 1e9
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Case:
    """An analysis: what makes its dataset, `--mem`, and other options."""

    make: Callable[[Path, float], list[str]]
    mem: str
    options: tuple[str, ...] = ()
    code: int = 0


def _json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _dataset(folder: Path, n_pictures: int) -> list[str]:
    from PIL import Image

    for name, kind in (("raw", "raw"), ("prep", "derivative")):
        about = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": kind}
        _json(folder / name / "dataset_description.json",
              {**about, "GeneratedBy": [{"Name": "fMRIPrep"}]})  # fmt: skip
    (folder / "raw/stimuli").mkdir(parents=True)
    names = [f"{k:05d}.png" for k in range(n_pictures)]
    random = np.random.default_rng(0)
    for name in names:
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "raw/stimuli" / name)
    return names


def _features(folder: Path, names: list[str], n_features: int, n_layers: int) -> list[str]:
    import h5py

    random = np.random.default_rng(1)
    with h5py.File(folder / "own.h5", "w") as file:
        file["stimuli"] = [*names, ""]
        for layer in range(n_layers):
            data = file.create_dataset(f"layer{layer}", (len(names) + 1, n_features), "f4")
            for row in range(len(names) + 1):
                data[row] = random.standard_normal(n_features, dtype=np.float32)
    return ["--features", str(folder / "own.h5")]


def _image(path: Path, shape: tuple[int, ...], n_maps: int, kind=np.int16) -> None:
    """A series of noise, written map by map."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    header = nibabel.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape((*shape, n_maps))
    header.set_sform(AFFINE)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4] = TR
    header["vox_offset"], header["magic"] = 352, b"n+1"
    random = np.random.default_rng(2)
    with path.open("wb") as file:
        header.write_to(file)
        file.write(b"\0" * (352 - file.tell()))
        noise = random.standard_normal(2 * int(np.prod(shape)), dtype=np.float32)
        for _ in range(n_maps):
            start = random.integers(int(np.prod(shape)))
            one = 1000 + 100 * noise[start : start + int(np.prod(shape))]
            file.write(one.astype(kind).tobytes())


def _shape(n_voxels: float) -> tuple[int, int, int]:
    side = round(n_voxels ** (1 / 3))
    return side, side, side


def _events(path: Path, names: list[str], every: float = SECONDS_BETWEEN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{k * every:g}\t{every if every < 2 else 1:g}\t{name}" for k, name in enumerate(names)]
    path.write_text("onset\tduration\tstim_file\n" + "\n".join(rows) + "\n")


def bold(
    folder: Path, scale: float, *, n_pictures=240, n_runs=4, n_voxels=80_000, n_features=50,
    n_layers=2, every=SECONDS_BETWEEN, subjects=("01",),
) -> list[str]:  # fmt: skip
    """BOLD as fMRIPrep writes it, with masks of all voxels."""
    names = _dataset(folder, n_pictures)
    shape = _shape(n_voxels * scale)
    for subject in subjects:
        for run, shown in enumerate(np.array_split(names, n_runs), start=1):
            n_volumes = int(len(shown) * every / TR) + 20
            stem = f"sub-{subject}/func/sub-{subject}_task-look_run-{run}"
            image = folder / "prep" / f"{stem}_space-T1w_desc-preproc_bold.nii"
            _image(image, shape, n_volumes)
            _json(image.with_suffix(".json"), {"RepetitionTime": TR})
            mask = folder / "prep" / f"{stem}_space-T1w_desc-brain_mask.nii"
            _mask(mask, shape)
            _events(folder / "raw" / f"{stem}_events.tsv", list(shown), every)
            raw = folder / "raw" / f"{stem}_bold.nii"
            raw.symlink_to(os.path.relpath(image, raw.parent))
            _json(raw.with_suffix(".json"), {"TaskName": "look", "RepetitionTime": TR})
    return [
        "-d", str(folder / "prep"), "--follow-links",
        *_features(folder, names, n_features, n_layers),
    ]  # fmt: skip


def _mask(path: Path, shape: tuple[int, ...]) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ones(shape, np.uint8), AFFINE).to_filename(path)


def betas(folder: Path, scale: float, *, n_pictures=300, times=20, form="nii") -> list[str]:
    """One file with all trials of pictures that are repeated, and its table."""
    names = _dataset(folder, n_pictures)
    shape = _shape(100_000 * scale)
    order = np.random.default_rng(3).permutation(np.repeat(names, times))
    stem = folder / "glm/sub-01_task-look_betas"
    if form == "nii":
        _image(stem.with_suffix(".nii"), shape, len(order))
    else:
        import h5py

        stem.parent.mkdir(parents=True)
        random = np.random.default_rng(4)
        with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
            data = file.create_dataset("betasmd", (*shape, len(order)), "f4")
            for x in range(shape[0]):
                data[x] = random.standard_normal((*shape[1:], len(order)), dtype=np.float32)
    _mask(folder / "glm/mask.nii", shape)
    stem.with_suffix(".tsv").write_text("stim_file\n" + "\n".join(order) + "\n")
    (folder / "raw/sub-01/func").mkdir(parents=True)
    return [
        "--betas", str(stem.with_suffix(f".{form}")), "--betas-mask", str(folder / "glm/mask.nii"),
        *_features(folder, names, 50, 2),
    ]  # fmt: skip


def surfaces(folder: Path, scale: float) -> list[str]:
    """GIFTI, in a space whose meshes nobody has: maps without geometry."""
    import nibabel
    from nibabel.gifti import GiftiDataArray, GiftiImage

    names = _dataset(folder, 300)
    random = np.random.default_rng(5)
    for run, shown in enumerate(np.array_split(names, 3), start=1):
        stem = f"sub-01/func/sub-01_task-look_run-{run}"
        n_volumes = int(len(shown) * SECONDS_BETWEEN / TR) + 20
        for side in "LR":
            path = folder / "prep" / f"{stem}_hemi-{side}_space-fsnative_bold.func.gii"
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = [
                GiftiDataArray(
                    random.standard_normal(int(40_000 * scale)).astype(np.float32),
                    intent="NIFTI_INTENT_TIME_SERIES",
                )
                for _ in range(n_volumes)
            ]
            nibabel.save(GiftiImage(darrays=arrays), path)
            _json(path.with_name(path.name.replace(".func.gii", ".json")), {"RepetitionTime": TR})
        _events(folder / "raw" / f"{stem}_events.tsv", list(shown))
        _image(folder / "raw" / f"{stem}_bold.nii", (4, 4, 4), n_volumes)
        _json(folder / "raw" / f"{stem}_bold.json", {"TaskName": "look", "RepetitionTime": TR})
    return [
        "-d", str(folder / "prep"), "--space", "fsnative", *_features(folder, names, 50, 2),
    ]  # fmt: skip


def _sized(**sizes) -> Callable[[Path, float], list[str]]:
    return lambda folder, scale: bold(folder, scale, **sizes)


CASES = {
    "BOLD, events": Case(bold, "2GB"),
    "BOLD, continuous": Case(
        _sized(n_pictures=600, n_runs=4, every=1.0), "3GB", ("--design", "continuous")
    ),
    "rank-1 responses": Case(_sized(n_pictures=60, n_runs=3, n_voxels=30_000), "2GB",
                             ("--hrf", "rank1")),
    "test set": Case(bold, "2GB", ("--test-set", "run=4")),
    "--nested": Case(_sized(n_pictures=400, n_voxels=40_000), "2GB", ("--nested",)),
    "--joint, 8 layers": Case(
        _sized(n_pictures=800, n_voxels=2_000, n_layers=8), "3GB", ("--joint", "--joint-draws", "1")
    ),
    "primal weights": Case(
        _sized(n_voxels=40_000, n_features=6000), "4GB", ("--save-weights", "primal")
    ),
    "20 000 permutations": Case(
        _sized(n_pictures=400, n_voxels=4_000), "2GB", ("--n-permutations", "20000")
    ),
    "betas, 300 pictures × 20": Case(betas, "2.5GB"),
    "likewise, without similarity": Case(betas, "2GB", ("--no-neural-code",)),
    "likewise, in too little": Case(betas, "1.4GB", (), 2),
    "300 × 5 in HDF5": Case(
        lambda folder, scale: betas(folder, scale, times=5, form="hdf5"), "2.5GB"
    ),
    "own features, 1200 × 250 000": Case(
        _sized(n_pictures=1200, n_voxels=4_000, n_features=250_000, n_layers=1), "2GB",
        ("--no-neural-code",),
    ),
    "own features, too wide": Case(
        _sized(n_pictures=1200, n_voxels=4_000, n_features=250_000, n_layers=1), "1GB", (), 2
    ),
    "surfaces": Case(surfaces, "3GB"),
    "two participants at once": Case(
        _sized(n_voxels=40_000, subjects=("01", "02")),
        "4GB",
        ("--nprocs", "2", "--omp-nthreads", "1"),
    ),
}  # fmt: skip


def run(case: Case, folder: Path, scale: float) -> tuple[int, float, float | None, float, str]:
    """Exit code, seconds, announced and used bytes of the largest process, and what was said."""
    options = case.make(folder, scale)
    log = folder / "log.txt"
    begun = time.monotonic()
    with log.open("w") as said:
        process = subprocess.Popen(
            [
                sys.executable, ROOT / "run.py", folder / "raw", folder / "out", "participant",
                "-w", folder / "work", "--mem", case.mem, *FAST, *options, *case.options,
            ],
            stdout=said, stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text()
    announced = re.search(r"memory +(?:about|at most) ([\d.]+) GB", text)
    return (
        process.returncode,
        time.monotonic() - begun,
        float(announced[1]) if announced else None,
        usage.ru_maxrss * 1024 / _GB,
        text,
    )


def main() -> int:
    """Run all cases and print what they announced and used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of voxels")
    parser.add_argument("--say", action="store_true", help="print what the app said, too")
    chosen = parser.parse_args()
    print(
        "| Analysis | `--mem` | Announced | Used | |\n| --- | --- | --- | --- | --- |", flush=True
    )
    failed = 0
    for name, case in CASES.items():
        if chosen.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            code, seconds, announced, used, said = run(case, Path(folder), chosen.scale)
        shares = int(case.options[case.options.index("--nprocs") + 1]) if "--nprocs" in (
            case.options) else 1  # fmt: skip
        limit = float(case.mem.removesuffix("GB")) / shares
        outcome = f"{seconds:.0f} s" if code == 0 else f"refused, code {code}"
        if code != case.code or (code == 0 and used > limit):
            outcome, failed = f"FAILED: {outcome}", 1
        words = "–" if announced is None else f"{announced:.1f} GB"
        print(f"| {name} | {case.mem} | {words} | {used:.1f} GB | {outcome} |", flush=True)
        if chosen.say or (code != case.code):
            print(said[-3000:], flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
