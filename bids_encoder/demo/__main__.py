"""The demo: writes a dataset whose truth is known, and runs both levels on it.

``python -m bids_encoder.demo FOLDER`` writes the dataset, fits both
participants, runs the group level and says how many voxels got their own layer
back.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_encoder.demo.dataset import PARTICIPANTS, Truth, write_dataset


def recovery(output: Path, truth: Truth) -> str:
    """Say how many voxels got their own layer back, participant by participant.

    Parameters
    ----------
    output : Path
        The derivatives of the demo dataset.
    truth : Truth

    Returns
    -------
    str
        One line a region, and one for all.
    """
    import nibabel
    import pandas as pd

    from bids_encoder.runtime import console

    found: dict[str, list[int]] = {region: [] for region in truth.layers}
    layers: list[str] = []
    for participant in PARTICIPANTS:
        [path] = (output / f"sub-{participant}" / "func").glob("*bestlayer_dseg.nii.gz")
        best = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)
        names = pd.read_table(path.with_name(path.name.replace(".nii.gz", ".tsv")))
        layers = [name for name in names["name"] if name != "none"]
        index = dict(zip(names["name"], names["index"], strict=True))
        for number, (region, layer) in enumerate(truth.layers.items(), start=1):
            found[region] += (best[truth.labels == number] == index[layer]).tolist()
    rows = [
        (region, truth.layers[region], len(hits), f"{sum(hits)} ({np.mean(hits):.0%})")
        for region, hits in found.items()
    ]
    everything = sum(found.values(), [])
    rows.append(("all", "", len(everything), f"{sum(everything)} ({np.mean(everything):.0%})"))
    return (
        console.table(("region", "true layer", "voxels", "got their own layer back"), rows)
        + f"\n(of {len(layers)} layers to choose from: chance would be {1 / len(layers):.0%})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the dataset, run both levels on it, compare with the truth."""
    from bids_encoder.app import cli
    from bids_encoder.runtime import console

    parser = argparse.ArgumentParser(prog="python -m bids_encoder.demo", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to put the dataset and the results")
    folder = parser.parse_args(arguments).folder
    dataset, output, work = (folder / name for name in ("dataset", "output", "work"))
    if folder.exists() and any(folder.iterdir()) and not dataset.exists():
        parser.error(f"{folder} is not empty and holds no earlier demo")
    shutil.rmtree(dataset, ignore_errors=True)
    cli.set_threads()
    console.start_logging()
    with console.stage("dataset") as words:
        truth = write_dataset(dataset, work)
        words += [f"{len(PARTICIPANTS)} participants", str(dataset)]
    for level in ("participant", "group"):
        options = ["-d", dataset / "derivatives" / "preproc", "-w", work]
        line = [str(word) for word in (dataset, output, level, *options)]
        print(f"\n$ bids-encoder {' '.join(line)}", flush=True)
        code = cli.main(line)
        if code:
            return code
    print(f"\n{recovery(output, truth)}\n\nThe results are in {output}; begin with:")
    for page in sorted(output.glob("*.html")):
        print(f"  {page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
