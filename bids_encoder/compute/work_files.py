"""Fits in pieces: what lies in the work folder while a cluster works.

``WORK/fits/KEY/`` holds one problem: ``responses.npy`` and ``folds.npz``, and in a folder for
each layer ``kernel.npy`` and the fits of blocks of voxels, ``00000000-00008192.npz``. Every file
appears whole or not at all, so that a run that was stopped takes up what is there. KEY is made
of all that the fits depend on.

Blocks are whole tiles of voxels (:data:`bids_encoder.encoding.blocks.TILE`), so that the results
are the same bits however they are cut.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder import __version__
from bids_encoder.compute.fit_job import FitJob
from bids_encoder.encoding.blocks import TILE
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.ridge import Fit
from bids_encoder.features.cache import read_array, write_array, write_whole
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

# The smallest block that is worth a task of its own, in tiles. A task makes the matrices of each
# penalty anew, which takes as long as some thousand voxels, more where there are more samples.
LEAST_TILES = 4
VOXELS_PER_SAMPLE = 4

Block = tuple[int, int]
# What a fit says of each voxel, beside its model.
_VALUES = ("r2", "r", "pooled_r2", "penalty", "valid")
_NAME = re.compile(r"(\d+)-(\d+)\.npz")


@dataclass(frozen=True)
class Pieces:
    """The files of one problem.

    Attributes
    ----------
    folder : Path
        ``WORK/fits/KEY``.
    """

    folder: Path

    def layer(self, number: int) -> Path:
        """Folder of one layer, by its place in the network."""
        return self.folder / f"layer-{number:03d}"

    def kernel(self, number: int) -> Path:
        """The kernel of one layer, of the training rows."""
        return self.layer(number) / "kernel.npy"

    def block(self, number: int, block: Block) -> Path:
        """The fit of one block of voxels."""
        return self.layer(number) / f"{block[0]:08d}-{block[1]:08d}.npz"

    def done(self, number: int) -> list[Block]:
        """Blocks of a layer that have been fitted; files that are damaged are removed."""
        blocks = []
        for path in sorted(self.layer(number).glob("*.npz")):
            name = _NAME.fullmatch(path.name)
            if name is None:
                continue
            if _is_whole(path):
                blocks.append((int(name[1]), int(name[2])))
            else:
                logger.warning(f"{path} was damaged: it is made again.", extra=OF_THIS_RUN)
                path.unlink()
        return blocks

    def remove(self, number: int | None = None) -> None:
        """Take away a layer that is finished, or everything."""
        shutil.rmtree(self.folder if number is None else self.layer(number), ignore_errors=True)


def _is_whole(path: Path) -> bool:
    """Whether the checksums inside a ``.npz`` file (CRC-32 of each array) hold."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def write_problem(work_dir: Path, problem: FitJob) -> Pieces:
    """Write what the workers need to know of a problem, unless it is there."""
    digest = hashlib.sha256(np.ascontiguousarray(problem.responses).data)
    digest.update(f"{__version__} {problem.key} {problem.store.identity}".encode())
    digest.update(f"{problem.nested} {problem.keep_weights} {TILE} {_VALUES}".encode())
    digest.update(np.asarray(problem.penalties, dtype=np.float64).tobytes())
    digest.update(problem.training.tobytes())
    for fold in problem.folds:
        digest.update(np.asarray(fold.test, dtype=np.int64).tobytes())
        digest.update(b"|")
    pieces = Pieces(work_dir / "fits" / digest.hexdigest()[:32])
    responses = np.asarray(problem.responses, dtype=np.float32)
    if read_array(pieces.folder / "responses.npy", mapped=True) is None:
        write_array(pieces.folder / "responses.npy", responses)
    folds = {str(t): fold.test for t, fold in enumerate(problem.folds)}
    # NumPy's stub takes the names of arrays for those of its own options.
    write_whole(pieces.folder / "folds.npz", lambda file: np.savez(file, **folds))  # type: ignore[arg-type]
    return pieces


def read_responses(pieces: Pieces) -> np.ndarray | None:
    """Map the responses (m, V); None where they are not there."""
    return _read(pieces.folder / "responses.npy")


def read_kernel(pieces: Pieces, number: int) -> np.ndarray | None:
    """Map the kernel (m, m) of a layer; None where it is not there."""
    return _read(pieces.kernel(number))


def checked_kernel(pieces: Pieces, number: int) -> np.ndarray | None:
    """Map a kernel that an earlier run may have left; None where there is none that is whole."""
    return read_array(pieces.kernel(number), mapped=True)


def _read(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def read_folds(pieces: Pieces, n: int) -> list[Fold]:
    """Read the folds of n rows."""
    with np.load(pieces.folder / "folds.npz", allow_pickle=False) as file:
        tests = [file[str(t)] for t in range(len(file.files))]
    return [Fold(np.setdiff1d(np.arange(n), test), test) for test in tests]


def write_fit(path: Path, found: Fit) -> None:
    """Write the fit of a block."""
    arrays = {name: getattr(found, name) for name in _VALUES}
    arrays |= {"penalties": found.penalties, "unit": np.array(found.unit)}
    arrays |= {"edges": np.array([found.at_low_edge, found.at_high_edge])}
    if found.dual is not None:
        # As it lies in memory: voxels first.
        arrays |= {"dual": found.dual.T, "intercept": found.intercept}
    write_whole(path, lambda file: np.savez(file, **arrays))


def read_fits(paths: Sequence[Path]) -> Fit:
    """Put the fits of neighbouring blocks together."""
    files = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            files.append({name: file[name] for name in file.files})
    joined = {
        name: np.concatenate([file[name] for file in files])
        for name in (*_VALUES, "dual", "intercept")
        if name in files[0]
    }
    low, high = np.sum([file["edges"] for file in files], axis=0).tolist()
    dual, intercept = joined.pop("dual", None), joined.pop("intercept", None)
    return Fit(
        **joined,
        penalties=files[0]["penalties"],
        unit=float(files[0]["unit"]),
        at_low_edge=low,
        at_high_edge=high,
        dual=None if dual is None else dual.T,
        intercept=intercept,
    )


def plan_blocks(n_samples: int, n_voxels: int, done: Sequence[Block] = ()) -> list[Block]:
    """Cut voxels into blocks: those that are done, and others between them.

    The size does not depend on the cluster, so that a run on another one finds its blocks.
    """
    size = TILE * max(LEAST_TILES, -(-VOXELS_PER_SAMPLE * n_samples // TILE))
    blocks, start = [], 0
    for first, last in [*sorted(done), (n_voxels, n_voxels)]:
        if first < start or last > n_voxels:
            continue
        while start < first:
            stop = min(start + size, first)
            blocks.append((start, stop))
            start = stop
        if last > first:
            blocks.append((first, last))
            start = last
    return blocks


def halves(block: Block) -> list[Block] | None:
    """Cut a block in two at the bounds of a tile; None if it is one tile."""
    start, stop = block
    tiles = -(-(stop - start) // TILE)
    if tiles < 2:
        return None
    middle = start + TILE * (tiles // 2)
    return [(start, middle), (middle, stop)]
