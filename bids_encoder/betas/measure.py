"""Responses that were estimated elsewhere: from files with betas to the response matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_encoder.betas.surface_files import (
    describe_surface_maps,
    stream_surface_maps,
    usable_places,
)
from bids_encoder.betas.volume_files import FileLayout, describe_maps, stream_maps, usable_voxels
from bids_encoder.derivatives.read import places_in_words
from bids_encoder.errors import BidsEncoderError, DataError
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.structures import PartsGrid, with_meshes
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.acquisitions import MapCopies
from bids_encoder.responses.assemble import event_matrix
from bids_encoder.responses.grids import check_frames
from bids_encoder.responses.masks import common_mask, read_mask
from bids_encoder.responses.means import Averaging, repeated_among, units_of_standardization
from bids_encoder.responses.measure import Measured
from bids_encoder.responses.nifti import open_image
from bids_encoder.responses.read_bold import ImageInfo

if TYPE_CHECKING:
    from bids_encoder.bids.events import Presentation
    from bids_encoder.bids.records import Betas, BetasRun

log = logging.getLogger(__name__)

_MOST_MISSING = 0.5  # share of the voxels that a map may lack


def describe_betas(runs: Sequence[BetasRun], like: Sequence[Path] = ()) -> list[ImageInfo]:
    """Check headers, and that the tables have one row a map; no voxel is read.

    Parameters
    ----------
    runs : sequence of BetasRun
    like : sequence of Path
        Images one of which may lie on the grid of betas in HDF5, which does not say where
        voxels are, where no mask does.

    Returns
    -------
    list of ImageInfo
        One a run, with its number of maps.

    Raises
    ------
    MissingInputError, DataError
        A file is not there or not what it should be; maps and rows differ in number; or
        nothing says where the voxels of an HDF5 file lie.
    """
    layouts: dict[tuple[Path, ...], FileLayout] = {}
    infos = []
    for run in runs:
        images = run.betas.images
        if images not in layouts:
            layouts[images] = _describe(run.betas)
            _check_rows(run, layouts[images])
        layout, n_maps = layouts[images], len(run.betas.maps)
        if layout.frame is not None:
            infos.append(ImageInfo(images[0], layout.shape, None, n_maps, frame=layout.frame))
            continue
        shape, affine = _grid(run, layout, like)
        infos.append(ImageInfo(images[0], shape, affine, n_maps))
    return infos


def _describe(betas: Betas) -> FileLayout:
    if betas.on_surfaces:
        return describe_surface_maps(betas)
    return describe_maps(betas.images, betas.key)


def betas_grid(
    runs: Sequence[BetasRun], infos: Sequence[ImageInfo], meshes: Mapping[str, Mesh] | None = None
) -> Grid:
    """The places that all files have: those of the masks given, else what is finite and varies.

    Parameters
    ----------
    runs, infos : sequences, one entry a run
    meshes : mapping of str to Mesh, optional
        Geometry of the hemispheres, "L" and "R", where the betas lie on surfaces.

    Raises
    ------
    DataError
        The files lie on different grids or meshes, or no place is left.
    """
    check_frames(infos)
    frame = infos[0].frame
    if any(run.mask is not None for run in runs):
        return VolumeGrid(common_mask(runs, infos))
    places, inside = places_in_words(runs[0].form), np.ones(infos[0].shape, dtype=bool)
    used: dict[tuple[Path, ...], list[int]] = {}
    for run in runs:
        used.setdefault(run.betas.images, []).extend(run.betas.maps)
    betas_of = {run.betas.images: run.betas for run in runs}
    for images, maps in used.items():
        usable = _usable(betas_of[images], frame, maps)
        inside &= usable
        if not inside.any():
            raise DataError(
                f"The betas have no {places} that can be used.",
                file=images[0],
                found=f"{usable.sum()} {places} that are finite in all maps and differ between "
                "them, none of them also in the files before",
                expected=f"{places} that all files have",
                remedy="leave this file out"
                + (", or name the voxels with --betas-mask" if frame is None else ""),
            )
    log.info(
        "%s are the %d %s (%.0f %%) that are finite in all maps and differ between them.",
        "No mask of the betas was given: taken" if frame is None else "Taken",
        inside.sum(),
        places,
        100 * inside.mean(),
    )
    if frame is not None:
        return with_meshes(frame.restricted(inside), meshes or {})
    return VolumeGrid(nib.Nifti1Image(inside.astype(np.uint8), infos[0].affine))


def _usable(betas: Betas, frame: PartsGrid | None, maps: Sequence[int]) -> np.ndarray:
    if frame is not None:
        return usable_places(betas, frame, maps)
    return usable_voxels(betas.images, _describe(betas), maps)


def _stream(betas: Betas, grid: Grid) -> Iterator[tuple[range, int, np.ndarray]]:
    """The maps of a file piece by piece: their numbers, the first place, (maps, places)."""
    if isinstance(grid, PartsGrid):
        return stream_surface_maps(betas, grid)
    if isinstance(grid, VolumeGrid):
        return stream_maps(betas.images, _describe(betas), grid.inside)
    raise TypeError(f"betas on a {type(grid).__name__}")


def measure_betas(
    runs: Sequence[BetasRun],
    presentations: Sequence[Sequence[Presentation]],
    grid: Grid,
    *,
    standardize: str = "session",
    halves_of: Collection[str] = (),
    squares_of: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Read the betas; z-score them within sessions, and average the trials of each stimulus.

    Parameters
    ----------
    runs : sequence of BetasRun
    presentations : sequence of sequences of Presentation
        One a map of the run.
    grid : Grid
    standardize, halves_of, squares_of, on_progress
        As for :func:`bids_encoder.responses.measure.measure`.

    Raises
    ------
    DataError
        A file is damaged, or a map holds no values.
    """
    together: dict[tuple[Path, ...], list[int]] = {}
    for number, run in enumerate(runs):
        together.setdefault(run.betas.images, []).append(number)
    names, sessions = [run.name for run in runs], [run.session for run in runs]
    shown = [tuple(one.stimulus for one in seen) for seen in presentations]
    units = units_of_standardization(names, sessions, standardize)
    files_of: dict[str, set[tuple[Path, ...]]] = {unit: set() for unit in units}
    for run, unit in zip(runs, units, strict=True):
        files_of[unit].add(run.betas.images)
    averaging = Averaging(
        names,
        sessions,
        grid.n_values,
        len({stimulus for run in shown for stimulus in run}),
        standardize=standardize,
        squares_of=squares_of,
        halves_of=repeated_among(halves_of, chain.from_iterable(shown)),
        # All maps of some voxels come before those of the next ones, unless in several files.
        in_pieces=all(len(files) == 1 for files in files_of.values()),
    )
    for number, stimuli in enumerate(shown):
        averaging.begin(number, stimuli)
    copies = MapCopies(runs, shown, grid.n_values)
    total = np.zeros(grid.n_values, dtype=np.float64)
    done = 0
    for numbers in together.values():
        quality = {number: _Quality.of(len(shown[number]), grid.n_values) for number in numbers}
        rows_of = _rows_of_maps({number: runs[number].betas.maps for number in numbers})
        for maps, start, block in _stream(runs[numbers[0]].betas, grid):
            here = slice(start, start + block.shape[1])
            for number, rows, places in _rows_in(rows_of, maps):
                some = block[places]
                quality[number].add(some, rows, here)
                with np.errstate(invalid="ignore"):
                    for row in some:
                        total[here] += row / np.float64(len(shown[number]) * len(runs))
                averaging.add(number, some, rows, start)
                copies.add(number, some, rows, start)
        for number in numbers:
            quality[number].check(runs[number], presentations[number])
            done += 1
            if on_progress:
                on_progress(done, len(runs))
    copies.check()
    total[~np.isfinite(total)] = np.nan
    means = averaging.finish()
    responses = event_matrix(means, grid, names)
    return Measured(responses, total.astype(np.float32), means.halves)


