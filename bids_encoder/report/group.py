"""The report of the group level, made from the files that were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from bids_encoder import __version__
from bids_encoder.bids import atomic, outputs
from bids_encoder.bids.written import Written
from bids_encoder.report import figures, neural_code
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
    page = render(
        "Group",
        f"Which layer of a network predicts which part of the brain. bids_encoder {__version__}.",
        [_section(root, members) for members in groups],
    )
    path = outputs.output_path(root, "group_report", {})
    atomic.write_text(path, page)
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
    return Section(
        title=title,
        anchor=outputs.label(title),
        paragraphs=(f"{len(members)} participants.",),
        tables=(Table("Participants", header, rows),),
        figures=(*_figures(root, members, tables), *neural_code.group_figures(root, names)),
    )


def _figures(root: Path, members: Sequence[Written], tables: dict) -> tuple[Figure, ...]:
    first = members[0]
    names = {**first.names, "tpl": first.names["space"]}
    lines = {f"sub-{sub}": table["r_q95"].to_numpy() for sub, table in tables.items()}
    drawn = [
        (
            "profile",
            "Scores over layers",
            figures.group_profile(first.layers, lines),
            "95th percentile over voxels of the held-out correlation: each participant, and "
            "their mean.",
        )
    ]
    maps = _mean_maps(root, names, first.layers)
    if maps:
        drawn.append(
            (
                "r",
                "Where each layer predicts, mean over participants",
                maps,
                "Scores below a fifth of the scale are not drawn. Axial slices, z in mm, left "
                "is left.",
            )
        )
    made = []
    for name, title, figure, caption in drawn:
        path = outputs.output_path(root, "group_figure", {**names, "layer": name})
        figures.save(figure, path)
        made.append(Figure(title, path, caption))
    return tuple(made)


def _mean_maps(root: Path, names: dict, layers: Sequence[str]):
    """One row of slices a layer, or None where there are no group maps."""
    if names["tpl"] is None:
        return None
    paths = {
        layer: outputs.output_path(root, "group_mean", {**names, "measure": "r", "layer": layer})
        for layer in layers
    }
    if not all(path.exists() for path in paths.values()):
        return None
    images = {layer: nibabel.load(path) for layer, path in paths.items()}
    volumes = {layer: np.asarray(image.dataobj) for layer, image in images.items()}
    image = images[layers[0]]
    inside = np.isfinite(volumes[layers[0]])
    highest = np.fmax.reduce(list(volumes.values()))
    vmax = max(float(np.quantile(highest[inside], 0.9995)), 0.05)
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), image.affine)
    return figures.map_rows(
        [(layer, np.where(v > 0.2 * vmax, v, np.nan)) for layer, v in volumes.items()],
        np.where(inside, 1.0, np.nan),
        figures.view_of(mask, np.nan_to_num(highest).clip(0) ** 4),
        vmin=0.0,
        vmax=vmax,
        colors="inferno",
        label="mean correlation r of prediction and held-out response",
    )
