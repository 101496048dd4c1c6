"""BIDS file names, taken apart by ourselves.

pybids looks for entities in the whole path, so that a dataset that happens to lie
in a folder such as ``/scratch/sub-02/`` is misread. Here only the file name counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Entities that processing adds or takes away: they do not tell raw runs apart.
PROCESSING_ENTITIES = frozenset(
    {"space", "cohort", "res", "den", "hemi", "label", "desc", "echo", "part"}
)


@dataclass(frozen=True)
class BidsFile:
    """A path and what its name says.

    `entities` maps short names to labels in file-name order, e.g.
    ``{"sub": "01", "task": "x", "run": "1"}``; labels are kept as they are written.
    """

    path: Path
    entities: dict[str, str]
    suffix: str
    extension: str

    @property
    def run_key(self) -> frozenset[tuple[str, str]]:
        """What a raw run and its derivatives have in common (``run-1`` is ``run-01``)."""
        return frozenset(
            (name, same_number(label) if name == "run" else label)
            for name, label in self.entities.items()
            if name not in PROCESSING_ENTITIES
        )


def parse_name(path: str | Path) -> BidsFile:
    """Take a file name apart; parts that are no entities are passed over."""
    path = Path(path)
    *parts, last = path.name.split("_")
    suffix, dot, extension = last.partition(".")
    entities: dict[str, str] = {}
    for part in parts:
        name, hyphen, label = part.partition("-")
        if hyphen and name and label:
            entities.setdefault(name, label)
    return BidsFile(path, entities, suffix, dot + extension)


def join_entities(entities: dict[str, str]) -> str:
    """``{"sub": "01", "task": "x"}`` -> ``"sub-01_task-x"``."""
    return "_".join(f"{name}-{label}" for name, label in entities.items())


def same_number(label: str) -> str:
    """``"01"`` and ``"1"`` become the same; other labels stay as they are."""
    # Text, because Python makes no number of thousands of digits.
    return (label.lstrip("0") or "0") if label.isascii() and label.isdigit() else label


def without_prefix(labels: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Labels with or without ``sub-``, ``ses-``, …; doubles are dropped, order is kept."""
    return tuple(dict.fromkeys(str(label).removeprefix(f"{prefix}-") for label in labels))


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sort key in which ``run-2`` comes before ``run-10``."""
    keys = []
    for part in re.split(r"([0-9]+)", text):
        # The number of digits, then the digits: the order of the numbers, however long they are.
        digits = part.lstrip("0")
        keys.append((True, len(digits), digits) if part.isdigit() else (False, 0, part))
    return keys
