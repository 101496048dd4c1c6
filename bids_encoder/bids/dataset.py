"""A BIDS dataset: its participants, its derivatives, and the runs to be analysed.

pybids lists the files; which of them belong together is decided here from their names.
Nothing is ever written under the dataset.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bids_encoder.bids.annex import require_content
from bids_encoder.bids.checks import (
    DESCRIPTION,
    participant_labels,
    read_derivative_description,
    read_description,
    require_folder,
)
from bids_encoder.bids.index import open_layout
from bids_encoder.bids.links import refuse_links_out
from bids_encoder.bids.names import without_prefix
from bids_encoder.bids.records import BoldRun, Dataset, Derivative, Run
from bids_encoder.bids.runs import collect_runs
from bids_encoder.bids.selection import Selection
from bids_encoder.bids.sidecars import Listing, sidecars_of
from bids_encoder.errors import (
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    UsageError,
)

__all__ = ["Dataset", "Derivative", "Run", "find_runs", "list_participants", "open_dataset"]


def list_participants(bids_dir: str | Path, labels: Sequence[str] = ()) -> list[str]:
    """Labels (without ``sub-``) of the participants of a dataset, sorted.

    Parameters
    ----------
    bids_dir : path
        The dataset.
    labels : sequence of str
        Those asked for, with or without ``sub-``; none means all.

    Raises
    ------
    MissingInputError, DataError
        No such folder, or a file.
    InvalidDatasetError
        The dataset has no participants.
    NothingSelectedError
        A label that the dataset does not have.
    """
    root = _absolute(bids_dir)
    require_folder(root, "dataset")
    there = participant_labels(root)
    if not there:
        raise InvalidDatasetError(
            "The dataset has no participants.",
            file=root,
            expected="folders named sub-01, sub-02, …",
            remedy="give the folder that holds them",
        )
    wanted = without_prefix(labels, "sub")
    unknown = [label for label in wanted if label not in there]
    if unknown:
        raise NothingSelectedError(
            f"The dataset has no participant {', '.join(unknown)}.",
            file=root,
            place="--participant-label",
            found=f"{len(there)} participants: {', '.join(there[:10])}"
            + (", …" if len(there) > 10 else ""),
            remedy=_nearest(unknown, there),
        )
    return sorted(wanted or there)


def open_dataset(
    bids_dir: str | Path,
    *,
    participants: Sequence[str] | None = None,
    derivatives: Iterable[str | Path] = (),
    database_dir: str | Path | None = None,
    skip_validation: bool = False,
    follow_links: bool = False,
) -> Dataset:
    """Check a dataset and index it for the participants asked for.

    Parameters
    ----------
    bids_dir : path
        The raw dataset.
    participants : sequence of str, optional
        Labels with or without ``sub-``. None indexes everybody, which takes long in a
        large dataset.
    derivatives : iterable of str or path
        ``path`` or ``name=path``; what does not exist as it stands is also looked for
        under ``BIDS_DIR/derivatives``.
    database_dir : path, optional
        Folder in which the indices are kept for the next time: one for each dataset or
        derivative and each set of participants, made anew when a file was added,
        removed or renamed. Several processes may use it at once.
    skip_validation : bool
        Go on, with a warning, where ``dataset_description.json`` is missing or wrong.
    follow_links : bool
        Read files of the dataset that are links out of it.

    Raises
    ------
    MissingInputError
        The dataset, or a derivative, is not there.
    DataError
        One of them is a file; a description is a link out of the dataset.
    InvalidDatasetError
        Not a raw BIDS dataset, or no participants.
    NothingSelectedError
        A participant that the dataset does not have.
    UsageError
        The index would lie in the dataset, or two derivatives have the same name.
    OutputError
        The index cannot be kept.
    """
    root = _absolute(bids_dir)
    require_folder(root, "dataset")
    description = read_description(root, skip_validation=skip_validation)
    labels = list_participants(root, participants or ())
    labels = labels if participants else []
    if database_dir is not None:
        database_dir = _absolute(database_dir)
        _require_outside(database_dir, root)
    located = locate_derivatives(root, derivatives)
    if not follow_links:
        folders = [root, *located.values()]
        refuse_links_out([folder / DESCRIPTION for folder in folders], folders)
    return Dataset(
        root,
        description,
        open_layout(root, labels, database_dir=database_dir),
        tuple(
            Derivative(
                name,
                folder,
                read_derivative_description(folder),
                open_layout(folder, labels, database_dir=database_dir),
            )
            for name, folder in located.items()
        ),
        follow_links,
    )


def find_runs(
    dataset: Dataset,
    participant: str,
    *,
    sessions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    runs: Sequence[str] = (),
    space: str | None = None,
    filters: Mapping[str, Mapping] | None = None,
    slice_time_ref: float | None = None,
) -> list[BoldRun]:
    """The runs of a participant that have BOLD and events, in the order of their names.

    With derivatives, the preprocessed BOLD with its mask and confounds; else the raw
    BOLD, with a warning. Runs without events are left out.

    Parameters
    ----------
    dataset : Dataset
        As `open_dataset` returns it.
    participant : str
        Label with or without ``sub-``.
    sessions, tasks, runs : sequences of str
        Labels with or without ``ses-``, ``task-``, ``run-``; none means all. Run ``1``
        is also run ``01``.
    space : str, optional
        Space of the preprocessed BOLD (see `spaces.choose_space`).
    filters : mapping, optional
        Content of a BIDS filter file (see `filters.load_filter_file`).
    slice_time_ref : float, optional
        Share of the repetition time after which volumes stand for (see
        `timing.reference_time`).

    Raises
    ------
    NothingSelectedError
        No BOLD fits, or none in the wanted space.
    MissingInputError
        No run has events, no derivative knows the participant, or the content of a
        file is not fetched.
    DataError
        Raw multi-echo BOLD, a broken sidecar, or a file that is a link out of the dataset.
    """
    selection = select_files(participant, sessions, tasks, runs, space, filters, slice_time_ref)
    found = collect_runs(dataset, selection)
    dataset.refuse_links_out(_files_of(dataset, found))
    require_content([path for run in found for path in run.images], "BOLD run")
    require_content([run.events for run in found], "events file")
    require_content([run.mask for run in found if run.mask], "brain mask")
    require_content([run.confounds for run in found if run.confounds], "confounds table")
    return found


def select_files(
    participant: str,
    sessions: Sequence[str] = (),
    tasks: Sequence[str] = (),
    runs: Sequence[str] = (),
    space: str | None = None,
    filters: Mapping[str, Mapping] | None = None,
    slice_time_ref: float | None = None,
) -> Selection:
    """What a user asked for, with labels without their prefix; see :func:`find_runs`."""
    return Selection(
        without_prefix([participant], "sub")[0],
        {
            "ses": without_prefix(sessions, "ses"),
            "task": without_prefix(tasks, "task"),
            "run": without_prefix(runs, "run"),
        },
        space,
        filters or {},
        slice_time_ref,
    )


def _files_of(dataset: Dataset, runs: Sequence[BoldRun]) -> Iterator[Path]:
    """All files that are read of these runs, sidecars included."""
    listing: Listing = {}
    roots = [dataset.root, *(derivative.root for derivative in dataset.derivatives)]
    for run in runs:
        for path in filter(None, (*run.images, run.events, run.mask, run.confounds)):
            yield path
            for root in roots:
                if root in path.parents:
                    yield from sidecars_of(path, root, listing=listing)


def locate_derivatives(bids_dir: str | Path, derivatives: Iterable[str | Path]) -> dict[str, Path]:
    """Find the folders of derivatives, by name.

    Parameters
    ----------
    bids_dir : path
        The raw dataset; what does not exist is also looked for in its ``derivatives``.
    derivatives : iterable of str or path
        ``path`` or ``name=path``.

    Raises
    ------
    MissingInputError, DataError
        There is no such folder, or a file.
    UsageError
        Two have the same name.
    """
    root = _absolute(bids_dir)
    located: dict[str, Path] = {}
    for given in derivatives:
        name, folder = _name_and_folder(root, given)
        if name in located and located[name] != folder:
            raise UsageError(
                f"Two derivatives have the name {name!r}.",
                place="-d/--derivatives",
                found=f"{located[name]} and {folder}",
                remedy=f"name one of them, e.g. -d other={folder}",
            )
        located[name] = folder
    return located


def _name_and_folder(root: Path, given: str | Path) -> tuple[str, Path]:
    name, equals, path = str(given).partition("=")
    if not equals or _absolute(given).exists() or not re.fullmatch(r"[\w.+-]+", name):
        name, path = "", str(given)
    standard = root / "derivatives"
    folder = _absolute(path)
    if not folder.exists() and (standard / path).is_dir():
        folder = _absolute(standard / path)
    if not folder.exists():
        there = sorted(item.name for item in standard.glob("*") if item.is_dir())
        raise MissingInputError(
            "There is no such folder of derivatives.",
            file=folder,
            place="-d/--derivatives",
            found=f"in {standard}: {', '.join(there)}" if there else None,
            remedy="correct the path; in a container, check that the folder is mounted",
        )
    require_folder(folder, "derivative")
    return name or folder.name, folder


def _require_outside(database_dir: Path, root: Path) -> None:
    if database_dir.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            "The index would be written into the dataset, which is never written to.",
            place="--bids-database-dir",
            found=database_dir,
            remedy=f"give a folder outside, e.g. {root.parent / (root.name + '-index')}",
        )


def _nearest(unknown: Sequence[str], there: Sequence[str]) -> str:
    near = {
        label
        for word in unknown
        for label in there
        if label.lstrip("0") == word.lstrip("0") or label.lower() == word.lower()
    }
    for word in unknown:
        near.update(difflib.get_close_matches(word, there, n=3))
    if near:
        return f"did you mean {' or '.join(sorted(near)[:5])}?"
    return "take labels of the folders sub-*, without or with sub-"


def _absolute(path: str | Path) -> Path:
    # Not resolve(): links to a dataset (and git-annex's) stay as the user knows them.
    return Path(os.path.abspath(Path(path).expanduser()))
