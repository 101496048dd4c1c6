"""Workers that a batch system starts, and a scheduler that talks to nobody else.

Whoever can talk to a Dask scheduler can run code as its user, and it listens on the network. So
each run makes a certificate of its own, in a folder for this user alone, and all connections are
encrypted and need it, on both sides.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, Protocol

from bids_encoder.derivatives.atomic import make_folder
from bids_encoder.errors import UsageError
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)

SUBMIT = 45.0  # seconds until the batch system must have taken a job
CERTIFICATE, KEY, SCHEDULER = "certificate.pem", "key.pem", "scheduler.json"
_UNFIT = " \t\n'\"\\$`;&|<>()*?"  # what job scripts, where paths stand unquoted, cannot carry


class ClusterClass(Protocol):
    """A class of dask-jobqueue that starts the workers of one batch system."""

    job_cls: type

    def __call__(self, **options: Any) -> Any: ...


@contextmanager
def batch_cluster(
    kind: ClusterClass, options: Mapping[str, Any], n_jobs: int, work_dir: Path
) -> Iterator[Path]:
    """Start a scheduler in this process and jobs for it; stop them at the end.

    Parameters
    ----------
    kind : type
        A cluster of dask-jobqueue.
    options : mapping
        What it is told.
    n_jobs : int
        Jobs that run at a time. Those that end or are killed are replaced.
    work_dir : Path
        A folder that all machines see.

    Yields
    ------
    Path
        The scheduler file, as Dask calls it, with the certificate beside it.

    Raises
    ------
    UsageError
        The batch system does not take the first job.
    """
    work_dir = work_dir.absolute()
    if unfit := set(str(work_dir)) & set(_UNFIT):
        raise UsageError(
            "The work folder has a name that job scripts cannot carry.",
            file=work_dir,
            found=f"the characters {' '.join(sorted(map(repr, unfit)))}",
            remedy="give another --work-dir",
        )
    make_folder(work_dir)
    submissions: Queue[Exception | None] = Queue()
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=work_dir) as name:
        folder = Path(name)
        _write_certificate(folder)
        try:
            cluster = kind(
                **options,
                job_cls=_announced(kind.job_cls, submissions),
                security=secured(folder),
                protocol="tls://",
            )
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            raise _not_started(error) from error
        with _without_tracebacks(), cluster:
            # One job first: a cluster cannot be closed while others are being submitted.
            cluster.scale(jobs=1)
            refusal = submissions.get()
            if refusal is not None:
                raise _not_started(refusal)
            cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs)
            path = folder / SCHEDULER
            path.write_text(json.dumps({"address": cluster.scheduler_address}))
            yield path


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Keep tornado from printing the traceback of each job that was refused; we say it."""
    tornado = logging.getLogger("tornado.application")
    before = tornado.level
    tornado.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        tornado.setLevel(before)


def secured(folder: Path) -> Any:
    """How to talk to a scheduler whose certificate lies in a folder; None without one."""
    from distributed.security import Security

    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    if not os.path.isfile(key):
        return None
    ours = {f"tls_{who}_cert": certificate for who in ("client", "scheduler", "worker")}
    ours |= {f"tls_{who}_key": key for who in ("client", "scheduler", "worker")}
    return Security(require_encryption=True, tls_ca_file=certificate, **ours)


def _write_certificate(folder: Path) -> None:
    from distributed.security import Security

    made = Security.temporary().get_tls_config_for_role("scheduler")
    for name, text in ((CERTIFICATE, made["cert"]), (KEY, made["key"])):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w") as file:
            file.write(text)


def _announced(job: type, submissions: Queue[Exception | None]) -> type:
    """A kind of job that says whether the batch system has taken it (None) or why not."""

    from distributed import Status

    class Announced(job):
        async def _submit_job(self, script_filename: str) -> str:
            try:
                said = await asyncio.wait_for(super()._submit_job(script_filename), SUBMIT)
            except asyncio.TimeoutError:
                error = TimeoutError(f"no answer to a job within {SUBMIT:g} s")
                self._give_up(error)
                raise error from None
            except Exception as error:
                self._give_up(error)
                raise
            submissions.put(None)
            return said

        def _give_up(self, error: Exception) -> None:
            # First of all: who hears of it may close the cluster, which needs the status.
            self.status = Status.failed
            submissions.put(error)
            logger.warning(f"A job was refused: {_in_words(error)}", extra=OF_THIS_RUN)

    return Announced


def _in_words(error: Exception) -> str:
    """What the command said on its own error stream, where it said something there."""
    said = str(error).partition("stderr:\n")[2].strip() or str(error).strip()
    return " · ".join(line.strip() for line in said.splitlines() if line.strip())


def _not_started(error: Exception) -> UsageError:
    return UsageError(
        "The batch system does not start workers.",
        place="--executor, --executor-options",
        found=_in_words(error),
        remedy="look at the queue, the account and the limits that jobs are submitted with",
    )
