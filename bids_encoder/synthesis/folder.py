"""A folder of pictures from elsewhere, perhaps with a table (``stimuli.tsv``) in it."""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_encoder.bids.annex import lacks_content, require_content
from bids_encoder.bids.catalogue import FILE_COLUMNS
from bids_encoder.bids.tables import is_absent, read_table
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.stimuli.folder import SUFFIXES, is_picture

TABLE = "stimuli.tsv"
_ANNEX = f"{os.sep}.git{os.sep}annex{os.sep}objects{os.sep}"


@dataclass(frozen=True)
class PictureFolder:
    """Pictures below a folder.

    Attributes
    ----------
    path : Path
    files : dict of str to Path
        By their POSIX path relative to the folder, in the order of the table, else by name.
    table : Path or None
        ``stimuli.tsv`` of the folder.
    columns : dict of str to list of str
        What the table says of each picture, one value a picture; without its file names.
    lines : tuple of int
        The line of the table that each picture is on.
    """

    path: Path
    files: Mapping[str, Path]
    table: Path | None = None
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    lines: tuple[int, ...] = ()


def read_folder(folder: str | Path, *, file: Path | None = None, place: str = "") -> PictureFolder:
    """Find the pictures of a folder; with a table in it, those that the table names.

    Files that are no pictures, and hidden ones, are passed over.

    Parameters
    ----------
    folder : path
    file, place : optional
        Where the folder was named, for messages.

    Raises
    ------
    MissingInputError
        No such folder, or the table names files that are not there.
    DataError
        No pictures; a broken table; a picture that the table names twice, or that lies (or
        whose link leads) outside of the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingInputError(
            "There is no such folder of pictures.",
            file=folder,
            place=None if file is None else f"named in {file}, {place}",
            expected="a folder; relative ones begin where the file of contrasts lies"
            if file is not None
            else "a folder with pictures, or a JSON file of contrasts",
            remedy="correct the path",
        )
    table = folder / TABLE
    if os.path.lexists(table):
        return _from_table(folder, table)
    names = sorted(_walk(folder))
    if not names:
        raise DataError(
            "The folder holds no pictures.",
            file=folder,
            expected=f"files such as face01.png ({', '.join(sorted(SUFFIXES))})",
            remedy="give the folder with the pictures",
        )
    for name in names:
        _refuse_foreign_link(folder, name)
    files = {name: folder / name for name in names}
    require_content(files.values(), "picture")
    return PictureFolder(folder, files)


def _walk(folder: Path) -> list[str]:
    found = []
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(inside, folder).replace(os.sep, "/")
        found += [
            posixpath.normpath(posixpath.join(relative, name))
            for name in names
            if not name.startswith(".") and is_picture(name)
        ]
    return found


def _from_table(folder: Path, path: Path) -> PictureFolder:
    table = read_table(path)
    column = next((name for name in FILE_COLUMNS if name in table), None)
    if column is None:
        raise DataError(
            "The table in the folder of pictures names no files.",
            file=path,
            place="line 1",
            found=", ".join(table.columns),
            expected=f"a column {' or '.join(FILE_COLUMNS)}",
            remedy="name the column of files so",
        )
    files: dict[str, Path] = {}
    lines: dict[str, int] = {}
    for line, text in table[column].items():
        name = _relative(text, path, f"line {line}, column {column}")
        if name in files:
            raise DataError(
                "The table names a picture twice.",
                file=path,
                place=f"line {line}, column {column}",
                found=f"{name}, which is on line {lines[name]} too",
                expected="each picture once",
                remedy="remove one of the lines",
            )
        files[name], lines[name] = folder / name, int(line)
    if not files:
        raise DataError(
            "The table names no pictures.",
            file=path,
            found="a header only",
            expected="one line for each picture",
            remedy="add the pictures, or remove the table to take all that the folder holds",
        )
    missing = [
        name for name, file in files.items() if not file.is_file() and not lacks_content(file)
    ]
    if missing:
        near = difflib.get_close_matches(missing[0], _walk(folder)[:10_000], n=1, cutoff=0.6)
        raise MissingInputError(
            f"{len(missing)} of {len(files)} pictures of the table are not in its folder.",
            file=path,
            place=f"line {lines[missing[0]]}, column {column}",
            found=", ".join(missing[:10]),
            expected=f"files in {folder}",
            remedy=f"is {near[0]} meant?" if near else "correct the table, or copy the files",
        )
    for name in files:
        _refuse_foreign_link(folder, name)
    require_content(files.values(), "picture")
    columns = {name: table[name].tolist() for name in table.columns if name != column}
    return PictureFolder(folder, files, path, columns, tuple(lines.values()))


def _relative(text: str, path: Path, place: str) -> str:
    name = posixpath.normpath(text.replace("\\", "/"))
    climbs = name.startswith("/") or name == ".." or name.startswith("../") or name[1:2] == ":"
    if is_absent(text) or climbs or name == "." or "\0" in name:
        raise DataError(
            "The table does not name a file in its folder.",
            file=path,
            place=place,
            found=text or "nothing",
            expected=f"a path relative to {path.parent}, inside of it",
            remedy="correct the table",
        )
    return name


def _refuse_foreign_link(folder: Path, name: str) -> None:
    """A link in the folder must not lead out of it, but to the content of its git-annex."""
    path = folder / name
    home, real = os.path.realpath(folder), os.path.realpath(path)
    if real.startswith(home + os.sep):
        return
    above, annexed, _ = real.partition(_ANNEX)
    if annexed and home.startswith(above + os.sep):
        return
    raise DataError(
        "A picture of the folder is a link that leads out of it.",
        file=path,
        found=real,
        expected=f"a file in {folder}",
        remedy="copy the picture into the folder, or name the folder where it lies",
    )
