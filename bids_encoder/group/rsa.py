"""Similarity analysis across participants: means, intervals, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.derivatives.leftovers import remove_old_group
from bids_encoder.derivatives.meanings import uncertain
from bids_encoder.derivatives.read import PLACE, SavedAnalysis, read_table, verified
from bids_encoder.derivatives.rsa_columns import SAME, with_choice
from bids_encoder.derivatives.write import is_done, start_analysis, write_table
from bids_encoder.errors import DataError
from bids_encoder.fingerprints.mean_interval import (
    CONFIDENCE,
    NOT_COVERED,
    RESAMPLED,
    WHERE_NONE,
    mean_interval,
)
from bids_encoder.rsa.statistics import noise_ceiling

if TYPE_CHECKING:
    import pandas

_SAME_CHOICE = "voxels chosen by the samples that are compared"


def _end(which: str) -> str:
    return uncertain(
        f"{which} end of the {CONFIDENCE:.0%} interval of that mean ({WHERE_NONE}; and where the "
        "voxels of one were chosen by the samples that are compared).",
        resampled=RESAMPLED,
        not_covered=NOT_COVERED,
    )


_CEILING = {
    "resampled": "nothing: participants are correlated with each other",
    "not_covered": "how far the ceiling itself may be off with so few participants, other "
    "pictures, and what is alike in all of them without being about the pictures",
}
COLUMNS = {
    "region": "Region of the brain.",
    "layer": "Layer of the network, from shallow to deep; pixels: the pictures themselves.",
    "participants": "Number of participants with this region.",
    "untested": f"Number of those whose {_SAME_CHOICE}: their values are too high, also in pure "
    "noise, so that neither interval nor ceiling is given.",
    "pearson": "Mean over participants of the Pearson correlation, over pairs of pictures, of "
    "similarity of response patterns with similarity in the layer.",
    "pearson_low": _end("Low"),
    "pearson_high": _end("High"),
    "spearman": "Mean over participants of the rank correlation.",
    "encoding_r": "Mean over participants of the held-out r of the region's voxels (encoding).",
    "encoding_r_low": _end("Low"),
    "encoding_r_high": _end("High"),
    "ceiling_low": uncertain(
        "Noise ceiling across participants, lower bound: mean correlation of one participant's "
        "similarities with the mean of the others', over pairs of pictures that are compared in "
        "all.",
        **_CEILING,
    ),
    "ceiling_high": uncertain(
        "Upper bound: with the mean of all, in which each takes part: in pure noise, whose lower "
        "bound is 0, it is 1 / sqrt(participants).",
        **_CEILING,
    ),
    "common_stimuli": "Number of sampled pictures that are compared in all participants.",
}


def write_group_similarity(
    datasets: Mapping[str, Path], members: Sequence[SavedAnalysis], mixed: Sequence[str] = ()
) -> list[str]:
    """Write one table an atlas, and one of the best quarter of voxels.

    Parameters
    ----------
    datasets : mapping of str to Path
        As :func:`bids_encoder.derivatives.dataset_description.init_dataset` returns them.
    members : sequence of SavedAnalysis
        Participants who were analysed alike.
    mixed : sequence of str
        Settings that differ between them all the same.

    Returns
    -------
    list of str
        What was written, in a few words; nothing where no participant has tables.
    """
    tables = [one.of_atlases("similarity") for one in members]
    names = {key: members[0].names[key] for key in ("task", "network", *PLACE)}
    said, asked = [], set()
    for atlas in dict.fromkeys(name for found in tables for name in found):
        paths = [found[atlas] for found in tables if atlas in found]
        matrices = [one.of_atlases("similarities").get(atlas) for one in members]
        sources = [*paths, *(path for path in matrices if path is not None)]
        settings: dict[str, object] = {
            "members": {one.names["sub"]: one.sidecar["SettingsHash"] for one in members}
        }
        settings |= {"mixed_settings": list(mixed)} if mixed else {}
        analysis = start_analysis(
            datasets, {**names, "atlas": atlas}, settings=settings, sources=sources
        )
        if not is_done(analysis, "group_similarity"):
            columns = summarise(
                [with_choice(read_table(path)) for path in paths],
                _ceilings([path for path in matrices if path is not None]),
            )
            write_table(analysis, "group_similarity", columns, COLUMNS)
        asked.add(analysis.hash)
        said.append(f"similarity in {atlas or 'the best quarter of voxels'}")
    nothing = start_analysis(datasets, names, settings={}, sources=())
    remove_old_group(nothing, "group_similarity", ("groupsimilarity",), asked)
    return said


def summarise(
    tables: Sequence[pandas.DataFrame], ceilings: Mapping[str, tuple[float, float, int]]
) -> dict[str, list]:
    """Columns of the group's table.

    Parameters
    ----------
    tables : sequence of DataFrame
        One a participant, as :func:`bids_encoder.analysis.rsa.write_neural_code` writes them.
    ceilings : mapping of region to (lower, upper, number of common stimuli)
    """
    import pandas

    everything = pandas.concat(tables)
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    nothing = (np.nan, np.nan, 0)
    for (region, layer), rows in everything.groupby(["region", "layer"], sort=False):
        low, high, common = ceilings.get(region, nothing)
        untested = int(np.count_nonzero(rows["chosen_on"] == SAME))
        if untested:
            low, high = np.nan, np.nan
        row = {
            "region": region,
            "layer": layer,
            "participants": len(rows),
            "untested": untested,
            "spearman": rows["spearman"].mean(),
            "ceiling_low": low,
            "ceiling_high": high,
            "common_stimuli": common,
        }
        for name in ("pearson", "encoding_r"):
            values = rows[name].to_numpy(dtype=np.float64)
            mean, *ends = (one[0] for one in mean_interval(values[:, None]))
            low_end, high_end = (np.nan, np.nan) if untested else ends
            row |= {name: mean, f"{name}_low": low_end, f"{name}_high": high_end}
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _ceilings(paths: Sequence[Path]) -> dict[str, tuple[float, float, int]]:
    """Noise ceiling of each region across the participants who have it."""
    import h5py

    measured: dict[str, list[tuple[list[str], np.ndarray]]] = {}
    for path in paths:
        try:
            with h5py.File(verified(path)) as file:
                stimuli = file["stimuli"].asstr()[()].tolist()
                for region, values in zip(
                    file["regions"].asstr()[()], file["region_similarity"][()], strict=True
                ):
                    measured.setdefault(region, []).append((stimuli, values))
        except (OSError, KeyError) as error:
            raise DataError(
                "Similarities that an earlier run wrote cannot be read.",
                file=path,
                found=str(error),
                remedy="remove the file and run the participant again",
            ) from None
    return {region: _ceiling(rows) for region, rows in measured.items()}


def _ceiling(rows: Sequence[tuple[list[str], np.ndarray]]) -> tuple[float, float, int]:
    """Noise ceiling over the pictures that are compared in all participants, and their number."""
    squares = [_square(values, len(stimuli)) for stimuli, values in rows]
    compared = [
        {name for name, some in zip(stimuli, np.isfinite(square).any(axis=0), strict=True) if some}
        for (stimuli, _), square in zip(rows, squares, strict=True)
    ]
    common = sorted(set.intersection(*compared))
    if len(rows) < 2 or len(common) < 4:
        return np.nan, np.nan, len(common)
    upper = np.triu_indices(len(common), k=1)
    measured = []
    for (stimuli, _), square in zip(rows, squares, strict=True):
        place = {name: i for i, name in enumerate(stimuli)}
        kept = [place[name] for name in common]
        measured.append(square[np.ix_(kept, kept)][upper])
    return *noise_ceiling(np.stack(measured)), len(common)


def _square(values: np.ndarray, n: int) -> np.ndarray:
    """Similarities of pairs as a symmetric matrix; NaN on its diagonal."""
    square = np.full((n, n), np.nan)
    upper = np.triu_indices(n, k=1)
    square[upper] = square.T[upper] = values
    return square
