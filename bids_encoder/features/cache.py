"""Features kept on disk by the content of the stimulus, safe with many processes.

``CACHE/features/KEY/layers.json`` says what the numbers are, and
``CACHE/features/KEY/ab/abcd....npy`` holds the features of the stimulus whose
content has that SHA-256: all layers one behind the other, float32. KEY is a
checksum of network, weights, layers, reduction and preprocessing.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from bids_encoder.errors import DataError, OutputError
from bids_encoder.features.reduction import SIGMA_PER_STEP, Reduction, plan_reduction
from bids_encoder.features.store import Features
from bids_encoder.networks.network import Network

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Layout:
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


def layout_of(network: Network) -> Layout:
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
    return Layout(description, network.layers, reductions)


@dataclass(frozen=True)
class CachedFeatures:
    """Features of a set of stimuli in the cache: a `FeatureStore`.

    Attributes
    ----------
    folder : Path
        ``CACHE/features/KEY``.
    layout : Layout
    digests : dict of stimulus id -> SHA-256 of its content
    """

    folder: Path
    layout: Layout
    digests: dict[str, str]

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
        """Read one layer.

        Raises
        ------
        DataError
            A file of the cache was removed or damaged since it was made.
        """
        stimuli = tuple(self.digests if stimuli is None else stimuli)
        part = self.layout.where(layer)
        values = np.empty((len(stimuli), self.sizes[layer]), np.float32)
        for row, name in zip(values, stimuli, strict=True):
            path = entry_path(self.folder, self.digests[name])
            numbers = open_entry(path, self.layout.total)
            if numbers is None:
                raise DataError(
                    "A file of the feature cache was removed or damaged during the run.",
                    file=path,
                    remedy="run again: it will be made anew",
                )
            row[:] = numbers[part]
        return Features(layer, stimuli, values)

    def origin(self, layer: str) -> dict[str, object]:
        """All that the features of a layer depend on but the stimulus."""
        return self.layout.origin(layer)

    def stamps(self, layer: str, stimuli: Sequence[str]) -> list[str]:
        """SHA-256 of the content of each stimulus."""
        return [self.digests[name] for name in stimuli]


def entry_path(folder: Path, digest: str) -> Path:
    """Return where the features of a stimulus are kept."""
    return folder / digest[:2] / f"{digest}.npy"


def open_entry(path: Path, total: int) -> np.ndarray | None:
    """Map a file of features; None where there is none that is whole."""
    try:
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, cut short, not an array
        return None
    return numbers if numbers.dtype == np.float32 and numbers.shape == (total,) else None


def write_entry(path: Path, numbers: np.ndarray) -> None:
    """Write one stimulus's features: whole or not at all.

    Raises
    ------
    OutputError
        The cache cannot be written, or the disk is full.
    """

    def save(file):
        np.save(file, np.ascontiguousarray(numbers, np.float32), allow_pickle=False)

    write_whole(path, save)


def write_layout(folder: Path, layout: Layout) -> None:
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
