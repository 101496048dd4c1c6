"""Where things lie: folders of other people, names that are no text, folders inside the dataset."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_dataset import tree

from bids_encoder.errors import MissingInputError, OutputError, of_the_system

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = 54321  # no user of this machine
ONE = ("--participant-label", "01")


@contextmanager
def somebody_else():
    """What files another user may read, for a while; modules must have been imported before."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def open_for_all(folder: Path) -> None:
    """The way to a folder, and all in it, may be read by everybody."""
    top = Path(tempfile.gettempdir())
    above = [path for path in folder.parents if top in path.parents]
    for path in (*above, folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))


@pytest.mark.parametrize("place", ["", "out", "stimuli/x", "sourcedata/out", "derivatives/../code"])
def test_output_inside_of_a_dataset(place, tiny, app):
    """Only derivatives/ is there for what programs make."""
    before = tree(tiny.bids)
    end = app(tiny.bids, tiny.bids / place, "participant", *ONE)
    assert end.code == 2
    assert "derivatives" in end.err and "Traceback" not in end.err
    assert tree(tiny.bids) == before


def test_output_inside_of_a_dataset_through_a_link(tiny, app, tmp_path):
    (tmp_path / "link").symlink_to(tiny.bids / "code", target_is_directory=True)
    assert app(tiny.bids, tmp_path / "link", "participant", *ONE, "--dry-run").code == 2


@pytest.mark.parametrize("place", ["derivatives", "derivatives/bids_encoder"])
def test_output_among_the_derivatives_of_a_dataset(place, tiny, app):
    end = app(tiny.bids, tiny.bids / place, "participant", *ONE, "--dry-run",
              "--features", tiny.features)  # fmt: skip
    assert end.code == 0


def test_an_index_inside_of_a_dataset(tiny, app, tmp_path):
    end = app(
        tiny.bids, tmp_path / "out", "participant", "--bids-database-dir", tiny.bids / "index"
    )
    assert end.code == 2 and "--bids-database-dir" in end.err
    assert not (tiny.bids / "index").exists()


LATIN = os.fsdecode("café".encode("latin-1"))


@pytest.mark.parametrize("where", ["OUTPUT_DIR", "BIDS_DIR", "--work-dir", "--stim-dir", "--atlas"])
def test_names_that_are_no_text(where, tiny, app, tmp_path):
    """Paths may hold any bytes, pages and tables may not."""
    odd = tmp_path / LATIN
    odd.mkdir()
    bids, out, options = tiny.bids, tmp_path / "out", ()
    if where == "OUTPUT_DIR":
        out = odd
    elif where == "BIDS_DIR":
        bids = odd
    else:
        options = (where, odd)
    end = app(bids, out, "participant", *ONE, *options)
    assert end.code == 2
    assert "not written in UTF-8" in end.err and where in end.err
    assert not list(odd.iterdir())


def test_output_of_somebody_else(events, tiny, app, tmp_path):
    """Made under umask 077: no traceback, but whose right is missing, at each level."""
    _, out, _ = events
    options = (*ONE, "--features", tiny.features)
    ours = tmp_path / "out"
    subprocess.run(["cp", "-r", out, ours], check=True)
    open_for_all(tmp_path)
    (ours / "sub-01").chmod(0o700)
    for level, more in (("group", ()), ("participant", ("--reports-only", *ONE))):
        with somebody_else():
            end = app(tiny.bids, ours, level, *more)
        assert end.code == 73
        assert "Permission denied" in end.err and "Traceback" not in end.err
        assert str(ours / "sub-01") in end.err
    (ours / "sub-01").chmod(0o755)
    [table] = (ours / "sub-01" / "func").glob("*_scores.json")
    table.chmod(0o600)
    with somebody_else():
        end = app(tiny.bids, ours, "group", *options)
    assert end.code in (65, 73) and str(table) in end.err


@pytest.mark.parametrize("place", ["sub-01", "sub-01/ses-1/func", "stimuli", "."])
def test_a_dataset_that_may_not_be_read(place, tiny, app, tmp_path, events):
    open_for_all(tmp_path)
    (tiny.bids / place).chmod(0o700)
    with somebody_else():
        end = app(tiny.bids, tmp_path / "out", "participant", *ONE, "--dry-run",
                  "--features", tiny.features)  # fmt: skip
    assert end.code in (16, 66)
    assert "Traceback" not in end.err and "bug" not in end.err
    assert str((tiny.bids / place).resolve()) in end.err


@pytest.mark.parametrize(
    ("code", "place", "kind"),
    [
        (errno.EACCES, "out/sub-01/func/a.tsv", OutputError),
        (errno.ENOSPC, "work/features/a.npy", OutputError),
        (errno.EIO, "data/sub-01/func/a.nii.gz", MissingInputError),
        (errno.ESTALE, "data", MissingInputError),
    ],
)
def test_what_the_system_says_of_files(code, place, kind, tmp_path):
    """The file, and the reason in the system's words."""
    ours = (tmp_path / "out", tmp_path / "work")
    named = of_the_system(OSError(code, os.strerror(code), str(tmp_path / place)), ours)
    assert type(named) is kind
    assert str(tmp_path / place) in str(named) and os.strerror(code) in str(named)


def test_a_bug_is_no_trouble_of_a_file(tmp_path):
    assert of_the_system(OSError("our own fault"), (tmp_path,)) is None


@pytest.mark.parametrize("module", ["bids_encoder", "bids_encoder.app.cli"])
def test_a_home_that_may_not_be_entered(module, tmp_path):
    """As in jobs whose home folder is not theirs: `prepare` gives libraries another one."""
    code = (
        "import os; os.seteuid(54321); from pathlib import Path; "
        "from bids_encoder.runtime.environment import prepare; prepare(Path('work')); "
        "print(os.environ['XDG_CACHE_HOME'])"
    )
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    code = f"import {module}; import bids_encoder.runtime.environment, pwd, tempfile; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(home) not in done.stdout


def test_ctrl_c_before_the_work_begins(tiny, tmp_path):
    """At any moment of the first second: a sentence at most, code 130, and no traceback."""
    for wait in (0.15, 0.3, 0.6, 1.0):
        running = subprocess.Popen(
            [sys.executable, "-m", "bids_encoder", tiny.bids, tmp_path / "out", "participant",
             "--features", tiny.features, "-w", tmp_path / "work"],
            stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        while b"bids_encoder" not in Path(f"/proc/{running.pid}/cmdline").read_bytes():
            time.sleep(0.001)  # the interpreter is not there yet
        time.sleep(wait)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=120)[1]
        assert "bids_encoder" not in said or "Traceback" not in said, said
        assert running.returncode in (130, -signal.SIGINT)
