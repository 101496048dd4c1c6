"""Ctrl-C while nothing has begun."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT  # as shells have it


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process on the spot, with a sentence and code 130.

    For imports: an exception that is raised within them may end in a traceback, or be swallowed
    by a library. Where Ctrl-C means something else already (it is ignored, say), it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _leave(*_: object) -> None:
    sys.stderr.write("Interrupted before the work began.\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)
