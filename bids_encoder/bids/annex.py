"""Files whose content git-annex (DataLad) has not fetched."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bids_encoder.errors import DataError, MissingInputError

_SHOWN = 10
_POINTER = b"/annex/objects/"


def lacks_content(path: Path) -> bool:
    """Is this a link to nowhere, or the small text that stands in for an annexed file?"""
    if os.path.islink(path) and not os.path.exists(path):
        return True
    if not os.path.isfile(path):  # reading a pipe would wait for ever
        return False
    # Unlocked and adjusted branches keep a pointer file in place of the content.
    # https://git-annex.branchable.com/internals/pointer_file/
    try:
        with open(path, "rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def require_content(paths: Iterable[Path], what: str) -> None:
    """Raise one error that names every file whose content is not here.

    Parameters
    ----------
    paths : iterable of path
        Files that are needed.
    what : str
        What they are, for the message: "BOLD run", "events file".

    Raises
    ------
    MissingInputError
        A broken link or a pointer file is among them.
    DataError
        A pipe or a device is among them.
    """
    paths = [Path(path) for path in dict.fromkeys(paths)]
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(
                "This is neither a file nor a folder.",
                file=path,
                found="a pipe, a socket or a device",
                expected=f"a file: {what}",
                remedy="put the file in its place",
            )
    missing = [path for path in paths if lacks_content(path)]
    if not missing:
        return
    raise MissingInputError(
        f"The content of {_count(len(missing), what)} is not here: "
        "git-annex keeps only a link until it is fetched.",
        file=missing[0],
        found="a link to content that has not been fetched",
        remedy=get_command(missing),
    )


def get_command(paths: list[Path]) -> str:
    """The command that fetches these files, at most ten of them by name."""
    names = " ".join(str(path) for path in paths[:_SHOWN])
    more = f" (and {len(paths) - _SHOWN} more)" if len(paths) > _SHOWN else ""
    return f"datalad get {names}{more}"


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"
