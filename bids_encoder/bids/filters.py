"""The BIDS filter file: which files to take, in the words of pybids, as fMRIPrep reads it.

For example, to read what another pipeline has written::

    {"bold": {"desc": "denoised", "space": "T1w", "run": [1, 2]}, "mask": {"desc": null}}
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from bids_encoder.bids.names import BidsFile, same_number
from bids_encoder.bids.sidecars import read_json
from bids_encoder.errors import MissingInputError, UsageError

logger = logging.getLogger(__name__)

KINDS = ("bold", "mask", "confounds", "events", "betas")
# Kinds in fMRIPrep's filter files, which people share between both programs.
_NOT_USED_HERE = frozenset({"fmap", "sbref", "flair", "t1w", "t2w", "roi", "asl", "pet", "dwi"})

_QUERY = re.compile(r"<?(?:bids\.layout\.)?Query\.(NONE|ANY|REQUIRED|OPTIONAL)(?::\s*\d+)?>?")
_ENTITY_IN_PATTERN = re.compile(r"([a-z]+)-\(")
_IN_PATH = ("suffix", "extension", "datatype")
# In the names of statistical maps (nilearn, fitlins); pybids does not know them.
_OF_MAPS = ("stat", "contrast")


def load_filter_file(path: str | Path) -> dict[str, dict]:
    """Read a ``--bids-filter-file``.

    Returns
    -------
    dict
        For each kind ("bold", "mask", "confounds", "events", "betas") the entities asked for.

    Raises
    ------
    MissingInputError
        No such file.
    DataError
        Not JSON.
    UsageError
        A kind that is not known, or a value that is neither a label, a list of labels,
        null nor ``Query.NONE``, ``Query.ANY``, ``Query.OPTIONAL``.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(
            "There is no such BIDS filter file.",
            file=path,
            remedy="correct the path after --bids-filter-file",
        )
    filters = {}
    for kind, query in read_json(path).items():
        if kind in _NOT_USED_HERE:
            logger.debug("Filters for %r in %s are not used here.", kind, path)
            continue
        if kind not in KINDS:
            raise UsageError(
                f"The BIDS filter file has filters for {kind!r}, which is not known here.",
                file=path,
                place=kind,
                expected=", ".join(KINDS),
                remedy=_did_you_mean(kind, KINDS),
            )
        if not isinstance(query, dict):
            raise UsageError(
                f"The filters for {kind!r} are not entities with values.",
                file=path,
                place=kind,
                found=repr(query),
                expected='for example {"bold": {"task": "localizer"}}',
            )
        for entity, value in query.items():
            _allowed(value, f"{kind}.{entity}", path)
        filters[kind] = query
    return filters


class Matcher:
    """Tells whether a file's name fits a query.

    Parameters
    ----------
    layout : bids.layout.BIDSLayout
        Says which entities there are, and what their short names are.
    """

    def __init__(self, layout):
        self._short = {**dict.fromkeys(_IN_PATH), **{name: name for name in _OF_MAPS}}
        for name, entity in layout.get_entities().items():
            short = _ENTITY_IN_PATTERN.search(entity.pattern or "")
            if short:
                self._short[name] = self._short[short[1]] = short[1]

    def fits(self, file: BidsFile, query: Mapping) -> bool:
        """Does the file have every entity of the query?

        Raises
        ------
        UsageError
            The query names an entity that BIDS does not have.
        """
        return all(self._fits(file, entity, value) for entity, value in query.items())

    def short_name(self, entity: str) -> str:
        """``"session"`` -> ``"ses"``; suffix, extension and datatype stay."""
        if entity not in self._short:
            raise UsageError(
                f"The BIDS filters name {entity!r}, which is not an entity in file names.",
                place=entity,
                expected="for example session, task, acquisition, run, space, res, desc",
                remedy=_did_you_mean(entity, self._short),
            )
        return self._short[entity] or entity

    def _fits(self, file: BidsFile, entity: str, value) -> bool:
        labels, may_be_absent, any_label = _allowed(value, entity, None)
        name = self.short_name(entity)
        in_path = {
            "suffix": file.suffix,
            "extension": file.extension,
            "datatype": file.path.parent.name,
        }
        label = in_path.get(name) or file.entities.get(name)
        if label is None:
            return may_be_absent
        if any_label:
            return True
        if name == "run":
            return same_number(label) in map(same_number, labels)
        if name == "extension":
            return label in {f".{extension.lstrip('.')}" for extension in labels}
        return label in labels


def _allowed(value, place: str, path: Path | None) -> tuple[set[str], bool, bool]:
    """Labels that fit, whether the entity may be absent, whether any label fits."""
    labels: set[str] = set()
    absent = anything = False
    for one in value if isinstance(value, list) else [value]:
        query = _QUERY.fullmatch(one) if isinstance(one, str) else None
        if one is None or (query and query[1] == "NONE"):
            absent = True
        elif query:
            anything = True
            absent = absent or query[1] == "OPTIONAL"
        elif isinstance(one, (str, int)) and not isinstance(one, bool) and "Query." not in str(one):
            labels.add(str(one))
        else:
            raise UsageError(
                "A value in the BIDS filters cannot be used.",
                file=path,
                place=place,
                found=repr(one),
                expected='a label, a list of labels, null, "Query.NONE" or "Query.ANY"',
            )
    return labels, absent, anything


def _did_you_mean(word: str, known) -> str | None:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else None
