"""Checksums of whole files, each computed once a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_BLOCK = 2**20
_THREADS = 8
_known: dict[str, tuple[tuple[int, ...], str]] = {}


def checksum(path: str | Path) -> str:
    """SHA-256 of all of a file: 64 hexadecimal digits.

    Within a run a file that has not been touched since is not read again. Times and sizes are
    trusted for so long only: see :func:`forget`.

    Raises
    ------
    OSError
        It cannot be read.
    """
    name = os.path.abspath(path)
    with open(name, "rb") as file:
        seen = _seen(file.fileno())
        known = _known.get(name)
        if known is not None and known[0] == seen:
            return known[1]
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        if _seen(file.fileno()) == seen:  # nobody wrote to it meanwhile
            _known[name] = (seen, digest.hexdigest())
    return digest.hexdigest()


def checksums(paths: Iterable[str | Path]) -> list[str]:
    """:func:`checksum` of several files at once; hashing lets go of Python's lock."""
    paths = list(paths)
    if len(paths) < 2:
        return [checksum(path) for path in paths]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(checksum, paths))


def forget() -> None:
    """Begin a run: every file is read again."""
    _known.clear()


def _seen(descriptor: int) -> tuple[int, ...]:
    """What changes when a file is replaced or written to.

    The time of the last change (``ctime``) cannot be set by programs as that of the content can.
    """
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
