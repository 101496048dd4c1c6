"""--joint: all layers together, from the command line."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from tiny_dataset import LAYERS, brain, run_app, truth

ONE = ("--participant-label", "01", "--n-permutations", 0, "--no-neural-code")
JOINT = ("--joint-unique", "--joint-draws", 4)


def read(out, stat, desc):
    [path] = (out / "sub-01" / "func").glob(f"*_stat-{stat}_desc-{desc}_statmap.nii.gz")
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def joint(pristine, tmp_path_factory):
    """The first participant with and without the option, one after the other."""
    out = tmp_path_factory.mktemp("joint") / "out"
    options = (*ONE, "--features", pristine.features)
    plain = run_app(pristine.bids, out, "participant", *options)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_statmap.nii.gz")}
    end = run_app(pristine.bids, out, "participant", *options, *JOINT)
    assert [plain.code, end.code] == [0, 0]
    return out, before, end


def test_each_voxel_belongs_to_the_layer_that_it_follows(joint):
    out, *_ = joint
    r2 = read(out, "r2", "features+joint")
    labels = truth()
    for number, own in ((1, "early"), (3, "late")):
        voxels = labels == number
        assert np.median(r2[voxels]) > 0.4
        for stat in ("share", "unique"):
            for layer in LAYERS:
                found = np.median(read(out, stat, f"features+{layer}")[voxels])
                assert found > 0.4 if layer == own else abs(found) < 0.1
    assert np.isnan(r2[~brain()]).all()


def test_shares_add_up(joint):
    out, *_ = joint
    total = sum(read(out, "share", f"features+{layer}") for layer in LAYERS)
    # Responses are z-scored within sessions, which are left out in turn.
    np.testing.assert_allclose(
        total[brain()], read(out, "r2", "features+joint")[brain()], atol=1e-3
    )


def test_it_adds_to_what_is_there_and_is_not_done_twice(joint, pristine):
    out, before, end = joint
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "joint model" in end.said
    [sidecar] = out.rglob("*_stat-r2_desc-features+joint_statmap.json")
    assert json.loads(sidecar.read_text())["Settings"]["joint_draws"] == 4
    assert (
        "All layers together (banded ridge) have a mean r² of" in (out / "sub-01.html").read_text()
    )
    options = (*ONE, "--features", pristine.features, *JOINT)
    again = run_app(pristine.bids, out, "participant", *options)
    assert again.code == 0 and "all is there already" in again.said
    other = run_app(pristine.bids, out, "participant", *options, "--joint-seed", 1)
    assert other.code == 0 and "joint model" in other.said


def test_our_names_pass_the_extended_schema(joint, validate_bids, extended_schema_file):
    out, *_ = joint
    issues = validate_bids(out, extended_schema_file)
    assert not [one for one in issues if one["severity"] == "error"]
