"""``bids-encoder-fetch``: weights and atlases, for machines without internet.

Run where there is internet; the folder is then copied to where there is none. What
is fetched is checked as it will be when it is used, and appears whole or not at all.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import logging
import os
import shutil
import socket
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bids_encoder import __version__
from bids_encoder.errors import BidsEncoderError, MissingInputError, OutputError, UsageError

PATIENCE = 60.0  # seconds without an answer until a server counts as not reachable
_ATLAS = ("dseg", "probseg")
_TEMPLATE = ("T1w", "mask")


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="bids-encoder-fetch",
        description="Fetch weights of networks and atlases of TemplateFlow into a folder that can "
        "be copied to a machine without internet.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="where to put them; what is there is kept")
    add("--networks", nargs="*", default=(), metavar="NAME",
        help="networks as for --network, such as alexnet vgg16")  # fmt: skip
    add("--templates", nargs="*", default=(), metavar="SPACE[:KEY-VALUE…]",
        help="atlases of a standard space, such as "
        "MNI152NLin2009cAsym:atlas-Schaefer2018:desc-400Parcels7Networks; without atlas- the "
        "template's picture and brain mask")  # fmt: skip
    add("--version", action="version", version=f"bids-encoder {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (see `bids_encoder.errors`)."""
    chosen = build_parser().parse_args(arguments)
    if not chosen.networks and not chosen.templates:
        build_parser().error("nothing to fetch: give --networks or --templates")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    socket.setdefaulttimeout(PATIENCE)
    weights, templates = chosen.folder / "weights", chosen.folder / "templateflow"
    tasks: list[tuple[Callable[[str, Path], str], str, Path]] = [
        (fetch_network, name, weights) for name in chosen.networks
    ]
    tasks += [(fetch_template, name, templates) for name in chosen.templates]
    code = 0
    for fetch, name, folder in tasks:
        try:
            print(f"{name}: {fetch(name, folder)}", flush=True)
        except BidsEncoderError as error:
            print(f"bids-encoder-fetch: {name}: {error}", file=sys.stderr, flush=True)
            code = max(code, error.exit_code)
        except KeyboardInterrupt:
            print("Interrupted; what is finished is kept.", file=sys.stderr)
            return 130
    print(_advice(weights, templates))
    return code


def _advice(weights: Path, templates: Path) -> str:
    lines = []
    if weights.is_dir() and any(weights.iterdir()):
        lines.append(f"Weights:  bids-encoder … --weights-dir {weights.absolute()}")
    if templates.is_dir() and any(templates.iterdir()):
        lines.append(f"Atlases:  export TEMPLATEFLOW_HOME={templates.absolute()}")
    return "\n".join(lines)


def fetch_network(name: str, folder: Path) -> str:
    """Fetch the weights of a network, and load them once.

    Parameters
    ----------
    name : str
        As for ``--network``.
    folder : path
        Weight files go into it under their published names.

    Returns
    -------
    str
        What is there now.

    Raises
    ------
    UsageError
        No such network.
    MissingInputError
        Not reachable, or to be fetched by hand (OverFeat).
    DataError
        A file in the folder is damaged.
    OutputError
        The folder cannot be written.
    """
    from bids_encoder.networks.registry import load_network

    _make(folder)
    with _no_other_cache(folder):
        network = load_network(name, weights_dir=folder, allow_downloads=True)
    return f"loads, {network.weights_id}"


@contextmanager
def _no_other_cache(folder: Path) -> Iterator[None]:
    """Hide torch's own cache: a file there is none in the folder."""
    # Not by torch.hub.set_dir: nothing takes that back, and TORCH_HOME would count no more.
    known = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(folder / "none")
    try:
        yield
    finally:
        if known is None:
            del os.environ["TORCH_HOME"]
        else:
            os.environ["TORCH_HOME"] = known


def parse_template(text: str) -> tuple[str, dict[str, str]]:
    """Read ``SPACE:KEY-VALUE:…``.

    Raises
    ------
    UsageError
        It does not look like that.
    """
    space, *modifiers = text.split(":")
    query = dict(modifier.split("-", 1) for modifier in modifiers if "-" in modifier)
    if not space.isalnum() or len(query) < len(modifiers) or not all(query.values()):
        raise UsageError(
            "This names nothing in TemplateFlow.",
            place="--templates",
            found=text,
            expected="SPACE or SPACE:KEY-VALUE:…, such as "
            "MNI152NLin2009cAsym:atlas-Schaefer2018:desc-400Parcels7Networks",
            remedy="correct it",
        )
    return space, query


