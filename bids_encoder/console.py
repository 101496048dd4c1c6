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
    """Show a bar with the time that is left; yields ``on_progress(done, total)``.

    Where standard error is no terminal, a step of under ten seconds shows
    nothing and a longer one a line every half a minute.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar: tqdm | None = None

    def on_progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(
                total=total,
                desc=f"{name:<11}",
                unit=f" {unit}",
                leave=False,
                delay=0.3 if terminal else 10,
                mininterval=0.1 if terminal else 30,
                ascii=None if terminal else " .",
                file=sys.stderr,
            )
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield on_progress
    finally:
        if bar is not None:
            bar.close()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Set a small table in plain text, columns aligned."""
    cells = [list(map(str, header))] + [list(map(str, row)) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Also keep the warnings that are given meanwhile, to write them down with the results."""
    kept: list[str] = []

    class _Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    keeper = _Keeper(logging.WARNING)
    logger.addHandler(keeper)
    try:
        yield kept
    finally:
        logger.removeHandler(keeper)
