"""What the interactive view of a report holds: maps of one analysis, small enough to embed.

The page draws with NiiVue, but reads the values that it shows from these arrays, so that
what a click says is what the maps hold, rounded as the page says.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from matplotlib import colormaps

from bids_encoder.derivatives.layer_palette import layer_rgb
from bids_encoder.report.packing import PackedNumbers, in_steps, script_json, step_of, three_digits
from bids_encoder.report.palettes import layer_colors

_PROGRAMS = ("helpers.js", "view.js", "slices.js", "surfaces.js", "viewer.js")
SCORE_STEP = 1e-3  # of correlations; 20 layers of 200 000 voxels are then some 7 MB
_MARGIN = 0.06  # of the longest side
_VENDORED = Path(__file__).parent / "vendor" / "niivue-0.69.0.umd.js.gz"


@dataclass(frozen=True)
class ShownMap:
    """A map that can be chosen in the view.

    Attributes
    ----------
    title : str
    values : (V,) or (F, V) array
        F frames, one a layer; NaN where there is no value.
    vmin, vmax : float
        Ends of the colour scale.
    colors : (256, 3) uint8
        The colour scale.
    ticks : list of (value, text)
        What stands under the scale.
    labels : dict of int to str
        Names of the values, where they are labels.
    unit : str
        Of the values, as it stands behind a number.
    step : float or None
        To which values are rounded; None: as the scale asks for.
    """

    title: str
    values: np.ndarray
    vmin: float
    vmax: float
    colors: np.ndarray
    ticks: Sequence[tuple[float, str]] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    unit: str = ""
    step: float | None = None


def color_table(name) -> np.ndarray:
    """Return the 256 colours of a matplotlib colour map: (256, 3) uint8."""
    table = colormaps[name] if isinstance(name, str) else name
    return (table(np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)


def label_colors(n_layers: int) -> np.ndarray:
    """The colours of a map of layers: (256, 3) uint8, one step a layer."""
    return color_table(layer_colors(n_layers))


@dataclass(frozen=True)
class ViewedMap:
    """What the interactive view knows of V places, wherever they lie.

    Attributes
    ----------
    layers : sequence of L str
    scores : (L, V) array
        What the profile of a place shows.
    passed : (V,) bool
        Places that are drawn at first.
    rule : str
        Which these are, in words.
    maps : sequence of ShownMap
    values : dict of str to (V,) array
        Numbers that are said of a place, such as its p.
    regions : dict of atlas to (labels (V,), names by label)
    best : (V,) int array
        Best layer of the smoothed scores, 1 to L; 0: none. Marked in the profile, whose bars
        are not smoothed.
    smoothed : str
        How those scores were smoothed, in words.
    """

    layers: Sequence[str]
    scores: np.ndarray
    passed: np.ndarray
    rule: str
    maps: Sequence[ShownMap]
    values: Mapping[str, np.ndarray]
    regions: Mapping[str, tuple[np.ndarray, Mapping[int, str]]]
    best: np.ndarray
    smoothed: str


def volume_payload(shown: ViewedMap, mask: nibabel.Nifti1Image, background: np.ndarray) -> str:
    """Encode the maps of a volume for the page.

    Parameters
    ----------
    shown : ViewedMap
    mask : Nifti1Image
        V is the number of its voxels, in C order of its array.
    background : (V,) array
        Drawn in grey.

    Returns
    -------
    str
        JSON: a description of the arrays, and the arrays themselves in ``blob`` (gzip, base64).
    """
    canonical = nibabel.as_closest_canonical(mask)
    order = _canonical_order(mask)
    kept = np.isfinite(np.fmax.reduce(shown.scores))[order]
    inside = np.flatnonzero(np.asarray(canonical.dataobj).ravel(order="F") != 0)
    box, affine, places = _cropped(canonical, inside)
    parts = PackedNumbers()
    payload = {
        "kind": "volume",
        "dims": box,
        "affine": affine.tolist(),
        "box": np.linalg.inv(affine).tolist(),
        "voxel": np.linalg.inv(mask.affine).tolist(),
        "brain": parts.add(places.astype(np.uint32)),
        "background": parts.add(_shade(background[order], 55)),
        "places": parts.add(places[kept].astype(np.uint32)),
        **_of_places(shown, order[kept], parts),
    }
    return _packed(payload, parts)


def surface_payload(
    shown: ViewedMap,
    meshes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    vertices: np.ndarray,
    background: np.ndarray,
) -> str:
    """Encode the maps of surfaces for the page.

    Parameters
    ----------
    shown : ViewedMap
    meshes : dict of hemisphere ("left", "right") to (points (N, 3) in mm, triangles (T, 3))
    vertices : (V,) int array
        Where the values lie, counted through all hemispheres.
    background : (N,) array
        Of all vertices, such as the depth of sulci; drawn in grey.

    Returns
    -------
    str
        As of :func:`volume_payload`.
    """
    kept = np.flatnonzero(np.isfinite(np.fmax.reduce(shown.scores)))
    parts = PackedNumbers()
    points, triangles, hemispheres, first = [], [], [], 0
    for name, (xyz, corners) in meshes.items():
        hemispheres.append({"name": name, "first": first})
        points.append(_apart(xyz, name) if len(meshes) > 1 else xyz)
        triangles.append(_outward(xyz, corners) + first)
        first += len(xyz)
    payload = {
        "kind": "surface",
        "hemispheres": hemispheres,
        "points": parts.add(np.concatenate(points).astype(np.float32).ravel()),
        "triangles": parts.add(np.concatenate(triangles).astype(np.uint32).ravel()),
        "shade": parts.add(_shade(background, 130)),
        "view": [0, 10],  # from behind, a little above: where visual cortex is
        "places": parts.add(vertices[kept].astype(np.uint32)),
        **_of_places(shown, kept, parts),
    }
    return _packed(payload, parts)


def _apart(points: np.ndarray, hemisphere: str) -> np.ndarray:
    """Move a hemisphere away from the other; inflated ones overlap at the midline."""
    gap = 4.0
    x = -points[:, 0].max() - gap if hemisphere == "left" else -points[:, 0].min() + gap
    return points + np.array([x, 0, 0])


def _outward(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Triangles whose corners run counter-clockwise seen from outside: others are not drawn."""
    a, b, c = (points[triangles[:, corner]] - points.mean(axis=0) for corner in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c))
    return triangles if volume >= 0 else triangles[:, ::-1]


