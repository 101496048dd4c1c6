"""Stimuli -> features of all layers, through the cache."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from bids_encoder.bids.annex import lacks_content
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.features.batches import Batches, batches_of
from bids_encoder.features.cache import (
    CachedFeatures,
    FeatureLayout,
    entry_path,
    has_entry,
    write_entry,
    write_layout,
)
from bids_encoder.features.extractors import Extractor, extractor_of
from bids_encoder.features.film_features import film_features
from bids_encoder.networks.network import Network
from bids_encoder.stimuli.files import digest_file, read_bytes
from bids_encoder.stimuli.films import is_film
from bids_encoder.stimuli.generated import Drawn
from bids_encoder.stimuli.images import BLANK, GREY, blank_image, check_image, decode_image
from bids_encoder.stimuli.segments import Segment

log = logging.getLogger(__name__)

Stimulus = Path | Drawn | Segment

_BLANK_DIGEST = hashlib.sha256(f"uniform grey {GREY}".encode()).hexdigest()


def extract(
    network: Network | Extractor,
    stimuli: Mapping[str, Stimulus | None],
    *,
    cache_dir: str | Path,
    batch_size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CachedFeatures:
    """Compute the features of stimuli that the cache does not have.

    Parameters
    ----------
    network : Network or Extractor
    stimuli : mapping of id -> Path, Drawn, Segment or None
        A picture, in a file or drawn; a stretch of a film, whose features are the mean over
        its samples; or an empty screen (uniform grey).
    cache_dir : path
        Features go into its folder ``features``.
    batch_size : int, optional
        Pictures at a time: default 4 on CPU, 64 on a GPU. Halved when the GPU's
        memory does not hold them.
    on_progress : function (done, total), optional
        Called as stimuli (distinct by content) are done, cached ones first.

    Returns
    -------
    features : CachedFeatures
        Nothing is in memory: ``features.load(layer)`` reads.

    Raises
    ------
    MissingInputError, DataError
        A stimulus is missing or damaged; or a layer is not finite for it.
    OutputError
        The cache cannot be written.
    """
    extractor = extractor_of(network)
    layout = extractor.layout
    folder = Path(cache_dir) / "features" / layout.key
    write_layout(folder, layout)

    def remake(names: Sequence[str]) -> None:
        some = {name: stimuli[name] for name in names}
        extract(network, some, cache_dir=cache_dir, batch_size=batch_size)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = dict(zip(stimuli, pool.map(_digest, stimuli.values()), strict=True))
        by_content = {digests[name]: stimulus for name, stimulus in stimuli.items()}
        wanted = {
            digest: stimulus
            for digest, stimulus in by_content.items()
            if not has_entry(entry_path(folder, digest), layout)
        }
        done, total = len(by_content) - len(wanted), len(by_content)
        log.debug("Features of %d stimuli: %d are in the cache.", total, done)
        pictures = [(d, one) for d, one in wanted.items() if not isinstance(one, Segment)]
        # All of them before the first is computed: that may take hours. Films, of which
        # more is known than their path, have been looked at.
        deque(pool.map(lambda item: _check(item[1]), pictures), maxlen=0)
        report = on_progress or (lambda done, total: None)
        report(done, total)
        if not wanted:  # no threads, no replicas of the network
            return CachedFeatures(folder, layout, digests, remake)
        segments = {d: one for d, one in wanted.items() if isinstance(one, Segment)}
        with batches_of(extractor, batch_size) as run:
            found = _picture_features(pool, run, pictures)
            for digest, row in chain(found, film_features(pool, run, segments)):
                _refuse_what_is_not_finite(row, layout, by_content[digest])
                write_entry(entry_path(folder, digest), row, layout)
                done += 1
                report(done, total)
    return CachedFeatures(folder, layout, digests, remake)


def recall(
    network: Network | Extractor, digests: Mapping[str, str], folder: Path, *, cache_dir: str | Path
) -> CachedFeatures:
    """Features of stimuli by the checksums that they had; only what the cache lacks is computed.

    Parameters
    ----------
    network : Network or Extractor
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
    layout = extractor_of(network).layout
    cache = Path(cache_dir) / "features" / layout.key
    files: dict[str, Path | None] = {name: _inside(folder, name) for name in digests}
    # Of films the cache must have what was taken; which samples that were, no file says.
    there = {
        name: path
        for name, path in files.items()
        if path is None or (_has_content(path) and not is_film(path))
    }
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
        name for name, digest in digests.items() if not has_entry(entry_path(cache, digest), layout)
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

    def remake(names: Sequence[str]) -> None:
        some = {name: there[name] for name in names if name in there}
        extract(network, some, cache_dir=cache_dir)

    return CachedFeatures(cache, layout, dict(digests), remake)


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


def _digest(stimulus: Stimulus | None) -> str:
    if isinstance(stimulus, Segment | Drawn):
        return stimulus.digest
    return _BLANK_DIGEST if stimulus is None else digest_file(stimulus)


def _check(picture: Path | Drawn | None) -> None:
    if isinstance(picture, Path):
        check_image(picture)


def _pixels(picture: Path | Drawn | None) -> np.ndarray:
    if isinstance(picture, Drawn):
        return picture.draw()
    return blank_image() if picture is None else decode_image(read_bytes(picture), picture)


def _picture_features(
    pool: ThreadPoolExecutor, run: Batches, wanted: Sequence[tuple[str, Path | Drawn | None]]
) -> Iterator[tuple[str, np.ndarray]]:
    pictures = _read_ahead(pool, wanted, run.extractor, run.ahead)
    for digests, rows in run.compute(_picture_batches(run, pictures)):
        yield from zip(digests, rows.cpu().numpy(), strict=True)


def _picture_batches(
    run: Batches, pictures: Iterator[tuple[str, torch.Tensor]]
) -> Iterator[tuple[list[str], list[torch.Tensor]]]:
    still = 2 * run.extractor.context + 1
    while batch := list(islice(pictures, run.size if still == 1 else 1)):
        # A picture is a film that stands still.
        yield [digest for digest, _ in batch], [tensor for _, tensor in batch for _ in range(still)]


def _read_ahead(
    pool: ThreadPoolExecutor,
    wanted: Sequence[tuple[str, Path | Drawn | None]],
    extractor: Extractor,
    ahead: int,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Decode pictures in other threads (Pillow lets go of the lock), some in advance."""

    def read(item):
        digest, picture = item
        return digest, extractor.prepare(_pixels(picture))

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


def _refuse_what_is_not_finite(
    row: np.ndarray, layout: FeatureLayout, stimulus: Stimulus | None
) -> None:
    if np.isfinite(row).all():
        return
    bad = [layer for layer in layout.layers if not np.isfinite(row[layout.where(layer)]).all()]
    path = stimulus.film.path if isinstance(stimulus, Segment) else stimulus
    raise DataError(
        "The activations of a layer are not finite.",
        file=path if isinstance(path, Path) else None,
        place=f"layers {', '.join(bad)} of {layout.description['network']}",
        found="NaN or infinity",
        remedy="check the weights of the network; leave these layers out with --layers",
    )
