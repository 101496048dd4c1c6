"""The files that describe the output as a whole: what it is, from what, by whom.

Several participants may start at once in one fresh folder. Every file here is
replaced as a whole, with its folder locked where an old version is merged in,
and left alone when nothing in it would change.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from bids_encoder import __version__
from bids_encoder.derivatives import atomic, file_names
from bids_encoder.errors import OutputError, UsageError
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

NAME = "bids_encoder"
BIDS_VERSION = "1.11.1"

_HOW_TO_ACKNOWLEDGE = (
    "Please cite Eickenberg, Gramfort, Varoquaux & Thirion (2017), Seeing it all: Convolutional "
    "network layers map the function of the human visual system, NeuroImage 152:184-194, "
    "doi:10.1016/j.neuroimage.2016.10.001, and Guest & Love (2017), What the success of brain "
    "imaging implies about the neural code, eLife 6:e21397, doi:10.7554/eLife.21397."
)
_README = """\
# Encoding models of visual cortex

Written by bids_encoder. Each layer of a deep network was used to predict the
responses of each voxel to the pictures or films of the source dataset; the maps
say how well that worked on responses that the model had not seen.

Every data file has a JSON file of the same name beside it. It says what the
values are, from which files and with which settings they come
(`SettingsHash` is how a second run knows what is done already), and which
software made them. It also holds checksums (`FileChecksums`, `SidecarChecksum`):
a file that was damaged or edited is noticed. `descriptions.tsv` says what the
`desc-` labels stand for: networks, layers, and what was made of them.

A voxel outside the mask has no value (NaN) in the maps, nor has one without a
score: its responses are constant or not numbers.

{table}

Names in braces stand for labels; what is in square brackets may be absent.
`.bidsignore` lists what the BIDS standard has no names for yet.
"""


def init_dataset(
    output_dir: str | Path,
    bids_dir: str | Path,
    derivatives: Mapping[str, str | Path] | None = None,
) -> dict[str, Path]:
    """Make the output folder a BIDS derivatives dataset, or make sure that it is one.

    Writes ``dataset_description.json``, ``.bidsignore`` and, where there is
    none, ``README.md``. What others added to the description is kept.

    Parameters
    ----------
    output_dir, bids_dir : path
    derivatives : mapping of str to path, optional
        The derivatives that are read, by the names that BIDS URIs give them.

    Returns
    -------
    dict of str to Path
        All datasets by name: "raw", the derivatives and "" (the output), as
        :func:`bids_encoder.derivatives.provenance.bids_uri` takes them.

    Raises
    ------
    OutputError
        If the folder belongs to something else, or cannot be written.
    UsageError
        If a derivatives dataset has a name that cannot be used.
    """
    output_dir, bids_dir = Path(output_dir), Path(bids_dir)
    inputs = {"raw": bids_dir, **_named(derivatives or {})}
    atomic.make_folder(output_dir)
    with atomic.locked(output_dir):
        path = output_dir / "dataset_description.json"
        before = _existing_description(path)
        atomic.write_json(path, _description(before, output_dir, inputs))
        atomic.write_text(output_dir / ".bidsignore", file_names.bidsignore())
        if not (output_dir / "README.md").exists():
            atomic.write_text(output_dir / "README.md", readme())
    return {"": output_dir, **inputs}


def add_descriptions(output_dir: str | Path, network: str, layers: Iterable[str]) -> None:
    """Say in ``descriptions.tsv`` what the labels of a network and its layers stand for.

    Rows that are there already stay, so that several networks can share an output.
    """
    output_dir = Path(output_dir)
    path = output_dir / "descriptions.tsv"
    atomic.make_folder(output_dir)
    with atomic.locked(output_dir):
        try:
            lines = path.read_text("utf-8").splitlines()[1:]
        except FileNotFoundError:
            lines = []
        except UnicodeDecodeError:
            logger.warning(f"{path.name} was damaged: it is made again.", extra=OF_THIS_RUN)
            lines = []
        except OSError as error:
            raise atomic.output_error(path, error) from error
        known = dict(line.split("\t", 1) for line in lines if "\t" in line)
        rows = dict(sorted({**known, **file_names.label_descriptions(network, layers)}.items()))
        atomic.write_tsv(path, {"desc_id": list(rows), "description": list(rows.values())})
        atomic.write_json(
            output_dir / "descriptions.json",
            {"Description": "What the desc- labels in the names of files stand for."},
        )


def remove_old_descriptions(output_dir: str | Path, network: str, layers: Iterable[str]) -> None:
    """Remove rows of a network's layers that no file of any participant is called after."""
    path = Path(output_dir) / "descriptions.tsv"
    with atomic.locked(Path(output_dir)):
        rows = dict(line.split("\t", 1) for line in path.read_text("utf-8").splitlines()[1:])
        ours = file_names.label_descriptions(network, layers)
        old = [
            one
            for one in rows
            if one.startswith(f"desc-{file_names.label(network)}+")
            and one not in ours
            and not any(Path(output_dir).glob(f"*/func/*_{one}_*"))
        ]
        if old:
            kept = {key: value for key, value in rows.items() if key not in old}
            atomic.write_tsv(path, {"desc_id": list(kept), "description": list(kept.values())})


