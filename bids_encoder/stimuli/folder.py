"""A folder with pictures that the user names: which files in it are pictures."""

from __future__ import annotations

from pathlib import Path

from bids_encoder.errors import DataError, MissingInputError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".webp", ".ppm", ".pgm", ".jp2", ".j2k"}
)
"""Endings of the names of picture files, in lower case."""


def is_picture(name: str | Path) -> bool:
    """Whether the name of a file is that of a picture."""
    return Path(name).suffix.lower() in SUFFIXES


def pictures_in(folder: str | Path, option: str) -> list[Path]:
    """The pictures in a folder and the folders below it, sorted; hidden ones are passed over.

    Parameters
    ----------
    folder : path
    option : str
        The option that named the folder, for messages.

    Raises
    ------
    MissingInputError
        There is no such folder, or it holds no picture.
    DataError
        It is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(
            "A folder with pictures is wanted, and this is a file.",
            file=folder,
            place=option,
            remedy="give the folder in which the pictures lie",
        )
    found = sorted(
        path
        for path in folder.rglob("*")
        if is_picture(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        there = folder.is_dir()
        raise MissingInputError(
            "The folder holds no pictures." if there else "There is no such folder of pictures.",
            file=folder,
            place=option,
            expected=f"pictures whose names end with {', '.join(sorted(SUFFIXES)[:8])} …",
            remedy=f"correct the path after {option}",
        )
    return found
