"""The file of contrasts (``--synthesize FILE.json``): conditions, and weights over them.

In the manner of a BIDS Stats Model: an object with ``Contrasts``, each with ``Name``,
``ConditionList``, ``Weights`` and ``Test`` ("t"). A condition is ``COLUMN.VALUE`` of the
events, as there, or is defined under ``Conditions`` in one of three ways::

    {"Events": {"trial_type": ["face", "body"]}}         lines of the events
    {"Stimuli": {"category": "house"}}                   lines of stimuli.tsv
    {"Folder": "haxby/cats"}                             pictures from elsewhere
    {"Folder": "haxby", "Stimuli": {"kind": "cat"}}      those in a table in that folder

Where several columns are named, all of them must fit. Folders are relative to the file.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from bids_encoder.bids.sidecars import read_json
from bids_encoder.derivatives.file_names import label
from bids_encoder.errors import DataError

_FILE_KEYS = ("Name", "Description", "Conditions", "Contrasts")
_CONDITION_KEYS = ("Events", "Stimuli", "Folder")
_CONTRAST_KEYS = ("Name", "Description", "ConditionList", "Weights", "Test")
_FRACTION = re.compile(r"[+-]?\d{0,20}(\.\d{0,20})?(e[+-]?\d{1,2})?(/\d{1,20})?", re.IGNORECASE)
_LARGEST_SUM = 1e-6  # of weights that should sum to 0, relative to the largest


@dataclass(frozen=True)
class Condition:
    """Which pictures belong together.

    Attributes
    ----------
    name : str
    events : dict of str to tuple of str
        Columns of the events and their values; empty where events do not matter.
    stimuli : dict of str to tuple of str
        Columns of ``stimuli.tsv`` (of the folder, where there is one) and their values.
    folder : Path or None
        Where pictures from elsewhere are.
    """

    name: str
    events: Mapping[str, tuple[str, ...]]
    stimuli: Mapping[str, tuple[str, ...]]
    folder: Path | None = None


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of conditions.

    Attributes
    ----------
    name : str
    weights : dict of str to float
        By the name of the condition; they sum to 0, none is 0.
    place : str
        Where in the file it stands, for messages.
    """

    name: str
    weights: Mapping[str, float]
    place: str

    @property
    def label(self) -> str:
        """Its name in the names of files."""
        return label(self.name)


@dataclass(frozen=True)
class ContrastFile:
    """What a file of contrasts says.

    Attributes
    ----------
    path : Path
    conditions : dict of str to Condition
        Those that a contrast uses.
    contrasts : tuple of Contrast
    """

    path: Path
    conditions: Mapping[str, Condition]
    contrasts: tuple[Contrast, ...]


def read_contrast_file(path: str | Path) -> ContrastFile:
    """Read and check a file of contrasts; pictures and tables are not looked at yet.

    Raises
    ------
    MissingInputError
        No such file.
    DataError
        Not JSON; unknown, double or missing keys; values of the wrong kind; weights that do
        not fit; conditions that are not defined; two contrasts with one name.
    """
    path = Path(path)
    content = read_json(path, pairs=lambda names: _no_doubles(names, path))
    _check_keys(content, _FILE_KEYS, "the file", path)
    defined = {
        name: _condition(name, entry, path)
        for name, entry in _object(content.get("Conditions", {}), "Conditions", path).items()
    }
    entries = content.get("Contrasts")
    if not isinstance(entries, list) or not entries:
        raise DataError(
            "The file names no contrasts.",
            file=path,
            place="Contrasts",
            found=_shown(entries) if "Contrasts" in content else "no such key",
            expected="a list of objects with Name, ConditionList and Weights",
            remedy='add for example {"Name": "faceVShouse", "ConditionList": ["face", "house"], '
            '"Weights": [1, -1]}',
        )
    contrasts = tuple(
        _contrast(entry, f"Contrasts[{number}]", path) for number, entry in enumerate(entries)
    )
    _check_labels(contrasts, path)
    used = dict.fromkeys(name for contrast in contrasts for name in contrast.weights)
    conditions = {name: defined.get(name) or _implied(name, defined, path) for name in used}
    return ContrastFile(path, conditions, contrasts)


def _condition(name: str, entry: object, path: Path) -> Condition:
    place = f"Conditions.{name}"
    entry = _object(entry, place, path)
    _check_keys(entry, _CONDITION_KEYS, place, path)
    kinds = tuple(key for key in _CONDITION_KEYS if key in entry)
    if kinds not in {("Events",), ("Stimuli",), ("Folder",), ("Stimuli", "Folder")}:
        raise DataError(
            "A condition must be defined in one way.",
            file=path,
            place=place,
            found=" and ".join(kinds) or "nothing",
            expected="Events, or Stimuli, or Folder, or Folder with Stimuli",
            remedy="remove all but one of them",
        )
    folder = None
    if "Folder" in entry:
        folder = entry["Folder"]
        if not isinstance(folder, str) or not folder.strip() or "\0" in folder:
            raise _wrong(f"{place}.Folder", folder, "the path of a folder, in quotes", path)
        folder = path.absolute().parent / folder
    return Condition(
        name,
        _columns(entry.get("Events"), f"{place}.Events", path),
        _columns(entry.get("Stimuli"), f"{place}.Stimuli", path),
        folder,
    )


