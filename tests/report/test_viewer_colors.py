"""The colours that a browser draws, read back pixel by pixel, beside those of the legend."""

from __future__ import annotations

import io
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from bids_encoder.grids.mesh import Mesh
from bids_encoder.grids.volume import VolumeGrid
from bids_encoder.report.interactive import interactive_view
from bids_encoder.report.page import Section, render
from bids_encoder.report.palettes import layer_colors, wheel_colors

LAYERS = ("stage1", "stage2", "stage3", "stage4")
VMAX, SLOPE = 0.65, 0.3
TITLES = {
    "score r of a layer": "scores",
    "highest score r": "highest",
    "best layer (smoothed by one voxel)": "best",
    "best layer (smoothed along the surface)": "best",
    "slope over layers": "slope",
    "noise ceiling of r²": "noiseceiling",
    "peak of the response": "hrfpeak",
    "angle in the visual field": "angle",
    "eccentricity": "eccentricity",
    "contrast faces, synthesized": "effect",
}


def _values(n: int) -> dict[str, np.ndarray]:
    """Maps whose values lie anywhere on their scales and beyond; none fills its scale alike."""
    random = np.random.default_rng(5)
    scores = random.uniform(-0.2, 0.5, (len(LAYERS), n)) * np.array([[1.0], [0.4], [0.7], [1.5]])
    scores[:, 3] = np.nan
    values = {
        "scores": scores,
        "highest": scores.max(axis=0),
        "best": random.integers(1, len(LAYERS) + 1, n).astype(float),
        "slope": random.uniform(-0.1, 0.2, n),
        "noiseceiling": random.uniform(0.2, 0.6, n),
        "hrfpeak": random.uniform(4.0, 6.0, n),
        "angle": random.uniform(-60.0, 20.0, n),  # only some of the wheel
        "eccentricity": random.uniform(0.1, 3.0, n),
        "effect": random.uniform(-0.4, 1.0, n),
        "p": random.random(n),
    }
    for one in values.values():
        one[..., 3] = np.nan
    return values


def _maps(values, inside, grid, meshes, background) -> SimpleNamespace:
    """What :func:`interactive_view` asks of the maps of an analysis."""

    def drawn(kind, **names):
        there = np.full(inside.shape, np.nan)
        there[inside] = values[kind]
        return there

    sidecars = {
        "noiseceiling": {"a": 1}, "hrfpeak": {"a": 1}, "p": {"a": 1}, "angle": {"a": 1},
        "eccentricity": {"Units": "degrees of visual angle", "RingEccentricities": [1.0, 4.0]},
    }  # fmt: skip
    written = SimpleNamespace(
        layers=list(LAYERS),
        matching_sidecar=sidecars.get,
        sidecar_from_models=sidecars.get,
        regions=lambda: {},
    )
    passed = inside.copy()
    passed[inside] = np.nan_to_num(values["highest"]) > 0.15

    def spread(one):
        there = np.full(inside.shape, np.nan)
        there[inside] = one
        return there

    return SimpleNamespace(
        written=written, grid=grid, inside=inside, meshes=meshes, background=background,
        r={layer: spread(one) for layer, one in zip(LAYERS, values["scores"], strict=True)},
        highest=spread(values["highest"]), best=spread(values["best"]),
        slope=spread(values["slope"]), passed=passed, rule="voxels above 0.15", vmax=VMAX,
        slope_limit=SLOPE, drawn=drawn,
        smoothed="smoothed along the surface" if meshes else "smoothed by one voxel",
    )  # fmt: skip


