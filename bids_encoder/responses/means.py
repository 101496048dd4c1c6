"""The mean response to each stimulus, gathered while the estimates come in.

The estimates of a voxel are z-scored within a unit (a session or run) and then averaged over the
repeats of a stimulus. With x the estimates of a unit, μ and σ their mean and standard deviation,
the z-scores of the n_s repeats of stimulus s have the sum

    Σ z = (Σ (x - x₀) - n_s (μ - x₀)) / σ

for any x₀, here the first estimate. So only sums have to be kept until the unit is complete: one
row for each stimulus instead of one for each trial. The same goes for the sum of the squares of
the z-scores, from which the noise ceiling follows, and for the sums over every other repeat of a
stimulus, which make two independent measurements.

An estimate is added after the other, in the order of the runs, whatever the blocks of voxels in
which they come: the sums are the same bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bids_encoder.errors import DataError, UsageError
from bids_encoder.responses.standardize import scale_of

_BLOCK = 20_000  # voxels at a time where rows change places


@dataclass(frozen=True)
class Halves:
    """Responses to the same stimuli, from two halves of the runs that show them.

    Attributes
    ----------
    stimuli : tuple of m str
    first, second : (m, V) float32
        Standardised as the response matrix is, and averaged within the half.
    """

    stimuli: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Means:
    """Mean responses to n stimuli.

    Attributes
    ----------
    stimuli : tuple of n str
        In the order in which the runs showed them first.
    values : (n, V) float32
        NaN where an estimate of a unit that shows the stimulus is not finite.
    repeats : (n,) int
        How many estimates each row is the mean of.
    squares : (V,) float64
        Sum over estimates (all, or those of certain stimuli) of their squares.
    halves : Halves or None
        None where fewer than four of the stimuli that are wanted so are repeated.
    """

    stimuli: tuple[str, ...]
    values: np.ndarray
    repeats: np.ndarray
    squares: np.ndarray
    halves: Halves | None


class _Rows:
    """Rows of one matrix by name, made when they are first asked for.

    In one piece, so that the system gets all of it back when it is let go; pages of rows that
    nobody has asked for take no memory.
    """

    def __init__(self, most: int, shape: tuple[int, ...]):
        self._values = np.zeros((most, *shape), dtype=np.float32)
        self._row_of: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._row_of

    def __iter__(self):
        return iter(self._row_of)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[self._row_of.setdefault(name, len(self._row_of))]


@dataclass
class _Sums:
    """Of one unit, as far as its estimates have come, for W voxels.

    Attributes
    ----------
    start : int
        The first of these voxels among all.
    arrived : int
        Entries (rows × voxels) that have come.
    shift : (W,) float32
        x₀; 0 where nothing is z-scored.
    total, squares : (W,) float64
        Of x - x₀.
    counted : two (W,) float64, or None
        Likewise, of the estimates whose squares are wanted; None where these are all.
    sums, firsts : (W,) float32 of each stimulus
        Of x - x₀: of all repeats, and of every other one.
    """

    start: int
    shift: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    counted: tuple[np.ndarray, np.ndarray] | None
    sums: _Rows
    firsts: _Rows
    arrived: int = 0


class Averaging:
    """Takes the estimates of runs as they come, and averages those of each stimulus.

    Parameters
    ----------
    names, sessions : sequences of str
        Of the runs.
    n_voxels : int
        V.
    most_stimuli : int
        At most so many different stimuli will come.
    standardize : {"session", "run", "none"}
        Unit within which estimates are z-scored. A dataset without sessions has one.
    squares_of : collection of str, optional
        Stimuli over whose estimates squares are summed; default all.
    halves_of : collection of str
        Stimuli that are also wanted as two measurements; there is no use in naming some that
        are not repeated.
    in_pieces : bool
        Whether all estimates of a block of voxels come before those of the next one: then only
        the sums of that block are in memory.

    Raises
    ------
    UsageError
        `standardize` is none of the three.
    """

    def __init__(
        self,
        names: Sequence[str],
        sessions: Sequence[str | None],
        n_voxels: int,
        most_stimuli: int,
        *,
        standardize: str = "session",
        squares_of: Collection[str] | None = None,
        halves_of: Collection[str] = (),
        in_pieces: bool = False,
    ):
        self.names = tuple(names)
        self.units = units_of_standardization(names, sessions, standardize)
        self._zscored = standardize != "none"
        self._n_voxels = n_voxels
        self._squares_of = None if squares_of is None else frozenset(squares_of)
        self._halves_of = frozenset(halves_of)
        self._in_pieces = in_pieces
        self._shown: dict[int, tuple[str, ...]] = {}
        self._is_first: dict[int, list[bool]] = {}  # whether a row goes into the first half
        self._row_of: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._values = np.zeros((most_stimuli, n_voxels), dtype=np.float32)
        self._squares = np.zeros(n_voxels)
        self._most = most_stimuli
        self._halves = _Rows(len(self._halves_of), (2, n_voxels))
        self._open: dict[tuple[str, int], _Sums] = {}
        self._not_begun = Counter(self.units)
        self._rows: Counter[str] = Counter()

    def begin(self, run: int, stimuli: Sequence[str]) -> None:
        """Say which stimuli the rows of a run are of, before any of them come.

        Runs are averaged in the order in which they begin.
        """
        self._shown[run] = tuple(stimuli)
        self._not_begun[self.units[run]] -= 1
        self._rows[self.units[run]] += len(stimuli)
        self._is_first[run] = []
        for stimulus in stimuli:
            self._row_of.setdefault(stimulus, len(self._row_of))
            times = self._repeats.get(stimulus, 0)
            self._is_first[run].append(times % 2 == 0)
            self._repeats[stimulus] = times + 1

    def add(
        self, run: int, estimates: np.ndarray, rows: Sequence[int] | None = None, start: int = 0
    ) -> None:
        """Take some estimates of a run.

        Parameters
        ----------
        run : int
        estimates : (m, W) float32
        rows : sequence of m int, optional
            Which rows of the run these are; default all.
        start : int
            The first of the W voxels.

        Raises
        ------
        DataError
            The unit is complete and has a single estimate, which cannot be z-scored.
        """
        shown, unit, width = self._shown[run], self.units[run], estimates.shape[1]
        sums = self._sums(unit, start, width)
        here = slice(start - sums.start, start - sums.start + width)
        for row, estimate in zip(
            range(len(shown)) if rows is None else rows, estimates, strict=True
        ):
            self._add_row(sums, here, shown[row], estimate, self._is_first[run][row])
        sums.arrived += estimates.size
        everything = self._rows[unit] * len(sums.shift)
        if not self._not_begun[unit] and sums.arrived == everything:
            self._close(unit, sums)

    def _sums(self, unit: str, start: int, width: int) -> _Sums:
        first, size = (start, width) if self._in_pieces else (0, self._n_voxels)
        if (unit, first) not in self._open:
            counted = None if self._squares_of is None else (np.zeros(size), np.zeros(size))
            self._open[unit, first] = _Sums(
                first,
                np.full(size, np.nan if self._zscored else 0, dtype=np.float32),
                np.zeros(size),
                np.zeros(size),
                counted,
                _Rows(self._most, (size,)),
                _Rows(len(self._halves_of), (size,)),
            )
        return self._open[unit, first]

    def _add_row(
        self, sums: _Sums, here: slice, stimulus: str, estimate: np.ndarray, first: bool
    ) -> None:
        shift = sums.shift[here]
        # Nothing has come for these voxels yet.
        if self._zscored and np.isnan(shift).all() and not sums.total[here].any():
            shift[:] = estimate
        with np.errstate(invalid="ignore", over="ignore"):
            x = estimate - shift
            squared = np.square(x, dtype=np.float64)
            sums.total[here] += x
            sums.squares[here] += squared
            if self._squares_of is not None and sums.counted and stimulus in self._squares_of:
                counted_total, counted_squares = sums.counted
                counted_total[here] += x
                counted_squares[here] += squared
            goals = [sums.sums]
            if first and stimulus in self._halves_of:
                goals.append(sums.firsts)
            for goal in goals:
                goal[stimulus][here] += x

    def _close(self, unit: str, sums: _Sums) -> None:
        """Add the z-scores of a unit whose estimates have all come."""
        runs = [run for run, theirs in enumerate(self.units) if theirs == unit]
        rows = [
            (name, first)
            for run in runs
            for name, first in zip(self._shown[run], self._is_first[run], strict=True)
        ]
        mean, scale = np.zeros(len(sums.shift)), np.ones(len(sums.shift))
        if self._zscored:
            if len(rows) < 2:
                raise DataError(
                    "A single estimate cannot be z-scored.",
                    place=unit,
                    found=f"1 stimulus in {unit}",
                    expected="at least two",
                    remedy="--standardize none, or leave this run out",
                )
            with np.errstate(all="ignore"):
                mean = sums.total / len(rows)
                power = sums.squares / len(rows) - mean**2
                scale = scale_of(power, mean + sums.shift)
        times = dict.fromkeys(sums.sums, 0)
        first_times = dict.fromkeys(sums.firsts, 0)
        for name, first in rows:
            times[name] += 1
            if first and name in first_times:
                first_times[name] += 1
        there = slice(sums.start, sums.start + len(sums.shift))
        mean32, scale32 = mean.astype(np.float32), scale.astype(np.float32)
        with np.errstate(invalid="ignore"):
            if self._squares_of is None or sums.counted is None:
                number, total, squares = len(rows), sums.total, sums.squares
            else:
                number = sum(name in self._squares_of for name, _ in rows)
                total, squares = sums.counted
            self._squares[there] += (squares - 2 * mean * total + number * mean**2) / scale**2
            for name, number in times.items():
                one = sums.sums[name]
                if name in self._halves_of:
                    half = sums.firsts[name]
                    count = first_times.get(name, 0)
                    both = self._halves[name]
                    both[0, there] += (half - count * mean32) / scale32
                    both[1, there] += (one - half - (number - count) * mean32) / scale32
                self._values[self._row_of[name], there] += (one - number * mean32) / scale32
        del self._open[unit, sums.start]

    def finish(self, factor: np.ndarray | None = None) -> Means:
        """The means, when all estimates have come.

        Parameters
        ----------
        factor : (V,) array, optional
            By which estimates are to be multiplied: z-scores stay as they are, but NaN where it
            is NaN.
        """
        if self._open or len(self._shown) < len(self.names):
            raise ValueError("not all estimates have come")
        if factor is None:
            factor = np.ones(1)
        elif self._zscored:
            factor = np.where(np.isfinite(factor), 1, np.nan)
        factor32 = factor.astype(np.float32)
        names = tuple(dict.fromkeys(s for run in sorted(self._shown) for s in self._shown[run]))
        repeats = np.array([self._repeats[name] for name in names])
        values = self._values[: len(names)]
        _reorder(values, [self._row_of[name] for name in names])
        values /= repeats[:, None].astype(np.float32)
        if np.any(factor32 != 1):
            values *= factor32
        return Means(
            names, values, repeats, self._squares * factor**2, self._split(names, factor32)
        )

    def _split(self, names: Sequence[str], factor: np.ndarray) -> Halves | None:
        repeated = [name for name in names if name in self._halves and self._repeats[name] > 1]
        if len(repeated) < 4:
            return None
        halves = np.empty((2, len(repeated), self._n_voxels), dtype=np.float32)
        for row, name in enumerate(repeated):
            times = self._repeats[name]
            halves[0, row] = self._halves[name][0] / np.float32((times + 1) // 2) * factor
            halves[1, row] = self._halves[name][1] / np.float32(times // 2) * factor
        return Halves(tuple(repeated), *halves)


def units_of_standardization(
    names: Sequence[str], sessions: Sequence[str | None], standardize: str
) -> tuple[str, ...]:
    """The unit within which the estimates of each run are z-scored.

    Raises
    ------
    UsageError
        `standardize` is not one of "session", "run" and "none".
    """
    if standardize not in {"session", "run", "none"}:
        raise UsageError(
            "There is no such standardization.",
            place="--standardize",
            found=standardize,
            expected="session, run or none",
        )
    if standardize == "session":
        return tuple("the session" if one is None else f"ses-{one}" for one in sessions)
    return tuple(names)


def unit_by_unit(units: Sequence[str]) -> list[int]:
    """Runs in the order in which their units come first, so that few units are open at once."""
    first = {unit: place for place, unit in reversed(list(enumerate(units)))}
    return sorted(range(len(units)), key=lambda run: (first[units[run]], run))


def repeated_among(stimuli: Collection[str], shown: Iterable[str]) -> frozenset[str]:
    """Those of some stimuli that come more than once."""
    times = Counter(shown)
    return frozenset(name for name in stimuli if times[name] > 1)


def _reorder(values: np.ndarray, order: Sequence[int]) -> None:
    """Put rows into another order, in place."""
    if list(order) == list(range(len(values))):
        return
    for start in range(0, values.shape[1], _BLOCK):
        values[:, start : start + _BLOCK] = values[order, start : start + _BLOCK]