def _rows_of_maps(maps: Mapping[int, Sequence[int]]) -> dict[int, list[tuple[int, int]]]:
    """Run and row that each map of a file is of."""
    rows: dict[int, list[tuple[int, int]]] = {}
    for run, numbers in maps.items():
        for row, number in enumerate(numbers):
            rows.setdefault(number, []).append((run, row))
    return rows


def _rows_in(
    rows_of: Mapping[int, Sequence[tuple[int, int]]], maps: range
) -> Iterator[tuple[int, list[int], list[int]]]:
    """Runs that some maps are of, with their rows, and the places of these among the maps."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for place, number in enumerate(maps):
        for run, row in rows_of.get(number, ()):
            rows, places = found.setdefault(run, ([], []))
            rows.append(row)
            places.append(place)
    for run, (rows, places) in found.items():
        yield run, rows, places


def _check_rows(run: BetasRun, layout: FileLayout) -> None:
    if layout.n_maps != run.betas.n_rows:
        raise DataError(
            "The table does not fit the betas.",
            file=run.betas.images[0],
            place="maps",
            found=f"{layout.n_maps} maps",
            expected=f"{run.betas.n_rows}, as many as {run.betas.table} has rows of trials "
            "(with those of the other runs that the file is of)",
            remedy="write a table with one row a map beside the betas, or name it with "
            "--betas-table; n/a stands for maps that show no stimulus",
        )


def _grid(run: BetasRun, layout: FileLayout, like: Sequence[Path]) -> tuple[tuple, np.ndarray]:
    """Shape and affine of the volume that the maps are of."""
    if layout.affine is not None:
        return layout.shape, layout.affine
    whole = len(layout.shape) == 3
    if run.mask is not None and not whole:
        image = open_image(run.mask)
        info = ImageInfo(run.mask, image.shape[:3], np.asarray(image.affine), 1)
        n_inside = int(read_mask(run.mask, info, level=logging.INFO).sum())
        if n_inside == layout.shape[0]:
            return info.shape, info.volume_affine
        found = f"{layout.shape[0]} voxels; the mask {run.mask} has {n_inside}"
    elif run.mask is not None:
        image = open_image(run.mask)
        if image.shape[:3] == layout.shape:
            return layout.shape, np.asarray(image.affine, dtype=np.float64)
        found = f"{layout.shape} voxels; the mask {run.mask} is {image.shape[:3]}"
    else:
        for path in like if whole else ():
            try:
                one = open_image(path)
            except BidsEncoderError:
                continue
            if one.shape[:3] == layout.shape:
                log.info("Where the voxels of %s lie is taken from %s.", run.bold.name, path)
                return layout.shape, np.asarray(one.affine, dtype=np.float64)
        found = f"{' × '.join(map(str, layout.shape))} voxels, and no image of that size"
    raise DataError(
        "Nothing says where the voxels of this file lie.",
        file=run.betas.images[0],
        place=f"dataset {layout.key!r}",
        found=found,
        expected="an image on the same grid" if whole else "the mask whose voxels these are",
        remedy="give it with --betas-mask FILE.nii.gz",
    )


@dataclass
class _Quality:
    """What is found out about the maps of a run while they come.

    Attributes
    ----------
    finite : (n,) int
        Voxels of each map that are.
    low, high : (n,) float32
        Of each map; NaN where it has a value that is none.
    lacking : (V,) bool
        Voxels that are not finite in some map.
    """

    finite: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lacking: np.ndarray

    @classmethod
    def of(cls, n_maps: int, n_voxels: int) -> _Quality:
        """Before any map has come."""
        low = np.full(n_maps, np.inf, dtype=np.float32)
        return cls(np.zeros(n_maps, dtype=int), low, -low, np.zeros(n_voxels, dtype=bool))

    def add(self, values: np.ndarray, rows: Sequence[int], here: slice) -> None:
        """Look at some voxels of some maps."""
        if not values.size:
            return
        finite = np.isfinite(values)
        self.finite[rows] += finite.sum(axis=1)
        self.lacking[here] |= ~finite.all(axis=0)
        with np.errstate(invalid="ignore"):
            self.low[rows] = np.minimum(self.low[rows], values.min(axis=1))
            self.high[rows] = np.maximum(self.high[rows], values.max(axis=1))

    def check(self, run: BetasRun, shown: Sequence[Presentation]) -> None:
        """Refuse maps without values; say how many voxels are not finite in some map."""
        n_voxels = self.lacking.size
        flat = (self.low == self.high) & (n_voxels > 1)  # one voxel alone is flat in any map
        bad = np.flatnonzero((1 - self.finite / n_voxels > _MOST_MISSING) | flat)
        if bad.size:
            first = int(bad[0])
            place, several = run.betas.maps[first], len(run.betas.images) > 1
            raise DataError(
                f"{bad.size} map{'s' * (bad.size > 1)} of the betas "
                f"hold{'s' * (bad.size == 1)} no values.",
                file=run.betas.images[place if several else 0],
                place=f"map {1 if several else place + 1} (line {shown[first].row} of "
                f"{run.betas.table.name})",
                found=f"{n_voxels - self.finite[first]} of {n_voxels} voxels are not finite"
                if not flat[first]
                else "the same value in all voxels",
                expected="a number in each voxel of the mask",
                remedy="estimate it again, or write n/a as its stimulus in the table",
            )
        if self.lacking.any():
            log.warning(
                "%s: %d of %d voxels are not finite in some map; they will score NaN.",
                run.name,
                self.lacking.sum(),
                n_voxels,
            )
