"""Weights and templates, fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import threading
import urllib.error
from pathlib import Path

import pytest
import torch
import torchvision

from bids_encoder.app import fetch
from bids_encoder.errors import UsageError
from bids_encoder.networks.registry import load_network

NAME = "shufflenet_v2_x0_5"  # the smallest of torchvision's
ATLAS = "MNI152NLin2009cAsym:atlas-Schaefer2018:desc-100Parcels7Networks"


class Hub:
    """A server on this machine; ``asked`` are the paths that it was asked for."""

    def __init__(self, folder: Path):
        self.folder, self.asked = folder, asked = folder, []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):  # noqa: N802
                asked.append(self.path)
                if "cut" in self.path:  # a connection that breaks
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"half of it")
                    return
                super().do_GET()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "hub").mkdir()
    hub = Hub(tmp_path / "hub")
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def weights(hub, monkeypatch):
    """``weights(file name)``: torchvision's address of the network is now on the hub."""
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(torchvision.models.get_model(NAME).state_dict(), buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:10]
    entry = torchvision.models.get_model_weights(NAME).IMAGENET1K_V1

    def publish(name="net-{digest}.pth"):
        name = name.format(digest=digest)
        (hub.folder / name).write_bytes(content)
        monkeypatch.setattr(type(entry), "url", f"{hub.address}/{name}")
        return name

    return publish


def leftovers(folder: Path) -> list[str]:
    return [
        path.name for path in folder.rglob("*") if "partial" in path.name or ".fetch" in str(path)
    ]


def test_weights_are_fetched_checked_and_used_without_internet(
    hub, weights, tmp_path, capsys, monkeypatch
):
    name = weights()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "hub" / "checkpoints").mkdir(parents=True)
    shutil.copy(hub.folder / name, tmp_path / "elsewhere" / "hub" / "checkpoints")
    out = tmp_path / "out"
    before = torch.hub.get_dir()
    assert fetch.main([str(out), "--networks", NAME]) == 0
    assert torch.hub.get_dir() == before
    with monkeypatch.context() as patch:  # the environment still decides
        patch.setenv("TORCH_HOME", str(tmp_path / "later"))
        assert torch.hub.get_dir() == str(tmp_path / "later" / "hub")
    # although torch's own cache has it: the folder is to be copied to another machine
    assert (out / "weights" / name).read_bytes() == (hub.folder / name).read_bytes()
    assert f"--weights-dir {out / 'weights'}" in capsys.readouterr().out
    hub.asked.clear()
    assert name in load_network(NAME, weights_dir=out / "weights").weights_id
    assert fetch.main([str(out), "--networks", NAME]) == 0  # again: nothing to do
    assert hub.asked == []


def test_weights_that_are_not_what_their_name_says_do_not_stay(weights, tmp_path, capsys):
    weights("net-0123456789.pth")
    assert fetch.main([str(tmp_path / "out"), "--networks", NAME]) == 66
    error = capsys.readouterr().err
    assert "could not be downloaded" in error and "hash" in error and "0123456789" in error
    assert not list((tmp_path / "out" / "weights").iterdir())


def test_a_connection_that_breaks_leaves_nothing(weights, tmp_path, capsys):
    weights("cut-{digest}.pth")
    assert fetch.main([str(tmp_path / "out"), "--networks", NAME]) == 66
    assert "could not be downloaded" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "weights").iterdir())


def test_a_damaged_file_in_the_folder(weights, tmp_path, capsys):
    name = weights()
    (tmp_path / "out" / "weights").mkdir(parents=True)
    (tmp_path / "out" / "weights" / name).write_bytes(b"half")
    assert fetch.main([str(tmp_path / "out"), "--networks", NAME]) == 65
    assert "delete it and fetch it again" in capsys.readouterr().err


def test_without_internet_one_message_for_each_and_the_worst_code(
    tmp_path, capsys, monkeypatch, hub
):
    def no_internet(*args, **keywords):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", no_internet)
    names = ["alexnet", "efficientnet_lite0", "alexnt"]
    assert fetch.main([str(tmp_path / "out"), "--networks", *names]) == 66
    said = capsys.readouterr()
    assert "alexnet: The weights of the network could not be downloaded" in said.err
    assert "Name or service not known" in said.err and "alexnet-owt" in said.err
    assert "near ones: alexnet" in said.err
    assert "efficientnet_lite0: loads" in said.out  # comes with a package
    assert "Traceback" not in said.err


