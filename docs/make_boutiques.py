"""Write docs/bids_encoder.boutiques.json from the parser: python docs/make_boutiques.py"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bids_encoder import __version__, errors
from bids_encoder.app.cli import build_parser

DESCRIPTOR = Path(__file__).with_name("bids_encoder.boutiques.json")
# Folders that are made, not read: they need not be there.
_MADE = {"output_dir", "work_dir", "bids_database_dir"}


def descriptor() -> dict:
    """The descriptor as it should be."""
    parser = build_parser()
    inputs = [
        _input(action)
        for group in parser._action_groups
        for action in group._group_actions
        if not isinstance(action, (argparse._HelpAction, argparse._VersionAction))
    ]
    keys = " ".join(one["value-key"] for one in inputs)
    return {
        "name": "bids_encoder",
        "tool-version": __version__,
        "schema-version": "0.5",
        "description": parser.description,
        "author": "The bids_encoder developers",
        "command-line": f"bids-encoder {keys}",
        "container-image": {"type": "docker", "image": f"bids_encoder:{__version__}"},
        "tags": {"domain": ["neuroinformatics", "fmri", "bids-app"]},
        "inputs": inputs,
        "output-files": [
            {
                "id": "results",
                "name": "Derivatives",
                "description": "A BIDS Derivatives dataset: maps, tables, models and reports",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "groups": _groups(parser),
        "error-codes": _error_codes(),
        "suggested-resources": {"cpu-cores": 4, "ram": 16, "walltime-estimate": 7200},
    }


def _name(action: argparse.Action) -> str:
    return action.dest.rpartition(".")[2]


def _input(action: argparse.Action) -> dict:
    name = _name(action)
    made: dict = {
        "id": name,
        "name": name.replace("_", " ").capitalize(),
        "description": (action.help or "").replace("%%", "%"),
        "value-key": f"[{name.upper()}]",
        "optional": not action.required,
        **_type(action, name),
    }
    if action.option_strings:
        made["command-line-flag"] = next(
            flag for flag in action.option_strings if flag.startswith("--")
        )
    if action.choices:
        made["value-choices"] = list(action.choices)
    if action.nargs in ("+", "*"):
        made |= {"list": True, "min-list-entries": 1}
    elif isinstance(action.nargs, int) and action.nargs > 0:
        made |= {
            "list": True, "min-list-entries": action.nargs, "max-list-entries": action.nargs,
        }  # fmt: skip
    return made


def _type(action: argparse.Action, name: str) -> dict:
    if action.nargs == 0:  # store_true, and -v, which counts
        return {"type": "Flag"}
    read = action.type or str
    if read is Path:
        return {"type": "String" if name in _MADE else "File"}
    if any(_reads(read, text) for text in ("8GB", "auto", "x")):
        return {"type": "String"}
    if _reads(read, "0.5"):
        return {"type": "Number"}
    whole = [number for number in range(10) if _reads(read, str(number))]
    return {"type": "Number", "integer": True, "minimum": whole[0]} if whole else {"type": "String"}


def _reads(read, text: str) -> bool:
    try:
        read(text)
    except (ValueError, argparse.ArgumentTypeError):
        return False
    return True


def _groups(parser: argparse.ArgumentParser) -> list[dict]:
    """The sections of ``--help``."""
    made = []
    for number, group in enumerate(parser._action_groups[2:], start=1):
        members = [_name(action) for action in group._group_actions]
        made.append({"id": f"group_{number}", "name": group.title, "members": members})
    return made


def _error_codes() -> list[dict]:
    kinds = [errors.BidsEncoderError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    found = {
        kind.exit_code: kind.__doc__.splitlines()[0]
        for kind in kinds
        if kind.__module__ == errors.__name__
    }
    found |= {2: "Options that do not exist or do not go together.", 70: "A bug of this program."}
    found[130] = "Interrupted."
    return [{"code": code, "description": text} for code, text in sorted(found.items())]


def text() -> str:
    """The descriptor as it should stand in the file."""
    return json.dumps(descriptor(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DESCRIPTOR.write_text(text(), encoding="utf-8")
