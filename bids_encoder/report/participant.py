"""The report of one participant, made from the files that were written."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bids_encoder import __version__
from bids_encoder.derivatives import atomic, file_names
from bids_encoder.derivatives.counted import NOT_TESTED, Counted
from bids_encoder.derivatives.read import SavedAnalysis, find_analyses, r2_in_words, read_table
from bids_encoder.errors import MissingInputError
from bids_encoder.report import contrasts, figures, fingerprints, methods, neural_code, retinotopy
from bids_encoder.report.interactive import interactive_view
from bids_encoder.report.maps import Maps, draw_maps, read_maps
from bids_encoder.report.page import Section, Table, render
from bids_encoder.report.stimuli import stimuli_figure
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)


def write_report(root: Path, participant: str) -> Path:
    """Make the figures and the page of one participant.

    Parameters
    ----------
    root : Path
        The derivatives dataset.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MissingInputError
        The participant has no results.
    OutputError
        The page cannot be written.
    """
    analyses = _whole(find_analyses(root, [participant]))
    if not analyses:
        raise MissingInputError(
            f"There are no results of participant {participant} to report.",
            file=root / f"sub-{participant}" / "func",
            expected="files that end with _scores.json",
            remedy="run the participant level first, without --reports-only",
        )
    sections = [
        *(part for one in analyses for part in _sections(one)),
        _methods(root, analyses),
        _errors(root, participant),
    ]
    page = render(
        f"sub-{participant}",
        f"Which layer of a network predicts which voxel. bids_encoder {__version__}.",
        sections,
    )
    path = file_names.output_path(root, "report", {"sub": participant})
    atomic.write_text(path, page)
    drawn = [figure.path for section in sections for figure in section.figures]
    figures.remove_old_figures(root / f"sub-{participant}" / "figures", drawn)
    return path


def _whole(analyses: Sequence[SavedAnalysis]) -> list[SavedAnalysis]:
    """Analyses whose files were made together; the others are named and left out."""
    whole = []
    for one in analyses:
        maps = [("mask", None), ("bestlayer", None), ("slope", None)]
        lacking = one.unfinished([*maps, *(("r", layer) for layer in one.layers)])
        if lacking is None:
            whole.append(one)
        else:
            logger.warning(
                f"Task {one.names['task']}, network {one.names['network']}: left out of the page. "
                f"It is being worked on or was interrupted, or another analysis of other data has "
                f"replaced its files ({lacking.name}). Run it again.",
                extra=OF_THIS_RUN,
            )
    return whole


def _sections(written: SavedAnalysis) -> list[Section]:
    maps = read_maps(written)
    return [
        _section(maps),
        *retinotopy.sections(maps),
        *contrasts.sections(written),
        *neural_code.sections(written),
    ]


def _section(maps: Maps) -> Section:
    written = maps.written
    side = written.sidecar
    pictures = side.get("NumberOfPictures", side["NumberOfStimuli"])
    title = " · ".join(
        filter(None, (f"task {written.names['task']}", written.names["space"], side["Network"]))
    )
    return Section(
        title=title,
        anchor=file_names.label(title),
        paragraphs=tuple(
            filter(
                None,
                (
                    _read(side),
                    _designed(side),
                    _judged(side),
                    _passed(maps),
                    _together(maps),
                    _equal_footing(maps),
                    fingerprints.component_sentence(side),
                ),
            )
        ),
        warnings=tuple(side["Warnings"]),
        tables=(_score_table(written.table(), maps.counted), *_matched_table(written)),
        figures=(
            *stimuli_figure(written.root, written.names, pictures),
            *draw_maps(maps),
            *fingerprints.participant_figures(written),
        ),
        details=(("Settings and versions", _settings(side)),),
        viewer=interactive_view(maps),
    )


def _settings(side: dict) -> str:
    keys = ("Settings", "SoftwareVersions", "Runs", "Groups")
    return json.dumps({key: side[key] for key in keys}, indent=2)


def _methods(root: Path, analyses: Sequence[SavedAnalysis]) -> Section:
    """What to paste into a paper; also kept beside the results."""
    text = methods.methods_text(analyses)
    bibtex = methods.bibliography(text)
    for extension, content in ((".md", text), (".bib", bibtex)):
        path = file_names.output_path(root, "citation", {}, extension)
        atomic.write_text(path, content)
    return Section(
        title="Methods",
        anchor="methods",
        paragraphs=(
            "To paste into a paper; whoever uses this text may change it as they like.",
            *methods.readable(text).strip().split("\n\n"),
        ),
        details=(("as Markdown, with citations for pandoc", text), ("BibTeX", bibtex)),
    )


def _errors(root: Path, participant: str) -> Section:
    """Crashes of earlier runs, as fMRIPrep's reports list them."""
    logs = sorted((root / "logs").glob(f"crash_sub-{participant}_*.txt"))
    return Section(
        title="Errors",
        anchor="errors",
        paragraphs=() if logs else ("No errors to report.",),
        details=tuple((path.name, path.read_text(encoding="utf-8")) for path in logs),
    )


