"""How long does it take to find the runs of one participant in a large dataset?

    python benchmarks/indexing.py [--participants 300] [--files 200] [--whole]

Makes a tree of empty files (300 participants with 200 files each: 60 000) with
derivatives of the same size, and times a fresh process that opens the dataset for one
participant and finds its runs: without a kept index, when the index is made, and when it
is there. With --whole, also what plain pybids takes for the raw dataset.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import sys, time
begin = time.perf_counter()
from bids_encoder.bids.dataset import find_runs, open_dataset
root, derivative, database = sys.argv[1:]
dataset = open_dataset(
    root,
    participants=["001"],
    derivatives=[derivative] if derivative else [],
    database_dir=database or None,
)
runs = find_runs(dataset, "001")
print(time.perf_counter() - begin, len(runs))
"""
WHOLE = """
import sys, time
begin = time.perf_counter()
from bids.layout import BIDSLayout
layout = BIDSLayout(sys.argv[1], validate=False)
runs = layout.get(subject="001", suffix="bold", extension=".nii.gz")
print(time.perf_counter() - begin, len(runs))
"""


def make_tree(root: Path, participants: int, files: int, *, derivative: bool) -> int:
    """Write a dataset whose runs have four files each; returns the number of files."""
    endings = (
        (
            "_space-T1w_desc-preproc_bold.nii.gz",
            "_space-T1w_desc-preproc_bold.json",
            "_space-T1w_desc-brain_mask.nii.gz",
            "_desc-confounds_timeseries.tsv",
        )
        if derivative
        else ("_bold.nii.gz", "_bold.json", "_events.tsv", "_sbref.nii.gz")
    )
    kind = "derivative" if derivative else "raw"
    description = {"Name": "made for timing", "BIDSVersion": "1.9.0", "DatasetType": kind}
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps(description))
    written = 1
    for participant in range(1, participants + 1):
        for run in range(files // len(endings)):
            session = run // 10 + 1
            folder = root / f"sub-{participant:03d}" / f"ses-{session}" / "func"
            if run % 10 == 0:
                folder.mkdir(parents=True)
            stem = f"sub-{participant:03d}_ses-{session}_task-x_run-{run % 10 + 1}"
            for ending in endings:
                content = '{"RepetitionTime": 2.0}' if ending.endswith(".json") else ""
                (folder / (stem + ending)).write_text(content)
                written += 1
    return written


def measure(script: str, *arguments: object) -> tuple[float, int]:
    """Seconds and number of runs found, in a fresh process (imports included)."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, runs = done.stdout.split()
    return float(seconds), int(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=300)
    parser.add_argument("--files", type=int, default=200, help="for each participant")
    parser.add_argument("--whole", action="store_true", help="time plain pybids too (minutes)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        root, prep, kept = base / "dataset", base / "fmriprep", base / "index"
        begin = time.perf_counter()
        files = make_tree(root, options.participants, options.files, derivative=False)
        files_prep = make_tree(prep, options.participants, options.files, derivative=True)
        print(
            f"made {files} raw files and {files_prep} derivatives "
            f"in {time.perf_counter() - begin:.0f} s\n"
        )
        rows = [
            ("raw, no kept index", measure(OURS, root, "", "")),
            ("raw, index made", measure(OURS, root, "", kept)),
            ("raw, index there", measure(OURS, root, "", kept)),
            ("with derivatives, no kept index", measure(OURS, root, prep, "")),
            ("with derivatives, index made", measure(OURS, root, prep, kept)),
            ("with derivatives, index there", measure(OURS, root, prep, kept)),
        ]
        if options.whole:
            rows.append(("whole dataset, plain pybids", measure(WHOLE, root)))
    print(f"{'one participant':<34}{'seconds':>9}{'runs':>7}")
    for name, (seconds, runs) in rows:
        print(f"{name:<34}{seconds:>9.2f}{runs:>7}")


if __name__ == "__main__":
    main()
