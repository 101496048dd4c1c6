"""The app with a Dask cluster: the same bytes, whoever computes."""

from __future__ import annotations

import sys
import time

import pytest
from distributed import LocalCluster
from tiny_dataset import tree

from bids_encoder.compute import dask_tasks, work_files

# Without what no cluster has a part in.
ONE = ("--participant-label", "01", "--n-permutations", "0", "--no-neural-code")


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler and a worker in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles so small that a layer of the tiny dataset has several blocks."""
    for module in ("encoding.ridge", "encoding.memory", "compute.work_files"):
        monkeypatch.setattr(f"bids_encoder.{module}.TILE", 32)
    monkeypatch.setattr(work_files, "LEAST_TILES", 2)
    monkeypatch.setattr(work_files, "VOXELS_PER_SAMPLE", 0)


def results(folder):
    return {name: digest for name, digest in tree(folder).items() if "/log/" not in f"/{name}"}


@pytest.mark.parametrize(
    "options", [("--test-set", "ses=2"), pytest.param(("--nested",), marks=pytest.mark.slow)]
)
def test_a_cluster_writes_the_same_bytes(
    options, pristine, app, tmp_path, no_page, scheduler, small_tiles
):
    given = (*ONE, "--features", pristine.features, "--layers", "late", *options)
    ours = tmp_path / "ours"
    assert app(pristine.bids, ours, "participant", *given).code == 0
    cluster = ("--executor", "dask", "--dask-scheduler", scheduler, "-w", tmp_path / "work")
    end = app(pristine.bids, tmp_path / "out", "participant", *given, *cluster)
    assert end.code == 0
    assert results(tmp_path / "out") == results(ours)
    # What the workers wrote is taken away once it is gathered.
    assert not list((tmp_path / "work" / "fits").iterdir())


def killed(*arguments):
    """What a worker's task says when there is no memory."""
    raise MemoryError


def test_blocks_whose_workers_were_killed_are_made_smaller(
    pristine, app, tmp_path, no_page, scheduler, small_tiles, monkeypatch
):
    """Blocks of more than one tile fail; the results are those of an undisturbed run."""
    given = (*ONE, "--features", pristine.features, "--layers", "late")
    assert app(pristine.bids, tmp_path / "ours", "participant", *given).code == 0
    fit_block = dask_tasks.fit_block

    def fit_small_blocks(pieces, number, block, *arguments):
        if block[1] - block[0] > 32:
            raise MemoryError
        return fit_block(pieces, number, block, *arguments)

    monkeypatch.setattr(dask_tasks, "fit_block", fit_small_blocks)
    cluster = ("--executor", "dask", "--dask-scheduler", scheduler, "-w", tmp_path / "work")
    end = app(pristine.bids, tmp_path / "out", "participant", *given, *cluster)
    assert end.code == 0
    assert "layer late is tried again with 32 voxels at a time" in end.err
    assert results(tmp_path / "out") == results(tmp_path / "ours")


def test_too_little_memory_for_a_single_tile(
    pristine, app, tmp_path, no_page, scheduler, small_tiles, monkeypatch
):
    monkeypatch.setattr(dask_tasks, "fit_block", killed)
    end = app(
        pristine.bids, tmp_path / "out", "participant", *ONE, "--features", pristine.features,
        "--executor", "dask", "--dask-scheduler", scheduler, "-w", tmp_path / "work",
    )  # fmt: skip
    assert end.code == 1
    assert "most likely for want of memory" in end.err
    assert "layer early: 32 voxels" in end.err
    assert "give each worker more memory" in end.err


def test_a_stopped_run_takes_up_what_the_cluster_has_done(
    pristine, app, tmp_path, no_page, scheduler, small_tiles, monkeypatch
):
    given = (
        *ONE, "--features", pristine.features, "--layers", "late", "-w", tmp_path / "work",
        "--executor", "dask", "--dask-scheduler", scheduler,
    )  # fmt: skip
    fitted = []

    def written():
        return list((tmp_path / "work" / "fits").glob("*/*/*.npz"))

    def fail_later(*arguments, **how):
        fitted.append(arguments[1].shape[1])
        if len(fitted) == 2:
            give_up = time.monotonic() + 30
            while not written() and time.monotonic() < give_up:
                time.sleep(0.02)
            raise KeyError("a worker that fails")
        return fit(*arguments, **how)

    fit = dask_tasks.fit
    monkeypatch.setattr(dask_tasks, "fit", fail_later)
    assert app(pristine.bids, tmp_path / "out", "participant", *given).code == 70
    assert set(fitted) <= {64, 32}  # 160 voxels in blocks, whichever comes first
    done = len(written())
    assert done in (1, 2)
    fitted[:] = [0, 0]
    assert app(pristine.bids, tmp_path / "out", "participant", *given).code == 0
    assert len(fitted) - 2 <= 3 - done


def test_features_are_computed_by_the_cluster(
    pristine, app, tmp_path, no_page, scheduler, monkeypatch
):
    given = (*ONE, "--layers", "stage1")
    assert app(pristine.bids, tmp_path / "ours", "participant", *given, "-w", "own").code == 0
    cluster = ("--executor", "dask", "--dask-scheduler", scheduler, "-w", tmp_path / "work")
    shards = []
    network = dask_tasks._network

    class Listening:
        """A network that remembers how many pictures it was shown."""

        def __init__(self, *arguments):
            self.source = network(*arguments)

        def store(self, stimuli, **how):
            shards.append(len(stimuli))
            return self.source.store(stimuli, **how)

    monkeypatch.setattr(dask_tasks, "_network", Listening)
    monkeypatch.setattr("bids_encoder.compute.dask_client.PICTURES", 15)
    assert app(pristine.bids, tmp_path / "out", "participant", *given, *cluster).code == 0
    assert sorted(shards) == [10, 15, 15]
    assert results(tmp_path / "out") == results(tmp_path / "ours")
    cached = {name: digest for name, digest in tree(tmp_path / "work/features").items()}
    assert cached == tree(tmp_path / "here/own/features")


@pytest.mark.parametrize(
    ("options", "place", "remedy"),
    [
        (("--executor", "dask"), "--executor dask", "--dask-scheduler tcp://HOST:PORT"),
        (("--dask-scheduler", "tcp://h:1"), "--dask-scheduler", "give --executor dask"),
        (("--executor-options", "queue=a"), "--executor-options", "--executor slurm"),
        (
            ("--executor", "slurm", "--slurm-options", "colour=red"),
            "--executor-options", "KEY is one of",
        ),
        (("--executor", "sge", "--executor-options", "cores=two"), "cores=two", "cores=NUMBER"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(options, place, remedy, pristine, app, tmp_path):
    end = app(pristine.bids, tmp_path / "out", "participant", *options)
    assert end.code == 2
    assert place in end.err and remedy in end.err
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_does_not_answer(pristine, app, tmp_path, no_page, monkeypatch):
    monkeypatch.setattr("bids_encoder.compute.clusters.CONNECT", 1)
    end = app(
        pristine.bids, tmp_path / "out", "participant", *ONE, "--features", pristine.features,
        "--executor", "dask", "--dask-scheduler", "tcp://127.0.0.1:9",
    )  # fmt: skip
    assert end.code == 2
    assert "The Dask scheduler does not answer" in end.err and "tcp://127.0.0.1:9" in end.err


def test_a_package_that_is_missing(pristine, app, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    end = app(pristine.bids, tmp_path / "out", "participant", "--executor", "slurm")
    assert end.code == 66
    assert "--executor slurm" in end.err
    assert "pip install 'bids_encoder[cluster]'" in end.err
