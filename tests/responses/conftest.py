"""Presentations, runs and images for the tests of the responses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@dataclass(frozen=True)
class Shown:
    onset: float
    duration: float
    stimulus: str
    row: int = 2


@dataclass(frozen=True)
class OneRun:
    bold: Path
    name: str = "sub-01_task-x_run-1"
    mask: Path | None = None
    confounds: Path | None = None
    preprocessed: bool = False


@pytest.fixture
def show():
    """Presentations from (onset, duration, stimulus)."""
    return lambda *rows: [Shown(*row) for row in rows]


@pytest.fixture
def make_run():
    return OneRun


@pytest.fixture
def write_bold(tmp_path):
    """Write an image, with a header as a scanner's software would."""

    def write(data, name="sub-01_task-x_bold.nii.gz", tr=2.0, unit="sec", affine=None, dtype=None):
        data = np.asarray(data, dtype=dtype or np.float32)
        affine = np.diag([3.0, 3.0, 3.0, 1.0]) if affine is None else affine
        image = nib.Nifti1Image(data, affine)
        if data.ndim > 3:
            image.header.set_zooms((3.0, 3.0, 3.0, tr, *[1.0] * (data.ndim - 4)))
        image.header.set_xyzt_units("mm", unit)
        path = tmp_path / name
        nib.save(image, path)
        return path

    return write
