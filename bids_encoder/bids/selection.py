"""Which of a participant's files were asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bids_encoder.bids.filters import Matcher
from bids_encoder.bids.names import BidsFile, natural, parse_name, same_number
from bids_encoder.errors import NothingSelectedError

logger = logging.getLogger(__name__)

IMAGES = (".nii.gz", ".nii")
BOLD = {"suffix": "bold", "extension": list(IMAGES)}
_WORDS = {"ses": "session", "task": "task", "run": "run"}


@dataclass(frozen=True)
class Selection:
    """What a user asked for.

    `labels` has tuples under "ses", "task" and "run", empty where all are wanted;
    `filters` is the content of a BIDS filter file; `slice_time_ref` goes before what sidecars
    say of the moment that volumes stand for.
    """

    participant: str
    labels: Mapping[str, tuple[str, ...]]
    space: str | None = None
    filters: Mapping[str, Mapping] = field(default_factory=dict)
    slice_time_ref: float | None = None

    def query(self, kind: str) -> Mapping:
        """Entities that the filter file asks for: of "bold", "mask", …"""
        return self.filters.get(kind, {})

    def select(self, files: Iterable[BidsFile], there: list[BidsFile]) -> list[BidsFile]:
        """The files with the labels asked for.

        Parameters
        ----------
        files : iterable of BidsFile
            Candidates.
        there : list of BidsFile
            All BOLD that there is, for the message.

        Raises
        ------
        NothingSelectedError
            No file has them.
        """
        selected = [file for file in files if self.wants(file)]
        if not selected:
            raise self._nothing(there)
        for name, labels in self.labels.items():
            for label in labels:
                if not any(_has_label(file, name, (label,)) for file in there):
                    logger.warning(
                        "sub-%s has no BOLD with %s %s.", self.participant, _WORDS[name], label
                    )
        return selected

    def wants(self, file: BidsFile) -> bool:
        """Does a file have the labels asked for?"""
        return all(_has_label(file, name, labels) for name, labels in self.labels.items())

    def _nothing(self, there: list[BidsFile]) -> NothingSelectedError:
        found = [
            f"{word}: {', '.join(sorted(labels, key=natural))}"
            for name, word in _WORDS.items()
            if (labels := {file.entities[name] for file in there if name in file.entities})
        ]
        asked = [
            f"{_WORDS[name]}: {', '.join(labels)}" for name, labels in self.labels.items() if labels
        ]
        if self.query("bold"):
            asked.append(f"in the BIDS filter file: {dict(self.query('bold'))}")
        return NothingSelectedError(
            f"The filters select no BOLD of sub-{self.participant}.",
            file=there[0].path.parent,
            found="; ".join(found),
            expected="; ".join(asked),
            remedy="choose labels that are there, or leave filters out",
        )


def files_of(layout, participant: str, query: Mapping) -> list[BidsFile]:
    """A participant's files, by suffix and extension only (which pybids reads reliably)."""
    wanted = {name: query[name] for name in ("suffix", "extension") if query.get(name)}
    paths = layout.get(return_type="filename", invalid_filters="allow", **wanted)
    files = [parse_name(path) for path in paths]
    return [file for file in files if file.entities.get("sub") == participant]


def matching(layout, participant: str, default: Mapping, query: Mapping) -> list[BidsFile]:
    """A participant's files that fit a query, which goes before what is looked for else."""
    matcher = Matcher(layout)
    full = {**default, **query}
    return [file for file in files_of(layout, participant, full) if matcher.fits(file, full)]


def with_task(files: Iterable[BidsFile]) -> list[BidsFile]:
    """Leave out BOLD without ``task-``, which BIDS requires, with a warning."""
    kept = []
    for file in files:
        if "task" in file.entities:
            kept.append(file)
        else:
            logger.warning("%s is left out: its name has no task-.", file.path)
    return kept


def by_run(files: Iterable[BidsFile]) -> dict[frozenset, list[BidsFile]]:
    """Files grouped by the run that they belong to."""
    groups: dict[frozenset, list[BidsFile]] = {}
    for file in files:
        groups.setdefault(file.run_key, []).append(file)
    return groups


def first_of(files: list[BidsFile]) -> BidsFile:
    """The first file, with a warning where there are others."""
    if len(files) > 1:
        others = ", ".join(file.path.name for file in files[1:])
        logger.warning("Several files fit one run: taking %s, not %s.", files[0].path.name, others)
    return files[0]


def _has_label(file: BidsFile, name: str, labels: tuple[str, ...]) -> bool:
    label = file.entities.get(name)
    if not labels or label in labels:
        return True
    return name == "run" and label is not None and same_number(label) in map(same_number, labels)
