"""Nothing outside of a dataset is read, whichever file of it is made a link."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_dataset import Tiny, run_app

ONE = ("--participant-label", "01", "--n-permutations", "0", "--no-neural-code")

_seen: list[Path] = []
_listening = False


def _listen(event: str, arguments: tuple) -> None:
    if _listening and event == "open" and isinstance(arguments[0], str):
        _seen.append(Path(arguments[0]))


@contextmanager
def opened(folder: Path) -> Iterator[set[str]]:
    """The files of a folder that are opened meanwhile, relative to it."""
    global _listening
    if not hasattr(sys, "_links_out_hook"):
        sys._links_out_hook = True  # a hook cannot be taken away again
        sys.addaudithook(_listen)
    found: set[str] = set()
    _seen.clear()
    _listening = True
    try:
        yield found
    finally:
        _listening = False
        inside = [path for path in _seen if path.is_relative_to(folder) and path.is_file()]
        found.update(path.relative_to(folder).as_posix() for path in inside)


def catalogued(tiny: Tiny) -> None:
    """Name the pictures by ids that the catalogue of stimuli explains."""
    rows = ["stimulus_id\tfilename"]
    for session in "12":
        path = tiny.events(session)
        text = path.read_text().replace("stim_file", "stim_id", 1)
        for name in sorted(
            set(text.split())
            & {
                p.relative_to(tiny.bids / "stimuli").as_posix()
                for p in (tiny.bids / "stimuli").rglob("*.png")
            }
        ):
            key = name.replace("/", "").removesuffix(".png")
            rows.append(f"{key}\t{name}")
            text = text.replace(name, key)
        path.write_text(text)
    (tiny.bids / "stimuli" / "stimuli.tsv").write_text("\n".join(rows) + "\n")


def as_it_is(_: Tiny) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "options"),
    [
        (as_it_is, ("--layers", "stage1")),
        (as_it_is, ("-d", "prep", "--space", "T1w", "--layers", "stage1")),
        (catalogued, ("--features", "features.h5")),
    ],
    ids=["raw", "preprocessed", "catalogue"],
)
def test_every_file_that_is_read_is_refused_as_a_link(
    prepare: Callable[[Tiny], None], options, tiny, app, tmp_path, no_page
):
    """What the app opens is seen by the interpreter; each of these files becomes a link out."""
    prepare(tiny)
    options = [tiny.folder / one if (tiny.folder / one).exists() else one for one in options]
    with opened(tiny.folder) as found:
        end = run_app(tiny.bids, tmp_path / "out", "participant", *ONE, *options)
    assert end.code == 0, end.err
    found = {name for name in found if not name.startswith("features")}
    kinds = one_of_each_kind(found)
    assert {"events.tsv", "bold.nii.gz", "dataset_description.json"} & set(kinds)
    assert len(kinds) >= 4
    for name in kinds.values():
        path = tiny.folder / name
        outside = tmp_path / "outside" / name.replace("/", "_")
        outside.parent.mkdir(exist_ok=True)
        shutil.move(path, outside)
        path.symlink_to(outside)
        end = run_app(tiny.bids, tmp_path / "again", "participant", *ONE, *options)
        assert end.code == 65, f"{name} was read from outside:\n{end.said}"
        assert "leads out of" in end.err and str(path) in end.err
        if "stimuli" in name:  # a folder with stimuli that is trusted is given as such
            path.unlink()
            shutil.move(outside, path)
            continue
        trusted = run_app(
            tiny.bids, tmp_path / "trusted", "participant", *ONE, *options, "--follow-links",
            "--dry-run",
        )  # fmt: skip
        assert trusted.code == 0, trusted.err
        path.unlink()
        shutil.move(outside, path)


def one_of_each_kind(names: set[str]) -> dict[str, str]:
    """One file for each suffix and extension: the others go the same way."""
    return {
        "picture" if name.endswith(".png") else name.rpartition("_")[2] or name: name
        for name in sorted(names)
    }
