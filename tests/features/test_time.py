from dataclasses import dataclass

import numpy as np
import pytest

from bids_encoder.features.samples import continuous_samples
from bids_encoder.features.time import features_in_time, kernel_in_time, time_weights


@dataclass(frozen=True)
class Shown:
    onset: float
    duration: float
    stimulus: str
    row: int = 0


IDS = ("a", "b", "")


def test_pictures_that_tile_the_run_in_step_with_the_volumes():
    shown = [Shown(2.0 * i, 2.0, IDS[i % 2]) for i in range(4)]
    weights = time_weights(shown, IDS, 4, 2.0).toarray()
    np.testing.assert_allclose(weights, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])


def test_overlap_is_weighted_by_time_and_gaps_are_blank():
    shown = [Shown(0.5, 1.0, "a"), Shown(1.5, 1.0, "b")]
    weights = time_weights(shown, IDS, 2, 2.0).toarray()
    np.testing.assert_allclose(weights, [[0.5, 0.25, 0.25], [0, 0.25, 0.75]])


def test_delay_moves_the_window_back_exactly():
    shown = [Shown(0.0, 2.0, "a")]
    weights = time_weights(shown, IDS, 5, 2.0, delay=5.0).toarray()
    # windows [-5,-3) [-3,-1) [-1,1) [1,3) [3,5)
    np.testing.assert_allclose(weights[:, 0], [0, 0, 0.5, 0.5, 0])
    np.testing.assert_allclose(weights[:, 2], [1, 1, 0.5, 0.5, 1])


def test_start_time_moves_the_window_forward():
    weights = time_weights([Shown(0.0, 1.0, "a")], IDS, 2, 1.0, start_time=0.25).toarray()
    np.testing.assert_allclose(weights[:, 0], [0.75, 0])


def test_what_overlaps_shares_its_time():
    shown = [Shown(0.0, 3.0, "a"), Shown(1.0, 3.0, "b")]
    weights = time_weights(shown, IDS, 1, 4.0).toarray()
    np.testing.assert_allclose(weights, [[(1 + 2 / 2) / 4, (1 + 2 / 2) / 4, 0]])


def test_a_stimulus_shown_twice_in_a_volume_adds_up():
    shown = [Shown(0.0, 0.25, "a"), Shown(0.5, 0.25, "a")]
    np.testing.assert_allclose(time_weights(shown, IDS, 1, 1.0).toarray(), [[0.5, 0, 0.5]])


def test_order_of_presentations_does_not_matter_and_long_ones_span_volumes():
    shown = [Shown(6.0, 5.0, "b"), Shown(-1.0, 4.0, "a"), Shown(90.0, 1.0, "a")]
    weights = time_weights(shown, IDS, 4, 3.0).toarray()
    np.testing.assert_allclose(weights, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 2 / 3, 1 / 3]])


def test_nothing_shown_is_all_blank():
    np.testing.assert_allclose(time_weights([], IDS, 3, 1.0).toarray(), [[0, 0, 1]] * 3)


def test_agrees_with_fine_sampling():
    rng = np.random.default_rng(1)
    onsets = np.cumsum(rng.uniform(0.2, 1.5, 40)) - 1
    durations = rng.uniform(0, 2, 40)
    shown = [Shown(onsets[i], durations[i], IDS[i % 2]) for i in range(40)]
    n, tr, fine = 17, 1.7, 2000
    weights = time_weights(shown, IDS, n, tr, start_time=0.3, delay=4.1).toarray()
    times = 0.3 - 4.1 + tr * (np.arange(n * fine) + 0.5) / fine
    on = np.array([(times >= p.onset) & (times < p.onset + p.duration) for p in shown], float)
    on /= np.maximum(on.sum(0), 1)
    seen = np.stack([on[0::2].sum(0), on[1::2].sum(0), on.sum(0) == 0])
    expected = seen.reshape(3, n, fine).mean(2).T
    np.testing.assert_allclose(weights, expected, atol=5 / fine)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)


def test_kernel_in_time_is_that_of_features_in_time():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(3, 7)).astype(np.float32)
    shown = [Shown(1.3 * i, 1.1, IDS[i % 2]) for i in range(20)]
    train = [time_weights(shown, IDS, 12, 2.0, delay=d) for d in (4, 6, 8)]
    test = [time_weights(shown[::2], IDS, 5, 2.0, delay=d) for d in (4, 6, 8)]
    X, Z = features_in_time(features, train), features_in_time(features, test)
    assert X.shape == (12, 21) and X.dtype == np.float32
    np.testing.assert_allclose(X[:, :7], train[0].toarray() @ features, atol=1e-6)
    np.testing.assert_allclose(kernel_in_time(features @ features.T, train), X @ X.T, atol=1e-4)
    cross = kernel_in_time(features @ features.T, test, train)
    np.testing.assert_allclose(cross, Z @ X.T, atol=1e-4)


@pytest.mark.parametrize("ids, message", [(("b", ""), "'a'"), (("a",), "blank")])
def test_stimuli_must_be_complete(ids, message):
    with pytest.raises(ValueError, match=message):
        time_weights([Shown(0, 1, "a")], ids, 1, 1.0)


def test_repetition_time_must_be_positive():
    with pytest.raises(ValueError, match="repetition time"):
        time_weights([], IDS, 1, 0.0)


@pytest.mark.parametrize(("start", "shares"), [(1.0, [1.0, 0.0]), (0.0, [0.5, 0.5])])
def test_samples_look_around_the_moment_that_volumes_stand_for(start, shares):
    """One picture a volume: volumes that stand for their middle see one, for their onset two."""
    shown = [Shown(2.0 * k, 2.0, f"p{k}") for k in range(6)]
    samples = continuous_samples([shown], [6], [2.0], [start], [4.0])
    weights = samples.weights[0].toarray()
    for volume in range(3, 6):
        row = dict(zip(samples.stimuli, weights[volume], strict=True))
        assert [row[f"p{volume - 2}"], row[f"p{volume - 3}"]] == pytest.approx(shares)
