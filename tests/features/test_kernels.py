from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from bids_encoder.encoding.ridge import linear_kernel
from bids_encoder.errors import OutputError
from bids_encoder.features import kernels
from bids_encoder.features.cache import CachedFeatures, FeatureLayout, entry_path, write_entry
from bids_encoder.features.kernels import LayerKernels, load_kernel
from bids_encoder.features.reduction import plan_reduction
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import Features

SIZES = {"early": 40, "late": 15}
NAMES = ("d", "a", "c", "b", "copy of a")


@pytest.fixture
def store(tmp_path):
    """Features of four contents under five names, in the cache."""
    rng = np.random.default_rng(0)
    layout = FeatureLayout({"network": "n"}, tuple(SIZES), tuple(map(plan_reduction, _shapes())))
    digests = {name: name[-1] * 64 for name in NAMES}
    for digest in set(digests.values()):
        write_entry(entry_path(tmp_path, digest), rng.standard_normal(layout.total) + 3, layout)
    return CachedFeatures(tmp_path, layout, digests)


def _shapes():
    return [(size,) for size in SIZES.values()]


@pytest.fixture
def computed(monkeypatch):
    """How often a kernel was computed."""
    calls = []

    def counted(features):
        calls.append(features.shape)
        return linear_kernel(features)

    monkeypatch.setattr(kernels, "linear_kernel", counted)
    return calls


@pytest.mark.parametrize("layer", SIZES)
def test_kernels_are_inner_products_in_the_order_that_is_asked_for(store, layer):
    for stimuli in (NAMES, ("b", "a", "copy of a", "b")):
        x = store.load(layer, stimuli).values.astype(float)
        for _ in ("made", "read"):
            np.testing.assert_allclose(load_kernel(store, layer, stimuli), x @ x.T, rtol=1e-5)


def test_a_kernel_is_computed_once_whatever_the_order(store, computed):
    first = load_kernel(store, "early", NAMES)
    assert computed == [(4, 40)]  # a copy is no other stimulus
    turned = replace(store, digests=dict(reversed(store.digests.items())))
    again = load_kernel(turned, "early", tuple(reversed(NAMES)))
    assert len(computed) == 1
    np.testing.assert_array_equal(again, first[::-1, ::-1])


def test_other_layers_and_other_stimuli_have_kernels_of_their_own(store, computed):
    load_kernel(store, "early", NAMES)
    load_kernel(store, "late", NAMES)
    fewer = replace(store, digests={name: store.digests[name] for name in ("a", "b")})
    load_kernel(fewer, "early", ("a", "b"))
    assert computed == [(4, 40), (4, 15), (2, 40)]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_is_made_anew(store, computed, content):
    right = load_kernel(store, "early", NAMES)
    [path] = store.folder.glob("kernels/*.npy")
    if content is None:
        np.save(path, np.zeros((3, 3)))
    else:
        path.write_bytes(content)
    np.testing.assert_array_equal(load_kernel(store, "early", NAMES), right)
    assert len(computed) == 2
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_one_flipped_byte_of_a_kernel_is_noticed(store, computed, caplog):
    right = load_kernel(store, "early", NAMES)
    [path] = store.folder.glob("kernels/*.npy")
    whole = path.read_bytes()
    for number, place in enumerate((130, len(whole) // 2, len(whole) - 33, len(whole) - 1)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        np.testing.assert_array_equal(load_kernel(store, "early", NAMES), right)
        assert len(computed) == number + 2 and path.read_bytes() == whole
        assert caplog.text.count(f"{path} was damaged") == number + 1


def test_a_cache_that_cannot_be_written_is_named(store):
    (store.folder / "kernels").write_text("in the way")
    with pytest.raises(OutputError) as error:
        load_kernel(store, "early", NAMES)
    assert str(store.folder / "kernels") in str(error.value)
    assert "--work-dir" in str(error.value)


def test_features_that_are_no_cache_are_not_cached(computed):
    values = np.random.default_rng(1).standard_normal((3, 5)).astype("f")

    class Store:
        layers = ("one",)

        def load(self, layer, stimuli=None):
            return Features(layer, tuple(stimuli), values[["abc".index(s) for s in stimuli]])

    for _ in range(2):
        found = load_kernel(Store(), "one", ("c", "a"))
    np.testing.assert_allclose(found, values[[2, 0]] @ values[[2, 0]].T, rtol=1e-4)
    assert len(computed) == 2


def test_kernels_of_samples_can_be_gone_through_again(store):
    weights = (sparse.csr_array(np.array([[0.5, 0.5, 0], [0, 0, 1.0]])),)
    layers = LayerKernels(Samples(("a", "b", "c"), weights, (4.0,)), store)
    assert len(layers) == 2
    for _ in range(2):
        for layer, kernel in zip(store.layers, layers, strict=True):
            x = weights[0] @ store.load(layer, ("a", "b", "c")).values.astype(float)
            np.testing.assert_allclose(kernel, x @ x.T, rtol=1e-5)
