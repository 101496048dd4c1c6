"""The measured contrast of a real localizer: its size, and nilearn's own model of it."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel
from nilearn.masking import compute_epi_mask

from bids_encoder.bids.events import Presentation
from bids_encoder.responses.contrast_glm import run_contrasts
from bids_encoder.responses.read_bold import load_bold

TR, MIDDLE = 2.0, 1.0


@pytest.mark.slow
def test_places_against_people(real_data):
    stem = real_data / "localizer/sub-02/func/sub-02_task-objectcategories_run-1"
    [bold] = stem.parent.glob(f"{stem.name}_bold.nii*")
    image = nibabel.load(bold)
    inside = np.asarray(compute_epi_mask(nibabel.Nifti1Image(
        image.dataobj[..., :20], image.affine)).dataobj)  # fmt: skip
    inside[:, 35:] = 0  # the back of the brain
    mask = nibabel.Nifti1Image(inside, image.affine)
    events = pd.read_table(f"{stem}_events.tsv")[["onset", "duration", "trial_type"]]
    trials = {
        name: [Presentation(o, d, "", i) for i, (o, d) in enumerate(zip(*some, strict=True))]
        for name, some in (
            (name, (rows.onset, rows.duration)) for name, rows in events.groupby("trial_type")
        )
    }
    others = trials.pop("object") + trials.pop("scramble")
    weights = {"house": 0.5, "scene": 0.5, "face": -0.5, "body": -0.5}
    ours = run_contrasts(load_bold(bold, mask), trials, others, {"c": weights}, TR, MIDDLE)["c"].t
    model = FirstLevelModel(TR, slice_time_ref=0.5, hrf_model="spm", mask_img=mask)
    model.fit(image, events)
    theirs = model.compute_contrast("house + scene - face - body", output_type="stat")
    t = np.asarray(theirs.dataobj)[inside != 0]
    assert np.nanmax(ours) > 10
    known = np.isfinite(ours)
    # nilearn gives objects and scrambles a regressor each, and so does not differ by more.
    assert np.corrcoef(ours[known], t[known])[0, 1] > 0.95
