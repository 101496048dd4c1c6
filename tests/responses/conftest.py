"""Presentations, runs and images for the tests of the responses."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_encoder.bids.events import Presentation
from bids_encoder.bids.records import BoldRun


@pytest.fixture
def show():
    """Presentations from (onset, duration, stimulus)."""
    return lambda *rows: [Presentation(*row, row=2 + k) for k, row in enumerate(rows)]


@pytest.fixture
def make_run():
    """A run of which only the files matter."""

    def make(bold, mask=None, confounds=None, preprocessed=False):
        entities = {"sub": "01", "task": "x", "run": "1"}
        return BoldRun(
            bold=bold, entities=entities, events=bold, mask=mask, space=None, resolution=None,
            preprocessed=preprocessed, repetition_time=2.0, start_time=0.0, confounds=confounds,
        )  # fmt: skip

    return make


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
