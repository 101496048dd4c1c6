"""Small faults of a dataset that are put up with: one warning for each kind."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class InputWarnings:
    """Counts faults by kind while a participant is read; `warn` says each kind once."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def add(self, fault: str, place: object) -> None:
        """Note a fault ("Windows line ends") and where it was met."""
        self._places.setdefault(fault, []).append(str(place))

    def warn(self) -> None:
        """One line for each kind of fault, with its number and the first place."""
        for fault, places in self._places.items():
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            logger.warning("Tolerated: %s (%s%s).", fault, places[0], more)
        self._places.clear()
