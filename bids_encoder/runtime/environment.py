"""Where libraries may write: what they find in the environment of an ordinary login.

In a container, and in jobs of a cluster, there may be no home folder, none that can be
written to, and no name for the user. Libraries keep caches in the home folder and ask for
that name, and some end with an error where they find neither.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

_CACHES = {
    "XDG_CACHE_HOME": "cache",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TRITON_CACHE_DIR": "triton",
}
# Only read: where the home folder is there, what lies in it is still found.
_KEPT = {"TORCH_HOME": "torch", "TEMPLATEFLOW_HOME": "templateflow"}


def prepare(work_dir: Path) -> None:
    """Give libraries a home where there is none; an ordinary environment is left alone.

    To be called before they are imported. Variables that are set stay as they are, but
    ``HOME`` where it names no folder.

    Parameters
    ----------
    work_dir : Path
        Holds temporary files where the system has no place for them.
    """
    if "LOGNAME" not in os.environ and "USER" not in os.environ:
        os.environ["LOGNAME"] = _user_name()
    home = os.environ.get("HOME", "")
    if os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
        return
    if os.path.isdir(home):
        known = Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"))
        for variable, name in _KEPT.items():
            if os.path.isdir(known / name):  # not Path's: it raises where nobody may enter
                os.environ.setdefault(variable, str(known / name))
    place = _private_folder(work_dir)
    if place is None:
        return
    if not os.path.isdir(home):
        os.environ["HOME"] = str(place)
    for variable, name in _CACHES.items():
        if not _is_writable(os.environ.get(variable)):
            os.environ[variable] = str(place / name)


def templateflow_home() -> Path:
    """Where TemplateFlow keeps its files: ``TEMPLATEFLOW_HOME``, or the user's cache."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("TEMPLATEFLOW_HOME") or user_cache_dir("templateflow")).absolute()


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user{os.getuid()}"


def _is_writable(folder: str | None) -> bool:
    return folder is not None and folder != "" and os.access(folder, os.W_OK | os.X_OK)


def _private_folder(work_dir: Path) -> Path | None:
    """A folder of this user's own, the same for all runs where that is safe; None: nowhere."""
    try:
        if not _has_temporary():  # a container that is read-only, without /tmp
            place = Path(work_dir).absolute() / "tmp"
            place.mkdir(parents=True, exist_ok=True)
            os.environ["TMPDIR"] = tempfile.tempdir = str(place)
        place = Path(tempfile.gettempdir(), f"bids_encoder-{os.getuid()}")
        with contextlib.suppress(OSError):  # a file of that name, or another's folder
            place.mkdir(mode=0o700, exist_ok=True)
            found = place.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                return place
        return Path(tempfile.mkdtemp(prefix="bids_encoder-"))
    except OSError:  # the output cannot be written either: that will be said in its place
        return None


def _has_temporary() -> bool:
    # tempfile would take the current folder when all else fails, and leave things there.
    given = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return any(map(_is_writable, (*given, "/tmp", "/var/tmp", "/usr/tmp")))
