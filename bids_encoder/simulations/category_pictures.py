"""Pictures in nested categories, and what the layers of a network make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.rsa.similarity import gini, pairs, pearson, similarity_matrix
from bids_encoder.simulations.categories import LevelContrast, level_contrasts
from bids_encoder.stimuli.images import read_image

if TYPE_CHECKING:
    from bids_encoder.networks.network import Network

LEVELS = ("subordinate", "basic", "superordinate")  # from the finest to the coarsest
MOST_UNITS = 20_000  # of a layer, behind similarities; of more, a sample is drawn
MOST_PICTURES = 1000
_BATCH = 8


@dataclass(frozen=True)
class PictureTable:
    """Pictures and their categories, sorted by category.

    Attributes
    ----------
    file : Path
        The table.
    paths : tuple of n Path
    labels : dict of level to tuple of n str
        From the finest level to the coarsest.
    """

    file: Path
    paths: tuple[Path, ...]
    labels: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class LayerCode:
    """What one layer makes of the pictures.

    Attributes
    ----------
    layer : str
    units : int
    similarity : (n, n) array
    smoothness : float
        Functional smoothness with respect to the network's input.
    gini : float
        Mean over pictures.
    contrasts : list of LevelContrast
    """

    layer: str
    units: int
    similarity: np.ndarray
    smoothness: float
    gini: float
    contrasts: list[LevelContrast]


def read_picture_table(path: Path) -> PictureTable:
    """Read a table of pictures in nested categories.

    Parameters
    ----------
    path : Path
        Tab-separated, with the columns ``picture`` (a path, relative to the table),
        ``subordinate``, ``basic`` and ``superordinate``.

    Raises
    ------
    MissingInputError
        The table or a picture is not there.
    DataError
        A column is missing or a cell empty; categories are not nested; a
        subordinate category has a single picture; or there are too many pictures.
    """
    import pandas

    try:
        table = pandas.read_table(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise MissingInputError(
            "The table of pictures is not there.",
            file=path,
            remedy="give --pictures a TSV file with the columns picture, " + ", ".join(LEVELS),
        ) from None
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise DataError(
            "The table of pictures cannot be read.",
            file=path,
            found=str(error).strip(),
            expected="a tab-separated table with a header",
            remedy="save it as TSV in UTF-8",
        ) from None
    _check_cells(path, table)
    table = table.sort_values(list(reversed(LEVELS)), kind="stable").reset_index(drop=True)
    _check_nesting(path, table)
    paths = tuple(path.parent / name for name in table["picture"])
    for picture in paths:
        if not picture.exists():
            raise MissingInputError(
                "A picture of the table is not there.",
                file=picture,
                place=f"column picture of {path}",
                remedy="paths are relative to the table's folder",
            )
    return PictureTable(path, paths, {level: tuple(table[level]) for level in LEVELS})


def _check_cells(path: Path, table) -> None:
    wanted = ["picture", *LEVELS]
    lacking = [name for name in wanted if name not in table.columns]
    if lacking:
        raise DataError(
            "The table of pictures lacks a column.",
            file=path,
            place="the header",
            found=", ".join(table.columns),
            expected=f"the columns {', '.join(wanted)}; missing: {', '.join(lacking)}",
            remedy="name the columns so, separated by tabs",
        )
    for name in wanted:
        empty = np.flatnonzero(table[name].str.strip().isin(["", "n/a"]))
        if empty.size:
            raise DataError(
                "A cell of the table of pictures is empty.",
                file=path,
                place=f"line {empty[0] + 2}, column {name}",
                found=repr(table[name].iloc[empty[0]]),
                expected="a path" if name == "picture" else "a category",
                remedy="fill it in, or take the line out",
            )
    if not 4 <= len(table) <= MOST_PICTURES:
        raise DataError(
            "The table has too few or too many pictures.",
            file=path,
            found=f"{len(table)} pictures",
            expected=f"4 to {MOST_PICTURES}",
            remedy="Guest and Love took 5 pictures of each of 8 categories",
        )


def _check_nesting(path: Path, table) -> None:
    for finer, coarser in zip(LEVELS[:-1], LEVELS[1:], strict=True):
        parents = table.groupby(finer)[coarser].unique()
        split = parents[parents.map(len) > 1]
        if len(split):
            raise DataError(
                "The categories of the table are not nested.",
                file=path,
                place=f"columns {finer} and {coarser}",
                found=f"{split.index[0]} belongs to {' and '.join(split.iloc[0])}",
                expected=f"each {finer} category in one {coarser} category",
                remedy="give the two categories different names",
            )
    sizes = table["subordinate"].value_counts()
    if sizes.min() < 2:
        raise DataError(
            "A category has a single picture, so that nothing can be compared within it.",
            file=path,
            place="column subordinate",
            found=f"1 picture of {sizes.idxmin()}",
            expected="at least two",
            remedy="add a picture, or take the category out",
        )


def layer_codes(
    network: Network,
    table: PictureTable,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[LayerCode]:
    """Show the pictures to a network and compare their representations.

    Activations are taken as the network gives them, not reduced as for encoding
    models. The Gini coefficient is that of all units of a layer; similarities
    use at most 20 000 units, drawn at random in larger layers.

    Parameters
    ----------
    network : Network
    table : PictureTable
    seed : int
        Of the sampled units, and of the bootstrap.
    on_progress : callable, optional
        Called with the numbers of pictures done and of all.

    Returns
    -------
    list of LayerCode
        In the order of the network's layers.
    """
    random = np.random.default_rng(seed)
    kept = {}
    for tap in network.taps:
        size = int(np.prod(tap.shape))
        kept[tap.name] = (
            np.sort(random.choice(size, MOST_UNITS, replace=False))
            if size > MOST_UNITS
            else np.arange(size)
        )
    values: dict[str, list[np.ndarray]] = {name: [] for name in kept}
    sparse: dict[str, list[np.ndarray]] = {name: [] for name in kept}
    inputs = []
    for start in range(0, len(table.paths), _BATCH):
        paths = table.paths[start : start + _BATCH]
        batch, rows = _run(network, paths)
        inputs.append(batch)
        for name, activity in rows.items():
            sparse[name].append(gini(activity))
            values[name].append(activity[:, kept[name]])
        if on_progress:
            on_progress(start + len(paths), len(table.paths))
    shown = pairs(similarity_matrix(np.concatenate(inputs)))
    return [
        _layer_code(tap, np.concatenate(values[tap.name]), sparse[tap.name], shown, table, seed)
        for tap in network.taps
    ]


def _run(network: Network, paths: Sequence[Path]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Inputs and activations of some pictures, one row a picture."""
    import torch

    from bids_encoder.networks.network import activations

    batch = torch.stack([network.preprocess(read_image(path)) for path in paths])
    found = activations(network, batch)
    rows = {name: output.float().flatten(1).cpu().numpy() for name, output in found.items()}
    return batch.flatten(1).numpy(), rows


def _layer_code(tap, values, sparse, shown, table, seed) -> LayerCode:
    similarity = similarity_matrix(values)
    return LayerCode(
        tap.name,
        int(np.prod(tap.shape)),
        similarity,
        pearson(pairs(similarity), shown),
        float(np.concatenate(sparse).mean()),
        level_contrasts(similarity, table.labels, seed=seed),
    )
