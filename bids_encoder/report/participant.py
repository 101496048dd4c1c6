"""The report of one participant, made from the files that were written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from bids_encoder import __version__
from bids_encoder.bids import atomic, outputs
from bids_encoder.bids.written import Written, find_analyses
from bids_encoder.errors import MissingInputError
from bids_encoder.report import figures, neural_code
from bids_encoder.report.page import Figure, Section, Table, render


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
    analyses = find_analyses(root, [participant])
    if not analyses:
        raise MissingInputError(
            f"There are no results of participant {participant} to report.",
            file=root / f"sub-{participant}" / "func",
            expected="files that end with _scores.json",
            remedy="run the participant level first, without --reports-only",
        )
    page = render(
        f"sub-{participant}",
        f"Which layer of a network predicts which voxel. bids_encoder {__version__}.",
        [part for one in analyses for part in (_section(one), *neural_code.sections(one))],
    )
    path = outputs.output_path(root, "report", {"sub": participant})
    atomic.write_text(path, page)
    return path


def _section(written: Written) -> Section:
    side = written.sidecar
    title = " · ".join(
        filter(None, (f"task {written.names['task']}", written.names["space"], side["Network"]))
    )
    return Section(
        title=title,
        anchor=outputs.label(title),
        paragraphs=(_read(side), _designed(side), _judged(side)),
        warnings=tuple(side["Warnings"]),
        tables=(_score_table(written.table()),),
        figures=_figures(written),
        settings=json.dumps(
            {key: side[key] for key in ("Settings", "SoftwareVersions", "Runs", "Groups")}, indent=2
        ),
    )


def _read(side: dict) -> str:
    state = "preprocessed" if side["Preprocessed"] else "raw, not preprocessed"
    return (
        f"{_count(side['Runs'], 'run')} of {state} BOLD (TR {side['RepetitionTime']:g} s), "
        f"{side['NumberOfStimuli']} different stimuli."
    )


def _designed(side: dict) -> str:
    rows = "stimulus" if side["Design"] == "events" else "volume"
    return (
        f"Design: {side['Design']} ({side['DesignReason']}). One response per {rows}: "
        f"{side['NumberOfSamples']} samples."
    )


def _judged(side: dict) -> str:
    text = (
        f"Scores are cross-validated over {side['NumberOfFolds']} folds; what is held out "
        f"together: {', '.join(side['Groups'][:8])}{', …' if len(side['Groups']) > 8 else ''}."
    )
    if side["VoxelsWithoutScore"]:
        text += (
            f" {side['VoxelsWithoutScore']} voxels have no score: their data are constant or "
            "not numbers."
        )
    return text


def _count(items: list, word: str) -> str:
    return f"{len(items)} {word}{'s' * (len(items) != 1)}"


def _score_table(table: pd.DataFrame) -> Table:
    header = ("layer", "median r", "95th percentile r", "best r", "voxels r > 0.3",
              "best r²", "voxels won", "penalty at grid's low / high end")  # fmt: skip
    rows = tuple(
        (
            row.layer, f"{row.r_median:.3f}", f"{row.r_q95:.3f}", f"{row.r_max:.3f}",
            f"{row.voxels_r03}", f"{row.r2_max:.3f}", f"{row.voxels_best}",
            f"{row.penalty_at_low_edge} / {row.penalty_at_high_edge}",
        )
        for row in table.itertuples()
    )  # fmt: skip
    return Table("Held-out scores per layer", header, rows)


@dataclass(frozen=True)
class _Maps:
    """The maps of one analysis as arrays (x, y, z), NaN where there is no value."""

    r: dict[str, np.ndarray]
    highest: np.ndarray  # over layers
    best: np.ndarray
    slope: np.ndarray
    background: np.ndarray
    inside: np.ndarray
    view: figures.View
    vmax: float

    @property
    def threshold(self) -> float:
        """Scores below it are not drawn."""
        return 0.2 * self.vmax

    def shown(self, values: np.ndarray, score: np.ndarray | None = None) -> np.ndarray:
        """The values where the score (default: the best layer's) is worth drawing."""
        score = self.highest if score is None else score
        return np.where(score > self.threshold, values, np.nan)


def _read_maps(written: Written) -> _Maps:
    r = {layer: _volume(written.image("r", layer)) for layer in written.layers}
    mask = written.image("mask")
    inside = np.asarray(mask.dataobj) != 0
    highest = np.full(inside.shape, np.nan)
    highest[inside] = np.fmax.reduce([volume[inside] for volume in r.values()])
    scores = highest[inside & np.isfinite(highest)]
    vmax = max(float(np.quantile(scores, 0.9995)), 0.05) if scores.size else 1.0
    return _Maps(
        r=r,
        highest=highest,
        best=_volume(written.image("bestlayer")),
        slope=_volume(written.image("slope")),
        background=_volume(written.image("boldref")),
        inside=inside,
        view=figures.view_of(mask, np.nan_to_num(highest).clip(0) ** 4),
        vmax=vmax,
    )


def _volume(image: nibabel.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj, dtype=np.float32)


def _figures(written: Written) -> tuple[Figure, ...]:
    layers, maps = written.layers, _read_maps(written)
    scores = np.stack([volume[maps.inside] for volume in maps.r.values()])
    limit = max(float(np.nanmax(np.abs(maps.shown(maps.slope)), initial=0)), 1e-3)
    drawn = [
        (
            "r",
            "Where each layer predicts",
            figures.map_rows(
                [(layer, maps.shown(volume, volume)) for layer, volume in maps.r.items()],
                maps.background, maps.view, vmin=0.0, vmax=maps.vmax, colors="inferno",
                label="correlation r of prediction and held-out response",
            ),
            "Mean over folds; one scale for all layers; scores below a fifth of it are not drawn. "
            "Axial slices of the analysed voxels over their mean BOLD, z in mm, left is left.",
        ),
        (
            "profile",
            "Scores over layers",
            figures.profile(layers, scores, maps.best[maps.inside].astype(int)),
            "Left: mean over the voxels with the highest score in any layer (chosen by the "
            "same scores, so that heights are optimistic and shapes count). Right: voxels in "
            "the best-layer map.",
        ),
        (
            "bestlayer",
            "Which layer predicts best",
            figures.map_rows(
                [("best layer", maps.shown(np.where(maps.best > 0, maps.best, np.nan)))],
                maps.background, maps.view, vmin=0.5, vmax=len(layers) + 0.5,
                colors=figures.layer_colors(len(layers)),
                ticks=list(enumerate(layers, start=1)),
            ),
            "Argmax over layers after smoothing by one voxel, where the best layer's r "
            "exceeds a fifth of the scale above.",
        ),
        (
            "slope",
            "Early or late",
            figures.map_rows(
                [("slope", maps.shown(maps.slope))], maps.background, maps.view,
                vmin=-limit, vmax=limit, colors="PuOr_r",
                label="early layers predict better  ←  →  late layers predict better",
            ),
            "Inner product of the normalised profile with a trend from −1 (first layer) to 1 "
            "(last layer); the same voxels as above.",
        ),
    ]  # fmt: skip
    pages = []
    for name, title, figure, caption in drawn:
        path = outputs.output_path(written.root, "figure", {**written.names, "layer": name})
        figures.save(figure, path)
        pages.append(Figure(title, path, caption))
    return tuple(pages)
