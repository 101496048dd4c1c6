import numpy as np
import pytest
from sklearn.decomposition import PCA

from bids_encoder.fingerprints.components import first_component, well_predicted
from bids_encoder.fingerprints.profile import normalized, slope, trend

EVERY = np.ones(200, dtype=bool)


def along_the_trend(n=200, n_layers=6, noise=0.0):
    random = np.random.default_rng(0)
    steep = random.uniform(-0.1, 0.1, n)
    scores = 1 / n_layers + trend(n_layers)[:, None] * steep
    return scores + random.normal(0, noise, scores.shape), steep


def test_fingerprints_along_the_trend_have_the_trend_as_component():
    scores, steep = along_the_trend()
    found = first_component(scores, EVERY)
    assert found.variance_share == pytest.approx(1)
    assert found.trend_correlation == pytest.approx(1)
    assert found.slope_correlation == pytest.approx(1)
    np.testing.assert_allclose(found.loadings, trend(6) / np.linalg.norm(trend(6)))
    assert np.corrcoef(found.values, steep)[0, 1] == pytest.approx(1)


def test_it_is_the_component_of_scikit_learn():
    scores = np.random.default_rng(3).uniform(0.05, 0.5, (5, 200))
    chosen = np.arange(200) < 150
    found = first_component(scores, chosen)
    rows = normalized(scores).T
    expected = PCA(1).fit(rows[chosen])
    sign = np.sign(expected.components_[0] @ found.loadings)
    np.testing.assert_allclose(found.loadings, sign * expected.components_[0], atol=1e-8)
    np.testing.assert_allclose(found.values, sign * expected.transform(rows)[:, 0], atol=1e-8)
    assert found.variance_share == pytest.approx(expected.explained_variance_ratio_[0])
    r = np.corrcoef(found.values[chosen], slope(scores)[chosen])[0, 1]
    assert found.slope_correlation == pytest.approx(r)
    assert found.n_voxels == 150


def test_late_layers_weigh_more_whatever_the_order():
    scores, _ = along_the_trend(noise=0.01)
    for turned in (scores, scores[::-1]):
        found = first_component(turned, EVERY)
        assert found.trend_correlation > 0.9
        assert found.loadings[-1] > found.loadings[0]


def test_voxels_without_a_fingerprint_have_no_value():
    scores, _ = along_the_trend()
    scores[:, 3] = np.nan
    scores[:, 8] = -0.1
    found = first_component(scores, EVERY)
    assert np.flatnonzero(np.isnan(found.values)).tolist() == [3, 8]
    assert found.n_voxels == 198


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        (np.random.default_rng(0).random((2, 200)), EVERY),
        (np.random.default_rng(0).random((5, 200)), np.arange(200) < 4),
        (np.ones((5, 200)), EVERY),
        (np.full((5, 200), np.nan), EVERY),
    ],
    ids=["two layers", "too few voxels", "all alike", "no scores"],
)
def test_there_may_be_no_component(scores, chosen):
    assert first_component(scores, chosen) is None


def test_well_predicted_voxels_are_those_beyond_chance():
    random = np.random.default_rng(0)
    common = random.normal(0, 0.1, 5000)
    noise = 0.8 * common + 0.06 * random.standard_normal((6, 5000))
    assert well_predicted(noise).mean() < 0.03
    scores = noise.copy()
    scores[:, :400] += 0.4
    found = well_predicted(scores)
    assert found[:400].mean() > 0.9
    assert found[400:].mean() < 0.03


def test_well_predicted_voxels_have_positive_scores():
    assert well_predicted(np.full((3, 4), 0.2)).all()
    assert not well_predicted(np.full((3, 4), -0.2)).any()
    scores = np.array([[0.5, np.nan, 0.3], [0.4, np.nan, 0.2]])
    assert well_predicted(scores).tolist() == [True, False, True]
    assert not well_predicted(np.full((3, 4), np.nan)).any()
