"""Links that lead out of a dataset.

A dataset may come from anywhere. What lies in it must not decide which other files of
this machine are read, so links out of it are refused; git-annex's links, which lead into
the dataset's own ``.git``, are as good as files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bids_encoder.errors import DataError

_OBJECTS = "/annex/objects/"
_ANNEX_OBJECT = f"/.git{_OBJECTS}"


def leads_out(path: Path, roots: Iterable[Path]) -> str | None:
    """Where a file really lies, if that is outside of all these folders; else None.

    Parameters
    ----------
    path : Path
        Absolute; the file need not be there.
    roots : iterable of Path
        Absolute; what they are themselves links to counts as inside.
    """
    real = os.path.realpath(path)
    # The annex may itself be a link (subdatasets, worktrees, datalad's ephemeral clones).
    target = os.path.normpath(path.parent / os.readlink(path)) if os.path.islink(path) else ""
    # What is in an annex is called as the key of its content; else it leads on, to anywhere.
    in_an_annex = _OBJECTS in real and os.path.basename(real) == os.path.basename(target)
    for root in roots:
        if _is_inside(real, os.path.realpath(root)):
            return None
        if in_an_annex and _ANNEX_OBJECT in target and _is_inside(target, str(root)):
            return None
    return real


def refuse_links_out(paths: Iterable[Path], roots: Iterable[Path]) -> None:
    """Raise where one of these files of a dataset really lies elsewhere.

    Parameters
    ----------
    paths : iterable of Path
        Files found in the dataset.
    roots : iterable of Path
        The dataset and its derivatives: between them links are followed.

    Raises
    ------
    DataError
    """
    roots = list(roots)
    for path in dict.fromkeys(paths):
        real = leads_out(path, roots)
        if real is not None:
            raise DataError(
                "A file of the dataset is a link that leads out of it.",
                file=path,
                found=f"a link to {real}",
                expected=f"a file in {roots[0]}",
                remedy="copy the file into the dataset; or, if you know these links and trust "
                "them, add --follow-links",
            )


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
