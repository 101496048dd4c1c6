"""From the conditions of a file of contrasts to pictures and trials."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_encoder.bids.catalogue import FILE_COLUMNS, ID_COLUMNS
from bids_encoder.bids.stimulus_files import Mention, StimulusFolder
from bids_encoder.bids.tables import read_table
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.stimuli.images import read_bytes
from bids_encoder.stimuli.segments import Segment
from bids_encoder.synthesis.columns import check_columns, is_among
from bids_encoder.synthesis.contrast_file import Condition, Contrast, ContrastFile
from bids_encoder.synthesis.folder import TABLE, PictureFolder, read_folder

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation

Trials = Mapping[str, tuple["Presentation", ...]]


@dataclass(frozen=True)
class Shown:
    """What a participant was shown, and where its tables are.

    Attributes
    ----------
    events : tuple of Path
        One table a run: of events, or of what precomputed maps show.
    presentations : tuple of tuples of Presentation
        One tuple a run.
    stimuli : dict of str to Path or Segment
        Pictures and clips by stimulus id; no two have the same content.
    dataset_root : Path
    stim_dir : Path or None
        Folder with the stimuli in place of ``stimuli``.
    """

    events: tuple[Path, ...]
    presentations: tuple[tuple[Presentation, ...], ...]
    stimuli: Mapping[str, Path | Segment]
    dataset_root: Path
    stim_dir: Path | None = None


@dataclass(frozen=True)
class ContrastPictures:
    """A contrast with its pictures.

    Attributes
    ----------
    contrast : Contrast
    pictures : dict of str to tuple of str
        Ids by condition. Pictures with the content of a stimulus that was shown have its id.
    trials : tuple of dict, or None
        One a run: presentations by condition. None where some pictures were not shown.
    """

    contrast: Contrast
    pictures: Mapping[str, tuple[str, ...]]
    trials: tuple[Trials, ...] | None

    @property
    def ids(self) -> list[str]:
        """All its pictures."""
        return [id_ for ids in self.pictures.values() for id_ in ids]

    @property
    def conditions(self) -> list[str]:
        """The condition of each."""
        return [name for name, ids in self.pictures.items() for _ in ids]


def find_pictures(
    file: ContrastFile, shown: Shown
) -> tuple[tuple[ContrastPictures, ...], dict[str, Path]]:
    """Find the pictures of every condition, and the trials that showed them.

    Parameters
    ----------
    file : ContrastFile
    shown : Shown

    Returns
    -------
    contrasts : tuple of ContrastPictures
    files : dict of str to Path
        Of pictures that the participant was not shown, by id: their path relative to the
        file of contrasts.

    Raises
    ------
    MissingInputError
        A folder, a table or a picture is missing.
    DataError
        A column or value is not there; a condition has fewer than two pictures; a picture is
        in two conditions of a contrast.
    """
    finder = _Finder(file.path, shown)
    found = {name: finder.find(condition) for name, condition in file.conditions.items()}
    contrasts = tuple(_put_together(one, found, file.path) for one in file.contrasts)
    return contrasts, finder.files


@dataclass(frozen=True)
class _Found:
    pictures: tuple[str, ...]
    trials: tuple[tuple[Presentation, ...], ...] | None


class _Finder:
    """Looks conditions up; tables and folders are read once."""

    def __init__(self, path: Path, shown: Shown):
        self.path = path
        self.shown = shown
        self.files: dict[str, Path] = {}
        self._ids: dict[str, str] | None = None
        self._events: list | None = None

    def find(self, condition: Condition) -> _Found:
        place = f"Conditions.{condition.name}"
        if condition.events:
            trials = self._trials(condition.events, place)
            pictures = tuple(dict.fromkeys(one.stimulus for run in trials for one in run))
            found = _Found(pictures, trials)
        else:
            ids = (
                self._elsewhere(condition.folder, condition.stimuli, place)
                if condition.folder
                else self._listed(condition.stimuli, place)
            )
            found = self._with_trials(tuple(dict.fromkeys(ids)))
        if len(found.pictures) < 2:
            raise DataError(
                "A condition has fewer than two pictures.",
                file=self.path,
                place=place,
                found=", ".join(found.pictures) or "none that the participant was shown",
                expected="at least two different pictures, for a t over pictures",
                remedy="choose another column or value, or another folder",
            )
        return found

    def _with_trials(self, pictures: tuple[str, ...]) -> _Found:
        if not set(pictures) <= self.shown.stimuli.keys():
            return _Found(pictures, None)
        trials = tuple(
            tuple(one for one in run if one.stimulus in pictures)
            for run in self.shown.presentations
        )
        return _Found(pictures, trials)

    def _trials(self, wanted: Mapping[str, tuple[str, ...]], place: str):
        if self._events is None:
            tolerated = InputWarnings()  # the plan has warned of them
            self._events = [read_table(path, tolerated) for path in self.shown.events]
        columns: dict[str, set[str]] = {}
        for table in self._events:
            for name in table.columns:
                columns.setdefault(name, set()).update(map(str, table[name]))
        check_columns(
            wanted, columns, self.path, f"{place}.Events", self.shown.events[0], "the events"
        )
        return tuple(
            tuple(
                one
                for one in run
                if all(
                    name in table and is_among(str(table[name][one.row]), values)
                    for name, values in wanted.items()
                )
            )
            for table, run in zip(self._events, self.shown.presentations, strict=True)
        )

    def _listed(self, wanted: Mapping[str, tuple[str, ...]], place: str) -> list[str]:
        """Stimuli of the dataset, by the columns of its stimuli.tsv."""
        shown = self.shown
        folder = StimulusFolder(shown.dataset_root, shown.stim_dir, InputWarnings())
        places = [folder.path / TABLE, shown.dataset_root / "stimuli" / TABLE]
        path = next((one for one in places if os.path.lexists(one)), None)
        if path is None:
            raise MissingInputError(
                "There is no table of stimuli.",
                file=places[0],
                place=f"wanted by {self.path}, {place}.Stimuli",
                remedy="take a column of the events instead (Events)",
            )
        table = read_table(path)
        columns = {name: set(table[name]) for name in table.columns}
        check_columns(wanted, columns, self.path, f"{place}.Stimuli", path, "the table of stimuli")
        column = next((name for name in (*FILE_COLUMNS, *ID_COLUMNS) if name in table), None)
        if column is None:
            raise DataError(
                "The table of stimuli names neither files nor ids.",
                file=path,
                place="line 1",
                found=", ".join(table.columns),
                expected=f"a column {FILE_COLUMNS[0]} or {ID_COLUMNS[0]}",
                remedy="name the column so",
            )
        ids = []
        for line, row in zip(table.index, table.to_dict("records"), strict=True):
            if all(is_among(row[name], values) for name, values in wanted.items()):
                id_ = folder.find(Mention(row[column], path, int(line), column))
                known = id_ and self._own(id_, folder.path / id_)
                ids += [known] if known else []
        return ids

    def _own(self, id_: str, file: Path) -> str | None:
        """The id under which a participant was shown a picture; None: it was not."""
        if id_ in self.shown.stimuli:
            return id_
        return self._digests().get(digest_of(file)) if file.is_file() else None

    def _elsewhere(
        self, where: Path, wanted: Mapping[str, tuple[str, ...]], place: str
    ) -> list[str]:
        folder = read_folder(where, file=self.path, place=f"{place}.Folder")
        ids = []
        for name in _chosen(folder, wanted, self.path, f"{place}.Stimuli"):
            file = folder.files[name]
            digest = digest_of(file)
            known = self._digests().get(digest)
            if known is None:
                known = os.path.relpath(file, self.path.absolute().parent).replace(os.sep, "/")
                while known in self.shown.stimuli or known in self.files:
                    known = f"./{known}"  # another picture's name
                self.files[known] = file
                self._digests()[digest] = known
            ids.append(known)
        return ids

    def _digests(self) -> dict[str, str]:
        """Ids by content: of what was shown, and of pictures from elsewhere met so far."""
        if self._ids is None:
            self._ids = {digest_of(file): id_ for id_, file in self.shown.stimuli.items()}
        return self._ids


def _chosen(
    folder: PictureFolder, wanted: Mapping[str, tuple[str, ...]], path: Path, place: str
) -> Iterable[str]:
    if not wanted:
        return list(folder.files)
    if folder.table is None:
        raise MissingInputError(
            "The folder of pictures has no table.",
            file=folder.path / TABLE,
            place=f"wanted by {path}, {place}",
            remedy=f"write a table {TABLE} with the columns filename and {', '.join(wanted)}",
        )
    columns = {name: set(values) for name, values in folder.columns.items()}
    check_columns(wanted, columns, path, place, folder.table, "the table of the folder")
    rows = zip(*(folder.columns[name] for name in wanted), strict=True)
    return [
        name
        for name, row in zip(folder.files, rows, strict=True)
        if all(is_among(v, values) for v, values in zip(row, wanted.values(), strict=True))
    ]


def _put_together(contrast: Contrast, found: Mapping[str, _Found], path: Path) -> ContrastPictures:
    home: dict[str, str] = {}
    for name in contrast.weights:
        for picture in found[name].pictures:
            other = home.setdefault(picture, name)
            if other != name:
                raise DataError(
                    "A picture is in two conditions of a contrast.",
                    file=path,
                    place=contrast.place,
                    found=f"{picture} is in {other} and in {name}",
                    expected="conditions without a picture in common (copies under another name "
                    "count): the prediction would be the same",
                    remedy="correct the conditions",
                )
    ours = {name: found[name] for name in contrast.weights}
    trials = None
    if all(one.trials is not None for one in ours.values()):
        runs = zip(*(one.trials for one in ours.values()), strict=True)
        trials = tuple(dict(zip(ours, run, strict=True)) for run in runs)
    return ContrastPictures(contrast, {name: one.pictures for name, one in ours.items()}, trials)


def digest_of(stimulus: Path | Segment) -> str:
    """SHA-256 of the content of a picture, or of a stretch of a film."""
    if isinstance(stimulus, Segment):
        return stimulus.digest
    return hashlib.sha256(read_bytes(stimulus)).hexdigest()
