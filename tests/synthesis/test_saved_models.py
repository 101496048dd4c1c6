"""Models read back from their files, and what they predict."""

from __future__ import annotations

import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest
from scipy import sparse

from bids_encoder.derivatives.atomic import write_h5
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import Features
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.synthesis import model as model_module
from bids_encoder.synthesis.model import mean_prediction
from bids_encoder.synthesis.model_file import read_model

N_STIMULI, N_ROWS, N_FEATURES, SHAPE = 7, 12, 5, (3, 2, 2)
STIMULI = tuple(f"{k}.png" for k in range(N_STIMULI))
DELAYS = (4.0, 6.0)


class Store:
    """Features in memory."""

    def __init__(self, values):
        self.values = values

    def load(self, layer, stimuli=None):
        rows = [STIMULI.index(name) for name in stimuli]
        return Features(layer, tuple(stimuli), self.values[layer][rows])


@pytest.fixture
def random():
    return np.random.default_rng(0)


def voxels():
    inside = np.zeros(SHAPE, np.uint8)
    inside[0] = inside[2, 1, 1] = 1
    return VolumeGrid(nibabel.Nifti1Image(inside, np.diag([2.0, 2, 2, 1])))


def write_model(path, random, *, continuous=False, primal=None, **changes):
    """Write a model of random numbers; returns its samples, coefficients and intercept."""
    n_rows = N_ROWS if continuous else N_STIMULI
    grid = voxels()
    weights = None
    if continuous:
        weights = tuple(
            sparse.csr_array(random.dirichlet(np.ones(N_STIMULI), n_rows)) for _ in DELAYS
        )
    dual = random.standard_normal((n_rows, grid.n_values)).astype(np.float32)
    dual -= dual.mean(axis=0)
    intercept = random.standard_normal(grid.n_values).astype(np.float32)
    arrays = {
        "dual": dual,
        "intercept": intercept,
        "stimuli": list(STIMULI),
        "stamps": [f"stamp of {name}" for name in STIMULI],
        "groups": np.zeros(n_rows, int),
        **grid.described(),
    }
    if continuous:
        found = [w.tocoo() for w in weights]
        arrays |= {
            "delays": np.array(DELAYS),
            "shares_delay": np.repeat(np.arange(len(DELAYS)), [w.nnz for w in found]),
            "shares_row": np.concatenate([w.row for w in found]),
            "shares_stimulus": np.concatenate([w.col for w in found]),
            "shares": np.concatenate([w.data for w in found]),
        }
    if primal is not None:
        samples = Samples(STIMULI, weights, DELAYS if continuous else ())
        arrays["primal"] = samples.matrix(primal).T @ arrays.pop("dual")
    arrays |= {name: value for name, value in changes.items() if value is not None}
    arrays = {name: v for name, v in arrays.items() if changes.get(name, v) is not None}
    attributes = {"network": "net", "layer": "one", "origin": json.dumps({"network": "net"})}
    write_h5(path, arrays, attributes)
    return weights, dual.astype(float), intercept.astype(float)


@pytest.mark.parametrize("primal", [False, True])
@pytest.mark.parametrize("continuous", [False, True])
def test_predictions_are_those_of_a_picture_that_stays(
    tmp_path, random, monkeypatch, continuous, primal
):
    monkeypatch.setattr(model_module, "BLOCK_BYTES", 100)  # a few rows at a time
    features = (random.standard_normal((N_STIMULI, N_FEATURES)) + 3).astype(np.float32)
    new = (random.standard_normal((4, N_FEATURES)) + 3).astype(np.float32)
    path = tmp_path / "model.h5"
    weights, dual, intercept = write_model(
        path, random, continuous=continuous, primal=features if primal else None
    )
    # Row by row: the features of the sample, delays side by side; the picture at every delay.
    if continuous:
        x = np.hstack([w @ features.astype(float) for w in weights])
        expected = np.tile(new.astype(float), len(DELAYS)) @ x.T @ dual + intercept
    else:
        expected = new.astype(float) @ features.T @ dual + intercept
    model = read_model(path)
    assert model.is_dual is not primal
    found = model.predict(new, None if primal else Store({"one": features}))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_array_equal(model.grid.inside, voxels().inside)


