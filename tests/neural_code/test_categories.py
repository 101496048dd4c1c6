"""Within- and between-category similarity."""

from __future__ import annotations

import numpy as np
import pytest

from bids_encoder.rsa.similarity import similarity_matrix
from bids_encoder.simulations.categories import level_contrasts

LABELS = {
    "fine": [f"f{i // 3}" for i in range(24)],
    "middle": [f"m{i // 6}" for i in range(24)],
    "wide": [f"w{i // 12}" for i in range(24)],
}


def similarity_by_class(values=(0.8, 0.5, 0.2, -0.1)):
    """A matrix whose pairs have one similarity for each finest level at which they agree."""
    matrix = np.full((24, 24), values[3])
    for names, value in zip(reversed(LABELS.values()), values[2::-1], strict=True):
        matrix[np.equal.outer(np.array(names), np.array(names))] = value
    return matrix


def test_each_level_compares_its_class_with_the_next():
    found = level_contrasts(similarity_by_class(), LABELS, number=50)
    assert [one.level for one in found] == ["fine", "middle", "wide"]
    for one, (within, between) in zip(found, [(0.8, 0.5), (0.5, 0.2), (0.2, -0.1)], strict=True):
        np.testing.assert_allclose(one.within, within)
        np.testing.assert_allclose(one.between, between)
        np.testing.assert_allclose(one.difference, within - between)


def test_the_means_are_those_of_the_pairs():
    random = np.random.default_rng(0)
    matrix = similarity_matrix(random.standard_normal((24, 10)))
    found = level_contrasts(matrix, LABELS, number=200)
    fine = np.array(LABELS["fine"])
    middle = np.array(LABELS["middle"])
    pairs = [(i, j) for i in range(24) for j in range(i)]
    within = np.mean([matrix[i, j] for i, j in pairs if fine[i] == fine[j]])
    between = np.mean(
        [matrix[i, j] for i, j in pairs if fine[i] != fine[j] and middle[i] == middle[j]]
    )
    assert found[0].within[0] == pytest.approx(within)
    assert found[0].between[0] == pytest.approx(between)
    for one in found:
        for low, high in (one.within[1:], one.between[1:], one.difference[1:]):
            assert low < high


def test_items_of_nested_categories_differ_at_every_level():
    random = np.random.default_rng(1)
    groups = [np.repeat(random.standard_normal((k, 200)), 24 // k, axis=0) for k in (2, 4, 8, 24)]
    found = level_contrasts(similarity_matrix(np.sum(groups, axis=0)), LABELS)
    assert all(one.difference[1] > 0 for one in found)


def test_the_order_of_items_does_not_matter():
    random = np.random.default_rng(2)
    matrix = similarity_matrix(random.standard_normal((24, 10)))
    order = random.permutation(24)
    shuffled = {level: [names[i] for i in order] for level, names in LABELS.items()}
    plain = level_contrasts(matrix, LABELS, number=10)
    moved = level_contrasts(matrix[np.ix_(order, order)], shuffled, number=10)
    for one, other in zip(plain, moved, strict=True):
        assert one.difference[0] == pytest.approx(other.difference[0])


def test_items_without_similarity_are_left_out():
    matrix = similarity_by_class()
    matrix[5] = matrix[:, 5] = np.nan
    found = level_contrasts(matrix, LABELS, number=20)
    np.testing.assert_allclose(found[0].within, 0.8)


def test_a_class_without_pairs_is_nan():
    found = level_contrasts(similarity_by_class(), {"fine": LABELS["fine"], "all": ["x"] * 24})
    assert np.isfinite(found[0].difference).all()
    assert np.isnan(found[1].between).all() and np.isnan(found[1].difference).all()
