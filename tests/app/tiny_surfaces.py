"""The time series of the tiny dataset on surfaces, as GIFTI and CIFTI."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis
from tiny_dataset import PARTICIPANTS, SESSIONS, TR, Tiny, brain
from tiny_meshes import sphere, write_gifti, write_mesh

N = 162  # vertices of a hemisphere; those behind the brain's voxels are constant
HALF = int(brain().sum()) // 2


def on_vertices(series: np.ndarray) -> dict[str, np.ndarray]:
    """Voxels (T, V) on two hemispheres (T, N): the first half left, the others right."""
    sides = {}
    for side, some in (("L", series[:, :HALF]), ("R", series[:, HALF:])):
        sides[side] = np.zeros((len(series), N), np.float32)
        sides[side][:, : some.shape[1]] = some
    return sides


def axis() -> BrainModelAxis:
    return BrainModelAxis.from_surface(
        np.arange(N), N, "CORTEX_LEFT"
    ) + BrainModelAxis.from_surface(np.arange(N), N, "CORTEX_RIGHT")


def write_cifti(path: Path, values: np.ndarray, rows) -> None:
    image = Cifti2Image(values.astype(np.float32), (rows, axis()))
    nibabel.save(image, path)


def add_surfaces(tiny: Tiny) -> None:
    """Write the preprocessed runs as GIFTI (fsnative) and CIFTI (fsLR), and their meshes."""
    for participant in PARTICIPANTS:
        anat = tiny.preprocessed / f"sub-{participant}" / "anat"
        for side in "LR":
            for space in ("", "_space-fsLR_den-32k"):
                for kind in ("midthickness", "inflated"):
                    path = anat / f"sub-{participant}_hemi-{side}{space}_{kind}.surf.gii"
                    write_mesh(path, sphere())
        for session in SESSIONS:
            bold = tiny.bold(session, participant)
            series = np.asarray(nibabel.load(bold).dataobj, np.float32)[brain()].T
            stem = tiny.preprocessed / bold.relative_to(tiny.bids)
            start = str(stem).replace("_bold.nii.gz", "")
            sides = on_vertices(series)
            for side, values in sides.items():
                name = f"{start}_hemi-{side}_space-fsnative_bold"
                write_gifti(Path(f"{name}.func.gii"), values, TimeStep="2000.0")
                Path(f"{name}.json").write_text(json.dumps({"RepetitionTime": TR}))
            name = f"{start}_space-fsLR_den-91k_bold"
            both = np.concatenate(list(sides.values()), axis=1)
            write_cifti(Path(f"{name}.dtseries.nii"), both, SeriesAxis(0, TR, len(both), "SECOND"))
            Path(f"{name}.json").write_text(json.dumps({"RepetitionTime": TR}))
