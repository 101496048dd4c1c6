"""Paths with placeholders: ``betas/sub-{subject}/ses-{session}_betas.nii.gz``.

A placeholder stands for a label, and ``*`` for anything within one name. The search begins in
the folder that the user wrote out, the part before the first placeholder, and never climbs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.bids.names import natural
from bids_encoder.errors import UsageError

PLACEHOLDERS = {
    "subject": "sub",
    "session": "ses",
    "task": "task",
    "run": "run",
    "space": "space",
    "hemi": "hemi",
    "contrast": "contrast",
}
_PLACE = re.compile(r"\{([^{}]*)\}")
_LABEL = "[0-9A-Za-z+]+"


@dataclass(frozen=True)
class Match:
    """A file, and the labels that its path has where the placeholders are (short names)."""

    path: Path
    labels: dict[str, str]


def check_pattern(pattern: str, option: str) -> None:
    """Refuse placeholders that do not exist, and ways out of the folder.

    Raises
    ------
    UsageError
    """
    unknown = [name for name in _PLACE.findall(pattern) if name not in PLACEHOLDERS]
    outside = ".." in _moving_parts(pattern)
    if unknown or outside or set("{}") & set(_PLACE.sub("", pattern)):
        raise UsageError(
            f"The path after {option} cannot be understood.",
            place=option,
            found=pattern,
            expected="placeholders " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            + (", and no .. behind them" if outside else ""),
        )  # fmt: skip


def pattern_folder(pattern: str) -> Path:
    """The folder that is written out, without placeholders or ``*``."""
    fixed = len(Path(pattern).parts) - len(_moving_parts(pattern))
    return Path(os.path.abspath(Path(*Path(pattern).expanduser().parts[:fixed])))


def find_matches(pattern: str, participant: str) -> list[Match]:
    """All files that fit a pattern, in natural order."""
    found = _walk(pattern_folder(pattern), _moving_parts(pattern), {"sub": participant})
    return sorted(found, key=lambda match: natural(str(match.path)))


def fill(pattern: str, labels: Mapping[str, str], option: str) -> Path:
    """The path that a pattern makes with these labels (by short names).

    Raises
    ------
    UsageError
        A label is not known.
    """
    lacking = [n for n in _PLACE.findall(pattern) if not labels.get(PLACEHOLDERS[n])]
    if lacking:
        raise UsageError(
            f"The path after {option} needs labels that the names of the betas do not have.",
            place=option,
            found=pattern,
            expected=f"a path without {{{lacking[0]}}}, or betas whose path has it too",
        )
    text = _PLACE.sub(lambda place: labels[PLACEHOLDERS[place[1]]], pattern)
    return Path(os.path.abspath(Path(text).expanduser()))


def _moving_parts(pattern: str) -> tuple[str, ...]:
    """Parts of the path from the first with a placeholder or ``*`` on; at least the last."""
    parts = Path(pattern).expanduser().parts
    moving = [k for k, part in enumerate(parts) if set("{*") & set(part)]
    return parts[min([*moving, len(parts) - 1]) :]


def _walk(folder: Path, parts: tuple[str, ...], labels: dict[str, str]) -> Iterator[Match]:
    part, *rest = parts
    expression = re.compile(_expression(part, labels))
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        fits = expression.fullmatch(name)
        if not fits or name.startswith("."):
            continue
        known = {**labels, **fits.groupdict()}
        if rest and (folder / name).is_dir():
            yield from _walk(folder / name, tuple(rest), known)
        elif not rest and not (folder / name).is_dir():
            yield Match(folder / name, known)


def _expression(part: str, labels: Mapping[str, str]) -> str:
    """One name of the path as a regular expression; known labels are written in."""
    known = dict(labels)
    text = ""
    for piece in re.split(r"(\{[^{}]*\}|\*)", part):
        if piece == "*":
            text += ".*"
        elif _PLACE.fullmatch(piece):
            name = PLACEHOLDERS[piece[1:-1]]
            if known.get(name) is None:
                text += f"(?P<{name}>{_LABEL})"
                known[name] = ""
            elif known[name]:
                text += re.escape(known[name])
            else:
                text += f"(?P={name})"
        else:
            text += re.escape(piece)
    return text
