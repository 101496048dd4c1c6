"""Maps of the group in a common space: means, tests, agreement."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel
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
        values, mask = _values(members, "r", layer)
        _write_tested(analysis, values, mask, measure="r", layer=layer)
    values, mask = _values(members, "slope")
    _write_tested(analysis, values, mask, measure="slope")
    write_statmap(
        analysis, "group_consistency", sign_agreement(values), mask,
        extra=_extra(values), measure="slope",
    )  # fmt: skip
    _write_best_layers(analysis, members, layers)


def _write_best_layers(analysis: Analysis, members: Sequence[Written], layers) -> None:
    labels, mask = _values(members, "bestlayer")
    labels = np.nan_to_num(labels).astype(np.int64)
    most, share = most_frequent(labels, len(layers))
    extra = _extra(labels)
    write_dseg(analysis, "group_bestlayer", most, mask, layers, extra=extra)
    write_statmap(analysis, "group_consistency", share, mask, extra=extra, measure="bestlayer")
    everybody = (labels > 0).all(axis=0)
    places = np.concatenate([[np.nan], trend(len(layers))])[labels]
    inside = np.asarray(mask.dataobj) != 0
    inside[inside] = everybody
    _write_tested(
        analysis, places[:, everybody], _mask_image(inside, mask), measure="bestlayer",
        described=_BEST_LAYER,
    )  # fmt: skip


def _write_tested(
    analysis: Analysis, values: np.ndarray, mask, described: dict | None = None, **names
) -> None:
    """Mean; with two participants or more t; with enough of them p."""
    n = len(values)

    def extra(which: str, **more: object) -> dict[str, object]:
        text = (described or {}).get(which)
        text = {"Description": text.format(**analysis.names)} if text else {}
        return {**text, **_extra(values), **more}

    write_statmap(analysis, "group_mean", values.mean(axis=0), mask, extra=extra("mean"), **names)
    if n < 2:
        return
    t = one_sample_t(values)
    write_statmap(analysis, "group_t", t, mask, dof=n - 1, extra=extra("t"), **names)
    if n >= MIN_PARTICIPANTS:
        p, flips = sign_flip_test(values)
        more = extra("p", NumberOfFlips=flips)
        write_statmap(analysis, "group_p", p, mask, extra=more, **names)


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
    """Values (n, V) where all participants have one, and the mask of these voxels.

    Of best layers, whose 0 may also lie inside, all voxels in which all were analysed.
    """
    images = [one.image(kind, layer) for one in members]
    _check_grids(members, images, kind, layer)
    values = np.stack(
        [_read(one, image, kind, layer) for one, image in zip(members, images, strict=True)]
    )
    if kind == "bestlayer":
        masks = [one.image("mask") for one in members]
        _check_grids(members, masks, "mask", None)
        everywhere = np.all([np.asarray(mask.dataobj) != 0 for mask in masks], axis=0)
    else:
        everywhere = np.isfinite(values).all(axis=0)
    return values[:, everywhere], _mask_image(everywhere, images[0])


def _read(one: Written, image, kind: str, layer: str | None) -> np.ndarray:
    try:
        return np.asarray(image.dataobj, dtype=np.float64)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            "A map that an earlier run wrote cannot be read.",
            file=one.path(kind, layer),
            found=str(error),
            remedy="remove the folder of this participant and run it again",
        ) from None


def _mask_image(inside: np.ndarray, like: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), like.affine, like.header)
    mask.set_data_dtype(np.uint8)
    return mask


def _check_grids(members: Sequence[Written], images, kind: str, layer: str | None) -> None:
    first = images[0]
    for one, image in zip(members, images, strict=True):
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise DataError(
                "Participants' maps lie on different grids and cannot be averaged.",
                file=one.path(kind, layer),
                found=f"{image.shape} voxels, origin {np.round(image.affine[:3, 3], 1)}",
                expected=f"{first.shape} voxels, origin {np.round(first.affine[:3, 3], 1)}, "
                f"as sub-{members[0].names['sub']} has",
                remedy="preprocess all participants into the same space and resolution",
            )
