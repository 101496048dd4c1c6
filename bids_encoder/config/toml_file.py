"""Settings as TOML, written by every run and read by ``--config-file``."""

from __future__ import annotations

import dataclasses
import difflib
import stat
import sys
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from bids_encoder.config.option_types import UnfitError
from bids_encoder.config.settings import SECTIONS, Settings, plain
from bids_encoder.errors import DataError, MissingInputError, UsageError

_LARGEST = 10_000_000  # bytes


def to_toml(settings: Settings) -> str:
    """Write settings as TOML; ``--config-file`` reads them back."""
    import tomli_w

    document: dict[str, object] = {
        "bids_dir": str(settings.bids_dir),
        "output_dir": str(settings.output_dir),
        "analysis_level": settings.analysis_level,
    }
    for name, kind in SECTIONS.items():
        section = getattr(settings, name)
        document[name] = {
            item.name: plain(getattr(section, item.name))
            for item in fields(kind)
            if getattr(section, item.name) is not None
        }
    return tomli_w.dumps(document)


def read_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Read the option tables of a TOML file.

    Raises
    ------
    MissingInputError
        There is no such file.
    DataError
        It is not TOML, or a value is of the wrong kind.
    UsageError
        It has a section or an option that does not exist.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
            raise DataError(
                "This is not a configuration file.",
                file=path,
                found=f"{about.st_size:,} bytes"
                if stat.S_ISREG(about.st_mode)
                else "a folder, a pipe or a device",
                expected=f"a file of at most {_LARGEST:,} bytes",
                remedy="correct the path after --config-file",
            )
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInputError(
            "The configuration file is not there.",
            file=path,
            remedy="correct the path after --config-file",
        ) from None
    except OSError as error:
        raise MissingInputError(
            "The configuration file cannot be read.",
            file=path,
            found=error.strerror,
            remedy="correct the path after --config-file, or the rights of the file",
        ) from None
    # Besides what is no TOML: numbers and nesting without end.
    except (ValueError, RecursionError) as error:
        raise DataError(
            "The configuration file is not TOML.",
            file=path,
            found=error,
            expected="tables such as [network] with lines such as network = 'alexnet'",
        ) from None
    for key in ("bids_dir", "output_dir", "analysis_level"):
        document.pop(key, None)  # the command line says these
    tables = {}
    for name, table in document.items():
        if name not in SECTIONS or not isinstance(table, dict):
            raise UsageError(
                "The configuration file has a section that does not exist.",
                file=path,
                found=name,
                expected=", ".join(f"[{section}]" for section in SECTIONS),
            )
        tables[name] = {
            key: _checked(path, name, key, value, _option(path, name, key))
            for key, value in table.items()
        }
    return tables


def _option(path: Path, section: str, key: str) -> dataclasses.Field:
    known = {item.name: item for item in fields(SECTIONS[section])}
    if key not in known:
        near = difflib.get_close_matches(key, known, n=3)
        raise UsageError(
            "The configuration file has an option that does not exist.",
            file=path,
            place=f"[{section}]",
            found=key,
            expected=" or ".join(near) if near else ", ".join(known),
        )
    return known[key]


def _checked(path: Path, section: str, key: str, value: Any, item: dataclasses.Field) -> Any:
    """Turn a TOML value into the option's type, or say what is wrong with it."""
    hint = typing.get_type_hints(SECTIONS[section])[key]
    several = typing.get_origin(hint) is tuple
    kinds = [kind for kind in typing.get_args(hint) if kind not in (type(None), ...)] or [hint]
    convert = item.metadata["keywords"].get("type")
    choices = item.metadata["keywords"].get("choices")
    problem = "The configuration file has a value of the wrong kind."
    expected = f"a list of {_KINDS[kinds[0]][1]}" if several else _KINDS[kinds[0]][0]
    try:
        if several:
            if not isinstance(value, list):
                raise ValueError
            return tuple(_of_type(kinds[0], entry, convert) for entry in value)
        value = _of_type(kinds[0], value, convert)
        if not choices or value in choices:
            return value
        problem = "The configuration file has a value that is not among the choices."
        expected = ", ".join(choices)
    except UnfitError as error:
        problem, expected = "The configuration file has a value that cannot be.", str(error)
    except (ValueError, OverflowError):  # of a whole number that no float can hold
        pass
    raise DataError(
        problem, file=path, place=f"[{section}] {key}", found=repr(value), expected=expected
    )


_KINDS = {
    str: ("a text in quotes", "texts in quotes"),
    Path: ("a path in quotes", "paths in quotes"),
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    bool: ("true or false", "true or false"),
}


def _of_type(kind: type, value: Any, convert: Callable[[str], Any] | None = None) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and kind is float:
        value = float(value)
    fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    # An amount of memory may be a number or a text such as "8GB".
    if convert is not None and (fits or isinstance(value, str)):
        return convert(str(value))
    if fits:
        return value
    raise ValueError
