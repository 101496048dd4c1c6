"""From what a table calls a stimulus to the file that was shown.

Names are taken as leniently as is safe: a folder too many, a folder too few, a missing
extension. A name never leads out of the folder with the stimuli, nor does a link that
came with the dataset.
"""

from __future__ import annotations

import difflib
import errno
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.bids.annex import get_command, lacks_content
from bids_encoder.bids.catalogue import ID_COLUMNS, find_catalogue, read_catalogue
from bids_encoder.bids.links import leads_out
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError, MissingInputError

_SHOWN = 10
_TABLES = frozenset({".json", ".tsv", ".csv", ".txt", ".md"})  # lie beside stimuli


@dataclass(frozen=True)
class Mention:
    """A cell of a table that names a stimulus."""

    name: str  # as written
    file: Path  # the table
    row: int  # its line
    column: str

    @property
    def place(self) -> str:
        return f"line {self.row}, column {self.column}"

    @property
    def key(self) -> tuple[str, str]:
        """The same name may mean different files in different columns."""
        return self.column, self.name


def locate_stimuli(
    mentions: Iterable[Mention],
    *,
    dataset_root: str | Path,
    stim_dir: str | Path | None = None,
    tolerated: InputWarnings | None = None,
) -> tuple[dict[tuple[str, str], str], dict[str, Path]]:
    """Find the file of every stimulus that is mentioned.

    Parameters
    ----------
    mentions : iterable of Mention
        All that are mentioned, by all runs of a participant.
    dataset_root : path
        Raw dataset; its folder ``stimuli`` holds the files.
    stim_dir : path, optional
        Folder that is looked in instead.
    tolerated : InputWarnings, optional
        Where small faults are noted; without it they are warned of at once.

    Returns
    -------
    ids : dict
        Stimulus id of each `Mention.key`: the POSIX path of its file relative to the
        folder.
    files : dict
        Path of the file of each id.

    Raises
    ------
    MissingInputError
        The folder, or files, are missing or not fetched; all of them in one message.
    DataError
        A name leads out of the folder, fits two files, or its file is empty.
    """
    noted = InputWarnings() if tolerated is None else tolerated
    mentions = list(mentions)
    folder = StimulusFolder(Path(dataset_root), Path(stim_dir) if stim_dir else None, noted)
    found: dict[tuple[str, str], str | None] = {}
    for mention in mentions:
        if mention.key not in found:
            found[mention.key] = folder.find(mention)
    ids = {key: stimulus for key, stimulus in found.items() if stimulus is not None}
    missing = [mention for mention in mentions if mention.key not in ids]
    if tolerated is None:
        noted.warn()
    if missing:
        raise folder.missing(missing)
    files = {stimulus: folder.path / stimulus for stimulus in ids.values()}
    first = {ids[mention.key]: mention for mention in reversed(mentions)}
    _require_content(files, first)
    return ids, files


