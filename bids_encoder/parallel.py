"""Where the work runs: this process, or a pool of them; and what became of it."""

from __future__ import annotations

import logging
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from bids_encoder import console
from bids_encoder.errors import BidsEncoderError, ParticipantError
from bids_encoder.settings import Settings

logger = logging.getLogger(__name__)

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True)
class Outcome:
    """What became of one participant, or of the group level."""

    name: str
    exit_code: int
    summary: str
    seconds: float = 0.0


def run(settings: Settings) -> int:
    """Do what the settings ask for and return the worst exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes: list[Outcome] = []
    try:
        if settings.analysis_level == "group":
            outcomes.append(_attempt(settings, None))
        else:
            from bids_encoder.participant import select_participants

            labels = select_participants(settings)
            for outcome in _participants(settings, labels):
                outcomes.append(outcome)
                if outcome.exit_code and settings.flow.stop_on_first_crash:
                    break
    except BidsEncoderError as error:
        logger.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        logger.error("Interrupted. What is finished is kept; the same command goes on from there.")
        return INTERRUPTED
    rows = [
        (o.name, "done" if o.exit_code == 0 else f"failed ({o.exit_code})",
         console.duration(o.seconds), o.summary)
        for o in sorted(outcomes, key=lambda outcome: outcome.name)
    ]  # fmt: skip
    logger.info("\n" + console.table(("", "outcome", "took", ""), rows))
    return max(outcome.exit_code for outcome in outcomes)


def _participants(settings: Settings, labels: list[str]) -> Iterator[Outcome]:
    if settings.resources.nprocs == 1 or len(labels) == 1:
        for label in labels:
            yield _attempt(settings, label)
        return
    # Spawned, not forked: forked children deadlock in the numerical libraries' threads.
    with ProcessPoolExecutor(
        min(settings.resources.nprocs, len(labels)), mp_context=get_context("spawn")
    ) as pool:
        futures = {pool.submit(_attempt_in_pool, settings, label): label for label in labels}
        try:
            for future in as_completed(futures):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    yield Outcome(
                        f"sub-{futures[future]}",
                        ParticipantError.exit_code,
                        "its process was killed, most likely for want of memory: "
                        "use a smaller --nprocs or --mem",
                    )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _attempt_in_pool(settings: Settings, label: str) -> Outcome:
    console.start_logging(settings.flow.verbose, prefix=f"[sub-{label}]")
    return _attempt(settings, label)


def _attempt(settings: Settings, label: str | None) -> Outcome:
    """Run one participant (or the group, None); no exception but Ctrl-C comes out."""
    start = time.monotonic()
    name = "group" if label is None else f"sub-{label}"
    try:
        if label is None:
            from bids_encoder.group import run_group

            code, summary = 0, run_group(settings)
        else:
            from bids_encoder.participant import run_participant

            code, summary = 0, run_participant(settings, label)
    except BidsEncoderError as error:
        logger.error(f"{name}: {error}")
        code, summary = error.exit_code, error.problem
    except MemoryError:
        code, summary = ParticipantError.exit_code, "out of memory: give a smaller --mem"
        logger.error(f"{name}: {summary}")
    except Exception as error:  # our own bug: say so, and keep what is needed to mend it
        code, summary = BidsEncoderError.exit_code, f"a bug of this program: {error!r}"
        logger.error(f"{name}: {summary}\n{_kept_traceback(settings, name)}")
    return Outcome(name, code, summary, time.monotonic() - start)


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
