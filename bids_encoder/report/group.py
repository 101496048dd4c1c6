"""The report of the group level, made from the files that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_encoder import __version__
from bids_encoder.derivatives import atomic, file_names
from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.report import figures, neural_code
from bids_encoder.report.fingerprints import group_figures
from bids_encoder.report.group_maps import GroupMaps, map_figures
from bids_encoder.report.page import Figure, Section, Table, render
from bids_encoder.report.profiles import group_profile

if TYPE_CHECKING:
    import pandas


def write_group_report(root: Path, groups: Sequence[Sequence[SavedAnalysis]]) -> Path:
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
    path = file_names.output_path(root, "group_report", {})
    atomic.write_text(path, page)
    drawn = [figure.path for section in sections for figure in section.figures]
    figures.remove_old_figures(root / "figures", drawn)
    return path


def _section(root: Path, members: Sequence[SavedAnalysis]) -> Section:
    names = members[0].names
    title = " · ".join(filter(None, (f"task {names['task']}", names["space"], names["network"])))
    tables = {one.names["sub"]: one.table() for one in members}
    rows = tuple(_row(one, tables[one.names["sub"]]) for one in members)
    places = members[0].places
    header = ("participant", "samples", f"{places} scored", f"{places} predicted", "best r of them",
              "of them r > 0.3", "best layer of most of them")  # fmt: skip
    maps = GroupMaps.find(root, names)
    said = (
        f"{len(members)} participant{'s' * (len(members) != 1)}.",
        _components(members),
        maps.sidecar.get("Test"),
        _mixed(maps.sidecar),
    )
    return Section(
        title=title,
        anchor=file_names.label(title),
        paragraphs=tuple(filter(None, said)),
        tables=(Table("Participants", header, rows, tuple(_page(one) for one in members)),),
        figures=(*_figures(root, members, tables, maps), *neural_code.group_figures(root, names)),
    )


def _row(written: SavedAnalysis, table: pandas.DataFrame) -> tuple[str, ...]:
    """What the page says of one participant: of the voxels that passed."""
    tested = table["voxels_predicted"].notna().all()
    number = str(int(table["voxels_predicted"].max())) if tested else "not tested"
    won = table["voxels_best"]
    return (
        f"sub-{written.names['sub']}",
        str(written.sidecar["NumberOfSamples"]),
        str(table["voxels"].max()),
        number,
        "–" if table["r_max"].isna().all() else f"{table['r_max'].max():.3f}",
        str(table["voxels_r03"].max()),
        table["layer"][won.idxmax()] if won.any() else "–",
    )


def _mixed(sidecar: dict) -> str | None:
    """What participants do not have in common that changes results (--allow-mixed)."""
    found = (sidecar.get("Settings") or {}).get("mixed_settings")
    if not found:
        return None
    return (
        "Participants were analysed with different settings, and summarised all the same "
        f"(--allow-mixed), so that differences between them may come from these: "
        f"{'. '.join(found)}."
    )


def _page(written: SavedAnalysis) -> str:
    """The participant's page, as seen from the group's beside it."""
    path = file_names.output_path(written.root, "report", {"sub": written.names["sub"]})
    return path.name if path.exists() else ""


def _figures(
    root: Path, members: Sequence[SavedAnalysis], tables: dict, maps: GroupMaps
) -> tuple[Figure, ...]:
    first = members[0]
    lines = {f"sub-{sub}": table["r_median"].to_numpy(float) for sub, table in tables.items()}
    path = file_names.output_path(root, "group_figure", {**first.names, "layer": "profile"})
    rule = _rule(members)
    figures.save(group_profile(first.layers, lines, rule), path)
    profile = Figure(
        "Scores over layers",
        path,
        f"Median held-out correlation over {rule}: each participant who has some, and their mean. "
        "They are chosen by the same responses, so that heights are optimistic.",
    )
    return (profile, *group_figures(root, members), *map_figures(maps, members))


def _rule(members: Sequence[SavedAnalysis]) -> str:
    """Which voxels counts and means of the participants are of."""
    rules = [(one.sidecar.get("VoxelsCounted") or {}).get("Which", "") for one in members]
    return " or ".join(dict.fromkeys(filter(None, rules))) or members[0].places


def _components(members: Sequence[SavedAnalysis]) -> str | None:
    """How alike the first components of the participants' fingerprints are to the trend."""
    found = [one for member in members if (one := member.sidecar.get("FirstComponent"))]
    if not found:
        return None
    shares, trends = (
        [one[key] for one in found] for key in ("ShareOfVariance", "CorrelationWithTrend")
    )
    some = f", in {len(found)} of {len(members)} participants" if len(found) < len(members) else ""
    return (
        f"The first principal component of the voxels' fingerprints holds {min(shares):.0%} to "
        f"{max(shares):.0%} of their variance in the participants, and correlates at "
        f"r = {min(trends):.2f} to {max(trends):.2f} with a straight trend from the first to the "
        f"last layer{some}."
    )
