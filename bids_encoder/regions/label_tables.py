"""Tables that say what the numbers of a label image stand for.

Read are BIDS tables (TSV with ``index`` and ``name``), the same as CSV, plain lists
(one name a line, or ``number name`` as FreeSurfer's colour tables have it), and FSL's
XML files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.sidecars import inherited_file, list_folder
from bids_encoder.bids.tables import read_table, split_cells
from bids_encoder.errors import DataError, MissingInputError

EXTENSIONS = (".tsv", ".csv", ".txt", ".lut", ".xml")
_INDEX = ("index", "value", "id", "number", "component")
_NAME = ("name", "names", "region", "label", "labels", "difumo_names")
_LARGEST = 10_000_000  # bytes; tables of labels are much smaller
_LARGEST_LABEL = 2**31 - 1
_REMEDY = "give a table with the columns index and name with --atlas-labels"


def read_labels(path: str | Path) -> dict[int, str]:
    """Read a table of labels.

    Parameters
    ----------
    path : path
        ``.tsv``, ``.csv``, ``.txt``, ``.lut`` or ``.xml``.

    Returns
    -------
    dict of int to str
        Name by number; a name that comes twice has its number behind it. Rows of the
        background (0) are kept as they are.

    Raises
    ------
    MissingInputError
        No such file, or its content is not fetched.
    DataError
        It cannot be read as a table of labels.
    """
    path = Path(path)
    require_content([path], "table of labels")
    if not path.is_file():
        raise MissingInputError("There is no such table of labels.", file=path, remedy=_REMEDY)
    readers = {".tsv": _from_tsv, ".csv": _from_csv, ".xml": _from_xml}
    names: dict[int, str] = {}
    for place, index, name in readers.get(path.suffix.lower(), _from_text)(path):
        number = _number(index, path, place)
        if number in names:
            raise DataError(
                "A table of labels gives two names to one number.",
                file=path,
                place=place,
                found=f"{number}: {names[number]} and {name}",
                expected="each number once",
                remedy="correct the table",
            )
        names[number] = " ".join(name.split())
    if not names:
        raise DataError("The table of labels is empty.", file=path, remedy=_REMEDY)
    return _unique(names)


def from_one(names: Mapping[int, str], n_volumes: int) -> dict[int, str]:
    """Names of the volumes of a probabilistic atlas, counted from 1 as labels are.

    Some tables count from 0 (FSL's do), which shows where they name as many volumes as
    there are.
    """
    more = 1 if min(names) == 0 and max(names) == n_volumes - 1 else 0
    return {number + more: name for number, name in names.items()}


def find_labels(image: Path, root: Path | None = None) -> Path | None:
    """The table that belongs to a label image, by its name.

    Looked for are, in this order: the table that BIDS' inheritance principle finds
    (``root`` and below, default: beside the image); one with the image's name; one
    with ``labels`` where the image has ``atlas``; an XML file of FSL, beside the image
    or in the folder above, that mentions the image.
    """
    suffix = image.name.partition(".")[0].rpartition("_")[2]
    found = inherited_file(image, root or image.parent, suffix, ".tsv")
    if found is not None:
        return found
    stem = image.name.partition(".")[0]
    for name in (stem, stem.replace("atlas", "labels", 1), f"{stem}_labels"):
        for extension in EXTENSIONS:
            if (beside := image.with_name(name + extension)).exists():
                return beside
    for folder in (image.parent, image.absolute().parent.parent):
        for file in list_folder(folder):
            if file.extension == ".xml" and _mentions(file.path, stem):
                return file.path
    return None


def _mentions(path: Path, stem: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(10_000)
    except OSError:
        return False
    return f"/{stem}<" in head or f">{stem}<" in head


def _unique(names: dict[int, str]) -> dict[int, str]:
    every = list(names.values())
    return {
        number: name if every.count(name) == 1 else f"{name} ({number})"
        for number, name in names.items()
    }


def _number(text: str, path: Path, place: str) -> int:
    try:
        number = float(text)
        if not 0 <= number <= _LARGEST_LABEL or not number.is_integer():
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(
            "A table of labels has a number that no label can have.",
            file=path,
            place=place,
            found=repr(text),
            expected=f"a whole number from 0 to {_LARGEST_LABEL}",
            remedy="correct the table, or give another one with --atlas-labels",
        ) from None
    return int(number)


def _from_tsv(path: Path) -> Iterator[tuple[str, str, str]]:
    table = read_table(path)
    index, name = _columns(list(table.columns), path)
    for line, row in zip(table.index, table.itertuples(index=False), strict=True):
        yield f"line {line}", row[index], row[name]


def _from_csv(path: Path) -> Iterator[tuple[str, str, str]]:
    lines = _text(path).splitlines()
    separator = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    rows = [
        (number, [cell.strip() for cell in split_cells(line, separator)])
        for number, line in enumerate(lines, start=1)
        if line.strip(f" \t{separator}")
    ]
    if not rows:
        return
    index, name = 0, 1
    if not _is_number(rows[0][1][0]):
        index, name = _columns(rows.pop(0)[1], path)
    for number, row in rows:
        if len(row) <= max(index, name):
            raise _no_table(path, f"line {number}", separator.join(row))
        yield f"line {number}", row[index], row[name]


def _from_text(path: Path) -> Iterator[tuple[str, str, str]]:
    lines = [
        (number, line.split())
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if all(_is_number(words[0]) for _, words in lines):
        for number, words in lines:
            if len(words) < 2:
                raise _no_table(path, f"line {number}", words[0])
            # FreeSurfer: number, name, red, green, blue, alpha.
            colored = len(words) >= 5 and all(map(_is_number, words[-4:]))
            yield f"line {number}", words[0], " ".join(words[1:-4] if colored else words[1:])
        return
    for index, (number, words) in enumerate(lines, start=1):
        yield f"line {number}", str(index), " ".join(words)


def _from_xml(path: Path) -> Iterator[tuple[str, str, str]]:
    """FSL counts from 0; a summary image of a probabilistic atlas has 1 more."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(_text(path))
    except ElementTree.ParseError as error:
        raise DataError(
            "The table of labels is not valid XML.", file=path, found=error, remedy=_REMEDY
        ) from None
    kind = (root.findtext("header/type") or "").strip().lower()
    more = 0 if kind == "label" else 1
    for count, label in enumerate(root.iterfind("data/label"), start=1):
        place = f"label {count}"
        index = _number(label.get("index", ""), path, place)
        yield place, str(index + more), label.text or str(index)


def _columns(header: list[str], path: Path) -> tuple[int, int]:
    lower = [name.lower() for name in header]
    index = next((lower.index(name) for name in _INDEX if name in lower), None)
    name = next((lower.index(name) for name in _NAME if name in lower), None)
    if index is None or name is None:
        raise DataError(
            "The table of labels does not say which column is what.",
            file=path,
            place="line 1",
            found=", ".join(header),
            expected="the columns index and name",
            remedy="rename the columns, or give another table with --atlas-labels",
        )
    return index, name


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise _no_table(path, None, f"{path.stat().st_size} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "The table of labels is not text in UTF-8.",
            file=path,
            place=f"byte {error.start + 1}",
            remedy="save it as UTF-8",
        ) from None
    except OSError as error:
        raise DataError(
            "The table of labels cannot be read.",
            file=path,
            found=error.strerror,
            remedy="correct the rights of the file",
        ) from error


def _no_table(path: Path, place: str | None, found: str) -> DataError:
    return DataError(
        "This is not a table of labels.",
        file=path,
        place=place,
        found=found,
        expected="a number and a name in each row",
        remedy=_REMEDY,
    )


def _is_number(text: str) -> bool:
    return text.lstrip("+-").replace(".", "", 1).isdigit()
