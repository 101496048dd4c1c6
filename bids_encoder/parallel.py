"""Participants, one after the other or several at once, and what became of them."""

from __future__ import annotations

import logging
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context

from bids_encoder import console
from bids_encoder.errors import (
    BidsEncoderError,
    ParticipantError,
    of_the_system,
    out_of_memory,
    shortened,
)
from bids_encoder.settings import Settings

logger = logging.getLogger(__name__)

INTERRUPTED = 128 + signal.SIGINT  # as shells have it
TERMINATED = 128 + signal.SIGTERM


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
            from bids_encoder.executors.batch import started
            from bids_encoder.participant import check_options, select_participants

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
        yield from _in_pool(settings, labels, is_last)
        return
    settings = replace(settings, resources=replace(settings.resources, nprocs=1))
    for number, label in enumerate(labels, start=1):
        outcome = _attempt(settings, label)
        yield outcome
        if is_last(outcome):
            yield from (Outcome(f"sub-{label}", None) for label in labels[number:])
            return


def _in_pool(settings: Settings, labels: list[str], is_last) -> Iterator[Outcome]:
    # Spawned, not forked: forked children deadlock in the numerical libraries' threads.
    n_processes = min(settings.resources.nprocs, len(labels))
    # Memory is shared out among as many as there really are.
    settings = replace(settings, resources=replace(settings.resources, nprocs=n_processes))
    pool = ProcessPoolExecutor(
        n_processes,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(settings.flow.verbose,),
    )
    futures = {pool.submit(_attempt_in_pool, settings, label): f"sub-{label}" for label in labels}
    try:
        for future in as_completed(futures):
            name = futures[future]
            try:
                outcome = future.result()
            except CancelledError:
                outcome = Outcome(name, None)
            except BrokenProcessPool:
                outcome = Outcome(
                    name,
                    ParticipantError.exit_code,
                    "its process was killed, most likely for want of memory: "
                    "use a smaller --nprocs or --mem",
                )
            yield outcome
            if is_last(outcome):
                for other in futures:
                    other.cancel()
    except BaseException:  # Ctrl-C, or a signal to this process alone
        for process in active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(verbose: int) -> None:
    # The parent passes on what ends it; a worker then takes away its half-written files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.start_logging(verbose)


def _attempt_in_pool(settings: Settings, label: str) -> Outcome:
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
            from bids_encoder.group import run_group

            code, summary = 0, run_group(settings)
        else:
            from bids_encoder.participant import run_participant

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
    from bids_encoder.bids.atomic import write_text

    text = traceback.format_exc()
    path = settings.output_dir / "logs" / f"crash_{name}_{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        write_text(path, text)
    except BidsEncoderError:
        return text
    return f"  please report it together with {path}"
