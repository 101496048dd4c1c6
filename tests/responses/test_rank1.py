"""The rank-1 model against a slow independent solution, and against simulated truth."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from simulated_bold import simulate_runs

from bids_encoder.responses import rank1_runs
from bids_encoder.responses.drift import nuisance_basis
from bids_encoder.responses.events_design import (
    joint_estimator,
    separate_estimator,
    stimulus_regressors,
)
from bids_encoder.responses.hrf_bases import basis_regressors, make_basis
from bids_encoder.responses.rank1 import RunDesign, fit_rank1
from bids_encoder.responses.rank1_runs import rank1_design
from bids_encoder.responses.rank1_steps import TOGETHER, RunSystem

TR = 2.0


def rank1_responses(load, designs, basis, n_voxels, **how):
    """Shapes, and the amplitudes of each run, put together from the blocks in which they come."""
    betas = [np.empty((d.regressors.shape[1], n_voxels), np.float32) for d in designs]

    def take(run, start, amplitudes):
        betas[run][:, start : start + amplitudes.shape[1]] = amplitudes

    shapes, height = rank1_runs.rank1_responses(load, designs, basis, n_voxels, take, **how)
    return shapes, [one * height for one in betas]


def designs_of(runs, basis, tr=TR, separate=False):
    """The designs of simulated runs, whose stimuli are shown once."""
    return [
        RunDesign(
            basis_regressors([[one] for one in run.presentations], run.frame_times, basis),
            nuisance_basis(len(run.bold), tr, 0.01),
            separate,
        )
        for run in runs
    ]


def responses_of(runs, kind="fourier", tr=TR, separate=False):
    basis = make_basis(kind, tr)
    load = [lambda run=run: run.bold for run in runs]
    designs = designs_of(runs, basis, tr, separate)
    return rank1_responses(load, designs, basis, runs[0].bold.shape[1])


def canonical_responses(runs, tr=TR, *, separate=False):
    """Ordinary estimates with the canonical response."""
    found = []
    for run in runs:
        regressors = stimulus_regressors(run.presentations, len(run.bold), tr)[1]
        nuisance = nuisance_basis(len(run.bold), tr, 0.01)
        estimator = separate_estimator if separate else joint_estimator
        found.append(estimator(regressors, nuisance) @ run.bold)
    return found


def agreement(runs, betas):
    """Correlation of amplitudes with the truth, (V,), z-scored within runs."""

    def zscored(parts):
        return np.concatenate([(part - part.mean(0)) / part.std(0) for part in parts])

    return (zscored(betas) * zscored([run.amplitudes for run in runs])).mean(0)


def slow_solution(designs, bold, prior, together):
    """The same sum of squares, in the time domain and in float64, by BFGS from far away."""
    parts = []
    for design, values in zip(designs, bold, strict=True):
        q = design.nuisance
        clean = design.regressors - np.einsum("tk,uk,unb->tnb", q, q, design.regressors)
        values = values.astype(float)
        values = values - q @ (q.T @ values)
        parts.append((clean, values / values.std(), values.std()))
    across = np.linalg.svd(prior.direction[None])[2][1:].T
    sizes = [clean.shape[1] for clean, _, _ in parts]
    edges = np.cumsum([across.shape[1], *sizes])

    def loss(x):
        h = prior.direction + across @ x[: edges[0]]
        away = h - prior.mean
        total = away @ prior.precision @ away
        by_h = 2 * prior.precision @ away
        by_beta = []
        for (clean, y, _), first, last in zip(parts, edges[:-1], edges[1:], strict=True):
            beta = x[first:last]
            regressors = clean @ h
            rest = y - regressors @ beta
            energy, spread = np.square(regressors).sum() / len(beta), beta - beta.mean()
            total += rest @ rest + together * energy * (spread @ spread)
            by_h -= 2 * np.einsum("t,tnb,n->b", rest, clean, beta)
            by_h += (
                2
                * together
                * (spread @ spread)
                / len(beta)
                * np.einsum("tn,tnb->b", regressors, clean)
            )
            by_beta.append(-2 * regressors.T @ rest + 2 * together * energy * spread)
        return total, np.concatenate([across.T @ by_h, *by_beta])

    start = np.concatenate([across.T @ prior.mean, np.ones(sum(sizes))])
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 5000})
    h = prior.direction + across @ found.x[: edges[0]]
    betas = [
        found.x[first:last] * scale
        for (_, _, scale), first, last in zip(parts, edges[:-1], edges[1:], strict=True)
    ]
    return h, betas


@pytest.mark.parametrize("kind", ["fourier", "fir", "spm3"])
def test_agrees_with_a_slow_solution(kind):
    runs = simulate_runs([3.5, 5.0, 7.0], n_runs=2, n_stimuli=12, signal=1.0)
    runs[1] = replace(runs[1], bold=runs[1].bold * 3)  # another gain
    basis = make_basis(kind, TR)
    designs = designs_of(runs, basis)
    fit = fit_rank1(designs, [run.bold for run in runs], basis.prior)
    assert fit.arrived.all()
    for voxel in range(3):
        h, betas = slow_solution(
            designs, [run.bold[:, voxel] for run in runs], basis.prior, TOGETHER
        )
        np.testing.assert_allclose(fit.hrf[:, voxel], h, atol=1e-3 * np.linalg.norm(h))
        for ours, theirs in zip(fit.amplitudes, betas, strict=True):
            np.testing.assert_allclose(ours[:, voxel], theirs, atol=1e-3 * np.abs(theirs).max())


def test_the_bend_of_the_sum_is_that_of_finite_differences():
    runs = simulate_runs(np.repeat([4.0, 7.0], 10), n_runs=1, n_stimuli=20)
    basis = make_basis("fourier", TR)
    [design] = designs_of(runs, basis)
    system = RunSystem(design, "cpu")
    cross, _ = system.cross(runs[0].bold)
    rng = np.random.default_rng(0)
    shape = torch.tensor(basis.prior.mean + 0.05 * rng.standard_normal((20, 11))).float()

    def slope(shape):
        given = system.given(shape, cross)
        return (given.left @ shape[..., None])[..., 0] - given.right

    given = system.given(shape, cross)
    along = torch.nn.functional.normalize(torch.tensor(rng.standard_normal((20, 11))).float())
    step = 0.005
    expected = (slope(shape + step * along) - slope(shape - step * along)) / (2 * step)
    found = ((given.left - given.slack) @ along[..., None])[..., 0]
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.abs().max())


@pytest.mark.parametrize("kind", ["fourier", "fir", "spm3"])
def test_the_search_comes_to_an_end_where_nothing_responds(kind):
    runs = simulate_runs([5.0] * 300, n_runs=4, n_stimuli=30, signal=1e-3)
    basis = make_basis(kind, TR)
    fit = fit_rank1(designs_of(runs, basis), [run.bold for run in runs], basis.prior)
    assert fit.arrived.mean() >= 0.99


PEAKS = np.repeat([3.5, 5.0, 6.5, 8.0], 25)


@lru_cache
def voxels_and_usual_agreement(rho, signal):
    runs = simulate_runs(PEAKS, rho=rho, signal=signal)
    return runs, agreement(runs, canonical_responses(runs))


@pytest.mark.parametrize("kind", ["fourier", "fir", "spm3"])
@pytest.mark.parametrize("rho, signal", [(0.0, 0.5), (0.3, 0.3)])
def test_peaks_and_amplitudes_of_simulated_voxels(kind, rho, signal):
    """The signal has a third or half of the noise's variance; four runs of 40 pictures."""
    runs, usual = voxels_and_usual_agreement(rho, signal)
    shapes, betas = responses_of(runs, kind)
    assert np.median(np.abs(shapes.peak - PEAKS)) < 0.4
    found = agreement(runs, betas)
    for peak in np.unique(PEAKS):
        its = peak == PEAKS
        assert np.median(np.abs(shapes.peak[its] - peak)) <= 0.5
        assert found[its].mean() > usual[its].mean() - 0.01
    assert found[PEAKS == 8].mean() > usual[PEAKS == 8].mean() + 0.15


