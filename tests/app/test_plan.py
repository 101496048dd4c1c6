"""What the plan notices before anything is computed."""

from __future__ import annotations

import dataclasses
import re

import pytest
from tiny_dataset import write_tiny

from bids_encoder.compute import memory_budget
from bids_encoder.errors import MemoryLimitError


@pytest.mark.parametrize("design", ["continuous", "events"])
def test_presentations_without_duration_are_warned_of_where_they_count_for_nothing(
    app, tmp_path, design
):
    tiny = write_tiny(tmp_path / "data", continuous=True)
    tiny.edit_events("\t2\t", "\t0\t", count=3)
    options = ["--features", tiny.features, "--design", design, "--dry-run"]
    end = app(tiny.bids, tmp_path / "out", "participant", *options)
    assert end.code == 0
    assert ("3 presentations have no duration" in end.err) == (design == "continuous")


def announced(end) -> float:
    return float(re.search(r"memory +(?:about|at most) ([\d.]+) GB", end.out + end.err)[1])


def planned(app, tiny, tmp_path, *options):
    return app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01", "--features",
        tiny.features, "-d", tiny.preprocessed, "--dry-run", *options,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--joint",), ("--design", "continuous")])
def test_a_plan_that_exceeds_the_memory_is_refused(app, pristine, tmp_path, options):
    end = planned(app, pristine, tmp_path, "--mem", "0.5GB", *options)
    assert end.code == 2
    for words in ("--mem 0.5GB", "more memory than it may use", "GB or more"):
        assert words in end.err
    [least] = re.findall(r"--mem ([\d.]+)GB or more", end.err)
    assert planned(app, pristine, tmp_path, "--mem", f"{least}GB", *options).code == 0


def test_several_participants_share_the_memory(app, pristine, tmp_path):
    one = ("--participant-label", "01", "02", "--mem", "2GB", "--executor", "local")
    assert planned(app, pristine, tmp_path, *one).code == 0
    end = planned(app, pristine, tmp_path, *one, "--nprocs", "2")
    assert end.code in {0, 2}


def test_what_is_announced_grows_with_what_is_asked_for(pristine):
    """Stage by stage, as the work grows in each respect."""
    base = memory_budget.Work(
        1000, 30_000, 1000, n_volumes=300, n_all_volumes=3000, n_unit=100, n_run=70, widest=5000,
        n_permutations=20_000, n_items=300,
    )  # fmt: skip
    budget = 20 * memory_budget.GB

    def most(**change):
        return memory_budget.needed(dataclasses.replace(base, **change), budget)

    plain = most()
    # A longer grid has more matrices, and larger tables of scores.
    long = most(n_penalties=200)
    assert long["p-values"] > plain["p-values"] and long["encoding"] > plain["encoding"]
    joint = (most(joint=True, n_penalties=number)["joint model"] for number in (200, 20))
    assert next(joint) > next(joint)
    assert most(joint=True)["joint model"] > plain["encoding"] / 2
    assert most(n_voxels=100_000)["responses"] > plain["responses"]
    assert most(n_unit=1000)["responses"] > plain["responses"]
    assert most(n_halves=300)["similarity"] > plain["similarity"]
    assert most(n_features=250_000)["features"] - plain["features"] == 4 * 1000 * 250_000
    assert most(n_held=300)["features"] > plain["features"]  # a second copy of training rows
    assert most(primal=True)["encoding"] >= plain["encoding"] + 4 * 5000 * 30_000
    assert most(simulated=True)["synthesis"] > plain["features"]
    assert max(most(joint=True, n_layers=40).values()) > max(most(joint=True).values())
    # Fits are cut to what is allowed; what cannot be cut is refused.
    small = 3 * memory_budget.GB
    assert max(memory_budget.needed(base, small).values()) <= small
    wide = dataclasses.replace(base, n_voxels=300_000)
    with pytest.raises(MemoryLimitError, match="--mem 3GB"):
        memory_budget.check(wide, small, 3.0)
    assert "may be killed" in memory_budget.check(wide, small, None)
    assert memory_budget.check(base, small, 3.0) is None
