"""Which of the spaces that a pipeline has written is taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bids_encoder.bids.names import BidsFile, natural
from bids_encoder.bids.records import CIFTI, CIFTI_MAPS, GIFTI
from bids_encoder.errors import NothingSelectedError

logger = logging.getLogger(__name__)

# Each participant's own anatomy first: nothing is lost to the group's.
PREFERRED = ("T1w", "MNI152NLin2009cAsym")
# fMRIPrep's words for the grid of the BOLD itself, which file names do not mention.
NATIVE = ("func", "bold", "boldref", "run", "sbref", "native")
# Spaces in which voxels of different participants have nothing to do with each other.
_FORMS = ("CIFTI", "GIFTI", "volume")
_OWN = frozenset({*NATIVE, "T1w", "T2w", "fsnative", "individual", "orig", "scanner"})


def choose_space(files: Sequence[BidsFile], space: str | None) -> list[BidsFile]:
    """Keep the preprocessed BOLD of one space, one kind of image and one resolution.

    Parameters
    ----------
    files : sequence of BidsFile
        Preprocessed BOLD of one participant; not empty.
    space : str or None
        As fMRIPrep takes it: ``T1w``, ``MNI152NLin2009cAsym:res-2``, ``fsaverage5``,
        ``fsLR:den-91k``, ``func``. None
        takes the only space there is; of several, among those that cover the most runs,
        T1w, then MNI152NLin2009cAsym, then the first.

    Raises
    ------
    NothingSelectedError
        The space (or the resolution) is not there.
    """
    label, *modifiers = (space or "").split(":")
    there = sorted({_space(file) for file in files}, key=natural)
    if not label:
        # Surfaces are taken where they are asked for, or where there is nothing else.
        files = [file for file in files if form_of(file) == "volume"] or files
        there = sorted({_space(file) for file in files}, key=natural)
        label = _preferred(files, there)
    elif label not in there and label in NATIVE and "native" in there:
        label = "native"
    chosen = [file for file in files if _space(file) == label]
    if not chosen:
        raise NothingSelectedError(
            f"There is no preprocessed BOLD in the space {space!r}.",
            file=files[0].path.parent,
            found=f"spaces {', '.join(there)}",
            expected=space,
            remedy=f"take one of those, e.g. --space {there[0]}",
        )
    if not space and len(there) > 1:
        others = ", ".join(other for other in there if other != label)
        logger.info("Taking BOLD in the space %s (there are also: %s).", label, others)
    return _choose_resolution(chosen, space, modifiers)


def _choose_resolution(files, space, modifiers) -> list[BidsFile]:
    for modifier in modifiers:
        entity, _, label = modifier.partition("-")
        kept = [file for file in files if file.entities.get(entity) == label]
        if not kept:
            there = sorted({file.entities.get(entity, "none") for file in files}, key=natural)
            raise NothingSelectedError(
                f"There is no preprocessed BOLD in the space {space!r}.",
                file=files[0].path.parent,
                found=f"{entity}: {', '.join(there)}",
                expected=modifier,
                remedy="take one of those",
            )
        files = kept
    forms = {form_of(file) for file in files}
    if len(forms) > 1:
        # A CIFTI file has what GIFTI files have, and the subcortical structures.
        form = next(one for one in _FORMS if one in forms)
        others = ", ".join(sorted(forms - {form}))
        logger.info("Taking %s images in %s (there are also: %s).", form, _space(files[0]), others)
        files = [file for file in files if form_of(file) == form]
    for entity, word in (("res", "resolution"), ("den", "density")):
        there = sorted({file.entities.get(entity, "") for file in files}, key=natural)
        if len(there) > 1:
            label = there[0]
            logger.info(
                "Taking %s %s (there are also: %s); --space %s:%s-… takes another.",
                word,
                label or f"without {entity}-",
                ", ".join(there[1:]),
                _space(files[0]),
                entity,
            )
            files = [file for file in files if file.entities.get(entity, "") == label]
    return list(files)


def _preferred(files, there) -> str:
    runs = {label: {file.run_key for file in files if _space(file) == label} for label in there}
    most = max(len(keys) for keys in runs.values())
    full = [label for label in there if len(runs[label]) == most]
    named = [label for label in full if label != "native"]
    return next((label for label in PREFERRED if label in full), (named or full)[0])


def form_of(file: BidsFile) -> str:
    """What kind of image a file is: "volume", "GIFTI" or "CIFTI"."""
    if file.extension.endswith(GIFTI):
        return "GIFTI"
    return "CIFTI" if file.extension in (CIFTI, CIFTI_MAPS) else "volume"


def _space(file: BidsFile) -> str:
    return file.entities.get("space", "native")


def is_own(space: str | None) -> bool:
    """Does each participant have a grid of its own in this space?"""
    return space is None or space in _OWN
