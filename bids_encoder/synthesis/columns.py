"""Columns of tables, and values that a condition wants in them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_encoder.errors import DataError


def check_columns(
    wanted: Mapping[str, Sequence[str]],
    columns: Mapping[str, set[str]],
    path: Path,
    place: str,
    table: Path,
    what: str,
) -> None:
    """Raise DataError where a condition wants a column or a value that a table lacks.

    Parameters
    ----------
    wanted : mapping of str to sequence of str
        Values by column.
    columns : mapping of str to set of str
        Values that are there, by column.
    path, place
        Of the condition, for the message.
    table, what
        The table: its file, and what it is in words.
    """
    for column, values in wanted.items():
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            raise DataError(
                f"A condition names a column that is not in {what}.",
                file=path,
                place=place,
                found=column,
                expected=f"one of the columns {', '.join(columns)} of {table}",
                remedy=f"did you mean {near[0]!r}?" if near else "correct the name",
            )
        for value in values:
            if not any(is_among(there, (value,)) for there in columns[column]):
                there = sorted(columns[column])
                near = difflib.get_close_matches(value, there, n=1)
                more = ", …" if len(there) > 12 else ""
                raise DataError(
                    "A condition names a value that its column does not have.",
                    file=path,
                    place=f"{place}.{column}",
                    found=value,
                    expected=f"one of {', '.join(there[:12])}{more} (in {table})",
                    remedy=f"did you mean {near[0]!r}?" if near else "correct the value",
                )


def is_among(text: str, values: Sequence[str]) -> bool:
    """Whether a cell is one of these values; 1, 1.0 and 01 are the same number."""
    if text in values:
        return True
    try:
        number = float(text)
        return any(number == float(value) for value in values)
    except ValueError:
        return False
