"""Regions that are compared with layers: those of an atlas, and the best-predicted voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bids_encoder.analysis.measured_data import MeasuredData
from bids_encoder.analysis.predicted_region import FEWEST_VOXELS, find_predicted_region, mean_score
from bids_encoder.analysis.summary_tables import LayerScores
from bids_encoder.derivatives.rsa_columns import ATLAS, BEST_QUARTER, CHOICES, SAME
from bids_encoder.features.kernels import LayerKernels
from bids_encoder.features.store import FeatureStore
from bids_encoder.regions.volume_labels import Regions
from bids_encoder.responses.measure import Measured


@dataclass(frozen=True)
class ComparedRegion:
    """A region of the brain, and what is looked at in it.

    Attributes
    ----------
    name : str
    voxels : (V,) bool
    compared : (n,) bool
        Rows of the responses.
    chosen_on : str
        One of ``CHOICES``.
    encoding_r : (L,) array
        Mean held-out r of the voxels.
    """

    name: str
    voxels: np.ndarray
    compared: np.ndarray
    chosen_on: str
    encoding_r: np.ndarray

    @property
    def is_tested(self) -> bool:
        """Whether p, intervals and ceilings mean anything."""
        return self.chosen_on != SAME


def best_predicted(
    data: MeasuredData, store: FeatureStore, scores: Sequence[LayerScores], items: Sequence[str]
) -> tuple[list[ComparedRegion], dict[str, object]]:
    """The region of the best-predicted voxels, if there are any; and how they were chosen.

    Parameters
    ----------
    data : MeasuredData
    store : FeatureStore
    scores : sequence of LayerScores
    items : sequence of str
        Pictures whose similarities are looked at.

    Returns
    -------
    list of ComparedRegion
        One or none.
    dict
        For a sidecar.
    """
    settings = data.settings
    found = find_predicted_region(
        data.responses,
        data.grouping.groups,
        data.held,
        scores,
        lru_cache(maxsize=1)(LayerKernels(data.samples, store).of),
        items,
        seed=settings.neural_code.similarity_seed,
        nested=settings.encoding.nested,
        mem_bytes=data.spare_memory,
        device=data.device,
    )
    if found is None:
        return [], {}
    region = ComparedRegion(
        BEST_QUARTER, found.voxels, found.compared, found.chosen_on, found.encoding_r
    )
    return [region], {
        "RegionChoice": CHOICES[found.chosen_on],
        "SamplesThatChose": found.n_choosing,
        "SamplesCompared": int(np.count_nonzero(found.compared)),
    }


def atlas_regions(
    atlas: Regions, measured: Measured, scores: Sequence[LayerScores]
) -> list[ComparedRegion]:
    """The regions of an atlas: voxels with usable responses; tiny regions are left out."""
    usable = np.isfinite(measured.responses.values[0])
    everything = np.ones(len(measured.responses.values), dtype=bool)
    found = {name: (atlas.labels == number) & usable for number, name in atlas.names.items()}
    return [
        ComparedRegion(
            name, there, everything, ATLAS, np.array([mean_score(one.r[there]) for one in scores])
        )
        for name, there in found.items()
        if there.sum() >= FEWEST_VOXELS
    ]
