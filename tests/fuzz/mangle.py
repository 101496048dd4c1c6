"""Mangled input: what disks, editors, converters and bad luck make of files.

A check gets generated content and has to end in a right result or in a
`BidsEncoderError` whose message names the file; any other exception fails.
`twice` makes two tests of it: one of a second or so, always the same examples, and one
of minutes with examples of its own (``pytest -m slow``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_encoder.errors import BidsEncoderError

_ANY_PACE = {"deadline": None, "suppress_health_check": list(HealthCheck)}

# What tables, sidecars and headers hold that nobody expects there.
NASTY_TEXT = st.sampled_from(
    [
        "", " ", "n/a", "N/A", "nan", "inf", "-inf", "1e400", "-0", "1_000", "1,5", "٣", "0x10",
        "../../../etc/passwd", "/etc/passwd", "..", ".", "~", "C:\\a.png", "stimuli/a.png", "a.png",
        "a.png\0", "\ufeffonset", "é", "\u202e", "💀", '"', '"a\tb"', "'", "\\", "%s", "{}",
        "$HOME",
        "onset", "duration", "stim_file", "-1", "9" * 400, "1e-320", "True", "null", "#", "=1+1",
    ]
)  # fmt: skip
NUMBERS = st.one_of(
    st.floats(), st.integers(), st.sampled_from([0, -1, 2, 2000, 2**31, 2**63, 10**400, 1e308])
)
TEXTS = st.one_of(NASTY_TEXT, NUMBERS.map(str), st.text(max_size=12))
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file after a broken transfer, a bad disk or a careless hand."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "insert", "delete", "cut", "repeat"]))
        if kind == "flip" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "cut":
            del data[at:]
        else:
            data[at:at] = data[at : at + 40]
    return bytes(data)


def twice(check: Callable[[object], None], content: st.SearchStrategy, examples: int = 40):
    """Two tests of a check: a quick one, and a thorough one marked slow."""

    def quick(mangled):
        check(mangled)

    def thorough(mangled):
        check(mangled)

    return (
        settings(max_examples=examples, derandomize=True, database=None, **_ANY_PACE)(
            given(mangled=content)(quick)
        ),
        pytest.mark.slow(
            settings(max_examples=50 * examples, **_ANY_PACE)(given(mangled=content)(thorough))
        ),
    )


@contextmanager
def folder():
    """A new folder for every example."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def outcome(read: Callable, *arguments, names: str, **keywords):
    """The result, or None where it was refused; the refusal has to name the file."""
    try:
        return read(*arguments, **keywords)
    except BidsEncoderError as error:
        assert names in str(error), str(error)
        return None
