"""The Boutiques descriptor says what the parser says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from bids_encoder.app.cli import build_parser, parse

ROOT = Path(__file__).parents[1]
MADE = runpy.run_path(str(ROOT / "docs" / "make_boutiques.py"))
PATH = MADE["DESCRIPTOR"]


def test_the_descriptor_is_up_to_date():
    message = "an option has changed; run: python docs/make_boutiques.py"
    assert PATH.read_text(encoding="utf-8") == MADE["text"](), message


def test_every_option_is_in_it():
    said = {one.get("command-line-flag") for one in MADE["descriptor"]()["inputs"]}
    for action in build_parser()._actions:
        if action.option_strings and action.dest not in ("help", "version"):
            assert said & set(action.option_strings), action.option_strings


def test_boutiques_finds_it_valid(tmp_path):
    bosh = pytest.importorskip("boutiques.bosh")
    bosh.bosh(["validate", str(PATH)])  # raises where it is not:
    broken = MADE["descriptor"]()
    broken["inputs"].append(broken["inputs"][0])
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(Exception, match="non-unique"):
        bosh.bosh(["validate", str(tmp_path / "broken.json")])


def test_a_command_line_made_from_it_is_understood(tmp_path, monkeypatch):
    bosh = pytest.importorskip("boutiques.bosh")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "filter.json").write_text("{}")
    invocation = {
        "bids_dir": "data", "output_dir": "out", "analysis_level": "participant",
        "participant_label": ["01", "02"], "dry_run": True, "bids_filter_file": "filter.json",
        "mem": "8GB", "nprocs": 2, "delays": [4, 6.5], "network": "alexnet", "work_dir": "w",
    }  # fmt: skip
    (tmp_path / "invocation.json").write_text(json.dumps(invocation))
    made = bosh.bosh(["exec", "simulate", "-i", "invocation.json", str(PATH)])
    command, *arguments = made.shell_command.split()
    assert command == "bids-encoder"
    chosen = parse(arguments)
    assert chosen.bids_dir == Path("data") and chosen.output_dir == Path("out")
    assert chosen.selection.participant_label == ("01", "02")
    assert chosen.resources.mem == 8 and chosen.resources.nprocs == 2
    assert chosen.responses.delays == (4.0, 6.5)
    assert chosen.flow.dry_run and chosen.network.network == "alexnet"
