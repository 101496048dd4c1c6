"""What a worker of a cluster does. Arguments are small; results are files in the work folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from bids_encoder import __version__
from bids_encoder.compute import memory_budget
from bids_encoder.compute.fit_job import kernel_of, training_kernel
from bids_encoder.compute.work_files import (
    Block,
    Pieces,
    checked_kernel,
    read_folds,
    read_kernel,
    read_responses,
    write_fit,
)
from bids_encoder.config.settings import Settings
from bids_encoder.encoding.ridge import fit
from bids_encoder.errors import MissingInputError, UsageError
from bids_encoder.features.cache import write_array
from bids_encoder.features.feature_source import FeatureSource, open_source
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.networks.devices import resolve_device
from bids_encoder.stimuli.segments import Segment

# Network file systems show new files to other machines after some seconds.
PATIENCE = 60.0
# Of a worker's memory; the rest is for the libraries and for estimates' errors.
SHARE = 0.6


@contextmanager
def task(folder: Path, version: str, threads: int) -> Iterator[None]:
    """Check that a worker can do a task, and set its threads meanwhile.

    Raises
    ------
    UsageError
        It runs another version of the program.
    MissingInputError
        It does not see the folder.
    """
    if version != __version__:
        raise UsageError(
            "A worker of the cluster runs another version of this program.",
            place=f"worker on {platform.node()}",
            found=__version__,
            expected=version,
            remedy="start the workers in the same environment, or the same container",
        )
    wait_for(folder)
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def wait_for(path: Path, patience: float = PATIENCE) -> None:
    """Wait until a file that another machine has written is seen here.

    Raises
    ------
    MissingInputError
        It is not there after all.
    """
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > end:
            raise MissingInputError(
                "A file that another machine has written is not seen here.",
                file=path,
                place=f"machine {platform.node()}",
                remedy="put the work folder (-w) and the dataset where all machines of the "
                "cluster see them under the same path",
            )
        time.sleep(0.2)
        if path.parent.is_dir():
            os.listdir(path.parent)  # makes NFS look again


def extract_shard(
    settings: Settings, stimuli: Mapping[str, Path | Segment], version: str, threads: int
) -> None:
    """Bring the features of some stimuli into the cache."""
    with task(settings.resources.work_dir, version, threads):
        _network(settings, resolve_device(settings.resources.device)).store(
            stimuli, blank=False, cache_dir=settings.resources.work_dir
        )


@lru_cache(maxsize=1)
def _network(settings: Settings, device: str) -> FeatureSource:
    """The network that some settings name; a worker keeps the last one."""
    return open_source(settings, (), device)


def write_kernel(
    pieces: Pieces,
    number: int,
    store: FeatureStore,
    samples: Samples,
    training: np.ndarray,
    version: str,
    threads: int,
) -> None:
    """Compute the kernel of a layer, unless it is there."""
    with task(pieces.folder, version, threads):
        if checked_kernel(pieces, number) is None:
            kernel = kernel_of(samples, store)(store.layers[number])
            kernel = training_kernel(kernel, training)
            write_array(pieces.kernel(number), kernel)


def fit_block(
    pieces: Pieces,
    number: int,
    block: Block,
    penalties: np.ndarray,
    nested: bool,
    keep_weights: bool,
    device: str,
    version: str,
    threads: int,
    kernel: None = None,
) -> None:
    """Fit a block of voxels, unless it is done; ``kernel`` only says that it is there."""
    path = pieces.block(number, block)
    with task(pieces.folder, version, threads):
        if path.exists():
            return
        wait_for(pieces.kernel(number))
        everything = read_responses(pieces)
        if everything is None:
            raise MissingInputError(
                "The responses that are to be fitted are no longer in the work folder.",
                file=pieces.folder,
                remedy="run it again, and leave the work folder (-w) alone meanwhile",
            )
        responses = everything[:, slice(*block)]
        found = fit(
            None,
            np.ascontiguousarray(responses),
            read_folds(pieces, len(responses)),
            kernel=read_kernel(pieces, number),
            penalties=penalties,
            nested=nested,
            keep_weights=keep_weights,
            mem_bytes=_spare_memory(*responses.shape),
            device=resolve_device(device),
        )
        write_fit(path, found)


def _spare_memory(n_samples: int, n_voxels: int) -> int:
    """Bytes that a fit may work in: the share of a thread in what the worker may use."""
    from distributed import get_worker

    worker = get_worker()
    limit = getattr(worker.memory_manager, "memory_limit", None) or memory_budget.available()
    work = memory_budget.Work(n_samples, n_voxels, n_samples)
    return memory_budget.fit_budget(work, int(SHARE * limit) // worker.state.nthreads)
