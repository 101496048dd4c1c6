"""JSON sidecars and the inheritance principle.

A sidecar applies to a data file when it lies in the same folder or above it, has the
same suffix, and names no entity that the data file does not have; what lies deeper
overrides (BIDS specification, "The Inheritance Principle"). pybids can do this too,
but only by reading every sidecar of the dataset first.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.names import BidsFile, parse_name
from bids_encoder.errors import DataError, MissingInputError

logger = logging.getLogger(__name__)

# Nobody scans a volume for longer; many write milliseconds by mistake.
LONGEST_REPETITION_TIME = 20.0

LARGEST_JSON = 100_000_000  # bytes; the largest sidecars (slice timing, confounds) have a few MB
DEEPEST_JSON = 100  # objects within objects; recursion over a deeper file ends in an error

# Folder -> what lies in it. A caller that asks for many files of one dataset passes
# one such dictionary to all calls, so that each folder is listed once.
Listing = dict[Path, list[BidsFile]]


def read_json(path: str | Path, *, pairs: Callable[[list], dict] | None = None) -> dict:
    """Read a JSON object; a byte-order mark is tolerated.

    Parameters
    ----------
    path : path
    pairs : callable, optional
        Makes a dict of the names and values of an object, as ``object_pairs_hook`` of
        :func:`json.loads`.

    Raises
    ------
    MissingInputError
        No such file, or its content is not fetched.
    DataError
        Too large, not UTF-8, not JSON (with the line), nested without end, or JSON that is not
        an object.
    """
    path = Path(path)
    require_content([path], "JSON file")
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise DataError(
                "The file is too large to be read as JSON.",
                file=path,
                found=f"{size:,} bytes",
                expected=f"at most {LARGEST_JSON:,}",
                remedy="restore the file",
            )
        content = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=pairs)
        _refuse_depth(content, path)
    except FileNotFoundError as error:
        raise MissingInputError(
            "There is no such file.", file=path, remedy="correct its name, or put it there"
        ) from error
    except OSError as error:
        raise DataError(
            "The file cannot be read.",
            file=path,
            found=error.strerror or error,
            remedy="correct the rights of the file",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            "The file is not text in UTF-8.",
            file=path,
            place=f"byte {error.start + 1}",
            remedy="save it as UTF-8",
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            "The file is not valid JSON.",
            file=path,
            place=f"line {error.lineno}, column {error.colno}",
            found=error.msg,
            remedy="correct that line; a JSON checker shows such mistakes",
        ) from error
    except (RecursionError, ValueError) as error:
        # Valid JSON that Python will not read: endless nesting, endless digits.
        raise DataError(
            "The file cannot be read as JSON.",
            file=path,
            found=error,
            remedy="restore the file",
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            "The JSON file holds no object.",
            file=path,
            found=type(content).__name__,
            expected='names and values between { and }, e.g. {"RepetitionTime": 2.0}',
        )
    return content


def inherited_metadata(
    path: str | Path,
    root: str | Path,
    *,
    listing: Listing | None = None,
    check: Callable[[Sequence[Path]], None] | None = None,
) -> dict:
    """All metadata that apply to a data file, the nearest sidecar winning.

    Parameters
    ----------
    path : path
        The data file; it need not exist.
    root : path
        The dataset that it belongs to: the search ends there.
    listing : dict, optional
        Folder listings to be reused (and added to) from call to call.
    check : function of paths, optional
        Raises where a sidecar must not be read (`Dataset.refuse_links_out`).
    """
    metadata: dict = {}
    sidecars = sidecars_of(path, root, listing=listing)
    if check is not None:
        check(sidecars)
    for sidecar in sidecars:
        metadata.update(read_json(sidecar))
    return metadata


def sidecars_of(
    path: str | Path, root: str | Path, *, listing: Listing | None = None
) -> list[Path]:
    """The JSON files that `inherited_metadata` reads, the nearest last."""
    return _applicable(path, root, None, ".json", listing)


def inherited_file(
    path: str | Path,
    root: str | Path,
    suffix: str,
    extension: str,
    *,
    accept: Callable[[BidsFile], bool] = lambda _: True,
    listing: Listing | None = None,
) -> Path | None:
    """The nearest file with this suffix and extension that applies to a data file.

    Parameters
    ----------
    path, root, listing
        As for `inherited_metadata`.
    suffix, extension : str
        E.g. ``"events"`` and ``".tsv"``.
    accept : function of BidsFile, optional
        A further condition on the file.

    Returns
    -------
    path or None
        A broken link counts as there: it is for the caller to say what is missing.
    """
    found = [
        candidate
        for candidate in _applicable(path, root, suffix, extension, listing)
        if accept(parse_name(candidate))
    ]
    return found[-1] if found else None


def repetition_time(metadata: dict, path: str | Path) -> float | None:
    """The repetition time in seconds, or None where the sidecars do not say.

    ``VolumeTiming`` with equal steps is read as the repetition time that it amounts to.

    Raises
    ------
    DataError
        Not a positive number, milliseconds, or volumes at unequal steps.
    """
    key = "RepetitionTime"
    if metadata.get(key) is None:
        return _from_volume_timing(metadata.get("VolumeTiming"), path)
    value = metadata[key]
    if not is_number(value) or value <= 0:
        raise DataError(
            "The repetition time is not a positive number.",
            file=path,
            place=f"{key} in its JSON sidecar",
            found=json.dumps(value),
            expected="seconds, as a number without quotes, e.g. 2.0",
            remedy="correct the sidecar",
        )
    if value > LONGEST_REPETITION_TIME:
        raise DataError(
            "The repetition time looks like milliseconds.",
            file=path,
            place=f"{key} in its JSON sidecar",
            found=value,
            expected=f"seconds, at most {LONGEST_REPETITION_TIME:g}",
            remedy=f"write {value / 1000:g} in the sidecar",
        )
    return float(value)


def _refuse_depth(content: object, path: Path) -> None:
    level = [content]
    for _ in range(DEEPEST_JSON):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise DataError(
        "The file is nested too deeply.",
        file=path,
        found=f"more than {DEEPEST_JSON} objects or lists within each other",
        expected="names and values",
        remedy="restore the file",
    )


def list_folder(folder: Path, listing: Listing | None = None) -> list[BidsFile]:
    """The names in a folder, taken apart; an unreadable folder is an empty one."""
    listing = {} if listing is None else listing
    if folder not in listing:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            names = []
        listing[folder] = [parse_name(folder / name) for name in names if name[0] != "."]
    return listing[folder]


def _applicable(path, root, suffix, extension, listing) -> list[Path]:
    """Files that apply to a data file, from the dataset's root inward."""
    data = parse_name(path)
    wanted = (suffix or data.suffix, extension)
    found = []
    for folder in _folders_down(data.path.parent, Path(root)):
        here = [
            candidate
            for candidate in list_folder(folder, listing)
            if (candidate.suffix, candidate.extension) == wanted
            and candidate.entities.items() <= data.entities.items()
        ]
        found += sorted(here, key=lambda candidate: len(candidate.entities))
    return [candidate.path for candidate in found]


def _folders_down(folder: Path, root: Path) -> list[Path]:
    if root != folder and root not in folder.parents:
        return [folder]
    inside = [folder, *folder.parents]
    return inside[: inside.index(root) + 1][::-1]


def _from_volume_timing(timing, path) -> float | None:
    if timing is None:
        return None
    steps = None
    if isinstance(timing, list) and len(timing) > 1 and all(map(is_number, timing)):
        steps = [later - earlier for earlier, later in zip(timing, timing[1:], strict=False)]
    if not steps or min(steps) <= 0 or max(steps) - min(steps) > 1e-3:
        raise DataError(
            "The volumes are not at equal steps of time.",
            file=path,
            place="VolumeTiming in its JSON sidecar",
            expected="a RepetitionTime, or volume times at equal steps",
            remedy="leave the run out with --run-id or --task-id: such acquisitions are not read",
        )
    return repetition_time({"RepetitionTime": round(sum(steps) / len(steps), 6)}, path)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a sidecar is a finite number, of a size that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e9  # neither nan, infinite nor too long for a float
