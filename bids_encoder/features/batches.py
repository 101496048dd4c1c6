"""Batches of prepared pictures through an extractor: as large as memory holds, several at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import torch

from bids_encoder.errors import DataError
from bids_encoder.features.extractors import Extractor
from bids_encoder.runtime.threads import shared_cores

log = logging.getLogger(__name__)

T = TypeVar("T")

# Pictures at a time. More gain nothing: on a CPU the caches overflow, a GPU is full.
_SIZE = {"cpu": 4, "cuda": 64}
_MOST_AT_ONCE = 8  # batches in work on a CPU: each needs memory for its activations


def batch_size(extractor: Extractor) -> int:
    """How many pictures are computed at a time."""
    return extractor.batch or _SIZE[extractor.device]


@contextmanager
def batches_of(extractor: Extractor, size: int | None = None) -> Iterator[Batches]:
    """What computes features in batches.

    On a CPU several batches are in work at once, each in a thread of its own: layers are small,
    and most of them gain little from a second core.

    Parameters
    ----------
    extractor : Extractor
    size : int, optional
        Pictures at a time; default: `batch_size`.
    """
    on_cpu = extractor.device == "cpu"
    at_once = min(torch.get_num_threads(), _MOST_AT_ONCE) if on_cpu else 1
    with shared_cores(at_once) as pool:
        replicas = [extractor.replica() for _ in range(at_once - 1)]
        yield Batches(pool, [extractor, *replicas], size or batch_size(extractor))


class Batches:
    """Computes features of batches, several at once.

    Parameters
    ----------
    pool : Executor
        As many threads as there are extractors.
    extractors : sequence of Extractor
        The same one and its replicas.
    size : int

    Attributes
    ----------
    extractor : Extractor
    size : int
        Pictures at a time; halved when a GPU's memory does not hold them.
    ahead : int
        How many pictures should be prepared in advance, so that no thread waits for some.
    """

    def __init__(self, pool: Executor, extractors: Sequence[Extractor], size: int):
        self.extractor = extractors[0]
        self.size = size
        self._pool, self._at_once = pool, len(extractors)
        self.ahead = size * (self._at_once + 1)
        self._idle: SimpleQueue[Extractor] = SimpleQueue()
        for one in extractors:
            self._idle.put(one)

    def compute(
        self, batches: Iterable[tuple[T, Sequence[torch.Tensor]]]
    ) -> Iterator[tuple[T, torch.Tensor]]:
        """Compute the features of batches, in their order.

        Parameters
        ----------
        batches : iterable of (anything, tensors)
            n + 2 context prepared pictures each. Taken as they are needed, so that `size` may
            change meanwhile.

        Yields
        ------
        anything : as given
        features : tensor (n, total), on the extractor's device

        Raises
        ------
        Exception
            What taking the next batch raises, after the features of those before it.
        """
        waiting: deque[tuple[T, Future]] = deque()
        items, failure = iter(batches), None
        try:
            while item := _next(items):
                if isinstance(item, Exception):
                    failure = item
                    break
                mark, tensors = item
                waiting.append((mark, self._pool.submit(self._features, tensors)))
                if len(waiting) > self._at_once:
                    first, features = waiting.popleft()
                    yield first, features.result()
            while waiting:
                first, features = waiting.popleft()
                yield first, features.result()
        finally:
            for _, features in waiting:
                features.cancel()
        if failure is not None:
            raise failure

    def _features(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        extractor = self._idle.get()
        try:
            return self._in_parts(extractor, tensors)
        finally:
            self._idle.put(extractor)

    def _in_parts(self, extractor: Extractor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        around = 2 * extractor.context
        rows = []
        start = 0
        while start < len(tensors) - around:
            size = self.size
            part = list(tensors[start : start + size + around])
            n = len(part) - around
            if not around:
                # The last bits of a product depend on its shape: what is computed together with
                # a picture must not, so that a run that was stopped goes on as if it had not been.
                part += part[-1:] * (size - n)
            try:
                rows.append(extractor.compute(torch.stack(part))[:n])
            except torch.OutOfMemoryError:
                self._halve()
                continue
            start += n
        return torch.cat(rows)

    def _halve(self) -> None:
        if self.size == 1:
            raise DataError(
                "The GPU's memory does not hold the network for a single picture.",
                place=f"network {self.extractor.name} on {self.extractor.device}",
                remedy="give --device cpu, or end other programs on the GPU",
            ) from None
        self.size = max(1, self.size // 2)
        torch.cuda.empty_cache()
        log.warning(
            "The GPU's memory is too small; going on with %d pictures at a time.", self.size
        )


def _next(items: Iterator[T]) -> T | Exception | None:
    """The next item, the error that is in its place, or None at the end."""
    try:
        return next(items, None)
    except Exception as error:
        return error
