"""Where a file comes from: settings hashes, BIDS URIs, software versions."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path, PurePath
from typing import overload
from urllib.parse import quote

import numpy as np

from bids_encoder import __version__
from bids_encoder.bids.checksums import checksum, checksums
from bids_encoder.errors import MissingInputError

_PACKAGES = ("numpy", "scipy", "torch", "nibabel", "nilearn", "pybids")


@overload
def plain(value: Mapping, *, paths: bool = True) -> dict[str, object]: ...
@overload
def plain(value: object, *, paths: bool = True) -> object: ...
def plain(value: object, *, paths: bool = True) -> object:
    """Turn settings into what JSON can hold, always in the same way.

    Tuples become lists, sets sorted lists, dataclasses dicts, numpy scalars
    and arrays numbers and lists, NaN and infinities their names. A number has
    one form: 1.0 is 1, -0.0 is 0.

    Parameters
    ----------
    value : object
    paths : bool
        Keep the whole of a path; otherwise its last part only, for what is
        published with the data.

    Raises
    ------
    TypeError
        If there is something else inside.
    """
    if isinstance(value, PurePath):
        value = value.as_posix()
    if isinstance(value, str):
        return value if paths or not os.path.isabs(value) else PurePath(value).name or value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return repr(value)
        return int(value) if value.is_integer() else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item, paths=paths) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, paths=paths) for item in value), key=json.dumps)
    if isinstance(value, (list, tuple)):
        return [plain(item, paths=paths) for item in value]
    raise TypeError(f"{type(value).__name__} is not a setting that can be written down")


def settings_hash(settings: Mapping) -> str:
    """SHA-256 of settings: the same for the same values, whatever their order.

    Parameters
    ----------
    settings : mapping
        Everything that changes the results, as :func:`plain` takes it.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    text = json.dumps(plain(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_stamp(path: str | Path) -> str:
    """The size and the checksum of all of a file, to notice that an input has changed.

    Raises
    ------
    MissingInputError
        If the file cannot be read.
    """
    try:
        return f"{os.stat(path).st_size}-{checksum(path)[:32]}"
    except OSError as error:
        raise MissingInputError(
            "An input cannot be read.",
            file=path,
            found=error.strerror,
            expected="a file that can be read",
            remedy=f"Look whether it is there; in a DataLad dataset: datalad get {path}",
        ) from error


def file_stamps(paths: Iterable[str | Path]) -> list[str]:
    """:func:`file_stamp` of each path; several files are read at once."""
    paths = list(paths)
    with contextlib.suppress(OSError):  # which one cannot be read, the stamps say
        checksums(paths)
    return [file_stamp(path) for path in paths]


def content_stamp(content: object) -> str:
    """A checksum of numbers and words: 32 hexadecimal digits.

    Parameters
    ----------
    content : object
        As :func:`plain` takes it. Arrays count with their type, shape and every bit.
    """
    digest = hashlib.sha256()
    text = json.dumps(_with_arrays(content), sort_keys=True, separators=(",", ":"))
    digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _with_arrays(content: object) -> object:
    """Arrays as their checksums; the rest as :func:`plain` has it."""
    if isinstance(content, np.ndarray):
        values = hashlib.sha256(np.ascontiguousarray(content).tobytes()).hexdigest()
        return [content.dtype.str, list(content.shape), values]
    if isinstance(content, Mapping):
        return {str(key): _with_arrays(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_with_arrays(value) for value in content]
    return plain(content)


def bids_uri(path: str | Path, datasets: Mapping[str, str | Path]) -> str:
    """Name a file by its dataset instead of by its place on this machine.

    >>> bids_uri("/data/ds1/sub-01/func/a.tsv", {"raw": "/data/ds1"})
    'bids:raw:sub-01/func/a.tsv'

    Parameters
    ----------
    path : path
    datasets : mapping of str to path
        Names, as in ``DatasetLinks``, and roots. "" is the output itself. Where
        one dataset lies in another, the innermost counts.

    Raises
    ------
    ValueError
        If the file is in none of them.
    """
    # First as it is written: links into .git/annex leave the dataset when resolved.
    for normalize in (os.path.abspath, os.path.realpath):
        file = Path(normalize(path))
        inside = [
            (len(root.parts), name, file.relative_to(root))
            for name, root in ((name, Path(normalize(root))) for name, root in datasets.items())
            if file.is_relative_to(root)
        ]
        if inside:
            _, name, relative = max(inside)
            return f"bids:{name}:{quote(relative.as_posix(), safe='/+')}"
    raise ValueError(f"{path} is in none of the datasets {dict(datasets)}")


def bids_uris(paths: Iterable[str | Path], datasets: Mapping[str, str | Path]) -> tuple[str, ...]:
    """:func:`bids_uri` of each path."""
    return tuple(bids_uri(path, datasets) for path in paths)


def software_versions() -> dict[str, str]:
    """Versions of this program, of Python and of the packages that shape the results."""
    versions = {"bids_encoder": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
