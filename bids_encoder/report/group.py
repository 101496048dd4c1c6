"""The report of the group level, made from the files that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_encoder import __version__
from bids_encoder.bids import atomic, outputs
from bids_encoder.bids.written import Written
from bids_encoder.report import figures, neural_code
from bids_encoder.report.fingerprints import group_figures
from bids_encoder.report.group_maps import GroupMaps, map_figures
from bids_encoder.report.page import Figure, Section, Table, render


def write_group_report(root: Path, groups: Sequence[Sequence[Written]]) -> Path:
    """Make the figures and the page of the group.

    Parameters
    ----------
    root : Path
        The derivatives dataset.
    groups : sequence of sequences of Written
        Analyses that were summarised together.

    Returns
    -------
    Path
        The page.
    """
    sections = [_section(root, members) for members in groups]
    page = render(
        "Group",
        f"Which layer of a network predicts which part of the brain. bids_encoder {__version__}.",
        sections,
    )
    path = outputs.output_path(root, "group_report", {})
    atomic.write_text(path, page)
    drawn = [figure.path for section in sections for figure in section.figures]
    figures.remove_old_figures(root / "figures", drawn)
    return path


def _section(root: Path, members: Sequence[Written]) -> Section:
    names = members[0].names
    title = " · ".join(filter(None, (f"task {names['task']}", names["space"], names["network"])))
    tables = {one.names["sub"]: one.table() for one in members}
    rows = tuple(
        (
            f"sub-{sub}",
            str(one.sidecar["NumberOfSamples"]),
            str(table["voxels"].max()),
            f"{table['r_max'].max():.3f}",
            str(table["voxels_r03"].max()),
            table["layer"][table["r_q95"].idxmax()],
        )
        for one, (sub, table) in zip(members, tables.items(), strict=True)
    )
    header = ("participant", "samples", "voxels", "best r", "voxels r > 0.3", "best layer")
    maps = GroupMaps.find(root, names)
    said = (
        f"{len(members)} participant{'s' * (len(members) != 1)}.",
        _components(members),
        maps.sidecar.get("Test"),
    )
    return Section(
        title=title,
        anchor=outputs.label(title),
        paragraphs=tuple(filter(None, said)),
        tables=(Table("Participants", header, rows, tuple(_page(one) for one in members)),),
        figures=(*_figures(root, members, tables, maps), *neural_code.group_figures(root, names)),
    )


def _page(written: Written) -> str:
    """The participant's page, as seen from the group's beside it."""
    path = outputs.output_path(written.root, "report", {"sub": written.names["sub"]})
    return path.name if path.exists() else ""


def _figures(
    root: Path, members: Sequence[Written], tables: dict, maps: GroupMaps
) -> tuple[Figure, ...]:
    first = members[0]
    lines = {f"sub-{sub}": table["r_q95"].to_numpy() for sub, table in tables.items()}
    path = outputs.output_path(root, "group_figure", {**first.names, "layer": "profile"})
    figures.save(figures.group_profile(first.layers, lines), path)
    profile = Figure(
        "Scores over layers",
        path,
        "95th percentile over voxels of the held-out correlation: each participant, and "
        "their mean.",
    )
    return (profile, *group_figures(root, members), *map_figures(maps, members))


def _components(members: Sequence[Written]) -> str | None:
    """How alike the first components of the participants' fingerprints are to the trend."""
    found = [one.sidecar.get("FirstComponent") for one in members]
    found = [one for one in found if one]
    if not found:
        return None
    shares, trends = (
        [one[key] for one in found] for key in ("ShareOfVariance", "CorrelationWithTrend")
    )
    return (
        f"The first principal component of the voxels' fingerprints holds {min(shares):.0%} to "
        f"{max(shares):.0%} of their variance in the participants, and correlates at "
        f"r = {min(trends):.2f} to {max(trends):.2f} with a straight trend from the first to the "
        "last layer."
    )