def _expected(kind: str, value: float, peaks: tuple[float, float]) -> np.ndarray:
    """The colour of a value, from matplotlib alone."""
    low, high, colors = {
        "scores": (0, VMAX, colormaps["inferno"]),
        "highest": (0, VMAX, colormaps["inferno"]),
        "best": (0.5, len(LAYERS) + 0.5, layer_colors(len(LAYERS))),
        "slope": (-SLOPE, SLOPE, colormaps["PuOr_r"]),
        "noiseceiling": (0, 1, colormaps["bone"]),
        "hrfpeak": (*peaks, colormaps["Spectral"]),
        "angle": (-180, 180, wheel_colors()),
        "eccentricity": (0, 4, colormaps["plasma_r"]),
    }[kind]
    return np.array(colors(float(np.clip((value - low) / (high - low), 0, 1)))[:3]) * 255


@pytest.fixture
def volume():
    shape = (9, 11, 7)
    inside = np.zeros(shape, dtype=bool)
    inside[1:8, 1:10, 1:6] = True
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-12, -60, 4)
    values = _values(int(inside.sum()))
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), affine)
    background = np.linspace(0, 1, inside.size).reshape(shape)
    return values, _maps(values, inside, VolumeGrid(mask), {}, background)


@pytest.fixture
def surface():
    n = 18
    turn, lift = np.meshgrid(np.arange(n) * 2 * np.pi / n, np.linspace(0.1, np.pi - 0.1, n))
    points = 30 * np.stack(
        [np.cos(turn) * np.sin(lift), np.sin(turn) * np.sin(lift), np.cos(lift)], axis=-1
    )
    number = np.arange(n * n).reshape(n, n)
    corner = (number[:-1], np.roll(number, -1, axis=1)[:-1], number[1:], np.roll(number, -1, 1)[1:])
    first, right, below, across = (part.ravel() for part in corner)
    faces = np.vstack([np.c_[first, right, below], np.c_[right, across, below]])
    mesh = Mesh(points.reshape(-1, 3), faces)
    inside = np.random.default_rng(1).random(2 * n * n) > 0.1
    values = _values(int(inside.sum()))
    meshes = {"L": mesh, "R": mesh}
    return values, _maps(values, inside, SimpleNamespace(), meshes, np.zeros(inside.size))


def test_slices_have_the_legend_s_colours(volume, browser, tmp_path):
    values, maps = volume
    _open(browser, tmp_path, maps)
    number = np.full(maps.inside.shape, -1)
    number[maps.inside] = np.arange(maps.inside.sum())
    at = browser.execute_script(
        """
        const view = document.querySelector(".viewer").view, places = [];
        const dims = view.d.dims;
        view.goToVoxel(dims.map((one) => Math.floor(one / 2)));
        for (let i = 0; i < dims[0]; i++) for (let j = 0; j < dims[1]; j++) {
          if (i === view.voxel[0] || j === view.voxel[1]) continue;  // under the crosshair
          const voxel = [i, j, view.voxel[2]], share = view.nv.vox2frac(voxel);
          places.push([view.inFiles(voxel), view.nv.frac2canvasPosWithTile(share, 0).pos]);
        }
        return places;
        """
    )
    inside = [
        (number[tuple(index)], pos)
        for index, pos in at
        if min(index) >= 0 and np.all(np.array(index) < number.shape) and number[tuple(index)] >= 0
    ]
    assert len(inside) > 40
    _compare(browser, values, maps, inside, tolerance=8)


def test_surfaces_have_the_legend_s_colours(surface, browser, tmp_path):
    values, maps = surface
    _open(browser, tmp_path, maps)
    at = browser.execute_script(
        """
        const view = document.querySelector(".viewer").view, places = [];
        view.nv.opts.show3Dcrosshair = false;
        for (let vertex = 0; vertex < view.points.length / 3; vertex++) {
          // Seen from behind: what lies well in front.
          if (view.points[3 * vertex + 1] > -22) continue;
          places.push([vertex, view.onCanvas(vertex).slice(0, 2)]);
        }
        return places;
        """
    )
    number = np.full(maps.inside.shape, -1)
    number[maps.inside] = np.arange(maps.inside.sum())
    inside = [(number[vertex], pos) for vertex, pos in at if number[vertex] >= 0]
    assert len(inside) > 40
    _compare(browser, values, maps, inside, tolerance=20)


