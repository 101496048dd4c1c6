"""How fits are cut, and put together again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bids_encoder.compute.fit_job import FitJob
from bids_encoder.compute.work_files import (
    Pieces,
    checked_kernel,
    halves,
    plan_blocks,
    read_fits,
    read_responses,
    write_fit,
    write_problem,
)
from bids_encoder.encoding.blocks import TILE
from bids_encoder.encoding.folds import make_folds
from bids_encoder.encoding.ridge import fit
from bids_encoder.features.cache import write_array
from bids_encoder.features.samples import Samples


@pytest.mark.parametrize("n_voxels", [1, TILE, 4 * TILE, 4 * TILE + 1, 100_000])
def test_blocks_cover_every_voxel_once_and_begin_at_tiles(n_voxels):
    blocks = plan_blocks(500, n_voxels)
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == n_voxels
    assert all(start % TILE == 0 for start, _ in blocks)


def test_more_samples_make_larger_blocks():
    assert plan_blocks(500, 10**6)[0] == (0, 4 * TILE)
    assert plan_blocks(5000, 10**6)[0] == (0, 10 * TILE)


def test_blocks_that_are_done_keep_their_bounds():
    size = 4 * TILE
    done = [(size, size + TILE), (size + 2 * TILE, 2 * size)]
    assert plan_blocks(500, 3 * size, done) == [
        (0, size),
        (size, size + TILE),
        (size + TILE, size + 2 * TILE),
        (size + 2 * TILE, 2 * size),
        (2 * size, 3 * size),
    ]
    # A block and its halves may both be there.
    assert plan_blocks(500, size, [(0, TILE), (0, size)])[0] == (0, TILE)


def test_halves_meet_at_a_tile():
    assert halves((0, 3 * TILE - 5)) == [(0, TILE), (TILE, 3 * TILE - 5)]
    assert halves((TILE, 2 * TILE)) is None
    assert halves((TILE, TILE + 7)) is None


@pytest.mark.parametrize("keep_weights", [True, False])
def test_fits_of_blocks_are_put_together(tmp_path, keep_weights):
    rng = np.random.default_rng(0)
    features, responses = rng.standard_normal((40, 9)), rng.standard_normal((40, 12)).astype("f")
    responses[:, 3] = 1.0
    folds = make_folds(np.arange(40) // 10)
    pieces = Pieces(tmp_path)
    parts = [(0, 5), (5, 12)]
    for block in parts:
        found = fit(features, responses[:, slice(*block)], folds, keep_weights=keep_weights)
        write_fit(pieces.block(2, block), found)
    assert pieces.done(2) == parts
    joined = read_fits([pieces.block(2, block) for block in parts])
    assert joined.n_valid == 11
    for name in ("r2", "r", "pooled_r2", "penalty", "valid", "dual", "intercept"):
        expected = [
            getattr(fit(features, responses[:, slice(*b)], folds, keep_weights=keep_weights), name)
            for b in parts
        ]
        if expected[0] is None:
            assert getattr(joined, name) is None
        else:
            np.testing.assert_array_equal(getattr(joined, name), np.concatenate(expected, axis=-1))
    pieces.remove()
    assert not tmp_path.exists()


def test_pieces_that_were_damaged_are_made_again(tmp_path, caplog):
    rng = np.random.default_rng(0)
    features, responses = rng.standard_normal((40, 9)), rng.standard_normal((40, 5)).astype("f")
    pieces = Pieces(tmp_path)
    for block in ((0, 5), (5, 10)):
        write_fit(pieces.block(0, block), fit(features, responses, make_folds(np.arange(40) // 10)))
    path = pieces.block(0, (0, 5))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert pieces.done(0) == [(5, 10)]
    assert f"{path} was damaged" in caplog.text and not path.exists()


def test_responses_and_kernels_of_an_earlier_run_are_checked(tmp_path):
    rng = np.random.default_rng(0)
    layers = ("one",)
    store = SimpleNamespace(identity="x", layers=layers)
    problem = FitJob(
        "key", store, Samples(tuple("abcdefgh")), np.ones(8, bool),
        rng.standard_normal((8, 6)).astype("f"), make_folds(np.arange(8) // 2),
        penalties=np.ones(1), nested=False, keep_weights=True,
    )  # fmt: skip
    pieces = write_problem(tmp_path, problem)
    write_array(pieces.kernel(0), np.eye(8))
    assert checked_kernel(pieces, 0) is not None
    for path in (pieces.folder / "responses.npy", pieces.kernel(0)):
        whole = path.read_bytes()
        path.write_bytes(whole[:140] + bytes([whole[140] ^ 1]) + whole[141:])
    assert checked_kernel(pieces, 0) is None
    np.testing.assert_array_equal(read_responses(write_problem(tmp_path, problem)),
                                  problem.responses)  # fmt: skip
