"""Descriptions of numbers that say how sure something is: intervals, p-values, ceilings.

Such a number means little without two things: what was resampled, and what it says nothing about.
Descriptions of columns and files are made here, so that none can leave one out.
"""

from __future__ import annotations

import re

# Columns that hold such numbers, by their names.
_COLUMNS = re.compile(r"(^|_)(low|high|p|q)$|ceiling|^highest$")
_EXPLAINED = re.compile(r" Resampled: [^.].*\. Not covered: [^.].*\.$", re.DOTALL)


def uncertain(what: str, *, resampled: str, not_covered: str) -> str:
    """Describe an interval, a p-value or a ceiling.

    Parameters
    ----------
    what : str
        What it is: whole sentences.
    resampled : str
        What was drawn, permuted or flipped, without a full stop; "nothing", and how it is
        estimated instead, where that is so.
    not_covered : str
        What it does not account for, without a full stop.
    """
    return f"{what} Resampled: {resampled}. Not covered: {not_covered}."


def is_uncertain(column: str) -> bool:
    """Whether a column of this name holds such numbers."""
    return _COLUMNS.search(column) is not None


def is_explained(description: str) -> bool:
    """Whether a description says both."""
    return _EXPLAINED.search(description) is not None
