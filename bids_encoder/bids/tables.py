"""Tables of tab-separated values, checked as they are read.

Not pandas' reader: it guesses types, and it cannot say on which line a fault is.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError, MissingInputError

# A quoted value runs to the first quote that stands alone, behind which the next value begins.
_QUOTED = {
    separator: re.compile(rf'"([^"]*(?:""[^"]*)*)"(?={re.escape(separator)}|$)')
    for separator in ("\t", ",", ";")
}
LARGEST_TABLE = (
    256_000_000  # bytes; the largest tables of trials and confounds have some tens of MB
)
MOST_COLUMNS = 20_000  # tables of confounds have up to a few thousand
_ABSENT = frozenset({"", "n/a", "N/A", "nan", "NaN"})


def is_absent(value: str) -> bool:
    """Is a cell empty, or ``n/a``?"""
    return value.strip() in _ABSENT


def read_table(path: str | Path, tolerated: InputWarnings | None = None):
    """Read a TSV file as text.

    Parameters
    ----------
    path : path
        The file.
    tolerated : InputWarnings, optional
        Where small faults are noted: a byte-order mark, Windows line ends. Without it
        they are warned of at once.

    Returns
    -------
    pandas.DataFrame
        All columns are strings. The index, named "line", is the line of the file that
        each row is on; the header is line 1.

    Raises
    ------
    MissingInputError
        No such file, or its content is not fetched.
    DataError
        Empty, not UTF-8, not separated by tabs, columns of the same name, or a row
        with too few or too many values.
    """
    import pandas as pd

    path = Path(path)
    noted = InputWarnings() if tolerated is None else tolerated
    lines = _lines(path, noted)
    if tolerated is None:
        noted.warn()
    header = [name.strip() for name in split_cells(lines[0])]
    while header and not header[-1]:
        header.pop()
    _check_header(header, path)
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = split_cells(line)
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise DataError(
                "A row of the table does not have one value for each column.",
                file=path,
                place=f"line {number}",
                found=f"{len(cells)} values",
                expected=f"{len(header)}: {', '.join(header)}",
                remedy="write n/a where there is no value; columns are separated by one tab",
            )
        rows.append([cell.strip() for cell in cells])
        numbers.append(number)
    index = pd.Index(numbers, dtype=int, name="line")
    return pd.DataFrame(rows, columns=header, index=index, dtype=object)


def _lines(path: Path, tolerated: InputWarnings) -> list[str]:
    require_content([path], "table")
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise DataError(
                "The table is too large.",
                file=path,
                found=f"{path.stat().st_size:,} bytes",
                expected=f"at most {LARGEST_TABLE:,}",
                remedy="check that this is the right file; leave out columns that nobody needs",
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingInputError(
            "There is no such table.", file=path, remedy="correct its name, or put it there"
        ) from error
    except OSError as error:
        raise DataError(
            "The table cannot be read.",
            file=path,
            found=error.strerror or error,
            remedy="correct the rights of the file",
        ) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            "The table is not text in UTF-8.",
            file=path,
            place=f"line {content[: error.start].count(10) + 1}",
            found=f"byte 0x{content[error.start]:02x}",
            remedy="save it as UTF-8",
        ) from error
    if text.startswith("\ufeff"):
        tolerated.add("a byte-order mark at the start of a table", path)
        text = text[1:]
    if "\r" in text:
        tolerated.add("Windows line ends in a table", path)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(
            "The table is empty.",
            file=path,
            expected="a header line, then one line for each row",
            remedy="restore the file",
        )
    if "\0" in text:
        raise DataError(
            "The table is not text.",
            file=path,
            place=f"line {text[: text.index(chr(0))].count(chr(10)) + 1}",
            found="a NUL byte",
            remedy="restore the file",
        )
    return text.split("\n")


def split_cells(line: str, separator: str = "\t") -> list[str]:
    """The values of one row.

    Around a whole value, quotes are marks (BIDS: a tab inside a value must be quoted), and two
    of them within stand for one; everywhere else a quote is a character like any other, so that
    a lone one swallows neither its neighbours nor the rows that follow. Not Python's csv, which
    has no such rule, and ends at values of 131 072 characters.
    """
    if '"' not in line:
        return line.split(separator)
    cells, place = [], 0
    while True:
        quoted = _QUOTED[separator].match(line, place)
        if quoted:
            cells.append(quoted[1].replace('""', '"'))
            place = quoted.end()
        else:
            end = line.find(separator, place)
            end = len(line) if end < 0 else end
            cells.append(line[place:end])
            place = end
        if place >= len(line):
            return cells
        place += 1  # the separator
        if place == len(line):
            return [*cells, ""]


def _check_header(header: list[str], path: Path) -> None:
    if len(header) <= 1:
        for separator, word in ((",", "commas"), (";", "semicolons"), (None, "spaces")):
            if header and len(header[0].split(separator)) > 1:
                raise DataError(
                    f"The table is separated by {word}, not by tabs.",
                    file=path,
                    place="line 1",
                    found=header[0],
                    remedy="save it as tab-separated values",
                )
    if not header or all(_is_number(name) or is_absent(name) for name in header):
        raise DataError(
            "The table has no header.",
            file=path,
            place="line 1",
            found=", ".join(header) or "an empty line",
            expected="the names of the columns",
            remedy="add a first line with the names of the columns",
        )
    if len(header) > MOST_COLUMNS:
        raise DataError(
            "The table has too many columns.",
            file=path,
            place="line 1",
            found=f"{len(header):,} columns",
            expected=f"at most {MOST_COLUMNS:,}",
            remedy="check that rows are lines and columns are separated by tabs",
        )
    doubles = sorted(name for name, times in Counter(header).items() if times > 1)
    if doubles:
        raise DataError(
            "Columns of the table have the same name.",
            file=path,
            place="line 1",
            found=", ".join(doubles),
            remedy="rename or remove all but one of them",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
