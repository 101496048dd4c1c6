"""Stimuli -> features of all layers, through the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bids_encoder.errors import DataError
from bids_encoder.features.cache import (
    CachedFeatures,
    Layout,
    entry_path,
    layout_of,
    open_entry,
    write_entry,
    write_layout,
)
from bids_encoder.features.reduction import reduce_activations
from bids_encoder.networks.network import Network, activations
from bids_encoder.stimuli.images import GREY, blank_image, check_image, decode_image, read_bytes

log = logging.getLogger(__name__)

# Pictures at a time. More gain nothing: on a CPU the caches overflow, a GPU is full.
_BATCH = {"cpu": 4, "cuda": 64}
_BLANK_DIGEST = hashlib.sha256(f"uniform grey {GREY}".encode()).hexdigest()


def extract(
    network: Network,
    stimuli: Mapping[str, Path | None],
    *,
    cache_dir: str | Path,
    batch_size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CachedFeatures:
    """Compute the features of pictures that the cache does not have.

    Parameters
    ----------
    network : Network
    stimuli : mapping of id -> path
        None instead of a path is an empty screen (uniform grey).
    cache_dir : path
        Features go into its folder ``features``.
    batch_size : int, optional
        Pictures at a time: default 4 on CPU, 64 on a GPU. Halved when the GPU's
        memory does not hold them.
    on_progress : function (done, total), optional
        Called as pictures (distinct by content) are done, cached ones first.

    Returns
    -------
    features : CachedFeatures
        Nothing is in memory: ``features.load(layer)`` reads.

    Raises
    ------
    MissingInputError, DataError
        A picture is missing or damaged; or a layer is not finite for it.
    OutputError
        The cache cannot be written.
    """
    layout = layout_of(network)
    folder = Path(cache_dir) / "features" / layout.key
    write_layout(folder, layout)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        digests = dict(zip(stimuli, pool.map(_digest, stimuli.values()), strict=True))
        by_content = {digests[name]: path for name, path in stimuli.items()}
        wanted = [
            (digest, path)
            for digest, path in by_content.items()
            if open_entry(entry_path(folder, digest), layout.total) is None
        ]
        done, total = len(by_content) - len(wanted), len(by_content)
        log.debug("Features of %d pictures: %d are in the cache.", total, done)
        # All of them before the first is computed: that may take hours.
        deque(pool.map(lambda item: item[1] and check_image(item[1]), wanted), maxlen=0)
        report = on_progress or (lambda done, total: None)
        report(done, total)
        size = batch_size or _BATCH[network.device]
        pictures = _read_ahead(pool, wanted, network, 2 * size)
        while batch := list(islice(pictures, size)):
            rows, size = _features_of(network, layout, [tensor for *_, tensor in batch], size)
            for (digest, path, _), row in zip(batch, rows, strict=True):
                _refuse_what_is_not_finite(row, layout, path)
                write_entry(entry_path(folder, digest), row)
            done += len(batch)
            report(done, total)
    return CachedFeatures(folder, layout, digests)


def _digest(path: Path | None) -> str:
    return _BLANK_DIGEST if path is None else hashlib.sha256(read_bytes(path)).hexdigest()


def _read_ahead(
    pool: ThreadPoolExecutor,
    wanted: Sequence[tuple[str, Path | None]],
    network: Network,
    ahead: int,
) -> Iterator[tuple[str, Path | None, torch.Tensor]]:
    """Decode pictures in other threads (Pillow lets go of the lock), some in advance."""

    def read(item: tuple[str, Path | None]) -> tuple[str, Path | None, torch.Tensor]:
        digest, path = item
        image = blank_image() if path is None else decode_image(read_bytes(path), path)
        return digest, path, network.preprocess(image)

    items = iter(wanted)
    waiting = [pool.submit(read, item) for item in islice(items, ahead)]
    try:
        while waiting:
            first = waiting.pop(0)
            waiting.extend(pool.submit(read, item) for item in islice(items, 1))
            yield first.result()
    finally:
        for future in waiting:
            future.cancel()


def _features_of(
    network: Network, layout: Layout, tensors: list[torch.Tensor], size: int
) -> tuple[np.ndarray, int]:
    """Return (n, all features) of a batch, and the batch size that the memory held."""
    reductions = dict(zip(layout.layers, layout.reductions, strict=True))
    rows = []
    start = 0
    while start < len(tensors):
        batch = torch.stack(tensors[start : start + size])
        try:
            found = activations(
                network, batch, lambda output, tap: reduce_activations(output, reductions[tap.name])
            )
        except torch.OutOfMemoryError:
            if size == 1:
                raise DataError(
                    "The GPU's memory does not hold the network for a single picture.",
                    found=f"{network.name} on {network.device}",
                    remedy="give --device cpu, or end other programs on the GPU",
                ) from None
            size = max(1, size // 2)
            torch.cuda.empty_cache()
            log.warning("The GPU's memory is too small; going on with %d pictures at a time.", size)
            continue
        rows.append(torch.cat(list(found.values()), dim=1).cpu().numpy())
        start += len(batch)
    return np.concatenate(rows), size


def _refuse_what_is_not_finite(row: np.ndarray, layout: Layout, path: Path | None) -> None:
    if np.isfinite(row).all():
        return
    bad = [layer for layer in layout.layers if not np.isfinite(row[layout.where(layer)]).all()]
    raise DataError(
        "The activations of a layer are not finite.",
        file=path,
        place=f"layers {', '.join(bad)} of {layout.description['network']}",
        found="NaN or infinity",
        remedy="check the weights of the network; leave these layers out with --layers",
    )
