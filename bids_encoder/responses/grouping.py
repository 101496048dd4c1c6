"""What cross-validation leaves out together: how it is asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bids_encoder.encoding.folds import MAX_FOLDS, N_BLOCKS
from bids_encoder.errors import UsageError
from bids_encoder.responses.groups import gather

BY = ("session", "run", "block", "stimulus")  # else a column
JUMPS = 3  # mean changes of block per run and block beyond which aligned blocks are in shreds
SEPARATE = 0.25  # `separation` from which folds are said to leave out whole classes


@dataclass(frozen=True)
class FoldWish:
    """What the user asks of the folds.

    Attributes
    ----------
    by : str or None
        "session", "run", "block", "stimulus", or the name of a column.
    n_folds : int or None
    """

    by: str | None = None
    n_folds: int | None = None


NO_WISH = FoldWish()


@dataclass(frozen=True)
class Grouping:
    """The folds of a cross-validation.

    Parameters
    ----------
    groups : (n,) int
        Fold of each row.
    names : tuple of str
        What is left out in each fold: "ses-1", the name of a run, "block 3".
    by : str
        What they are made by, in a few words.
    remark : str or None
        What the reader should know of them.
    is_doubtful : bool
        Whether the remark is a warning: scores may be too high, or too low.
    """

    groups: np.ndarray
    names: tuple[str, ...]
    by: str
    remark: str | None = None
    is_doubtful: bool = False

    @property
    def sizes(self) -> list[int]:
        """Rows of each fold."""
        return np.bincount(self.groups, minlength=len(self.names)).tolist()

    def take(self, rows: np.ndarray) -> Grouping:
        """Some of the rows, (n,) bool; groups of which none is left go."""
        left, groups = np.unique(self.groups[rows], return_inverse=True)
        return replace(self, groups=groups, names=tuple(self.names[group] for group in left))

    def noting(self, remark: str, *, is_doubtful: bool = False) -> Grouping:
        """The same folds, and one thing more to know of them."""
        both = " ".join(filter(None, (self.remark, remark)))
        return replace(self, remark=both, is_doubtful=self.is_doubtful or is_doubtful)


def gathered(grouping: Grouping, wish: FoldWish, each: str) -> Grouping:
    """As many folds as are wished for, at most ten by default: neighbouring groups together.

    Parameters
    ----------
    grouping : Grouping
    wish : FoldWish
    each : str
        What a group is, for the message: "runs", "sessions".

    Raises
    ------
    UsageError
        There are fewer groups than folds are wished for.
    """
    n = len(grouping.names)
    if wish.n_folds is not None and wish.n_folds > n:
        raise UsageError(
            "There cannot be so many folds.",
            place="--n-folds",
            found=wish.n_folds,
            expected=f"at most {n}, as there are {n} groups of rows that can be left out: {each}"
            + (f" ({grouping.remark})" if grouping.remark else ""),
            remedy=f"ask for at most {n}"
            + ("" if wish.by == "stimulus" else ", or leave out stimuli (--folds stimulus)"),
        )
    groups, names = gather(grouping.groups, grouping.names, wish.n_folds or MAX_FOLDS)
    return replace(grouping, groups=groups, names=names)


def number_of_blocks(wish: FoldWish, n: int, what: str) -> int:
    """How many folds n rows are cut or dealt into: five, or as many as are wished for.

    Raises
    ------
    UsageError
        Folds would have fewer than two rows.
    """
    if wish.n_folds is not None and wish.n_folds > n // 2:
        raise UsageError(
            "There cannot be so many folds.",
            place="--n-folds",
            found=wish.n_folds,
            expected=f"at most {n // 2}: there are {n} {what}, and a fold needs two of them",
        )
    return wish.n_folds or max(1, min(N_BLOCKS, n // 2))


def check_sessions(sessions: Sequence[str | None]) -> None:
    """Raise UsageError where there are no sessions to leave out one of."""
    distinct = list(dict.fromkeys(sessions))
    if len(distinct) < 2 or None in distinct:
        raise UsageError(
            "There are no sessions of which one could be left out.",
            place="--folds",
            found=", ".join("no session" if one is None else f"ses-{one}" for one in distinct),
            expected="two sessions that train models, or more",
            remedy="leave out runs (--folds run) or stimuli (--folds stimulus)",
        )


def check_runs(runs: Sequence[str]) -> None:
    """Raise UsageError where there are no runs to leave out one of."""
    if len(runs) < 2:
        raise UsageError(
            "There are no runs of which one could be left out.",
            place="--folds",
            found=", ".join(runs),
            expected="two runs that train models, or more",
            remedy="leave out blocks (--folds block) or stimuli (--folds stimulus)",
        )
