"""Where commands begin: nothing is imported before Ctrl-C is taken care of."""

from __future__ import annotations

import sys
from importlib import import_module

from bids_encoder.runtime.interrupts import INTERRUPTED, leaving_at_once


def main() -> int:
    """Run ``bids-encoder``; returns its exit code."""
    return _run("bids_encoder.app.cli")


def fetch() -> int:
    """Run ``bids-encoder-fetch``; returns its exit code."""
    return _run("bids_encoder.app.fetch")


def neural_code() -> int:
    """Run ``bids-encoder-neural-code``; returns its exit code."""
    return _run("bids_encoder.simulations.cli")


def _run(module: str) -> int:
    with leaving_at_once():
        command = import_module(module).main
    try:
        return command()
    except KeyboardInterrupt:
        print("Interrupted before the work began.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":  # the processes of --nprocs import this file again
    sys.exit(main())
