"""Reading a model from the HDF5 file that an earlier run wrote, and distrusting it.

A file may have been cut short, edited, or made to lead elsewhere: only arrays that lie in the
file itself are read, and their shapes must fit each other.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
from scipy import sparse

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.features.external import is_own_dataset
from bids_encoder.features.hdf5 import check_stored
from bids_encoder.features.samples import Samples
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.restore import DIMENSIONS, NotDescribedError, grid_described
from bids_encoder.synthesis.model import Model

AGAIN = "remove the file and run the participant level again, with its BOLD"


def read_model(path: str | Path) -> Model:
    """Open a file of weights.

    Raises
    ------
    MissingInputError
        There is no such file.
    DataError
        Not HDF5, damaged, of an earlier version, or arrays that do not fit each other.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except FileNotFoundError:
        raise MissingInputError(
            "A saved model is missing.",
            file=path,
            remedy="fit it with the participant level, without --reuse-models",
        ) from None
    except (OSError, RuntimeError) as error:  # not HDF5, cut short, not readable
        raise DataError(
            "A saved model cannot be read.",
            file=path,
            found=str(error)[:150],
            expected="a whole HDF5 file",
            remedy=f"copy it again, or {AGAIN}",
        ) from None


def _read(file: h5py.File, path: Path) -> Model:
    strange = [name for name in file if not is_own_dataset(file, name)]
    if strange:
        raise _wrong(path, f"dataset {strange[0]!r}", "a group or a link", "arrays in the file")
    for name in file:
        check_stored(file[name], path)
    if "origin" not in file.attrs or "stamps" not in file:
        raise DataError(
            "A saved model does not say which features and stimuli it was fitted with: an earlier "
            "version of this program wrote it.",
            file=path,
            place="attribute 'origin', dataset 'stamps'",
            remedy=AGAIN,
        )
    grid = _grid(file, path)
    n_voxels = grid.n_values
    stimuli, stamps = _texts(file, path, "stimuli"), _texts(file, path, "stamps")
    unseen = _texts(file, path, "unseen") if "unseen" in file else ()
    unseen_stamps = _texts(file, path, "unseen_stamps") if unseen else ()
    _check(path, "stamps", len(stamps) == len(stimuli), len(stamps), f"{len(stimuli)}, as stimuli")
    _check(path, "unseen_stamps", len(unseen) == len(unseen_stamps), len(unseen_stamps), "equal")
    n_rows = len(_numbers(file, path, "groups", 1))
    samples = _samples(file, path, stimuli, n_rows)
    kind = "dual" if "dual" in file else "primal"
    coefficients = _numbers(file, path, kind, 2)
    intercept = _numbers(file, path, "intercept", 1)
    _check(path, kind, coefficients.shape[1] == n_voxels, coefficients.shape, f"{n_voxels} columns")
    _check(path, "intercept", len(intercept) == n_voxels, len(intercept), n_voxels)
    n_features = None
    if kind == "dual":
        _check(path, kind, len(coefficients) == len(samples), coefficients.shape, f"{n_rows} rows")
    else:
        n_delays = max(len(samples.delays), 1)
        rest = len(coefficients) % n_delays
        _check(path, kind, rest == 0, coefficients.shape, f"rows for {n_delays} delays")
        n_features = len(coefficients) // n_delays
    return Model(
        path=path,
        network=str(file.attrs.get("network")),
        layer=str(file.attrs.get("layer")),
        origin=_origin(file, path),
        samples=samples,
        stamps=stamps,
        unseen=dict(zip(unseen, unseen_stamps, strict=True)),
        n_features=n_features,
        grid=grid,
    )


def _origin(file: h5py.File, path: Path) -> dict[str, object]:
    try:
        origin = json.loads(file.attrs["origin"])
    except (TypeError, ValueError, RecursionError):
        origin = None
    _check(path, "origin", isinstance(origin, dict), file.attrs["origin"], "a JSON object")
    return origin


def _grid(file: h5py.File, path: Path) -> Grid:
    arrays = {
        name: _numbers(file, path, name, ndim)[:]
        for name, ndim in DIMENSIONS.items()
        if name in file
    }
    structures = _texts(file, path, "structures") if "structures" in file else None
    try:
        return grid_described(arrays, structures)
    except NotDescribedError as error:
        raise _wrong(path, f"'{error.name}'", error.found, error.expected) from None


def _samples(file: h5py.File, path: Path, stimuli: tuple[str, ...], n_rows: int) -> Samples:
    if "shares" not in file:
        _check(path, "stimuli", len(stimuli) == n_rows, len(stimuli), f"{n_rows} rows")
        return Samples(stimuli)
    delays = _numbers(file, path, "delays", 1)[:]
    which = _numbers(file, path, "shares_delay", 1)[:]
    rows = _numbers(file, path, "shares_row", 1)[:]
    columns = _numbers(file, path, "shares_stimulus", 1)[:]
    shares = _numbers(file, path, "shares", 1)[:]
    ends = ((which, len(delays)), (rows, n_rows), (columns, len(stimuli)))
    for name, (index, end) in zip(("delay", "row", "stimulus"), ends, strict=True):
        fits = index.shape == shares.shape and (index >= 0).all() and (index < end).all()
        _check(path, f"shares_{name}", fits, "other numbers", f"{len(shares)} below {end}")
    weights = []
    for delay in range(len(delays)):
        here = which == delay
        places = (rows[here].astype(int), columns[here].astype(int))
        weights.append(sparse.csr_array((shares[here], places), shape=(n_rows, len(stimuli))))
    return Samples(stimuli, tuple(weights), tuple(delays.tolist()))


def _numbers(file: h5py.File, path: Path, name: str, ndim: int) -> h5py.Dataset:
    _check(path, name, name in file, "no such array", "an array")
    dataset = file[name]
    fits = dataset.ndim == ndim and dataset.dtype.kind in "fiu"
    _check(path, name, fits, f"{dataset.dtype}, shape {dataset.shape}", f"{ndim}D, numbers")
    return dataset


def _texts(file: h5py.File, path: Path, name: str) -> tuple[str, ...]:
    _check(path, name, name in file, "no such array", "a list of texts")
    dataset = file[name]
    fits = dataset.ndim == 1 and h5py.check_string_dtype(dataset.dtype) is not None
    _check(path, name, fits, f"{dataset.dtype}, shape {dataset.shape}", "a list of texts")
    return tuple(dataset.asstr(errors="replace")[:])


def _check(path: Path, name: str, fits: object, found: object, expected: object) -> None:
    if not fits:
        raise _wrong(path, f"'{name}'", found, expected)


def _wrong(path: Path, place: str, found: object, expected: object) -> DataError:
    return DataError(
        "A saved model is not as this program writes it.",
        file=path,
        place=place,
        found=found,
        expected=expected,
        remedy=f"copy it again, or {AGAIN}",
    )