def _read(side: dict) -> str:
    stimuli = f"{side['NumberOfStimuli']} different stimuli."
    if "Precomputed" in side:
        n_maps = sum(one["Maps"] for one in side["Precomputed"].values())
        return f"{n_maps} precomputed maps of responses in {_count(side['Runs'], 'run')}, {stimuli}"
    state = "preprocessed" if side["Preprocessed"] else "raw, not preprocessed"
    return (
        f"{_count(side['Runs'], 'run')} of {state} BOLD (TR {side['RepetitionTime']:g} s), "
        f"{stimuli}"
    )


def _designed(side: dict) -> str:
    rows = "stimulus" if side["Design"] == "events" else "volume"
    return (
        f"Design: {side['Design']} ({side['DesignReason']}). One response per {rows}: "
        f"{side['NumberOfSamples']} samples."
    )


def _leaving_out(side: dict) -> str:
    """What the folds are made by, and of how many samples; older results do not say."""
    sizes = side.get("SamplesPerFold")
    if not sizes:
        return ""
    few, many = min(sizes), max(sizes)
    return (
        f", which leave out {side['FoldsLeaveOut']} "
        f"({few if few == many else f'{few} to {many}'} samples each)"
    )


def _judged(side: dict) -> str:
    text = (
        f"Scores are cross-validated over {side['NumberOfFolds']} folds"
        f"{_leaving_out(side)}; what is held out together: "
        f"{', '.join(side['Groups'][:8])}{', …' if len(side['Groups']) > 8 else ''}."
    )
    if side["VoxelsWithoutScore"]:
        text += (
            f" {side['VoxelsWithoutScore']} voxels have no score: their data are constant or "
            "not numbers."
        )
    return text


def _passed(maps: Maps) -> str:
    """How many voxels are predicted better than chance; that this was not tested, otherwise."""
    counted, side = maps.counted, maps.written.matching_sidecar("q")
    if side is None or not counted.tested:
        return (
            f"{NOT_TESTED}: all counts, tables and pictures below are of all {counted.number} "
            f"scored {counted.places}, most of which may be noise."
        )
    blocks = f", in blocks of {side['PermutedBlock']} samples" if side["PermutedBlock"] > 1 else ""
    number = counted.number or "No"
    text = (
        f"{number} {counted.places} are predicted better than chance by some layer, at a false "
        f"discovery rate of {side['FalseDiscoveryRate']:g} ({side['Permutations']} permutations of "
        f"the responses{blocks}, the choice of the penalty repeated in each)"
    )
    strata = side.get("NullStrata", ())
    thresholds = [one["Threshold"] for one in strata if one["Threshold"] is not None]
    if thresholds:
        text += f": those with {r2_in_words(side)} of at least {min(thresholds):.3f}"
        if max(thresholds) > min(thresholds):
            text += (
                f" to {max(thresholds):.3f}, depending on the autocorrelation of their responses "
                f"({len(strata)} strata, each with a null of its own)"
            )
    if "SmallestP" in side:
        text += f". p-values can be as small as {side['SmallestP']:.2g}"
    if side.get("FewestVoxels", 1) > 1:
        text += (
            f": fewer than {side['FewestVoxels']} voxels could never have passed, whatever their "
            "scores (more permutations help)"
        )
    if counted.number:
        text += ". Counts, tables and pictures below are of these"
    return text + "."


