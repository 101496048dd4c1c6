"""Maps of the group in a common space: means, tests, agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.bids.derivatives import Analysis, write_dseg, write_statmap
from bids_encoder.bids.written import Written
from bids_encoder.errors import DataError
from bids_encoder.fingerprints.agreement import (
    MAX_EXACT,
    MIN_PARTICIPANTS,
    exact_sign_flips,
    most_frequent,
    one_sample_t,
    sign_agreement,
)
from bids_encoder.fingerprints.profile import trend
from bids_encoder.grids.frame import frame_of
from bids_encoder.grids.grid import Grid

N_PERMUTATIONS = 2000
_BEST_LAYER = {
    "mean": "Mean over participants of the place of their best layer, from -1 (first layer) to 1 "
    "(last layer) in equal steps ({network}), where all participants have one.",
    "t": "Student's t of the place of the participants' best layer, from -1 (first layer) to 1 "
    "(last layer), against 0, the middle layer ({network}).",
    "p": "p-value of the place of the participants' best layer, from -1 (first layer) to 1 (last "
    "layer), against 0, the middle layer ({network}): two-sided, from flipping signs of "
    "participants, corrected for all voxels by the maximum statistic.",
}


def source_maps(layers: Sequence[str]) -> list[tuple[str, str | None]]:
    """Kind and layer of each map of a participant that the group level reads."""
    return [*(("r", layer) for layer in layers), ("slope", None), ("bestlayer", None)]


def how_tested(n: int) -> str:
    """Which test so many participants allow, in words."""
    if n < MIN_PARTICIPANTS:
        return (
            f"No p-values: with {n} participants flipping signs cannot reach p = 0.05; it takes "
            f"{MIN_PARTICIPANTS}."
        )
    if n <= MAX_EXACT:
        return f"p-values from all {2**n} ways of flipping the signs of {n} participants."
    return f"p-values from {N_PERMUTATIONS} random ways of flipping the signs of {n} participants."


def write_maps(analysis: Analysis, members: Sequence[Written]) -> None:
    """Write the maps of all measures.

    Parameters
    ----------
    analysis : Analysis
        Of the group.
    members : sequence of Written
        Participants' analyses in one space with the same layers.

    Raises
    ------
    DataError
        A map cannot be read, or maps lie on different grids.
    """
    layers = members[0].layers
    for layer in layers:
        values, grid = _values(members, "r", layer)
        _write_tested(analysis, values, grid, measure="r", layer=layer)
    values, grid = _values(members, "slope")
    _write_tested(analysis, values, grid, measure="slope")
    write_statmap(
        analysis, "group_consistency", sign_agreement(values), grid,
        extra=_extra(values), measure="slope",
    )  # fmt: skip
    _write_best_layers(analysis, members, layers)


def _write_best_layers(analysis: Analysis, members: Sequence[Written], layers) -> None:
    labels, grid = _values(members, "bestlayer")
    labels = np.nan_to_num(labels).astype(np.int64)
    most, share = most_frequent(labels, len(layers))
    extra = _extra(labels)
    write_dseg(analysis, "group_bestlayer", most, grid, layers, extra=extra)
    write_statmap(analysis, "group_consistency", share, grid, extra=extra, measure="bestlayer")
    everybody = (labels > 0).all(axis=0)
    places = np.concatenate([[np.nan], trend(len(layers))])[labels]
    _write_tested(
        analysis, places[:, everybody], grid.restricted(everybody), measure="bestlayer",
        described=_BEST_LAYER,
    )  # fmt: skip


def _write_tested(
    analysis: Analysis, values: np.ndarray, grid: Grid, described: dict | None = None, **names
) -> None:
    """Mean; with two participants or more t; with enough of them p."""
    n = len(values)

    def extra(which: str, **more: object) -> dict[str, object]:
        text = (described or {}).get(which)
        text = {"Description": text.format(**analysis.names)} if text else {}
        return {**text, **_extra(values), **more}

    write_statmap(analysis, "group_mean", values.mean(axis=0), grid, extra=extra("mean"), **names)
    if n < 2:
        return
    t = one_sample_t(values)
    write_statmap(analysis, "group_t", t, grid, dof=n - 1, extra=extra("t"), **names)
    if n >= MIN_PARTICIPANTS:
        p, flips = sign_flip_test(values)
        more = extra("p", NumberOfFlips=flips)
        write_statmap(analysis, "group_p", p, grid, extra=more, **names)


def sign_flip_test(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Two-sided p-values of the mean against 0, corrected by the maximum statistic.

    Parameters
    ----------
    values : (n, V) array
        One row a participant.

    Returns
    -------
    p : (V,) array
        NaN where participants do not differ.
    flips : int
        How many flips it rests on: all of them up to 12 participants; above, random ones
        by :func:`nilearn.mass_univariate.permuted_ols`.
    """
    n, n_voxels = values.shape
    if n <= MAX_EXACT:
        return exact_sign_flips(values), 2**n
    from nilearn.mass_univariate import permuted_ols

    p = np.full(n_voxels, np.nan)
    tested = np.isfinite(one_sample_t(values))
    if tested.any():
        found = permuted_ols(
            np.ones((n, 1)),
            values[:, tested],
            model_intercept=False,
            n_perm=N_PERMUTATIONS,
            two_sided_test=True,
            random_state=0,
            n_jobs=1,
            verbose=0,
            output_type="dict",
        )
        p[tested] = 10 ** -found["logp_max_t"][0]
    return p, N_PERMUTATIONS


def _extra(values: np.ndarray) -> dict[str, object]:
    return {"NumberOfParticipants": len(values)}


def _values(members: Sequence[Written], kind: str, layer: str | None = None):
    """Values (n, V) where all participants have one, and where that is.

    Of best layers, whose 0 may also lie inside, all voxels in which all were analysed.
    """
    values, frame = _stacked(members, kind, layer)
    if kind == "bestlayer":
        everywhere = (_stacked(members, "mask", None)[0] != 0).all(axis=0)
    else:
        everywhere = np.isfinite(values).all(axis=0)
    return values[:, everywhere], frame.restricted(everywhere)


def _stacked(members: Sequence[Written], kind: str, layer: str | None) -> tuple[np.ndarray, Grid]:
    """Participants' maps in all places of the frame that they share."""
    images = [one.images(kind, layer) for one in members]
    frames = [frame_of(image) for image in images]
    for one, frame in zip(members, frames, strict=True):
        if not frame.same_frame(frames[0]):
            raise DataError(
                "Participants' maps lie on different grids and cannot be averaged.",
                file=one.path(kind, layer),
                found=frame.frame_in_words(),
                expected=f"{frames[0].frame_in_words()}, as sub-{members[0].names['sub']} has",
                remedy="preprocess all participants into the same space and resolution",
            )
    frame = frames[0]
    return np.stack([frame.values_of(one).astype(np.float64) for one in images]), frame
