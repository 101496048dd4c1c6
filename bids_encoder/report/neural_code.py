"""Sections and figures of the neural code, in the reports of participants and of the group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bids_encoder.bids.names import parse_name
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.read import SavedAnalysis, read_table
from bids_encoder.derivatives.rsa_columns import SAME, with_choice
from bids_encoder.report import code_figures, figures
from bids_encoder.report.page import Figure, Section, Table

if TYPE_CHECKING:
    import pandas

_MANY = 12  # regions drawn of one atlas


def sections(written: SavedAnalysis) -> list[Section]:
    """The part of a participant's page about the neural code; none where it was left out.

    Parameters
    ----------
    written : SavedAnalysis

    Returns
    -------
    list of Section
        One or none.
    """
    side = written.matching_sidecar("smoothness")
    if side is None:
        return []
    smoothness = read_table(written.path("smoothness"))
    similar = {key: with_choice(one) for key, one in _tables(written, "similarity").items()}
    title = f"Neural code, task {written.names['task']}"
    if written.names["space"]:
        title += f", {written.names['space']}"
    return [
        Section(
            title=title,
            anchor=file_names.label(title + (written.names["network"] or "")),
            paragraphs=(_sampled(side), *_chosen(written), *_compared(similar, written)),
            tables=tuple(_neighbours(_tables(written, "neighbours"))),
            figures=(_smoothness_figure(written, smoothness), *_profiles(written, similar)),
        )
    ]


def _tables(written: SavedAnalysis, kind: str) -> dict[str | None, pandas.DataFrame]:
    """Tables of one kind by atlas; None: of the best-predicted voxels."""
    return {atlas: read_table(path) for atlas, path in written.of_atlases(kind).items()}


def _sampled(side: Mapping) -> str:
    shown, all_ = side["NumberOfSampledStimuli"], side["NumberOfStimuli"]
    sample = (
        f"all {all_} pictures"
        if shown == all_
        else f"a sample of {shown} of {all_} pictures (seed {side['SamplingSeed']})"
    )
    return (
        f"Are pictures that are alike also alike in the layers, and in the brain? Looked at: "
        f"{sample}, {side['NumberOfPairs']} pairs. Likeness is the Pearson correlation of pixels, "
        "features or response patterns (Guest and Love 2017)."
    )


def _compared(similar: Mapping, written: SavedAnalysis) -> list[str]:
    if not similar:
        if written.sidecar["Design"] == "events":
            return []
        return [
            "Layers are not compared with regions of the brain: in a continuous design the "
            "responses to successive pictures overlap, so that pictures shown one after the "
            "other would look alike whatever they show."
        ]
    if all(table["ceiling_low"].isna().all() for table in similar.values()):
        return ["There is no noise ceiling: no compared pictures are repeated across runs."]
    return []


def _chosen(written: SavedAnalysis) -> list[str]:
    """How the voxels of the region “predicted” were chosen, as its sidecar has it."""
    side = written.matching_sidecar("neighbours")
    if side is None or "RegionChoice" not in side:
        return []
    return [
        f"The region “predicted”: {side['RegionChoice']} {side['SamplesThatChose']} samples "
        f"chose, {side['SamplesCompared']} are compared."
    ]


def _neighbours(tables: Mapping[str | None, pandas.DataFrame]) -> list[Table]:
    made = []
    for atlas, table in tables.items():
        crossed = table["near_r_crossed"].notna().any()
        header = ["region", "voxels", "r, touching", "r, far apart"]
        columns = ["near_r", "far_r"]
        if crossed:
            header += ["touching, across halves", "far apart, across halves"]
            columns += ["near_r_crossed", "far_r_crossed"]
        rows = tuple(
            (row["region"], str(row["voxels"]), *(f"{row[c]:.3f}" for c in columns))
            for _, row in table.iterrows()
        )
        title = "How alike neighbouring voxels are" + (f", atlas {atlas}" if atlas else "")
        made.append(Table(title, tuple(header), rows))
    return made


def _smoothness_figure(written: SavedAnalysis, table: pandas.DataFrame) -> Figure:
    path = _save(written, "smoothness", code_figures.smoothness(table))
    band = table[["to_pixels_low", "to_pixels_high"]].notna().any(axis=None)
    interval = " (band: 95 % bootstrap interval over pictures)" if band else ""
    before = " and in the layer before" if table["to_previous"].notna().any() else ""
    return Figure(
        "Functional smoothness of the layers",
        path,
        "Left: correlation, over pairs of pictures, of their likeness in a layer with their "
        f"likeness as pixels{interval}{before}. Right: how unequally activity is spread over "
        "the features of a layer.",
    )


def _profiles(written: SavedAnalysis, tables: Mapping) -> list[Figure]:
    made = []
    for atlas, table in tables.items():
        regions = list(dict.fromkeys(table["region"]))
        strength = table.groupby("region")["pearson"].max()
        shown = sorted(regions, key=lambda name: -strength[name])[:_MANY]
        kept = table[table["region"].isin(shown)]
        figure = code_figures.similarity_profiles(kept)
        path = _save(written, f"similarity{file_names.label(atlas) if atlas else ''}", figure)
        caption = (
            "Correlation, over pairs of pictures, of the likeness of response patterns with the "
            "likeness in each layer"
        )
        if kept["pearson_low"].notna().any():
            caption += "; bars: 95 % bootstrap intervals over pictures"
        sure = (kept["p"] < 0.05).any()
        caption += (
            f"; {'filled' if sure else 'none is filled'}: permutation p < 0.05, not corrected"
        )
        if kept[["ceiling_low", "ceiling_high"]].notna().all(axis=1).any():
            caption += "; grey band: noise ceiling (for half of the data)"
        caption += "."
        if (kept["chosen_on"] == SAME).any():
            caption += (
                " Open, without bars, “not tested”: voxels chosen by the same responses, so that "
                "noise alone would lie above 0."
            )
        if len(shown) < len(regions):
            caption += f" The {_MANY} of {len(regions)} regions that agree most are drawn."
        title = "Where the layers and the brain agree" + (f", atlas {atlas}" if atlas else "")
        made.append(Figure(title, path, caption))
    return made


def _save(written: SavedAnalysis, name: str, figure) -> Path:
    path = file_names.output_path(written.root, "figure", {**written.names, "layer": name})
    figures.save(figure, path)
    return path


def group_figures(root: Path, names: Mapping) -> list[Figure]:
    """Where along the network each region peaks: similarity analysis beside encoding.

    Parameters
    ----------
    root : Path
    names : mapping
        Of the group's files: task, space, res, network.

    Returns
    -------
    list of Figure
        One an atlas, and one of the best-predicted voxels; none without tables.
    """
    plain = file_names.output_path(root, "group_similarity", names)
    made = []
    for path in sorted(plain.parent.glob("*_groupsimilarity.tsv")):
        atlas = parse_name(path).entities.get("atlas")
        if path != file_names.output_path(root, "group_similarity", {**names, "atlas": atlas}):
            continue
        table = read_table(path)
        strength = table.groupby("region", sort=False)["pearson"].max()
        kept = table[table["region"].isin(strength.nlargest(_MANY).index)]
        layer = f"similarity{file_names.label(atlas) if atlas else ''}"
        drawn = file_names.output_path(root, "group_figure", {**names, "layer": layer})
        figures.save(code_figures.peaks(kept), drawn)
        drawn_bands = kept[["pearson_low", "encoding_r_low"]].notna().any(axis=None)
        bands = "; bands: 95 % intervals over participants" if drawn_bands else ""
        caption = (
            f"Means over participants, each curve divided by its maximum{bands}. "
            "Similarity analysis: agreement "
            "of region and layer on which pictures are alike. Encoding: held-out r, mean over "
            "the region's voxels. "
            + (
                "Symbols mark the peaks whose interval lies above 0."
                if drawn_bands
                else "There are no intervals, so that no peak is marked: noise has a highest "
                "layer too."
            )
        )
        if table["untested"].any() if "untested" in table else atlas is None:
            caption += (
                " “Not tested”: the voxels of some participants were chosen by the same responses "
                "that are compared, so that noise alone would lie above 0."
            )
        if len(strength) > _MANY:
            caption += f" The {_MANY} of {len(strength)} regions that agree most are drawn."
        where = f", atlas {atlas}" if atlas else ""
        title = f"Where along the network each region peaks{where}"
        made.append(Figure(title, drawn, caption))
    return made
