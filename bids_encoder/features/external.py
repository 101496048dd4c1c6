"""Features computed elsewhere, in an HDF5 file (``--features FILE.h5``).

The file holds at its top level

- ``stimuli``: n strings, the ids of the stimuli as in events.tsv (paths relative
  to the stimulus folder, as "scenes/a.jpg"); an empty string is the empty
  screen, which continuous designs need;
- one dataset per layer, by its name: (n, p) numbers, one row per stimulus;
- optionally an attribute ``layers`` of the file: the names from shallow to deep.
  Without it they are taken in natural order (conv2 before conv10).

With h5py::

    with h5py.File("features.h5", "w") as file:
        file["stimuli"] = ["scenes/a.jpg", "scenes/b.jpg"]
        file["conv1"] = conv1      # (2, p)
        file.attrs["layers"] = ["conv1"]

The numbers are used as they are: neither reduced nor log-compressed. Links out
of the file are not followed.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bids_encoder.errors import DataError, MissingInputError, UsageError
from bids_encoder.features.hdf5 import check_stored
from bids_encoder.features.store import Features

_ROWS_BYTES = 64_000_000
_STRIP = 4096  # columns that a kernel is summed up from at a time, or a multiple
_STRIP_BYTES = 128_000_000


@dataclass(frozen=True)
class ExternalFeatures:
    """Features in an HDF5 file: a `FeatureStore`.

    Attributes
    ----------
    path : Path
    layers : tuple of str
        From shallow to deep.
    rows : dict of stimulus id -> row in the file
    sizes : dict of layer -> number of features
    identity : str
        Checksum of the layers, and of the features and ids of these stimuli. Their order,
        other stimuli, and the rest of the file change nothing.
    """

    path: Path
    layers: tuple[str, ...]
    rows: dict[str, int]
    sizes: dict[str, int]
    identity: str

    @property
    def network(self) -> str:
        """Name of the file without its ending."""
        return self.path.stem

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Ids of the stimuli."""
        return tuple(self.rows)

    def matrix(self, layer: str, stimuli: Sequence[str]) -> StoredMatrix:
        """The features of one layer, to be read a strip of columns at a time."""
        rows = np.array([self.rows[name] for name in stimuli], int)
        return StoredMatrix(self.path, layer, rows, self.sizes[layer])

    def load(self, layer: str, stimuli: Sequence[str] | None = None) -> Features:
        """Read one layer, for all stimuli or for these, in this order."""
        stimuli = tuple(self.rows if stimuli is None else stimuli)
        wanted = np.array([self.rows[name] for name in stimuli], int)
        values = np.empty((len(wanted), self.sizes[layer]), np.float32)
        with _opened(self.path) as file:
            # HDF5 reads increasing rows only, and reads them fast when they are neighbours.
            for start, block in _blocks(file[layer]):
                here = np.flatnonzero((wanted >= start) & (wanted < start + len(block)))
                values[here] = block[wanted[here] - start]
        return Features(layer, stimuli, values)

    def origin(self, layer: str) -> dict[str, object]:
        """What is known of numbers that come from elsewhere: how many there are."""
        return {"network": "features computed elsewhere", "features": self.sizes[layer]}

    def stamps(self, layer: str, stimuli: Sequence[str]) -> list[str]:
        """SHA-256 of the features of each stimulus, as float32."""
        wanted = {self.rows[name] for name in stimuli}
        stamps: dict[int, str] = {}
        with _opened(self.path) as file:
            for start, block in _blocks(file[layer]):
                for row in wanted.intersection(range(start, start + len(block))):
                    stamps[row] = hashlib.sha256(block[row - start].tobytes()).hexdigest()
        return [stamps[self.rows[name]] for name in stimuli]


