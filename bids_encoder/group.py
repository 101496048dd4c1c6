"""The group level, top to bottom: what the participants' results say together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import nibabel
import numpy as np

from bids_encoder import console
from bids_encoder.bids.dataset import list_participants
from bids_encoder.bids.derivatives import (
    Analysis,
    is_done,
    start_analysis,
    write_statmap,
    write_table,
)
from bids_encoder.bids.description import init_dataset
from bids_encoder.bids.written import Written, find_analyses
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.report.group import write_group_report
from bids_encoder.settings import Settings

logger = logging.getLogger(__name__)

# Spaces in which each participant has a grid of its own.
_OWN_SPACES = (None, "T1w", "T2w", "fsnative", "individual", "orig", "scanner", "func", "boldref")


def run_group(settings: Settings) -> str:
    """Summarise the participants whose results are in the output folder.

    Participants without results are named, and the others go on, so that the
    group level can be run while participants are still being added.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    str
        What was done, in a few words.

    Raises
    ------
    MissingInputError
        No participant has results.
    DataError
        Participants were analysed with different layers, or their maps in a
        common space lie on different grids.
    OutputError
        The results cannot be written.
    """
    wanted = list_participants(settings.bids_dir, settings.selection.participant_label)
    found = find_analyses(settings.output_dir, wanted)
    if not found:
        raise MissingInputError(
            "No participant has results to summarise.",
            file=settings.output_dir,
            found=f"no sub-*/func/*_scores.json of {len(wanted)} participants",
            remedy="run the participant level first",
        )
    there = {one.names["sub"] for one in found}
    missing = [label for label in wanted if label not in there]
    if missing:
        logger.warning(
            f"{len(missing)} of {len(wanted)} participants have no results yet and are left out: "
            f"{', '.join(missing[:20])}{', …' if len(missing) > 20 else ''}"
        )
    groups = _alike(found)
    for members in groups.values():
        _check_layers(members)
    if settings.flow.dry_run:
        return f"{len(groups)} summaries planned, nothing written"
    datasets = init_dataset(settings.output_dir, settings.bids_dir)
    if not settings.flow.reports_only:
        for members in groups.values():
            with console.stage("group") as words:
                words += _summarise(datasets, members)
    with console.stage("report") as words:
        words.append(str(write_group_report(settings.output_dir, list(groups.values()))))
    return f"{len(there)} participants"


def _alike(found: Sequence[Written]) -> dict[tuple, list[Written]]:
    """Analyses that can be compared: the same task, space, resolution and network."""
    groups: dict[tuple, list[Written]] = {}
    for one in found:
        key = tuple(one.names[name] for name in ("task", "space", "res", "network"))
        groups.setdefault(key, []).append(one)
    return groups


def _check_layers(members: Sequence[Written]) -> None:
    kinds: dict[tuple[str, ...], list[str]] = {}
    for one in members:
        kinds.setdefault(tuple(one.layers), []).append(f"sub-{one.names['sub']}")
    if len(kinds) > 1:
        raise DataError(
            "Participants were analysed with different layers, which cannot be summarised.",
            file=members[0].root,
            place=f"task {members[0].names['task']}, network {members[0].names['network']}",
            found="; ".join(f"{', '.join(who)}: {', '.join(ls)}" for ls, who in kinds.items()),
            expected="the same layers for all",
            remedy="run the participants again with the same --layers, or name those to be "
            "summarised with --participant-label",
        )


def _summarise(datasets, members: Sequence[Written]) -> list[str]:
    """Write the table of all participants and, in a common space, maps."""
    first = members[0]
    names = {key: first.names[key] for key in ("task", "space", "res", "network")}
    sources = [one.path(kind, layer) for one in members for kind, layer in _maps(first.layers)]
    analysis = start_analysis(
        datasets, {**names, "tpl": names["space"]}, settings={}, sources=sources
    )
    said = [f"task {names['task']}", f"{len(members)} participants"]
    if is_done(analysis, "group_scores"):
        return [*said, "all is there already"]
    if names["space"] in _OWN_SPACES:
        said.append("no maps: the participants have no space in common")
    else:
        for kind, layer in _maps(first.layers):
            _write_maps(analysis, members, kind, layer)
        said.append(f"maps in {names['space']}")
    _write_scores(analysis, members)
    return said


def _maps(layers: Sequence[str]) -> list[tuple[str, str | None]]:
    return [*(("r", layer) for layer in layers), ("slope", None)]


def _write_maps(
    analysis: Analysis, members: Sequence[Written], kind: str, layer: str | None
) -> None:
    """Mean and Student's t over participants, where all of them have a value."""
    images = [one.image(kind, layer) for one in members]
    _check_grids(members, images, kind, layer)
    values = np.stack([np.asarray(image.dataobj, dtype=np.float64) for image in images])
    everywhere = np.isfinite(values).all(axis=0)
    mask = nibabel.Nifti1Image(everywhere.astype(np.uint8), images[0].affine, images[0].header)
    mask.set_data_dtype(np.uint8)
    inside = values[:, everywhere]
    n = len(inside)
    extra = {"NumberOfParticipants": n}
    names = {"measure": kind, "layer": layer}
    mean = inside.mean(axis=0)
    write_statmap(analysis, "group_mean", mean, mask, extra=extra, **names)
    if n > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = mean / (inside.std(axis=0, ddof=1) / np.sqrt(n))
        t[~np.isfinite(t)] = np.nan
        write_statmap(analysis, "group_t", t, mask, dof=n - 1, extra=extra, **names)


def _check_grids(members, images, kind, layer) -> None:
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


def _write_scores(analysis: Analysis, members: Sequence[Written]) -> None:
    import pandas

    tables = []
    for one in members:
        table = one.table()
        table.insert(0, "participant_id", f"sub-{one.names['sub']}")
        tables.append(table)
    table = pandas.concat(tables)
    meanings = {
        name: members[0].sidecar.get(name, {"Description": "Label of the participant."})
        for name in table.columns
    }
    columns = {name: table[name].tolist() for name in table.columns}
    write_table(analysis, "group_scores", columns, meanings)
