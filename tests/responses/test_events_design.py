"""One response per stimulus: against nilearn, least squares and a simulated truth."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel

from bids_encoder.errors import DataError
from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.events_design import (
    event_responses,
    joint_estimator,
    needs_separate_regressions,
    separate_estimator,
    stimulus_regressors,
)

T, TR = 100, 2.0


def slow_run(show, n=14, soa=12.0):
    """Pictures far apart; the first three are shown twice."""
    names = [f"p{k:02d}.png" for k in [*range(n - 3), 0, 1, 2]]
    return show(*[(4.0 + soa * k, 1.0, name) for k, name in enumerate(names)])


def fast_run(show, n=60, soa=3.0):
    return show(*[(6.0 + soa * k, 1.0, f"p{k:02d}.png") for k in range(n)])


@pytest.mark.filterwarnings("ignore:.*Given mask will be used:RuntimeWarning")
@pytest.mark.parametrize("hrf", ["spm", "glover"])
@pytest.mark.parametrize("start_time", [0.0, 1.0])
def test_joint_estimates_are_nilearns(show, hrf, start_time):
    rng = np.random.default_rng(0)
    shown = slow_run(show)
    confounds = rng.standard_normal((T, 3))
    data = rng.normal(8000, 40, (2, 3, 2, T)).astype(np.float32)
    stimuli, betas = event_responses(
        data.reshape(-1, T).T, shown, TR, start_time, hrf=hrf, confounds=confounds
    )
    model = FirstLevelModel(
        TR,
        slice_time_ref=start_time / TR,
        hrf_model=hrf,
        drift_model="cosine",
        high_pass=0.01,
        noise_model="ols",
        signal_scaling=False,
        mask_img=nib.Nifti1Image(np.ones((2, 3, 2), np.uint8), np.eye(4)),
        minimize_memory=False,
    )
    events = pd.DataFrame(
        [(p.onset, p.duration, p.stimulus.removesuffix(".png")) for p in shown],
        columns=["onset", "duration", "trial_type"],
    )
    model.fit(nib.Nifti1Image(data, np.eye(4)), events, pd.DataFrame(confounds).add_prefix("c"))
    for stimulus, beta in zip(stimuli, betas, strict=True):
        effect = model.compute_contrast(stimulus.removesuffix(".png"), output_type="effect_size")
        expected = effect.get_fdata().reshape(-1)
        np.testing.assert_allclose(beta, expected, rtol=1e-4, atol=1e-4 * np.abs(betas).max())


def test_separate_estimates_are_those_of_a_loop(show, caplog):
    rng = np.random.default_rng(0)
    shown = fast_run(show)
    bold = rng.normal(8000, 40, (T, 9)).astype(np.float32)
    confounds = rng.standard_normal((T, 3))
    stimuli, betas = event_responses(bold, shown, TR, confounds=confounds)
    assert "LSS" in caplog.text
    _, x = stimulus_regressors(shown, T, TR)
    nuisance = nuisance_basis(T, TR, 0.01, confounds)
    for k in range(len(stimuli)):
        design = np.column_stack([x[:, k], np.delete(x, k, axis=1).sum(axis=1), nuisance])
        expected = np.linalg.lstsq(design, bold.astype(np.float64), rcond=None)[0][0]
        np.testing.assert_allclose(betas[k], expected, rtol=1e-3, atol=1e-4 * np.abs(betas).max())


def test_truth_is_recovered_without_noise(show):
    shown = slow_run(show)
    stimuli, x = stimulus_regressors(shown, T, TR)
    truth = np.random.default_rng(0).standard_normal((len(stimuli), 6))
    bold = 5000 + x @ truth + np.linspace(-1, 1, T)[:, None] ** 0
    names, betas = event_responses(bold.astype(np.float32), shown, TR)
    assert names == stimuli == tuple(f"p{k:02d}.png" for k in range(11))
    np.testing.assert_allclose(betas, truth, atol=0.02)


def test_separate_regressions_follow_the_truth_better_when_responses_overlap(show):
    rng = np.random.default_rng(0)
    stimuli, x = stimulus_regressors(fast_run(show, n=50, soa=3.5), T, TR)
    truth = rng.standard_normal((len(stimuli), 200))
    bold = x / x.max() @ truth + rng.standard_normal((T, 200))
    nuisance = nuisance_basis(T, TR, 0.01)

    def agreement(weights):
        pairs = zip((weights @ bold).T, truth.T, strict=True)
        return np.mean([np.corrcoef(estimated, true)[0, 1] for estimated, true in pairs])

    assert agreement(separate_estimator(x, nuisance)) > 2 * agreement(joint_estimator(x, nuisance))


def test_slow_designs_are_joint_and_quiet(show, caplog):
    caplog.set_level(logging.INFO)
    bold = np.random.default_rng(0).standard_normal((T, 3)).astype(np.float32)
    event_responses(bold, slow_run(show), TR)
    assert caplog.text == ""


def test_reasons_for_separate_regressions(show):
    nuisance = nuisance_basis(T, TR, 0.01)
    _, slow = stimulus_regressors(slow_run(show), T, TR)
    assert needs_separate_regressions(slow, nuisance) is None
    _, fast = stimulus_regressors(fast_run(show, n=40, soa=4.0), T, TR)
    assert "inflation" in needs_separate_regressions(fast, nuisance)
    _, many = stimulus_regressors(fast_run(show, n=64, soa=3.0), T, TR)
    assert "of 100 volumes free" in needs_separate_regressions(many, nuisance)
    twins = np.column_stack([slow, slow[:, 0]])
    assert "combinations" in needs_separate_regressions(twins, nuisance)


def test_one_stimulus_and_twins_have_finite_separate_estimates(show):
    nuisance = nuisance_basis(T, TR, 0.01)
    _, one = stimulus_regressors(show((20.0, 1.0, "a.png")), T, TR)
    np.testing.assert_allclose(
        separate_estimator(one, nuisance), joint_estimator(one, nuisance), atol=1e-10
    )
    twins = separate_estimator(np.column_stack([one, one]), nuisance)
    np.testing.assert_allclose(twins.sum(axis=0), joint_estimator(one, nuisance)[0], atol=1e-10)


def test_impulses_are_estimated(show):
    shown = show(*[(4.0 + 12 * k, 0.0, f"p{k}.png") for k in range(12)])
    stimuli, x = stimulus_regressors(shown, T, TR)
    assert len(stimuli) == 12
    truth = np.arange(12.0)[:, None]
    _, betas = event_responses((x @ truth).astype(np.float32), shown, TR)
    np.testing.assert_allclose(betas, truth, atol=1e-3)


@pytest.mark.parametrize("onset", [T * TR - 1.0, T * TR + 50, 1e9, -20.0, -60.0, -1e9])
def test_stimuli_without_a_response_in_the_run_are_left_out(show, caplog, onset):
    shown = [*slow_run(show), *show((onset, 1.0, "late.png"))]
    bold = np.random.default_rng(0).standard_normal((T, 3)).astype(np.float32)
    stimuli, betas = event_responses(bold, shown, TR, name="sub-01_task-x_run-2")
    assert "late.png" not in stimuli
    assert len(betas) == len(stimuli) == 11
    assert "sub-01_task-x_run-2: the response to 1 of 12 stimuli" in caplog.text
    assert "late.png" in caplog.text


def test_a_stimulus_that_also_comes_late_is_kept(show):
    shown = [*slow_run(show), *show((T * TR - 1.0, 1.0, "p05.png"))]
    assert "p05.png" in stimulus_regressors(shown, T, TR)[0]


def test_no_stimulus_within_the_run_is_refused(show):
    bold = np.zeros((T, 3), dtype=np.float32)
    with pytest.raises(DataError) as error:
        event_responses(bold, show((900.0, 1.0, "a.png")), TR, name="sub-01_task-x_run-2")
    for part in ("sub-01_task-x_run-2", "place:", "198 s", "remedy:", "RepetitionTime"):
        assert part in str(error.value)


def test_unusable_voxels_stay_nan_and_harm_no_others(show):
    bold = np.random.default_rng(0).normal(100, 1, (T, 5)).astype(np.float32)
    _, clean = event_responses(bold, slow_run(show), TR)
    bold[:, 2] = np.nan
    _, betas = event_responses(bold, slow_run(show), TR)
    assert np.isnan(betas[:, 2]).all()
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(betas[:, others], clean[:, others], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("duration", [5_000.0, 80_000.0, 1e7])
@pytest.mark.parametrize("onset", [40.0, -5.0, -1000.0])
def test_presentations_far_longer_than_the_run_take_no_more_memory(show, caplog, onset, duration):
    """What is felt for hours beyond the run is left out, and was not computed for hours."""
    import tracemalloc

    shown = [*slow_run(show), *show((onset, duration, "endless.png"))]
    tracemalloc.start()
    stimuli, regressors = stimulus_regressors(shown, T, TR)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "endless.png" not in stimuli and "endless.png" in caplog.text
    assert peak < 100_000_000


def test_a_presentation_a_little_longer_than_the_run_is_kept(show):
    shown = [*slow_run(show), *show((40.0, T * TR, "long.png"))]
    assert "long.png" in stimulus_regressors(shown, T, TR)[0]
