"""The documentation says what the program does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from bids_encoder.app.cli import build_parser, dashed

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_page_of_outputs_is_up_to_date():
    made = runpy.run_path(str(ROOT / "docs" / "make_outputs.py"))
    message = "run: python docs/make_outputs.py"
    assert (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8") == made["page"](), message


def test_the_page_of_options_is_up_to_date():
    made = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
    message = "run: python docs/make_cli.py"
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made["page"](), message


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages - set(index) == set(), "add the page to a toctree of docs/index.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_the_pages_are_there(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_options_that_the_pages_name_exist():
    known = {option for action in build_parser()._actions for option in action.option_strings}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"bids-encoder (?!-neural).*", text):
            for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", line.split("#")[0]):
                assert dashed(option) in known, (page.name, line)