class StimulusFolder:
    """The folder in which stimuli are looked for.

    Parameters
    ----------
    dataset_root : path
        Raw dataset.
    stim_dir : path or None
        Folder given by the user; None takes ``stimuli`` in the dataset.
    tolerated : InputWarnings
        Where small faults are noted.
    """

    def __init__(self, dataset_root: Path, stim_dir: Path | None, tolerated: InputWarnings):
        self.root = Path(os.path.abspath(dataset_root))
        self.path = Path(os.path.abspath(stim_dir or self.root / "stimuli"))
        self.given = stim_dir is not None
        self._tolerated = tolerated
        self._names: dict[str, list[str]] | None = None
        self._stems: dict[str, list[str]] = {}
        self._catalogue: dict[str, str] | None = None
        if not self.path.is_dir():
            raise MissingInputError(
                "There is no folder with the stimuli.",
                file=self.path,
                remedy="correct the path after --stim-dir"
                if self.given
                else "say where the stimuli are with --stim-dir PATH, "
                f"or fetch them with: datalad get {self.path}",
            )
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise MissingInputError(
                "The folder with the stimuli may not be read.",
                file=self.path,
                found=os.strerror(errno.EACCES),
                remedy="give yourself the right to read it",
            )

    def find(self, mention: Mention) -> str | None:
        """The id of a stimulus, or None where no file fits.

        Raises
        ------
        DataError
            The name leads out of the folder, or fits two files.
        """
        name = mention.name
        if mention.column in ID_COLUMNS:
            name = self._catalogued(mention)
        relative = self._relative(name, mention)
        found: str | None
        for candidate in _candidates(relative):
            if os.path.lexists(self.path / candidate) and not os.path.isdir(self.path / candidate):
                found = candidate
                break
        else:
            found = self._search(relative, mention)
        if found is not None:
            self._refuse_foreign_link(self.path / found, mention)
            self._note(name, relative, found, mention)
        elif name.startswith("/") and not (self.path / relative.split("/")[0]).exists():
            raise self._outside(mention, "an absolute path")
        return found

    def missing(self, mentions: list[Mention]) -> MissingInputError:
        """The error that lists stimuli without a file."""
        counts = Counter(mention.name for mention in mentions)
        first = {mention.name: mention for mention in reversed(mentions)}
        shown = [
            f"{name} ({first[name].file.name}, line {first[name].row})"
            for name in list(counts)[:_SHOWN]
        ]
        more = [f"and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
        near = difflib.get_close_matches(
            posixpath.basename(mentions[0].name), list(self._walk())[:10_000], n=1, cutoff=0.8
        )
        hint = f"; is {near[0]} meant?" if near else ""
        return MissingInputError(
            f"{_count(len(counts))} {'has' if len(counts) == 1 else 'have'} no file.",
            file=mentions[0].file,
            place=mentions[0].place,
            found=", ".join([*shown, *more]),
            expected=f"files in {self.path}",
            remedy=f"correct the path after --stim-dir{hint}"
            if self.given
            else f"say where the stimuli are with --stim-dir PATH{hint}",
        )

    def _relative(self, name: str, mention: Mention) -> str:
        """A name as a path from the folder, without climbing out of it."""
        if re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise self._outside(mention, "a drive letter" if "\0" not in name else "a NUL byte")
        path = name.replace("\\", "/")
        for folder in (self.path, self.root / "stimuli"):
            path = path.removeprefix(f"{folder.as_posix()}/")
        relative = posixpath.normpath(posixpath.join("/stimuli", path.lstrip("/")))
        # Climbing out of the folder, or to nothing in it; "../stimuli/a.png" is back inside.
        if not relative.startswith("/stimuli/") or relative.startswith("//"):
            raise self._outside(mention, "a path that leaves the folder")
        return relative.removeprefix("/stimuli/")

    def _outside(self, mention: Mention, found: str) -> DataError:
        return DataError(
            "A stimulus does not lie in the folder with the stimuli.",
            file=mention.file,
            place=mention.place,
            found=f"{found}: {mention.name}",
            expected=f"a path relative to {self.path}",
            remedy="correct the table; a folder elsewhere is given with --stim-dir PATH",
        )

    def _note(self, name: str, relative: str, found: str, mention: Mention) -> None:
        place = f"{mention.file}, {mention.place}: {name}"
        if "\\" in name:
            self._tolerated.add("backslashes in the paths of stimuli", place)
        if name.startswith("/"):
            self._tolerated.add("paths of stimuli that begin with /", place)
        if relative.startswith("stimuli/") and not found.startswith("stimuli/"):
            self._tolerated.add(
                "paths of stimuli that begin with stimuli/, the folder they are relative to", place
            )

    def _search(self, relative: str, mention: Mention) -> str | None:
        """Look a name up anywhere below the folder; a missing extension is added."""
        names = self._walk()
        base = posixpath.basename(relative)
        for known in (names, self._stems):
            for wanted in _candidates(relative):
                fitting = [
                    path
                    for path in known.get(base, [])
                    if f"/{path}".endswith(f"/{wanted}")
                    or f"/{posixpath.splitext(path)[0]}".endswith(f"/{wanted}")
                ]
                if len(fitting) == 1:
                    return fitting[0]
                if fitting:
                    raise DataError(
                        f"{len(fitting)} files fit the name of a stimulus.",
                        file=mention.file,
                        place=mention.place,
                        found=f"{mention.name}: {', '.join(sorted(fitting)[:_SHOWN])}",
                        expected=f"one file in {self.path}",
                        remedy="write the path from that folder, or give a narrower --stim-dir",
                    )
        return None

    def _walk(self) -> dict[str, list[str]]:
        """Paths below the folder by base name (and by stem): one walk for all names."""
        if self._names is None:
            self._names = {}
            for folder, folders, names in os.walk(self.path):
                folders[:] = [name for name in folders if not name.startswith(".")]
                inside = os.path.relpath(folder, self.path).replace(os.sep, "/")
                for name in names:
                    if name.startswith("."):
                        continue
                    path = posixpath.normpath(posixpath.join(inside, name))
                    self._names.setdefault(name, []).append(path)
                    stem, extension = posixpath.splitext(name)
                    if extension.lower() not in _TABLES:
                        self._stems.setdefault(stem, []).append(path)
        return self._names

    def _catalogued(self, mention: Mention) -> str:
        """File name of a stimulus id, from ``stimuli.tsv`` or by its beginning (BEP044)."""
        if self._catalogue is None:
            path = find_catalogue([self.path, self.root / "stimuli"])
            if path is not None:
                self._refuse_foreign_link(path, mention)
            self._catalogue = read_catalogue(path, self._tolerated)
        if mention.name in self._catalogue:
            return self._catalogue[mention.name]
        # Files of stim-face01 are named stim-face01_image.png and the like.
        self._walk()
        stems = [
            path
            for stem, paths in self._stems.items()
            if stem == mention.name or stem.startswith(f"{mention.name}_")
            for path in paths
        ]
        return stems[0] if len(stems) == 1 else mention.name

    def _refuse_foreign_link(self, path: Path, mention: Mention) -> None:
        """A link that came with the dataset must not lead out of the dataset."""
        if self.root not in path.parents:
            return
        real = leads_out(path, [self.root])
        if real is None:
            return
        raise DataError(
            "The file of a stimulus, or the catalogue of them, is a link that leads out of the "
            "dataset.",
            file=mention.file,
            place=mention.place,
            found=f"{path} -> {real}",
            expected=f"a file in {self.root}",
            remedy="copy the file into the dataset, or say that you trust its folder: "
            f"--stim-dir {os.path.dirname(real)}",
        )


def _candidates(relative: str) -> list[str]:
    """A path as it stands, then without a leading ``stimuli/``."""
    return list(dict.fromkeys([relative, relative.removeprefix("stimuli/") or relative]))


def _count(number: int) -> str:
    return f"{number} stimul{'us' if number == 1 else 'i'}"


def _require_content(files: dict[str, Path], first: dict[str, Mention]) -> None:
    unfetched = [path for path in files.values() if lacks_content(path)]
    if unfetched:
        raise MissingInputError(
            f"The content of {_count(len(unfetched))} is not here: "
            "git-annex keeps only a link until it is fetched.",
            file=unfetched[0],
            remedy=get_command(unfetched),
        )
    empty = [stimulus for stimulus, path in files.items() if os.path.getsize(path) == 0]
    if empty:
        raise DataError(
            f"{len(empty)} file{'s' if len(empty) > 1 else ''} of stimuli "
            f"{'are' if len(empty) > 1 else 'is'} empty.",
            file=files[empty[0]],
            place=f"shown by {first[empty[0]].file.name}, {first[empty[0]].place}",
            found=", ".join(empty[:_SHOWN]),
            remedy="fetch or copy the files again",
        )