def fetch_template(text: str, folder: Path) -> str:
    """Fetch files of TemplateFlow.

    Parameters
    ----------
    text : str
        ``SPACE:KEY-VALUE:…`` (see `parse_template`).
    folder : path
        Becomes a ``TEMPLATEFLOW_HOME``.

    Returns
    -------
    str
        What is there now.

    Raises
    ------
    UsageError, MissingInputError, OutputError
        As `fetch_network`.
    """
    space, query = parse_template(text)
    names = {"res": "resolution", "den": "density", "tpl": "template"}
    wanted: dict[str, str | list[str]] = {
        names.get(key, key): value for key, value in query.items()
    }
    if "suffix" not in wanted:
        wanted["suffix"] = list(_ATLAS if {"atlas", "seg"} & set(wanted) else _TEMPLATE)
    _make(folder)
    try:
        # TemplateFlow writes in place: fetched elsewhere, its files can be moved here whole.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as elsewhere:
            found = _from_templateflow(space, wanted, Path(elsewhere), text)
            for path in found:
                target = folder / path.relative_to(elsewhere)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    except OSError as error:
        raise _not_written(folder, error) from None
    return f"{len(found)} files in {folder / f'tpl-{space}'}"


def _from_templateflow(space: str, query: dict, home: Path, text: str) -> list[Path]:
    _lay_out(home, space)
    with _variable("TEMPLATEFLOW_HOME", str(home)):  # importing it fills the user's, else
        from templateflow.client import TemplateFlowClient

    client = TemplateFlowClient(root=home, autoupdate=False, use_datalad=False)
    # A table of labels serves all resolutions and names none.
    table = {key: value for key, value in query.items() if key != "resolution"}
    try:
        found = client.ls(space, **query)
    except ValueError as error:  # a key that no file has
        raise _no_such_file(text, str(error)) from None
    if not found:
        there = sorted({path.name for path in client.ls(space, suffix=query["suffix"])})
        raise _no_such_file(text, ", ".join(there[:10]) or f"other files of {space}")
    found += client.ls(space, **table, extension=".tsv")
    try:
        client.get(space, **query)
        client.get(space, **table, extension=".tsv")
    except Exception as error:  # whatever the network has to offer
        raise MissingInputError(
            "TemplateFlow cannot be reached, or does not have the file.",
            file=text,
            found=f"{type(error).__name__}: {error}"[:500],
            remedy="check the network (a proxy is named by HTTPS_PROXY), and try again",
        ) from None
    return sorted(set(found))


def _lay_out(home: Path, space: str) -> None:
    """Write TemplateFlow's list of files, which it keeps as empty files, for one space.

    For all spaces it has thousands of them, and reading their names takes half a minute.
    """
    spec = importlib.util.find_spec("templateflow")
    assert spec is not None and spec.submodule_search_locations  # a package that is required
    place = Path(spec.submodule_search_locations[0], "conf", "templateflow-skel.zip")
    with zipfile.ZipFile(place) as names:
        known = sorted({name.split("/")[0] for name in names.namelist() if name[:4] == "tpl-"})
        if f"tpl-{space}" not in known:
            spaces = [name.removeprefix("tpl-") for name in known]
            near = difflib.get_close_matches(space, spaces, n=5, cutoff=0.4)
            raise _no_such_file(text=space, found="spaces " + ", ".join(near or spaces))
        wanted = ("dataset_description.json", f"tpl-{space}/")
        names.extractall(home, [name for name in names.namelist() if name.startswith(wanted)])


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    known = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if known is not None:
            os.environ[name] = known


def _no_such_file(text: str, found: str) -> UsageError:
    return UsageError(
        "TemplateFlow has no such file.",
        place="--templates",
        found=found,
        expected=text,
        remedy="correct the name of the space or of the atlas",
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < 1 << 20:
            raise OSError("no space left on device")
    except OSError as error:
        raise _not_written(folder, error) from None


def _not_written(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        "What is fetched cannot be written.",
        file=folder,
        found=error.strerror or error,
        remedy="give another folder, or make room",
    )


if __name__ == "__main__":
    raise SystemExit(main())
