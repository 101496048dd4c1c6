"""Participants, one after the other or several at once, and what became of them."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import active_children, connection, get_context, parent_process

from bids_encoder.config.settings import Settings
from bids_encoder.errors import (
    BidsEncoderError,
    ParticipantError,
    of_the_system,
    out_of_memory,
    shortened,
)
from bids_encoder.runtime import console
from bids_encoder.runtime.interrupts import INTERRUPTED, leaving_at_once

logger = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM
GRACE = 5.0  # seconds that a worker has to clean up when its parent is gone


class Terminated(KeyboardInterrupt):
    """SIGTERM came: like Ctrl-C, but for the exit code."""


def _terminate(*_: object) -> None:
    raise Terminated


@dataclass(frozen=True)
class Outcome:
    """What became of one participant, or of the group level."""

    name: str
    exit_code: int | None  # None: not begun
    summary: str = ""
    seconds: float = 0.0
    ends_all: bool = False  # the others would end in the same way

    @property
    def word(self) -> str:
        """Say it in a word or two."""
        if self.exit_code is None:
            return "not begun"
        return f"failed ({self.exit_code})" if self.exit_code else "done"


def run(settings: Settings) -> int:
    """Do what the settings ask for and return the worst exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if settings.analysis_level == "group":
            outcomes = [_attempt(settings, None)]
        else:
            with leaving_at_once():
                from bids_encoder.app.participant_level import check_options, select_participants
                from bids_encoder.compute.clusters import started

            check_options(settings)
            labels = select_participants(settings)
            with started(settings) as settings:
                outcomes = sorted(_participants(settings, labels), key=lambda o: o.name)
    except BidsEncoderError as error:
        logger.error(str(error))
        return error.exit_code
    except (MemoryError, OSError) as error:
        found = _named(error, settings)
        if found is None:
            raise
        logger.error(str(found))
        return found.exit_code
    except KeyboardInterrupt as end:
        logger.error("Interrupted. What is finished is kept; the same command goes on from there.")
        return TERMINATED if isinstance(end, Terminated) else INTERRUPTED
    rows = [(o.name, o.word, console.duration(o.seconds), o.summary) for o in outcomes]
    logger.info("\n" + console.table(("", "outcome", "took", ""), rows))
    return max(outcome.exit_code or 0 for outcome in outcomes)


def _participants(settings: Settings, labels: list[str]) -> Iterator[Outcome]:
    """Try one participant after the other, or several at once, until one ends it for all."""

    def is_last(outcome: Outcome) -> bool:
        return outcome.ends_all or bool(outcome.exit_code and settings.flow.stop_on_first_crash)

    several = settings.resources.nprocs > 1 and settings.cluster.executor != "local"
    if several and len(labels) > 1:
        yield from _in_processes(settings, labels, is_last)
        return
    settings = replace(settings, resources=replace(settings.resources, nprocs=1))
    for number, label in enumerate(labels, start=1):
        outcome = _attempt(settings, label)
        yield outcome
        if is_last(outcome):
            yield from (Outcome(f"sub-{label}", None) for label in labels[number:])
            return


def _in_processes(settings: Settings, labels: list[str], is_last) -> Iterator[Outcome]:
    """Several participants at once, each in a process that takes nobody with it when it dies.

    A participant whose process was killed, most likely for want of memory, is begun anew when
    the others are through and the machine is its own; killed once more, it has failed.
    """
    n_processes = min(settings.resources.nprocs, len(labels))
    # Memory is shared out among as many as there really are.
    settings = replace(settings, resources=replace(settings.resources, nprocs=n_processes))
    killed: list[str] = []
    stopped = False
    for label, outcome in _wave(settings, labels, n_processes, is_last):
        if outcome is None:
            killed.append(label)
            logger.warning(
                f"sub-{label}: its process was killed, most likely for want of memory; the others "
                "go on, and it is begun anew after them, alone"
            )
        else:
            stopped |= is_last(outcome)
            yield outcome
    again = [] if stopped else killed
    for label, outcome in _wave(settings, again, 1, is_last):
        yield outcome or _was_killed(label, "twice, the second time alone")
    for label in killed[len(again) :]:
        yield _was_killed(label, "")


