"""Figures of maps and profiles, as they stand in the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from nibabel import Nifti1Image

LAYER_COLORS = "viridis"  # early to late, readable in grey and by the colour-blind
INK = "#3b4252"


def layer_colors(n_layers: int) -> np.ndarray:
    """One colour a layer, early (dark) to late (light), (L, 4)."""
    return plt.get_cmap(LAYER_COLORS)(np.linspace(0.05, 0.95, n_layers))


def cut_positions(image: Nifti1Image, weights: np.ndarray, number: int = 7) -> list[float]:
    """Axial cuts where something is to be seen, in mm.

    Parameters
    ----------
    image : Nifti1Image
    weights : (x, y, z) array
        How much there is to see in each voxel, for instance positive scores.
    number : int
    """
    per_slice = np.nansum(weights, axis=(0, 1))
    share = np.cumsum(per_slice) / max(per_slice.sum(), 1e-12)
    quantiles = (np.arange(number) + 0.5) / number
    slices = np.searchsorted(share, quantiles)
    # Quantiles bunch up where the signal is; spread them so that no slice comes twice.
    low, high = slices.min(), slices.max()
    if len(np.unique(slices)) < number:
        low, high = max(0, low - number // 2), min(image.shape[2] - 1, high + number // 2)
        slices = np.unique(np.linspace(low, high, number).round().astype(int))
    origin = np.array(image.shape) / 2
    return [
        float((image.affine @ [origin[0], origin[1], k, 1])[2]) for k in np.unique(slices)
    ]


def map_rows(
    maps: Sequence[tuple[str, Nifti1Image]],
    background: Nifti1Image | None,
    cuts: Sequence[float],
    *,
    vmin: float,
    vmax: float,
    colors,
    threshold: float | None = None,
    label: str = "",
    ticks: Sequence[tuple[float, str]] | None = None,
) -> plt.Figure:
    """Draw one row of axial slices per map, all on one scale.

    Parameters
    ----------
    maps : list of (title, image)
    background : Nifti1Image or None
        Anatomy or mean BOLD to draw under the maps.
    cuts : list of float
        z in mm.
    vmin, vmax : float
    colors : matplotlib colour map or its name
    threshold : float, optional
        Smaller magnitudes are left transparent.
    label : str
        Under the colour bar.
    ticks : list of (value, text), optional
        Of the colour bar.
    """
    from nilearn.plotting import plot_stat_map

    rows = len(maps)
    figure = plt.figure(figsize=(11, 1.55 * rows + 0.9), facecolor="white")
    bottom = 0.75 / (1.55 * rows + 0.9)
    height = (1 - bottom) / rows
    for row, (title, image) in enumerate(maps):
        axes = figure.add_axes((0.15, 1 - (row + 1) * height, 0.85, height * 0.98))
        plot_stat_map(
            image,
            bg_img=background,
            display_mode="z",
            cut_coords=list(cuts),
            axes=axes,
            figure=figure,
            cmap=colors,
            vmin=vmin,
            vmax=vmax,
            threshold=threshold,
            colorbar=False,
            annotate=row == 0,
            black_bg=False,
            resampling_interpolation="nearest",
            symmetric_cbar=False,
        )
        figure.text(
            0.145, 1 - (row + 0.5) * height, title,
            ha="right", va="center", fontsize=10, color=INK,
        )  # fmt: skip
    bar = figure.add_axes((0.35, bottom * 0.62, 0.4, 0.12 * bottom))
    norm = plt.Normalize(vmin, vmax)
    cmap = plt.get_cmap(colors) if isinstance(colors, str) else colors
    colorbar = figure.colorbar(plt.cm.ScalarMappable(norm, cmap), cax=bar, orientation="horizontal")
    if ticks:
        colorbar.set_ticks([value for value, _ in ticks], labels=[text for _, text in ticks])
    colorbar.set_label(label, color=INK)
    colorbar.outline.set_visible(False)
    bar.tick_params(colors=INK, labelsize=8)
    return figure


def best_layer_colors(n_layers: int) -> tuple[ListedColormap, BoundaryNorm]:
    """The discrete colour map of best-layer maps."""
    cmap = ListedColormap(layer_colors(n_layers))
    return cmap, BoundaryNorm(np.arange(n_layers + 1) + 0.5, n_layers)


def profile(layers: Sequence[str], scores: np.ndarray, best: np.ndarray) -> plt.Figure:
    """Scores over layers for the best-predicted voxels, and voxels won by each layer.

    Parameters
    ----------
    layers : list of str, early to late
    scores : (L, V) array
        Correlations on held-out data.
    best : (V,) int array
        Best layer of each voxel, 1 to L; 0: none.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    positions = np.arange(len(layers))
    top = np.nanmax(scores, axis=0)
    for share, style in ((0.01, "-"), (0.05, "--"), (0.25, ":")):
        chosen = top >= np.nanquantile(top, 1 - share)
        left.plot(
            positions, np.nanmean(scores[:, chosen], axis=1), style, color=INK, marker="o",
            markersize=4, label=f"best {share:.0%} of voxels ({chosen.sum()})",
        )  # fmt: skip
    left.axhline(0, color="#d8dee9", zorder=0)
    left.set_ylabel("mean correlation r, held out")
    left.legend(frameon=False, fontsize=8)
    counts = np.bincount(best, minlength=len(layers) + 1)[1:]
    right.bar(positions, counts, color=layer_colors(len(layers)))
    right.set_ylabel("voxels that the layer predicts best")
    for axes in (left, right):
        axes.set_xticks(positions, layers, rotation=35, ha="right", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, without a date in it."""
    from bids_encoder.bids.atomic import atomic_path

    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
    plt.close(figure)
