"""Measured contrasts against nilearn's own first-level models."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm import compute_fixed_effects
from nilearn.glm.first_level import FirstLevelModel

from bids_encoder.bids.events import Presentation
from bids_encoder.responses.contrast_glm import fixed_effects, run_contrasts

TR, N, SHAPE = 2.0, 90, (4, 3, 2)
MASK = nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4))
CONTRASTS = {"c": {"a": 1.0, "b": -1.0}}


def make_run(seed):
    """BOLD (T, V) that answers to a, and trials of three conditions."""
    random = np.random.default_rng(seed)
    names = random.permutation(np.repeat(["a", "b", "c"], 5))
    trials = [
        (name, Presentation(4.0 + 11.0 * k, 2.0, f"{name}{k}", k)) for k, name in enumerate(names)
    ]
    noise = np.zeros((N, 24))
    for t in range(N):
        noise[t] = 0.4 * noise[t - 1] + random.standard_normal(24)
    bold = 500 + 5 * noise
    for name, one in trials:
        first = int(one.onset // TR) + 2
        bold[first : first + 3, :12] += 20 * (name == "a")
    by_name = {key: [one for name, one in trials if name == key] for key in "ab"}
    return bold, by_name, [one for name, one in trials if name == "c"], random


def nilearn_model(bold, trials, others, confounds):
    image = nibabel.Nifti1Image(bold.T.reshape(*SHAPE, N).astype(np.float64), np.eye(4))
    events = pd.DataFrame(
        [
            {"onset": one.onset, "duration": one.duration, "trial_type": name}
            for name, shown in {**trials, "c": others}.items()
            for one in shown
        ]
    )
    model = FirstLevelModel(
        TR,
        hrf_model="spm",
        drift_model="cosine",
        high_pass=0.01,
        mask_img=MASK,
        minimize_memory=True,
    )
    return model.fit(image, events, pd.DataFrame(confounds, columns=["x"]))


def values(image):
    return np.asarray(image.dataobj).reshape(-1)


def test_two_runs_are_those_of_nilearn():
    ours, effects, variances = [], [], []
    for seed in (0, 1):
        bold, trials, others, random = make_run(seed)
        confounds = random.standard_normal((N, 1))
        ours.append(run_contrasts(bold, trials, others, CONTRASTS, TR, confounds=confounds)["c"])
        theirs = nilearn_model(bold, trials, others, confounds)
        every = theirs.compute_contrast("a - b", output_type="all")
        np.testing.assert_allclose(ours[-1].effect, values(every["effect_size"]), rtol=1e-6)
        t = ours[-1].effect / np.sqrt(ours[-1].variance)
        np.testing.assert_allclose(t, values(every["stat"]), rtol=1e-6)
        effects.append(every["effect_size"])
        variances.append(every["effect_variance"])
    both = fixed_effects(ours)
    effect, variance, *_ = compute_fixed_effects(effects, variances, MASK)
    np.testing.assert_allclose(both.effect, values(effect), rtol=1e-6)
    np.testing.assert_allclose(both.variance, values(variance), rtol=1e-6)
    t = both.effect / np.sqrt(both.variance)
    assert t[:12].min() > 5 > abs(t[12:]).max()


def test_a_run_without_a_condition_tells_nothing_of_its_contrasts():
    bold, trials, others, _ = make_run(0)
    two = {**CONTRASTS, "d": {"a": 1.0, "x": -1.0}}
    assert list(run_contrasts(bold, {**trials, "x": []}, others, two, TR)) == ["c"]
    assert run_contrasts(bold, {"a": trials["a"]}, others, CONTRASTS, TR) == {}


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_voxels_without_a_signal_have_no_value(value):
    bold, trials, others, _ = make_run(0)
    bold[:, 3] = value
    found = run_contrasts(bold, trials, others, CONTRASTS, TR)["c"]
    assert np.isnan(found.effect[3]) and np.isfinite(np.delete(found.effect, 3)).all()


def test_weights_are_in_order_of_their_names():
    bold, trials, others, _ = make_run(0)
    found = run_contrasts(
        bold, trials, others, {"ab": {"b": -1.0, "a": 1.0}, "ba": {"a": -1.0, "b": 1.0}}, TR
    )
    np.testing.assert_allclose(found["ab"].effect, -found["ba"].effect)
