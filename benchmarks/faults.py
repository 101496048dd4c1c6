"""What becomes of a run that is killed, starved, copied or lied to: `python benchmarks/faults.py`.

Each experiment disturbs runs of a participant of a tiny dataset, lets the same command run again,
and compares all results, byte by byte, with those of a run that nobody disturbed. Until then, no
file may be there that has other bytes than it has in the end. Prints the table of
docs/reliability.md. The experiments that fill a disk or mount a dataset read-only need root.

Runs are forked from this process, which has imported everything, so that they take no time to
start and end with the exit code of the program.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "app"))

import tiny_dataset

from bids_encoder.app import cli

OPTIONS = [*tiny_dataset.QUICK, "--layers", "stage1", "--skip-bids-validation"]
ONE = ("--participant-label", "01")
# What says when and where a run was made, not what came out.
RUN_SPECIFIC = ("/log/", "/logs/crash")


@dataclass(frozen=True)
class Place:
    """Where a run works: `folder`/out and `folder`/work."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def log(self) -> Path:
        return self.folder / "messages.txt"

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


def start(
    dataset: Path, place: Place, options: Sequence[str] = ONE, before: Callable = lambda: None
) -> int:
    """Begin a run in a process of its own; returns its number."""
    place.folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        dataset, place.out, "participant", "-w", place.folder / "work", *OPTIONS, *options,
    ]  # fmt: skip
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # A shell that starts programs in the background lets them ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end(pid: int) -> int:
    """Wait for a run; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(dataset: Path, place: Place, options: Sequence[str] = ONE, **how) -> int:
    """Run to the end."""
    return end(start(dataset, place, options, **how))


def results(out: Path) -> dict[str, str]:
    """Checksum of every result; files with hidden names are not there for anybody."""
    return {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in files(out)
        if not any(word in f"/{name}" for word in RUN_SPECIFIC)
    }


def files(out: Path) -> list[str]:
    """Names of all files that are seen."""
    names = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return sorted(name for name in names if "/.tmp-" not in f"/{name}")


def leftovers(folder: Path) -> list[Path]:
    """Temporary files."""
    return [path for path in folder.rglob(".*") if path.name.startswith((".tmp-", ".")) and
            path.is_file() and path.name not in (".bidsignore",)]  # fmt: skip


class Experiments:
    """Disturbances of runs on one dataset.

    Parameters
    ----------
    folder : Path
        Where everything is put.
    seed : int
        Of the random moments.
    """

    def __init__(self, folder: Path, seed: int = 0):
        self.folder = folder
        self.random = random.Random(seed)
        tiny = tiny_dataset.write_tiny(folder / "data")
        self.dataset = tiny.bids
        if "--layers" not in OPTIONS:
            OPTIONS.extend(["--features", tiny.features])
        place = Place(folder / "reference")
        begun = time.monotonic()
        assert run(self.dataset, place) == 0, place.said
        self.seconds = time.monotonic() - begun
        self.expected = results(place.out)
        self.size = sum(path.stat().st_size for path in place.folder.rglob("*") if path.is_file())

    @contextlib.contextmanager
    def place(self, name: str) -> Iterator[Place]:
        """A fresh place, beside the others, that is taken away in the end."""
        place = Place(self.folder / name)
        yield place
        shutil.rmtree(place.folder)

    def check_part(self, place: Place) -> None:
        """No file of a run that was disturbed differs from what it is in the end."""
        for name, digest in results(place.out).items() if place.out.exists() else ():
            assert self.expected.get(name) == digest, f"{name} is not whole"

    def check_resumed(self, place: Place) -> None:
        """The same command again brings the results of an undisturbed run."""
        assert run(self.dataset, place) == 0, place.said
        assert results(place.out) == self.expected

    def again(self) -> str:
        """Dataset, output and work folder elsewhere: the same bytes but of one file."""
        with self.place("elsewhere") as place:
            shutil.copytree(self.dataset, place.folder / "copy" / self.dataset.name)
            deeper = Place(place.folder / "one" / "deeper")
            assert run(place.folder / "copy" / self.dataset.name, deeper) == 0, deeper.said
            found = results(deeper.out)
        differing = [
            name for name in found | self.expected if found.get(name) != self.expected.get(name)
        ]
        # It holds the relative path to the dataset.
        assert differing == ["dataset_description.json"], differing
        return f"{len(self.expected) - 1} files the same; {differing[0]} has another relative path"

    def killed(self, count: int) -> str:
        """kill -9 at random moments."""
        for number in range(count):
            with self.place(f"killed{number}") as place:
                pid = start(self.dataset, place)
                time.sleep(self.random.uniform(0, self.seconds))
                os.killpg(pid, signal.SIGKILL)
                end(pid)
                self.check_part(place)
                self.check_resumed(place)
        return f"{count} kills, all resumed to the same bytes, no half-written file"

    def signalled(self, which: signal.Signals, count: int) -> str:
        """SIGTERM or SIGINT at random moments: a clean end within seconds."""
        longest, early = 0.0, 0
        for number in range(count):
            with self.place(f"signalled{number}") as place:
                pid = start(self.dataset, place)
                time.sleep(self.random.uniform(0.3, 0.9) * self.seconds)
                begun = time.monotonic()
                os.kill(pid, which)
                code = end(pid)
                longest = max(longest, time.monotonic() - begun)
                if code == 0:  # it was done before
                    early += 1
                else:
                    assert code == 128 + which, (code, place.said)
                    assert "Traceback" not in place.said and "Interrupted." in place.said
                    assert not leftovers(place.folder), leftovers(place.folder)
                    self.check_part(place)
                self.check_resumed(place)
        late = f" ({early} had ended before)" if early else ""
        return f"{count} signals{late}, code {128 + which}, {longest:.1f} s at most, all resumed"

    def disk_full(self, count: int) -> str:
        """A disk that is full at random moments."""
        stopped = 0
        for number in range(count):
            with self.place(f"full{number}") as place:
                place.folder.mkdir()
                size = int(self.random.uniform(0.05, 0.95) * self.size)
                _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", place.folder)
                try:
                    outside = Place(self.folder / f"full{number}-said")
                    outside.folder.mkdir()
                    (place.folder / "messages.txt").symlink_to(outside.log)
                    code = run(self.dataset, place)
                    if code:
                        stopped += 1
                        assert code == 73, (code, place.said)
                        assert "Traceback" not in place.said
                        assert "Free some space" in place.said or "free some space" in place.said
                        assert not leftovers(place.folder), leftovers(place.folder)
                        self.check_part(place)
                    _mount("-o", f"remount,size={4 * self.size}", place.folder)
                    self.check_resumed(place)
                finally:
                    subprocess.run(["umount", place.folder], check=True)
        return f"{count} disks, {stopped} filled up: code 73, all resumed to the same bytes"

    def eight(self) -> str:
        """Eight participants at once into one fresh folder."""
        labels = [f"{number:02d}" for number in range(1, 9)]
        data = self.folder / "eight"
        before = tiny_dataset.PARTICIPANTS
        tiny_dataset.PARTICIPANTS = tuple(labels)
        try:
            dataset = tiny_dataset.write_tiny(data).bids
        finally:
            tiny_dataset.PARTICIPANTS = before
        with self.place("inturn") as in_turn, self.place("atonce") as at_once:
            assert run(dataset, in_turn, ()) == 0, in_turn.said
            pids = [start(dataset, at_once, ("--participant-label", label)) for label in labels]
            assert [end(pid) for pid in pids] == [0] * 8, at_once.said
            assert results(at_once.out) == results(in_turn.out)
            count = len(results(at_once.out))
        return f"8 processes, {count} files as in a run of one after the other"

    def twice(self) -> str:
        """Two copies of the same participant at once."""
        with self.place("twice") as place:
            pids = [start(self.dataset, place) for _ in range(2)]
            assert [end(pid) for pid in pids] == [0, 0], place.said
            assert results(place.out) == self.expected
        return "both end with code 0, the same bytes"

    def read_only(self) -> str:
        """A dataset that cannot be written to."""
        data = self.folder / "readonly"
        data.mkdir()
        _mount("--bind", self.dataset, data)
        try:
            _mount("-o", "remount,bind,ro", data)
            with self.place("fromreadonly") as place:
                assert run(data, place) == 0, place.said
                found = results(place.out)
                # The name of the dataset's folder is in it.
                for one in (found, expected := dict(self.expected)):
                    one.pop("dataset_description.json")
                assert found == expected
        finally:
            subprocess.run(["umount", data], check=True)
        return "the same bytes"

    def lied_to(self) -> str:
        """Tables, headers and options that say what cannot be: a sentence, in little memory."""
        most, longest = 0.0, 0.0
        for name, (prepare, codes) in LIES.items():
            with self.place("lies") as place:
                place.folder.mkdir()
                dataset = place.folder / "raw"
                shutil.copytree(self.dataset, dataset)
                options = [str(one) for one in prepare(place.folder, dataset)]
                begun = time.monotonic()
                pid = start(dataset, place, (*ONE, *options))
                _, status, usage = os.wait4(pid, 0)
                code = os.waitstatus_to_exitcode(status)
                longest = max(longest, time.monotonic() - begun)
                most = max(most, usage.ru_maxrss * 1024 / 1e9)
                assert code in codes, (name, code, place.said)
                assert "Traceback" not in place.said and len(place.said) < 20_000, name
                assert not code or "Error" in place.said or "bids-encoder:" in place.said, name
        assert most < 2, most
        return f"{len(LIES)} lies, codes 2, 65 and 66, {longest:.0f} s and {most:.1f} GB at most"

    def damaged_cache(self) -> str:
        """One byte of each of some files of the work folder is another one: made again."""
        with self.place("cache") as place:
            assert run(self.dataset, place) == 0, place.said
            whole = _contents(place.folder / "work")
            # A kernel is read in place of the features that it was made of.
            features = [path for path in whole if "kernels" not in path.parts]
            kernels = [path for path in whole if "kernels" in path.parts]
            chosen = [*self.random.sample(features, min(10, len(features))), *kernels]
            for path in chosen:
                shutil.rmtree(place.out)
                if path not in kernels:
                    for one in kernels:
                        one.unlink(missing_ok=True)
                _flip(path, self.random)
                assert run(self.dataset, place) == 0, place.said
                assert results(place.out) == self.expected, path
                assert _contents(place.folder / "work") == whole, path
                named = path.name == "layers.json" or str(path) in place.said
                assert named and "made again" in place.said, path
        return f"{len(chosen)} files of features and kernels: all made again, the same bytes"

    def damaged_output(self) -> str:
        """One byte of each file of the output is another one: made again."""
        with self.place("output") as place:
            assert run(self.dataset, place) == 0, place.said
            names = [name for name in results(place.out) if name.startswith("sub-")]
            for name in names:
                _flip(place.out / name, self.random)
                assert run(self.dataset, place) == 0, (name, place.said)
                assert results(place.out) == self.expected, name
        return f"{len(names)} files, one after the other: all made again, the same bytes"

    def other_input(self) -> str:
        """Other input and other options over an old output, and back: nothing old stays."""
        other = self.folder / "other" / self.dataset.name
        shutil.copytree(self.dataset, other)
        path = other / f"task-{tiny_dataset.TASK}_bold.json"
        about = {**json.loads(path.read_text()), "RepetitionTime": 2.015}
        path.write_text(json.dumps(about))
        ways = [
            (other, ONE),
            (self.dataset, (*ONE, "--joint", "--joint-draws", "2", "--test-set", "ses=2")),
            (self.dataset, (*ONE, "--n-permutations", "0", "--save-weights", "none")),
            (self.dataset, ONE),
        ]
        with self.place("changing") as place:
            assert run(self.dataset, place) == 0, place.said
            for number, (dataset, options) in enumerate(ways):
                assert run(dataset, place, options) == 0, place.said
                with self.place(f"fresh{number}") as fresh:
                    assert run(dataset, fresh, options) == 0, fresh.said
                    found, expected = results(place.out), results(fresh.out)
                # It keeps the relative paths to all datasets that the output was made of.
                for one in (found, expected):
                    one.pop("dataset_description.json")
                assert found == expected, (options, set(found.items()) ^ set(expected.items()))
        return f"{len(ways)} changes: as if each run were the first one"

    def wrong_clock(self) -> str:
        """Inputs of the future, a clock of the past, and a clock that jumps between runs."""
        now = time.time()
        years = 365 * 24 * 3600
        for path in self.dataset.rglob("*"):
            os.utime(path, (now + 50 * years,) * 2)
        with self.place("clock") as place:
            assert run(self.dataset, place, before=lambda: _set_clock(0.0)) == 0, place.said
            assert results(place.out) == self.expected
            for path in place.folder.rglob("*"):
                os.utime(path, (now + 80 * years,) * 2)
            assert run(self.dataset, place, before=lambda: _set_clock(1e9)) == 0, place.said
            assert "all is there already" in place.said
            assert results(place.out) == self.expected
        return "the same bytes; a second run, 30 years earlier, finds all done"


def _edit_events(dataset: Path, row: str) -> list[str]:
    """Put a row in place of the first one of a run."""
    path = next(dataset.rglob("sub-01*_events.tsv"))
    header, _, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, row, *rows]) + "\n")
    return []


def _hollow_features(folder: Path, dataset: Path) -> list[object]:
    """A file of a few kilobytes whose header says that it holds 64 GB."""
    import h5py

    names = [p.relative_to(dataset / "stimuli").as_posix() for p in dataset.rglob("*.png")]
    with h5py.File(folder / "hollow.h5", "w") as file:
        file["stimuli"] = names
        file.create_dataset("stage1", (len(names), 4 * 10**8), "f4", chunks=(1, 10**6))
    return ["--features", folder / "hollow.h5"]


def _hollow_betas(folder: Path, dataset: Path) -> list[object]:
    import h5py

    path = folder / "sub-01_task-look_betas.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("betasmd", (2000, 2000, 2000, 40), "f4", chunks=(10,) * 4)
    path.with_suffix(".tsv").write_text(
        "stim_file\n" + "\n".join(sorted(tiny_dataset.picture_names())) + "\n"
    )
    return ["--betas", folder / "sub-{subject}_task-look_betas.hdf5"]


def _json(folder: Path, option: str, text: str) -> list[object]:
    path = folder / "file.json"
    path.write_text(text)
    return [option, path]


_ROW = "{}\t{}\tset0/picture00.png"
_CONTRAST = '{"Contrasts": [{"Name": "a", "ConditionList": ["t.a", "t.b"], "Weights": ["%s", -1]}]}'
# What prepares a lie in (folder, dataset) and gives options, and the codes that it may end with.
LIES: dict[str, tuple[Callable[[Path, Path], list], set[int]]] = {
    "a duration of 3e6 s": (lambda _, data: _edit_events(data, _ROW.format(4, "3e6")), {65}),
    "a duration of 1e308 s": (lambda _, data: _edit_events(data, _ROW.format(4, "1e308")), {65}),
    "a duration of a day": (lambda _, data: _edit_events(data, _ROW.format(4, "86400")), {0}),
    "an onset of -1e9 s": (lambda _, data: _edit_events(data, _ROW.format("-1e9", 1)), {65}),
    "a cell of 300 kB": (
        lambda _, data: _edit_events(data, _ROW.format(4, '"' + "1" * 300_000 + '"')),
        {65},
    ),
    "a name of 300 kB": (lambda _, data: _edit_events(data, f"4\t1\t{'a' * 300_000}"), {66}),
    "a cut-off of 1e308 Hz": (lambda *_: ["--high-pass", "1e308"], {2}),
    "10¹² permutations": (lambda *_: ["--n-permutations", 10**12], {2}),
    "1e308 GB": (lambda *_: ["--mem", "1e308GB"], {2}),
    "0.1 GB": (lambda *_: ["--mem", "0.1GB"], {2}),
    "a path of 5000 characters": (lambda *_: ["--features", "a/" * 2500], {2}),
    "own features of 64 GB in 6 kB": (_hollow_features, {65}),
    "betas of 1.3 TB in 1 kB": (_hollow_betas, {65}),
    "JSON of 990 levels": (
        lambda folder, _: _json(folder, "--bids-filter-file", '{"a":' * 990 + "1" + "}" * 990),
        {65},
    ),
    "a weight of 1e999999999": (
        lambda folder, _: _json(folder, "--synthesize", _CONTRAST % "1e999999999"),
        {65},
    ),
}


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _flip(path: Path, chance: random.Random) -> None:
    """Change a bit of one byte of a file, anywhere; its size and times stay as they were."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _set_clock(now: float) -> None:
    """Let Python's clock begin at another time."""
    off = now - time.time()
    clock, gmtime, strftime = time.time, time.gmtime, time.strftime
    time.time = lambda: clock() + off
    time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)
    time.strftime = lambda form, when=None: strftime(form, when or time.gmtime())


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def main() -> int:
    """Run all experiments and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--others", type=int, default=10, help="signals of a kind, full disks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the first three, a single time, without network and page",
    )
    parser.add_argument("--only", default="", help="experiments with this in their names")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.kills = chosen.others = 1
        # No network and no page: they take most of the time.
        OPTIONS[:] = [*tiny_dataset.QUICK, "--skip-bids-validation", "--no-neural-code"]
    cli.set_threads(1)
    import bids_encoder.app.levels
    import bids_encoder.app.participant_level  # what runs are forked with

    if chosen.quick:
        bids_encoder.app.participant_level._report = lambda *_: None

    with tempfile.TemporaryDirectory() as folder:
        experiments = Experiments(Path(folder).resolve(), chosen.seed)
        todo = {
            "dataset, output and work folder elsewhere": experiments.again,
            "kill -9 at random moments": lambda: experiments.killed(chosen.kills),
            "SIGTERM": lambda: experiments.signalled(signal.SIGTERM, chosen.others),
            "SIGINT (Ctrl-C)": lambda: experiments.signalled(signal.SIGINT, chosen.others),
            "two copies at once": experiments.twice,
            "eight participants at once": experiments.eight,
            "a damaged work folder": experiments.damaged_cache,
            "a damaged output": experiments.damaged_output,
            "other input and options": experiments.other_input,
            "a clock that is wrong": experiments.wrong_clock,
            "tables, headers and options that lie": experiments.lied_to,
        }
        if chosen.quick:
            todo = dict(list(todo.items())[:2])
        elif os.geteuid() == 0:
            todo["the disk is full"] = lambda: experiments.disk_full(chosen.others)
            todo["a read-only dataset"] = experiments.read_only
        print("| Disturbance | Outcome |\n| --- | --- |", flush=True)
        todo = {name: one for name, one in todo.items() if chosen.only in name}
        failed = 0
        for name, experiment in todo.items():
            try:
                found = experiment()
            except Exception as error:
                found, failed = f"FAILED: {error!r}"[:2000], 1
            print(f"| {name} | {found} |", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
