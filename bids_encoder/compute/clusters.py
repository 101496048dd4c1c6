"""Clusters: a Dask scheduler that runs, or workers that a batch system starts."""

from __future__ import annotations

import inspect
import logging
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import bids_encoder
from bids_encoder.compute.batch_cluster import batch_cluster, secured
from bids_encoder.compute.fit_job import Executor
from bids_encoder.compute.local import Local
from bids_encoder.config.settings import SECTIONS, Settings
from bids_encoder.errors import MissingInputError, UsageError

logger = logging.getLogger(__name__)

BATCH_SYSTEMS = {"slurm": "SLURM", "sge": "SGE", "pbs": "PBS", "lsf": "LSF"}
DEFAULT_MEMORY = "8GB"
CONNECT = 30  # seconds
_NUMBERS = ("cores", "processes", "job_cpu", "ncpus", "death_timeout")
_LISTS = (
    "job_extra_directives", "job_script_prologue", "job_directives_skip", "worker_extra_args",
)  # fmt: skip
# What is not the user's to say.
_OURS = ("self", "scheduler", "name", "config_name", "base_class_kwargs", "security", "protocol")


def check_cluster(settings: Settings) -> None:
    """Check the options of the cluster, and that its packages are installed.

    Raises
    ------
    UsageError
        Options that do not go together, or do not exist.
    MissingInputError
        A package is missing.
    """
    chosen = settings.cluster
    if chosen.executor == "dask" and not chosen.dask_scheduler:
        raise UsageError(
            "A Dask cluster needs the address of its scheduler.",
            place="--executor dask",
            remedy="give --dask-scheduler tcp://HOST:PORT or the scheduler's file, or let a batch "
            "system start workers: --executor slurm",
        )
    if chosen.dask_scheduler and chosen.executor != "dask":
        raise UsageError(
            "The address of a Dask scheduler is given, but no Dask cluster is asked for.",
            place="--dask-scheduler",
            found=f"--executor {chosen.executor}",
            remedy="give --executor dask",
        )
    if chosen.executor_options and chosen.executor not in BATCH_SYSTEMS:
        raise UsageError(
            "Options of a batch system are given, but none is asked for.",
            place="--executor-options",
            found=f"--executor {chosen.executor}",
            remedy="give --executor slurm (or sge, pbs, lsf)",
        )
    if chosen.executor in BATCH_SYSTEMS:
        read_options(chosen.executor, chosen.executor_options)
        _require("cryptography", chosen.executor)
        command = shlex.split(_cluster_class(chosen.executor).job_cls.submit_command)[0]
        if shutil.which(command) is None:
            raise MissingInputError(
                "The batch system's command for new jobs is not on this machine.",
                place=f"--executor {chosen.executor}",
                found=f"no {command} on the PATH",
                remedy="start the program where jobs can be submitted from (in a container, that "
                "command must be inside it), or leave --executor out",
            )
    elif chosen.executor == "dask":
        _require("distributed", chosen.executor)


@contextmanager
def started(settings: Settings) -> Iterator[Settings]:
    """Start workers through a batch system, if they are asked for; stop them at the end.

    Yields
    ------
    Settings
        Those that say where the scheduler is.
    """
    chosen = settings.cluster
    idle = settings.flow.dry_run or settings.flow.reports_only
    if chosen.executor in ("local", "processes") or idle:
        yield settings
        return
    settings = _absolute(settings)
    if chosen.executor == "dask":
        yield settings
        return
    options = job_options(settings, _threads(settings))
    logger.info(
        f"{chosen.executor}: {chosen.n_workers} jobs with {options['cores']} cores and "
        f"{options['memory']} each are asked for"
    )
    kind, work_dir = _cluster_class(chosen.executor), Path(settings.resources.work_dir)
    with batch_cluster(kind, options, chosen.n_workers, work_dir) as scheduler_file:
        yield replace(
            settings,
            cluster=replace(
                chosen, executor="dask", dask_scheduler=str(scheduler_file), executor_options=()
            ),
        )


def _absolute(settings: Settings) -> Settings:
    """Settings whose paths mean the same in whatever folder a worker stands."""

    def absolute(section: Any) -> Any:
        values = {item.name: getattr(section, item.name) for item in fields(section)}
        paths = {name: value for name, value in values.items() if isinstance(value, Path)}
        return replace(section, **{name: path.absolute() for name, path in paths.items()})

    sections = {name: absolute(getattr(settings, name)) for name in SECTIONS}
    return absolute(replace(settings, **sections))


