"""The segmentation that the demo brings, as other programs would find it."""

from __future__ import annotations

import nibabel
import numpy as np

from bids_encoder.demo import dataset as demo
from bids_encoder.regions.label_tables import read_labels


def test_the_demo_s_regions_are_valid_bids_and_lie_where_they_should(tmp_path, validate_bids):
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-90, -126, -72]
    like = nibabel.Nifti1Image(np.zeros((31, 37, 31)), affine)
    labels = demo.true_regions(np.ones(like.shape, dtype=bool), affine)
    derivatives = tmp_path / "derivatives" / "preproc"
    demo._describe(tmp_path, derivatives, n_slices=like.shape[2])
    for participant in demo.PARTICIPANTS:
        demo._write_regions(derivatives, participant, labels, like)
    issues = validate_bids(derivatives)
    assert not [issue for issue in issues if issue["severity"] == "error"]
    [table] = derivatives.glob("sub-01/anat/*_dseg.tsv")
    assert list(read_labels(table).values()) == list(demo.REGIONS)
    image = nibabel.load(str(table).replace(".tsv", ".nii.gz"))
    for number, ((x, y, z), radius) in enumerate(demo.REGIONS.values(), start=1):
        voxels = np.argwhere(np.asarray(image.dataobj) == number)
        places = nibabel.affines.apply_affine(image.affine, voxels)
        distance = np.linalg.norm(places - [[x, y, z]], axis=1)
        other = np.linalg.norm(places - [[-x, y, z]], axis=1)
        assert len(voxels) > 20 and np.minimum(distance, other).max() <= radius
