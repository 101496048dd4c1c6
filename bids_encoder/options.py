"""How one option is declared, and how its value is read."""

from __future__ import annotations

import argparse
import math
from dataclasses import field
from typing import Any


def option(default: Any, *flags: str, help: str, **keywords: Any):
    """Declare one option: its default, its names on the command line, its help.

    ``keywords`` go to ``argparse.ArgumentParser.add_argument``. An option whose
    ``changes_results`` is False (paths, resources, verbosity) stays out of the
    settings hash that decides whether work is done already.
    """
    changes_results = keywords.pop("changes_results", True)
    return field(
        default=default,
        metadata={
            "flags": flags,
            "help": help,
            "keywords": keywords,
            "changes_results": changes_results,
        },
    )


class UnfitError(argparse.ArgumentTypeError, ValueError):
    """A value that an option cannot have; argparse shows these words as they are."""


def gigabytes(text: str) -> float:
    """Read an amount of memory: ``8``, ``8G``, ``8GB``, ``8000M`` → GB."""
    units = {"": 1.0, "G": 1.0, "GB": 1.0, "M": 1e-3, "MB": 1e-3}
    digits = text.strip().upper().rstrip("GMB")
    unit = text.strip().upper()[len(digits) :]
    try:
        amount = float(digits) * units[unit]
    except (ValueError, KeyError):
        raise UnfitError(f"{text!r} is not an amount of memory such as 8GB") from None
    if not 0 < amount < math.inf:
        raise UnfitError(f"{text!r}: memory must be more than nothing")
    return amount


def not_negative(text: str) -> float:
    """Read a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UnfitError(f"{text!r} is not a number of at least 0")
    return number


def positive(text: str) -> float:
    """Read a number above 0."""
    number = not_negative(text)
    if not number:
        raise UnfitError(f"{text!r} is not a number above 0")
    return number


def _whole_number(text: str, least: int) -> int:
    """Read a whole number of at least ``least``."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise UnfitError(f"{text!r} is not a whole number of at least {least}")
    return number


def positive_int(text: str) -> int:
    """Read a whole number of at least 1."""
    return _whole_number(text, least=1)


def seed(text: str) -> int:
    """Read the seed of a random number generator."""
    return _whole_number(text, least=0)


def grey_level(text: str) -> int:
    """Read the grey level of a pixel."""
    level = _whole_number(text, least=0)
    if level > 255:
        raise UnfitError(f"{text!r} is not a grey level from 0 to 255")
    return level


def proportion(text: str) -> float:
    """Read a number between 0 and 1."""
    number = not_negative(text)
    if not 0 < number < 1:
        raise UnfitError(f"{text!r} is not a number between 0 and 1")
    return number


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    number = not_negative(text)
    if number > 1:
        raise UnfitError(f"{text!r} is not a number from 0 to 1")
    return number


def number_of_folds(text: str) -> int:
    """Read how often the data are split: at least twice."""
    return _whole_number(text, least=2)
