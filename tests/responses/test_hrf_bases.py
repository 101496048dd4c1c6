"""Basis functions and their regressors, against nilearn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from nilearn.glm.first_level import compute_regressor, spm_hrf
from simulated_bold import response_curve

from bids_encoder.responses.hrf_bases import (
    BASES,
    basis_regressors,
    canonical,
    make_basis,
    peak_times,
)


def test_canonical_is_nilearns_spm():
    ours = canonical(np.linspace(0, 32, 3200))
    theirs = spm_hrf(1.0, oversampling=100, time_length=32)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9999
    assert ours.max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", BASES)
def test_functions_are_orthonormal_and_hold_the_canonical_response(kind):
    basis = make_basis(kind, 2.0)
    np.testing.assert_allclose(basis.curves.T @ basis.curves, np.eye(basis.n_functions), atol=1e-10)
    near = basis.curves @ (basis.curves.T @ canonical(basis.times))
    assert np.corrcoef(near, canonical(basis.times))[0, 1] > (0.93 if kind == "fir" else 0.999)
    assert basis.prior.direction @ basis.prior.mean == pytest.approx(1)
    if kind == "fourier":
        assert basis.n_functions == 11
        np.testing.assert_allclose(basis.curves[[0, -1]], 0, atol=1e-12)


@pytest.mark.parametrize("tr", [0.5, 1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("start_time", [0.0, 0.3])
def test_regressors_are_nilearns(show, tr, start_time):
    """Jittered, overlapping, long and short; nilearn's grid of micro-time is TR/50."""
    shown = show(
        (3.13, 1.0, "a"), (9.7, 0.5, "a"), (11.2, 6.0, "a"), (40.0, 20.0, "a"), (-3.0, 2.0, "a")
    )
    frame_times = start_time + tr * np.arange(int(100 / tr))
    basis = make_basis("spm3", tr)
    ours = basis_regressors([shown], frame_times, basis)[:, 0] @ basis.prior.direction
    onsets, durations = zip(*((p.onset, p.duration) for p in shown), strict=True)
    theirs = compute_regressor((onsets, durations, np.ones(5)), "spm", frame_times)[0][:, 0]
    scale = (ours @ theirs) / (theirs @ theirs)
    np.testing.assert_allclose(ours / scale, theirs, atol=0.02 * theirs.max())


@pytest.mark.parametrize("kind", BASES)
def test_long_presentations_are_sums_of_short_ones(show, kind):
    basis = make_basis(kind, 2.0)
    frame_times = 2.0 * np.arange(40)
    whole = basis_regressors([show((5.2, 3.0, "a"))], frame_times, basis)
    parts = basis_regressors([show(*[(5.2 + k, 1.0, "a") for k in range(3)])], frame_times, basis)
    np.testing.assert_allclose(whole, parts, atol=1e-10)


def test_an_impulse_counts_as_a_second(show):
    basis = make_basis("fourier", 2.0)
    frame_times = np.arange(0, 60, 0.5)
    impulse = basis_regressors([show((10.0, 0.0, "a"))], frame_times, basis)
    short = basis_regressors([show((9.95, 0.1, "a"))], frame_times, basis)
    np.testing.assert_allclose(impulse, short / 0.1, atol=2e-2 * np.abs(impulse).max())


@pytest.mark.parametrize("kind, error", [("fourier", 0.15), ("fir", 0.4), ("spm3", 0.3)])
@pytest.mark.parametrize("peak", [3.5, 5.0, 6.5, 8.0])
def test_peaks_are_found(kind, error, peak):
    basis = make_basis(kind, 2.0)
    times, values = response_curve(peak)
    coefficients = basis.curves.T @ np.interp(basis.times, times, values)
    seconds, heights = peak_times(np.column_stack([coefficients, 2 * coefficients]), basis)
    np.testing.assert_allclose(seconds, peak, atol=error)
    np.testing.assert_allclose(heights, [heights[0], 2 * heights[0]], rtol=1e-5)
    assert heights[0] == pytest.approx(1, abs=0.1)


def test_fir_bins_are_no_shorter_than_the_repetition_time():
    assert make_basis("fir", 0.8).bin_width == pytest.approx(2.0)
    assert make_basis("fir", 3.0).bin_width == pytest.approx(3.0)
    assert make_basis("fir", 3.0).n_functions == 8
