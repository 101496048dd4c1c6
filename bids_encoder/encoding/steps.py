"""How much of the work is done."""

from __future__ import annotations

from collections.abc import Callable


class Steps:
    """Tells `on_progress` which share of `total` steps is done."""

    def __init__(self, on_progress: Callable[[float], None] | None, total: int):
        self._tell, self._total, self._done = on_progress, total, 0

    def add(self, count: int) -> None:
        """Count steps that are done."""
        self._done += count
        if self._tell is not None:
            self._tell(self._done / self._total)