def test_voxels_without_a_model_stay_without_prediction(tmp_path, random):
    features = random.standard_normal((N_STIMULI, N_FEATURES)).astype(np.float32)
    dual = random.standard_normal((N_STIMULI, 5)).astype(np.float32)
    intercept = np.zeros(5, np.float32)
    dual[:, 2] = intercept[2] = np.nan
    write_model(tmp_path / "model.h5", random, dual=dual, intercept=intercept)
    found = read_model(tmp_path / "model.h5").predict(features, Store({"one": features}))
    assert np.isnan(found[:, 2]).all() and np.isfinite(np.delete(found, 2, axis=1)).all()


def test_the_summary_model_is_the_mean_over_layers(tmp_path, random):
    features = random.standard_normal((N_STIMULI, N_FEATURES)).astype(np.float32)
    store = Store({"one": features})
    models = []
    for name in ("a.h5", "b.h5"):
        write_model(tmp_path / name, random)
        models.append(read_model(tmp_path / name))
    found = mean_prediction(models, store, STIMULI[:3], store)
    alone = [model.predict(features[:3], store) for model in models]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-5)


def expect_refusal(path, *words):
    with pytest.raises(DataError) as error:
        read_model(path)
    for word in (str(path), *words):
        assert word in str(error.value)
    return error


def test_models_of_earlier_versions_are_refused_with_a_remedy(tmp_path, random):
    write_model(tmp_path / "model.h5", random, stamps=None)
    expect_refusal(tmp_path / "model.h5", "earlier version", "'stamps'", "run the participant")


def test_a_missing_model_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match="without --reuse-models"):
        read_model(tmp_path / "model.h5")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_files_cut_short_are_refused(tmp_path, random, share):
    path = tmp_path / "model.h5"
    write_model(path, random)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    expect_refusal(path, "copy it again")


def test_links_out_of_the_file_are_not_followed(tmp_path, random):
    path = tmp_path / "model.h5"
    write_model(path, random)
    shutil.copy(path, tmp_path / "other.h5")
    with h5py.File(path, "a") as file:
        del file["intercept"]
        file["intercept"] = h5py.ExternalLink("other.h5", "intercept")
    expect_refusal(path, "'intercept'", "a group or a link")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dual", np.zeros((N_STIMULI, 4), np.float32)),
        ("dual", np.zeros((3, 5), np.float32)),
        ("dual", ["a"] * 5),
        ("intercept", np.zeros(3)),
        ("stamps", ["one"]),
        ("voxels", np.array([3, 1, 2, 0, 4])),
        ("voxels", np.array([0, 1, 2, 3, 99])),
        ("grid", np.array([2**15, 2**15, 2**15])),
        ("affine", np.full((4, 4), np.nan)),
        ("affine", np.eye(3)),
        ("unseen", ["x.png"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, random, name, value):
    write_model(tmp_path / "model.h5", random, **{name: value})
    expect_refusal(tmp_path / "model.h5", name, "remedy")


@pytest.mark.parametrize("name", ["shares_row", "shares_stimulus", "shares_delay"])
@pytest.mark.parametrize("value", [-1, 99])
def test_shares_of_what_is_not_there_are_refused(tmp_path, random, name, value):
    path = tmp_path / "model.h5"
    write_model(path, random, continuous=True)
    with h5py.File(path, "a") as file:
        file[name][0] = value
    expect_refusal(path, name)


def test_a_damaged_origin_is_refused(tmp_path, random):
    path = tmp_path / "model.h5"
    write_model(path, random)
    with h5py.File(path, "a") as file:
        file.attrs["origin"] = "{"
    expect_refusal(path, "origin", "a JSON object")
