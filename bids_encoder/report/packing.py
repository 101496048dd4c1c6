"""Arrays and names, packed so that a page can hold them and nothing in them can harm it."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np

NOTHING = -32768  # stands for a value that is not there
_FINEST = 250  # a scale is cut into so many steps at least: about its colours


class PackedNumbers:
    """Arrays laid one after the other, each at a multiple of four bytes; equal ones once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._known: dict[tuple[str, bytes], dict[str, object]] = {}
        self._length = 0

    def add(self, array: np.ndarray) -> dict[str, object]:
        """Where the array will lie: its type, first byte and number of elements."""
        array = np.ascontiguousarray(array)
        content = array.astype(array.dtype.newbyteorder("<")).tobytes()
        key = (array.dtype.name, content)
        if key not in self._known:
            self._known[key] = {
                "type": array.dtype.name, "start": self._length, "length": array.size,
            }  # fmt: skip
            self._pieces.append(content + bytes(-len(content) % 4))
            self._length += len(self._pieces[-1])
        return self._known[key]

    def blob(self) -> str:
        """All of them: gzip, base64."""
        content = gzip.compress(b"".join(self._pieces), compresslevel=9, mtime=0)
        return base64.b64encode(content).decode()


def step_of(values: np.ndarray, ends: tuple[float, float]) -> float:
    """The step to which values are rounded: a power of ten.

    Parameters
    ----------
    values : array
        Finite ones must fit into 16 bits.
    ends : (float, float)
        Of the colour scale, which is cut into 250 steps at least.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    wanted = np.floor(np.log10(max(abs(end) for end in ends) / _FINEST))
    needed = np.ceil(np.log10(largest / 32767)) if largest > 0 else wanted
    return float(10.0 ** max(wanted, needed))


def in_steps(values: np.ndarray, step: float) -> np.ndarray:
    """Values as int16 multiples of a step; the lowest number stands for no value."""
    # Halves away from zero, as rounding is taught; numpy rounds them to even.
    steps = np.sign(values) * np.floor(np.abs(values.astype(np.float64)) / step + 0.5)
    return np.where(np.isfinite(values), steps, NOTHING).clip(NOTHING, 32767).astype(np.int16)


def three_digits(values: np.ndarray) -> np.ndarray:
    """Values as float32 with three significant digits: they take less room when compressed."""
    values = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(values) & (values != 0)
    size = 10.0 ** (np.floor(np.log10(np.abs(np.where(usable, values, 1)))) - 2)
    rounded = np.where(usable, np.round(values / size) * size, values)
    return rounded.astype(np.float32)


def script_json(content: object) -> str:
    """JSON that may stand in a script element whatever its texts hold.

    ``<!--<script>`` would swallow the page behind it; ``</script>`` would end the element.
    Characters beyond ASCII are escaped by :func:`json.dumps`, U+2028 and U+2029 with them.
    """
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    text = json.dumps(content, ensure_ascii=True)
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    return text