def _columns(entry: object, place: str, path: Path) -> dict[str, tuple[str, ...]]:
    """Columns and the values that are wanted in each, as text."""
    if entry is None:
        return {}
    columns = {}
    for column, wanted in _object(entry, place, path).items():
        values = wanted if isinstance(wanted, list) else [wanted]
        fit = all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values)
        if not values or not fit or not column.strip():
            expected = "a value of that column (text or number), or a list of values"
            raise _wrong(f"{place}.{column}", wanted, expected, path)
        columns[column] = tuple(str(value).strip() for value in values)
    if not columns:
        raise _wrong(place, entry, '{"COLUMN": ["VALUE", ...]}', path)
    return columns


def _contrast(entry: object, place: str, path: Path) -> Contrast:
    entry = _object(entry, place, path)
    _check_keys(entry, _CONTRAST_KEYS, place, path)
    for key in ("Name", "ConditionList", "Weights"):
        if key not in entry:
            raise DataError(
                "A contrast is not complete.",
                file=path,
                place=place,
                found=", ".join(entry) or "nothing",
                expected="Name, ConditionList and Weights",
                remedy=f"add {key}",
            )
    name = entry["Name"]
    if not isinstance(name, str) or not any(c.isascii() and c.isalnum() for c in name):
        expected = "text with letters or digits (A-Z, a-z, 0-9), which names the files"
        raise _wrong(f"{place}.Name", name, expected, path)
    if entry.get("Test", "t") != "t":
        raise _wrong(f"{place}.Test", entry["Test"], '"t"', path)
    names, weights = entry["ConditionList"], entry["Weights"]
    if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
        raise _wrong(f"{place}.ConditionList", names, "a list of names of conditions", path)
    doubles = sorted({one for one in names if names.count(one) > 1})
    if doubles:
        expected = f"each condition once; {', '.join(doubles)} stands there more than once"
        raise _wrong(f"{place}.ConditionList", names, expected, path)
    if not isinstance(weights, list) or len(weights) != len(names):
        raise _wrong(f"{place}.Weights", weights, f"a list of {len(names)} numbers", path)
    numbers = [_weight(one, f"{place}.Weights[{i}]", path) for i, one in enumerate(weights)]
    used = {one: number for one, number in zip(names, numbers, strict=True) if number}
    total, largest = sum(used.values()), max(map(abs, used.values()), default=0.0)
    if not used or abs(total) > _LARGEST_SUM * largest:
        raise DataError(
            "The weights of a contrast do not sum to 0." if used else "All weights are 0.",
            file=path,
            place=f"{place}.Weights",
            found=f"{weights}" + (f", whose sum is {total:g}" if used else ""),
            expected="weights of both signs that sum to 0: responses have no absolute zero",
            remedy='compare with another condition; thirds are written "1/3"',
        )
    return Contrast(name, used, place)


def _weight(value: object, place: str, path: Path) -> float:
    """A number, or a fraction as text (as BIDS Stats Models have it)."""
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        # A fraction is exact: of "1e999999999" it would be a number of a billion digits.
        if isinstance(value, str) and not _FRACTION.fullmatch(value.strip()):
            raise ValueError
        number = float(Fraction(value.strip()) if isinstance(value, str) else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(place, value, 'a number, or a fraction such as "1/3"', path)
    return number


def _implied(name: str, defined: Mapping[str, Condition], path: Path) -> Condition:
    """``COLUMN.VALUE``: the lines of the events with that value."""
    column, dot, value = name.partition(".")
    if dot and column and value:
        return Condition(name, {column: (value,)}, {})
    near = difflib.get_close_matches(name, defined, n=1)
    raise DataError(
        "A contrast names a condition that is not defined.",
        file=path,
        place="Conditions",
        found=f"no {name!r} among {', '.join(defined)}" if defined else f"no {name!r}",
        expected="a name under Conditions, or COLUMN.VALUE of the events (trial_type.face)",
        remedy=f"did you mean {near[0]!r}?" if near else "define it under Conditions",
    )


def _check_labels(contrasts: Sequence[Contrast], path: Path) -> None:
    seen: dict[str, Contrast] = {}
    for one in contrasts:
        # Upper and lower case are the same on some file systems.
        other = seen.setdefault(one.label.casefold(), one)
        if other is not one:
            raise DataError(
                "Two contrasts would have the same file names.",
                file=path,
                place=f"{one.place}.Name",
                found=f"{other.name!r} and {one.name!r} both become contrast-{one.label}",
                expected="names that differ in letters and digits",
                remedy="rename one of them",
            )


def _check_keys(entry: Mapping, known: Sequence[str], place: str, path: Path) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise DataError(
                "The file of contrasts has a key that means nothing.",
                file=path,
                place=place,
                found=_shown(key),
                expected=", ".join(known),
                remedy=f"did you mean {near[0]}?" if near else "remove it",
            )


def _object(value: object, place: str, path: Path) -> dict:
    if not isinstance(value, dict):
        raise _wrong(place, value, "names and values between { and }", path)
    return value


def _no_doubles(pairs: list[tuple[str, object]], path: Path) -> dict:
    names = [name for name, _ in pairs]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise DataError(
            "A key stands twice in one object of the file.",
            file=path,
            place=doubles[0],
            found=f"{doubles[0]!r} {names.count(doubles[0])} times",
            expected="each key once",
            remedy="rename or remove one of them",
        )
    return dict(pairs)


def _wrong(place: str, value: object, expected: str, path: Path) -> DataError:
    return DataError(
        "The file of contrasts has a value of the wrong kind.",
        file=path,
        place=place,
        found=_shown(value),
        expected=expected,
        remedy="correct the value",
    )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
