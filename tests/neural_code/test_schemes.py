"""Coding schemes: closed forms, and the figures of Guest and Love 2017."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bids_encoder.rsa.similarity import functional_smoothness, pearson
from bids_encoder.simulations import coding_schemes


@pytest.fixture(scope="module")
def simulated():
    return {one.name: one for one in coding_schemes.simulate(networks=20, prototypes=20)}


@pytest.mark.parametrize("factors", [1, 3, 5])
def test_different_cells_of_a_factorial_design_are_exactly_orthogonal(factors):
    code = coding_schemes.factorial_code(factors)
    assert (code @ code.T == 2**factors * np.eye(2**factors)).all()
    assert (code.T @ code == 2**factors * np.eye(2**factors)).all()


def test_factorial_code_holds_main_effects_and_interactions():
    code = coding_schemes.factorial_code(3)
    constant, a, b, ab, c, ac, bc, abc = code.T
    assert (constant == 1).all()
    assert sorted(zip(a, b, c, strict=True)) == sorted(set(zip(a, b, c, strict=True)))
    for found, expected in ((ab, a * b), (ac, a * c), (bc, b * c), (abc, a * b * c)):
        assert (found == expected).all()
    # The first and the last row of Table 1, whose columns are I A B C AB AC BC ABC.
    table = np.stack([constant, a, b, c, ab, ac, bc, abc], axis=1)
    assert table[0].tolist() == [1, -1, -1, -1, 1, 1, 1, -1] and (table[-1] == 1).all()


def test_hashes_are_sha1_and_equal_for_equal_items():
    items = np.random.default_rng(0).standard_normal((2, 5, 10))
    items[1, 4] = items[0, 0] * (1 + 1e-12)
    code = coding_schemes.hashed(items)
    assert code.shape == (2, 5, 160) and set(np.unique(code)) == {-1, 1}
    assert (code[1, 4] == code[0, 0]).all()
    digest = hashlib.sha1(items[1, 2].astype(np.float16).tobytes()).hexdigest()
    bits = "".join("1" if bit > 0 else "0" for bit in code[1, 2])
    assert int(bits, 2) == int(digest, 16)


def test_items_are_zscored_and_drift_from_the_prototype():
    items = coding_schemes.make_items(np.random.default_rng(0), 300)
    assert items.shape == (300, 20, 100)
    np.testing.assert_allclose(items.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(items.std(axis=-1), 1)
    similar = (items[:, :1] * items).mean(axis=(0, 2))
    # The correlation of x with x + s·noise is 1 / √(1 + s²).
    np.testing.assert_allclose(similar, 1 / np.sqrt(1 + coding_schemes.DISTORTIONS**2), atol=0.01)


def test_inputs_are_mapped_to_minus_one_to_one():
    found = coding_schemes.mapped(np.random.default_rng(0).standard_normal((3, 4, 10)))
    np.testing.assert_allclose(found.min(axis=-1), -1)
    np.testing.assert_allclose(found.max(axis=-1), 1)


def test_schemes_are_what_they_are_called():
    items = coding_schemes.make_items(np.random.default_rng(1), 2)
    random = np.random.default_rng(5)
    made = dict(zip(coding_schemes.NAMES, coding_schemes.encode(items, random), strict=True))
    weights = np.random.default_rng(5).standard_normal((coding_schemes.LAYERS, 100, 100))
    inputs = coding_schemes.mapped(items)
    np.testing.assert_allclose(made["gain control"], np.tanh(items))
    np.testing.assert_allclose(made["matrix multiplication"], inputs @ weights[0])
    two = np.tanh(np.tanh(inputs @ weights[0]) @ weights[1])
    np.testing.assert_allclose(made["2-layer network"], two)
    plain = coding_schemes.encode(items, np.random.default_rng(5), map_inputs=False)
    np.testing.assert_allclose(plain[3], np.tanh(items @ weights[0]))


def test_vector_space_coding_is_perfectly_smooth(simulated):
    one = simulated["vector space coding"]
    assert one.smoothness == pytest.approx(1) and one.all_pairs == pytest.approx(1)
    assert one.low == pytest.approx(1) and one.high == pytest.approx(1)


def test_hashing_is_not_smooth_at_all(simulated):
    one = simulated[coding_schemes.HASHING]
    # Standard error of a correlation of 0 over 20 × 20 × 19 pairs, times four.
    assert abs(one.smoothness) < 4 / np.sqrt(20 * 20 * 19)
    assert one.prototype_similarity[0] == 1
    assert np.abs(one.prototype_similarity[1:]).max() < 0.03


def test_smoothness_falls_layer_by_layer(simulated):
    names = [coding_schemes.NAMES[0], *coding_schemes.NAMES[3:]]
    values = [simulated[name].smoothness for name in names]
    assert (np.diff(values) < 0).all()
    assert all(one.low <= one.smoothness <= one.high for one in simulated.values())


def test_the_figures_are_near_those_of_the_paper(simulated):
    assert simulated["perceptron (1 layer)"].smoothness == pytest.approx(0.86, abs=0.04)
    # What the authors' program takes for the eighth layer.
    assert simulated["9-layer network"].smoothness == pytest.approx(0.22, abs=0.04)


def test_smoothness_is_pooled_over_networks_and_prototypes():
    [_, gain, *_] = coding_schemes.simulate(networks=1, prototypes=1, seed=3)
    random = np.random.default_rng(3)
    items = coding_schemes.make_items(random, 1)[0]
    assert gain.all_pairs == pytest.approx(functional_smoothness(items, np.tanh(items)), abs=1e-5)
    few = [np.corrcoef(values)[0, 1:] for values in (items, np.tanh(items))]
    assert gain.smoothness == pytest.approx(pearson(*few), abs=1e-5)


def test_the_same_seed_gives_the_same_numbers():
    one, other = (coding_schemes.simulate(networks=2, prototypes=2, seed=7) for _ in range(2))
    assert [a.smoothness for a in one] == [b.smoothness for b in other]
