import logging
from math import ceil

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_encoder.features.reduction import (
    Reduction,
    kept_pixels,
    log1p,
    plan_reduction,
    reduce_activations,
)


def test_first_layer_of_overfeat_keeps_every_eighth_pixel():
    plan = plan_reduction((96, 113, 113))
    assert plan == Reduction((96, 113, 113), 8, (96, 15, 15))
    assert plan.size == 21_600


@pytest.mark.parametrize(
    "shape", [(3, 40, 70), (64, 55, 55), (1280, 7, 7), (25_000, 1, 1), (6_250, 4, 4), (6_251, 4, 4)]
)
def test_step_is_the_smallest_that_fits(shape):
    def size(step):
        return shape[0] * ceil(shape[1] / step) * ceil(shape[2] / step)

    plan = plan_reduction(shape)
    assert plan.size == size(plan.step) <= 25_000
    assert plan.step == 1 or size(plan.step - 1) > 25_000


def test_too_many_channels_keep_one_pixel_and_say_so(caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_reduction((30_000, 3, 5), layer="wide")
    assert plan.kept == (30_000, 1, 1)
    assert "wide" in caplog.text and "one pixel" in caplog.text


def test_vectors_are_kept_whole(caplog):
    assert plan_reduction((4096,)).kept == (4096,)
    assert caplog.text == ""
    assert plan_reduction((30_000,)).size == 30_000
    assert "30000" in caplog.text


def test_tokens_are_subsampled():
    plan = plan_reduction((197, 768))
    assert plan == Reduction((197, 768), 7, (29, 768))
    tokens = torch.rand(2, 197, 768)
    found = reduce_activations(tokens, plan)
    np.testing.assert_allclose(found, torch.log1p(tokens[:, 0::7]).flatten(1), rtol=1e-6)


def test_logarithm_is_exact_for_small_activations_too():
    x = torch.cat([torch.zeros(1), torch.logspace(-30, 30, 10_001)])
    np.testing.assert_allclose(log1p(x), np.log1p(x.double().numpy()), rtol=2e-7, atol=0)


@pytest.mark.parametrize("side, step", [(113, 8), (7, 2), (10, 4), (14, 3), (5, 5), (6, 1)])
def test_kept_pixels_are_centred(side, step):
    kept = np.arange(side)[kept_pixels(side, step)]
    assert len(kept) == ceil(side / step)
    before, after = kept[0], side - 1 - kept[-1]
    assert 0 <= after - before <= 1


@pytest.mark.parametrize("shape", [(30, 57, 64), (300, 23, 19), (1280, 7, 7), (10, 20, 30)])
def test_agrees_with_scipy(shape):
    plan = plan_reduction(shape)
    batch = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    rows, columns = (kept_pixels(side, plan.step) for side in shape[1:])
    expected = np.empty((2, *plan.kept))
    for i, picture in enumerate(batch):
        for c, channel in enumerate(picture.astype(np.float64)):
            if plan.step > 1:
                channel = ndimage.gaussian_filter(channel, 0.35 * plan.step)
            expected[i, c] = channel[rows, columns]
    expected = np.sign(expected) * np.log(1 + np.abs(expected))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        tensor = torch.from_numpy(batch).contiguous(memory_format=memory_format)
        found = reduce_activations(tensor, plan)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, expected.reshape(2, -1), atol=2e-6)


def test_log_of_signed_values():
    values = torch.tensor([[-np.e + 1, 0, np.e - 1, -(np.e**3) + 1]], dtype=torch.float32)
    found = reduce_activations(values, plan_reduction((4,)))
    np.testing.assert_allclose(found[0], [-1, 0, 1, -3], rtol=1e-6)


def test_flat_maps_stay_flat():
    plan = plan_reduction((96, 113, 113))
    found = reduce_activations(torch.full((1, 96, 113, 113), 3.0), plan)
    np.testing.assert_allclose(found, np.log(4), rtol=1e-6)


def test_result_shares_no_memory_with_activations():
    batch = torch.ones(1, 5)
    found = reduce_activations(batch, plan_reduction((5,)))
    batch.zero_()
    np.testing.assert_allclose(found, np.log(2), rtol=1e-6)
