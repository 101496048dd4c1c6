"""Angle and eccentricity: closed forms, and voxels whose receptive fields are known."""

from __future__ import annotations

import json
from collections import OrderedDict

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torch import nn

from bids_encoder.config.settings import from_tables
from bids_encoder.derivatives.atomic import write_h5
from bids_encoder.derivatives.dataset_description import init_dataset
from bids_encoder.derivatives.write import start_analysis
from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.ridge import fit
from bids_encoder.experiments import retinotopy
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.experiments.saved_models import models_of
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.networks.layers import resolve_taps
from bids_encoder.networks.network import Network
from bids_encoder.networks.preprocess import Preprocess
from bids_encoder.networks.weights import checksum
from bids_encoder.stimuli.wedges import rings, wedges
from bids_encoder.synthesis.retinotopy import fit_angle, fit_eccentricity

ANGLES = np.repeat(np.arange(0, 360, 15.0), 3)
ECCENTRICITIES = np.repeat([one.eccentricity for one in rings()], 2)


def away(one, other):
    """Absolute difference of angles in degrees."""
    return np.abs((np.asarray(one) - other + 180) % 360 - 180)


def test_angle_is_the_phase_and_f_that_of_a_regression():
    random = np.random.default_rng(0)
    truth = np.array([0.0, 90.0, -90.0, 180.0, 37.0, -121.5])
    clean = np.cos(np.deg2rad(ANGLES[:, None] - truth)) + 5
    angle, f = fit_angle(clean, ANGLES)
    assert away(angle, truth).max() < 1e-6
    noisy = clean + random.standard_normal(clean.shape)
    angle, f = fit_angle(noisy, ANGLES)
    assert np.abs(angle).max() <= 180
    radians = np.deg2rad(ANGLES)
    design = np.column_stack([np.ones(len(ANGLES)), np.cos(radians), np.sin(radians)])
    for voxel, found in enumerate(f):
        beta, rest, *_ = np.linalg.lstsq(design, noisy[:, voxel], rcond=None)
        covariance = np.linalg.inv(design.T @ design)[1:, 1:] * rest[0] / (len(ANGLES) - 3)
        assert found == pytest.approx(beta[1:] @ np.linalg.solve(covariance, beta[1:]) / 2)
        assert angle[voxel] == pytest.approx(np.degrees(np.arctan2(beta[2], beta[1])))


def test_f_follows_its_distribution_on_noise():
    random = np.random.default_rng(1)
    _, f = fit_angle(random.standard_normal((len(ANGLES), 4000)), ANGLES)
    assert stats.kstest(f, stats.f(2, len(ANGLES) - 3).cdf).pvalue > 0.01


def test_without_responses_there_is_no_angle_and_no_eccentricity():
    responses = np.ones((len(ANGLES), 3))
    responses[:, 1] = np.nan
    responses[0, 2] = np.inf
    for found in fit_angle(responses, ANGLES):
        assert np.isnan(found).all()
    responses = np.ones((len(ECCENTRICITIES), 3))
    responses[:, 1] = np.nan
    responses[0, 2] = np.inf
    assert np.isnan(fit_eccentricity(responses, ECCENTRICITIES)).all()


@pytest.mark.parametrize("width", [0.3, 0.6])
def test_eccentricity_is_that_of_the_peak_also_at_the_ends(width):
    truth = np.geomspace(ECCENTRICITIES.min(), ECCENTRICITIES.max(), 20)
    distance = np.log(ECCENTRICITIES[:, None] / truth)
    responses = 3 + 2 * np.exp(-(distance**2) / (2 * width**2))
    found = fit_eccentricity(responses, ECCENTRICITIES)
    np.testing.assert_allclose(np.log(found / truth), 0, atol=0.06)


# Simulated voxels: V1 and V2 of both hemispheres along lines, one line an eccentricity

SIDE, N_PICTURES = 64, 200
LINE = 36  # voxels: V1 from the upper to the lower vertical meridian, V2 back again
FAR = np.array([0.3, 0.45, 0.65])  # eccentricity of the lines


