"""What the terminal shows: one line a stage, a bar on long steps, a table at the end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

logger = logging.getLogger("bids_encoder")


class _Formatter(logging.Formatter):
    """Information as it is; warnings and errors with a word in front."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.capitalize()}: {message}"
        return message


class _BarAwareHandler(logging.StreamHandler):
    """Writes above a progress bar rather than through it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules:
            with sys.modules["tqdm"].tqdm.external_write_mode(file=sys.stderr):
                super().emit(record)
        else:
            super().emit(record)


def start_logging(verbose: int = 0, prefix: str = "") -> None:
    """Send the program's messages to standard error; ``verbose`` 1 adds details."""
    handler = _BarAwareHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    if prefix:
        handler.addFilter(_Prefix(prefix))
    libraries = logging.INFO if verbose > 1 else logging.ERROR
    for name in ("nilearn", "pybids", "nibabel.global", "matplotlib"):
        logging.getLogger(name).setLevel(libraries)


class _Prefix(logging.Filter):
    """Says whose message it is where several participants run at once."""

    def __init__(self, prefix: str):
        super().__init__()
        self._prefix = prefix

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = f"{self._prefix} {record.getMessage()}"
        record.args = ()
        return True


@contextmanager
def stage(name: str) -> Iterator[list[str]]:
    """Time a stage and say at its end, in one line, what it did.

    The caller appends words to the list that it gets; they end up on the line.
    """
    words: list[str] = []
    start = time.monotonic()
    yield words
    took = time.monotonic() - start
    logger.info(f"{name:<11}{duration(took):>7}  {' · '.join(words)}")


def duration(seconds: float) -> str:
    """Write a duration as people read it: ``0.4 s``, ``2 min 05 s``, ``1 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


@contextmanager
def progress(name: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a step is and how long it will take; yields ``on_progress(done, total)``.

    A bar on a terminal; elsewhere, where bars fill log files, a line every half minute.
    """
    if not sys.stderr.isatty():
        yield _Lines(name, unit)
        return
    from tqdm import tqdm

    with tqdm(desc=f"{name:<11}", unit=f" {unit}", leave=False, delay=0.3, file=sys.stderr) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress


class _Lines:
    """Progress in lines of the log."""

    def __init__(self, name: str, unit: str, every: float = 30.0):
        self._name, self._unit, self._every = name, unit, every
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < self._every or not 0 < done < total:
            return
        self._last = now
        left = duration((now - self._start) * (total - done) / done)
        logger.info(f"{self._name}: {done} of {total} {self._unit}, about {left} left")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Set a small table in plain text, columns aligned."""
    cells = [list(map(str, header))] + [list(map(str, row)) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


OF_THIS_RUN = {"of_this_run": True}


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Also keep the warnings that are given meanwhile, to write them down with the results.

    Without those with ``extra=OF_THIS_RUN``, which say nothing of the results.
    """
    kept: list[str] = []

    class _Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not getattr(record, "of_this_run", False):
                kept.append(record.getMessage())

    keeper = _Keeper(logging.WARNING)
    logger.addHandler(keeper)
    try:
        yield kept
    finally:
        logger.removeHandler(keeper)
