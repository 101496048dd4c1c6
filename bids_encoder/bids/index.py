"""The index of a dataset (pybids), made only of what was asked for.

Metadata are not indexed (`sidecars.py` reads the few that are needed), and other
participants' folders are passed over, so that the time does not grow with the dataset.

An index can be kept in a folder. It holds names only, so a digest of the names that
would be indexed tells whether a kept index still holds; the digest is part of the
index's own name, together with the dataset, the participants and the version of
pybids. A dataset that has changed therefore gets a new index, and the old one, which
another process may still be reading, stays; the folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_encoder.bids.checksums import checksum
from bids_encoder.errors import InvalidDatasetError, OutputError
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

_DATABASE = "layout_index.sqlite"  # pybids' own name
_CHECKSUM = "checksum.txt"  # SHA-256 of the index


def open_layout(root: Path, participants: Sequence[str] = (), *, database_dir=None):
    """Index a dataset, or a derivative of one, for some participants.

    Parameters
    ----------
    root : path
        Absolute path of the dataset.
    participants : sequence of str
        Labels without ``sub-``; none means all.
    database_dir : path, optional
        Folder in which the index is kept for the next time.

    Returns
    -------
    bids.layout.BIDSLayout

    Raises
    ------
    InvalidDatasetError
        pybids cannot index the dataset.
    OutputError
        The index cannot be written.
    """
    from sqlalchemy.exc import SQLAlchemyError

    ignore = ignored_paths(participants)
    with warnings.catch_warnings():
        # pybids warns of old dataset descriptions: nothing that a user here could act on.
        warnings.simplefilter("ignore")
        if database_dir is None:
            return _index(root, ignore)
        kept = Path(database_dir) / _database_name(root, participants, ignore)
        try:
            _remove_damaged(kept)
            if not (kept / _DATABASE).exists():
                _build(root, ignore, kept)
            return _index(root, ignore, kept)
        except SQLAlchemyError as error:
            logger.warning(
                "The kept index %s cannot be used (%s); indexing afresh without keeping.",
                kept,
                type(error).__name__,
            )
            return _index(root, ignore)


def ignored_paths(participants: Sequence[str]) -> list[re.Pattern]:
    """Patterns of what is not indexed: paths from the root, beginning with "/"."""
    labels = "|".join(re.escape(label) for label in participants) or "[^/._]+"
    ours = f"sub-(?:{labels})"
    return [
        re.compile(r"/\."),
        # Top-level folders other than ours. A pattern sees no difference between files
        # and folders: names without a dot go at once, the others once inside.
        re.compile(rf"^/(?!{ours}(?:/|$))[^/.]+$"),
        re.compile(rf"^/(?!{ours}/)[^/]+/"),
        # Reports of fMRIPrep, one for each participant.
        re.compile(r"^/sub-[^/]+\.[^/]+$"),
        re.compile(r"^/sub-[^/]+/(?:ses-[^/]+/)?(?:figures|log|logs|work)(?:/|$)"),
    ]


def _index(root, ignore, database_path=None):
    from bids.layout import BIDSLayout, BIDSLayoutIndexer
    from sqlalchemy.exc import SQLAlchemyError

    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    try:
        return BIDSLayout(
            root,
            validate=False,
            config=["bids", "derivatives"],
            database_path=database_path,
            indexer=indexer,
        )
    except (OSError, SQLAlchemyError):
        raise
    except Exception as error:
        raise InvalidDatasetError(
            "pybids cannot index the dataset.",
            file=root,
            found=f"{type(error).__name__}: {error}",
            remedy="check the dataset with the BIDS validator, above all dataset_description.json",
        ) from error


def _build(root, ignore, kept: Path) -> None:
    """Make the index beside its place and rename it, so that it is there whole or not."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{kept.name}-", dir=kept.parent))
    except OSError as error:
        raise OutputError(
            "The index of the dataset cannot be kept.",
            file=kept.parent,
            found=error.strerror or error,
            remedy="give a folder that can be written with --bids-database-dir, or leave it out",
        ) from error
    try:
        layout = _index(root, ignore, beside)
        layout.session.close()
        layout.connection_manager.engine.dispose()
        (beside / _CHECKSUM).write_text(checksum(beside / _DATABASE) + "\n")
        os.rename(beside, kept)
    except OSError as error:
        # Another process may have been faster: then its index is as good as ours.
        if not (kept / _DATABASE).exists():
            raise OutputError(
                "The index of the dataset cannot be kept.",
                file=kept,
                found=error.strerror or error,
                remedy="give another folder with --bids-database-dir, or leave it out",
            ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _remove_damaged(kept: Path) -> None:
    """Remove a kept index that is not as it was written: it is made again."""
    try:
        expected = (kept / _CHECKSUM).read_text().strip() if kept.exists() else None
    except (OSError, ValueError):
        expected = ""
    try:
        if expected is None or checksum(kept / _DATABASE) == expected:
            return
    except OSError:
        pass
    logger.warning("The kept index %s was damaged: it is made again.", kept, extra=OF_THIS_RUN)
    shutil.rmtree(kept, ignore_errors=True)


def _database_name(root: Path, participants, ignore) -> str:
    import bids

    digest = hashlib.sha256()
    facts = [str(root), bids.__version__, *sorted(participants), *(p.pattern for p in ignore)]
    for text in [*facts, *sorted(_names(root, "", ignore))]:
        digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-")[:40]
    who = "all" if len(participants) == 0 else "+".join(sorted(participants))[:40]
    return f"{readable}_{who}_{digest.hexdigest()[:16]}"


def _names(root: Path, inside: str, ignore) -> Iterator[str]:
    """Paths (from the root, with a leading "/") of everything that would be indexed."""
    try:
        entries = list(os.scandir(f"{root}{inside}"))
    except OSError:
        return
    for entry in entries:
        path = f"{inside}/{entry.name}"
        if any(pattern.search(path) for pattern in ignore):
            continue
        yield path
        if entry.is_dir():
            yield from _names(root, path, ignore)
