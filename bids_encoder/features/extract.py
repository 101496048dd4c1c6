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

from bids_encoder.bids.annex import lacks_content
from bids_encoder.errors import DataError, MissingInputError
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
from bids_encoder.stimuli.drawn import Drawn
from bids_encoder.stimuli.images import (
    BLANK,
    GREY,
    blank_image,
    check_image,
    decode_image,
    read_bytes,
)

log = logging.getLogger(__name__)

# Pictures at a time. More gain nothing: on a CPU the caches overflow, a GPU is full.
_BATCH = {"cpu": 4, "cuda": 64}
_BLANK_DIGEST = hashlib.sha256(f"uniform grey {GREY}".encode()).hexdigest()


def extract(
    network: Network,
    stimuli: Mapping[str, Path | Drawn | None],
    *,
    cache_dir: str | Path,
    batch_size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CachedFeatures:
    """Compute the features of pictures that the cache does not have.

    Parameters
    ----------
    network : Network
    stimuli : mapping of id -> path or Drawn
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
        deque(pool.map(lambda item: _check(item[1]), wanted), maxlen=0)
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


def recall(
    network: Network, digests: Mapping[str, str], folder: Path, *, cache_dir: str | Path
) -> CachedFeatures:
    """Features of stimuli by the checksums that they had; only what the cache lacks is computed.

    Parameters
    ----------
    network : Network
    digests : mapping of id to SHA-256 of the content
    folder : path
        Where the stimuli lay. Those that lie there still are checked; those that do not must be
        in the cache.
    cache_dir : path

    Raises
    ------
    MissingInputError
        Stimuli that are neither in the cache nor in the folder.
    DataError
        A stimulus has another content now, or an id leads out of the folder.
    """
    layout = layout_of(network)
    cache = Path(cache_dir) / "features" / layout.key
    files: dict[str, Path | None] = {name: _inside(folder, name) for name in digests}
    there = {name: path for name, path in files.items() if path is None or _has_content(path)}
    changed = [name for name, path in there.items() if _digest(path) != digests[name]]
    if changed:
        raise DataError(
            f"{len(changed)} of {len(digests)} stimuli are not those that the model was fitted "
            "with.",
            file=files[changed[0]],
            place="content (SHA-256)",
            found=f"changed since: {', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}",
            expected=digests[changed[0]],
            remedy="bring back the files that it was fitted with, or fit the model again",
        )
    lacking = [
        name
        for name, digest in digests.items()
        if open_entry(entry_path(cache, digest), layout.total) is None
    ]
    lost = [name for name in lacking if name not in there]
    if lost:
        raise MissingInputError(
            f"{len(lost)} of {len(digests)} stimuli of the model are not there, nor are their "
            "features in the cache.",
            file=files[lost[0]],
            found=f"none of {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}",
            expected=f"the files, or features in {cache}",
            remedy="put the files there (in a DataLad dataset: datalad get), say where they are "
            "with --stim-dir, or give the work folder of the fit with -w",
        )
    if lacking:
        extract(network, {name: files[name] for name in lacking}, cache_dir=cache_dir)
    return CachedFeatures(cache, layout, dict(digests))


def _inside(folder: Path, name: str) -> Path | None:
    """The file of a stimulus, None for the empty screen."""
    if name == BLANK:
        return None
    path = Path(folder) / name
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise DataError(
            "The id of a stimulus leads out of the folder of stimuli.",
            file=path,
            found=repr(name),
            expected=f"a path relative to {folder}",
            remedy="fit the model again",
        )
    return path


def _has_content(path: Path) -> bool:
    """Whether there is a file that is more than a link of git-annex."""
    return path.is_file() and not lacks_content(path)


def _digest(picture: Path | Drawn | None) -> str:
    if isinstance(picture, Drawn):
        return picture.digest
    return _BLANK_DIGEST if picture is None else hashlib.sha256(read_bytes(picture)).hexdigest()


def _check(picture: Path | Drawn | None) -> None:
    if isinstance(picture, Path):
        check_image(picture)


def _pixels(picture: Path | Drawn | None) -> np.ndarray:
    if isinstance(picture, Drawn):
        return picture.draw()
    return blank_image() if picture is None else decode_image(read_bytes(picture), picture)


def _read_ahead(
    pool: ThreadPoolExecutor,
    wanted: Sequence[tuple[str, Path | Drawn | None]],
    network: Network,
    ahead: int,
) -> Iterator[tuple[str, Path | Drawn | None, torch.Tensor]]:
    """Decode pictures in other threads (Pillow lets go of the lock), some in advance."""

    def read(item):
        digest, picture = item
        return digest, picture, network.preprocess(_pixels(picture))

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


def _refuse_what_is_not_finite(row, layout: Layout, path: Path | Drawn | None) -> None:
    if np.isfinite(row).all():
        return
    bad = [layer for layer in layout.layers if not np.isfinite(row[layout.where(layer)]).all()]
    raise DataError(
        "The activations of a layer are not finite.",
        file=path if isinstance(path, Path) else None,
        place=f"layers {', '.join(bad)} of {layout.description['network']}",
        found="NaN or infinity",
        remedy="check the weights of the network; leave these layers out with --layers",
    )
