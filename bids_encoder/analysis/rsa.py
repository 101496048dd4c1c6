"""The neural code in the data of one analysis.

Three tables: how smoothly the layers follow the pictures (functional smoothness),
which layers agree with which regions on what is alike (similarity analysis), and how
alike neighbouring voxels are (super-voxel smoothness).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from bids_encoder.analysis.compared_regions import ComparedRegion, atlas_regions, best_predicted
from bids_encoder.analysis.measured_data import MeasuredData
from bids_encoder.analysis.predicted_region import (
    SHARE,
    sampled_stimuli,
)
from bids_encoder.analysis.summary_tables import LayerScores
from bids_encoder.config.settings import NeuralCodeSettings
from bids_encoder.derivatives.rsa_columns import (
    ATLAS,
    FAR,
    NEIGHBOURS,
    PATTERNS,
    SIMILARITY,
    SMOOTHNESS,
)
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import Analysis, is_done, write_table, write_weights
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.neighbourhood import among
from bids_encoder.networks.preprocess import fit_to_square
from bids_encoder.regions.volume_labels import Regions, region_stamp
from bids_encoder.responses.measure import Measured
from bids_encoder.rsa.compare import ComparedHalves, Comparison, compare, compare_halves
from bids_encoder.rsa.neighbouring_voxels import neighbour_similarity
from bids_encoder.rsa.similarity import (
    bootstrap_interval,
    gini,
    pairs,
    pearson,
    similarity_matrix,
)
from bids_encoder.runtime import console
from bids_encoder.stimuli.segments import Segment, pictures_of

logger = logging.getLogger(__name__)

PIXELS = "pixels"  # what the layer before the first is called
_OF_PATTERNS = ("similarity", "similarities")
_SIDE = 32
# What the sidecar of the last table says too; "Beside": the kinds of files beside it.
_OF_THE_CHOICE = ("RegionChoice", "SamplesThatChose", "SamplesCompared", "Beside", "Warnings")


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


def tables_are_done(
    chosen: NeuralCodeSettings, analysis: Analysis, atlases: Sequence[Regions] = ()
) -> bool:
    """Whether there is nothing left for :func:`write_neural_code` to do."""
    if chosen.no_neural_code:
        return True
    for atlas in (None, *atlases):
        own, name = _own(chosen, analysis, atlas), _label(atlas)
        if not is_done(own, "neighbours", atlas=name):  # the last one that is written of each
            return False
        also = sidecar_of(own.path("neighbours", atlas=name)).get("Beside", ())
        if not all(is_done(own, kind, atlas=name) for kind in also):
            return False
    return is_done(_own(chosen, analysis, None), "smoothness")


def table_parts(
    chosen: NeuralCodeSettings, analysis: Analysis, atlases: Sequence[Regions] = ()
) -> list[Analysis]:
    """What the tables that are asked for belong to."""
    some = () if chosen.no_neural_code else (None, *atlases)
    return [_own(chosen, analysis, atlas) for atlas in some]


def write_neural_code(
    chosen: NeuralCodeSettings,
    analysis: Analysis,
    data: MeasuredData,
    store: FeatureStore,
    scores: Sequence[LayerScores],
    atlases: Sequence[Regions] = (),
) -> None:
    """Compute the tables of the neural code and write them.

    Parameters
    ----------
    chosen : NeuralCodeSettings
    analysis : Analysis
    data : MeasuredData
        Responses and samples of the plan.
    store : FeatureStore
    scores : sequence of LayerScores
    atlases : sequence of Regions
        On the voxels of the analysis; each gets tables of its own.
    """
    if tables_are_done(chosen, analysis, atlases):
        for own in table_parts(chosen, analysis)[:1]:  # what was warned of holds still
            for warning in sidecar_of(own.path("neighbours")).get("Warnings", ()):
                logger.warning(warning)
        return
    plan, measured = data.plan, data.measured
    with console.stage("similarity") as words:
        items = sampled_stimuli(chosen, plan)
        estimated = measured.responses.stimuli
        # Whose responses are known one by one.
        apart = estimated if plan.design.kind == "events" else None
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
            own, name = _own(chosen, analysis, atlas), _label(atlas)
            if atlas is None:
                with console.collected_warnings() as warnings:
                    regions, choice = best_predicted(data, store, scores, items)
                about = {**extra, **choice, **PATTERNS, "Warnings": list(warnings)}
            else:
                regions = atlas_regions(atlas, measured, scores)
                about = {**extra, "RegionChoice": atlas.source, **PATTERNS}
            if regions and apart is not None:
                _write_similarity(own, chosen, pictures, measured, apart, regions, about, name)
            about["Beside"] = list(_OF_PATTERNS if regions and apart is not None else ())
            _write_neighbours(own, measured, regions, about, name, chosen.similarity_seed)
            if atlas is not None:
                words.append(f"{len(regions)} regions of {name}")
        if plan.design.kind != "events":
            words.append("layers only: responses to single pictures overlap in time")


def _label(atlas: Regions | None) -> str | None:
    """What tables are named after; those of the best-predicted voxels have no such label."""
    return None if atlas is None else atlas.atlas


def _own(chosen: NeuralCodeSettings, analysis: Analysis, atlas: Regions | None) -> Analysis:
    """The analysis with the settings that only these tables depend on."""
    return analysis.with_settings(
        similarity_items=chosen.similarity_items,
        similarity_permutations=chosen.similarity_permutations,
        similarity_seed=chosen.similarity_seed,
        similarity_choice=f"a share of {SHARE:.3g} of the samples chooses, the rest is compared",
        regions=atlas and region_stamp(atlas),
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


def _write_similarity(
    own: Analysis,
    chosen: NeuralCodeSettings,
    pictures: _Pictures,
    measured: Measured,
    stimuli: Sequence[str],
    regions: Sequence[ComparedRegion],
    about: Mapping[str, object],
    atlas: str | None,
) -> None:
    """Compare each region's similarities with each layer's."""
    # All regions of a table are compared by the same pictures, and permuted together.
    compared = dict(zip(stimuli, regions[0].compared, strict=True))
    kept = np.array([compared[item] for item in pictures.items])
    ours = _Pictures(
        tuple(item for item, keep in zip(pictures.items, kept, strict=True) if keep),
        pictures.layers,
        pictures.matrices[:, kept][:, :, kept],
    )
    row_of = {name: row for row, name in enumerate(stimuli)}
    responses = measured.responses.values[[row_of[item] for item in ours.items]]
    found = compare(
        ours.matrices,
        [responses[:, region.voxels] for region in regions],
        permutations=chosen.similarity_permutations,
        seed=chosen.similarity_seed,
    )
    rows = []
    for region, one in zip(regions, found, strict=True):
        half = _halves(ours, measured, region.voxels)
        if not region.is_tested:
            one, half = _untested(one), _untested_halves(half)
        for i, layer in enumerate(ours.layers):
            encoding = np.nan if i == 0 else region.encoding_r[i - 1]
            rows.append(
                (region.name, int(region.voxels.sum()), region.chosen_on, len(ours.items))
                + (layer, one.pearson[i], *one.interval[:, i])
                + (one.spearman[i], one.p[i], half.pearson[i], *half.ceiling)
                + (half.crossvalidated[i], encoding)
            )
    similar = np.full((len(regions), len(kept), len(kept)), np.nan, np.float32)
    similar[np.ix_(np.arange(len(regions)), kept, kept)] = [one.similarity for one in found]
    arrays: dict[str, np.ndarray | Sequence[str]] = {
        "stimuli": list(pictures.items),
        "layers": list(pictures.layers),
        "layer_similarity": pairs(pictures.matrices).astype(np.float32),
        "regions": [region.name for region in regions],
        "region_similarity": pairs(similar),
    }
    order = {
        "pairs": "above the diagonal, row after row",
        "order": "as stimuli",
        "region_similarity": "NaN: one of the pictures had a part in the choice of the voxels",
    }
    write_weights(own, "similarities", arrays, order, atlas=atlas)
    write_table(own, "similarity", _columns(SIMILARITY, rows), SIMILARITY, extra=about, atlas=atlas)


def _untested(one: Comparison) -> Comparison:
    """Without what would count noise as agreement."""
    return replace(one, interval=np.full_like(one.interval, np.nan), p=np.full_like(one.p, np.nan))


def _untested_halves(half: ComparedHalves) -> ComparedHalves:
    return replace(half, ceiling=np.full(2, np.nan))


def _halves(pictures: _Pictures, measured: Measured, voxels: np.ndarray) -> ComparedHalves:
    """What two measurements of the same pictures allow; NaN without repeats."""
    place = {name: i for i, name in enumerate(pictures.items)}
    halves = measured.halves
    twice = () if halves is None else halves.stimuli
    rows = [row for row, name in enumerate(twice) if name in place]
    if halves is None or not rows:
        none = np.full(len(pictures.layers), np.nan)
        return ComparedHalves(none, none[:2], none)
    kept = [place[twice[row]] for row in rows]
    first, second = (half[rows][:, voxels] for half in (halves.first, halves.second))
    return compare_halves(pictures.matrices[:, kept][:, :, kept], first, second)


def _write_neighbours(
    own: Analysis,
    measured: Measured,
    regions: Sequence[ComparedRegion],
    about: Mapping[str, object],
    atlas: str | None,
    seed: int,
) -> None:
    responses, halves = measured.responses, measured.halves
    places, touching = responses.grid.places, responses.grid.neighbours()
    usable = np.isfinite(responses.values[0])
    everything = np.ones(len(responses.values), dtype=bool)
    whole = ComparedRegion("all voxels", usable, everything, ATLAS, np.empty(0))
    rows = []
    for region in (*([whole] if atlas is None else []), *regions):
        there, compared = region.voxels & usable, region.compared
        correlate = partial(
            neighbour_similarity, near=among(touching, there), distance=FAR, seed=seed
        )
        # All rows of a region are taken without a copy of the whole matrix.
        some = slice(None) if compared.all() else compared
        values = responses.values[some][:, there]
        plain = correlate(values, places[there])
        near_crossed, far_crossed = np.nan, np.nan
        if halves is not None and responses.stimuli is not None:
            row_of = dict(zip(responses.stimuli, compared, strict=True))
            kept = [row_of[name] for name in halves.stimuli]
            if sum(kept) > 2:
                first, second = halves.first[kept][:, there], halves.second[kept][:, there]
                crossed = correlate(first, places[there], second)
                near_crossed, far_crossed = crossed.near, crossed.far
        rows.append(
            (region.name, int(there.sum()), region.chosen_on, plain.near, plain.far)
            + (near_crossed, far_crossed, plain.near_pairs, plain.far_pairs)
        )
    extra: dict[str, object] = {
        "Profiles": "Over stimuli (events) or volumes (continuous designs)."
    }
    extra |= {key: about[key] for key in _OF_THE_CHOICE if key in about}
    columns = _columns(NEIGHBOURS, rows)
    write_table(own, "neighbours", columns, NEIGHBOURS, extra=extra, atlas=atlas)


def _columns(meanings: Mapping[str, str], rows: Sequence[tuple]) -> dict[str, list]:
    return {name: [row[i] for row in rows] for i, name in enumerate(meanings)}
