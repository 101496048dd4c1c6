"""Is this folder a raw BIDS dataset? The few checks without which nothing can be read."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from bids_encoder.bids.sidecars import read_json
from bids_encoder.errors import DataError, InvalidDatasetError, MessageParts, MissingInputError

logger = logging.getLogger(__name__)

DESCRIPTION = "dataset_description.json"
_PARTICIPANT = re.compile(r"sub-([A-Za-z0-9+]+)")
_VALIDATOR = "the BIDS validator lists all that is missing; --skip-bids-validation goes on anyway"


def require_folder(path: Path, what: str) -> None:
    """Raise unless `path` is a folder.

    Raises
    ------
    MissingInputError
        Nothing is there.
    DataError
        A file is there.
    """
    if path.is_dir():
        return
    if path.exists():
        raise DataError(
            f"The {what} is a file, not a folder.",
            file=path,
            expected=f"the folder in which {DESCRIPTION} lies",
            remedy="give that folder",
        )
    raise MissingInputError(
        f"There is no such folder for the {what}.",
        file=path,
        remedy="correct the path; in a container, check that the folder is mounted",
    )


def read_description(root: Path, *, skip_validation: bool = False) -> dict:
    """Read and check ``dataset_description.json`` of a raw dataset.

    Raises
    ------
    InvalidDatasetError
        It is missing, broken or incomplete, or says that the dataset is a derivative;
        with `skip_validation` these are warnings.
    """
    try:
        description = _read(root)
        _check(description, root)
        return description
    except InvalidDatasetError as error:
        if not skip_validation:
            raise
        logger.warning("%s Going on, as validation is skipped.", error.problem)
    try:
        return _read(root)
    except InvalidDatasetError:
        return {}


def read_derivative_description(root: Path) -> dict:
    """Description of a derivative; where it is missing or broken: a warning, and ``{}``."""
    try:
        return _read(root)
    except InvalidDatasetError as error:
        logger.warning("%s: %s Going on without.", root, error.problem)
        return {}


def participant_labels(root: Path) -> list[str]:
    """Labels (without ``sub-``) of the participants that have a folder, sorted."""
    labels = []
    for folder in root.glob("sub-*"):
        match = _PARTICIPANT.fullmatch(folder.name)
        if match and folder.is_dir():
            labels.append(match[1])
        elif folder.is_dir():
            logger.warning(
                "The folder %s is passed over: labels hold letters and digits only.", folder
            )
    return sorted(labels)


def _read(root: Path) -> dict:
    path = root / DESCRIPTION
    if not path.is_file() and not path.is_symlink():
        raise InvalidDatasetError(
            f"The folder is not a BIDS dataset: it holds no {DESCRIPTION}.",
            file=root,
            expected=str(path),
            remedy=f"give the folder in which {DESCRIPTION} lies; {_VALIDATOR}",
        )
    try:
        return read_json(path)
    except DataError as error:
        parts: MessageParts = {**error.parts, "found": error.parts["found"] or error.problem}
        raise InvalidDatasetError(f"{DESCRIPTION} cannot be read.", **parts) from error


def _check(description: dict, root: Path) -> None:
    path = root / DESCRIPTION
    for key, example in (("Name", "My study"), ("BIDSVersion", "1.10.0")):
        if not isinstance(description.get(key), str) or not description[key].strip():
            raise InvalidDatasetError(
                f"{DESCRIPTION} lacks {key}.",
                file=path,
                place=key,
                expected=f'"{key}": "{example}"',
                remedy=f"add it; {_VALIDATOR}",
            )
    if description.get("DatasetType") == "derivative":
        raise InvalidDatasetError(
            "The dataset is a derivative, not the raw dataset with the events.",
            file=path,
            place="DatasetType",
            found="derivative",
            expected="raw",
            remedy=f"give the raw dataset first, and this one with -d {root}",
        )
