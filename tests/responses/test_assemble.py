"""Runs become one matrix."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from averages import EventRun, event_matrix
from scipy import stats

from bids_encoder.errors import DataError, UsageError
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.assemble import (
    continuous_matrix,
)

GRID = VolumeGrid(nib.Nifti1Image(np.ones((2, 2, 1), np.uint8), np.eye(4)))
V = 4


def run(name, session, stimuli, seed=0):
    betas = np.random.default_rng(seed).normal(3, 2, (len(stimuli), V)).astype(np.float32)
    return EventRun(name, session, tuple(stimuli), betas)


def pictures(first, last):
    return [f"{k:03d}.png" for k in range(first, last)]


def test_rows_are_zscored_within_sessions_then_averaged():
    runs = [
        run("r1", "1", pictures(0, 6), 1),
        run("r2", "1", pictures(4, 10), 2),
        run("r3", "2", pictures(8, 14), 3),
    ]
    responses = event_matrix(runs, GRID)
    first = stats.zscore(np.concatenate([runs[0].betas, runs[1].betas]).astype(np.float64))
    second = stats.zscore(runs[2].betas.astype(np.float64))
    assert responses.stimuli == tuple(pictures(0, 14))
    np.testing.assert_allclose(responses.values[0], first[0], atol=1e-5)
    np.testing.assert_allclose(responses.values[4], (first[4] + first[6]) / 2, atol=1e-5)
    np.testing.assert_allclose(responses.values[8], (first[10] + second[0]) / 2, atol=1e-5)
    np.testing.assert_array_equal(
        responses.repeats, [1] * 4 + [2] * 2 + [1] * 2 + [2] * 2 + [1] * 4
    )
    assert responses.values.dtype == np.float32
    assert responses.grid is GRID


def test_standardization_by_run_and_none():
    runs = [run("r1", "1", pictures(0, 6), 1), run("r2", "1", pictures(6, 12), 2)]
    by_run = event_matrix(runs, GRID, standardize="run").values
    expected = np.concatenate([stats.zscore(r.betas.astype(np.float64)) for r in runs])
    np.testing.assert_allclose(by_run, expected, atol=1e-5)
    raw = event_matrix(runs, GRID, standardize="none").values
    np.testing.assert_allclose(raw, np.concatenate([r.betas for r in runs]))


def test_voxels_lost_in_one_run_are_lost_in_all():
    runs = [run(f"r{k}", str(k), pictures(10 * k, 10 * k + 10)) for k in range(3)]
    runs[1].betas[:, 2] = np.nan
    values = event_matrix(runs, GRID).values
    np.testing.assert_array_equal(np.isnan(values).all(axis=0), [False, False, True, False])
    assert np.isfinite(values[:, [0, 1, 3]]).all()


def test_too_few_stimuli_are_refused():
    with pytest.raises(DataError) as error:
        event_matrix([run("r0", None, pictures(0, 3))], GRID)
    for part in ("found:", "3 in 1 runs", "--stim-column"):
        assert part in str(error.value)


def test_a_session_with_one_estimate_is_refused():
    runs = [run("r0", "1", pictures(0, 10)), run("r1", "2", pictures(10, 11))]
    with pytest.raises(DataError) as error:
        event_matrix(runs, GRID)
    for part in ("ses-2", "--standardize none"):
        assert part in str(error.value)


def test_unknown_standardization_is_refused():
    with pytest.raises(UsageError, match="session, run or none"):
        event_matrix([run("r0", None, pictures(0, 9))], GRID, standardize="week")


def test_continuous_rows_are_volumes():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, V)).astype("f")
    values[3, 1] = np.nan
    responses = continuous_matrix(values.copy(), GRID)
    np.testing.assert_array_equal(responses.values[:, [0, 2, 3]], values[:, [0, 2, 3]])
    assert np.isnan(responses.values[:, 1]).all()
    assert responses.stimuli is None
