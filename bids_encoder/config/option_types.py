"""How one option is declared, and how its value is read."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import field
from pathlib import Path
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


# The largest value that an option can mean. What is beyond is a slip of the keyboard, or would take
# memory and time without end; each bound lies far above what anybody uses.
MOST_GIGABYTES = 1e6
MOST_FRAMES_PER_SECOND = 1000.0
HIGHEST_CUT_OFF = 10.0  # Hz; no volume takes less than 50 ms
LONGEST_DELAY = 600.0  # seconds
MOST_DELAYS = 100
MOST_DEGREES = 360.0
LARGEST_SEED = 2**32 - 1
MOST_COUNTED = 10_000_000  # permutations, draws, volumes, folds
MOST_DRAWS = 100  # of features, whose scores are kept apart
LARGEST_PENALTY = 1e12  # times the mean kernel diagonal; the smallest is its inverse
MOST_PENALTIES = 500
MOST_ITEMS = 20_000  # pictures whose pairs are compared: a matrix of their square
MOST_PROCESSES = 4096
LONGEST_TEXT = 4096  # characters of a value, as long as a path may be
LONGEST_NAME = 255  # bytes of a file's name


def gigabytes(text: str) -> float:
    """Read an amount of memory: ``8``, ``8G``, ``8GB``, ``8000M`` → GB."""
    units = {"": 1.0, "G": 1.0, "GB": 1.0, "M": 1e-3, "MB": 1e-3}
    digits = text.strip().upper().rstrip("GMB")
    unit = text.strip().upper()[len(digits) :]
    try:
        amount = float(digits) * units[unit]
    except (ValueError, KeyError):
        raise UnfitError(f"{_shown(text)} is not an amount of memory such as 8GB") from None
    if not 0 < amount < math.inf:
        raise UnfitError(f"{_shown(text)}: memory must be more than nothing")
    if amount > MOST_GIGABYTES:
        raise UnfitError(f"{_shown(text)}: no machine has more than {MOST_GIGABYTES:g} GB")
    return amount


def not_negative(text: str) -> float:
    """Read a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UnfitError(f"{_shown(text)} is not a number of at least 0")
    return number


def _at_most(most: float, number: float, text: str) -> float:
    if number > most:
        raise UnfitError(f"{_shown(text)} is more than {most:g}")
    return number


def cut_off(text: str) -> float:
    """Read a frequency of slow drift in Hz."""
    return _at_most(HIGHEST_CUT_OFF, not_negative(text), text)


def delay(text: str) -> float:
    """Read a delay in seconds."""
    return _at_most(LONGEST_DELAY, not_negative(text), text)


def positive(text: str) -> float:
    """Read a number above 0."""
    number = not_negative(text)
    if not number:
        raise UnfitError(f"{_shown(text)} is not a number above 0")
    return number


def frame_rate(text: str) -> float:
    """Read how many frames a second are sampled."""
    rate = _at_most(MOST_FRAMES_PER_SECOND, positive(text), text)
    if rate < 1 / MOST_FRAMES_PER_SECOND:
        raise UnfitError(f"{_shown(text)} is less than {1 / MOST_FRAMES_PER_SECOND:g}")
    return rate


def degrees(text: str) -> float:
    """Read a width in degrees of visual angle."""
    return _at_most(MOST_DEGREES, positive(text), text)


def _whole_number(text: str, least: int, most: int) -> int:
    """Read a whole number from ``least`` to ``most``."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise UnfitError(f"{_shown(text)} is not a whole number of at least {least}")
    if number > most:
        raise UnfitError(f"{_shown(text)} is more than {most}")
    return number


def count(text: str) -> int:
    """Read how many of something there are; 0: none."""
    return _whole_number(text, least=0, most=MOST_COUNTED)


def positive_count(text: str) -> int:
    """Read how many of something there are, at least one."""
    return _whole_number(text, least=1, most=MOST_COUNTED)


def items(text: str) -> int:
    """Read how many pictures are compared with each other."""
    return _whole_number(text, least=1, most=MOST_ITEMS)


def processes(text: str) -> int:
    """Read how many processes, threads or jobs there are."""
    return _whole_number(text, least=1, most=MOST_PROCESSES)


def seed(text: str) -> int:
    """Read the seed of a random number generator."""
    return _whole_number(text, least=0, most=LARGEST_SEED)


def grey_level(text: str) -> int:
    """Read the grey level of a pixel."""
    level = _whole_number(text, least=0, most=MOST_COUNTED)
    if level > 255:
        raise UnfitError(f"{_shown(text)} is not a grey level from 0 to 255")
    return level


def proportion(text: str) -> float:
    """Read a number between 0 and 1."""
    number = not_negative(text)
    if not 0 < number < 1:
        raise UnfitError(f"{_shown(text)} is not a number between 0 and 1")
    return number


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    number = not_negative(text)
    if number > 1:
        raise UnfitError(f"{_shown(text)} is not a number from 0 to 1")
    return number


def number_of_folds(text: str) -> int:
    """Read how often the data are split: at least twice."""
    return _whole_number(text, least=2, most=MOST_COUNTED)


def number_or_auto(text: str) -> str:
    """Read a whole number of at least 1, or ``auto``."""
    return text if text == "auto" else str(_whole_number(text, least=1, most=MOST_COUNTED))


def draws(text: str) -> int:
    """Read how often features are drawn."""
    return _whole_number(text, least=1, most=MOST_DRAWS)


def penalty(text: str) -> float:
    """Read a ridge penalty, or how many there are."""
    number = _at_most(LARGEST_PENALTY, positive(text), text)
    if number < 1 / LARGEST_PENALTY:
        raise UnfitError(f"{_shown(text)} is less than {1 / LARGEST_PENALTY:g}")
    return number


def check_texts(value: Any, name: str) -> None:
    """Refuse texts and paths that no system, table or page can hold.

    Such are endless ones, those that hold a NUL, and names whose bytes are not UTF-8.

    Parameters
    ----------
    value : any value of an option, or a tuple of them
    name : str
        Of the option, for the message.

    Raises
    ------
    UnfitError
    """
    for one in value if isinstance(value, tuple) else (value,):
        if not isinstance(one, (str, Path)):
            continue
        text = str(one)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UnfitError(f"{name}: {_shown(text)} is not written in UTF-8")
        parts = text.split("/") if isinstance(one, Path) else ()
        longest = max((len(os.fsencode(part)) for part in parts), default=0)
        if len(text) > LONGEST_TEXT or longest > LONGEST_NAME:
            raise UnfitError(f"{name}: {_shown(text)} is longer than a name can be")
        if "\0" in text:
            raise UnfitError(f"{name}: {_shown(text)} holds a NUL character")


def _shown(text: str) -> str:
    """The value in quotes, without the middle of what is too long for a message."""
    return repr(text if len(text) <= 80 else f"{text[:60]}…{text[-10:]}")
