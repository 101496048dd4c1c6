"""The neural code in the data of one analysis.

Three tables: how smoothly the layers follow the pictures (functional smoothness),
which layers agree with which regions on what is alike (similarity analysis), and how
alike neighbouring voxels are (super-voxel smoothness).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder import console
from bids_encoder.bids.derivatives import Analysis, is_done, write_table, write_weights
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.neighbourhood import among
from bids_encoder.networks.preprocess import fit_to_square
from bids_encoder.neural_code.compare import Halves, compare, compare_halves
from bids_encoder.neural_code.similarity import (
    bootstrap_interval,
    gini,
    pairs,
    pearson,
    sample_items,
    similarity_matrix,
)
from bids_encoder.neural_code.voxels import neighbour_similarity
from bids_encoder.plan import Plan
from bids_encoder.responses.atlas import Regions
from bids_encoder.responses.measure import Measured
from bids_encoder.settings import NeuralCode
from bids_encoder.similarity_columns import (
    BEST,
    CHOICE,
    FAR,
    NEIGHBOURS,
    PATTERNS,
    SIMILARITY,
    SMOOTHNESS,
)
from bids_encoder.stimuli.segments import Segment, pictures_of
from bids_encoder.summary import LayerScores

PIXELS = "pixels"  # what the layer before the first is called
PREDICTED = "predicted"  # the region of the best-predicted voxels
_SIDE = 32
_FEWEST = 5  # voxels of a region


@dataclass(frozen=True)
class _Pictures:
    """The sampled pictures, and how alike they are in each layer.

    Attributes
    ----------
    items : tuple of n str
    layers : tuple of str
        "pixels" first.
    matrices : (L, n, n) float32
    """

    items: tuple[str, ...]
    layers: tuple[str, ...]
    matrices: np.ndarray


def sampled_stimuli(chosen: NeuralCode, stimuli: Sequence[str]) -> list[str]:
    """The stimuli whose similarities are looked at; none when they are not wanted."""
    if chosen.no_neural_code:
        return []
    return sample_items(sorted(stimuli), chosen.similarity_items, chosen.similarity_seed)


def tables_are_done(
    chosen: NeuralCode, analysis: Analysis, atlases: Sequence[Regions] = ()
) -> bool:
    """Whether there is nothing left for :func:`write_neural_code` to do."""
    # The neighbours' table is the last one that is written of each.
    return chosen.no_neural_code or all(
        is_done(_own(chosen, analysis, atlas), "neighbours", atlas=atlas and atlas.atlas)
        for atlas in (None, *atlases)
    )


def write_neural_code(
    chosen: NeuralCode,
    analysis: Analysis,
    plan: Plan,
    store: FeatureStore,
    measured: Measured,
    scores: Sequence[LayerScores],
    atlases: Sequence[Regions] = (),
) -> None:
    """Compute the tables of the neural code and write them.

    Parameters
    ----------
    chosen : NeuralCode
    analysis : Analysis
    plan : Plan
    store : FeatureStore
    measured : Measured
    scores : sequence of LayerScores
        They choose the best-predicted voxels, which are the region ``predicted``.
    atlases : sequence of Regions
        On the voxels of the analysis; each gets tables of its own.
    """
    if tables_are_done(chosen, analysis, atlases):
        return
    with console.stage("similarity") as words:
        items = sampled_stimuli(chosen, list(plan.stimuli))
        estimated = measured.responses.stimuli
        if estimated is not None:  # responses of some lie outside of the runs
            items = [item for item in items if item in frozenset(estimated)]
        extra = {
            "NumberOfStimuli": len(plan.stimuli),
            "NumberOfSampledStimuli": len(items),
            "NumberOfPairs": len(items) * (len(items) - 1) // 2,
            "SamplingSeed": chosen.similarity_seed if len(items) < len(plan.stimuli) else None,
        }
        files = {item: plan.stimuli[item] for item in items}
        pictures = _write_smoothness(_own(chosen, analysis, None), store, files, extra)
        words.append(f"{len(items)} pictures")
        for atlas in (None, *atlases):
            own, name = _own(chosen, analysis, atlas), atlas and atlas.atlas
            regions = _predicted(scores) if atlas is None else _members(atlas, measured)
            if regions and plan.design.kind == "events":
                about = {**extra, "RegionChoice": atlas.source if atlas else CHOICE, **PATTERNS}
                _write_similarity(own, chosen, pictures, measured, scores, regions, about, name)
            _write_neighbours(own, measured, regions, name, chosen.similarity_seed)
            if atlas is not None:
                words.append(f"{len(regions)} regions of {name}")
        if plan.design.kind != "events":
            words.append("layers only: responses to single pictures overlap in time")


def _own(chosen: NeuralCode, analysis: Analysis, atlas: Regions | None) -> Analysis:
    """The analysis with the settings that only these tables depend on."""
    regions = b"" if atlas is None else repr(atlas.names).encode() + atlas.labels.tobytes()
    return analysis.with_settings(
        similarity_items=chosen.similarity_items,
        similarity_permutations=chosen.similarity_permutations,
        similarity_seed=chosen.similarity_seed,
        regions=hashlib.sha256(regions).hexdigest() if regions else None,
    )


def pixel_values(stimuli: Sequence[Path | Segment], side: int = _SIDE) -> np.ndarray:
    """Pictures as a network sees them (whole, on grey), scaled down: (n, side² × 3) float32.

    Of a film, or of a stretch of one, it is the frame in the middle.
    """
    squares = pictures_of(stimuli, lambda picture: fit_to_square(picture, side))
    return np.stack(squares).reshape(len(stimuli), -1).astype(np.float32)


def _write_smoothness(
    own: Analysis,
    store: FeatureStore,
    files: Mapping[str, Path | Segment],
    extra: Mapping[str, object],
) -> _Pictures:
    items = tuple(files)
    matrices = [similarity_matrix(pixel_values(list(files.values())))]
    rows = []
    for layer in store.layers:
        values = store.load(layer, items).values
        matrices.append(similarity_matrix(values))
        here, before, pixels = matrices[-1], matrices[-2], matrices[0]
        low, high = bootstrap_interval(here, pixels)
        to_pixels = pearson(pairs(here), pairs(pixels))
        to_previous = pearson(pairs(here), pairs(before))
        sparse = float(np.mean([gini(row) for row in values]))
        rows.append((layer, values.shape[1], to_pixels, low, high, to_previous, sparse))
    extra = {
        **extra,
        "Pixels": f"Pictures scaled to fit {_SIDE} x {_SIDE} pixels, margins grey, RGB; of films, "
        "the frame in the middle.",
        "Features": "As the encoding models use them: smoothed, subsampled, log-compressed.",
    }
    write_table(own, "smoothness", _columns(SMOOTHNESS, rows), SMOOTHNESS, extra=extra)
    return _Pictures(items, (PIXELS, *store.layers), np.stack(matrices))


def _predicted(scores: Sequence[LayerScores]) -> dict[str, np.ndarray]:
    top = np.fmax.reduce([score.r for score in scores])
    scored = np.isfinite(top)
    if np.count_nonzero(scored) < _FEWEST:
        return {}
    best = np.zeros(top.shape, bool)
    best[scored] = top[scored] >= np.quantile(top[scored], 1 - BEST)
    return {PREDICTED: best}


def _members(atlas: Regions, measured: Measured) -> dict[str, np.ndarray]:
    """Voxels of each region that have usable responses; tiny regions are left out."""
    usable = np.isfinite(measured.responses.values[0])
    found = {name: (atlas.labels == number) & usable for number, name in atlas.names.items()}
    return {name: there for name, there in found.items() if there.sum() >= _FEWEST}


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")


def _write_similarity(
    own: Analysis,
    chosen: NeuralCode,
    pictures: _Pictures,
    measured: Measured,
    scores: Sequence[LayerScores],
    regions: Mapping[str, np.ndarray],
    about: Mapping[str, object],
    atlas: str | None,
) -> None:
    """Compare each region's similarities with each layer's."""
    row_of = {name: row for row, name in enumerate(measured.responses.stimuli)}
    responses = measured.responses.values[[row_of[item] for item in pictures.items]]
    found = compare(
        pictures.matrices,
        [responses[:, voxels] for voxels in regions.values()],
        permutations=chosen.similarity_permutations,
        seed=chosen.similarity_seed,
    )
    rows = []
    for (region, voxels), one in zip(regions.items(), found, strict=True):
        half = _halves(pictures, measured, voxels)
        for i, layer in enumerate(pictures.layers):
            encoding = np.nan if i == 0 else _mean(scores[i - 1].r[voxels])
            rows.append(
                (region, int(voxels.sum()), layer, one.pearson[i], *one.interval[:, i])
                + (one.spearman[i], one.p[i], half.pearson[i], *half.ceiling)
                + (half.crossvalidated[i], encoding)
            )
    arrays = {
        "stimuli": list(pictures.items),
        "layers": list(pictures.layers),
        "layer_similarity": pairs(pictures.matrices).astype(np.float32),
        "regions": list(regions),
        "region_similarity": np.stack([pairs(one.similarity) for one in found]).astype(np.float32),
    }
    order = {"pairs": "above the diagonal, row after row", "order": "as stimuli"}
    write_weights(own, "similarities", arrays, order, atlas=atlas)
    write_table(own, "similarity", _columns(SIMILARITY, rows), SIMILARITY, extra=about, atlas=atlas)


def _halves(pictures: _Pictures, measured: Measured, voxels: np.ndarray) -> Halves:
    """What two measurements of the same pictures allow; NaN without repeats."""
    if measured.halves is None:
        none = np.full(len(pictures.layers), np.nan)
        return Halves(none, none[:2], none)
    place = {name: i for i, name in enumerate(pictures.items)}
    kept = [place[name] for name in measured.halves.stimuli]
    first, second = (half[:, voxels] for half in (measured.halves.first, measured.halves.second))
    return compare_halves(pictures.matrices[:, kept][:, :, kept], first, second)


def _write_neighbours(own, measured: Measured, regions, atlas: str | None, seed: int) -> None:
    grid = measured.responses.grid
    places, touching = grid.places, grid.neighbours()
    usable = np.isfinite(measured.responses.values[0])
    rows = []
    everywhere = {"all voxels": usable} if atlas is None else {}
    for name, voxels in {**everywhere, **regions}.items():
        there = voxels & usable
        how = {"near": among(touching, there), "distance": FAR, "seed": seed}
        values = measured.responses.values[:, there]
        plain = neighbour_similarity(values, places[there], **how)
        crossed = None
        if measured.halves is not None:
            first, second = measured.halves.first[:, there], measured.halves.second[:, there]
            crossed = neighbour_similarity(first, places[there], second, **how)
        rows.append(
            (name, int(there.sum()), plain.near, plain.far)
            + ((crossed.near, crossed.far) if crossed else (np.nan, np.nan))
            + (plain.near_pairs, plain.far_pairs)
        )
    extra = {"Profiles": "Over stimuli (events) or volumes (continuous designs)."}
    columns = _columns(NEIGHBOURS, rows)
    write_table(own, "neighbours", columns, NEIGHBOURS, extra=extra, atlas=atlas)


def _columns(meanings: Mapping[str, str], rows: Sequence[tuple]) -> dict[str, list]:
    return {name: [row[i] for row in rows] for i, name in enumerate(meanings)}