def _shade(background: np.ndarray, darkest: int) -> np.ndarray:
    """Greys from `darkest` to 255."""
    known = np.isfinite(background)
    low, high = np.quantile(background[known], (0.02, 0.98)) if known.any() else (0.0, 1.0)
    share = np.nan_to_num((background - low) / max(high - low, 1e-6)).clip(0, 1)
    return (share * (255 - darkest) + darkest).round().astype(np.uint8)


def _of_places(shown: ViewedMap, picked: np.ndarray, parts: PackedNumbers) -> dict[str, object]:
    """What volumes and surfaces say alike of the places that were picked."""
    return {
        "layers": list(shown.layers),
        "rule": shown.rule,
        "smoothed": shown.smoothed,
        "passed": parts.add(shown.passed[picked].astype(np.uint8)),
        "scores": _numbers(shown.scores[:, picked], SCORE_STEP, parts),
        "layer_colors": parts.add(layer_rgb(len(shown.layers))),
        "best": parts.add(shown.best[picked].astype(np.uint16)),
        "maps": [_described(one, picked, parts) for one in shown.maps],
        "values": {
            name: parts.add(three_digits(one[picked])) for name, one in shown.values.items()
        },
        "regions": [
            {
                "atlas": atlas,
                "labels": parts.add(labels[picked].astype(np.uint16)),
                "names": {str(number): name for number, name in names.items()},
            }
            for atlas, (labels, names) in shown.regions.items()
        ],
    }


def _numbers(values: np.ndarray, step: float, parts: PackedNumbers) -> dict[str, object]:
    """Values in steps, and how large a step is."""
    return {"data": parts.add(in_steps(values, step)), "step": step}


def _packed(payload: Mapping[str, object], parts: PackedNumbers) -> str:
    return script_json({**payload, "blob": parts.blob()})


def niivue() -> str:
    """NiiVue's program for browsers, gzipped, in base64."""
    return base64.b64encode(_VENDORED.read_bytes()).decode()


def program() -> str:
    """The view's own program."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in _PROGRAMS)


def _canonical_order(mask: nibabel.Nifti1Image) -> np.ndarray:
    """Which of the mask's voxels (C order) is which of the turned image's (first axis fastest)."""
    inside = np.asarray(mask.dataobj) != 0
    numbers = np.full(inside.shape, -1, dtype=np.int32)
    numbers[inside] = np.arange(np.count_nonzero(inside))
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(numbers, mask.affine))
    flat = np.asarray(turned.dataobj).ravel(order="F")
    return flat[flat >= 0].astype(np.intp)


def _cropped(
    image: nibabel.Nifti1Image, inside: np.ndarray
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The box around the voxels inside: its size, its affine, and their places in it.

    Around them is a margin, in which stands what is left and right.
    """
    coordinates = np.stack(np.unravel_index(inside, image.shape, order="F"))
    low, high = coordinates.min(axis=1), coordinates.max(axis=1) + 1
    margin = 1 + round(_MARGIN * int((high - low).max()))
    low, high = low - margin, high + margin
    box = (high - low).tolist()
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return box, affine, np.ravel_multi_index(coordinates - low[:, None], box, order="F")


def _described(shown: ShownMap, picked: np.ndarray, parts: PackedNumbers) -> dict[str, object]:
    values = shown.values[..., picked]
    step = 1.0 if shown.labels else shown.step or step_of(values, (shown.vmin, shown.vmax))
    return {
        "title": shown.title,
        "frames": 1 if values.ndim == 1 else len(values),
        **_numbers(values, step, parts),
        "unit": shown.unit,
        "min": shown.vmin,
        "max": shown.vmax,
        "colors": parts.add(shown.colors),
        "ticks": [list(tick) for tick in shown.ticks],
        "labels": {str(number): name for number, name in shown.labels.items()},
    }
