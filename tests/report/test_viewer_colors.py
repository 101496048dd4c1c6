"""The colours that a browser draws, read back pixel by pixel, beside those of the legend."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from bids_encoder.report.palettes import layer_colors, wheel_colors

STAGES, TOP, STEEPEST = 4, 0.65, 0.3  # as the maps of the fixtures have them
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
    "contrast faces, synthesized": "synthesized_effect",
    "contrast faces, measured, t": "measured_t",
}


def _expected(kind: str, value: float, values: dict, peaks: tuple[float, float]) -> np.ndarray:
    """The colour of a value, from matplotlib alone."""
    strongest = float(np.nanquantile(np.abs(values[kind]), 0.999))
    low, high, colors = {
        "scores": (0, TOP, colormaps["inferno"]),
        "highest": (0, TOP, colormaps["inferno"]),
        "best": (0.5, STAGES + 0.5, layer_colors(STAGES)),
        "slope": (-STEEPEST, STEEPEST, colormaps["PuOr_r"]),
        "noiseceiling": (0, 1, colormaps["bone"]),
        "hrfpeak": (*peaks, colormaps["Spectral"]),
        "angle": (-180, 180, wheel_colors()),
        "eccentricity": (0, 4, colormaps["plasma_r"]),
        "synthesized_effect": (-strongest, strongest, colormaps["RdBu_r"]),
        "measured_t": (-strongest, strongest, colormaps["RdBu_r"]),
    }[kind]
    return np.array(colors(float(np.clip((value - low) / (high - low), 0, 1)))[:3]) * 255


def test_slices_have_the_legend_s_colours(volume, browser, open_view):
    values, maps = volume
    open_view(maps)
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


def test_surfaces_have_the_legend_s_colours(surface, browser, open_view):
    values, maps = surface
    open_view(maps)
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


def _compare(browser, values, maps, places, tolerance: float) -> None:
    """Every map, every layer, with and without the filter; the slider comes back in the end."""
    titles = browser.execute_script(
        "return [...document.querySelector('[data-part=map]').options].map((one) => one.text)"
    )
    assert {TITLES[title] for title in titles} == set(TITLES.values())
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
                if kind in ("angle", "eccentricity"):
                    data = np.where(values["retinotopy_f"] > 1, data, np.nan)
                for row, (x, y) in places:
                    color = shown[round(y - 0.5), round(x - 0.5)]
                    if not np.isfinite(data[row]) or (only and not passed[row]):
                        assert np.ptp(color) < 30 and color.min() > 90, (title, row)  # grey
                        continue
                    what = f"{title}, layer {frame}, filter {only}, value {data[row]}: {color}"
                    wanted = _expected(kind, data[row], values, peaks)
                    assert np.abs(color - wanted).max() <= tolerance, f"{what} for {wanted}"
                    said = legend(data[row])
                    assert np.abs(color - said).max() <= tolerance, f"{what} beside {said}"
                    if kind == "best":
                        labels_seen.add(int(data[row]))
    assert labels_seen == set(range(1, STAGES + 1))


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
