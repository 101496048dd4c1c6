import os

import h5py
import numpy as np
import pytest

from bids_encoder.encoding.ridge import linear_kernel
from bids_encoder.errors import DataError, MissingInputError, UsageError
from bids_encoder.features import external
from bids_encoder.features.external import open_features
from bids_encoder.features.kernels import load_kernel

IDS = ["a.jpg", "scenes/b.jpg", "ü.png", ""]
VALUES = np.arange(12, dtype=np.float64).reshape(4, 3)


def make(path, stimuli=IDS, order=None, **layers):
    with h5py.File(path, "w") as file:
        if stimuli is not None:
            file["stimuli"] = stimuli
        for name, values in layers.items():
            file[name] = values
        if order is not None:
            file.attrs["layers"] = order
    return path


def refusal(kind, path, stimuli=("a.jpg",), layers=None):
    with pytest.raises(kind) as caught:
        open_features(path, stimuli, layers)
    assert str(path) in str(caught.value) and "remedy:" in str(caught.value)
    return str(caught.value)


def test_rows_come_in_the_order_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(external, "_ROWS_BYTES", 24)  # two rows at a time
    path = make(tmp_path / "mine.h5", conv1=VALUES, conv2=VALUES[:, :2].astype(np.int16))
    store = open_features(path, ["", "a.jpg", "ü.png"])
    assert store.network == "mine"
    assert store.layers == ("conv1", "conv2")
    assert store.sizes == {"conv1": 3, "conv2": 2}
    assert store.stimuli == ("", "a.jpg", "ü.png")
    features = store.load("conv1")
    assert features.values.dtype == np.float32 and features.stimuli == store.stimuli
    np.testing.assert_array_equal(features.values, VALUES[[3, 0, 2]])
    twice = store.load("conv2", ["a.jpg", "", "a.jpg"])
    np.testing.assert_array_equal(twice.values, VALUES[[0, 3, 0], :2])


def test_fixed_length_byte_strings_are_read(tmp_path):
    path = make(tmp_path / "f.h5", np.array([b"a.jpg", b"b.jpg"]), x=VALUES[:2])
    assert open_features(path, ["b.jpg"]).load("x").values.tolist() == [[3, 4, 5]]


def test_layers_in_natural_order_or_as_listed(tmp_path):
    layers = {name: VALUES for name in ("conv10", "conv2", "fc", "conv1")}
    path = make(tmp_path / "f.h5", **layers)
    assert open_features(path, IDS).layers == ("conv1", "conv2", "conv10", "fc")
    assert open_features(path, IDS, ["fc", "conv2"]).layers == ("conv2", "fc")
    path = make(tmp_path / "g.h5", order=["fc", "conv2"], **layers)
    assert open_features(path, IDS).layers == ("fc", "conv2")


def test_identity_follows_the_content(tmp_path):
    first = open_features(make(tmp_path / "f.h5", x=VALUES), IDS).identity
    assert open_features(make(tmp_path / "g.h5", x=VALUES), IDS[:2]).identity != first
    assert open_features(make(tmp_path / "f.h5", x=VALUES + 1), IDS).identity != first
    changed = VALUES.copy()
    changed[1, -1] += 1
    path = make(tmp_path / "f.h5", x=changed)
    assert open_features(path, IDS).identity != first
    # What is not read, and the order in which it is asked for, change nothing.
    assert (
        open_features(path, IDS[:1]).identity
        == open_features(make(tmp_path / "g.h5", x=VALUES), IDS[:1]).identity
    )
    assert open_features(make(tmp_path / "g.h5", x=VALUES), IDS[::-1]).identity == first


def test_missing_file(tmp_path):
    refusal(MissingInputError, tmp_path / "f.h5")


def test_not_hdf5(tmp_path):
    (tmp_path / "f.h5").write_text("a,b,c")
    assert "HDF5" in refusal(DataError, tmp_path / "f.h5")


def test_truncated_file(tmp_path):
    path = make(tmp_path / "f.h5", x=np.ones((4, 5000)))
    os.truncate(path, 50_000)
    refusal(DataError, path)


def test_no_stimuli(tmp_path):
    assert "'stimuli'" in refusal(DataError, make(tmp_path / "f.h5", None, x=VALUES))


def test_stimuli_that_are_no_strings(tmp_path):
    assert "strings" in refusal(DataError, make(tmp_path / "f.h5", np.arange(4), x=VALUES))


