"""The Dockerfile fits the package (the image itself is built and run in docs/containers.md)."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

import bids_encoder

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def copied(text: str) -> list[Path]:
    """What (a part of) the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", text, flags=re.M)
    return [ROOT / source for line in lines for source in line.split()[:-1]]


def test_everything_that_is_copied_is_there_and_let_through():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert ROOT / "run.py" in copied(DOCKERFILE)
    for path in copied(DOCKERFILE):
        assert path.exists(), path
        assert path.relative_to(ROOT).parts[0] in let_through, path


def test_the_version_is_that_of_the_package():
    assert f"ARG VERSION={bids_encoder.__version__}\n" in DOCKERFILE


def test_torch_is_asked_for_as_in_the_setup():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = setup["options"]["install_requires"].split("\n")
    for needed in re.findall(r'"(torch[^"]*)"', DOCKERFILE):
        assert needed in wanted, needed


def test_no_network_is_needed_but_that_of_the_packages():
    """No addresses; and the default network comes with a package."""
    assert "://" not in DOCKERFILE
    assert 'ARG NETWORKS="efficientnet_lite0"\n' in DOCKERFILE
    assert 'ARG TEMPLATES=""\n' in DOCKERFILE


def test_what_the_image_copies_for_fetching_is_enough():
    """The stage that fetches has a few files of the package, so that it is rarely done again."""
    files = [
        file
        for path in copied(DOCKERFILE.split(" AS assets")[1].split("\nFROM ")[0])
        for file in (path.rglob("*.py") if path.is_dir() else [path])
    ]
    there = {file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files}
    needed = {
        name
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    assert not needed - there - {name.removesuffix(".__init__") for name in there}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bids_encoder"):
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        modules = [name for name in inside if _is_module(name)]
        names = modules or [node.module]
    else:
        names = []
    return [name for name in names if name.split(".")[0] == "bids_encoder"]


def _is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()
