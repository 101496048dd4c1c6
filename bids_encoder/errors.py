"""What can go wrong, and the exit code that each kind of trouble ends with.

A message names the file, the place in it, what was found, what was expected
and the remedy, so that nobody has to read a traceback to mend a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


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
        parts = {
            "file": file,
            "place": place,
            "found": found,
            "expected": expected,
            "remedy": remedy,
        }
        lines = [problem] + [
            f"  {name + ':':<10}{value}" for name, value in parts.items() if value is not None
        ]
        super().__init__("\n".join(lines))
        self.problem = problem
        self.parts = parts

    def __reduce__(self):
        # BaseException pickles its arguments only; errors cross process borders.
        return _rebuild, (type(self), self.problem, self.parts)


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


def file_trouble(error: OSError, ours: Iterable[Path]) -> BidsEncoderError | None:
    """Put what the system says of a file (rights, disks, servers) into a sentence.

    Parameters
    ----------
    error : OSError
    ours : iterable of Path
        The folders that we write to.

    Returns
    -------
    OutputError, MissingInputError or None
        None where the system names no file: then it is no trouble of a file.
    """
    if not isinstance(error.filename, (str, bytes, os.PathLike)) or error.errno is None:
        return None
    file = Path(os.path.abspath(os.fsdecode(error.filename)))
    if os.path.isdir(file.parent) and not os.access(file.parent, os.X_OK):
        file = file.parent  # what it is that may not be entered
    found = os.strerror(error.errno)
    if any(file.is_relative_to(os.path.abspath(folder)) for folder in ours):
        return OutputError(
            "A file or folder of the output, or of the work folder, cannot be used.",
            file=file,
            found=found,
            remedy="give yourself the right to read and write there (a run of somebody else may "
            "have made it for that person alone), or choose another folder",
        )
    return MissingInputError(
        "A file or folder cannot be read.",
        file=file,
        found=found,
        remedy="give yourself the right to read it; look whether its disk is there",
    )
