"""What all layers together predict, and which layer contributes how much of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_encoder.config.settings import JointSettings
from bids_encoder.derivatives.counted import Counted
from bids_encoder.derivatives.write import Analysis, is_done, write_statmap
from bids_encoder.encoding.folds import Fold
from bids_encoder.encoding.joint import fit_joint, joint_grid_length
from bids_encoder.encoding.scores import steady_score
from bids_encoder.errors import naming
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.responses.assemble import Responses
from bids_encoder.runtime import console


def joint_is_done(chosen: JointSettings, analysis: Analysis, layers: Sequence[str]) -> bool:
    """Whether the maps of the joint model that are asked for are there."""
    if not (chosen.joint or chosen.joint_unique):
        return True
    ours = _with_settings(chosen, analysis)
    kinds = ("share", "unique") if chosen.joint_unique else ("share",)
    return all(is_done(ours, kind) for kind in ("joint_r2", "joint_pooled_r2")) and all(
        is_done(ours, kind, layer=layer) for kind in kinds for layer in layers
    )


def joint_parts(chosen: JointSettings, analysis: Analysis) -> list[Analysis]:
    """What the maps of the joint model, if it is asked for, belong to."""
    return [_with_settings(chosen, analysis)] if chosen.joint or chosen.joint_unique else []


def write_joint(
    chosen: JointSettings,
    analysis: Analysis,
    store: FeatureStore,
    samples: Samples,
    responses: Responses,
    folds: Sequence[Fold],
    counted: Counted,
    *,
    penalties: np.ndarray,
    mem_bytes: int,
    device: str,
) -> None:
    """Write the maps of the joint model, unless they are there or none are asked for.

    Parameters
    ----------
    chosen : settings.JointSettings
    analysis, store, samples, responses, folds
        Of the analysis.
    counted : Counted
        The voxels that the log tells of.
    penalties : (m,) array
        Of the layers; the joint model tries half as many between the same ends.
    mem_bytes, device
        As for :func:`bids_encoder.encoding.joint.fit_joint`.
    """
    if joint_is_done(chosen, analysis, store.layers):
        return
    n_voxels = responses.values.shape[1]
    with console.stage("joint model") as words, console.progress("joint model", "voxels") as bar:
        with naming(place=f"{', '.join(store.layers)} of {store.network}"):
            found = fit_joint(
                LayerKernels(samples, store),
                responses.values,
                folds,
                n_draws=chosen.joint_draws,
                unique=chosen.joint_unique,
                penalties=np.geomspace(
                    penalties[0], penalties[-1], joint_grid_length(len(penalties))
                ),
                mem_bytes=mem_bytes,
                device=device,
                seed=chosen.joint_seed,
                on_progress=lambda share: bar(round(share * n_voxels), n_voxels),
            )
        r2 = getattr(found, steady_score(folds))
        words += [f"{len(store.layers)} layers together", _best(r2, counted)]
    # Means over voxels are made for the page, of those that are predicted by then.
    extra = {
        "Layers": list(store.layers),
        "Draws": chosen.joint_draws,
        "Score": "pooled r2" if r2 is found.pooled_r2 else "r2",
    }
    ours = _with_settings(chosen, analysis)
    maps = {"share": found.shares, **({} if found.unique is None else {"unique": found.unique})}
    for kind, values in maps.items():
        for layer, one in zip(store.layers, values, strict=True):
            write_statmap(ours, kind, one, responses.grid, layer=layer)
    write_statmap(ours, "joint_pooled_r2", found.pooled_r2, responses.grid, extra=extra)
    # It comes last and means: done.
    write_statmap(ours, "joint_r2", found.r2, responses.grid, extra=extra)


def _best(r2: np.ndarray, counted: Counted) -> str:
    """The best score in a few words."""
    there = r2[counted.where & np.isfinite(r2)]
    if not there.size:
        return "no place to tell of"
    return f"best r² {there.max():.2f} in {counted.said}"


def _with_settings(chosen: JointSettings, analysis: Analysis) -> Analysis:
    return analysis.with_settings(
        joint_draws=chosen.joint_draws,
        joint_seed=chosen.joint_seed,
        joint_unique=chosen.joint_unique,
    )
