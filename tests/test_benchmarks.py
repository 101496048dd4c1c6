"""Benchmarks that look into the program find what they look for."""

import participant


def test_functions_that_are_timed_are_there():
    for _, module, name in participant.TIMED:
        owner, last = participant.find(module, name)
        assert callable(getattr(owner, last)), f"{module}.{name}"
