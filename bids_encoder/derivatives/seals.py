"""Sidecars that say with checksums what they describe, and whether they are whole themselves.

``FileChecksums`` holds the SHA-256 of each data file, ``SidecarChecksum`` that of the rest of
the sidecar. Nothing that was written earlier is counted as done, or read back, before both have
been looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from bids_encoder.bids.checksums import checksums
from bids_encoder.errors import DataError

SEAL = "SidecarChecksum"
AGAIN = "run the participant level again: it makes the file anew"


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """A sidecar with its own checksum."""
    return {**content, SEAL: _seal(content)}


def _seal(content: Mapping[str, object]) -> str:
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_sealed(content: object) -> bool:
    """Whether this is a sidecar of ours that nobody has changed."""
    return isinstance(content, dict) and SEAL in content and content[SEAL] == _seal(content)


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a file lies."""
    return path.with_name(f"{path.name.partition('.')[0]}.json")


def sidecar_of(path: Path) -> dict:
    """The sidecar of a file, empty where there is none of ours that is whole."""
    try:
        content = json.loads(sidecar_path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if is_sealed(content) else {}


def read_sidecar(path: Path, remedy: str = AGAIN) -> dict:
    """The sidecar of a file, empty where there is none: who reads results must miss none.

    Raises
    ------
    DataError
        There is one, and it is damaged.
    """
    side = sidecar_of(path)
    if not side and sidecar_path(path).exists():
        raise _damaged_sidecar(path, "another checksum", remedy)
    return side


def _damaged_sidecar(path: Path, found: str, remedy: str) -> DataError:
    return DataError(
        "A file that says what an earlier run wrote is missing or damaged.",
        file=sidecar_path(path),
        found=found,
        expected=f"a sidecar as this version of the program wrote it, with its {SEAL}",
        remedy=remedy,
    )


def is_whole(files: Mapping[str, Path], sidecar: Mapping) -> bool:
    """Whether files are those that their sidecar describes: their sizes, then every byte."""
    try:
        sizes, expected = sidecar["FileSizes"], sidecar["FileChecksums"]
        if any(path.stat().st_size != sizes[name] for name, path in files.items()):
            return False
        found = dict(zip(files, checksums(files.values()), strict=True))
        return all(found[name] == expected[name] for name in files)
    except (OSError, KeyError, TypeError):
        return False


def require_whole(files: Mapping[str, Path], remedy: str = AGAIN) -> dict:
    """The sidecar of files, which it describes to the byte.

    Parameters
    ----------
    files : mapping of str to Path
        Data files that share a sidecar, by what it calls them. Of several sidecars the last
        one counts.
    remedy : str

    Raises
    ------
    DataError
        A file or the sidecar is missing, or damaged.
    """
    *_, last = files.values()
    sidecar = read_sidecar(last, remedy)
    if not sidecar:
        raise _damaged_sidecar(last, "no such file", remedy)
    for name, path in files.items():
        if not is_whole({name: path}, sidecar):
            raise DataError(
                "A file that an earlier run wrote was removed or damaged since.",
                file=path,
                found="another content than was written" if path.exists() else "no such file",
                expected=f"the checksum in {sidecar_path(last).name}",
                remedy=remedy,
            )
    return sidecar
