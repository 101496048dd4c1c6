"""Files of earlier runs that belong to no result any more: found by their sidecars, and removed.

Another run under the same names, with other input or settings, writes its files over those of
the run before. What it does not write again (maps of a layer that was left out, p-values that
are not wanted any more) would stay beside files that it has nothing to do with.

A file is removed only if its sidecar shows that this program wrote it, for the same participant,
task, space and network. Other networks, tasks and spaces are analyses of their own and stay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from bids_encoder.bids.names import parse_name
from bids_encoder.derivatives import atomic, file_names
from bids_encoder.derivatives.seals import is_whole, sidecar_of
from bids_encoder.derivatives.write import Analysis
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

_OF_DATA = ("analysis", "measured")  # what stands for a network in the names of other files
_PLACES = ("sub", "tpl", "task", "hemi", "space", "res", "den")


def remove_leftovers(analysis: Analysis, asked: Collection[str]) -> list[Path]:
    """Remove what does not belong to an analysis of a participant any more.

    Parameters
    ----------
    analysis : Analysis
        All of its files are there.
    asked : collection of str
        Hashes of all parts of it that were asked for.

    Returns
    -------
    list of Path
        The files, which are named in the log.
    """
    network, hash_ = analysis.names["network"], analysis.hash
    sides = [sidecar_of(path) for path in analysis.path("scores").parent.glob("*.json")]
    # Of other networks, or asked for now: these use regions, and measured contrasts.
    alive = [
        side.get("Settings") or {}
        for side in sides
        if side.get("Network", network) != network
        or side.get("SettingsHash") in asked
        or (side.get("Settings") or {}).get("models") == [hash_]
    ]
    regions = {one.get("regions") for one in alive if "scores" in one}
    contrasts = {one.get("contrast") for one in alive if one.get("experiment") == "contrast"}

    def belongs(path: Path, side: Mapping) -> bool:
        settings = side.get("Settings") or {}
        if "experiment" in settings:
            # Experiments are asked for one by one; they last as long as their models.
            return settings.get("models") == [hash_]
        if side["SettingsHash"] in asked:
            return True
        if "Network" in side:
            return False
        if "data" in settings:
            same = settings["data"] == analysis.data.hash
            return same and settings.get("contrast") in contrasts
        if settings.keys() == {"regions"}:
            return settings["regions"] in regions
        return side["SettingsHash"] == analysis.data.hash

    return _remove(analysis, belongs)


def remove_old_experiment(analysis: Analysis, contrast: str | None = None) -> list[Path]:
    """Remove what an earlier run wrote of the same experiment and this one did not.

    Parameters
    ----------
    analysis : Analysis
        Of the experiment.
    contrast : str, optional
        Label of the contrast, or of the folder of pictures.
    """

    def belongs(path: Path, side: Mapping) -> bool:
        settings = side.get("Settings") or {}
        same = settings.get("experiment") == analysis.settings["experiment"]
        same &= contrast == parse_name(path).entities.get("contrast")
        return not same or side["SettingsHash"] == analysis.hash

    return _remove(analysis, belongs)


def remove_old_group(
    analysis: Analysis, kind: str, suffixes: Collection[str], asked: Collection[str]
) -> list[Path]:
    """Remove files of the group that an earlier summary, of other participants, left.

    Parameters
    ----------
    analysis : Analysis
        Of the group.
    kind : str
        Of the files whose folder is looked through.
    suffixes : collection of str
        What the names of the files end with.
    asked : collection of str
        Hashes of what was asked for.
    """

    def belongs(path: Path, side: Mapping) -> bool:
        return parse_name(path).suffix not in suffixes or side["SettingsHash"] in asked

    return _remove(analysis, belongs, kind)


def files_beside(analysis: Analysis, kinds: Iterable[str], last: str) -> list[str]:
    """Sidecars of an analysis in the folders of some kinds, relative to the output folder.

    Without those of the kind ``last``, which say so.
    """
    return [
        path.relative_to(analysis.root).as_posix()
        for kind in kinds
        for path, side in _ours(analysis, kind)
        if side["SettingsHash"] == analysis.hash and path not in analysis.sidecars(last)
    ]


def parts_are_done(analysis: Analysis, kind: str) -> bool:
    """Whether all files that :func:`files_beside` named in the sidecar of a kind are there."""
    listed = sidecar_of(analysis.sidecars(kind)[-1]).get("FilesBeside", [])
    for name in listed:
        side = sidecar_of(analysis.root / name)
        described = {_called(path, side): path for path in _described(analysis.root / name)}
        if side.get("SettingsHash") != analysis.hash or not is_whole(described, side):
            return False
        both = any(one.startswith("hemi-") for one in side["FileSizes"])
        if not described or (not both and described.keys() != side["FileSizes"].keys()):
            return False
    return True


def _called(path: Path, sidecar: Mapping) -> str:
    """What a sidecar calls one of its files: by its extension, and by its hemisphere."""
    extension = path.name[path.name.index(".") :]
    named = f"hemi-{parse_name(path).entities.get('hemi')}{extension}"
    return named if named in sidecar.get("FileSizes", {}) else extension


def _remove(
    analysis: Analysis, belongs: Callable[[Path, Mapping], bool], kind: str = "scores"
) -> list[Path]:
    """Remove the files beside those of a kind that do not belong."""
    removed: list[Path] = []
    for path, side in _ours(analysis, kind):
        if belongs(path, side):
            continue
        # The sidecar, which means done, goes first.
        for one in (path, *_described(path)):
            atomic.remove(one)
            removed.append(one)
    if removed:
        names = [one.name for one in removed if one.suffix != ".json"]
        logger.warning(
            f"Removed {len(names)} files of earlier runs with other input or settings: "
            f"{', '.join(names)}",
            extra=OF_THIS_RUN,
        )
    return removed


def _ours(analysis: Analysis, kind: str) -> Iterator[tuple[Path, dict]]:
    """Sidecars of this program's files of the same places, and of the same network or of none."""
    names, network = analysis.names, analysis.names["network"]
    template, folder = file_names.kinds()[kind].path, analysis.path(kind, measure="r").parent
    keys = [key for key in _PLACES if f"{{{key}}}" in template]
    for path in sorted(folder.glob("*.json")):
        entities = parse_name(path).entities
        theirs = {key: entities.get(key) for key in keys}
        if names.get("form") == "gifti" and names.get("hemi") is None and theirs.get("hemi"):
            # A file of a hemisphere is one of both, unless it is a table of that one alone.
            images = [one for one in _described(path) if one.name.endswith(".gii")]
            theirs["hemi"] = None if images else theirs["hemi"]
        if any(theirs[key] != names.get(key) for key in keys):
            continue
        side = _sidecar(path)
        if side and _is_of(network, side, entities.get("desc", "")):
            yield path, side


def _is_of(network: str | None, side: Mapping, desc: str) -> bool:
    """Whether a file belongs to a network, or to none; earlier versions said so in names alone."""
    if "Network" in side:
        return side["Network"] == network
    if network is None or desc in _OF_DATA:
        return desc in _OF_DATA
    ours = file_names.label(network)
    return desc == ours or desc.startswith(f"{ours}+")


def _described(sidecar: Path) -> list[Path]:
    """The data files that a sidecar describes: those with its name."""
    stem = sidecar.name.removesuffix(".json")
    return [path for path in sorted(sidecar.parent.glob(f"{stem}.*")) if path != sidecar]


def _sidecar(path: Path) -> dict:
    """A sidecar of this program, whether whole or not: it says what the files were."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(content, dict) and isinstance(content.get("SettingsHash"), str)
    return content if ours and "bids_encoder" in str(content.get("SoftwareVersions")) else {}