def _was_killed(label: str, how_often: str) -> Outcome:
    return Outcome(
        f"sub-{label}",
        ParticipantError.exit_code,
        f"its process was killed {how_often}".strip() + ", most likely for want of memory: "
        "use a smaller --nprocs or --mem",
    )


def _wave(
    settings: Settings, labels: Sequence[str], n_processes: int, is_last
) -> Iterator[tuple[str, Outcome | None]]:
    """Try each participant once; None where its process was killed."""
    waiting = deque(labels)
    free = [_process(settings) for _ in range(min(n_processes, len(labels)))]
    running: dict[Future, tuple[ProcessPoolExecutor, str]] = {}
    try:
        while waiting or running:
            while waiting and free:
                pool, label = free.pop(), waiting.popleft()
                try:
                    with _without_interrupts():
                        future = pool.submit(_attempt_in_process, settings, label)
                except BrokenProcessPool:  # killed while it had nothing to do
                    pool.shutdown()
                    free.append(_process(settings))
                    waiting.appendleft(label)
                    continue
                running[future] = (pool, label)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, label = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    pool.shutdown()
                    pool, outcome = _process(settings), None
                free.append(pool)
                yield label, outcome
                if outcome is not None and is_last(outcome):
                    yield from ((other, Outcome(f"sub-{other}", None)) for other in waiting)
                    waiting.clear()
    except BaseException:  # Ctrl-C, or a signal to this process alone
        for process in active_children():
            process.terminate()
        raise
    finally:
        for pool in (*free, *(pool for pool, _ in running.values())):
            pool.shutdown(cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold back Ctrl-C; processes that begin meanwhile leave it to this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _process(settings: Settings) -> ProcessPoolExecutor:
    """One process, which begins when it is given work."""
    # Spawned, not forked: forked children deadlock in the numerical libraries' threads.
    return ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(settings.flow.verbose,),
    )


def _start_worker(verbose: int) -> None:
    # The parent passes on what ends it; a worker then takes away its half-written files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.start_logging(verbose)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent is no more, killed perhaps, and end this process then."""
    parent = parent_process()
    if parent is None:  # not a worker
        return
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # so that half-written files are taken away
    time.sleep(GRACE)
    os._exit(TERMINATED)


def _attempt_in_process(settings: Settings, label: str) -> Outcome:
    console.start_logging(settings.flow.verbose, prefix=f"[sub-{label}]")
    return _attempt(settings, label, prefix="")


def _attempt(settings: Settings, label: str | None, prefix: str | None = None) -> Outcome:
    """Run one participant (or the group, None); no exception but Ctrl-C comes out."""
    start = time.monotonic()
    name = "group" if label is None else f"sub-{label}"
    prefix = f"{name}: " if prefix is None else prefix
    ends_all = False
    try:
        if label is None:
            with leaving_at_once():
                from bids_encoder.group.level import run_group

            code, summary = 0, run_group(settings)
        else:
            from bids_encoder.app.participant_level import run_participant

            code, summary = 0, run_participant(settings, label)
    except BidsEncoderError as error:
        logger.error(f"{prefix}{error}")
        code, summary, ends_all = error.exit_code, error.problem, error.everybody
    except Exception as error:
        found = _named(error, settings)
        if found is not None:
            logger.error(f"{prefix}{found}")
            code, summary, ends_all = found.exit_code, found.problem, found.everybody
        else:  # our own bug: say so, and keep what is needed to mend it
            code = BidsEncoderError.exit_code
            summary = f"a bug of this program: {shortened(repr(error))}"
            logger.error(f"{prefix}{summary}\n{_kept_traceback(settings, name)}")
    return Outcome(name, code, summary, time.monotonic() - start, ends_all)


def _named(error: Exception, settings: Settings) -> BidsEncoderError | None:
    """What is no bug, but no reader or writer has foreseen: of memory, or of the file system."""
    if isinstance(error, MemoryError):
        return out_of_memory(error, settings.resources.mem)
    if isinstance(error, OSError):
        return of_the_system(error, (settings.output_dir, settings.resources.work_dir))
    return None


def _kept_traceback(settings: Settings, name: str) -> str:
    """Write the traceback beside the output, or hand it back where that fails."""
    from bids_encoder.derivatives.atomic import write_text

    text = traceback.format_exc()
    path = settings.output_dir / "logs" / f"crash_{name}_{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        write_text(path, text)
    except BidsEncoderError:
        return text
    return f"  please report it together with {path}"