def test_overfeat_has_to_be_fetched_by_hand(tmp_path, capsys):
    assert fetch.main([str(tmp_path / "out"), "--networks", "overfeat"]) == 66
    error = capsys.readouterr().err
    assert "net_weight_1" in error and str(tmp_path / "out" / "weights") in error


def test_no_advice_to_use_an_empty_folder(tmp_path, capsys):
    fetch.main([str(tmp_path / "out"), "--networks", "overfeat"])
    assert "--weights-dir" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert fetch.main([str(tmp_path / "out"), "--networks", "alexnet"]) == 73
    assert "give another folder" in capsys.readouterr().err


def test_nothing_to_fetch(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        fetch.main([str(tmp_path)])
    assert ended.value.code == 2
    assert "--networks" in capsys.readouterr().err


@pytest.fixture
def templateflow(hub, monkeypatch):
    """TemplateFlow's files are looked for on the hub."""
    from templateflow.conf.cache import CacheConfig

    made = CacheConfig.__init__

    def on_the_hub(self, *args, **keywords):
        made(self, *args, **{**keywords, "s3_root": hub.address})

    monkeypatch.setattr(CacheConfig, "__init__", on_the_hub)
    stem = "tpl-MNI152NLin2009cAsym/tpl-MNI152NLin2009cAsym_{}atlas-Schaefer2018_desc-{}_dseg.{}"
    for res, kind in (("res-01_", "nii.gz"), ("res-02_", "nii.gz"), ("", "tsv")):
        path = hub.folder / stem.format(res, "100Parcels7Networks", kind)
        path.parent.mkdir(exist_ok=True)
        path.write_text("content")
    return hub


def test_an_atlas_and_its_table(templateflow, tmp_path, capsys):
    assert fetch.main([str(tmp_path / "out"), "--templates", ATLAS]) == 0
    home = tmp_path / "out" / "templateflow"
    assert f"TEMPLATEFLOW_HOME={home}" in capsys.readouterr().out
    names = [path.name.split("cAsym_")[1] for path in home.rglob("*.*") if path.is_file()]
    assert sorted(names) == [
        "atlas-Schaefer2018_desc-100Parcels7Networks_dseg.tsv",
        "res-01_atlas-Schaefer2018_desc-100Parcels7Networks_dseg.nii.gz",
        "res-02_atlas-Schaefer2018_desc-100Parcels7Networks_dseg.nii.gz",
    ]
    assert not leftovers(tmp_path / "out")
    shutil.rmtree(home)
    # one resolution only; the table is of no resolution and must be asked for by itself
    assert fetch.main([str(tmp_path / "out"), "--templates", f"{ATLAS}:res-2"]) == 0
    assert [path.name for path in home.rglob("*_dseg.nii.gz")] == [
        "tpl-MNI152NLin2009cAsym_res-02_atlas-Schaefer2018_desc-100Parcels7Networks_dseg.nii.gz"
    ]
    assert len(list(home.rglob("*_dseg.tsv"))) == 1


def test_an_atlas_that_cannot_be_reached(templateflow, tmp_path, capsys):
    shutil.rmtree(templateflow.folder / "tpl-MNI152NLin2009cAsym")
    assert fetch.main([str(tmp_path / "out"), "--templates", ATLAS]) == 66
    error = capsys.readouterr().err
    assert "404" in error and ATLAS in error and "Traceback" not in error
    assert not list((tmp_path / "out" / "templateflow").iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MNI152NLin2009cAsym:atlas-Nobody", "no such file"),
        ("MNI152Nlin2009cAsym", "spaces MNI152NLin2009cAsym"),
        ("MNI152NLin2009cAsym:Schaefer", "SPACE:KEY-VALUE"),
        ("../elsewhere", "SPACE:KEY-VALUE"),
        ("MNI152NLin2009cAsym:atlas-Schaefer2018:nokey-x", "'nokey' is not"),
    ],
)
def test_what_templateflow_does_not_have(templateflow, tmp_path, capsys, text, words):
    assert fetch.main([str(tmp_path / "out"), "--templates", text]) == 2
    assert words in capsys.readouterr().err


def test_a_template_without_atlas_is_its_picture_and_brain_mask():
    assert fetch.parse_template("fsLR:den-32k") == ("fsLR", {"den": "32k"})
    with pytest.raises(UsageError):
        fetch.parse_template("a:b-")
