"""What the tables of the neural code say: their columns, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.derivatives.meanings import uncertain

if TYPE_CHECKING:
    import pandas

BEST_QUARTER = "best quarter"  # the region of the voxels with the highest scores, passed or not
FAR = 4.0  # voxels
BEST = 0.25
# What chose the voxels of a region.
ATLAS, OTHERS, TRAINING, SAME = "atlas", "other samples", "training set", "same samples"
_VOXELS = f"The {BEST:.0%} of voxels with the highest held-out r of any layer"
CHOICES = {
    OTHERS: f"{_VOXELS}, by models of a part of the pictures (or volumes) that is compared with "
    "nothing.",
    TRAINING: f"{_VOXELS}, by models of the training set; compared is the test set.",
    SAME: f"{_VOXELS}, chosen by the same responses that are compared: there were too few to set "
    "some apart. Values are too high, also in pure noise; therefore there is no p, no interval and "
    "no noise ceiling.",
}
_CHOSEN_ON = (
    f"What chose the voxels: {ATLAS} (an atlas, or all voxels), {OTHERS} (than those compared), "
    f"{TRAINING} (compared is the test set), {SAME} (values are too high, also in pure noise)."
)
PATTERNS = {
    "Patterns": "Responses z-scored per voxel, averaged over repeats; their similarity is the "
    "Pearson correlation over the voxels of the region."
}

_NONE = " (n/a where the voxels were chosen by the same samples)"
_OVER_PICTURES = {
    "resampled": "pictures with replacement, pairs of a picture with its own copy left out; what "
    "this makes too wide where there is little agreement is taken back",
    "not_covered": "the choice of voxels, and what other participants would show",
}
_PICTURES_ALONE = {
    "resampled": _OVER_PICTURES["resampled"],
    "not_covered": "pictures of another kind, and other networks",
}
_HALVES = {
    "resampled": "nothing: two halves of the runs are correlated",
    "not_covered": "how far the ceiling itself may be off, other pictures and other participants",
}

SMOOTHNESS = {
    "layer": "Layer of the network, from shallow to deep.",
    "units": "Number of features of the layer.",
    "to_pixels": "Functional smoothness: Pearson correlation, over pairs of pictures, of their "
    "similarity in this layer with their similarity as pixels.",
    "to_pixels_low": uncertain("Low end of its 95 % interval.", **_PICTURES_ALONE),
    "to_pixels_high": uncertain("High end of that interval.", **_PICTURES_ALONE),
    "to_previous": "The same with similarity in the layer before (for the first layer: pixels).",
    "gini": "Gini coefficient of the layer's features, mean over pictures: 0 where all features "
    "are equally active, towards 1 where few are.",
}
SIMILARITY = {
    "region": "Region of the brain.",
    "voxels": "Number of its voxels.",
    "chosen_on": _CHOSEN_ON,
    "pictures": "Number of pictures that are compared, two by two.",
    "layer": "Layer of the network, from shallow to deep; pixels: the pictures themselves.",
    "pearson": "Pearson correlation, over pairs of pictures, of the similarity of the region's "
    "response patterns with the similarity in the layer.",
    "pearson_low": uncertain(f"Low end of its 95 % interval{_NONE}.", **_OVER_PICTURES),
    "pearson_high": uncertain(f"High end of that interval{_NONE}.", **_OVER_PICTURES),
    "spearman": "The same with ranks of the similarities (Spearman).",
    "p": uncertain(
        "p-value of the Pearson correlation, one-sided, (1 + as good) / (1 + permutations)"
        f"{_NONE}.",
        resampled="the pictures that are compared, which are shuffled",
        not_covered="the number of layers and regions, other participants, and noise that pictures "
        "share which are shown one after the other: it holds for pictures in random order, not for "
        "blocks of one category",
    ),
    "pearson_half": "Mean of the Pearson correlations with the similarities measured in each of "
    "two halves of the runs: to be compared with the noise ceiling.",
    "ceiling_low": uncertain(
        "Noise ceiling of a half, lower bound: correlation of the two halves, over the pictures "
        f"that are compared{_NONE}.",
        **_HALVES,
    ),
    "ceiling_high": uncertain(
        "Noise ceiling of a half, upper bound: mean correlation of the halves with their mean, in "
        "which they take part: 0.71 in pure noise, whose lower bound is 0.",
        **_HALVES,
    ),
    "crossvalidated": "Pearson correlation of the layer's dissimilarities (1 - similarity) with "
    "cross-validated squared distances of the response patterns of the two halves.",
    "encoding_r": "Mean over the region's voxels of the correlation r of held-out responses with "
    "their prediction from the layer (the encoding model). Of the best-predicted voxels: from "
    "models of those samples alone that had no part in the choice (or on the test set).",
}
NEIGHBOURS = {
    "region": "Region of the brain.",
    "voxels": "Number of its voxels.",
    "chosen_on": _CHOSEN_ON,
    "near_r": "Mean Pearson correlation of the response profiles of voxels that share a face.",
    "far_r": f"The same of voxels at least {FAR:g} voxels apart.",
    "near_r_crossed": "As near_r, one voxel's profile from one half of the runs, the other's from "
    "the other half, so that noise that voxels share does not count.",
    "far_r_crossed": "As far_r, across the halves.",
    "near_pairs": "Number of pairs of voxels that share a face.",
    "far_pairs": "Number of pairs of voxels far from each other.",
}


def with_choice(table: pandas.DataFrame) -> pandas.DataFrame:
    """A table of the similarity analysis in which every row says what chose its voxels.

    Tables of earlier versions do not: their best-predicted voxels were chosen by the samples that
    are compared, so that p, intervals and ceilings of these rows go.
    """
    if "chosen_on" in table:
        return table
    table = table.assign(chosen_on=ATLAS)
    untested = table["region"] == BEST_QUARTER
    table.loc[untested, "chosen_on"] = SAME
    table.loc[untested, ["pearson_low", "pearson_high", "p", "ceiling_low", "ceiling_high"]] = (
        np.nan
    )
    return table
