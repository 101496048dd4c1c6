"""Folds of event designs: which stimuli are left out together, and why.

From the tables alone, so that it can be said before anything is computed.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from bids_encoder.errors import UsageError
from bids_encoder.responses.classes import Classes, Columns, classes_of, column_left_out
from bids_encoder.responses.grouping import (
    BY,
    NO_WISH,
    SEPARATE,
    FoldWish,
    Grouping,
    check_runs,
    check_sessions,
    gathered,
    number_of_blocks,
)
from bids_encoder.responses.groups import (
    block_names,
    blocks,
    blocks_within,
    deal,
    merge_tiny,
    units_of,
)
from bids_encoder.responses.shown_runs import (
    ShownRun,
    has_common_order,
    in_clumps,
    names_of,
    order_of,
    share_linked,
    spacing_of,
)

LINKED = 0.5  # share of stimuli in several runs from which runs are no folds
# Longer than a haemodynamic response: what comes so long after another shares little noise with it.
LEAST_SECONDS = 20.0
_SOME_LINKED = 0.1  # likewise, where so few groups are left that much is never learned from


def event_groups(
    stimuli: Sequence[str],
    runs: Sequence[ShownRun],
    columns: Columns | None = None,
    wish: FoldWish = NO_WISH,
) -> Grouping:
    """Deal stimuli to folds.

    By default a stimulus belongs to the session (where there are at least three) or run that
    showed it first. Groups that this leaves with less than half the mean number of stimuli are
    merged. Folds are made by stimulus in a single run, and where repeats link the runs: where
    most stimuli are in several of them, or where so few groups would be left that much of the
    data is never learned from. In a single run, or where neighbours in time are the same ones, or
    of the same class, in all runs, five contiguous blocks are left out: of each class, where
    blocks of the whole would leave out whole classes and such blocks still last longer than a
    haemodynamic response. Else there is no order to protect, and stimuli are dealt out at
    random, with equal shares of what the columns tell apart.

    Parameters
    ----------
    stimuli : sequence of n str
        Of the rows that models learn from, different ones.
    runs : sequence of ShownRun
        Those that show other stimuli only (a test set) do not count.
    columns : Columns, optional
        What the tables say of each stimulus.
    wish : FoldWish, optional

    Returns
    -------
    Grouping
        Of the n rows.

    Raises
    ------
    UsageError
        A wish cannot be kept.
    """
    rows = frozenset(stimuli)
    shown = [run for run in (one.take(rows) for one in runs) if run.stimuli]
    classes = classes_of(stimuli, columns or {})
    if wish.by in ("session", "run"):
        grouping = _units(stimuli, shown, wish)
    elif wish.by is not None:
        if wish.by == "stimulus":
            grouping = _dealt(stimuli, classes, wish)
        elif wish.by == "block":
            grouping = _blocks(stimuli, shown, wish)
        else:
            grouping = _by_column(stimuli, columns or {}, wish.by, wish)
        grouping = _noting_shared_noise(grouping, stimuli, shown)
    else:
        grouping = _by_default(stimuli, shown, classes, wish)
    column = column_left_out(grouping.groups, classes, SEPARATE)
    if column is None or column == wish.by:
        return grouping
    return grouping.noting(
        f"Folds leave out most of what is of one kind ({column}) at once: scores say how well "
        "models predict kinds of stimuli that they have never seen, and are lower than for new "
        "stimuli of known kinds (--folds stimulus).",
        is_doubtful=True,
    )


def _noting_shared_noise(grouping: Grouping, stimuli, shown: Sequence[ShownRun]) -> Grouping:
    """Warn where runs are on both sides of splits that the user has asked for."""
    fold = dict(zip(stimuli, grouping.groups.tolist(), strict=True))
    divided = sum(len({fold[stimulus] for stimulus in run.stimuli}) > 1 for run in shown)
    known = len(shown) > 1 or shown[0].onsets is not None
    if not (divided and known):
        return grouping
    return grouping.noting(
        f"Stimuli of the same run ({divided} of {len(shown)}) are on both sides of a split and "
        "share its noise; scores are somewhat too high.",
        is_doubtful=True,
    )


def _by_default(stimuli, shown: Sequence[ShownRun], classes: Classes, wish: FoldWish) -> Grouping:
    if len(shown) > 1:
        units = _first_shown(stimuli, shown, None)
        linked = share_linked(shown)
        n_units = len(units_of(*names_of(shown))[1])
        few = len(units.names) < min(3, n_units)
        if linked <= LINKED and not (few and linked >= _SOME_LINKED) and len(units.names) > 1:
            return gathered(units, wish, units.by)
    return _by_stimulus(stimuli, shown, classes, wish)


def _by_stimulus(stimuli, shown: Sequence[ShownRun], classes: Classes, wish: FoldWish) -> Grouping:
    """Blocks where there is an order in time to protect, else dealt at random."""
    single = len(shown) == 1
    why = (
        "There is one run only"
        if single
        else "The runs show largely the same stimuli, so that leaving one out would leave little "
        "that is new to predict, or little to learn from: folds are made by stimulus"
    )
    if any(run.onsets is None for run in shown):
        return _dealt(stimuli, classes, wish).noting(
            ("" if single else f"{why}. ")
            + "Nothing says in which order the maps were measured (no onsets), so that there are "
            "no neighbours in time to leave out together."
        )
    order = order_of(shown)
    n_folds = number_of_blocks(wish, len(order), "stimuli")
    row = {stimulus: k for k, stimulus in enumerate(stimuli)}
    of_run = [classes.take([row[stimulus] for stimulus in run.stimuli]) for run in shown]
    if not (single or has_common_order(shown, order, n_folds) or in_clumps(of_run)):
        return _dealt(stimuli, classes, wish).noting(f"{why}.")
    places = [row[stimulus] for stimulus in order]
    cut, of = blocks(len(order), n_folds), ""
    by = "blocks of stimuli"
    in_order = classes.take(places)
    column = column_left_out(cut, in_order, SEPARATE)
    if column is not None:
        within = blocks_within(in_order.of(column), n_folds)
        rows_together = len(within) / (1 + np.count_nonzero(np.diff(within)))
        if rows_together * spacing_of(shown) >= LEAST_SECONDS:
            cut, by = within, f"blocks of the stimuli of each kind ({column})"
            of = (
                f" of each kind ({column}), as blocks of the whole (--folds block), which share "
                "less of the run's noise, would leave out whole kinds"
            )
    groups = np.empty(len(order), dtype=int)
    groups[places] = cut
    grouping = Grouping(groups, block_names(n_folds), by)
    if not single:
        return grouping.noting(f"{why}, in {n_folds} blocks{of}.")
    return grouping.noting(
        f"{why}: cross-validation leaves out contiguous blocks of its stimuli ({n_folds}){of}. "
        "They share the noise of the run; scores are somewhat too high.",
        is_doubtful=True,
    )


def _first_shown(stimuli, shown: Sequence[ShownRun], by: str | None) -> Grouping:
    """Stimuli by the session or run that showed them first; tiny groups merged."""
    units, names = units_of(*names_of(shown), by)
    first: dict[str, int] = {}
    for run, unit in zip(shown, units.tolist(), strict=True):
        for stimulus in run.stimuli:
            first.setdefault(stimulus, unit)
    groups, merged = merge_tiny(np.array([first[one] for one in stimuli], dtype=int), names)
    return Grouping(
        groups,
        merged,
        "runs" if list(names) == [run.name for run in shown] else "sessions",
        "Small groups for cross-validation were merged." if len(merged) < len(names) else None,
    )


def _units(stimuli, shown: Sequence[ShownRun], wish: FoldWish) -> Grouping:
    """Sessions or runs, as is wished for."""
    if wish.by == "session":
        check_sessions([run.session for run in shown])
    else:
        check_runs([run.name for run in shown])
    grouping = _first_shown(stimuli, shown, wish.by)
    if len(grouping.names) < 2:
        raise UsageError(
            f"Leaving out {wish.by}s would leave nothing new to predict.",
            place="--folds",
            found=f"{wish.by}s that show the same stimuli, whose repeats are averaged",
            expected=f"stimuli of their own in at least two {wish.by}s",
            remedy="leave out stimuli (--folds stimulus)",
        )
    return gathered(grouping, wish, f"{wish.by}s")


def _blocks(stimuli, shown: Sequence[ShownRun], wish: FoldWish) -> Grouping:
    order = order_of(shown)
    n_folds = number_of_blocks(wish, len(order), "stimuli")
    block = dict(zip(order, blocks(len(order), n_folds).tolist(), strict=True))
    return Grouping(
        np.array([block[one] for one in stimuli], dtype=int),
        block_names(n_folds),
        "blocks of stimuli",
    )


def _dealt(stimuli, classes: Classes, wish: FoldWish) -> Grouping:
    n_folds = number_of_blocks(wish, len(stimuli), "stimuli")
    return Grouping(
        deal(stimuli, classes.values, n_folds),
        tuple(f"part {k + 1}" for k in range(n_folds)),
        f"stimuli, dealt out at random{_balanced(classes)}",
    )


def _balanced(classes: Classes) -> str:
    return f", with equal shares of {classes.in_words}" if classes.columns else ""


def _by_column(stimuli, columns: Columns, by: str, wish: FoldWish) -> Grouping:
    if by not in columns:
        near = difflib.get_close_matches(by, [*BY, *columns], n=3)
        raise UsageError(
            "No table has the column by which folds are to be made.",
            place="--folds",
            found=by,
            expected=f"{', '.join(BY)}, or one of the columns {', '.join(columns) or '(none)'}",
            remedy=f"did you mean {' or '.join(near)}?" if near else None,
        )
    said = {one: columns[by].get(one, ()) for one in stimuli}
    unclear = [one for one, values in said.items() if len(values) != 1]
    if unclear:
        first = unclear[0]
        raise UsageError(
            "A stimulus has no fold, or would be on both sides of a split.",
            place=f"--folds {by}",
            found=f"{len(unclear)} of {len(stimuli)} stimuli with no value or several, such as "
            f"{first}: {', '.join(said[first]) or 'none'}",
            expected=f"one value in column {by} for each stimulus, wherever it is shown",
            remedy="correct the column, or choose another",
        )
    values = list(dict.fromkeys(value for (value,) in said.values()))
    number = {value: k for k, value in enumerate(values)}
    groups = np.array([number[value] for (value,) in said.values()], dtype=int)
    names = tuple(f"{by}={value}" for value in values)
    whole = gathered(Grouping(groups, names, f"values of {by}"), wish, f"values of {by}")
    if min(whole.sizes) < 2 or len(whole.names) < 2:
        raise UsageError(
            "A column makes no folds.",
            place=f"--folds {by}",
            found=", ".join(
                f"{name} ({size})" for name, size in zip(whole.names, whole.sizes, strict=True)
            ),
            expected="two values or more, of at least two stimuli each",
            remedy="choose another column, or fewer folds (--n-folds)",
        )
    return whole
