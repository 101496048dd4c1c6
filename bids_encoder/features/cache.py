"""Features kept on disk by the content of the stimulus, safe with many processes.

``CACHE/features/KEY/layers.json`` says what the numbers are, and
``CACHE/features/KEY/ab/abcd....npy`` holds the features of the stimulus whose
content has that SHA-256: all layers one behind the other, float32, and behind
them the SHA-256 of each layer's numbers, which readers compare. KEY is a
checksum of network, weights, layers, reduction and preprocessing.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from bids_encoder.errors import DataError, OutputError
from bids_encoder.features.reduction import SIGMA_PER_STEP, Reduction, plan_reduction
from bids_encoder.features.store import Features
from bids_encoder.networks.network import Network
from bids_encoder.runtime.console import OF_THIS_RUN

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
_DIGEST = 32  # bytes of a SHA-256


@dataclass(frozen=True)
class FeatureLayout:
    """What stands where in a file of features.

    Attributes
    ----------
    description : dict
        Everything that the features depend on but the stimulus.
    layers : tuple of str
    reductions : tuple of Reduction
        One a layer.
    """

    description: dict
    layers: tuple[str, ...]
    reductions: tuple[Reduction, ...]

    @property
    def key(self) -> str:
        """Checksum of the description."""
        text = json.dumps(self.description, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of features of each layer."""
        return {n: r.size for n, r in zip(self.layers, self.reductions, strict=True)}

    @property
    def total(self) -> int:
        """Number of features of all layers together."""
        return sum(reduction.size for reduction in self.reductions)

    def origin(self, layer: str) -> dict[str, object]:
        """The part of the description that says what the features of one layer are."""
        [entry] = [one for one in self.description["layers"] if one["name"] == layer]
        return {**self.description, "layers": entry}

    def where(self, layer: str) -> slice:
        """Which part of a stimulus's numbers is this layer."""
        position = self.layers.index(layer)
        start = sum(reduction.size for reduction in self.reductions[:position])
        return slice(start, start + self.reductions[position].size)


def layout_of(network: Network) -> FeatureLayout:
    """Plan the reduction of all layers of a network."""
    reductions = tuple(plan_reduction(tap.shape, layer=tap.name) for tap in network.taps)
    description = {
        "format": FORMAT_VERSION,
        "network": network.name,
        # Without the words behind it: the same weights may come from files of any name.
        "weights": network.weights_id.partition(" ")[0],
        "preprocessing": network.preprocess.description,
        "layers": [
            {
                "name": tap.name,
                "module": tap.module,
                "call": tap.call,
                "shape": list(reduction.shape),
                "step": reduction.step,
                "kept": list(reduction.kept),
            }
            for tap, reduction in zip(network.taps, reductions, strict=True)
        ],
        "reduction": f"Gaussian of {SIGMA_PER_STEP} steps, every step-th pixel, "
        "sign(x) * log(1 + |x|)",
    }
    return FeatureLayout(description, network.layers, reductions)


@dataclass(frozen=True)
class CachedFeatures:
    """Features of a set of stimuli in the cache: a `FeatureStore`.

    Attributes
    ----------
    folder : Path
        ``CACHE/features/KEY``.
    layout : FeatureLayout
    digests : dict of stimulus id -> SHA-256 of its content
    remake : function of stimulus ids, optional
        Computes their features again and writes them, where that can be done.
    """

    folder: Path
    layout: FeatureLayout
    digests: dict[str, str]
    remake: Callable[[Sequence[str]], object] | None = field(default=None, compare=False)

    def __reduce__(self):
        """Another process has the files, and cannot make them again."""
        return CachedFeatures, (self.folder, self.layout, self.digests)

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.layout.description["network"]

    @property
    def identity(self) -> str:
        """Checksum of network, layers and the content of all stimuli."""
        text = "\n".join(f"{name}\t{digest}" for name, digest in self.digests.items())
        return f"{self.layout.key}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, from shallow to deep."""
        return self.layout.layers

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Ids of the stimuli."""
        return tuple(self.digests)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of features of each layer."""
        return self.layout.sizes

    def load(self, layer: str, stimuli: Sequence[str] | None = None) -> Features:
        """Read one layer; what was damaged is made again, and said.

        Raises
        ------
        DataError
            A file of the cache was removed or damaged since it was made, and its stimulus is
            not at hand.
        """
        stimuli = tuple(self.digests if stimuli is None else stimuli)
        values = np.empty((len(stimuli), self.sizes[layer]), np.float32)
        damaged = [
            number
            for number, name in enumerate(stimuli)
            if not read_entry(self._entry(name), self.layout, layer, values[number])
        ]
        if damaged:
            self._make_again([stimuli[number] for number in damaged], layer)
        for number in damaged:
            if not read_entry(self._entry(stimuli[number]), self.layout, layer, values[number]):
                raise self._damaged(stimuli[number], layer)
        return Features(layer, stimuli, values)

    def _entry(self, name: str) -> Path:
        return entry_path(self.folder, self.digests[name])

    def _make_again(self, names: Sequence[str], layer: str) -> None:
        if self.remake is None:
            raise self._damaged(names[0], layer)
        for name in names:
            log.warning(
                "Features of %s, layer %s, were removed or damaged in the cache (%s): they are "
                "made again.",
                name or "the empty screen",
                layer,
                self._entry(name),
                extra=OF_THIS_RUN,
            )
            with suppress(OSError):
                self._entry(name).unlink()
        self.remake(names)

    def _damaged(self, name: str, layer: str) -> DataError:
        return DataError(
            "A file of the feature cache was removed or damaged.",
            file=self._entry(name),
            place=f"stimulus {name!r}, layer {layer} of {self.network}",
            found="another checksum than was written, or no file",
            remedy="remove the file and run again: it will be made anew",
        )

    def origin(self, layer: str) -> dict[str, object]:
        """All that the features of a layer depend on but the stimulus."""
        return self.layout.origin(layer)

    def stamps(self, layer: str, stimuli: Sequence[str]) -> list[str]:
        """SHA-256 of the content of each stimulus."""
        return [self.digests[name] for name in stimuli]


