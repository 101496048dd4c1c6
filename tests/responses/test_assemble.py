"""Runs become one matrix, and no stimulus is on both sides of a split."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
import pytest
from averages import EventRun, event_matrix
from scipy import stats

from bids_encoder.errors import DataError, UsageError
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.assemble import (
    ContinuousRun,
    continuous_matrix,
)

GRID = VolumeGrid(nib.Nifti1Image(np.ones((2, 2, 1), np.uint8), np.eye(4)))
V = 4
TR = 2.0


def run(name, session, stimuli, seed=0):
    betas = np.random.default_rng(seed).normal(3, 2, (len(stimuli), V)).astype(np.float32)
    return EventRun(name, session, tuple(stimuli), betas)


def pictures(first, last):
    return [f"{k:03d}.png" for k in range(first, last)]


def group_of(responses, stimulus):
    return responses.group_names[responses.groups[responses.stimuli.index(stimulus)]]


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


def test_groups_are_sessions_from_three_on_else_runs():
    runs = [run(f"r{k}", str(k // 2), pictures(10 * k, 10 * k + 10)) for k in range(6)]
    assert event_matrix(runs, GRID).group_names == ("ses-0", "ses-1", "ses-2")
    two = event_matrix(runs[:4], GRID)
    assert two.group_names == ("r0", "r1", "r2", "r3")
    np.testing.assert_array_equal(two.groups, np.repeat(range(4), 10))


def test_a_repeated_stimulus_belongs_to_where_it_was_first_shown():
    runs = [run(f"r{k}", None, [*pictures(10 * k, 10 * k + 10), "test.png"]) for k in range(3)]
    responses = event_matrix(runs, GRID)
    assert responses.stimuli.count("test.png") == 1
    assert group_of(responses, "test.png") == "r0"
    assert responses.repeats[responses.stimuli.index("test.png")] == 3


def test_groups_emptied_by_repeats_are_merged():
    runs = [
        run("r0", None, pictures(0, 10)),
        run("r1", None, pictures(0, 10)),
        run("r2", None, pictures(10, 20)),
        run("r3", None, pictures(20, 30)),
    ]
    responses = event_matrix(runs, GRID)
    assert len(responses.group_names) == 3
    assert sorted(np.bincount(responses.groups)) == [10, 10, 10]


def test_runs_that_show_the_same_stimuli_are_folded_by_stimulus(caplog):
    caplog.set_level(logging.INFO)
    responses = event_matrix([run(f"r{k}", None, pictures(0, 23), k) for k in range(4)], GRID)
    assert responses.group_names == tuple(f"block {k}" for k in range(1, 6))
    assert (np.diff(responses.groups) >= 0).all()
    assert (responses.repeats == 4).all()
    assert "folds are made by stimulus" in caplog.text


def test_one_run_is_cut_into_blocks_with_a_warning(caplog):
    responses = event_matrix([run("r0", None, pictures(0, 12))], GRID)
    assert len(responses.group_names) == 5
    assert "one run only" in caplog.text


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


def series(show, name, session, names, seed=0, tr=TR):
    """A run of one picture per volume."""
    values = np.random.default_rng(seed).standard_normal((len(names), V)).astype(np.float32)
    shown = show(*[(tr * k, tr, stimulus) for k, stimulus in enumerate(names)])
    return ContinuousRun(name, session, values, shown, tr)


def test_continuous_rows_are_volumes_and_groups_are_runs(show):
    runs = [series(show, f"r{k}", None, pictures(20 * k, 20 * k + 20), k) for k in range(2)]
    responses = continuous_matrix(runs, GRID)
    np.testing.assert_array_equal(responses.values, np.concatenate([r.values for r in runs]))
    np.testing.assert_array_equal(responses.groups, np.repeat([0, 1], 20))
    assert responses.group_names == ("r0", "r1")
    assert responses.stimuli is None


def test_continuous_groups_are_sessions_from_three_on(show):
    runs = [series(show, f"r{k}", str(k // 2), pictures(20 * k, 20 * k + 20)) for k in range(6)]
    responses = continuous_matrix(runs, GRID)
    assert responses.group_names == ("ses-0", "ses-1", "ses-2")
    np.testing.assert_array_equal(responses.groups, np.repeat([0, 1, 2], 40))


def test_runs_that_show_the_same_film_stay_together(show):
    film = [
        series(show, f"r{k}", None, pictures(20 * (k % 2), 20 * (k % 2) + 20)) for k in range(4)
    ]
    responses = continuous_matrix(film, GRID)
    assert responses.group_names == ("r0+r2", "r1+r3")
    np.testing.assert_array_equal(responses.groups, np.repeat([0, 1, 0, 1], 20))


def test_one_film_in_all_runs_is_cut_into_stretches(show, caplog):
    caplog.set_level(logging.INFO)
    shown = show((10.0, 180.0, "film.mp4"))
    values = np.zeros((100, V), dtype=np.float32)
    runs = [ContinuousRun(f"r{k}", None, values, shown, TR) for k in range(3)]
    responses = continuous_matrix(runs, GRID)
    assert len(responses.group_names) == 5
    folds = responses.groups.reshape(3, 100)
    assert (folds == folds[0]).all()
    assert np.count_nonzero(np.diff(folds[0])) == 4
    assert "same stretch" in caplog.text


def test_pictures_that_recur_everywhere_leave_runs_out_with_a_warning(show, caplog):
    rng = np.random.default_rng(0)
    names = np.array(pictures(0, 30))
    runs = [series(show, f"r{k}", None, list(names[rng.integers(0, 30, 100)])) for k in range(3)]
    responses = continuous_matrix(runs, GRID)
    np.testing.assert_array_equal(responses.groups, np.repeat([0, 1, 2], 100))
    assert "both" in caplog.text
    assert "recur" in caplog.text


def test_one_continuous_run_is_cut_into_blocks_with_a_warning(show, caplog):
    responses = continuous_matrix([series(show, "r0", None, pictures(0, 52))], GRID)
    assert responses.group_names == tuple(f"block {k}" for k in range(1, 6))
    assert np.count_nonzero(np.diff(responses.groups)) == 4
    assert "not independent" in caplog.text


def test_runs_without_presentations_do_no_harm(show):
    runs = [series(show, "r0", None, pictures(0, 20))]
    runs += [ContinuousRun("r1", None, runs[0].values, [], TR)]
    np.testing.assert_array_equal(continuous_matrix(runs, GRID).groups, np.repeat([0, 1], 20))