@pytest.mark.parametrize("tr, spacing", [(0.5, (8, 11)), (3.0, (10, 14)), (4.0, (10, 14))])
def test_repetition_times(tr, spacing):
    peaks = np.repeat([4.0, 5.0, 7.5], 20)
    n_runs = 2 if tr < 1 else 6  # as many volumes
    runs = simulate_runs(peaks, tr=tr, spacing=spacing, n_stimuli=30, n_runs=n_runs)
    shapes, betas = responses_of(runs, tr=tr)
    assert np.median(np.abs(shapes.peak - peaks)) <= 0.5
    found, usual = agreement(runs, betas), agreement(runs, canonical_responses(runs, tr))
    assert found[peaks == 7.5].mean() > usual[peaks == 7.5].mean() + 0.05
    assert found[peaks == 5].mean() > usual[peaks == 5].mean() - 0.02


def test_the_time_that_volumes_stand_for_counts():
    runs = simulate_runs([5.0] * 20, n_runs=2, start_time=1.0, signal=1.0)
    basis = make_basis("fourier", TR)
    for start_time, peak in ((1.0, 5.0), (0.0, 4.0)):
        load = [lambda run=run: run.bold for run in runs]
        designs = [
            rank1_design(run.presentations, len(run.bold), TR, start_time, basis)[1] for run in runs
        ]
        shapes, _ = rank1_responses(load, designs, basis, 20)
        assert np.median(shapes.peak) == pytest.approx(peak, abs=0.25)


