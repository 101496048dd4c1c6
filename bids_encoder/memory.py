"""How much memory there is, and how much an analysis needs."""

from __future__ import annotations

import os
from pathlib import Path

GB = 10**9
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LIBRARIES = 1100 * 10**6  # Python with torch, nilearn and a network of AlexNet's size
LARGEST_LAYER = 25_000  # features; layers are reduced to at most so many
_SHARE = 0.8  # of the free memory; the rest is for other programs and for estimates' errors


def available() -> int:
    """Bytes that may be used: most of what is free, within the limit of a container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except OSError:  # not Linux
        pass
    for name in _CGROUP_FILES:
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return int(_SHARE * min(limits))


def budget(gigabytes: float | None, n_processes: int = 1) -> int:
    """Bytes for one process, of what the user allows or of what is free."""
    return (int(gigabytes * GB) if gigabytes else available()) // n_processes


def needed(
    *,
    n_samples: int,
    n_voxels: int,
    n_volumes: int,
    n_stimuli: int,
    fit: int,
    together: int = 0,
) -> int:
    """Estimate the largest number of bytes that an analysis holds at once.

    Parameters
    ----------
    n_samples, n_voxels : int
        Shape of the response matrix.
    n_volumes : int
        Of the longest run.
    n_stimuli : int
    fit : int
        Bytes that the fit works in, see :func:`bids_encoder.encoding.memory.make_plan`.
    together : int
        Bytes for the BOLD of all runs, where responses are estimated from them together.
    """
    reading = _reading(n_volumes, n_voxels) + together
    features = 2 * 4 * n_stimuli * LARGEST_LAYER
    return _held(n_samples, n_voxels) + max(reading, features, fit)


def fit_budget(n_samples: int, n_voxels: int, budget: int) -> int:
    """Bytes left for a fit within ``budget`` beside responses, models and libraries."""
    return max(budget - _held(n_samples, n_voxels), GB // 4)


def together(
    n_samples: int, n_voxels: int, n_volumes: int, n_volumes_of_all: int, budget: int
) -> int:
    """Bytes for the BOLD of all runs at once, as far as they fit into ``budget``."""
    free = fit_budget(n_samples, n_voxels, budget) - _reading(n_volumes, n_voxels)
    return min(4 * n_volumes_of_all * n_voxels, max(free, GB // 4))


def _reading(n_volumes: int, n_voxels: int) -> int:
    """A run in memory, while responses are estimated from it."""
    return 3 * 4 * n_volumes * n_voxels


def _held(n_samples: int, n_voxels: int) -> int:
    """Libraries, the responses, and the models of one layer."""
    return LIBRARIES + 2 * 4 * n_samples * n_voxels
