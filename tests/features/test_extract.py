import errno
import json
import os
import pickle
from collections import OrderedDict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bids_encoder.errors import DataError, MissingInputError, OutputError
from bids_encoder.features import batches, cache, extractors
from bids_encoder.features.extract import extract
from bids_encoder.features.reduction import plan_reduction, reduce_activations
from bids_encoder.networks.layers import resolve_taps
from bids_encoder.networks.network import Network, activations
from bids_encoder.networks.preprocess import Preprocess
from bids_encoder.networks.registry import load_network
from bids_encoder.networks.weights import checksum
from bids_encoder.stimuli.images import BLANK, read_image


def make_network(seed=0, layers=("relu1", "conv2", "full")):
    """A network of two convolutions and a full layer, for pictures of 16 x 16."""
    torch.manual_seed(seed)
    parts = {
        "conv1": nn.Conv2d(3, 200, 3, padding=1),
        "relu1": nn.ReLU(inplace=True),
        "conv2": nn.Conv2d(200, 5, 3),
        "flat": nn.Flatten(),
        "full": nn.Linear(5 * 14 * 14, 10),
    }
    module = nn.Sequential(OrderedDict(parts)).eval().requires_grad_(False)
    taps = resolve_taps("tiny", module, 16, layers, {})
    recipe = Preprocess(16, (128.0,) * 3, (64.0,) * 3)
    return Network("tiny", module, taps, recipe, f"sha256:{checksum(module)}", "none", "cpu")


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture
def pictures(tmp_path):
    """Seven pictures, two of them with the same content, and an empty screen."""
    rng = np.random.default_rng(0)
    paths = {}
    for name in ("a.png", "b.png", "c.jpg", "d.png", "e.png", "f.png"):
        paths[name] = tmp_path / name
        Image.fromarray(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(paths[name])
    paths["again.png"] = tmp_path / "again.png"
    paths["again.png"].write_bytes(paths["a.png"].read_bytes())
    return {**paths, BLANK: None}


def by_hand(network, path):
    image = np.full((4, 4, 3), 128, np.uint8) if path is None else read_image(path)
    found = activations(network, network.preprocess(image)[None])
    return {
        tap.name: reduce_activations(found[tap.name], plan_reduction(tap.shape))[0].numpy()
        for tap in network.taps
    }


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_features_are_those_of_each_picture(network, pictures, tmp_path, batch_size):
    store = extract(network, pictures, cache_dir=tmp_path / "work", batch_size=batch_size)
    assert store.stimuli == tuple(pictures)
    assert store.layers == ("relu1", "conv2", "full")
    assert store.sizes == {"relu1": 200 * 8 * 8, "conv2": 5 * 14 * 14, "full": 10}
    expected = [by_hand(network, path) for path in pictures.values()]
    for layer in store.layers:
        features = store.load(layer)
        assert features.layer == layer and features.stimuli == store.stimuli
        assert features.values.dtype == np.float32
        np.testing.assert_allclose(features.values, [e[layer] for e in expected], atol=1e-6)


def test_features_do_not_depend_on_what_is_computed_with_them(pictures, tmp_path):
    network = load_network("alexnet", untrained=True)  # full layers: products of all pictures
    some = {name: pictures[name] for name in ("a.png", "b.png", "d.png", "e.png", "f.png")}
    together = extract(network, some, cache_dir=tmp_path / "all")
    for name, path in some.items():
        alone = extract(network, {name: path}, cache_dir=tmp_path / "alone" / name)
        for layer in ("conv1", "fc6", "fc7"):
            expected = together.load(layer, [name]).values
            np.testing.assert_array_equal(alone.load(layer).values, expected)


def test_some_stimuli_in_another_order(network, pictures, tmp_path):
    store = extract(network, pictures, cache_dir=tmp_path)
    whole = store.load("conv2").values
    some = store.load("conv2", ["d.png", BLANK, "d.png"])
    np.testing.assert_array_equal(some.values, whole[[3, 7, 3]])
    assert some.stimuli == ("d.png", BLANK, "d.png")


def test_each_content_is_computed_once(network, pictures, tmp_path, monkeypatch):
    seen = []
    extract(network, pictures, cache_dir=tmp_path, on_progress=lambda *a: seen.append(a))
    assert seen[0] == (0, 7) and seen[-1] == (7, 7)
    assert len(list(tmp_path.glob("features/*/??/*.npy"))) == 7

    def fail(*args):
        pytest.fail("computed again")

    monkeypatch.setattr(extractors, "activations", fail)
    seen.clear()
    extract(network, pictures, cache_dir=tmp_path, on_progress=lambda *a: seen.append(a))
    assert seen == [(7, 7)]


def test_only_new_pictures_are_computed(network, pictures, tmp_path):
    some = {name: pictures[name] for name in ("a.png", "b.png")}
    extract(network, some, cache_dir=tmp_path)
    seen = []
    extract(network, pictures, cache_dir=tmp_path, on_progress=lambda *a: seen.append(a))
    assert seen[0] == (2, 7)


def test_cache_is_told_apart_by_everything_that_matters(network, pictures, tmp_path):
    folders = {
        extract(other, {"a": pictures["a.png"]}, cache_dir=tmp_path).folder
        for other in (
            network,
            make_network(seed=1),
            make_network(layers=("relu1", "conv2")),
            replace(network, preprocess=replace(network.preprocess, bgr=True)),
            replace(network, name="other"),
        )
    }
    assert len(folders) == 5
    same = replace(network, weights_id=f"{network.weights_id} (my.pth)")
    again = extract(same, {"a": pictures["a.png"]}, cache_dir=tmp_path)
    assert again.folder in folders


def test_identity_follows_stimuli_and_their_content(network, pictures, tmp_path):
    def identity(stimuli):
        return extract(network, stimuli, cache_dir=tmp_path).identity

    first = identity(pictures)
    assert identity(dict(pictures)) == first
    assert identity({**pictures, "a.png": pictures["b.png"]}) != first
    assert identity({"a.png": pictures["a.png"]}) != first


def test_layout_is_written_beside(network, pictures, tmp_path):
    store = extract(network, pictures, cache_dir=tmp_path)
    layout = json.loads((store.folder / "layers.json").read_text())
    assert layout["network"] == "tiny" and layout["weights"] == network.weights_id
    first = layout["layers"][0]
    assert first["name"] == "relu1" and first["shape"] == [200, 16, 16]
    assert first["step"] == 2 and first["kept"] == [200, 8, 8]


@pytest.mark.parametrize("damage", ["short", "empty", "text", "another size", "pickle"])
def test_damaged_entries_are_made_again(network, pictures, tmp_path, damage, caplog):
    store = extract(network, pictures, cache_dir=tmp_path)
    expected = store.load("full").values
    path = cache.entry_path(store.folder, store.digests["b.png"])
    whole = path.read_bytes()
    if damage == "short":
        os.truncate(path, len(whole) - 4)
    elif damage == "empty":
        os.truncate(path, 0)
    elif damage == "text":
        path.write_text("hello")
    elif damage == "another size":
        np.save(path, np.zeros(3, np.float32))
    else:
        path.write_bytes(pickle.dumps([1]))
    np.testing.assert_array_equal(store.load("full").values, expected)
    assert path.read_bytes() == whole
    assert "Features of b.png, layer full, were removed or damaged" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.parametrize("layer", ["relu1", "full"])
def test_one_flipped_byte_anywhere_is_noticed(network, pictures, tmp_path, layer, caplog):
    """Of the header, of the numbers (NaN among them) and of their checksums."""
    store = extract(network, pictures, cache_dir=tmp_path)
    expected = store.load(layer).values
    path = cache.entry_path(store.folder, store.digests["b.png"])
    whole = path.read_bytes()
    places = {"header": 12, "checksum": len(whole) - 1 - 32 * (layer == "relu1")}
    where = store.layout.where(layer)
    start = len(whole) - 4 * store.layout.total - 32 * len(store.layers)
    places |= {"first": start + 4 * where.start, "last": start + 4 * where.stop - 1}
    assert len(store.layers) == 3  # whose checksums stand behind each other
    if layer == "relu1":
        places["checksum"] = len(whole) - 3 * 32
    for number, place in enumerate(places.values()):
        damaged = bytearray(whole)
        damaged[place] ^= 0x7F
        path.write_bytes(damaged)
        np.testing.assert_array_equal(store.load(layer).values, expected)
        assert path.read_bytes() == whole
        assert caplog.text.count("are made again") == number + 1


def test_another_process_names_what_is_damaged(network, pictures, tmp_path):
    """It has no network to make it again with."""
    store = extract(network, pictures, cache_dir=tmp_path)
    sent = pickle.loads(pickle.dumps(store))
    path = cache.entry_path(store.folder, store.digests["b.png"])
    whole = bytearray(path.read_bytes())
    whole[-40 * 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError) as caught:
        [sent.load(layer) for layer in sent.layers]
    assert str(path) in str(caught.value) and "stimulus 'b.png', layer" in str(caught.value)


def run_in_another_process(pictures, cache_dir):
    torch.set_num_threads(1)
    return extract(make_network(), pictures, cache_dir=cache_dir).load("conv2").values


def test_many_processes_at_once(network, pictures, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(run_in_another_process, pictures, tmp_path) for _ in range(4)]
        found = [job.result(timeout=60) for job in jobs]
    for values in found:
        np.testing.assert_array_equal(values, found[0])
    left = {path.suffix for path in tmp_path.glob("features/**/*") if path.is_file()}
    assert left == {".npy", ".json"}  # no temporary files


def test_store_can_be_sent_to_other_processes(network, pictures, tmp_path):
    store = extract(network, pictures, cache_dir=tmp_path)
    sent = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(sent.load("full").values, store.load("full").values)


def test_cache_that_cannot_be_written(network, pictures, tmp_path):
    (tmp_path / "features").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        extract(network, pictures, cache_dir=tmp_path)
    assert str(tmp_path / "features") in str(caught.value)
    assert "--work-dir" in str(caught.value)


def test_full_disk_leaves_nothing_half_written(network, pictures, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        extract(network, pictures, cache_dir=tmp_path)
    assert not [p for p in tmp_path.glob("features/*/??/*")]


@pytest.mark.parametrize(
    "content, kind", [(None, MissingInputError), (b"", DataError), (b"no picture", DataError)]
)
def test_bad_pictures_are_named(network, pictures, tmp_path, content, kind):
    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(kind) as caught:
        extract(network, {**pictures, "bad.png": bad}, cache_dir=tmp_path)
    assert str(bad) in str(caught.value) and "remedy:" in str(caught.value)


def test_activations_that_are_not_finite_are_refused(pictures, tmp_path):
    network = make_network()
    network.module.full.bias[3] = torch.nan
    with pytest.raises(DataError) as caught:
        extract(network, {"a": pictures["a.png"]}, cache_dir=tmp_path)
    assert "layers full of tiny" in str(caught.value) and "a.png" in str(caught.value)
    assert not list(tmp_path.glob("features/*/??/*.npy"))


def test_batch_is_halved_when_memory_runs_out(network, pictures, tmp_path, monkeypatch, caplog):
    sizes = []

    def small_memory(network, batch, transform):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return activations(network, batch, transform)

    expected = extract(network, pictures, cache_dir=tmp_path / "1").load("conv2").values
    monkeypatch.setattr(extractors, "activations", small_memory)
    monkeypatch.setattr(batches, "_MOST_AT_ONCE", 1)  # as on a GPU
    store = extract(network, pictures, cache_dir=tmp_path / "2", batch_size=5)
    assert sizes == [5, 2, 2, 2, 2]  # halved once, and kept; the last of five has company
    assert "2 pictures at a time" in caplog.text
    np.testing.assert_allclose(store.load("conv2").values, expected, atol=1e-6)


def test_memory_that_does_not_hold_one_picture(network, pictures, tmp_path, monkeypatch):
    def no_memory(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(extractors, "activations", no_memory)
    with pytest.raises(DataError, match="--device cpu"):
        extract(network, pictures, cache_dir=tmp_path, batch_size=2)


def test_no_stimuli(network, tmp_path):
    store = extract(network, {}, cache_dir=tmp_path)
    assert store.load("full").values.shape == (0, 10)


def test_relative_cache_folder(network, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = extract(network, {BLANK: None}, cache_dir=Path("work"))
    assert store.load("full").values.shape == (1, 10)
