"""No home, no name, nothing that can be written to: as in containers and on clusters."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bids_encoder.app import cli
from bids_encoder.runtime import environment

VARIABLES = (
    "HOME", "LOGNAME", "USER", "TMPDIR", "TORCH_HOME", "TEMPLATEFLOW_HOME", *environment._CACHES,
)  # fmt: skip


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without any of the variables, and a temporary folder of its own."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in VARIABLES})
    (tmp_path / "tmp").mkdir()
    os.environ["TMPDIR"] = str(tmp_path / "tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def closed(monkeypatch):
    """``closed(folder, …)``: these cannot be written to (root may write anywhere)."""
    shut: set[Path] = set()
    real = os.access

    def access(path, mode, **keywords):
        if mode & os.W_OK and Path(path).absolute() in shut:
            return False
        return real(path, mode, **keywords)

    monkeypatch.setattr(os, "access", access)
    return lambda *folders: shut.update(map(Path, folders))


def test_an_ordinary_environment_is_left_alone(bare):
    os.environ |= {"HOME": str(bare), "USER": "somebody"}
    before = dict(os.environ)
    environment.prepare(bare / "work")
    assert os.environ == before
    assert not list((bare / "tmp").iterdir())


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_without_a_home_everything_goes_to_one_private_folder(bare, home):
    if home:
        os.environ["HOME"] = home
    environment.prepare(bare / "work")
    [place] = (bare / "tmp").iterdir()
    assert os.environ["HOME"] == str(place)
    assert place.stat().st_mode & 0o777 == 0o700
    for variable in environment._CACHES:
        assert Path(os.environ[variable]).is_relative_to(place)
    environment.prepare(bare / "work")  # the second run finds the first one's caches
    assert list((bare / "tmp").iterdir()) == [place]


def test_a_home_that_is_read_only_still_holds_weights_and_templates(bare, closed):
    home = bare / "home"
    (home / ".cache" / "torch").mkdir(parents=True)
    os.environ["HOME"] = str(home)
    closed(home)
    environment.prepare(bare / "work")
    assert os.environ["HOME"] == str(home)
    assert os.environ["TORCH_HOME"] == str(home / ".cache" / "torch")
    assert "TEMPLATEFLOW_HOME" not in os.environ
    assert Path(os.environ["XDG_CACHE_HOME"]).is_relative_to(bare / "tmp")


def test_a_folder_that_somebody_else_laid_out_is_not_trusted(bare):
    trap = bare / "tmp" / f"bids_encoder-{os.getuid()}"
    trap.symlink_to(bare)
    environment.prepare(bare / "work")
    home = Path(os.environ["HOME"])
    assert home != trap and home.parent == bare / "tmp" and not home.is_symlink()


def test_without_any_temporary_folder_the_work_folder_holds_one(bare, closed):
    closed(bare / "tmp", "/tmp", "/var/tmp", "/usr/tmp")
    environment.prepare(bare / "work")
    assert Path(os.environ["TMPDIR"]) == bare / "work" / "tmp"
    assert Path(tempfile.gettempdir()) == bare / "work" / "tmp"
    assert Path(os.environ["HOME"]).parent == bare / "work" / "tmp"


def test_where_nothing_can_be_written_it_is_left_to_others_to_say_so(bare, closed):
    (bare / "work").write_text("a file")
    closed(bare / "tmp", "/tmp", "/var/tmp", "/usr/tmp")
    environment.prepare(bare / "work")
    assert "HOME" not in os.environ


def test_a_user_without_a_name(bare, monkeypatch):
    import getpass
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    environment.prepare(bare / "work")
    assert getpass.getuser() == f"user{os.getuid()}"


def test_help_and_version_need_no_home():
    code = "import sys; from bids_encoder.app.cli import main; main(sys.argv[1:])"
    for option in ("--help", "--version"):
        ended = subprocess.run(
            [sys.executable, "-c", code, option],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0 and "bids-encoder" in ended.stdout and not ended.stderr


@pytest.mark.parametrize(
    ("container", "read_only", "expected"),
    [
        (False, False, Path("work")),
        (True, False, Path("out/.work")),
        (False, True, Path("out/.work")),
    ],
)
def test_the_work_folder_if_nobody_names_one(
    tmp_path, monkeypatch, closed, container, read_only, expected
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDS_ENCODER_CONTAINER_TYPE", raising=False)
    if container:
        monkeypatch.setenv("BIDS_ENCODER_CONTAINER_TYPE", "docker")
    if read_only:
        closed(tmp_path)
    (tmp_path / "data").mkdir()
    assert cli.parse(["data", "out", "participant"]).resources.work_dir == expected
    assert cli.parse(["data", "out", "participant", "-w", "x"]).resources.work_dir == Path("x")
    # the usual place for derivatives is inside the dataset; their work folder may be there too
    inside = Path("data/derivatives/be")
    found = cli.parse(["data", str(inside), "participant"]).resources.work_dir
    assert found == (inside / ".work" if expected.name == ".work" else expected)


def test_the_work_folder_of_the_configuration_file_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIDS_ENCODER_CONTAINER_TYPE", "docker")
    (tmp_path / "c.toml").write_text('[resources]\nwork_dir = "there"\n')
    (tmp_path / "data").mkdir()
    chosen = cli.parse(["data", "out", "participant", "--config-file", "c.toml"])
    assert chosen.resources.work_dir == Path("there")
