"""What can go wrong, and the exit code that each kind of trouble ends with.

A message names the file, the place in it, what was found, what was expected
and the remedy, so that nobody has to read a traceback to mend a dataset.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing from Python 3.11 on

_LONGEST_PART = 1000  # characters: what a table or header holds may be endless


class MessageParts(TypedDict, total=False):
    """What a message may say beside the problem, as for `BidsEncoderError`."""

    file: str | Path | None
    place: str | None
    found: object | None
    expected: object | None
    remedy: str | None


class BidsEncoderError(Exception):
    """Trouble that has a name: shown as a message, never as a traceback.

    Parameters
    ----------
    problem : str
        One sentence: what is wrong.
    file : path, optional
        The file that it is about.
    place : str, optional
        Where in the file: a row, a column, a key, a volume.
    found, expected : str, optional
        What is there, and what should be there.
    remedy : str, optional
        What to do about it: a command to run, an option to give.
    """

    exit_code = 70
    # Whether every participant would end like this, so that there is no use in trying the others.
    everybody = False

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        place: str | None = None,
        found: object | None = None,
        expected: object | None = None,
        remedy: str | None = None,
    ):
        parts: MessageParts = {
            "file": file,
            "place": place,
            "found": found,
            "expected": expected,
            "remedy": remedy,
        }
        lines = [problem] + [
            f"  {name + ':':<10}{shortened(value)}"
            for name, value in parts.items()
            if value is not None
        ]
        super().__init__("\n".join(lines))
        self.problem = problem
        self.parts = parts

    def naming(self, **parts: Unpack[MessageParts]) -> BidsEncoderError:
        """The same trouble with parts of the message that it lacks, such as its file."""
        known = self.parts
        said: MessageParts = {
            "file": parts.get("file") if known["file"] is None else known["file"],
            "place": parts.get("place") if known["place"] is None else known["place"],
            "found": parts.get("found") if known["found"] is None else known["found"],
            "expected": parts.get("expected") if known["expected"] is None else known["expected"],
            "remedy": parts.get("remedy") if known["remedy"] is None else known["remedy"],
        }
        other = type(self)(self.problem, **said)
        other.everybody = self.everybody
        return other

    def __reduce__(self):
        # BaseException pickles its arguments only; errors cross process borders.
        return _rebuild, (type(self), self.problem, self.parts)


@contextmanager
def naming(**parts: Unpack[MessageParts]) -> Iterator[None]:
    """Let trouble that comes out of a block say where it was: its file, layer, run.

    For code that is given arrays and knows no files. What a message says already stays.
    """
    try:
        yield
    except BidsEncoderError as error:
        raise error.naming(**parts) from error.__cause__


def shortened(value: object) -> str:
    """A part of a message, without the middle of what nobody would read."""
    text = str(value)
    if len(text) <= _LONGEST_PART:
        return text
    return f"{text[: _LONGEST_PART // 2]} … {text[-_LONGEST_PART // 4 :]}"


def _rebuild(kind, problem, parts):
    return kind(problem, **parts)


class ParticipantError(BidsEncoderError):
    """A participant's work ended for a reason that has no code of its own."""

    exit_code = 1


class UsageError(BidsEncoderError):
    """Options that do not go together, or that name what does not exist."""

    exit_code = 2
    everybody = True


class InvalidDatasetError(BidsEncoderError):
    """The folder is not a BIDS dataset."""

    exit_code = 16
    everybody = True


class NothingSelectedError(BidsEncoderError):
    """The filters select nothing."""

    exit_code = 18


class DataError(BidsEncoderError):
    """A file is there, but its content is wrong."""

    exit_code = 65


class MissingInputError(BidsEncoderError):
    """A file that is needed is not there (or its content is not: git-annex)."""

    exit_code = 66


class OutputError(BidsEncoderError):
    """The output cannot be written."""

    exit_code = 73
    everybody = True


class MemoryLimitError(UsageError):
    """The work does not fit into the memory that it may use."""

    everybody = False  # another participant may have fewer voxels


def out_of_memory(error: MemoryError, limit: float | None) -> ParticipantError:
    """The error for memory that the system has refused.

    Parameters
    ----------
    error : MemoryError
    limit : float or None
        GB that the user allows.
    """
    return ParticipantError(
        "The system has no memory left for this work.",
        place="--mem",
        found=str(error) or "no more memory",
        expected="room for what the plan has announced (line memory)"
        + (f", of {limit:g} GB" if limit else ""),
        remedy="end other programs, use a smaller --nprocs, name fewer --layers, or give a "
        "--mem that is free on this machine",
    )


def of_the_system(error: OSError, written: Sequence[str | Path] = ()) -> BidsEncoderError | None:
    """The error for a file that the system will not open; None where it names no file.

    Readers and writers have messages of their own; this is for what they did not foresee.

    Parameters
    ----------
    error : OSError
    written : sequence of path
        Folders below which files are written, not read.
    """
    if not isinstance(error.filename, (str, bytes, os.PathLike)) or error.errno is None:
        return None
    path = Path(os.path.abspath(os.fsdecode(error.filename)))
    if os.path.isdir(path.parent) and not os.access(path.parent, os.X_OK):
        path = path.parent  # what it is that may not be entered
    if error.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        kind: type[BidsEncoderError] = ParticipantError
    elif any(path.is_relative_to(os.path.abspath(folder)) for folder in written):
        kind = OutputError
    else:
        kind = MissingInputError
    return kind(
        "The system does not let this file or folder be used."
        if kind is OutputError
        else "The system does not let this file or folder be read.",
        file=path,
        found=os.strerror(error.errno),
        expected="a file or folder that can be reached",
        remedy="correct its name or rights, or those of the folders above it (a run of somebody "
        "else may have made it for that person alone)",
    )
