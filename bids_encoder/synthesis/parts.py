"""Which samples may train the models that predict the pictures of a contrast.

A picture is never predicted by a model that has learned from it, nor is a synthesized
contrast ever compared with a measured one whose trials its models have learned from. Where at
least a third of the samples show none of the contrast's pictures, the models are fitted on
these alone. Else its pictures are parted in two halves, and each half is predicted by models
that are fitted on all samples but those that show the half; effects are computed, and compared
with what was measured, within the half. Taking more parts would not do: with every picture
predicted from the others of its condition, and compared with the trials of them all, noise
alone agrees with itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bids_encoder.errors import DataError
from bids_encoder.features.samples import Samples

logger = logging.getLogger(__name__)

LEAST_SHARE = 3  # a third of the samples
LEAST_ROWS = 10


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures that are predicted by the same models.

    Attributes
    ----------
    pictures : dict of str to tuple of str
        Ids by condition.
    train : (n,) bool
        Samples that the models learn from; none of them shows one of the pictures.
    """

    pictures: Mapping[str, tuple[str, ...]]
    train: np.ndarray

    @property
    def ids(self) -> list[str]:
        """All its pictures."""
        return [id_ for ids in self.pictures.values() for id_ in ids]

    @property
    def conditions(self) -> list[str]:
        """The condition of each."""
        return [name for name, ids in self.pictures.items() for _ in ids]


def showing(samples: Samples, pictures: Sequence[str]) -> np.ndarray:
    """Samples whose features hold something of one of these pictures, (n,) bool."""
    wanted = np.isin(np.array(samples.stimuli, dtype=object), list(pictures))
    if samples.weights is None:
        return wanted
    return sum(abs(w) @ wanted.astype(float) for w in samples.weights) > 0


def make_parts(
    pictures: Mapping[str, Sequence[str]], samples: Samples, groups: np.ndarray, name: str
) -> tuple[Part, ...]:
    """Part the pictures of a contrast as far as they must be.

    Parameters
    ----------
    pictures : mapping of str to sequence of str
        Ids by condition; those that no sample shows are from elsewhere.
    samples : Samples
        What the n samples show that models can learn from.
    groups : (n,) int array
        Cross-validation group of each sample; pictures of one group stay together.
    name : str
        Of the contrast, for messages.

    Returns
    -------
    tuple of Part
        One, or two halves.

    Raises
    ------
    DataError
        Too few samples would be left to learn from, or a condition has too few pictures to be
        parted.
    """
    ids = [id_ for some in pictures.values() for id_ in some]
    train = ~showing(samples, ids)
    if _enough(train):
        return (Part({key: tuple(some) for key, some in pictures.items()}, train),)
    short = [key for key, some in pictures.items() if len(some) < 4]
    if short:
        raise DataError(
            "A contrast leaves too few pictures to learn from, and cannot be parted.",
            place=f"contrast {name}, condition {short[0]}",
            found=f"{np.count_nonzero(train)} of {len(train)} samples show none of its pictures; "
            f"{len(pictures[short[0]])} pictures in the condition",
            expected=f"at least a third of the samples, and at least {LEAST_ROWS}; or four "
            "pictures in each condition, so that one half is predicted from the other",
            remedy="take more pictures into the condition, or fewer into the others",
        )
    halves = _halves(pictures, samples, groups, name)
    parts = tuple(Part(half, ~showing(samples, sum(half.values(), ()))) for half in halves)
    for part in parts:
        if not _enough(part.train):
            raise DataError(
                "The pictures of a contrast cannot be held out: hardly any sample is without them.",
                place=f"contrast {name}",
                found=f"{np.count_nonzero(part.train)} of {len(part.train)} samples would be left, "
                "with half of its pictures held out",
                expected=f"at least a third, and at least {LEAST_ROWS}",
                remedy="compare pictures from elsewhere (Folder), or fewer of the dataset's; in a "
                "continuous design each picture takes all volumes that show it at some delay",
            )
    return parts


def _enough(train: np.ndarray) -> bool:
    kept = int(np.count_nonzero(train))
    return LEAST_SHARE * kept >= len(train) and kept >= LEAST_ROWS


def _halves(pictures, samples, groups, name) -> list[dict[str, tuple[str, ...]]]:
    """Halve every condition; along the borders of groups, where that leaves none too small."""
    home = _homes(samples, groups)
    numbers = {key: [home.get(id_) for id_ in some] for key, some in pictures.items()}
    side = _sides(numbers)
    halves: list[dict[str, list[str]]] = [{key: [] for key in pictures} for _ in range(2)]
    for key, some in pictures.items():
        elsewhere = 0
        for id_ in some:
            if home.get(id_) is None:
                which, elsewhere = elsewhere % 2, elsewhere + 1
            else:
                which = side[home[id_]]
            halves[which][key].append(id_)
    if min(len(ids) for half in halves for ids in half.values()) < 2:
        logger.warning(
            f"contrast {name}: its conditions cannot be halved along sessions, runs or blocks; "
            "pictures of one block are on both sides, and share its noise"
        )
        halves = [{key: list(some[k::2]) for key, some in pictures.items()} for k in range(2)]
    return [{key: tuple(ids) for key, ids in half.items()} for half in halves]


def _homes(samples: Samples, groups: np.ndarray) -> dict[str, int]:
    """The group that shows each stimulus first."""
    if samples.weights is None:
        return dict(zip(reversed(samples.stimuli), groups[::-1].tolist(), strict=True))
    seen = sparse.csc_array(sum(map(abs, samples.weights)))
    rows = {
        name: seen.indices[seen.indptr[k] : seen.indptr[k + 1]]
        for k, name in enumerate(samples.stimuli)
    }
    return {name: int(groups[some.min()]) for name, some in rows.items() if len(some)}


def _sides(numbers: Mapping[str, Sequence[int | None]]) -> dict[int, int]:
    """Deal groups out to two sides, largest first, so that each condition is halved."""
    groups = sorted({g for some in numbers.values() for g in some if g is not None})
    counts = {g: np.array([some.count(g) for some in numbers.values()]) for g in groups}
    excess = np.zeros(len(numbers))  # of side 0 over side 1
    side = {}
    for group in sorted(groups, key=lambda g: (-counts[g].sum(), g)):
        here = np.square(excess + counts[group]).sum()
        there = np.square(excess - counts[group]).sum()
        side[group] = int(there < here)
        excess += counts[group] * (1 - 2 * side[group])
    return side
