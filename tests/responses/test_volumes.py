"""Volumes that do not count: skipped, not steady, scrubbed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_encoder.errors import DataError
from bids_encoder.responses.cleaning import clean_run, clean_runs
from bids_encoder.responses.continuous import continuous_responses
from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.events_design import event_responses, stimulus_regressors

T, TR = 60, 2.0


@pytest.fixture
def run(make_run, tmp_path):
    """A run with outliers: 0 and 1 before the steady state, 30 and 31 moved."""
    rng = np.random.default_rng(0)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    frame = pd.DataFrame(rng.standard_normal((T, 6)), columns=names)
    frame["framewise_displacement"] = [np.nan, *[0.1] * (T - 1)]
    frame["std_dvars"] = 1.0
    frame.loc[[1, 30, 31], "framewise_displacement"] = 2.0
    for k in range(2):
        frame[f"non_steady_state_outlier{k:02d}"] = np.eye(T, dtype=int)[k]
    path = tmp_path / "sub-01_task-x_desc-confounds_timeseries.tsv"
    frame.to_csv(path, sep="\t", na_rep="n/a", index=False)
    path.with_suffix(".json").write_text(json.dumps({}))
    bold = tmp_path / "sub-01_task-x_space-T1w_desc-preproc_bold.nii.gz"
    return make_run(bold, confounds=path, preprocessed=True)


def test_each_volume_is_left_out_for_one_reason(run):
    cleaning = clean_run(run, T, strategy="motion=basic,scrub=0", skip_volumes=1)
    assert np.flatnonzero(~cleaning.kept).tolist() == [0, 1, 30, 31]
    assert cleaning.reasons == {"skipped": 1, "non-steady state": 1, "scrubbed": 2}
    assert cleaning.described["VolumesUsed"] == T - 4
    assert cleaning.described["VolumesLeftOut"] == cleaning.reasons
    assert len(cleaning.described["Confounds"]) == 6
    assert clean_run(run, T).kept.all()  # without confounds the table is not read


def weighted_least_squares(bold, columns, weights):
    """(X' W X)^-1 X' W Y, with no thought of rows that might be dropped."""
    gram = columns.T @ (weights[:, None] * columns)
    return np.linalg.solve(gram, columns.T @ (weights[:, None] * bold))


def test_estimates_are_those_of_weighted_least_squares(show):
    rng = np.random.default_rng(1)
    shown = show(*((6.0 + 14 * k, 1.0, f"s{k}") for k in range(7)))
    kept = np.ones(T, dtype=bool)
    kept[[0, 1, 2, 17, 40, 41]] = False
    confounds = rng.standard_normal((T, 3))
    bold = (100 + rng.standard_normal((T, 5))).astype(np.float32)
    # What stands in volumes without weight does not matter.
    bold[~kept] = 1e4 * rng.standard_normal((6, 5))
    stimuli, betas = event_responses(
        bold[kept], shown, TR, 0.7, confounds=confounds, kept=kept, high_pass=0.01
    )
    _, regressors = stimulus_regressors(shown, T, TR, 0.7)
    columns = np.hstack([regressors, nuisance_basis(T, TR, 0.01), confounds])
    expected = weighted_least_squares(bold.astype(float), columns, kept.astype(float))
    assert stimuli == tuple(f"s{k}" for k in range(7))
    np.testing.assert_allclose(betas, expected[:7], rtol=1e-3, atol=1e-3)


def test_onsets_stay_right_after_skipping(show):
    """Truth comes back from a run whose first volumes are far from the steady state."""
    shown = show(*((20.0 + 14 * k, 1.0, f"s{k}") for k in range(6)))
    truth = np.random.default_rng(2).standard_normal((6, 4))
    _, regressors = stimulus_regressors(shown, T, TR, 0.9)
    bold = (regressors @ truth).astype(np.float32)
    bold[:4] += 500
    kept = np.arange(T) >= 4
    _, betas = event_responses(bold[kept], shown, TR, 0.9, kept=kept)
    np.testing.assert_allclose(betas, truth, atol=1e-3)
    _, shifted = event_responses(bold[kept], shown, TR, 0.9)  # as if nothing had been skipped
    assert np.abs(shifted - truth).max() > 0.3


def test_the_reference_time_matters(show):
    """Volumes that stand for the middle of the slices, taken for their onset, cost precision."""
    shown = show(*((11.3 + 14 * k, 0.2, f"s{k}") for k in range(7)))
    truth = np.random.default_rng(3).standard_normal((7, 50))
    _, regressors = stimulus_regressors(shown, T, TR, TR / 2)
    bold = (regressors @ truth).astype(np.float32)
    off = [
        np.abs(event_responses(bold, shown, TR, start)[1] - truth).max()
        for start in (0.0, TR / 4, TR / 2)
    ]
    assert off[0] > 2 * off[1] > 0.02 and off[2] < 1e-3


def test_a_stimulus_whose_response_was_scrubbed_is_left_out(show, caplog):
    shown = show(*((8.0 + 24 * k, 1.0, f"s{k}") for k in range(4)))
    kept = np.ones(T, dtype=bool)
    kept[(TR * np.arange(T) >= 32) & (TR * np.arange(T) < 52)] = False
    bold = np.random.default_rng(4).standard_normal((kept.sum(), 3)).astype(np.float32)
    stimuli, betas = event_responses(bold, shown, TR, kept=kept, name="run 1")
    assert stimuli == ("s0", "s2", "s3") and betas.shape == (3, 3)
    assert "run 1: the response to 1 of 4 stimuli lies outside the volumes that count" in (
        caplog.text
    )


def test_continuous_rows_are_dropped_not_filled(show):
    rng = np.random.default_rng(5)
    kept = np.ones(T, dtype=bool)
    kept[[0, 1, 25, 26]] = False
    confounds = rng.standard_normal((T, 2))
    bold = rng.standard_normal((T, 4)).astype(np.float32)
    ours = continuous_responses(bold[kept], TR, confounds=confounds, kept=kept)
    columns = np.hstack([nuisance_basis(T, TR, 0.01), confounds])
    weights = kept.astype(float)
    rest = (bold - columns @ weighted_least_squares(bold, columns, weights))[kept]
    np.testing.assert_allclose(ours, rest / rest.std(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "motion=basic,scrub=0"}, ("All volumes", "scrubbed", "--fd-threshold")),
        ({"skip_volumes": T}, ("No volume", f"{T} skipped", "--skip-volumes")),
        ({"skip_volumes": T - 4}, ("Too few", "4 after", "at least 10", "--skip-volumes")),
    ],
)
def test_a_run_of_which_too_little_is_left_is_refused(run, options, words):
    frame = pd.read_table(run.confounds)
    frame["framewise_displacement"] = 3.0
    frame.to_csv(run.confounds, sep="\t", na_rep="n/a", index=False)
    with pytest.raises(DataError) as error:
        clean_run(run, T, **options)
    for part in ("file:", "place:", "found:", "expected:", "remedy:", *words):
        assert part in str(error.value)


def test_a_run_of_which_most_is_left_out_is_told(run, caplog):
    clean_runs([run], [T], skip_volumes=T // 2 + 1)
    assert "only 29 of 60 volumes count (left out: 31 skipped)" in caplog.text
