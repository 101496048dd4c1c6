"""How much memory there is, and how much an analysis needs at each of its stages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.encoding.joint import joint_bytes, joint_grid_length
from bids_encoder.encoding.memory import make_plan
from bids_encoder.encoding.null import null_bytes
from bids_encoder.encoding.penalties import PENALTIES
from bids_encoder.errors import MemoryLimitError

GB = 10**9
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LIBRARIES = 1100 * 10**6  # Python with torch, nilearn and a network of AlexNet's size
_SHARE = 0.8  # of the free memory; the rest is for other programs and for estimates' errors
_PIECE = 300 * 10**6  # what readers and kernels hold of a file that they go through piece by piece
_SIMULATED = 600  # pictures of the retinotopy experiment
_SMALLEST_FIT = GB // 4
_CERTAIN = 0.88  # of what is allowed: blocks are cut to it, the rest is for what is freed late


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


@dataclass(frozen=True)
class Work:
    """The size of an analysis.

    Attributes
    ----------
    n_samples, n_held : int
        Rows of the response matrix, and how many of them are a test set.
    n_voxels : int
    n_stimuli : int
        Whose kernel is computed.
    n_layers : int
    n_features : int
        Of the largest layer, as far as its features are in memory for all stimuli at once.
    n_volumes, n_all_volumes : int
        Of the longest run, and of all runs.
    reading : int
        Bytes that a reader holds besides, such as the whole of a GIFTI file; of one run.
    n_unit : int
        Rows that are summed up until a session (or run) is complete.
    n_run : int
        Estimates of one run that are in memory together; 0 where they come one by one.
    n_halves : int
        Stimuli that are kept as two measurements as well.
    n_items : int
        Stimuli whose similarities are computed.
    widest : int
        Features of the largest layer.
    is_continuous, together, nested, primal, joint, unique, simulated : bool
        Continuous design; responses estimated from all runs together; `--nested`; primal weights
        are saved; `--joint`; `--joint-unique`; experiments are synthesized.
    n_draws, n_permutations : int
        `--joint-draws`, `--n-permutations`.
    n_penalties : int
        The length of the longest grid of penalties that fits may come to.
    """

    n_samples: int
    n_voxels: int
    n_stimuli: int
    n_layers: int = 8
    n_held: int = 0
    n_features: int = 0
    n_volumes: int = 0
    n_all_volumes: int = 0
    reading: int = 0
    n_unit: int = 0
    n_run: int = 0
    n_halves: int = 0
    n_items: int = 0
    widest: int = 0
    is_continuous: bool = False
    together: bool = False
    nested: bool = False
    primal: bool = False
    joint: bool = False
    unique: bool = False
    n_draws: int = 0
    n_permutations: int = 0
    n_penalties: int = len(PENALTIES)
    simulated: bool = False

    @property
    def n_training(self) -> int:
        """Rows that models learn from."""
        return self.n_samples - self.n_held


def needed(work: Work, budget: int) -> dict[str, int]:
    """Estimate the bytes that each stage of an analysis holds at once, libraries included.

    Parameters
    ----------
    work : Work
    budget : int
        Bytes that may be used: blocks are cut so that stages keep within it, as far as they can.
    """
    held = _held(work)
    spare = fit_budget(work, budget)
    n, voxels = work.n_training, work.n_voxels
    fit = make_plan(
        n,
        None,
        voxels,
        n_folds=5,
        n_penalties=work.n_penalties,
        nested=work.nested,
        mem_bytes=spare,
    )
    stages = {
        "responses": LIBRARIES + _responses(work) + together(work, budget),
        "features": held + _kernels(work),
        "encoding": held + _models(work) + _kept_kernels(work) + fit.bytes,
    }
    if work.n_permutations:
        null = null_bytes(
            n, work.n_permutations, spare, n_penalties=work.n_penalties, nested=work.nested
        )
        stages["p-values"] = held + _kept_kernels(work) + null
    if work.joint:
        stages["joint model"] = held + joint_bytes(
            n,
            voxels,
            work.n_layers,
            n_draws=work.n_draws,
            unique=work.unique,
            n_penalties=joint_grid_length(work.n_penalties),
            mem_bytes=spare,
        )
    if work.n_items:
        # Features in single and, standardised, in double precision; patterns of regions; and the
        # fit that chooses a region on other pictures than it is compared on.
        values = work.n_items * (20 * work.widest + 2 * 4 * voxels)
        choice = 0 if work.is_continuous else 2 * 4 * n * voxels + fit.bytes
        matrices = 4 * (work.n_layers + 4) * work.n_items**2
        stages["similarity"] = held + values + matrices + choice
    if work.simulated:
        m = max(_SIMULATED, work.n_stimuli)
        stages["synthesis"] = held + 3 * 4 * m * voxels + 4 * m * work.n_features + 2 * _PIECE
    return stages


def check(work: Work, budget: int, limit: float | None, n_processes: int = 1) -> str | None:
    """Refuse work that does not fit into what the user allows.

    Parameters
    ----------
    work : Work
    budget : int
        Bytes for one process.
    limit : float or None
        ``--mem``, GB; without it nothing is refused.
    n_processes : int
        That share the limit.

    Returns
    -------
    str or None
        A warning, where it does not fit into what is free.

    Raises
    ------
    MemoryLimitError
        It does not fit into ``--mem``.
    """
    stages = needed(work, budget)
    stage = max(stages, key=stages.__getitem__)
    most = stages[stage]
    if most <= budget:
        return None
    how = []
    if n_processes > 1:
        how.append("use a smaller --nprocs")
    if stage == "joint model":
        how.append("name fewer --layers, or leave out --joint")
    elif stage == "similarity":
        how.append("use a smaller --similarity-items, or --no-neural-code")
    elif work.primal and stage == "encoding":
        how.append("leave out --save-weights primal")
    else:
        how.append("give a mask with fewer voxels")
    least = most * n_processes / GB
    if limit is None:
        return (
            f"The stage {stage} needs about {most / GB:.1f} GB, more than the "
            f"{budget / GB:.1f} GB that are free; it may be killed. What helps: {', or '.join(how)}"
        )
    raise MemoryLimitError(
        "This analysis needs more memory than it may use.",
        place=f"--mem {limit:g}GB" + (f", shared by {n_processes} processes" * (n_processes > 1)),
        found=f"about {most / GB:.1f} GB in the stage {stage} ({work.n_samples} samples, "
        f"{work.n_voxels} voxels, {work.n_layers} layers)",
        expected=f"at most {budget / GB:.1f} GB for each process",
        remedy=f"--mem {_up(least)}GB or more, or {', or '.join(how)}",
    )


def _up(gigabytes: float) -> str:
    """A round amount that is not less."""
    return f"{-(-gigabytes * 10 // 1) / 10:g}"


def fit_budget(work: Work, budget: int) -> int:
    """Bytes left for a fit within ``budget`` beside responses, models and libraries."""
    free = int(_CERTAIN * budget) - _held(work) - _models(work) - _kept_kernels(work)
    return max(free, _SMALLEST_FIT)


def together(work: Work, budget: int) -> int:
    """Bytes for the BOLD of all runs at once, as far as they fit into ``budget``."""
    if not work.together:
        return 0
    free = budget - LIBRARIES - _responses(work)
    return min(4 * work.n_all_volumes * work.n_voxels, max(free, _SMALLEST_FIT))


def _held(work: Work) -> int:
    """Libraries and responses, as long as the analysis lasts."""
    rows = work.n_samples + (work.n_training if work.n_held else 0) + 2 * work.n_halves
    maps = 6 * work.n_layers + 20  # scores and what is made of them
    return LIBRARIES + 4 * work.n_voxels * (rows + maps)


def _responses(work: Work) -> int:
    """While responses are estimated: what is there of them, and one run."""
    rows = work.n_samples + work.n_unit + 3 * work.n_halves + work.n_run + 20
    # The run, which of its values are finite, and the values that are left or made of it.
    runs = (3 if work.is_continuous else 2.5) * 4 * work.n_volumes * work.n_voxels
    return int(4 * work.n_voxels * rows + runs + work.reading) + _PIECE


def _models(work: Work) -> int:
    """The models of one layer, and what is predicted and written of them."""
    n, voxels = work.n_training, work.n_voxels
    models = 2 * 4 * n * voxels + 2 * 4 * work.n_held * voxels
    if work.primal:
        models += 4 * work.widest * voxels + 4 * n * work.widest
    return models


def _kernels(work: Work) -> int:
    """While a kernel is computed, in double precision: features of all stimuli, and rows."""
    n, m = work.n_samples, work.n_stimuli
    return (
        4 * m * work.n_features
        + 2 * 8 * m * m
        + (2 * 8 * n * n if work.is_continuous else 0)
        + _PIECE
    )


def _kept_kernels(work: Work) -> int:
    """The kernel of a layer, and that of its training rows."""
    return 8 * work.n_samples**2 + (8 * work.n_training**2 if work.n_held else 0)


def in_words(stages: Mapping[str, int], budget: int, exact: bool) -> str:
    """What is needed, of what may be used, and at which stage."""
    stage = max(stages, key=stages.__getitem__)
    return (
        f"{'about' if exact else 'at most'} {stages[stage] / GB:.1f} GB ({stage}) "
        f"of the {budget / GB:.1f} GB that may be used"
    )