class StoredMatrix:
    """Rows of a layer in the file: an (n, p) array as far as `linear_kernel` looks at it.

    Parameters
    ----------
    path : Path
    layer : str
    rows : (n,) int array
    n_features : int
    """

    def __init__(self, path: Path, layer: str, rows: np.ndarray, n_features: int):
        self.shape = (len(rows), n_features)
        self._path, self._layer, self._rows = path, layer, rows
        # Wide strips are read, as in some files each reads everything.
        self._width = max(_STRIP, _STRIP_BYTES // (4 * max(len(rows), 1)) // _STRIP * _STRIP)
        self._start, self._strip = 0, np.empty((len(rows), 0), np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        rows, columns = key
        start, stop, _ = columns.indices(self.shape[1])
        if not self._start <= start <= stop <= self._start + self._strip.shape[1]:
            self._read(start, max(stop, start + self._width))
        return self._strip[rows, start - self._start : stop - self._start]

    def _read(self, start: int, stop: int) -> None:
        self._strip = np.empty((len(self._rows), 0), np.float32)  # the one before may go first
        strip = np.empty((len(self._rows), min(stop, self.shape[1]) - start), np.float32)
        with _opened(self._path) as file:
            for first, block in _blocks(file[self._layer], slice(start, stop)):
                here = np.flatnonzero((self._rows >= first) & (self._rows < first + len(block)))
                strip[here] = block[self._rows[here] - first]
        self._start, self._strip = start, strip


def open_features(
    path: str | Path, stimuli: Sequence[str], layers: Sequence[str] | None = None
) -> ExternalFeatures:
    """Open and check a file of features; see the module for its format.

    Parameters
    ----------
    path : path
    stimuli : sequence of str
        The ids that are needed; the order of the rows of what is loaded.
    layers : sequence of str, optional
        Layers to use, default all. The order is that of the file.

    Raises
    ------
    MissingInputError
        No such file.
    DataError
        Not HDF5; no or duplicate stimuli; stimuli that lack features; layers of
        the wrong shape or type, or with NaNs; links out of the file.
    UsageError
        A layer that the file does not have.
    """
    path = Path(path)
    require_file(path)
    with _opened(path) as file:
        rows = _stimulus_rows(file, path, stimuli)
        found = _layers(file, path, layers)
        n_rows = len(file["stimuli"])
        for layer in found:
            _check_layer(file, layer, path, n_rows, rows)
        sizes = {layer: int(file[layer].shape[1]) for layer in found}
        identity = _identity(file, found, rows)
    return ExternalFeatures(path, found, rows, sizes, identity)


def require_file(path: Path) -> None:
    """Raise MissingInputError unless there is such a file."""
    if not path.is_file():
        raise MissingInputError(
            "The file of features is missing.", file=path, remedy="correct --features"
        )


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            "The file of features cannot be read as HDF5.",
            file=path,
            found=str(error)[:150],
            expected="an HDF5 file",
            remedy="write it again with h5py; check that it was copied whole",
        ) from None


def _stimulus_rows(file: h5py.File, path: Path, stimuli: Sequence[str]) -> dict[str, int]:
    format_hint = "write n strings as dataset 'stimuli' (see the documentation of --features)"
    if "stimuli" not in file or not is_own_dataset(file, "stimuli"):
        raise DataError(
            "The file of features does not say which stimuli its rows are.",
            file=path,
            place="dataset 'stimuli'",
            found=f"only {', '.join(sorted(file)[:8])}" if len(file) else "an empty file",
            expected="a dataset of n strings",
            remedy=format_hint,
        )
    dataset = file["stimuli"]
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1:
        raise DataError(
            "The stimulus ids in the file of features are no list of strings.",
            file=path,
            place="dataset 'stimuli'",
            found=f"{dataset.dtype}, shape {dataset.shape}",
            expected="n strings",
            remedy=format_hint,
        )
    check_stored(dataset, path)
    ids = [_text(value) for value in dataset[:]]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(
            "Some stimuli stand more than once in the file of features.",
            file=path,
            place="dataset 'stimuli'",
            found=_few(repeated),
            expected="each stimulus once",
            remedy="keep one row of each",
        )
    row_of = {name: row for row, name in enumerate(ids)}
    lacking = [name for name in stimuli if name not in row_of]
    if lacking:
        near = difflib.get_close_matches(lacking[0], ids[:5000], n=1, cutoff=0.5)
        raise DataError(
            f"{len(lacking)} of {len(stimuli)} stimuli have no features in the file.",
            file=path,
            place="dataset 'stimuli'",
            found=f"none for {_few(lacking)}" + (f"; near: {near[0]!r}" if near else ""),
            expected="the ids of events.tsv: paths relative to the stimulus folder "
            "(an empty string for the empty screen); of new pictures, paths relative to their "
            "folder, or to the file of contrasts",
            remedy="add the rows, correct the ids, or give a network (--network) that can be "
            "shown anything",
        )
    return {name: row_of[name] for name in stimuli}


def _layers(file: h5py.File, path: Path, wanted: Sequence[str] | None) -> tuple[str, ...]:
    names = sorted((name for name in file if name != "stimuli"), key=_natural)
    listed = [_text(name) for name in np.atleast_1d(file.attrs.get("layers", []))]
    unknown = [name for name in listed if name not in names]
    if unknown or not names:
        raise DataError(
            "The file of features lacks layers.",
            file=path,
            place="attribute 'layers'" if unknown else None,
            found=f"no dataset {_few(unknown)}" if unknown else "no dataset but 'stimuli'",
            expected="one dataset (n, p) per layer",
            remedy="write the layers, or correct the attribute",
        )
    names = listed or names
    if not wanted:
        return tuple(names)
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
            raise UsageError(
                f"The file of features has no layer {name!r}.",
                file=path,
                expected=f"one of {', '.join(names)}",
                remedy=f"near ones: {', '.join(near)}" if near else "correct --layers",
            )
    return tuple(name for name in names if name in wanted)


def _check_layer(
    file: h5py.File, layer: str, path: Path, n_rows: int, rows: dict[str, int]
) -> None:
    place = f"dataset {layer!r}"
    if not is_own_dataset(file, layer):
        raise DataError(
            "A layer in the file of features is a group, or a link out of the file.",
            file=path,
            place=place,
            expected="a dataset that lies in the file itself",
            remedy="copy the numbers into the file, at its top level",
        )
    dataset = file[layer]
    if dataset.ndim != 2 or dataset.shape[0] != n_rows or dataset.shape[1] == 0:
        raise DataError(
            "A layer in the file of features has the wrong shape.",
            file=path,
            place=place,
            found=f"shape {dataset.shape}",
            expected=f"({n_rows}, number of features): a row per stimulus",
            remedy="flatten maps to vectors: array.reshape(n_stimuli, -1)",
        )
    if dataset.dtype.kind not in "fiu":
        raise DataError(
            "A layer in the file of features holds no numbers.",
            file=path,
            place=place,
            found=dataset.dtype,
            expected="float32",
            remedy="write the numbers as float32",
        )
    check_stored(dataset, path)
    ids = {row: name for name, row in rows.items()}
    for start, block in _blocks(dataset):
        for row in np.flatnonzero(~np.isfinite(block).all(axis=1)) + start:
            if int(row) in ids:
                raise DataError(
                    "Features are not finite.",
                    file=path,
                    place=f"{place}, row {row} ({ids[int(row)]!r})",
                    found="NaN or infinity (in 32 bits)",
                    expected="finite numbers",
                    remedy="compute these features again, or leave the layer out",
                )


def is_own_dataset(file: h5py.File, name: str) -> bool:
    """Whether the name leads to numbers inside this very file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    dataset = file[name]
    return isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and not dataset.external


def _blocks(
    dataset: h5py.Dataset, columns: slice = slice(None)
) -> Iterator[tuple[int, np.ndarray]]:
    """Give the rows (of some columns) as float32, some at a time."""
    start, stop, _ = columns.indices(dataset.shape[1])
    step = max(1, _ROWS_BYTES // (4 * (stop - start)))
    for first in range(0, dataset.shape[0], step):
        try:
            block = dataset[first : first + step, columns]
        except OSError as error:
            raise DataError(
                "The file of features is damaged.",
                file=dataset.file.filename,
                place=f"dataset {dataset.name!r}, rows from {first}",
                found=str(error)[:150],
                remedy="write or copy it again",
            ) from None
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            yield first, block.astype(np.float32)


def _identity(file: h5py.File, layers: tuple[str, ...], rows: dict[str, int]) -> str:
    ids = {row: name for name, row in rows.items()}
    digest = hashlib.sha256()
    for layer in layers if ids else ():
        found: dict[str, str] = {}
        for start, block in _blocks(file[layer]):
            for row in range(start, start + len(block)):
                if row in ids:
                    found[ids[row]] = hashlib.sha256(block[row - start]).hexdigest()
        digest.update(repr((layer, sorted(found.items()))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which "conv2" stands before "conv10"."""
    return [
        # The number of digits, then the digits: the order of the numbers, however long they are.
        (1, len(part.lstrip("0")), part.lstrip("0")) if part.isdigit() else (0, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _few(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + rest
