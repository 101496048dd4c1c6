"""Threads that share the cores: each computes with its part of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch


@contextmanager
def shared_cores(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads among which the threads that torch may use are divided.

    Many small operations gain more from it than from several threads inside each of them.

    Parameters
    ----------
    n_threads : int
    """
    before = torch.get_num_threads()
    each = max(1, before // n_threads)
    try:
        with ThreadPoolExecutor(n_threads, initializer=partial(torch.set_num_threads, each)) as it:
            yield it
    finally:
        # OpenMP keeps the number for each thread, but MKL for the whole process.
        torch.set_num_threads(before)
