"""What batch systems are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_encoder.compute import clusters
from bids_encoder.config.settings import ClusterSettings, ResourcesSettings, Settings


def settings(folder: Path, *options: str, **how) -> Settings:
    base = Settings(folder / "bids", folder / "out", "participant")
    cluster = ClusterSettings(executor="slurm", executor_options=options)
    return replace(
        base, cluster=cluster, resources=ResourcesSettings(work_dir=folder / "work", **how)
    )


def script(chosen: Settings, executor: str) -> str:
    chosen = replace(chosen, cluster=replace(chosen.cluster, executor=executor))
    options = clusters.job_options(chosen, chosen.resources.omp_nthreads or 1)
    kind = clusters._cluster_class(executor)
    with kind(**options) as cluster:
        return cluster.job_script()


def test_a_job_of_slurm(tmp_path):
    text = script(
        settings(
            tmp_path, "queue=short", "account=lab", "walltime=02:00:00", "cores=8", "memory=24GB",
            "job_extra_directives=--qos=low", "job_extra_directives=--exclusive", omp_nthreads=2,
        ),
        "slurm",
    )  # fmt: skip
    for line in (
        "#SBATCH -p short", "#SBATCH -A lab", "#SBATCH -t 02:00:00", "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=23G", "#SBATCH --qos=low", "#SBATCH --exclusive",
        "export OMP_NUM_THREADS=2",
    ):  # fmt: skip
        assert line in text.splitlines()
    # Four processes of one task each; the last --nthreads counts.
    assert "--nworkers 4" in text
    assert text.rstrip().endswith("--nthreads 1")
    assert str(tmp_path / "work" / "jobs") in text


@pytest.mark.parametrize(
    ("executor", "option", "line"),
    [("sge", "queue=all.q", "#$ -q all.q"), ("pbs", "queue=q", "#PBS -q q"),
     ("lsf", "queue=q", "#BSUB -q q")],
)  # fmt: skip
def test_jobs_of_other_systems(executor, option, line, tmp_path):
    assert line in script(settings(tmp_path, option), executor)


def test_names_with_dashes_go_too(tmp_path):
    assert clusters.read_options("slurm", ["job-cpu=3", "walltime=1:00"]) == {
        "job_cpu": 3,
        "walltime": "1:00",
    }
