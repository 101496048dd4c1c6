"""Confounds tables, by nilearn's strategies, on a table as fMRIPrep writes it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bids_encoder.errors import DataError, UsageError
from bids_encoder.responses.confounds import (
    DEFAULT_STRATEGY,
    Thresholds,
    load_confounds,
    parse_strategy,
)

T = 40
MOTION = [
    f"{kind}_{axis}{suffix}"
    for kind in ("trans", "rot")
    for axis in "xyz"
    for suffix in ("", "_derivative1", "_power2", "_derivative1_power2")
]


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    names = [
        *MOTION,
        *(f"cosine{k:02d}" for k in range(3)),
        *(f"a_comp_cor_{k:02d}" for k in range(8)),
    ]
    frame = pd.DataFrame(rng.standard_normal((T, len(names))), columns=names)
    frame.loc[0, [name for name in names if "derivative1" in name]] = np.nan
    return frame


@pytest.fixture
def preprocessed(tmp_path, make_run):
    """Write a table and its sidecar; return the run."""

    def write(frame, name="sub-01_task-x_run-1_desc-confounds_timeseries.tsv"):
        path = tmp_path / name
        frame.to_csv(path, sep="\t", na_rep="n/a", index=False)
        components = {
            column: {"Method": "aCompCor", "Mask": "combined", "Retained": True}
            for column in frame.columns
            if column.startswith("a_comp_cor")
        }
        path.with_suffix(".json").write_text(json.dumps(components))
        bold = tmp_path / "sub-01_task-x_run-1_space-T1w_desc-preproc_bold.nii.gz"
        return make_run(bold, confounds=path, preprocessed=True)

    return write


def test_default_is_motion_drift_and_five_components(preprocessed, table):
    confounds = load_confounds(preprocessed(table), DEFAULT_STRATEGY, T)
    assert confounds.has_drift
    assert set(MOTION) < set(confounds.names)
    assert sum(name.startswith("cosine") for name in confounds.names) == 3
    assert sum(name.startswith("a_comp_cor") for name in confounds.names) == 5
    assert confounds.values.shape == (T, 24 + 3 + 5)
    assert np.isfinite(confounds.values).all()
    np.testing.assert_allclose(confounds.values.mean(axis=0), 0, atol=1e-12)


def test_columns_keep_their_values(preprocessed, table):
    confounds = load_confounds(preprocessed(table), "motion=basic", T)
    assert not confounds.has_drift
    assert len(confounds.names) == 6
    for name, values in zip(confounds.names, confounds.values.T, strict=True):
        np.testing.assert_allclose(values, table[name] - table[name].mean(), atol=1e-9)


def test_first_row_of_derivatives_repeats_the_second(preprocessed, table):
    confounds = load_confounds(preprocessed(table), "motion=derivatives", T)
    column = confounds.values[:, confounds.names.index("rot_z_derivative1")]
    assert column[0] == column[1]


def test_first_volumes_that_are_not_steady_are_named(preprocessed, table):
    for k in range(2):
        table[f"non_steady_state_outlier{k:02d}"] = np.eye(T)[k]
    confounds = load_confounds(preprocessed(table), "high_pass", T)
    assert all(name.startswith("cosine") for name in confounds.names)
    np.testing.assert_array_equal(np.flatnonzero(confounds.unsteady), [0, 1])
    assert not confounds.scrubbed.any()


@pytest.fixture
def moved(table):
    """Motion in volumes 20 and 23, a spike in 30, before the steady state in 0."""
    table["framewise_displacement"] = [np.nan, *[0.1] * (T - 1)]
    table["std_dvars"] = [np.nan, *[1.0] * (T - 1)]
    table.loc[[20, 23], "framewise_displacement"] = 0.6
    table.loc[30, "std_dvars"] = 1.6
    table["non_steady_state_outlier00"] = np.eye(T)[0]
    return table


@pytest.mark.parametrize(
    ("strategy", "thresholds", "expected"),
    [
        ("scrub=0", None, [20, 23, 30]),
        ("scrub=3", None, [20, 21, 22, 23, 30]),  # what is left between is too short
        ("scrub=3", Thresholds(0.7, 1.5), [30]),
        ("scrub=3", Thresholds(0.5, 2), [20, 21, 22, 23]),
        ("scrub=3", Thresholds(0.7, 2), []),
    ],
)
def test_scrubbed_volumes(preprocessed, moved, strategy, thresholds, expected):
    confounds = load_confounds(preprocessed(moved), f"motion=basic,{strategy}", T, thresholds)
    assert np.flatnonzero(confounds.scrubbed).tolist() == expected
    assert np.flatnonzero(confounds.unsteady).tolist() == [0]
    assert len(confounds.names) == 6


def test_the_raw_bold_cannot_be_scrubbed(make_run, tmp_path, caplog):
    assert load_confounds(make_run(tmp_path / "a_bold.nii.gz"), "motion,scrub", T) is None
    assert "cannot be scrubbed, as it has no confounds table" in caplog.text


def test_gaps_are_filled_with_the_mean_and_told(preprocessed, table, caplog):
    table.loc[7, "trans_x"] = np.nan
    confounds = load_confounds(preprocessed(table), "motion=basic", T)
    assert confounds.values[7, confounds.names.index("trans_x")] == 0
    assert "1 values are missing (first in column trans_x)" in caplog.text


def test_older_names_of_the_table(preprocessed, table):
    run = preprocessed(table, "sub-01_task-x_run-1_desc-confounds_regressors.tsv")
    assert load_confounds(run, "motion=basic", T).values.shape == (T, 6)


@pytest.mark.parametrize("strategy", ["high_pass", "non_steady_state", "scrub=0"])
def test_strategies_without_columns_in_this_run(preprocessed, table, strategy):
    """Short runs have no cosines, and most no dummy scans."""
    table["framewise_displacement"], table["std_dvars"] = 0.1, 1.0
    run = preprocessed(table[[name for name in table if "cosine" not in name]])
    confounds = load_confounds(run, strategy, T)
    assert confounds.values.shape == (T, 0) and not confounds.has_drift
    with pytest.raises(DataError, match=f"{T} rows"):
        load_confounds(run, strategy, T + 1)


def test_none_is_none(preprocessed, table, make_run, tmp_path):
    assert load_confounds(preprocessed(table), "none", T) is None
    assert load_confounds(make_run(tmp_path / "raw_bold.nii.gz"), DEFAULT_STRATEGY, T) is None


def test_preprocessed_run_without_table_warns(make_run, tmp_path, caplog):
    run = make_run(tmp_path / "a_bold.nii.gz", preprocessed=True)
    assert load_confounds(run, DEFAULT_STRATEGY, T) is None
    assert f"{run.name} has no confounds table" in caplog.text


def assert_explains(error, run, *words):
    for part in (str(run.confounds), "place:", "found:", "expected:", "remedy:", *words):
        assert part in str(error.value)


@pytest.mark.parametrize("n_volumes", [T - 1, T + 1])
def test_other_number_of_rows_is_refused(preprocessed, table, n_volumes):
    run = preprocessed(table)
    with pytest.raises(DataError) as error:
        load_confounds(run, DEFAULT_STRATEGY, n_volumes)
    assert_explains(error, run, f"{T} rows", str(n_volumes))


def test_missing_columns_are_listed(preprocessed, table):
    run = preprocessed(table.drop(columns=["rot_x_power2", "trans_y"]))
    with pytest.raises(DataError) as error:
        load_confounds(run, DEFAULT_STRATEGY, T)
    assert_explains(error, run, "rot_x_power2", "trans_y", "--confounds")


def test_missing_strategy_is_named(preprocessed, table):
    run = preprocessed(table)
    with pytest.raises(DataError) as error:
        load_confounds(run, "wm_csf", T)
    assert_explains(error, run, "wm_csf")


def test_missing_sidecar_of_components_is_refused(preprocessed, table):
    run = preprocessed(table)
    run.confounds.with_suffix(".json").unlink()
    with pytest.raises(DataError) as error:
        load_confounds(run, DEFAULT_STRATEGY, T)
    assert_explains(error, run, "json")


def test_text_and_empty_columns_are_refused(preprocessed, table):
    table["rot_y"] = np.nan
    run = preprocessed(table)
    with pytest.raises(DataError) as error:
        load_confounds(run, "motion=basic", T)
    assert_explains(error, run, "rot_y")
    table["rot_y"] = "a lot"
    with pytest.raises(DataError) as error:
        load_confounds(preprocessed(table), "motion=basic", T)
    assert_explains(error, run)


@pytest.mark.parametrize("content", ["", "\n", "trans_x\ttrans_y\n", "\x00\xff\x00"])
def test_what_is_no_table_is_refused(preprocessed, table, content):
    run = preprocessed(table)
    run.confounds.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as error:
        load_confounds(run, DEFAULT_STRATEGY, T)
    assert_explains(error, run)


def test_a_table_of_another_name_is_refused(preprocessed, table):
    run = preprocessed(table, "sub-01_task-x_confounds.tsv")
    with pytest.raises(DataError) as error:
        load_confounds(run, DEFAULT_STRATEGY, T)
    for part in (str(run.confounds), "found:", "expected:", "--confounds none"):
        assert part in str(error.value)


@pytest.mark.parametrize("text", ["movement", "motion,tedana", "none,motion"])
def test_unknown_strategies_are_refused(text):
    with pytest.raises(UsageError) as error:
        parse_strategy(text)
    for part in ("--confounds", "found:", "high_pass", "remedy:"):
        assert part in str(error.value)


def test_components_without_drift_are_refused():
    with pytest.raises(UsageError, match="motion,compcor,high_pass"):
        parse_strategy("motion,compcor")


@pytest.mark.parametrize(
    "text", ["motion=some", "high_pass=1", "scrub=few", "ica_aroma=full", "high_pass,compcor=x"]
)
def test_values_that_nilearn_does_not_know_are_refused(text):
    with pytest.raises(UsageError) as error:
        parse_strategy(text)
    for part in ("--confounds", text.split(",")[-1], "expected:", "remedy:"):
        assert part in str(error.value)


def test_values():
    names, settings = parse_strategy("motion=power2,high_pass,compcor=anat_separated:3,scrub=0")
    assert names == ("motion", "high_pass", "compcor", "scrub")
    assert (settings["motion"], settings["scrub"]) == ("power2", 0)
    assert (settings["compcor"], settings["n_compcor"]) == ("anat_separated", 3)
    assert parse_strategy("high_pass,compcor=all")[1]["n_compcor"] == "all"
