"""Maps of the group in a common space: means, tests, agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.derivatives.file_names import explain
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.derivatives.write import Analysis, write_dseg, write_statmap
from bids_encoder.errors import DataError
from bids_encoder.fingerprints.agreement import (
    ALPHA,
    beyond_chance,
    most_frequent,
    one_sample_t,
    sign_agreement,
    sign_flip_test,
    sign_flips,
)
from bids_encoder.fingerprints.profile import places
from bids_encoder.grids.frame import frame_of
from bids_encoder.grids.grid import Grid
from bids_encoder.group.tests import GroupChance, read_chance, why_untested

_SLOPE = (
    "Mean over participants of their slope maps ({network}), in all places where all participants "
    "have one, predicted or not: by chance it is not 0."
)
_T_OF_SLOPE = (
    "Student's t of the participants' slopes against 0, where all layers predict alike "
    "({network}), where encoding is significant in the group."
)
_P_OF_R = (
    "p-value of the participants' mean r ({network}, layer {layer}) above what their permuted "
    "responses give, one-sided, corrected for all voxels by the maximum statistic."
)
_BEYOND = (
    ": that it lies further than chance from 0, or on the other side, two-sided. The larger of two "
    "p-values, against what each participant's permuted responses give and against 0, corrected by "
    "the maximum statistic for the voxels where encoding is significant in the group; n/a "
    "elsewhere."
)
_P_BEYOND = {
    "slope": "p-value of the participants' mean slope ({network})" + _BEYOND,
    "bestlayer": "p-value of the mean place of the participants' best layer, from -1 (first layer) "
    "to 1 (last layer; {network})" + _BEYOND,
}
_BEST_LAYER = {
    "mean": "Mean over participants of the place of their best layer, from -1 (first layer) to 1 "
    "(last layer) in equal steps ({network}), in all places where all participants have one, "
    "predicted or not: by chance it is not 0.",
    "t": "Student's t of the place of the participants' best layer, from -1 (first layer) to 1 "
    "(last layer), against 0, the middle layer ({network}), where encoding is significant in the "
    "group.",
}


def source_maps(layers: Sequence[str]) -> list[tuple[str, str | None]]:
    """Kind and layer of each map of a participant that the group level reads."""
    return [*(("r", layer) for layer in layers), ("slope", None), ("bestlayer", None)]


def write_maps(analysis: Analysis, members: Sequence[SavedAnalysis]) -> int | None:
    """Write the maps of all measures.

    Parameters
    ----------
    analysis : Analysis
        Of the group.
    members : sequence of SavedAnalysis
        Participants' analyses in one space with the same layers.

    Returns
    -------
    int or None
        Where encoding is significant in the group: number of places. None where that cannot be
        tested (see :func:`bids_encoder.group.tests.why_untested`).

    Raises
    ------
    DataError
        A map cannot be read, or maps lie on different grids.
    """
    chance = None if why_untested(members) else read_chance(members)
    encoded = None if chance is None else _write_encoding(analysis, members)
    for i, layer in enumerate(members[0].layers):
        r, frame = _stacked(members, "r", layer)
        values, grid = _where_all(r, frame)
        _write(analysis, "group_mean", values.mean(axis=0), grid, values, measure="r", layer=layer)
        if len(members) > 1:
            t = one_sample_t(values)
            _write(analysis, "group_t", t, grid, values, measure="r", layer=layer)
        if chance is not None:
            p = sign_flip_test(values - chance.r[:, [i]], one_sided=True)
            _write(analysis, "group_p", p, grid, values, measure="r", layer=layer, text=_P_OF_R)
    _write_slopes(analysis, members, chance, encoded)
    _write_best_layers(analysis, members, chance, encoded)
    return None if encoded is None else int(np.count_nonzero(encoded))


def _write_encoding(analysis: Analysis, members: Sequence[SavedAnalysis]) -> np.ndarray:
    """Where participants are predicted better than chance: (F,) bool, in the frame."""
    p, frame = _stacked(members, "p", None)
    values, grid = _where_all(p, frame)
    group = encoding_test(values)
    _write(analysis, "group_encoding", group, grid, values)
    encoded = np.zeros(frame.n_values, dtype=bool)
    encoded[np.isfinite(p).all(axis=0)] = group <= ALPHA
    return encoded


def encoding_test(p: np.ndarray) -> np.ndarray:
    """p-values of the group, corrected for all voxels, from those of the participants.

    Parameters
    ----------
    p : (n, V) array
        Of each participant, uniform where nothing is predicted; as z they lie about 0.
    """
    from scipy.special import ndtri

    # A p of 1, when all permutations are better, is not infinitely bad.
    return sign_flip_test(-ndtri(np.clip(p, 1e-12, 1 - 1e-4)), one_sided=True, noise_variance=1.0)


def _write_slopes(analysis, members, chance, encoded) -> None:
    slopes, frame = _stacked(members, "slope", None)
    values, grid = _where_all(slopes, frame)
    _write(analysis, "group_mean", values.mean(axis=0), grid, values, measure="slope", text=_SLOPE)
    share = sign_agreement(values)
    _write(analysis, "group_consistency", share, grid, values, measure="slope")
    _write_tests(analysis, slopes, frame, chance, encoded, measure="slope")


def _write_best_layers(analysis, members, chance, encoded) -> None:
    layers = members[0].layers
    labels, frame = _stacked(members, "bestlayer", None)
    analysed = (_stacked(members, "mask", None)[0] != 0).all(axis=0)
    labels = np.nan_to_num(labels).astype(np.int64)
    inside, grid = labels[:, analysed], frame.restricted(analysed)
    most, share = most_frequent(inside, len(layers))
    write_dseg(analysis, "group_bestlayer", most, grid, layers, extra=_extra(inside))
    _write(analysis, "group_consistency", share, grid, inside, measure="bestlayer")
    where = np.where(analysed, places(labels, len(layers)), np.nan)
    values, grid = _where_all(where, frame)
    mean = values.mean(axis=0)
    text = _BEST_LAYER["mean"]
    _write(analysis, "group_mean", mean, grid, values, measure="bestlayer", text=text)
    _write_tests(
        analysis, where, frame, chance, encoded, measure="bestlayer", text=_BEST_LAYER["t"]
    )


def _write_tests(
    analysis: Analysis,
    values: np.ndarray,
    frame: Grid,
    chance: GroupChance | None,
    encoded: np.ndarray | None,
    *,
    measure: str,
    text: str = _T_OF_SLOPE,
) -> None:
    """t and p of a measure that is not 0 by chance: where encoding is significant in the group."""
    if chance is None or encoded is None:
        return
    tested = encoded & np.isfinite(values).all(axis=0)
    inside, grid = values[:, tested], frame.restricted(tested)
    number = int(tested.sum())
    t = one_sample_t(inside)
    _write(analysis, "group_t", t, grid, inside, measure=measure, text=text, PlacesTested=number)
    p = beyond_chance(inside, chance.mean[measure], chance.variance[measure])
    _write(
        analysis, "group_p", p, grid, inside, measure=measure, text=_P_BEYOND[measure],
        PlacesTested=number, Chance=chance.mean[measure].round(4).tolist(),
    )  # fmt: skip


def _write(
    analysis: Analysis,
    kind: str,
    map_: np.ndarray,
    grid: Grid,
    values: np.ndarray,
    *,
    measure: str | None = None,
    layer: str | None = None,
    text: str | None = None,
    **more: object,
) -> None:
    """One map and its sidecar; `values` (n, V): what it was made of."""
    extra = {**_extra(values), **more}
    if text:
        extra["Description"] = explain(kind, text.format(**analysis.names, layer=layer))
    if kind in ("group_p", "group_encoding"):
        extra["NumberOfFlips"] = len(sign_flips(len(values)))
    dof = len(values) - 1 if kind == "group_t" else None
    names = {"measure": measure, "layer": layer}
    write_statmap(
        analysis, kind, map_, grid, dof=dof, extra=extra,
        **{key: value for key, value in names.items() if value is not None},
    )  # fmt: skip


def _extra(values: np.ndarray) -> dict[str, object]:
    return {"NumberOfParticipants": len(values)}


def _where_all(values: np.ndarray, frame: Grid) -> tuple[np.ndarray, Grid]:
    """Values (n, V) where all participants have one, and where that is."""
    everywhere = np.isfinite(values).all(axis=0)
    return values[:, everywhere], frame.restricted(everywhere)


def _stacked(
    members: Sequence[SavedAnalysis], kind: str, layer: str | None
) -> tuple[np.ndarray, Grid]:
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
