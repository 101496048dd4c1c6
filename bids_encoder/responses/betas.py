"""Responses that were estimated elsewhere: from files with betas to the response matrix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from bids_encoder.errors import BidsEncoderError, DataError
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.responses.assemble import EventRun, event_matrix
from bids_encoder.responses.beta_files import Layout, describe_maps, load_maps, usable_voxels
from bids_encoder.responses.bold import BoldInfo
from bids_encoder.responses.images import open_image
from bids_encoder.responses.masks import check_grids, common_mask, read_mask
from bids_encoder.responses.measure import Measured
from bids_encoder.responses.repeats import split_halves

if TYPE_CHECKING:
    from bids_encoder.bids.dataset import Run
    from bids_encoder.bids.events import Presentation

log = logging.getLogger(__name__)

_MOST_MISSING = 0.5  # share of the voxels that a map may lack


def describe_betas(runs: Sequence[Run], like: Sequence[Path] = ()) -> list[BoldInfo]:
    """Check headers, and that the tables have one row a map; no voxel is read.

    Parameters
    ----------
    runs : sequence of Run
        With ``betas``.
    like : sequence of Path
        Images one of which may lie on the grid of betas in HDF5, which does not say where
        voxels are, where no mask does.

    Returns
    -------
    list of BoldInfo
        One a run, with its number of maps and no repetition time.

    Raises
    ------
    MissingInputError, DataError
        A file is not there or not what it should be; maps and rows differ in number; or
        nothing says where the voxels of an HDF5 file lie.
    """
    layouts: dict[tuple[Path, ...], Layout] = {}
    infos = []
    for run in runs:
        images = run.betas.images
        if images not in layouts:
            layouts[images] = describe_maps(images, run.betas.key)
            _check_rows(run, layouts[images])
        shape, affine = _grid(run, layouts[images], like)
        infos.append(BoldInfo(images[0], shape, affine, len(run.betas.maps), None))
    return infos


def betas_grid(runs: Sequence[Run], infos: Sequence[BoldInfo]) -> VolumeGrid:
    """The voxels that all files have: those of the masks given, else what is finite and varies.

    Raises
    ------
    DataError
        The files lie on different grids, or no voxel is left.
    """
    check_grids(infos)
    if any(run.mask is not None for run in runs):
        return VolumeGrid(common_mask(runs, infos))
    inside = np.ones(infos[0].shape, dtype=bool)
    used: dict[tuple[Path, ...], list[int]] = {}
    for run in runs:
        used.setdefault(run.betas.images, []).extend(run.betas.maps)
    for images, maps in used.items():
        usable = usable_voxels(images, describe_maps(images, runs[0].betas.key), maps)
        inside &= usable
        if not inside.any():
            raise DataError(
                "No voxel of the betas can be used.",
                file=images[0],
                found=f"{usable.sum()} voxels that are finite in all maps and differ between them, "
                "none of them also in the files before",
                expected="voxels that all files have",
                remedy="leave this file out, or name the voxels with --betas-mask",
            )
    log.info(
        "No mask of the betas was given: taken are the %d voxels (%.0f %% of the image) that are "
        "finite in all maps and differ between them.",
        inside.sum(),
        100 * inside.mean(),
    )
    return VolumeGrid(nib.Nifti1Image(inside.astype(np.uint8), infos[0].affine))


def measure_betas(
    runs: Sequence[Run],
    presentations: Sequence[Sequence[Presentation]],
    grid: VolumeGrid,
    *,
    standardize: str = "session",
    halves_of: Collection[str] = (),
    squares_of: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Read the betas; z-score them within sessions, and average the trials of each stimulus.

    Parameters
    ----------
    runs : sequence of Run
        With ``betas``.
    presentations : sequence of sequences of Presentation
        One a map of the run.
    grid : VolumeGrid
    standardize, halves_of, squares_of, on_progress
        As for :func:`bids_encoder.responses.measure.measure`.

    Raises
    ------
    DataError
        A file is damaged, or a map holds no values.
    """
    estimated = []
    total = np.zeros(grid.n_values, dtype=np.float64)
    loaded: tuple[Path, ...] = ()
    for number, (run, shown) in enumerate(zip(runs, presentations, strict=True), start=1):
        if run.betas.images != loaded:
            maps = load_maps(
                run.betas.images, describe_maps(run.betas.images, run.betas.key), grid.inside
            )
            loaded = run.betas.images
        values = maps[list(run.betas.maps)]
        _clean(values, run, shown)
        total += values.mean(axis=0, dtype=np.float64) / len(runs)
        stimuli = tuple(one.stimulus for one in shown)
        estimated.append(EventRun(run.name, run.session, stimuli, values))
        if on_progress:
            on_progress(number, len(runs))
    responses = event_matrix(estimated, grid, standardize=standardize, squares_of=squares_of)
    halves = split_halves(estimated, halves_of, standardize=standardize)
    return Measured(responses, total.astype(np.float32), halves)


def _check_rows(run: Run, layout: Layout) -> None:
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


def _grid(run: Run, layout: Layout, like: Sequence[Path]) -> tuple[tuple, np.ndarray]:
    """Shape and affine of the volume that the maps are of."""
    if layout.affine is not None:
        return layout.shape, layout.affine
    image = None if run.mask is None else open_image(run.mask)
    whole = len(layout.shape) == 3
    if image is not None and not whole:
        info = BoldInfo(run.mask, image.shape[:3], np.asarray(image.affine), 1, None)
        n_inside = int(read_mask(run.mask, info).sum())
        if n_inside == layout.shape[0]:
            return info.shape, info.affine
        found = f"{layout.shape[0]} voxels; the mask {run.mask} has {n_inside}"
    elif image is not None:
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


def _clean(values: np.ndarray, run: Run, shown: Sequence[Presentation]) -> None:
    """Refuse maps without values; make voxels that lack some NaN in all."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        flat = values.max(axis=1) == values.min(axis=1)
    bad = np.flatnonzero((1 - finite.mean(axis=1) > _MOST_MISSING) | flat)
    if bad.size:
        first = int(bad[0])
        place, several = run.betas.maps[first], len(run.betas.images) > 1
        raise DataError(
            f"{bad.size} map{'s' * (bad.size > 1)} of the betas "
            f"hold{'s' * (bad.size == 1)} no values.",
            file=run.betas.images[place if several else 0],
            place=f"map {1 if several else place + 1} (line {shown[first].row} of "
            f"{run.betas.table.name})",
            found=f"{np.count_nonzero(~finite[first])} of {finite.shape[1]} voxels are not finite"
            if not flat[first]
            else "the same value in all voxels",
            expected="a number in each voxel of the mask",
            remedy="estimate it again, or write n/a as its stimulus in the table",
        )
    lacking = ~finite.all(axis=0)
    if lacking.any():
        log.warning(
            "%s: %d of %d voxels are not finite in some map; they will score NaN.",
            run.name,
            lacking.sum(),
            lacking.size,
        )
        values[:, lacking] = np.nan