def readme() -> str:
    """The page that greets who opens the output folder."""
    return _README.format(table=file_table())


def file_table() -> str:
    """All kinds of files and what they hold, as a table in Markdown."""
    rows = (
        f"| `{kind.path}{extension}` | {file_names.explain(kind.name, kind.description)} |"
        for kind in file_names.kinds().values()
        for extension in kind.extensions
    )
    return "\n".join(["| File | What it holds |", "| ---- | ------------- |", *rows])


def container_from_environment() -> dict[str, str]:
    """What our images say of themselves in ``BIDS_ENCODER_CONTAINER_{TYPE,TAG,URI}``."""
    keys = {"Type": "TYPE", "Tag": "TAG", "URI": "URI"}
    found = {key: os.environ.get(f"BIDS_ENCODER_CONTAINER_{name}") for key, name in keys.items()}
    if found["Type"] and any(map(os.environ.get, ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"))):
        found["Type"] = "apptainer"  # made from our Docker image
    return {key: value for key, value in found.items() if value}


def _named(derivatives: Mapping[str, str | Path]) -> dict[str, Path]:
    for name in derivatives:
        if name == "raw" or not name or not name.replace("-", "").replace("_", "").isalnum():
            raise UsageError(
                "A derivatives dataset has a name that cannot be used.",
                place="-d/--derivatives",
                found=repr(name),
                expected='letters, digits, "-" and "_", and not "raw"',
                remedy="Name it yourself: --derivatives fmriprep=PATH",
            )
    return {name: Path(path) for name, path in derivatives.items()}


def _existing_description(path: Path) -> dict:
    """Read the description that is there, {} if none; refuse what is not ours."""
    try:
        before = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise atomic.output_error(path, error) from error
    except ValueError as error:
        raise OutputError(
            "The output folder holds a description that cannot be read.",
            file=path,
            found=str(error),
            expected="JSON",
            remedy="Remove the file if the folder is ours; else choose another output folder.",
        ) from error
    makers = before.get("GeneratedBy") if isinstance(before, dict) else None
    names = [maker.get("Name") for maker in makers or [] if isinstance(maker, dict)]
    if NAME in names:
        return before
    raw = not names
    folder = path.parent / "derivatives" if raw else path.parent.absolute().parent
    raise OutputError(
        "The output folder is another dataset.",
        file=path,
        place="GeneratedBy",
        found="nothing: a dataset of its own" if raw else ", ".join(map(str, names)),
        expected=f"{NAME}, or a new or empty folder",
        remedy=f"Choose another output folder: {folder / NAME}",
    )


def _description(before: dict, output_dir: Path, inputs: Mapping[str, Path]) -> dict:
    links = {name: _link(root, output_dir) for name, root in inputs.items()}
    # What is there stays in its place: runs at the same time then agree on the bytes.
    sources = list(before.get("SourceDatasets", []))
    for name, root in inputs.items():
        if (source := _source(root, links[name])) not in sources:
            sources.append(source)
    raw = _read(inputs["raw"] / "dataset_description.json")
    made_by: dict[str, object] = {"Name": NAME, "Version": __version__}
    if container := container_from_environment():
        made_by["Container"] = container
    now = {
        "Name": f"Encoding models: {raw.get('Name') or inputs['raw'].absolute().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
        "SourceDatasets": sources,
        "DatasetLinks": dict(sorted({**before.get("DatasetLinks", {}), **links}.items())),
        "HowToAcknowledge": _HOW_TO_ACKNOWLEDGE,
    }
    if raw.get("License"):
        now["License"] = raw["License"]
    return {**now, **{key: value for key, value in before.items() if key not in now}}


def _link(root: Path, output_dir: Path) -> str:
    # Relative: says nothing of the machine, and survives moving both together.
    return quote(Path(os.path.relpath(root.resolve(), output_dir.resolve())).as_posix())


def _source(root: Path, link: str) -> dict[str, str]:
    doi = _read(root / "dataset_description.json").get("DatasetDOI")
    return {"URL": link, "DOI": doi} if doi else {"URL": link}


def _read(path: Path) -> dict:
    """The content of a description, {} if there is none: readers have complained already."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