def _open(browser, folder, maps) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    page = folder / "page.html"
    section = Section("task bars", "bars", viewer=interactive_view(maps))
    page.write_text(render("sub-01", "", [section]), encoding="utf-8")
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(
        lambda it: it.execute_script("return !!document.querySelector('.viewer.ready')")
    )


def _compare(browser, values, maps, places, tolerance: float) -> None:
    """Every map, every layer, with and without the filter; the slider comes back in the end."""
    titles = browser.execute_script(
        "return [...document.querySelector('[data-part=map]').options].map((one) => one.text)"
    )
    assert {TITLES[title] for title in titles} >= {
        "scores", "highest", "best", "slope", "noiseceiling", "hrfpeak", "angle", "eccentricity",
    }  # fmt: skip
    passed = maps.passed[maps.inside]
    peaks = tuple(
        browser.execute_script(
            "const one = document.querySelector('.viewer').view.d.maps"
            ".find(({title}) => title.startsWith('peak')); return [one.min, one.max]"
        )
    )
    labels_seen = set()
    for number, title in enumerate(titles):
        kind = TITLES[title]
        for frame in (0, 2, 3, 1, 0) if kind == "scores" else (0,):
            for only in (True, False):
                _choose(browser, number, frame, only)
                shown = _picture(browser, ".viewer canvas.drawn")
                legend = _legend(browser)
                data = values[kind][frame] if kind == "scores" else values[kind]
                for row, (x, y) in places:
                    color = shown[round(y - 0.5), round(x - 0.5)]
                    if not np.isfinite(data[row]) or (only and not passed[row]):
                        assert np.ptp(color) < 30 and color.min() > 90, (title, row)  # grey
                        continue
                    what = f"{title}, layer {frame}, filter {only}, value {data[row]}: {color}"
                    wanted = _expected(kind, data[row], peaks)
                    assert np.abs(color - wanted).max() <= tolerance, f"{what} for {wanted}"
                    said = legend(data[row])
                    assert np.abs(color - said).max() <= tolerance, f"{what} beside {said}"
                    if kind == "best":
                        labels_seen.add(int(data[row]))
    assert labels_seen == set(range(1, len(LAYERS) + 1))


def _choose(browser, number: int, frame: int, only: bool) -> None:
    browser.execute_script(
        """
        const part = (name) => document.querySelector(`[data-part="${name}"]`);
        part("map").value = arguments[0];
        part("map").dispatchEvent(new Event("change"));
        part("layer").value = arguments[1];
        part("layer").dispatchEvent(new Event("input"));
        if (part("passed").checked !== arguments[2]) part("passed").click();
        """,
        number,
        frame,
        only,
    )


def _picture(browser, selector: str) -> np.ndarray:
    png = browser.find_element("css selector", selector).screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def _legend(browser):
    """A function from value to the colour that the legend shows for it, read from the screen."""
    names = browser.find_elements("css selector", "[data-part=legend-names] li i")
    if names and names[0].is_displayed():
        shown = [np.asarray(Image.open(io.BytesIO(one.screenshot_as_png)).convert("RGB"))
                 for one in names]  # fmt: skip
        middles = [one[one.shape[0] // 2, one.shape[1] // 2].astype(float) for one in shown]
        return lambda value: middles[int(value) - 1]
    bar = _picture(browser, "[data-part=legend-bar]")
    low, high = browser.execute_script(
        "const { map } = document.querySelector('.viewer').view.chosen(); return [map.min, map.max]"
    )
    middle = bar[bar.shape[0] // 2]

    def color(value: float) -> np.ndarray:
        share = np.clip((value - low) / (high - low), 0, 1)
        return middle[round(share * (len(middle) - 1))]

    return color
