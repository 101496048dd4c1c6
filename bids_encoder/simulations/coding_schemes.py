"""Coding schemes: what they make of a prototype and its growing distortions.

Guest and Love 2017 (eLife 6:e21397) ask which neural codes fMRI could see. A
code is fit for it when it is functionally smooth: similar inputs have similar
representations. Eleven schemes are compared, numbered as in their Figure 2:

1. vector space coding     y = x
2. gain control            y = tanh(z)
3. matrix multiplication   y = x W
4. perceptron              y = tanh(x W)
5. to 11.                  networks of 2 to 8 such layers

The items are a prototype of 100 independent normal numbers and 19 distortions:
the prototype plus normal noise of standard deviation 0.05, 0.10, ..., 0.95. z is
an item z-scored. x is z, mapped linearly to the range −1 to 1, a step that is
known from the program that the authors published; it sets the gain of the first
layer. All weights are independent N(0, 1) numbers.

Two more schemes cannot be smooth: factorial design coding and hashing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from bids_encoder.rsa.similarity import pearson, similarity_matrix

DIMENSIONS = 100
DISTORTIONS = 0.05 * np.arange(20)
LAYERS = 9
NAMES = (
    "vector space coding",
    "gain control",
    "matrix multiplication",
    "perceptron (1 layer)",
    *(f"{count}-layer network" for count in range(2, LAYERS + 1)),
)
HASHING = "SHA-1 hash coding"
FACTORIAL = "factorial design coding"


@dataclass(frozen=True)
class Smoothness:
    """What came of one scheme.

    Attributes
    ----------
    name : str
    prototype_similarity : (20,) array
        Mean similarity of representations to that of the prototype, by distortion.
    smoothness : float
        Correlation of similarity of inputs and of representations over all pairs
        of a prototype and one of its distortions, of all networks together.
    low, high : float
        95 % bootstrap interval of ``smoothness``, over networks.
    all_pairs : float
        The same over all pairs of items of one prototype.
    """

    name: str
    prototype_similarity: np.ndarray
    smoothness: float
    low: float
    high: float
    all_pairs: float


def make_items(random: np.random.Generator, prototypes: int) -> np.ndarray:
    """Draw prototypes and their distortions.

    Returns
    -------
    (prototypes, 20, 100) array
        The first of each 20 is the prototype itself. Each item is z-scored.
    """
    centres = random.standard_normal((prototypes, 1, DIMENSIONS))
    noise = random.standard_normal((prototypes, len(DISTORTIONS), DIMENSIONS))
    return zscored(centres + DISTORTIONS[:, None] * noise)


def zscored(values: np.ndarray) -> np.ndarray:
    """Give each item mean 0 and standard deviation 1."""
    return (values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True)


def mapped(values: np.ndarray) -> np.ndarray:
    """Map each item linearly to the range from −1 to 1."""
    low, high = values.min(-1, keepdims=True), values.max(-1, keepdims=True)
    return 2 * (values - low) / (high - low) - 1


def encode(
    items: np.ndarray, random: np.random.Generator, *, map_inputs: bool = True
) -> list[np.ndarray]:
    """Represent items in every scheme of ``NAMES``, with one set of random weights.

    Parameters
    ----------
    items : (..., 100) array
        Z-scored.
    random : numpy.random.Generator
    map_inputs : bool
        Inputs in the range −1 to 1, as the authors' program has them; False: as
        they are, z-scored.

    Returns
    -------
    list of arrays, each like ``items``
    """
    inputs = mapped(items) if map_inputs else items
    weights = random.standard_normal((LAYERS, DIMENSIONS, DIMENSIONS))
    representations = [inputs, np.tanh(items), inputs @ weights[0]]
    layer = inputs
    for matrix in weights:
        layer = np.tanh(layer @ matrix)
        representations.append(layer)
    return representations


def hashed(items: np.ndarray) -> np.ndarray:
    """Represent each item by the 160 bits of its SHA-1 checksum.

    Parameters
    ----------
    items : (..., p) array
        Rounded to 16-bit floats, so that equal items are equal in any arithmetic.

    Returns
    -------
    (..., 160) array of −1 and 1
    """
    rows = np.asarray(items, np.float16).reshape(-1, np.shape(items)[-1])
    digests = b"".join(hashlib.sha1(row.tobytes()).digest() for row in rows)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(*np.shape(items)[:-1], 160)
    return 2.0 * bits - 1


def factorial_code(factors: int) -> np.ndarray:
    """Represent the cells of a factorial design by all main effects and interactions.

    Rows are the 2^k combinations of k factors with the levels −1 and 1; columns
    are the products of all subsets of the factors: the constant, A, B, AB, ...
    It is a Hadamard matrix: inner products of different rows are exactly 0, so
    that a cell is as unlike one that shares all factors but one as one that
    shares none.

    Parameters
    ----------
    factors : int

    Returns
    -------
    (2^k, 2^k) array of −1 and 1

    References
    ----------
    Guest and Love 2017, Table 1, where k = 3.
    """
    from scipy.linalg import hadamard

    # Column j of Sylvester's matrix is the product of the factors in the binary digits of j.
    return hadamard(2**factors)[::-1]


def simulate(
    *,
    networks: int = 100,
    prototypes: int = 100,
    map_inputs: bool = True,
    seed: int = 0,
    on_progress=None,
) -> list[Smoothness]:
    """Simulate all schemes, and hashing, over random networks.

    Parameters
    ----------
    networks : int
        Each has weights and prototypes of its own.
    prototypes : int
        Of each network.
    map_inputs : bool
        See :func:`encode`.
    seed : int
    on_progress : callable, optional
        Called with the numbers of networks done and of all.

    Returns
    -------
    list of Smoothness
        In the order of ``NAMES``, then hashing.
    """
    random = np.random.default_rng(seed)
    inputs = []
    outputs: list[list[np.ndarray]] = []
    for number in range(1, networks + 1):
        items = make_items(random, prototypes)
        inputs.append(_pairs(items))
        made = [*encode(items, random, map_inputs=map_inputs), hashed(items)]
        outputs.append([_pairs(one) for one in made])
        if on_progress:
            on_progress(number, networks)
    similar = np.stack(inputs)  # (networks, prototypes, pairs), float32
    return [
        _summary(name, similar, np.stack(scheme), seed)
        for name, scheme in zip([*NAMES, HASHING], zip(*outputs, strict=True), strict=True)
    ]


def _pairs(values: np.ndarray) -> np.ndarray:
    """Similarities of all pairs of items of a prototype; pairs with the prototype come first."""
    upper = np.triu_indices(len(DISTORTIONS), k=1)
    return similarity_matrix(values)[:, upper[0], upper[1]].astype(np.float32)


def _summary(name: str, inputs: np.ndarray, outputs: np.ndarray, seed: int) -> Smoothness:
    few = len(DISTORTIONS) - 1  # the pairs with the prototype
    low, high = _interval(inputs[..., :few], outputs[..., :few], np.random.default_rng(seed))
    return Smoothness(
        name,
        np.concatenate([[1.0], outputs[..., :few].mean(axis=(0, 1), dtype=np.float64)]),
        pearson(inputs[..., :few], outputs[..., :few]),
        low,
        high,
        pearson(inputs, outputs),
    )


def _interval(inputs, outputs, random, number: int = 1000) -> tuple[float, float]:
    """Bootstrap over networks, from each network's sums."""
    x, y = (np.reshape(v, (len(v), -1)).astype(np.float64) for v in (inputs, outputs))
    moments = np.stack([x.mean(1), y.mean(1), (x * y).mean(1), (x * x).mean(1), (y * y).mean(1)])
    drawn = random.multinomial(len(x), np.full(len(x), 1 / len(x)), size=number) / len(x)
    mx, my, xy, xx, yy = moments @ drawn.T
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (xy - mx * my) / np.sqrt((xx - mx**2) * (yy - my**2))
    low, high = np.quantile(r, [0.025, 0.975])
    return float(low), float(high)