def test_fast_designs_take_separate_regressions(caplog):
    peaks = np.repeat([5.0, 7.0], 20)
    runs = simulate_runs(peaks, spacing=(3.0, 5.0), n_stimuli=60, signal=1.0)
    basis = make_basis("fourier", TR)
    found = [rank1_design(run.presentations, len(run.bold), TR, 0.0, basis) for run in runs]
    assert found[0][0] == tuple(one.stimulus for one in runs[0].presentations)
    designs = [design for _, design in found]
    load = [lambda run=run: run.bold for run in runs]
    shapes, betas = rank1_responses(load, designs, basis, len(peaks))
    assert "LSS" in caplog.text and "as all stimuli together tell it" in caplog.text
    assert np.median(np.abs(shapes.peak - peaks)) <= 0.6
    found = agreement(runs, betas)
    usual = agreement(runs, canonical_responses(runs, separate=True))
    assert found[peaks == 7].mean() > usual[peaks == 7].mean()
    assert found[peaks == 5].mean() > usual[peaks == 5].mean() - 0.02


def test_separate_amplitudes_are_those_of_a_loop():
    [run] = simulate_runs([5.0, 6.0], n_runs=1, n_stimuli=15, spacing=(3.0, 5.0))
    basis = make_basis("fourier", TR)
    [design] = designs_of([run], basis, separate=True)
    fit = fit_rank1([design], [run.bold], basis.prior)
    for voxel in range(2):
        regressors = design.regressors @ fit.hrf[:, voxel].astype(float)
        expected = separate_estimator(regressors, design.nuisance) @ run.bold[:, voxel]
        np.testing.assert_allclose(
            fit.amplitudes[0][:, voxel], expected, atol=2e-3 * np.abs(expected).max()
        )


def test_amplitudes_are_peaks_in_the_units_of_the_data():
    runs = simulate_runs([5.0, 6.5], n_runs=2, n_stimuli=20, spacing=(14.0, 18.0), signal=1e4)
    shapes, betas = responses_of(runs)
    for run, beta in zip(runs, betas, strict=True):
        slope = np.array(
            [np.polyfit(run.amplitudes[:, v], beta[:, v], 1)[0] for v in range(2)]
        )  # held together a little: 1 / 1.3 where responses do not overlap
        np.testing.assert_allclose(slope, 1 / (1 + TOGETHER), atol=0.05)
    curves = shapes.basis.curves @ shapes.coefficients
    np.testing.assert_allclose(curves.max(0), 1, atol=1e-3)


def test_sign_is_that_of_the_canonical_response():
    runs = simulate_runs([5.0] * 4, signal=3.0)
    flipped = [replace(run, bold=-run.bold) for run in runs]
    shapes, betas = responses_of(runs)
    turned, negative = responses_of(flipped)
    np.testing.assert_allclose(turned.coefficients, shapes.coefficients, atol=1e-3)
    np.testing.assert_allclose(negative[0], -betas[0], atol=1e-2)


def test_unusable_voxels_are_nan_and_harm_no_others():
    runs = simulate_runs([5.0] * 6, n_runs=2, n_stimuli=15)
    clean_shapes, clean = responses_of(runs)
    runs[0].bold[:, 2] = np.nan
    runs[1].bold[:, 4] = 7
    shapes, betas = responses_of(runs)
    bad = np.isin(np.arange(6), [2, 4])
    assert (np.isnan(shapes.peak) == bad).all()
    for ours, theirs in zip(betas, clean, strict=True):
        assert (np.isnan(ours).all(0) == bad).all()
        np.testing.assert_allclose(ours[:, ~bad], theirs[:, ~bad], rtol=1e-3, atol=1e-4)
    runs[0].bold[:] = np.nan
    shapes, betas = responses_of(runs)
    assert np.isnan(shapes.peak).all() and np.isnan(betas[1]).all()


def test_a_run_with_one_stimulus():
    runs = simulate_runs([5.0] * 5, n_runs=3, n_stimuli=12, signal=3.0)
    lone = simulate_runs([5.0] * 5, n_runs=1, n_stimuli=1, signal=30.0, seed=1)
    _, betas = responses_of([*runs, *lone])
    assert betas[-1].shape == (1, 5)
    assert np.isfinite(betas[-1]).all()


def test_blocks_of_voxels_change_nothing():
    runs = simulate_runs(np.full(30, 5.0), n_runs=2, n_stimuli=12)
    basis = make_basis("fourier", TR)
    designs = designs_of(runs, basis)
    reads = []

    def load(number):
        reads.append(number)
        return runs[number].bold

    readers = [lambda number=number: load(number) for number in range(2)]
    whole, betas = rank1_responses(readers, designs, basis, 30)
    assert reads == [0, 1]
    row_bytes = 4 * sum(len(run.bold) for run in runs)
    parts, in_parts = rank1_responses(readers, designs, basis, 30, mem_bytes=11 * row_bytes)
    assert reads == [0, 1] + 3 * [0, 1]
    np.testing.assert_allclose(parts.peak, whole.peak, atol=1e-2)
    np.testing.assert_allclose(in_parts[1], betas[1], rtol=1e-2, atol=1e-3)