def _together(maps: Maps) -> str | None:
    """What all layers predict together, where that was wanted."""
    written, counted = maps.written, maps.counted
    if written.matching_sidecar("joint_r2") is None:
        return None

    def mean(kind: str, **names: str) -> str:
        values = maps.grid.values_of(written.images(kind, **names))[counted.where]
        return f"{np.nanmean(values):.3f}" if np.isfinite(values).any() else "n/a"

    if counted.none_passed:
        return f"All layers together (banded ridge) were fitted too. {counted.note}"
    text = (
        f"All layers together (banded ridge) have a mean r² of {mean('joint_r2')} over "
        f"{counted.said}; mean share of each layer in it: "
        + ", ".join(f"{layer} {mean('share', layer=layer)}" for layer in written.layers)
    )
    layer = written.layers[0]
    if written.matching_sidecar("unique", layer) is not None:
        text += "; unique contribution: "
        text += ", ".join(f"{layer} {mean('unique', layer=layer)}" for layer in written.layers)
    return text + "."


def _equal_footing(maps: Maps) -> str | None:
    """How best layers change with as many features of each layer, where that was wanted."""
    side = maps.written.matching_sidecar("matched")
    if side is None or not side["VoxelsCounted"]["Number"]:
        return None
    number = side["VoxelsCounted"]["Number"]
    text = (
        f"With {side['FeaturesDrawn']} features of each layer, drawn at random (mean of "
        f"{side['Draws']} draws), the best layer of {side['VoxelsChanged'] / number:.0%} of "
        f"{number} {side['VoxelsCounted']['Which']} is another one: earlier in "
        f"{side['VoxelsEarlier']}, later in {side['VoxelsLater']}"
    )
    if side["ShareChangedBetweenDraws"] is not None and side["Draws"] > 1:
        text += (
            f" (between two single draws it differs in {side['ShareChangedBetweenDraws']:.0%}, by "
            "the draws alone)"
        )
    return f"{text}."


def _matched_table(written: SavedAnalysis) -> tuple[Table, ...]:
    side = written.matching_sidecar("matched")
    if side is None:
        return ()
    header = ("layer", "features", "drawn", "median r", "median r, drawn",
              f"{written.places} won", f"{written.places} won, drawn")  # fmt: skip
    rows = tuple(
        (
            row.layer, f"{row.features}", f"{row.features_drawn}", _said(row.r_median),
            _said(row.r_median_matched), f"{row.voxels_best}", f"{row.voxels_best_matched}",
        )
        for row in read_table(written.path("matched")).itertuples()
    )  # fmt: skip
    title = "The same number of features of each layer: "
    which = side["VoxelsCounted"]
    return (Table(f"{title}{which['Number']} {which['Which']}", header, rows),)


def _count(items: list, word: str) -> str:
    return f"{len(items)} {word}{'s' * (len(items) != 1)}"


def _score_table(table: pd.DataFrame, counted: Counted) -> Table:
    """Scores of the voxels that passed, layer by layer."""
    places = counted.places
    header = ["layer", "median r", "95th percentile r", "best r", f"{places} r > 0.3",
              "best r²", f"{places} won", "penalty at grid's low / high end"]  # fmt: skip
    tested_anew = table["test_r_median"].notna().any()
    rows = []
    for row in table.itertuples():
        cells = [
            row.layer, _said(row.r_median), _said(row.r_q95), _said(row.r_max),
            f"{row.voxels_r03}", _said(row.r2_max), f"{row.voxels_best}",
            f"{row.penalty_at_low_edge} / {row.penalty_at_high_edge}",
        ]  # fmt: skip
        rows.append((*cells, *([_said(row.test_r_median)] if tested_anew else [])))
    header += ["median r, test set"] if tested_anew else []
    title = f"Held-out scores per layer: {counted.said}"
    return Table(title, tuple(header), tuple(rows))


def _said(score: float) -> str:
    return "n/a" if np.isnan(score) else f"{score:.3f}"
