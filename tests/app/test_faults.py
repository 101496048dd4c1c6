"""Runs that are killed, starved, copied or lied to; see benchmarks/faults.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


def table(*options: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    command = [sys.executable, str(SCRIPT), *options]
    end = subprocess.run(command, capture_output=True, text=True, env=environment)
    rows = end.stdout.splitlines()[2:]
    assert end.returncode == 0 and "FAILED" not in end.stdout, end.stdout + end.stderr
    return rows


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_run_that_is_killed_goes_on_to_the_same_bytes():
    rows = table("--quick")
    assert [row.split(" | ")[0] for row in rows] == [
        "| dataset, output and work folder elsewhere",
        "| kill -9 at random moments",
    ]


@pytest.mark.slow
def test_all_disturbances():
    assert len(table("--kills", "5", "--others", "3")) >= 7
