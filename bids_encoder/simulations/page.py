"""Tables, figures and the page of ``bids-encoder-neural-code``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder import __version__
from bids_encoder.derivatives import atomic, provenance
from bids_encoder.derivatives.meanings import uncertain
from bids_encoder.report import code_figures, figures
from bids_encoder.report.page import Figure, Section, Table, render
from bids_encoder.simulations import coding_schemes

if TYPE_CHECKING:
    from bids_encoder.simulations.category_pictures import LayerCode, PictureTable
    from bids_encoder.simulations.scanner import Scan

# Guest and Love 2017. Their program takes its ninth layer of tanh for the eighth.
_PUBLISHED = {"perceptron (1 layer)": 0.86, "8-layer network": 0.22}

_OVER_NETWORKS = {
    "resampled": "networks with their prototypes, with replacement",
    "not_covered": "other inputs, sizes and activation functions than those simulated",
}
_OVER_PICTURES = {
    "resampled": "pictures with replacement, within the finest categories",
    "not_covered": "other categories, and other networks",
}
_SCHEMES = {
    "scheme": "Number in Guest and Love 2017, Figure 2.",
    "name": "Coding scheme.",
    "smoothness": "Functional smoothness: Pearson correlation of similarity of inputs and of "
    "representations, over all pairs of a prototype and one of its distortions, of all networks. "
    "Inputs mapped to the range -1 to 1, as in the program of the authors.",
    "smoothness_low": uncertain("Low end of its 95 % interval.", **_OVER_NETWORKS),
    "smoothness_high": uncertain("High end of that interval.", **_OVER_NETWORKS),
    "smoothness_all_pairs": "The same over all pairs of items of one prototype.",
    "smoothness_zscored": "As smoothness, inputs z-scored but not mapped; "
    "with a fifth as many prototypes.",
    "published": "Functional smoothness that Guest and Love 2017 report.",
}
_SCANNER = {
    "layout": "Arrangement of the units: smooth, half of the units at random places, or all.",
    "voxel_side": "Side of a voxel in units.",
    "voxels": "Number of voxels.",
    "signal": "Standard deviation of a voxel's response over items, in those of a unit.",
    "survival": "Pearson correlation, over pairs of items, of similarity between patterns of "
    "voxels with similarity between patterns of units.",
    "survival_without_noise": "The same for a scanner without noise.",
    "smoothness": "Functional smoothness of the voxels with respect to the items.",
    "neighbours_r": "Mean correlation of the responses of voxels that touch.",
}
_LAYERS = {
    "layer": "Layer of the network, from shallow to deep.",
    "units": "Number of units.",
    "smoothness": "Functional smoothness with respect to the network's input.",
    "gini": "Gini coefficient of activity over units, mean over pictures.",
}
_CATEGORIES = {
    "layer": "Layer of the network, from shallow to deep.",
    "level": "Level of the categories.",
    "within": "Mean similarity of pairs of pictures with the same label at this level (and not "
    "at a finer one).",
    "within_low": uncertain("Low end of its 95 % interval.", **_OVER_PICTURES),
    "within_high": uncertain("High end of its 95 % interval.", **_OVER_PICTURES),
    "between": "Mean similarity of pairs with different labels at this level, but the same at "
    "the next coarser one.",
    "between_low": uncertain("Low end of its 95 % interval.", **_OVER_PICTURES),
    "between_high": uncertain("High end of its 95 % interval.", **_OVER_PICTURES),
    "difference": "Within minus between.",
    "difference_low": uncertain("Low end of its 95 % interval.", **_OVER_PICTURES),
    "difference_high": uncertain("High end of its 95 % interval.", **_OVER_PICTURES),
}


def schemes_section(
    root: Path,
    codes: Mapping[str, Sequence[coding_schemes.Smoothness]],
    options: Mapping[str, object],
) -> Section:
    """Write table and figure of the coding schemes; return them as a part of the page.

    Parameters
    ----------
    root : Path
    codes : mapping of "mapped" and "zscored" to what :func:`schemes.simulate` gave
    options : mapping
        Goes into the table's sidecar.
    """
    rows: list[tuple] = []
    for number, (one, other) in enumerate(zip(codes["mapped"], codes["zscored"], strict=True), 1):
        rows.append(
            (number if number <= 11 else None, one.name, one.smoothness, one.low, one.high)
            + (one.all_pairs, other.smoothness, _PUBLISHED.get(one.name))
        )
    # All similarities are 0, so that nothing correlates with them.
    rows.append((None, coding_schemes.FACTORIAL, *[None] * 6))
    _write(root / "schemes.tsv", _SCHEMES, rows, options)
    curves = {one.name: one.prototype_similarity for one in codes["mapped"]}
    drawn = {name: curves[name] for name in coding_schemes.NAMES[:11]}
    drawn[coding_schemes.HASHING] = curves[coding_schemes.HASHING]
    drawn[coding_schemes.FACTORIAL] = np.append(1.0, np.zeros(len(coding_schemes.DISTORTIONS) - 1))
    columns = {"distortion": coding_schemes.DISTORTIONS.tolist()} | {
        n: c.tolist() for n, c in drawn.items()
    }
    meanings = {name: f"Mean similarity to the prototype: {name}." for name in drawn}
    meanings["distortion"] = "Standard deviation of the noise added to the prototype."
    _write_columns(root / "distortions.tsv", meanings, columns, options)
    path = root / "figures" / "schemes.png"
    figures.save(code_figures.distortions(coding_schemes.DISTORTIONS, drawn), path)
    header = ("scheme", "smoothness", "95 % interval", "z-scored inputs", "published")
    table = tuple(
        (f"{row[0] or '–'} {row[1]}", _number(row[2]), _interval(row[3], row[4]),
         _number(row[6]), _number(row[7], 2))
        for row in rows
    )  # fmt: skip
    ninth = codes["mapped"][list(coding_schemes.NAMES).index("9-layer network")].smoothness
    return Section(
        title="Coding schemes",
        anchor="schemes",
        paragraphs=(
            "A prototype (100 dimensions) and 19 growing distortions, in eleven coding schemes "
            "with random weights, and in two that cannot be smooth. Functional smoothness is "
            "the correlation of the similarity of inputs with that of their representations.",
            "Guest and Love report 0.86 at layer 1 and 0.22 at layer 8. The program that they "
            "published maps inputs to the range −1 to 1, pairs each distortion with its "
            "prototype, and counts the ninth layer of tanh as the eighth; read so, layer "
            f"“8” has {ninth:.2f} here.",
        ),
        tables=(Table("Functional smoothness", header, table),),
        figures=(
            Figure(
                "Similarity to the prototype",
                path,
                "Mean Pearson correlation of the representation of a distortion with that of "
                "its prototype. 1 vector space, 2 gain control, 3 matrix multiplication, "
                "4 perceptron, 5 to 11 networks of 2 to 8 layers (Guest and Love 2017, Fig. 2A).",
            ),
        ),
    )


def scanner_section(root: Path, scans: Sequence[Scan], options: Mapping[str, object]) -> Section:
    """Write table and figure of the simulated scanner; return them as a part of the page."""
    rows = [
        (s.layout, s.voxel, s.voxels, s.signal, s.survival, s.without_noise, s.smoothness,
         s.neighbours)
        for s in scans
    ]  # fmt: skip
    _write(root / "scanner.tsv", _SCANNER, rows, options)
    layouts = {
        layout: {
            "survival": [s.survival for s in scans if s.layout == layout],
            "without_noise": [s.without_noise for s in scans if s.layout == layout],
            "signal": [s.signal for s in scans if s.layout == layout],
        }
        for layout in dict.fromkeys(s.layout for s in scans)
    }
    path = root / "figures" / "scanner.png"
    sizes = list(dict.fromkeys(s.voxel for s in scans))
    figures.save(code_figures.scanner(sizes, layouts), path)
    largest = {s.layout: s.survival for s in scans if s.voxel == sizes[-1]}
    return Section(
        title="A simulated scanner",
        anchor="scanner",
        paragraphs=(
            "A sheet of units is read through voxels, each the mean of a square of units plus "
            "noise. The three layouts hold the same units at different places: all code the "
            f"items equally well. Through voxels of {sizes[-1]} × {sizes[-1]} units, similarity "
            f"survives with r = {largest['smooth']:.2f} on the smooth sheet and "
            f"{largest['random']:.2f} on the random one.",
        ),
        figures=(
            Figure(
                "What similarity survives",
                path,
                "Left: correlation of similarities between patterns of voxels with those "
                "between patterns of units. Right: standard deviation of a voxel's signal, "
                f"before noise. Means over {options['SimulatedSheets']} sheets.",
            ),
        ),
    )


def pictures_section(
    root: Path, table: PictureTable, codes: Sequence[LayerCode], options: Mapping[str, object]
) -> Section:
    """Write tables and figures of a network's layers; return them as a part of the page."""
    rows = [(c.layer, c.units, c.smoothness, c.gini) for c in codes]
    _write(root / "layers.tsv", _LAYERS, rows, options)
    contrasts = [
        (c.layer, one.level, *one.within, *one.between, *one.difference)
        for c in codes
        for one in c.contrasts
    ]
    _write(root / "categories.tsv", _CATEGORIES, contrasts, options)
    middle, late = codes[(len(codes) - 1) // 2], codes[-1]
    shown = [middle, late] if middle is not late else [late]
    matrices, levels = root / "figures" / "matrices.png", root / "figures" / "levels.png"
    figures.save(
        code_figures.category_matrices({c.layer: c.similarity for c in shown}, table.labels),
        matrices,
    )
    bars = {c.layer: {one.level: (one.within, one.between) for one in c.contrasts} for c in shown}
    figures.save(code_figures.category_levels(bars), levels)
    units = "Pictures are in the order of the table's categories."
    cells = tuple((c.layer, str(c.units), _number(c.smoothness), _number(c.gini)) for c in codes)
    return Section(
        title=f"Pictures through {options['Network']}",
        anchor="pictures",
        paragraphs=(
            f"{len(table.paths)} pictures in "
            + ", ".join(f"{len(set(names))} {level}" for level, names in table.labels.items())
            + f" categories, shown to {options['Network']}"
            + (" with random weights." if options["Untrained"] else "."),
        ),
        tables=(Table("Layers", ("layer", "units", "functional smoothness", "Gini"), cells),),
        figures=(
            Figure(
                "Similarity in a middle and a late layer",
                matrices,
                f"Pearson correlation of activations (Guest and Love 2017, Fig. 4). {units}",
            ),
            Figure(
                "Within and between categories",
                levels,
                "Mean similarity of pairs that share a category at a level, and of pairs that "
                "do not but share the next coarser one; bars: 95 % bootstrap intervals.",
            ),
        ),
    )


def write_page(root: Path, sections: Sequence[Section]) -> Path:
    """Write ``index.html`` and return its path."""
    path = root / "index.html"
    subtitle = f"Which neural codes could a scanner see? bids_encoder {__version__}."
    atomic.write_text(path, render("The neural code", subtitle, list(sections)))
    return path


def _write(path: Path, meanings: Mapping[str, str], rows: Sequence[tuple], options) -> None:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(meanings)}
    _write_columns(path, meanings, columns, options)


def _write_columns(path: Path, meanings, columns, options) -> None:
    atomic.write_tsv(path, columns)
    versions = ", ".join(map(" ".join, provenance.software_versions().items()))
    explained = {name: {"Description": meanings[name]} for name in columns}
    content = {**options, "SoftwareVersions": versions, **explained}
    atomic.write_json(path.with_suffix(".json"), content)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{low:.3f} to {high:.3f}"