@contextmanager
def executor_of(settings: Settings, device: str) -> Iterator[Executor]:
    """Who computes: this process, or the workers of the scheduler that the settings name.

    Raises
    ------
    UsageError
        The scheduler does not answer.
    """
    if settings.cluster.executor != "dask":
        yield Local(device)
        return
    from bids_encoder.compute.dask_client import Remote

    address = settings.cluster.dask_scheduler
    assert address is not None  # `check_cluster` refuses "dask" without it
    with _connect(address) as client:
        yield Remote(client, settings, _threads(settings))


def _connect(address: str) -> Any:
    from distributed import Client

    try:
        if Path(address).is_file():
            # A scheduler of ours has its certificate beside; others are as Dask's configuration
            # says (distributed.comm.tls).
            security = secured(Path(address).parent)
            return Client(
                scheduler_file=address, timeout=CONNECT, set_as_default=False, security=security
            )
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise UsageError(
            "The Dask scheduler does not answer.",
            place="--dask-scheduler",
            found=f"{address}: {error}",
            expected="tcp://HOST:PORT of a scheduler that runs, or its scheduler file",
            remedy="look whether dask scheduler runs there",
        ) from None


def _threads(settings: Settings) -> int:
    """Threads of each task: one, unless more are asked for."""
    return settings.resources.omp_nthreads or 1


def job_options(settings: Settings, threads: int) -> dict[str, Any]:
    """What dask-jobqueue is told of each job.

    One task runs at a time in each process of a job, with as many threads as each task has.
    """
    import dask

    chosen = settings.cluster
    options = read_options(chosen.executor, chosen.executor_options)
    site = dask.config.get(f"jobqueue.{chosen.executor}", {})  # what the cluster's people set
    cores = options.setdefault("cores", site.get("cores") or threads)
    options.setdefault("memory", site.get("memory") or DEFAULT_MEMORY)
    options.setdefault("processes", max(1, cores // threads))
    folder = Path(settings.resources.work_dir).absolute()
    options.setdefault("log_directory", str(folder / "jobs"))
    arguments = options.get("worker_extra_args", site.get("worker-extra-args") or [])
    options["worker_extra_args"] = [*arguments, "--nthreads", "1"]
    prologue = options.get("job_script_prologue", site.get("job-script-prologue") or [])
    place = Path(bids_encoder.__file__).absolute().parents[1]
    options["job_script_prologue"] = [
        *prologue,
        f"export PYTHONPATH='{place}'${{PYTHONPATH:+:$PYTHONPATH}}",
        "export OMP_WAIT_POLICY=PASSIVE",
        *(f"export {name}_NUM_THREADS={threads}" for name in ("OMP", "OPENBLAS", "MKL")),
    ]
    # Each in its own place: several drivers may run on one machine. The pages that Dask shows of
    # itself have no lock on the door: nobody on another machine sees them.
    options["scheduler_options"] = {"dashboard_address": "127.0.0.1:0"}
    return options


def read_options(executor: str, texts: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` options for dask-jobqueue.

    Raises
    ------
    UsageError
        One is not of this form, or has a name or a value that cannot be.
    """
    known = _known_options(executor)
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or key not in known:
            raise UsageError(
                "An option of the batch system does not exist.",
                place="--executor-options",
                found=text,
                expected=f"KEY=VALUE, where KEY is one of {', '.join(known)}",
            )
        if key in _LISTS:
            options.setdefault(key, []).append(value)
        elif key in _NUMBERS:
            if not value.isdecimal():
                raise UsageError(
                    "An option of the batch system has a value that cannot be.",
                    place="--executor-options",
                    found=text,
                    expected=f"{key}=NUMBER",
                )
            options[key] = int(value)
        else:
            options[key] = value
    return options


def _known_options(executor: str) -> list[str]:
    from dask_jobqueue.core import Job

    kind = _cluster_class(executor)
    names = [
        name
        for function in (kind.job_cls.__init__, Job.__init__)
        for name in inspect.signature(function).parameters
    ]
    # Old names of what has a new one.
    old = ("extra", "job_extra", "env_extra", "header_skip", "project")
    return sorted({name for name in names if name not in (*_OURS, *old)})


def _cluster_class(executor: str) -> Any:
    return getattr(_require("dask_jobqueue", executor), f"{BATCH_SYSTEMS[executor]}Cluster")


def _require(module: str, executor: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise MissingInputError(
            "A Python package is not installed that clusters need.",
            place=f"--executor {executor}",
            found=str(error),
            remedy="pip install 'bids_encoder[cluster]'",
        ) from None
