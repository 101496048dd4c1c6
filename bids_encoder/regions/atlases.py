"""Atlases that the user names: files, or atlases of TemplateFlow."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.names import BidsFile, parse_name
from bids_encoder.bids.selection import IMAGES
from bids_encoder.bids.sidecars import list_folder
from bids_encoder.bids.spaces import is_own
from bids_encoder.derivatives.file_names import label
from bids_encoder.errors import MissingInputError, UsageError
from bids_encoder.regions.find_in_volumes import RegionFiles, atlas_of
from bids_encoder.regions.find_on_surfaces import EXTENSIONS, open_surface_atlas
from bids_encoder.regions.label_tables import find_labels, read_labels
from bids_encoder.runtime.environment import templateflow_home

logger = logging.getLogger(__name__)

OTHER_SPACE = "The atlas is in another space than the BOLD."
_SUFFIXES = ("dseg", "probseg")  # the first is taken where both are there


def is_file(atlas: str) -> bool:
    """Is it a file's name, not that of an atlas in TemplateFlow?"""
    return atlas.endswith((*IMAGES, *EXTENSIONS)) or os.sep in atlas


def open_atlases(
    atlases: Sequence[str],
    tables: Sequence[Path],
    *,
    space: str | None,
    resolution: str | None,
    surfaces: bool = False,
    allow_downloads: bool = False,
) -> list[RegionFiles]:
    """Find the atlases that a user names.

    Parameters
    ----------
    atlases : sequence of str
        Paths of NIfTI files, and names of atlases in TemplateFlow, with what else
        tells them apart: ``Schaefer2018:desc-400Parcels7Networks``.
    tables : sequence of Path
        A table of labels for each file among them, in that order; none: looked for
        beside the files.
    space : str or None
        Of the BOLD; None: each run's own.
    resolution : str or None
        Of the BOLD: preferred where TemplateFlow has several.
    surfaces : bool
        Whether the BOLD lies on surfaces. Atlases are then ``.label.gii`` or ``.annot``
        files, of which one hemisphere is named and the other lies beside it, or
        ``.dlabel.nii`` files.
    allow_downloads : bool
        Whether TemplateFlow may fetch what is not there.

    Raises
    ------
    UsageError
        Numbers of files and tables differ, an atlas lies in another space than the
        BOLD, or a name stands for several atlases.
    MissingInputError
        A file, or an atlas, is not there.
    DataError
        A table of labels is wrong.
    """
    files = [atlas for atlas in atlases if is_file(atlas)]
    if tables and len(tables) != len(files):
        raise UsageError(
            "There is not one table of labels for each atlas file.",
            place="--atlas-labels",
            found=f"{len(tables)} tables for {len(files)} files",
            expected="one for each file, in the same order, or none",
            remedy="leave --atlas-labels out where the tables lie beside the files",
        )
    table_of = dict(zip(files, tables, strict=True)) if tables else {}
    found: list[RegionFiles] = []
    for atlas in atlases:
        if not is_file(atlas):
            found.append(_from_templateflow(atlas, space, resolution, allow_downloads))
        elif not any(Path(atlas) in one.images for one in found):  # the other hemisphere
            found.append(_open_file(Path(atlas), table_of.get(atlas), space, surfaces))
    return found


def _open_file(path: Path, table: Path | None, space: str | None, surfaces: bool) -> RegionFiles:
    require_content([path], "atlas")
    if not path.is_file():
        raise MissingInputError(
            "There is no such atlas file.",
            file=path,
            place="--atlas",
            remedy="correct the path; in a container, check that the folder is mounted",
        )
    name = parse_name(path)
    if path.name.endswith(EXTENSIONS) != surfaces:
        raise _other_space(
            path,
            "a volume" if surfaces else "a surface",
            "a volume" if not surfaces else f"the surface {space or 'fsnative'}",
        )
    _check_space(name, space)
    if surfaces:
        found = open_surface_atlas(path, name, _label(name))
        return replace(found, names=read_labels(table)) if table else found
    table = table or find_labels(path)
    return RegionFiles(
        _label(name), (path,), read_labels(table) if table else None, path.name, asked=True
    )


def _label(file: BidsFile) -> str:
    name = re.sub(r"^[lr]h\.|_?hemi-[LR]", "", file.path.name).partition(".")[0]
    return label(atlas_of(file) or name)


def _check_space(file: BidsFile, space: str | None) -> None:
    """Compare what the atlas' name says of its space with the space of the BOLD."""
    said = file.entities.get("space") or file.entities.get("tpl")
    words = space or "its own space (as acquired)"
    if said is None:
        if is_own(space):
            logger.warning(
                f"Nothing says in which space the atlas {file.path.name} is; it is taken to be "
                f"in that of the BOLD, {words}."
            )
        return
    if said == space:
        return
    if said.startswith("MNI152") and (space or "").startswith("MNI152"):
        logger.warning(
            f"The atlas {file.path.name} is in {said}, the BOLD in {space}: regions may be off "
            "by some millimetres."
        )
        return
    raise _other_space(file.path, said, words)


