import numpy as np
import pytest
import torch
from torch.nn.functional import relu

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.networks import overfeat
from bids_encoder.networks.network import activations
from bids_encoder.networks.registry import load_network

# Where each tensor begins in the original file, in numbers (not bytes).
OFFSETS = {
    "conv1.weight": 0,
    "conv1.bias": 14_112,
    "conv2.weight": 14_208,
    "conv2.bias": 1_218_432,
    "conv3.weight": 1_218_688,
    "conv3.bias": 2_398_336,
    "conv4.weight": 2_398_848,
    "conv4.bias": 4_758_144,
    "conv5.weight": 4_758_656,
    "conv5.bias": 9_477_248,
    "conv6.weight": 9_478_272,
    "conv6.bias": 18_915_456,
    "fc7.weight": 18_916_480,
    "fc7.bias": 123_774_080,
    "fc8.weight": 123_778_176,
    "fc8.bias": 140_555_392,
    "fc9.weight": 140_559_488,
    "fc9.bias": 144_655_488,
}
TOTAL = 144_656_488
SHAPES = {
    "conv1": (96, 113, 113),
    "conv2": (256, 31, 31),
    "conv3": (512, 15, 15),
    "conv4": (512, 15, 15),
    "conv5": (1024, 15, 15),
    "conv6": (1024, 15, 15),
    "fc7": (4096, 1, 1),
    "fc8": (4096, 1, 1),
    "fc9": (1000, 1, 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A made weight file: all zeros (a hole on the disk) but for a few numbers."""
    folder = tmp_path_factory.mktemp("overfeat")
    path = folder / "net_weight_1"
    with path.open("wb") as file:
        file.truncate(4 * TOTAL)
    numbers = np.memmap(path, "<f4", mode="r+")
    for i, start in enumerate(OFFSETS.values()):
        numbers[start] = i + 1
    # conv1, output 1, input 2, row 3, column 4
    numbers[((1 * 3 + 2) * 7 + 3) * 7 + 4] = 0.5
    numbers.flush()
    return folder


def test_weights_are_read_in_the_order_of_the_original_file(folder):
    state = overfeat.read_weights(folder / "net_weight_1")
    assert list(state) == list(OFFSETS)
    for i, tensor in enumerate(state.values()):
        assert float(tensor.flatten()[0]) == i + 1
    assert float(state["conv1.weight"][1, 2, 3, 4]) == 0.5
    assert sum(tensor.numel() for tensor in state.values()) == TOTAL


def test_every_layer_at_231_pixels(folder):
    network = load_network("overfeat", weights_dir=folder, layers=list(SHAPES))
    assert network.input_size == 231
    assert "net_weight_1" in network.weights_id
    assert {tap.name: tap.shape for tap in network.taps} == SHAPES
    # The first channel of conv1: one weight of 1 on the first pixel of each window, bias 2.
    batch = torch.rand(1, 3, 231, 231) - 0.5
    conv1 = activations(network, batch)["conv1"]
    np.testing.assert_allclose(conv1[0, 0], relu(batch[0, 0, :-6:2, :-6:2] + 2), rtol=1e-5)
    np.testing.assert_allclose(
        conv1[0, 1], relu(0.5 * batch[0, 2, 3:-3:2, 4 : 231 - 2 : 2]), rtol=1e-5
    )


def test_default_layers_stop_before_the_class_scores():
    assert tuple(SHAPES)[:-1] == overfeat.LAYERS


def test_wiring_of_the_layers():
    with torch.device("meta"):
        parts = list(overfeat.OverFeat().named_children())
    assert [name for name, _ in parts[-2:]] == ["fc8_relu", "fc9"]  # scores stay signed
    pools = {name: part.kernel_size for name, part in parts if name.endswith("pool")}
    assert pools == {"conv1_pool": 3, "conv2_pool": 2, "conv6_pool": 3}


def test_input_is_scaled_as_in_the_original():
    grey = np.full((231, 231, 3), 128, np.uint8)
    np.testing.assert_allclose(overfeat.PREPROCESS(grey), (128 - 118.380948) / 61.896913, rtol=1e-6)


@pytest.mark.parametrize("size", [0, 4 * TOTAL - 1, 4 * 145_920_872])
def test_file_of_another_size(tmp_path, size):
    path = tmp_path / "net_weight_1"
    with path.open("wb") as file:
        file.truncate(size)
    with pytest.raises(DataError) as caught:
        load_network("overfeat", weights_dir=path)
    message = str(caught.value)
    assert str(path) in message and f"{size:,} bytes" in message
    assert "578,625,952 bytes" in message and "remedy:" in message


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingInputError) as caught:
        load_network("overfeat", weights_dir=tmp_path, allow_downloads=True)
    assert "net_weight_1" in str(caught.value) and str(tmp_path) in str(caught.value)
