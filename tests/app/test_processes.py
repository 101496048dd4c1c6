"""Several participants at once: what one process's death means for the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_dataset import tree

from bids_encoder.app import levels as parallel
from bids_encoder.config.settings import FlowSettings, ResourcesSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds until a loaded machine must have done it


class FakePool:
    """A process that dies of some participants."""

    begun: list[str] = []

    def __init__(self, deadly):
        self._deadly = deadly

    def submit(self, _, settings, label):
        self.begun.append(label)
        future = Future()
        if label in self._deadly:
            future.set_exception(BrokenProcessPool())
        else:
            code = 65 if label.startswith("bad") else 0
            future.set_result(parallel.Outcome(f"sub-{label}", code))
        return future

    def shutdown(self, **_):
        pass


@pytest.fixture
def outcomes(monkeypatch):
    """``outcomes(labels, deadly, stop=False)``: what becomes of participants, and who was begun."""

    def run(labels, deadly, stop=False):
        FakePool.begun = []
        monkeypatch.setattr(parallel, "_process", lambda _: FakePool(deadly))
        settings = replace(
            Settings(Path("bids"), Path("out"), "participant"),
            resources=ResourcesSettings(nprocs=2),
            flow=FlowSettings(stop_on_first_crash=stop),
        )
        found = {o.name: o for o in parallel._participants(settings, list(labels))}
        return found, FakePool.begun

    return run


def test_a_process_that_dies_takes_nobody_with_it(outcomes):
    """Those after it and beside it are done; it is begun anew once, and has failed then."""
    found, begun = outcomes("abcde", deadly="b")
    assert {name: o.exit_code for name, o in found.items()} == {
        "sub-a": 0, "sub-b": 1, "sub-c": 0, "sub-d": 0, "sub-e": 0,
    }  # fmt: skip
    assert begun.count("b") == 2 and begun[-1] == "b"
    assert "killed twice" in found["sub-b"].summary and "--mem" in found["sub-b"].summary


def test_who_ends_all_ends_those_that_were_killed_too(outcomes):
    found, begun = outcomes(["a", "bad", "c", "d", "e"], deadly="a", stop=True)
    assert found["sub-bad"].exit_code == 65
    assert found["sub-a"].exit_code == 1 and begun.count("a") == 1
    assert len(found) == 5
    assert found["sub-e"].exit_code is None


def begin(tiny, folder: Path) -> tuple[subprocess.Popen, list[int]]:
    """Begin two participants in two processes; returns them once one is at work."""
    running = subprocess.Popen(
        [sys.executable, ROOT / "run.py", tiny.bids, folder / "out", "participant",
         "--nprocs", "2", "--features", tiny.features, "--n-permutations", "200",
         "--no-neural-code", "--skip-bids-validation", "-w", folder / "work"],
        stderr=(folder / "log").open("w"), cwd=folder, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not list((folder / "out").glob("sub-*/log/*/config.toml")):
        assert time.monotonic() < end and running.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    return running, workers(running.pid)


def workers(parent: int) -> list[int]:
    """Processes that a process has spawned to work for it."""
    done = subprocess.run(
        ["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [int(row[0]) for row in rows if row[1] == str(parent) and "spawn_main" in row[2]]


def results(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(folder).items() if "/log/" not in f"/{name}"}


@pytest.mark.slow
def test_a_killed_worker_is_begun_anew(tiny, tmp_path):
    """Kill -9 of one of two: both participants are done in the end, as if nothing had been."""
    running, processes = begin(tiny, tmp_path)
    try:
        os.kill(processes[0], signal.SIGKILL)
        code = running.wait(timeout=PATIENCE)
    finally:
        running.kill()
    said = (tmp_path / "log").read_text()
    assert code == 0, said
    assert "begun anew" in said and "Traceback" not in said
    disturbed = results(tmp_path / "out")
    (tmp_path / "again").mkdir()
    undisturbed, _ = begin(tiny, tmp_path / "again")
    assert undisturbed.wait(timeout=PATIENCE) == 0
    assert disturbed == results(tmp_path / "again" / "out")


def test_workers_end_with_their_parent(tiny, tmp_path):
    """Kill -9 of the parent: no process works on for nobody."""
    running, processes = begin(tiny, tmp_path)
    assert len(processes) == 2
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    end = time.monotonic() + PATIENCE
    while left := [pid for pid in processes if is_alive(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.1)
    half = [path for path in (tmp_path / "out").rglob(".tmp-*")]
    assert not half


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