def test_duplicate_stimuli(tmp_path):
    path = make(tmp_path / "f.h5", ["a.jpg", "b", "a.jpg", "c"], x=VALUES)
    assert "'a.jpg'" in refusal(DataError, path)


def test_stimuli_without_features_are_listed(tmp_path):
    path = make(tmp_path / "f.h5", x=VALUES)
    message = refusal(DataError, path, ["a.jpg", "scenes/b.png", "c"])
    assert "2 of 3" in message and "'scenes/b.png', 'c'" in message
    assert "near: 'scenes/b.jpg'" in message


@pytest.mark.parametrize("shape", [(4,), (3, 4), (4, 0), (4, 2, 2)])
def test_wrong_shape(tmp_path, shape):
    message = refusal(DataError, make(tmp_path / "f.h5", x=np.zeros(shape)))
    assert "'x'" in message and str(shape) in message


def test_no_numbers(tmp_path):
    assert "numbers" in refusal(DataError, make(tmp_path / "f.h5", x=np.full((4, 2), b"?")))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_not_finite(tmp_path, bad):
    values = VALUES.copy()
    values[1, 2] = bad
    path = make(tmp_path / "f.h5", x=values)
    assert "row 1 ('scenes/b.jpg')" in refusal(DataError, path, IDS)
    assert open_features(path, ["a.jpg"]).sizes == {"x": 3}  # a row that nobody needs


def test_no_layers(tmp_path):
    refusal(DataError, make(tmp_path / "f.h5"))


def test_listed_layer_that_is_not_there(tmp_path):
    path = make(tmp_path / "f.h5", order=["x", "y"], x=VALUES)
    assert "'y'" in refusal(DataError, path)


def test_unknown_layer_names_near_ones(tmp_path):
    path = make(tmp_path / "f.h5", conv1=VALUES, conv2=VALUES)
    assert "near ones: conv" in refusal(UsageError, path, layers=["conv3"])


def test_groups_are_refused(tmp_path):
    path = make(tmp_path / "f.h5", x=VALUES)
    with h5py.File(path, "a") as file:
        file["more/y"] = VALUES
    assert "group" in refusal(DataError, path)


@pytest.mark.parametrize("kind", ["external link", "soft link", "virtual", "external storage"])
def test_links_out_of_the_file_are_not_followed(tmp_path, kind):
    other = make(tmp_path / "other.h5", secret=VALUES)
    path = make(tmp_path / "f.h5")
    with h5py.File(path, "a") as file:
        if kind == "external link":
            file["x"] = h5py.ExternalLink(str(other), "secret")
        elif kind == "soft link":
            file["x"] = h5py.SoftLink("/nowhere")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 3), "f8")
            layout[:] = h5py.VirtualSource(str(other), "secret", (4, 3))
            file.create_virtual_dataset("x", layout)
        else:
            raw = tmp_path / "raw"
            raw.write_bytes(VALUES.tobytes())
            file.create_dataset("x", (4, 3), "f8", external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    assert "link out of the file" in refusal(DataError, path)


@pytest.mark.parametrize("chunks", [None, (1, 5000)])
def test_a_kernel_is_summed_up_in_strips(tmp_path, chunks, monkeypatch):
    """The same bits as of features that are all there, and without having them all."""
    random = np.random.default_rng(0)
    values = random.standard_normal((30, 5 * external._STRIP + 7), dtype=np.float32)
    path = tmp_path / "own.h5"
    names = [f"{k}.png" for k in range(30)]
    with h5py.File(path, "w") as file:
        file["stimuli"] = names
        file.create_dataset("wide", data=values, chunks=chunks)
    wanted = [names[k] for k in random.permutation(30)[:20]]
    store = open_features(path, wanted)
    monkeypatch.setattr(external, "_STRIP_BYTES", 4 * 20 * 2 * external._STRIP)
    whole = linear_kernel(store.load("wide", wanted).values)
    read = []
    stored = store.matrix("wide", wanted)
    monkeypatch.setattr(
        stored, "_read", lambda *ends, once=stored._read: (read.append(ends), once(*ends))
    )
    np.testing.assert_array_equal(linear_kernel(stored), whole)
    assert len(read) == 3
    np.testing.assert_array_equal(load_kernel(store, "wide", wanted), whole)
