"""The group level, top to bottom: what the participants' results say together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_encoder.bids import checksums
from bids_encoder.bids.dataset import list_participants
from bids_encoder.bids.names import without_prefix
from bids_encoder.bids.spaces import NATIVE, is_own
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.dataset_description import init_dataset
from bids_encoder.derivatives.leftovers import files_beside, parts_are_done, remove_old_group
from bids_encoder.derivatives.meanings import uncertain
from bids_encoder.derivatives.read import PLACE, SavedAnalysis, find_analyses, read_fingerprints
from bids_encoder.derivatives.write import Analysis, is_done, start_analysis, write_table
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.fingerprints.agreement import ALPHA, N_RANDOM, PRIOR_WEIGHT
from bids_encoder.fingerprints.mean_interval import (
    CONFIDENCE,
    NOT_COVERED,
    RESAMPLED,
    WHERE_NONE,
    mean_interval,
)
from bids_encoder.group.maps import source_maps, write_maps
from bids_encoder.group.rsa import write_group_similarity
from bids_encoder.group.same_settings import check_alike
from bids_encoder.group.tests import how_tested, test_files
from bids_encoder.report.group import write_group_report
from bids_encoder.runtime import console

logger = logging.getLogger(__name__)

_FINGERPRINT_COLUMNS = {
    "region": "Name of the region.",
    "layer": "Layer of the network, from shallow to deep.",
    "participants": "Number of participants who have a fingerprint of the region, and in whom some "
    "voxel of it is predicted better than chance (or nothing was tested).",
    "weak_participants": "Participants who have a fingerprint of the region, but no such voxel: "
    "it is one of noise, and left out of mean and interval. n/a: nobody.",
    "mean": "Mean over these participants of the fingerprint: the score of the layer in the best "
    "voxels of the region, divided by its maximum over layers. Where all are weak, the mean over "
    "them: noise.",
    "low": uncertain(
        f"Lower end of the {CONFIDENCE:.0%} interval of the mean ({WHERE_NONE}).",
        resampled=RESAMPLED,
        not_covered=NOT_COVERED,
    ),
    "high": uncertain(
        "Upper end of that interval, which may exceed 1.",
        resampled=RESAMPLED,
        not_covered=NOT_COVERED,
    ),
}


def run_group(settings: Settings) -> str:
    """Summarise the participants whose results are in the output folder.

    Participants without results, or whose results are being written, are named, and the
    others go on, so that the group level can be run while participants are still being
    added.

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
        Participants were analysed with different layers, settings or in different spaces,
        or their maps in a common space lie on different grids.
    OutputError
        The results cannot be written.
    """
    checksums.forget()
    wanted = list_participants(settings.bids_dir, settings.selection.participant_label)
    found = _finished(settings, wanted)
    groups = _alike(found)
    _check_spaces(groups)
    for members in groups.values():
        _check_layers(members)
    allowed = settings.flow.allow_mixed
    mixed = {key: check_alike(members, allow_mixed=allowed) for key, members in groups.items()}
    if settings.flow.dry_run:
        return f"{len(groups)} summaries planned, nothing written"
    datasets = init_dataset(settings.output_dir, settings.bids_dir)
    if not settings.flow.reports_only:
        for key, members in groups.items():
            with console.stage("group") as words:
                words += _summarise(datasets, members, mixed[key])
                words += write_group_similarity(datasets, members, mixed[key])
    with console.stage("report") as words:
        words.append(str(write_group_report(settings.output_dir, list(groups.values()))))
    number = len({one.names["sub"] for one in found})
    return f"{number} participant{'s' * (number != 1)}"


def _finished(settings: Settings, wanted: Sequence[str]) -> list[SavedAnalysis]:
    """The analyses that were asked for and are all there; the others are named."""
    found = [one for one in find_analyses(settings.output_dir, wanted) if _asked(settings, one)]
    whole = []
    for one in found:
        lacking = one.unfinished([*source_maps(one.layers), ("mask", None)])
        if lacking is None:
            whole.append(one)
        else:
            logger.warning(
                f"sub-{one.names['sub']}, task {one.names['task']}: left out, as it is being "
                f"worked on or was interrupted ({lacking.name} is not finished)."
            )
    without = [label for label in wanted if label not in {one.names["sub"] for one in found}]
    if not whole:
        raise MissingInputError(
            "No participant has results to summarise.",
            file=settings.output_dir,
            found=f"no finished sub-*/func/*_scores.json of {len(wanted)} participants",
            remedy="run the participant level first",
        )
    if without:
        logger.warning(
            f"{len(without)} of {len(wanted)} participants have no results yet and are left out: "
            f"{', '.join(without[:20])}{', …' if len(without) > 20 else ''}"
        )
    return whole


def _asked(settings: Settings, one: SavedAnalysis) -> bool:
    """Is it of a task and a space that the options name?"""
    chosen = settings.selection
    labels = [space.split(":")[0] for space in chosen.space]
    spaces = {None if label in NATIVE else label for label in labels}
    return (not chosen.task_id or one.names["task"] in without_prefix(chosen.task_id, "task")) and (
        not spaces or one.names["space"] in spaces
    )


def _alike(found: Sequence[SavedAnalysis]) -> dict[tuple, list[SavedAnalysis]]:
    """Analyses that can be compared: the same task, space, resolution and network."""
    groups: dict[tuple, list[SavedAnalysis]] = {}
    for one in found:
        key = tuple(one.names[name] for name in ("task", "network", *PLACE))
        groups.setdefault(key, []).append(one)
    return groups


def _check_spaces(groups: Mapping[tuple, Sequence[SavedAnalysis]]) -> None:
    """Refuse participants who have no space in common; warn of spaces that some lack."""
    by_task: dict[tuple, dict[str, list[str]]] = {}
    for (task, network, *place), members in groups.items():
        name = _in_words(dict(zip(PLACE, place, strict=True)))
        people = [f"sub-{one.names['sub']}" for one in members]
        by_task.setdefault((task, network), {})[name] = people
    for (task, network), spaces in by_task.items():
        everybody = {one for people in spaces.values() for one in people}
        lacking = {space: sorted(everybody - set(people)) for space, people in spaces.items()}
        if all(lacking.values()):
            first = next(iter(groups.values()))[0]
            raise DataError(
                "Participants were analysed in different spaces, which cannot be summarised.",
                file=first.root,
                place=f"task {task}, network {network}",
                found="; ".join(f"{', '.join(who)}: {space}" for space, who in spaces.items()),
                expected="one space that all of them have",
                remedy="run the participants again with the same --space, or choose with --space "
                "or --participant-label which are to be summarised",
            )
        for space, who in lacking.items():
            if who:
                logger.warning(
                    f"Task {task}: {', '.join(who)} {'have' if len(who) > 1 else 'has'} no "
                    f"results in the space {space}, which is summarised without."
                )


def _in_words(place: Mapping[str, str | None]) -> str:
    more = [f"{name}-{place[name]}" for name in ("res", "den", "hemi") if place[name]]
    more += [place["form"].upper()] if place["form"] else []
    return (place["space"] or "as acquired") + (f" ({', '.join(more)})" if more else "")


def _check_layers(members: Sequence[SavedAnalysis]) -> None:
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


def _summarise(
    datasets: Mapping[str, Path], members: Sequence[SavedAnalysis], mixed: Sequence[str]
) -> list[str]:
    """Write the tables of all participants and, in a common space, maps."""
    first = members[0]
    names = {key: first.names[key] for key in ("task", "network", *PLACE)}
    tables = [one.fingerprints() for one in members]
    sources = [
        path
        for one in members
        for kind, layer in source_maps(one.layers)
        for path in one.files(kind, layer).values()
    ]
    sources += [
        path for one in members for kind in ("scores", "mask") for path in _files(one, kind)
    ]
    sources += [path for table in tables for path in table.values()]
    sources += [one.path("scores") for one in members]  # which say what passed
    sources += [path for one in members for path in (test_files(one) or {}).values()]
    analysis = start_analysis(
        datasets,
        {**names, "tpl": names["space"]},
        settings={
            "flips": N_RANDOM,
            "seed": 0,
            "alpha": ALPHA,
            "prior_weight": PRIOR_WEIGHT,
            "members": {one.names["sub"]: one.sidecar["SettingsHash"] for one in members},
            **({"mixed_settings": list(mixed)} if mixed else {}),
        },
        sources=sources,
    )
    said = [f"task {names['task']}", f"{len(members)} participant{'s' * (len(members) != 1)}"]
    if is_done(analysis, "group_scores") and parts_are_done(analysis, "group_scores"):
        _remove_leftovers(analysis)
        return [*said, "all is there already"]
    for atlas in sorted({atlas for table in tables for atlas in table}):
        paths = {
            f"sub-{one.names['sub']}": table.get(atlas)
            for one, table in zip(members, tables, strict=True)
        }
        said.append(f"{_write_fingerprints(analysis, atlas, paths, first.layers)} regions: {atlas}")
    if is_own(names["space"]):
        said.append("no maps: the participants have no space in common")
    else:
        encoded = write_maps(analysis, members)
        logger.info(how_tested(members))
        said.append(f"maps in {names['space']}")
        if encoded is not None:
            said.append(f"{encoded} {first.places} with significant encoding")
    _write_scores(analysis, members)
    _remove_leftovers(analysis)
    return said


def _files(one: SavedAnalysis, kind: str) -> list[Path]:
    return list(one.files(kind).values())


def _kinds_of_folders(analysis: Analysis) -> list[str]:
    """One kind of file of each folder that files of the group lie in."""
    return ["group_scores", *([] if is_own(analysis.names["space"]) else ["group_mean"])]


def _remove_leftovers(analysis: Analysis) -> None:
    """Remove what a summary of other participants left."""
    for kind in _kinds_of_folders(analysis):
        suffixes = ("groupfingerprint", "groupscores", "statmap", "dseg")
        remove_old_group(analysis, kind, suffixes, {analysis.hash})


def _write_fingerprints(
    analysis: Analysis, atlas: str, paths: Mapping[str, Path | None], layers: Sequence[str]
) -> int:
    """Write the fingerprints of one atlas; participants' regions are matched by name."""
    lacking = [name for name, path in paths.items() if path is None]
    if lacking:
        logger.warning(f"Atlas {atlas}: {', '.join(lacking)} without region fingerprints.")
    values: dict[str, dict[str, np.ndarray]] = {}
    weak: dict[str, list[str]] = {}
    for name, path in paths.items():
        if path is None:
            continue
        for region, rows in read_fingerprints(path).groupby("region", sort=False):
            found = rows.set_index("layer")["fingerprint"].reindex(list(layers))
            values.setdefault(str(region), {})[name] = found.to_numpy(float)
            if (rows["voxels_predicted"] == 0).all() and found.notna().all():
                weak.setdefault(str(region), []).append(name)
    nothing = np.full(len(layers), np.nan)
    rows = []
    for region, found in values.items():
        each = np.stack([found.get(name, nothing) for name in paths])
        aside = np.isin(list(paths), weak.get(region, []))
        known = np.isfinite(each).all(axis=1)
        n = int((known & ~aside).sum())
        mean, low, high = mean_interval(each[~aside] if n else each)
        if not n:
            low = high = nothing
        names = ", ".join(weak.get(region, [])) or None
        rows += [
            (region, layer, n, names, mean[i], low[i], high[i], *each[:, i])
            for i, layer in enumerate(layers)
        ]
    meanings = {**_FINGERPRINT_COLUMNS, **{name: f"Fingerprint of {name}." for name in paths}}
    columns = dict(zip(meanings, map(list, zip(*rows, strict=True)), strict=True))
    write_table(analysis, "group_fingerprint", columns, meanings, atlas=atlas)
    return len(values)


def _meaning(members: Sequence[SavedAnalysis], column: str) -> str:
    """What a column of the participants' tables is; some may be tested, and others not."""
    said = [(one.sidecar.get(column) or {}).get("Description", "") for one in members]
    return " Or: ".join(dict.fromkeys(filter(None, said))) or "Label of the participant."


def _write_scores(analysis: Analysis, members: Sequence[SavedAnalysis]) -> None:
    """The table of all scores comes last and means: done."""
    import pandas

    tables = []
    for one in members:
        table = one.table()
        table.insert(0, "participant_id", f"sub-{one.names['sub']}")
        tables.append(table)
    table = pandas.concat(tables)
    meanings = {name: _meaning(members, name) for name in table.columns}
    columns = {name: table[name].tolist() for name in table.columns}
    extra = {
        "Participants": [f"sub-{one.names['sub']}" for one in members],
        "FilesBeside": files_beside(analysis, _kinds_of_folders(analysis), "group_scores"),
        "Test": None if is_own(analysis.names["space"]) else how_tested(members),
    }
    write_table(analysis, "group_scores", columns, meanings, extra=extra)
