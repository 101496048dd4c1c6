"""Run the app on the tables of two published datasets, with made BOLD and pictures.

    python benchmarks/openneuro_tables.py FOLDER_WITH_TABLES [--side 64] [--device auto]

FOLDER_WITH_TABLES holds ``ds001499`` (BOLD5000) and ``ds004192`` (THINGS-fMRI) as they are
on OpenNeuro, sidecars and tables of events at least. Beside copies of them go BOLD images of a
few voxels and small pictures under the names that the tables give; both datasets are then run
with the default network, and time and memory are printed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SHAPE = (8, 8, 6)
# The column that names pictures, where it is not the standard's, and options that say so.
DATASETS = {
    "ds001499": ("stim_file", ()),
    "ds004192": ("file_path", ("--stim-column", "file_path")),
}


def complete_dataset(
    source: Path, folder: Path, column: str, *, runs: str = "*", stim_dir: str = "stimuli",
    side: int = 8,
) -> list[str]:  # fmt: skip
    """Copy a dataset of tables and make what it lacks: BOLD and pictures.

    Parameters
    ----------
    source, folder : Path
        The tables, and where the whole dataset goes.
    column : str
        Column of the events that names pictures.
    runs : str
        Pattern of the names of the runs to be kept, such as ``"*_ses-01_*_run-0[12]"``.
    stim_dir : str
        Folder of the pictures, seen from the dataset.
    side : int
        Pixels along each side of a picture.

    Returns
    -------
    list of str
        Names of the pictures, in the order of their first showing.
    """
    shutil.copytree(source, folder)
    names: dict[str, None] = {}
    random = np.random.default_rng(0)
    for path in sorted(folder.rglob("*_events.tsv")):
        stem = path.name.removesuffix("_events.tsv")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        if not path.match(f"{runs}_events.tsv"):
            path.unlink()
            continue
        sidecar = json.loads(path.with_name(f"{stem}_bold.json").read_text())
        seconds = max(float(row["onset"]) for row in rows) + 16
        _write_bold(path.with_name(f"{stem}_bold.nii.gz"), seconds, sidecar, random)
        names |= dict.fromkeys(row[column] for row in rows if row.get(column, "n/a") != "n/a")
    for name in names:
        picture = folder / stim_dir / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(picture)
    return list(names)


def _write_bold(path: Path, seconds: float, sidecar: dict, random: np.random.Generator) -> None:
    """Noise in the middle of the image, nothing around it."""
    tr = sidecar["RepetitionTime"]
    data = np.zeros((*SHAPE, int(np.ceil(seconds / tr))), np.int16)
    inside = data[1:-1, 1:-1, 1:-1]
    inside[:] = np.rint(random.normal(900, 10, inside.shape))
    image = nibabel.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3, 3, 3, tr))
    path.write_bytes(gzip.compress(image.to_bytes(), 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both datasets and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path)
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture")
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args(arguments)
    for name, (column, options) in DATASETS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            pictures = complete_dataset(
                chosen.tables / name, folder / name, column, side=chosen.side
            )
            command = [sys.executable, Path(__file__).parents[1] / "run.py", folder / name,
                       folder / "out", "participant", "-w", folder / "work",
                       "--device", chosen.device, *options]  # fmt: skip
            start = time.monotonic()
            subprocess.run(list(map(str, command)), check=True)
            took = time.monotonic() - start
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            print(f"{name}: {len(pictures)} pictures, {took:.0f} s, at most {peak:.2f} GB")


if __name__ == "__main__":
    main()
