"""Workers that a batch system starts: nobody else is talked to, and refusals are sentences."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client
from distributed.security import Security

from bids_encoder.compute import clusters
from bids_encoder.config.settings import ClusterSettings, ResourcesSettings, Settings
from bids_encoder.errors import MissingInputError, UsageError

SBATCH = """#!/bin/sh
echo "$@" >> "{log}"
{what}
"""
# As sbatch does: the script is taken over before it answers, as the original is removed then.
RUNS = """script=$(cat "$1")
sh -c "$script" >/dev/null 2>&1 &
echo "Submitted batch job $!"
"""
REFUSES = (
    "echo 'sbatch: error: Batch job submission failed: Invalid account or account/partition "
    "combination specified' >&2\nexit 1"
)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """``slurm(what)``: a batch system of a few lines whose sbatch does that."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")

    def install(what: str) -> Path:
        log = tmp_path / "submitted"
        for name, body in (
            ("sbatch", SBATCH.format(log=log, what=what)),
            ("scancel", '#!/bin/sh\nkill "$1" 2>/dev/null\n'),
        ):
            (commands / name).write_text(body)
            (commands / name).chmod(0o755)
        return log

    return install


def settings(folder: Path, *options: str, n_workers: int = 1) -> Settings:
    return replace(
        Settings(folder / "bids", folder / "out", "participant"),
        cluster=ClusterSettings(executor="slurm", executor_options=options, n_workers=n_workers),
        resources=ResourcesSettings(work_dir=folder / "work", omp_nthreads=1),
    )


def test_a_stranger_is_not_talked_to(slurm, tmp_path):
    """Connections are encrypted and need the certificate of this run, which only its user reads."""
    slurm(RUNS)
    chosen = settings(tmp_path, "memory=1GB", "cores=1")
    with clusters.started(chosen) as running:
        file = Path(running.cluster.dask_scheduler)
        with clusters._connect(str(file)) as client:
            address = client.scheduler.address
            assert address.startswith("tls://")
            # A worker has the certificate too, and does what it is told.
            assert client.submit(os.getpid).result(timeout=120) != os.getpid()
            dashboard = client.scheduler_info()["services"].get("dashboard")
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((file.parent / "key.pem").stat().st_mode) == 0o600
        for stranger in (None, Security.temporary()):
            plain = address.replace("tls://", "tcp://") if stranger is None else address
            with pytest.raises((OSError, TypeError, ValueError)):
                Client(plain, timeout=3, security=stranger, set_as_default=False)
        # Dask's pages about itself, which have no lock, are for this machine.
        if dashboard:
            with pytest.raises(OSError):
                socket.create_connection((own_address(), dashboard), timeout=3).close()
    assert not file.parent.exists()


def own_address() -> str:
    """The address under which others would reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # no packet is sent
        return probe.getsockname()[0]


def test_jobs_that_are_refused_end_with_a_sentence(slurm, tmp_path):
    """An account that does not exist, as Slurm says it; nothing is left in the work folder."""
    slurm(REFUSES)
    with (
        pytest.raises(UsageError, match="Invalid account") as refused,
        clusters.started(settings(tmp_path, "account=nobody", n_workers=4)),
    ):
        pytest.fail("it was not refused")
    assert len(str(refused.value).splitlines()) == 4
    assert not list((tmp_path / "work").glob("cluster-*"))


def test_an_answer_that_does_not_come_is_not_waited_for(slurm, tmp_path, monkeypatch):
    slurm("exec sleep 20")
    monkeypatch.setattr("bids_encoder.compute.batch_cluster.SUBMIT", 1.0)
    with (
        pytest.raises(UsageError, match="no answer to a job within 1 s"),
        clusters.started(settings(tmp_path)),
    ):
        pytest.fail("it was not noticed")


def test_a_machine_without_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingInputError, match="no sbatch on the PATH"):
        clusters.check_cluster(settings(tmp_path))


def test_an_interface_that_is_not_there(slurm, tmp_path):
    slurm(RUNS)
    with (
        pytest.raises(UsageError, match="none9"),
        clusters.started(settings(tmp_path, "interface=none9")),
    ):
        pytest.fail("it was not noticed")


def test_a_work_folder_that_job_scripts_cannot_carry(slurm, tmp_path):
    slurm(RUNS)
    chosen = replace(
        settings(tmp_path), resources=ResourcesSettings(work_dir=tmp_path / "my $work")
    )
    with (
        pytest.raises(UsageError, match="name that job scripts cannot carry"),
        clusters.started(chosen),
    ):
        pytest.fail("it was not noticed")
