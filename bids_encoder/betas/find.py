"""Precomputed responses (betas): which files hold them, and what each of their maps shows.

They are found by a path with placeholders (``--betas``) or among the derivatives (the kind
"betas" of a BIDS filter file). What the maps show is said, in this order, by a table beside
them, by the contrast in the name of each map, or by the order of the events.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bids_encoder.betas.path_patterns import check_pattern, fill, find_matches, pattern_folder
from bids_encoder.bids.annex import require_content
from bids_encoder.bids.filters import Matcher
from bids_encoder.bids.links import refuse_links_out
from bids_encoder.bids.names import BidsFile, natural, parse_name, same_number
from bids_encoder.bids.preprocessed import BESIDE, by_hemisphere
from bids_encoder.bids.records import CIFTI, CIFTI_MAPS, GIFTI, Dataset
from bids_encoder.bids.selection import IMAGES, Selection, files_of, matching
from bids_encoder.bids.spaces import choose_space, form_of
from bids_encoder.errors import DataError, MissingInputError, NothingSelectedError, UsageError

logger = logging.getLogger(__name__)

HDF5 = (".hdf5", ".h5", ".mat")
_SURFACES = (f".func{GIFTI}", f".shape{GIFTI}", GIFTI, CIFTI, CIFTI_MAPS)
_SIDES = {"lh": "L", "left": "L", "rh": "R", "right": "R"}  # as others call hemispheres
_REFUSED = (".npy", ".npz", ".pkl", ".pickle")


@dataclass(frozen=True)
class BetasOptions:
    """Where the user says that betas are; see the options of the same names."""

    betas: str | None = None
    table: str | None = None
    mask: str | None = None
    key: str | None = None

    @property
    def folders(self) -> dict[str, Path]:
        """Folders that are read because of these options, by a name for BIDS URIs."""
        given = {"betas": self.betas, "betastable": self.table, "betasmask": self.mask}
        return {name: pattern_folder(pattern) for name, pattern in given.items() if pattern}


@dataclass(frozen=True)
class BetaFile:
    """Maps that belong together: one image (or HDF5 file) of many, or one image each.

    Attributes
    ----------
    images : tuple of Path
        On surfaces those of the first hemisphere.
    contrasts : tuple of str
        What the names call each image; empty where one file holds all maps.
    entities : dict of str to str
        Of the name and the placeholders, "sub" first.
    table : Path or None
        Says what the maps show.
    mask : Path or None
        Says which voxels they have.
    key : str or None
        Name of the numbers in an HDF5 file.
    hemispheres : dict of str to tuple of Path
        GIFTI: the images of each, "L", "R", in the order of `contrasts`.
    """

    images: tuple[Path, ...]
    contrasts: tuple[str, ...]
    entities: dict[str, str]
    table: Path | None
    mask: Path | None
    key: str | None = None
    hemispheres: dict[str, tuple[Path, ...]] = field(default_factory=dict)


def wants_betas(options: BetasOptions, filters: Mapping[str, Mapping] | None) -> bool:
    """Whether betas are to be read in place of BOLD."""
    return options.betas is not None or "betas" in (filters or {})


def check_betas_options(options: BetasOptions) -> None:
    """Check what the options say before anything is read.

    Raises
    ------
    UsageError
        A path has placeholders that do not exist.
    """
    given = {
        "--betas": options.betas,
        "--betas-table": options.table,
        "--betas-mask": options.mask,
    }
    for option, pattern in given.items():
        if pattern is not None:
            check_pattern(pattern, option)


def find_beta_files(
    dataset: Dataset, selection: Selection, options: BetasOptions, n_participants: int
) -> list[BetaFile]:
    """The files with betas of one participant.

    Parameters
    ----------
    dataset : Dataset
    selection : Selection
    options : BetasOptions
    n_participants : int
        Of the dataset; where there are several, the path has to tell them apart.

    Raises
    ------
    UsageError
        The path does not say which participant it is of.
    MissingInputError
        No file fits, or its content is not fetched.
    DataError
        The files are of a kind that is not read, or links that lead elsewhere.
    """
    if options.betas is not None:
        files = _by_pattern(options.betas, selection, n_participants)
    else:
        files = _among_derivatives(dataset, selection)
    _refuse_links_out(dataset, [file.path for file in files], options)
    for file in files:
        _check_kind(file.path)
    require_content([file.path for file in files], "file of betas")
    if any("space" in file.entities for file in files):
        files = choose_space(files, selection.space)
    _check_one_form(files)
    return [_make(group, dataset, selection, options) for group in _together(files)]


def _refuse_links_out(dataset: Dataset, files: Sequence[Path], options: BetasOptions) -> None:
    """Links may lead to the datasets, to the folders that were named, and to their annex."""
    if dataset.follow_links:
        return
    named = list(options.folders.values())
    annexed = [
        parent
        for folder in named
        for parent in (folder, *folder.parents)
        if (parent / ".git" / "annex").is_dir()
    ]
    roots = [*named, dataset.root, *(derivative.root for derivative in dataset.derivatives)]
    refuse_links_out(files, [*roots, *annexed])


def _by_pattern(pattern: str, selection: Selection, n_participants: int) -> list[BidsFile]:
    participant = selection.participant
    if "{subject}" not in pattern and f"sub-{participant}" not in pattern and n_participants > 1:
        raise UsageError(
            "The path of the betas is the same for all participants.",
            place="--betas",
            found=pattern,
            expected="{subject} where the participant's label stands",
            remedy="write {subject} in the path",
        )
    matches = find_matches(pattern, participant)
    if not matches:
        folder = pattern_folder(pattern)
        there = sorted(item.name for item in folder.glob("*"))[:10]
        raise MissingInputError(
            f"No file with betas of sub-{participant} fits the path.",
            file=pattern,
            place="--betas",
            found=f"in {folder}: {', '.join(there)}" if there else f"nothing in {folder}",
            remedy="correct the path; labels stand at {subject}, {session}, {run}, "
            "without sub-, ses-, run-",
        )
    named = [parse_name(match.path) for match in matches]
    found = [
        BidsFile(file.path, {**file.entities, **match.labels}, file.suffix, file.extension)
        for file, match in zip(named, matches, strict=True)
    ]
    return [_with_side(file) for file in found]


def _with_side(file: BidsFile) -> BidsFile:
    """The same file, whose hemisphere is called L or R."""
    side = file.entities.get("hemi")
    if side is None:
        return file
    return replace(file, entities={**file.entities, "hemi": _SIDES.get(side.lower(), side)})


def _among_derivatives(dataset: Dataset, selection: Selection) -> list[BidsFile]:
    query = {"extension": [*IMAGES, *HDF5, *_SURFACES], **selection.query("betas")}
    for derivative in dataset.derivatives:
        matcher = Matcher(derivative.layout)
        files = [
            file
            for file in files_of(derivative.layout, selection.participant, query)
            if matcher.fits(file, query)
        ]
        if files:
            return sorted(files, key=lambda file: natural(file.path.name))
    raise NothingSelectedError(
        f"The derivatives hold no betas of sub-{selection.participant}.",
        file=", ".join(str(one.root) for one in dataset.derivatives) or None,
        place="betas in the BIDS filter file",
        found="no file that fits" if dataset.derivatives else "no derivatives were given (-d)",
        expected=str(dict(selection.query("betas"))),
        remedy="correct the filters, give the folder with -d, or name the files with --betas",
    )


def _check_kind(path: Path) -> None:
    name = path.name.lower()
    if name.endswith((*IMAGES, *HDF5, *_SURFACES)):
        return
    pickled = name.endswith(_REFUSED)
    raise DataError(
        "Betas are not read from files of this kind.",
        file=path,
        found="NumPy's or Python's pickles, which can run code when they are opened"
        if pickled
        else f"a name that ends in {path.suffix or 'nothing'}",
        expected="NIfTI (.nii, .nii.gz), HDF5 (.hdf5, .h5, MATLAB's .mat of version 7.3), GIFTI "
        "(.gii) or CIFTI (.dscalar.nii, .dtseries.nii)",
        remedy="let GLMsingle write HDF5 (wanthdf5=1), or save the betas as NIfTI"
        if pickled
        else "give a narrower path, or convert the file",
    )


def _check_one_form(files: Sequence[BidsFile]) -> None:
    first = files[0]
    for file in files:
        if form_of(file) != form_of(first):
            raise DataError(
                "The betas are images of different kinds.",
                file=file.path,
                found=form_of(file),
                expected=f"{form_of(first)}, as {first.path.name}",
                remedy="give a narrower path or filter",
            )


def _together(files: Sequence[BidsFile]) -> list[list[BidsFile]]:
    """Maps of one contrast or hemisphere each that differ in nothing else belong together."""
    groups: dict[object, list[BidsFile]] = {}
    for file in files:
        apart = {"contrast", *(["hemi"] if form_of(file) == "GIFTI" else [])}
        rest = frozenset((k, v) for k, v in file.entities.items() if k not in apart)
        key = (file.path.parent, rest) if apart & file.entities.keys() else file.path
        groups.setdefault(key, []).append(file)
    return list(groups.values())


def _of_hemispheres(
    files: Sequence[BidsFile], selection: Selection, options: BetasOptions
) -> dict[str, list[BidsFile]]:
    """The files of each hemisphere, with the same contrasts in the same order.

    Raises
    ------
    DataError, MissingInputError
        A hemisphere is not there, or lacks a contrast; or has several files.
    """
    pattern = options.betas
    asked = (
        pattern is not None
        and "{hemi}" not in pattern
        and any(f"hemi-{side}" in pattern for side in "LR")
    )
    asked |= bool({"hemi", "hemisphere"} & selection.query("betas").keys())
    sides = by_hemisphere(files, "betas", one_is_enough=asked)
    contrasts = {
        side: [file.entities.get("contrast") for file in mine] for side, mine in sides.items()
    }
    for side, mine in sides.items():
        if len(set(contrasts[side])) < len(mine):
            raise DataError(
                "Several files hold betas of one hemisphere.",
                file=mine[1].path,
                found=f"also {mine[0].path.name}",
                expected="one file for each hemisphere (or one image for each contrast)",
                remedy="give a narrower path or filter",
            )
    first, *others = sides
    for side in others:
        if lacking := set(contrasts[first]) ^ set(contrasts[side]):
            raise MissingInputError(
                "A contrast has the betas of one hemisphere only.",
                file=sides[side][0].path.parent,
                found=f"contrast-{sorted(map(str, lacking))[0]} of one hemisphere",
                expected=f"files of hemi-{first} and hemi-{side} for each contrast",
                remedy="add the files, or leave the contrast out",
            )
        sides[side].sort(key=lambda file: contrasts[first].index(file.entities.get("contrast")))
    return sides


def _make(
    files: Sequence[BidsFile], dataset: Dataset, selection: Selection, options: BetasOptions
) -> BetaFile:
    sides = {}
    if form_of(files[0]) == "GIFTI":
        sides = _of_hemispheres(files, selection, options)
        files = next(iter(sides.values()))
    first = files[0]
    apart = ("contrast", *(["hemi"] if sides else []))
    entities = {name: label for name, label in first.entities.items() if name not in apart}
    if selection.space is not None:
        entities.setdefault("space", selection.space.split(":")[0])
    stem = first.path.name.removesuffix(first.extension)
    for name in apart:
        stem = stem.replace(f"{name}-{first.entities.get(name)}_", "")
    beside = first.path.with_name(f"{stem}.tsv")
    if options.table is not None:
        beside = fill(options.table, entities, "--betas-table")
        if not beside.is_file():
            raise MissingInputError(
                "The table of the betas is missing.",
                file=beside,
                place="--betas-table",
                remedy="correct the path",
            )
    if form_of(first) != "volume":
        if options.mask is not None:
            raise UsageError(
                "Masks of betas on surfaces are not read.",
                place="--betas-mask",
                found=options.mask,
                expected="betas that are NaN, or the same in all maps, where they are not to count",
                remedy="leave the option out",
            )
        mask = None
    elif options.mask is not None:
        mask = fill(options.mask, entities, "--betas-mask")
    else:
        mask = _brain_mask(dataset, selection, entities)
    ours = [file for file in (beside, mask) if file is not None and file.exists()]
    _refuse_links_out(dataset, ours, options)
    return BetaFile(
        tuple(file.path for file in files),
        tuple(file.entities["contrast"] for file in files if "contrast" in file.entities),
        entities,
        beside if beside.is_file() else None,
        mask,
        options.key,
        {side: tuple(file.path for file in mine) for side, mine in sides.items()},
    )


def _brain_mask(dataset: Dataset, selection: Selection, entities: Mapping[str, str]) -> Path | None:
    """The brain mask among the derivatives that is of the same session (run) and space."""
    for derivative in dataset.derivatives:
        masks = matching(
            derivative.layout, selection.participant, BESIDE["mask"], selection.query("mask")
        )
        fitting = [
            file
            for file in masks
            if file.entities.get("space") == entities.get("space")
            and all(_agree(file, entities, name) for name in ("ses", "task", "run"))
        ]
        if fitting:
            chosen = min(fitting, key=lambda file: natural(file.path.name))
            logger.info("The voxels of the betas are those of %s.", chosen.path)
            return chosen.path
    return None


def _agree(file: BidsFile, entities: Mapping[str, str], name: str) -> bool:
    """Whether two files have the same label, as far as both have one."""
    labels = [labels[name] for labels in (file.entities, entities) if name in labels]
    return len({same_number(label) for label in labels}) < 2


def grid_candidates(dataset: Dataset, selection: Selection) -> list[Path]:
    """Images of the participant that may say where the voxels of an HDF5 file lie."""
    found: list[BidsFile] = []
    for derivative in dataset.derivatives:
        for suffix in ("mask", "bold", "boldref"):
            query = {"suffix": suffix, "extension": list(IMAGES)}
            files = files_of(derivative.layout, selection.participant, query)
            in_space = [
                file
                for file in files
                if selection.space is None
                or file.entities.get("space") == selection.space.split(":")[0]
            ]
            found += sorted(in_space, key=lambda file: natural(file.path.name))
    query = {"suffix": "bold", "extension": list(IMAGES)}
    found += files_of(dataset.layout, selection.participant, query)
    return [file.path for file in found]