def _other_space(file: Path | None, said: str, space: str) -> UsageError:
    return UsageError(
        OTHER_SPACE,
        file=file,
        place="--atlas",
        found=f"atlas in {said}, BOLD in {space}",
        expected="both in one space",
        remedy="choose BOLD in the atlas' space with --space, or bring the atlas into the space "
        "of the BOLD and give that file",
    )


def _from_templateflow(
    atlas: str, space: str | None, resolution: str | None, allow_downloads: bool
) -> RegionFiles:
    # The folder is read directly: importing templateflow fills an empty folder, partly
    # from the network.
    name, *modifiers = atlas.split(":")
    entities = dict(modifier.split("-", 1) for modifier in modifiers if "-" in modifier)
    if not name.isalnum() or len(entities) < len(modifiers):
        raise UsageError(
            "This is neither an atlas file nor the name of an atlas in TemplateFlow.",
            place="--atlas",
            found=atlas,
            expected="FILE.nii.gz, NAME or NAME:desc-LABEL",
            remedy="correct it",
        )
    if space is None or is_own(space):
        raise _other_space(
            None, "a standard space (TemplateFlow)", space or "its own space (as acquired)"
        )
    wanted = {"atlas": name, **entities}
    folder = templateflow_home() / f"tpl-{space}"
    found = _there(folder, wanted)
    if not found and allow_downloads:
        _fetch(space, wanted)
        found = _there(folder, wanted)
    if not found:
        raise _not_there(folder, atlas, space, wanted)
    kinds = sorted({_label(file) for file in found})
    if len(kinds) > 1:
        raise UsageError(
            f"The name {atlas} stands for several atlases of TemplateFlow.",
            file=folder,
            place="--atlas",
            found=", ".join(sorted({file.entities.get("desc", "none") for file in found})[:20]),
            expected="one of them",
            remedy=f"name it, e.g. --atlas {name}:desc-{found[0].entities.get('desc')}",
        )
    file = min(found, key=lambda one: _order(one, resolution))
    table = find_labels(file.path)
    return RegionFiles(
        _label(file),
        (file.path,),
        read_labels(table) if table else None,
        f"TemplateFlow: {file.path.name}",
        asked=True,
    )


def _order(file: BidsFile, resolution: str | None) -> tuple:
    res = file.entities.get("res", "")
    return _SUFFIXES.index(file.suffix), res.lstrip("0") != (resolution or "").lstrip("0"), res


def _there(folder: Path, wanted: dict[str, str]) -> list[BidsFile]:
    """Files of the atlas that are here with their tables; TemplateFlow marks others as empty."""
    files = [
        file
        for file in list_folder(folder)
        if file.suffix in _SUFFIXES
        and file.extension in IMAGES
        and wanted.items() <= {**file.entities, "atlas": _name(file)}.items()
    ]
    require_content([file.path for file in files], "atlas")
    return [
        file
        for file in files
        if all(map(_filled, filter(None, (file.path, find_labels(file.path)))))
    ]


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _name(file: BidsFile) -> str | None:
    return file.entities.get("atlas") or file.entities.get("seg")


def _fetch(space: str, wanted: dict[str, str]) -> None:
    """Let TemplateFlow download the images of an atlas and their table."""
    from templateflow import api

    logger.info(f"Fetching the atlas {wanted['atlas']} in {space} from TemplateFlow.")
    query = {"resolution" if key == "res" else key: value for key, value in wanted.items()}
    try:
        api.get(space, suffix=list(_SUFFIXES), **query)
    except Exception as error:  # whatever the network has to offer
        raise MissingInputError(
            "TemplateFlow cannot fetch the atlas.",
            place="--atlas",
            found=f"{type(error).__name__}: {error}",
            expected=f"{wanted['atlas']} in {space}",
            remedy="check the network, or fetch it on another machine and copy the folder "
            "TEMPLATEFLOW_HOME",
        ) from error


def _not_there(folder: Path, atlas: str, space: str, wanted: dict) -> MissingInputError:
    names = {
        name
        for file in list_folder(folder)
        if file.suffix in _SUFFIXES and _filled(file.path) and (name := _name(file)) is not None
    }
    call = "".join(f", {key}={value!r}" for key, value in wanted.items())
    return MissingInputError(
        f"TemplateFlow's atlas {atlas} is not on this machine.",
        file=folder,
        place="--atlas",
        found=f"atlases {', '.join(sorted(names)[:20])}" if names else "no atlases",
        expected=f"tpl-{space}_…_atlas-{wanted['atlas']}_…_dseg.nii.gz and its table",
        remedy="add --allow-downloads; or where there is a network: python -c "
        f'"from templateflow.api import get; get({space!r}{call})", '
        "and set TEMPLATEFLOW_HOME to that folder",
    )