def fields():
    """Mask (x, y, z), and the angle and eccentricity of each of its voxels."""
    inside = np.zeros((LINE, 7, 11), np.uint8)  # lines are too far apart to be smoothed together
    inside[:, [0, 0, 0, 6, 6, 6], [0, 5, 10, 0, 5, 10]] = 1
    x, y, z = np.nonzero(inside)
    half = LINE // 2
    share = np.where(x < half, x + 0.5, LINE - x - 0.5) / half
    right = 90 - 180 * share
    angle = np.where(y == 0, right, 180 - right)
    return VolumeGrid(nibabel.Nifti1Image(inside, np.eye(4))), angle, FAR[z // 5], (x, y, z // 5)


def textures(random):
    """Pictures whose contrast varies from place to place."""
    for _ in range(N_PICTURES):
        where = ndimage.gaussian_filter(random.standard_normal((SIDE, SIDE)), 5, mode="wrap")
        contrast = 1 / (1 + np.exp(-2.5 * where / where.std()))
        noise = ndimage.gaussian_filter(random.standard_normal((SIDE, SIDE)), 1)
        pixels = np.clip(128 + 60 * contrast * noise / noise.std(), 0, 255).astype(np.uint8)
        yield contrast, np.repeat(pixels[..., None], 3, axis=2)


def small_network():
    torch.manual_seed(3)
    parts = {"conv": nn.Conv2d(3, 8, 5, stride=2, padding=2), "relu": nn.ReLU()}
    module = nn.Sequential(OrderedDict(parts)).eval().requires_grad_(False)
    taps = resolve_taps("small", module, SIDE, ("relu",), {})
    recipe = Preprocess(SIDE, (128.0,) * 3, (60.0,) * 3)
    return Network("small", module, taps, recipe, f"sha256:{checksum(module)}", "none", "cpu")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Voxels that sum contrast over their receptive fields, fitted, and mapped by `run`."""
    folder = tmp_path_factory.mktemp("fields")
    random = np.random.default_rng(4)
    grid, angle, far, _ = fields()
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    right, up = np.meshgrid(at, -at)
    x, y = far * np.cos(np.deg2rad(angle)), far * np.sin(np.deg2rad(angle))
    field = np.exp(-((right.ravel() - x[:, None]) ** 2 + (up.ravel() - y[:, None]) ** 2) / 0.045)
    seen = []
    (folder / "stimuli").mkdir()
    for number, (contrast, pixels) in enumerate(textures(random)):
        Image.fromarray(pixels).save(folder / "stimuli" / f"{number:03d}.png")
        seen.append(field @ contrast.ravel())
    truth = stats.zscore(np.array(seen), axis=0)
    responses = (truth + random.standard_normal(truth.shape)).astype(np.float32)

    names = [f"{number:03d}.png" for number in range(N_PICTURES)]
    tables = {
        "resources": {"work_dir": folder / "work"},
        "stimuli": {"stim_dir": folder / "stimuli"},
        "synthesis": {"synthesize": ("retinotopy",)},
    }
    settings = from_tables(folder, folder / "out", "participant", tables)
    source = FeatureSource("small", ("relu",), "", "", small_network())
    store = source.store(
        {name: folder / "stimuli" / name for name in names},
        blank=False,
        cache_dir=folder / "work",
    )
    folds = make_folds(np.arange(N_PICTURES) // 50)
    found = fit(store.load("relu").values, responses, folds)
    datasets = init_dataset(folder / "out", folder)
    about = {"sub": "01", "task": "look", "space": None, "res": None, "network": "small"}
    analysis = start_analysis(datasets, about, settings={}, sources=[])
    arrays = {
        "dual": found.dual,
        "intercept": found.intercept,
        "stimuli": names,
        "stamps": store.stamps("relu", names),
        "groups": np.zeros(N_PICTURES, int),
        **grid.described(),
    }
    origin = json.dumps(store.origin("relu"))
    write_h5(
        analysis.path("weights", layer="relu"),
        arrays,
        {"network": "small", "layer": "relu", "origin": origin},
    )
    lab = ExperimentContext(settings, datasets, source, "cpu", models_of(settings, about, source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retinotopy, "N_CARRIERS", 3)
        assert "retinotopy: " in retinotopy.run(lab)
    return {
        kind: np.asarray(nibabel.load(analysis.path(kind)).dataobj)[grid.inside]
        for kind in retinotopy.KINDS
    }


def test_angles_of_known_receptive_fields(maps):
    _, angle, far, _ = fields()
    error = away(maps["angle"], angle)
    assert np.median(error) <= 10
    # At every angle, not only on average.
    for middle in wedges()[::3]:
        assert np.median(error[away(angle, middle.angle) < 30]) <= 15
    assert (maps["retinotopy_f"] > 1).mean() > 0.95


def test_eccentricities_of_known_receptive_fields(maps):
    _, _, far, _ = fields()
    found = [np.median(maps["eccentricity"][far == one]) for one in FAR]
    assert found == sorted(found)
    assert np.median(np.abs(np.log(maps["eccentricity"] / far))) < 0.25


def test_the_gradient_of_the_angle_turns_where_areas_meet(maps):
    _, _, _, (x, y, z) = fields()
    for side in (0, 6):
        for line in range(len(FAR)):
            here = (y == side) & (z == line)
            angle = np.unwrap(maps["angle"][here][np.argsort(x[here])], period=360)
            steps = np.diff(angle) * (1 if side == 0 else -1)
            half = LINE // 2
            v1, v2 = steps[1 : half - 2], steps[half + 1 : -1]
            assert np.median(v1) < 0 < np.median(v2)
            assert (v1 < 0).mean() > 0.8 and (v2 > 0).mean() > 0.8
            turn = np.argmin(angle * (1 if side == 0 else -1))
            assert abs(turn - (half - 0.5)) <= 3
