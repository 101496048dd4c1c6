from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.encoding import recombine
from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.inputs import sort_by_fold
from bids_encoder.encoding.null import null_distribution
from bids_encoder.encoding.permute import permutations, permute
from bids_encoder.encoding.recombine import FEWEST_VOXELS, cut_parts, versions_for
from bids_encoder.encoding.ridge import fit, linear_kernel

VERSIONS = 7
PERMUTATIONS = VERSIONS**2


@pytest.mark.parametrize(
    "sizes", [(25, 35), (20, 21, 22), (9, 14, 8, 10, 12, 11, 9), (4, 5, 6) * 4]
)
@pytest.mark.parametrize("n_versions", [7, 11])
def test_scores_are_those_of_single_fits(sizes, n_versions, monkeypatch):
    """With signal, offsets between folds and voxels, and folds of different sizes out of order."""
    monkeypatch.setattr(recombine, "FEWEST_VOXELS", 3)
    count = n_versions**2
    assert versions_for(3 * count) == n_versions
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    folds = make_folds(groups, max_folds=len(sizes))
    features = [rng.standard_normal((len(groups), p)) for p in (15, 200)]
    kernels = [linear_kernel(one) for one in features]
    responses = features[0] @ rng.standard_normal((15, 3)) + rng.standard_normal((len(groups), 3))
    responses = (responses + 5 * np.arange(3) + groups[:, None]).astype("f")
    null = null_distribution(kernels, responses, folds, n_permutations=3 * count, seed=4)

    orders = permutations(folds, 3 * n_versions, rng=np.random.default_rng(4))
    versions = permute(responses, np.repeat(np.arange(3), n_versions), orders, folds)
    parts = cut_parts(sort_by_fold(folds, len(groups))[1])
    permuted = np.empty((len(groups), 3 * count), dtype=np.float32)
    for voxel in range(3):
        for number, taken in enumerate(parts.versions(n_versions)):
            for fold, part in zip(folds, parts.of_fold, strict=True):
                permuted[fold.test, voxel * count + number] = versions[
                    fold.test, voxel * n_versions + taken[part]
                ]
    for layer, kernel in enumerate(kernels):
        expected = fit(None, permuted, folds, kernel=kernel, keep_weights=False)
        np.testing.assert_allclose(null.r2[layer], expected.r2, atol=3e-6)
        np.testing.assert_allclose(null.r[layer], expected.r, atol=3e-6)
        np.testing.assert_allclose(null.pooled_r2[layer], expected.pooled_r2, atol=3e-6)


def test_more_permutations_have_more_versions_of_no_fewer_voxels():
    assert [versions_for(n) for n in (1, 10_000, 50_000, 10**6)] == [7, 7, 17, 23]
    for n in (20_000, 50_000, 200_000):
        assert n / versions_for(n) ** 2 >= FEWEST_VOXELS


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_no_two_permutations_share_two_parts(k):
    parts = cut_parts(tuple(range(0, 5 * k + 1, 5)))
    assert len(parts.of_fold) == k
    assert len(parts.rows) == min(k, 4)
    assert (np.diff(parts.of_fold) >= 0).all()
    versions = parts.versions(VERSIONS)
    assert versions.shape == (PERMUTATIONS, min(k, 4))
    for g in range(versions.shape[1]):
        assert (np.bincount(versions[:, g]) == PERMUTATIONS // VERSIONS).all()
        for h in range(g):
            assert len(np.unique(versions[:, [g, h]], axis=0)) == PERMUTATIONS
    # Those of the same shift have no version in common: `strata` takes them as independent.
    first = versions[:VERSIONS]
    assert all(len(np.unique(column)) == VERSIONS for column in first.T)
