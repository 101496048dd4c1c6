"""The scripts that need a real Slurm are not run here; that they can be read is checked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted(Path(__file__).parent.glob("*.sh"))
PAGE = Path(__file__).parents[2] / "docs" / "hpc.md"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_whole(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_scripts_of_the_documentation_are_whole():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)
    assert len(blocks) == 2
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
