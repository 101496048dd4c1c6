"""A Dask cluster does the work; this process hands it out and gathers it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder import __version__
from bids_encoder.compute import dask_tasks
from bids_encoder.compute.fit_job import FitJob
from bids_encoder.compute.work_files import (
    Block,
    Pieces,
    halves,
    plan_blocks,
    read_fits,
    write_problem,
)
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.atomic import make_folder
from bids_encoder.encoding.ridge import Fit
from bids_encoder.errors import ParticipantError, naming
from bids_encoder.features.kernels import where
from bids_encoder.runtime.console import OF_THIS_RUN
from bids_encoder.stimuli.segments import Segment

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

PICTURES = 64  # in one task
POLL = 60.0  # seconds after which we look whether there are any workers


@dataclass(frozen=True)
class Remote:
    """Computes on the workers of a Dask scheduler.

    Attributes
    ----------
    client : distributed.Client
    settings : Settings
        With a work folder that all workers see.
    threads : int
        Of each task.
    """

    client: Client
    settings: Settings
    threads: int

    def extract(
        self,
        settings: Settings,
        stimuli: Mapping[str, Path | Segment],
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Bring the features of stimuli into the cache, shard by shard."""
        make_folder(self.settings.resources.work_dir)
        items = iter(stimuli.items())
        shards = []
        while shard := dict(islice(items, PICTURES)):
            shards.append(shard)
        futures = {
            self._submit(dask_tasks.extract_shard, self.settings, shard): shard for shard in shards
        }
        done = 0
        for future in self._completed(set(futures)):
            if _was_killed(future):
                raise ParticipantError(
                    "The workers of the cluster were killed while they computed features.",
                    place=f"network {settings.network.network}",
                    remedy="give each worker more memory",
                )
            _raise_its_error(future)
            done += len(futures[future])
            on_progress(done, len(stimuli))

    def fit(
        self,
        problem: FitJob,
        layers: Sequence[str],
        kernel: Callable[[str], np.ndarray],
        *,
        mem_bytes: int,
        on_progress: Callable[[float], None],
    ) -> Iterator[Fit]:
        """Hand out all layers at once; gather one after the other, and remove its pieces."""
        if not layers:
            return
        pieces = write_problem(self.settings.resources.work_dir, problem)
        n_samples, n_voxels = problem.responses.shape
        numbers = [problem.store.layers.index(layer) for layer in layers]
        jobs = [
            self._hand_out(pieces, number, problem, plan_blocks(n_samples, n_voxels, done))
            for number in numbers
            for done in [pieces.done(number)]
        ]
        for place, (number, job) in enumerate(zip(numbers, jobs, strict=True)):
            share = partial(_tell, on_progress, place, len(layers))
            with naming(**where(problem.store, problem.store.layers[number])):
                blocks = self._gather(pieces, number, problem, job, share)
            paths = [pieces.block(number, block) for block in blocks]
            for path in paths:
                dask_tasks.wait_for(path)
            yield read_fits(paths)
            pieces.remove(number)
        pieces.remove()

    def _hand_out(
        self, pieces: Pieces, number: int, problem: FitJob, blocks: Sequence[Block]
    ) -> tuple[Future, dict[Future, Block]]:
        kernel = self._submit(
            dask_tasks.write_kernel,
            pieces,
            number,
            problem.store,
            problem.samples,
            problem.training,
        )
        return kernel, {self._block(pieces, number, b, problem, kernel): b for b in blocks}

    def _block(
        self, pieces: Pieces, number: int, block: Block, problem: FitJob, kernel: Future
    ) -> Future:
        return self.client.submit(
            dask_tasks.fit_block,
            pieces,
            number,
            block,
            problem.penalties,
            problem.nested,
            problem.keep_weights,
            self.settings.resources.device,
            __version__,
            self.threads,
            kernel,
            pure=False,
            priority=-number,  # layers are wanted one after the other
        )

    def _submit(self, function: Callable, *arguments: object) -> Future:
        return self.client.submit(function, *arguments, __version__, self.threads, pure=False)

    def _gather(
        self,
        pieces: Pieces,
        number: int,
        problem: FitJob,
        job: tuple[Future, dict[Future, Block]],
        on_progress: Callable[[float], None],
    ) -> list[Block]:
        """Wait for the blocks of a layer; blocks whose workers were killed are made smaller."""
        kernel, waiting = job
        n_voxels = problem.responses.shape[1]
        layer = problem.store.layers[number]
        done: list[Block] = []
        for future in self._completed({kernel}):
            if _was_killed(future):
                raise _too_little_memory(f"layer {layer}: the kernel")
            _raise_its_error(future)
        while waiting:
            for future in self._completed(set(waiting)):
                block = waiting.pop(future)
                if not _was_killed(future):
                    _raise_its_error(future)
                    done.append(block)
                    on_progress(sum(stop - start for start, stop in done) / n_voxels)
                    continue
                smaller = halves(block)
                if smaller is None:
                    raise _too_little_memory(f"layer {layer}: {block[1] - block[0]} voxels")
                logger.warning(
                    f"Workers were killed, most likely for want of memory: layer {layer} is "
                    f"tried again with {smaller[0][1] - smaller[0][0]} voxels at a time",
                    extra=OF_THIS_RUN,
                )
                for one in smaller:
                    waiting[self._block(pieces, number, one, problem, kernel)] = one
        return sorted(done)

    def _completed(self, futures: set[Future]) -> Iterator[Future]:
        """Give futures as they are done; say so when nobody works on them."""
        from distributed import wait

        left = set(futures)
        while left:
            try:
                with self.client.as_current():
                    found = wait(left, timeout=POLL, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if not self.client.scheduler_info(n_workers=0)["workers"]:
                    logger.warning(
                        "No worker is there; waiting for the cluster to start some",
                        extra=OF_THIS_RUN,
                    )
                continue
            left -= found
            yield from found


def _tell(on_progress: Callable[[float], None], place: int, layers: int, share: float) -> None:
    on_progress((place + share) / layers)


def _was_killed(future: Future) -> bool:
    """Whether workers died of a task, or ran out of memory."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), (KilledWorker, MemoryError))


def _raise_its_error(future: Future) -> None:
    """Raise what a task has raised. Its result is a file, which outlives the worker."""
    if future.status == "error":
        raise future.exception()


def _too_little_memory(what: str) -> ParticipantError:
    return ParticipantError(
        "Workers of the cluster were killed again and again, most likely for want of memory.",
        place=what,
        remedy="give each worker more memory (--executor-options memory=16GB), or look for the "
        "reason in the logs of the jobs",
    )
