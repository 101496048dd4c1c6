"""Mean features of stretches of films, computed while the films are decoded.

Each film is decoded once for all its stretches, in a thread that is some frames ahead of
the network; pictures are prepared in further threads. A frame that is on the screen at
several samples is computed once. In memory are the frames that wait, and one row of
features for every stretch that has begun and not ended.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from bids_encoder.stimuli.films import Film, sampled_frames
from bids_encoder.stimuli.images import blank_image
from bids_encoder.stimuli.segments import Segment

if TYPE_CHECKING:
    from bids_encoder.features.batches import Batches
    from bids_encoder.features.extractors import Extractor


@dataclass(frozen=True, eq=False)
class _Row:
    """A prepared frame, on the screen at samples `first` to `stop` - 1 of a film."""

    film: int
    first: int
    stop: int
    tensor: Future


def film_features(
    pool: Executor, run: Batches, segments: Mapping[str, Segment]
) -> Iterator[tuple[str, np.ndarray]]:
    """Compute the mean features of stretches of films.

    Parameters
    ----------
    pool : Executor
        Threads in which frames are prepared.
    run : Batches
    segments : mapping of str to Segment
        Stretches, by any name.

    Yields
    ------
    name : str
    row : (total,) float32 array
        In the order in which stretches end, film after film.

    Raises
    ------
    MissingInputError, DataError
        A film is damaged, or ends early.
    """
    films: dict[tuple[Film, float], dict[str, Segment]] = {}
    for name, one in segments.items():
        films.setdefault((one.film, one.fps), {})[name] = one
    means = [_Means(wanted) for wanted in films.values()]
    context = run.extractor.context
    with _Ahead(_rows(pool, run.extractor, films), run.ahead + 2 * context) as rows:
        for computed, values in run.compute(_batches(run, rows)):
            numbers = [row.film for row in computed]
            for number in dict.fromkeys(numbers):
                ours = [i for i, other in enumerate(numbers) if other == number]
                yield from means[number].add([computed[i] for i in ours], values[ours])


def _rows(
    pool: Executor,
    extractor: Extractor,
    films: Mapping[tuple[Film, float], Mapping[str, Segment]],
) -> Iterator[_Row]:
    """The frames that some stretch needs, one after the other."""
    context = extractor.context
    blank: Future = Future()
    blank.set_result(extractor.prepare(blank_image()))
    for number, ((film, fps), wanted) in enumerate(films.items()):
        spans = [(one.first, one.stop) for one in wanted.values()]
        first = min(start for start, _ in spans) - context
        stop = max(end for _, end in spans) + context
        reached = first
        for frame in sampled_frames(film, fps, max(0, first), stop):
            if context:
                # Before a film and after it the screen is grey.
                yield from (_Row(number, k, k + 1, blank) for k in range(reached, frame.first))
                tensor = pool.submit(extractor.prepare, frame.image)
                yield from (_Row(number, k, k + 1, tensor) for k in range(frame.first, frame.stop))
                reached = frame.stop
            elif any(start < frame.stop and frame.first < end for start, end in spans):
                tensor = pool.submit(extractor.prepare, frame.image)
                yield _Row(number, frame.first, frame.stop, tensor)
        if context:
            yield from (_Row(number, k, k + 1, blank) for k in range(reached, stop))


def _batches(run: Batches, rows: Iterator[_Row]) -> Iterator[tuple[list[_Row], list[torch.Tensor]]]:
    """Some frames at a time, with those around that their features depend on."""
    context = run.extractor.context
    if context == 0:
        while batch := list(islice(rows, run.size)):
            yield batch, _tensors(batch)
        return
    for _, of_film in groupby(rows, lambda row: row.film):
        window = list(islice(of_film, 2 * context))
        while new := list(islice(of_film, run.size)):
            window += new
            yield window[context:-context], _tensors(window)
            window = window[len(new) :]


def _tensors(rows: Sequence[_Row]) -> list[torch.Tensor]:
    return [row.tensor.result() for row in rows]


class _Means:
    """Running sums over the stretches of one film."""

    def __init__(self, wanted: Mapping[str, Segment]):
        self._open = dict(wanted)
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, rows: Sequence[_Row], values: torch.Tensor) -> Iterator[tuple[str, np.ndarray]]:
        """Take in the features of the next frames; yield the means that are whole."""
        end = rows[-1].stop
        begun = {name: one for name, one in self._open.items() if one.first < end}
        if not begun:
            return
        samples = [
            [max(0, min(one.stop, row.stop) - max(one.first, row.first)) for row in rows]
            for one in begun.values()
        ]
        sums = torch.tensor(samples, dtype=values.dtype, device=values.device) @ values
        for (name, one), added in zip(begun.items(), sums, strict=True):
            before = self._sums.pop(name, None)
            total = added if before is None else before + added
            if one.stop <= end:
                del self._open[name]
                yield name, (total / (one.stop - one.first)).cpu().numpy()
            else:
                self._sums[name] = total.clone()  # not a view of all sums


class _Ahead:
    """An iterator that works in a thread of its own, some items in advance."""

    def __init__(self, items: Iterator[_Row], ahead: int):
        self._items = items
        self._queue: queue.Queue = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Iterator[_Row]:
        self._thread.start()
        return iter(self._take, None)

    def __exit__(self, *error) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        last: BaseException | None = None  # None ends the iteration, an error is raised there
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except Exception as error:
            last = error
        self._put(last)

    def _put(self, item: object) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _take(self) -> _Row | None:
        item = self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item