def entry_path(folder: Path, digest: str) -> Path:
    """Return where the features of a stimulus are kept."""
    return folder / digest[:2] / f"{digest}.npy"


def has_entry(path: Path, layout: FeatureLayout) -> bool:
    """Whether there is a file of features, by its size and its first bytes."""
    header = _header(layout.total)
    try:
        with path.open("rb") as file:
            same = file.read(len(header)) == header
            return same and os.fstat(file.fileno()).st_size == _size(layout)
    except OSError:
        return False


def read_entry(path: Path, layout: FeatureLayout, layer: str, values: np.ndarray) -> bool:
    """Read one layer of a file of features.

    Parameters
    ----------
    path : Path
    layout : FeatureLayout
    layer : str
    values : (p,) float32 array
        What the numbers are read into.

    Returns
    -------
    bool
        Whether there is such a file, and its numbers are those that were written.
    """
    header, part = _header(layout.total), layout.where(layer)
    start = len(header)
    try:
        with path.open("rb") as file:
            if file.read(start) != header or os.fstat(file.fileno()).st_size != _size(layout):
                return False
            file.seek(start + 4 * part.start)
            file.readinto(values.data)
            file.seek(start + 4 * layout.total + _DIGEST * layout.layers.index(layer))
            return file.read(_DIGEST) == hashlib.sha256(values.data).digest()
    except OSError:
        return False


def write_entry(path: Path, numbers: np.ndarray, layout: FeatureLayout) -> None:
    """Write one stimulus's features: whole or not at all.

    Raises
    ------
    OutputError
        The cache cannot be written, or the disk is full.
    """
    numbers = np.ascontiguousarray(numbers, "<f4")

    def save(file):
        file.write(_header(layout.total))
        file.write(numbers.data)
        for layer in layout.layers:
            file.write(hashlib.sha256(numbers[layout.where(layer)]).digest())

    write_whole(path, save)


@lru_cache(maxsize=8)
def _header(total: int) -> bytes:
    """What a file of so many numbers begins with (NumPy's format, version 1.0)."""
    header = io.BytesIO()
    what = {"descr": "<f4", "fortran_order": False, "shape": (total,)}
    np.lib.format.write_array_header_1_0(header, what)
    return header.getvalue()


def _size(layout: FeatureLayout) -> int:
    return len(_header(layout.total)) + 4 * layout.total + _DIGEST * len(layout.layers)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy`` with its SHA-256 behind it: whole or not at all.

    Raises
    ------
    OutputError
        The folder cannot be written, or the disk is full.
    """
    array = np.ascontiguousarray(array)

    def save(file):
        np.save(file, array, allow_pickle=False)
        file.write(hashlib.sha256(array).digest())

    write_whole(path, save)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray | None:
    """An array as :func:`write_array` wrote it; None where there is none that is whole.

    Parameters
    ----------
    path : Path
    mapped : bool
        Leave the numbers in the file until they are needed.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            file.seek(-_DIGEST, os.SEEK_END)
            end, expected = file.tell(), file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError):  # cut short, not an array
        array = None
    if (
        array is None
        or not array.flags.c_contiguous
        or array.offset + array.nbytes != end
        or hashlib.sha256(array).digest() != expected
    ):
        log.warning(f"{path} was damaged: it is made again.", extra=OF_THIS_RUN)
        return None
    return array if mapped else np.array(array)


def write_layout(folder: Path, layout: FeatureLayout) -> None:
    """Write ``layers.json``, unless it is there."""
    text = json.dumps(layout.description, indent=2).encode()
    path = folder / "layers.json"
    try:
        if path.read_bytes() == text:
            return
    except OSError:
        pass
    write_whole(path, lambda file: file.write(text))


def write_whole(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Write a file of the cache: whole or not at all.

    Raises
    ------
    OutputError
        The cache cannot be written, or the disk is full.
    """
    # The name is nobody else's: several processes may write the same entry.
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(
            "The feature cache cannot be written.",
            file=path.parent,
            found=error.strerror or error,
            expected="a folder that can be written, with room",
            remedy="give another --work-dir, or free some space",
        ) from None
    finally:
        with suppress(OSError):
            beside.unlink()
