"""The catalogue of stimuli, ``stimuli/stimuli.tsv`` (BEP044)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bids_encoder.bids.tables import is_absent, read_table
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError

# The proposal says stimulus_id here, stim_id in tables of events, and filename;
# datasets made from its drafts have the others.
ID_COLUMNS = ("stimulus_id", "stim_id")
FILE_COLUMNS = ("filename", "stim_file", "file_name", "file")


def find_catalogue(folders: Iterable[Path]) -> Path | None:
    """The catalogue of the first folder that has one."""
    return next((p for f in folders if os.path.lexists(p := f / "stimuli.tsv")), None)


def read_catalogue(path: Path | None, tolerated: InputWarnings) -> dict[str, str]:
    """File name of each stimulus id.

    Parameters
    ----------
    path : Path or None
        As :func:`find_catalogue` returns it.
    tolerated : InputWarnings

    Returns
    -------
    dict
        Empty where there is no catalogue, or where it has no column of file names
        (which the proposal leaves optional).

    Raises
    ------
    DataError
        The catalogue is broken, has no column of ids, or one id twice with two files.
    """
    if path is None:
        return {}
    table = read_table(path, tolerated)
    id_column = next((name for name in ID_COLUMNS if name in table), None)
    if id_column is None:
        raise DataError(
            "The catalogue of stimuli has no column of ids.",
            file=path,
            place="line 1",
            found=", ".join(table.columns),
            expected=ID_COLUMNS[0],
            remedy="name the column so",
        )
    file_column = next((name for name in FILE_COLUMNS if name in table), None)
    if file_column is None:
        return {}
    names: dict[str, str] = {}
    for line, key, name in zip(table.index, table[id_column], table[file_column], strict=True):
        if is_absent(name):
            continue
        if names.setdefault(key, name) != name:
            raise DataError(
                "A stimulus is in the catalogue twice, with two files.",
                file=path,
                place=f"line {line}, column {id_column}",
                found=f"{key}: {names[key]} and {name}",
                expected="one file for each id",
                remedy="remove one of them",
            )
    return names
