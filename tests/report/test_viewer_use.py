"""The view by keyboard, wheel and screen reader, in print and without JavaScript."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from bids_encoder.report import figures
from bids_encoder.report.page import Figure, Table

WIDTHS = (1300, 420)


def _canvas(browser):
    return browser.find_element("css selector", ".viewer canvas.drawn")


def _facts(browser) -> dict[str, str]:
    return browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.viewer dd')]"
        ".map((one) => [one.dataset.fact, one.textContent]))"
    )


def _press(browser, *keys) -> None:
    browser.execute_script("document.querySelector('.viewer canvas.drawn').focus()")
    ActionChains(browser).send_keys(*keys).perform()


def _voxel(browser) -> np.ndarray:
    return np.array([int(one) for one in _facts(browser)["voxel"].split(",")])


def test_no_letter_and_no_button_of_the_mouse_changes_the_picture(volume, browser, open_view):
    open_view(volume[1])
    canvas = _canvas(browser)
    browser.execute_script("document.querySelector('.viewer canvas.drawn').focus()")
    browser.execute_script(
        "const s = document.querySelector('[data-part=map]'); s.value = 1; s.onchange();"
    )
    before = canvas.screenshot_as_png
    for key in "abcdefghijklmnopqrstuvwxyz0123456789":
        _press(browser, key)
        assert canvas.screenshot_as_png == before, key
    # Where the crosshair is, so that it stays: NiiVue would fit the window to the data.
    x, y = browser.execute_script(
        "const { nv } = document.querySelector('.viewer').view;"
        "return nv.frac2canvasPosWithTile(nv.scene.crosshairPos, 0).pos"
    )
    right, down = round(x - canvas.size["width"] / 2), round(y - canvas.size["height"] / 2)
    mouse = ActionChains(browser)
    mouse.move_to_element_with_offset(canvas, right, down).double_click().perform()
    assert canvas.screenshot_as_png == before
    ActionChains(browser).move_to_element_with_offset(canvas, right, down).context_click().perform()
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert canvas.screenshot_as_png == before


def test_arrow_keys_move_the_crosshair(volume, browser, open_view):
    open_view(volume[1])
    _press(browser, Keys.HOME)
    highest = _voxel(browser)
    scores = volume[0]["scores"]
    assert float(_facts(browser)["highest score r"]) == pytest.approx(np.nanmax(scores), abs=6e-4)
    browser.execute_script("document.querySelector('.viewer').view.goToVoxel([4, 5, 3])")
    here = _voxel(browser)
    for key, step in (
        (Keys.ARROW_LEFT, (-1, 0, 0)), (Keys.ARROW_RIGHT, (1, 0, 0)), (Keys.ARROW_UP, (0, 1, 0)),
        (Keys.ARROW_DOWN, (0, -1, 0)), (Keys.PAGE_UP, (0, 0, 1)), (Keys.PAGE_DOWN, (0, 0, -1)),
    ):  # fmt: skip
        _press(browser, key)
        assert (_voxel(browser) - here).tolist() == list(step)
        here = _voxel(browser)
    for _ in range(30):
        _press(browser, Keys.ARROW_LEFT)
    assert _voxel(browser)[0] <= 0  # the edge of the picture
    _press(browser, Keys.HOME)
    assert (_voxel(browser) == highest).all()


def test_arrow_keys_walk_over_a_surface(surface, browser, open_view):
    open_view(surface[1])
    where = "const v = document.querySelector('.viewer').view; return v.onCanvas(v.vertex)"
    browser.execute_script(
        """
        const view = document.querySelector(".viewer").view;
        view.goToVertex(view.under(...view.onCanvas(18 * 9 + 13)));
        """
    )
    for key, axis, sign in (
        (Keys.ARROW_RIGHT, 0, 1), (Keys.ARROW_LEFT, 0, -1),
        (Keys.ARROW_UP, 1, -1), (Keys.ARROW_DOWN, 1, 1),
    ):  # fmt: skip
        before = browser.execute_script(where)
        _press(browser, key)
        after = browser.execute_script(where)
        assert sign * (after[axis] - before[axis]) > 3, key
    picture = _canvas(browser).screenshot_as_png
    vertex = _facts(browser)["vertex"]
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_LEFT).key_up(
        Keys.SHIFT
    ).perform()
    assert _facts(browser)["vertex"] == vertex
    assert _canvas(browser).screenshot_as_png != picture
    marks = browser.find_elements("css selector", ".viewer .side")
    assert [one.text for one in marks] == ["L", "R"]
    assert marks[0].rect["x"] < marks[1].rect["x"]


def _wheel(browser, modifiers: int) -> float:
    box = browser.execute_script(
        "const b = document.querySelector('.viewer canvas.drawn').getBoundingClientRect();"
        "return [b.x + b.width / 6, b.y + b.height / 2]"
    )
    browser.execute_cdp_cmd(
        "Input.dispatchMouseEvent",
        {"type": "mouseWheel", "x": box[0], "y": box[1], "deltaX": 0, "deltaY": 120,
         "modifiers": modifiers},
    )  # fmt: skip
    browser.execute_async_script("setTimeout(arguments[0], 300)")
    return browser.execute_script("return window.scrollY")


def test_the_wheel_scrolls_the_page_and_with_ctrl_the_slices(volume, browser, open_view):
    open_view(volume[1])
    before = _voxel(browser)
    assert _wheel(browser, 0) > 50
    assert (_voxel(browser) == before).all()
    browser.execute_script("window.scrollTo(0, 0)")
    assert _wheel(browser, 2) == 0
    assert np.abs(_voxel(browser) - before).sum() == 1
    assert "Ctrl + wheel" in browser.find_element("css selector", "[data-part=hint]").text


def test_screen_readers_hear_places_and_layers(volume, browser, open_view):
    open_view(volume[1])
    browser.execute_script(
        "const s = document.querySelector('[data-part=map]'); s.value = 0; s.onchange();"
    )
    slider = browser.find_element("css selector", "[data-part=layer]")
    slider.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert slider.get_attribute("aria-valuetext") == "stage2"
    _press(browser, Keys.ARROW_LEFT)
    browser.execute_async_script("setTimeout(arguments[0], 600)")
    said = browser.find_element("css selector", "[data-part=announced]")
    assert said.get_attribute("aria-live") == "polite"
    words = said.get_attribute("textContent")
    for name, value in _facts(browser).items():
        assert f"{name} {value}".strip() in words
    profile = browser.find_element("css selector", ".viewer svg").get_attribute("aria-label")
    assert all(f"stage{i}" in profile for i in (1, 2, 3, 4))


def test_tab_reaches_everything_and_the_focus_is_seen(volume, browser, open_view):
    open_view(volume[1])
    ActionChains(browser).send_keys(Keys.TAB).perform()
    reached = []
    for _ in range(12):
        seen = browser.execute_script(
            "const one = document.activeElement, s = getComputedStyle(one);"
            "return [one.dataset.part ?? one.tagName, s.outlineStyle, parseFloat(s.outlineWidth)]"
        )
        if seen[0] != "BODY":
            assert seen[1] != "none" and seen[2] >= 1, seen
        reached.append(seen[0])
        ActionChains(browser).send_keys(Keys.TAB).perform()
    assert {"map", "passed", "threshold", "typed", "canvas"} <= set(reached)


def test_the_smoothed_best_layer_is_marked_beside_the_bars(volume, browser, open_view):
    values, maps = volume
    open_view(maps)
    raw = np.argmax(values["scores"], axis=0) + 1
    number = np.full(maps.inside.shape, -1)
    number[maps.inside] = np.arange(maps.inside.sum())
    differ = np.flatnonzero((raw != values["best"]) & np.isfinite(values["best"]))
    for row in differ[:5]:
        browser.execute_script(
            """
            const view = document.querySelector(".viewer").view, [x, y, z] = view.d.dims;
            for (let i = 0; i < x * y * z; i++) {
              const voxel = [i % x, Math.floor(i / x) % y, Math.floor(i / (x * y))];
              if (view.inFiles(voxel).join() === arguments[0].join()) view.goToVoxel(voxel);
            }
            """,
            np.argwhere(number == row)[0].tolist(),
        )
        marked = browser.find_element("css selector", ".viewer [data-mark]")
        assert marked.get_attribute("data-mark") == f"stage{int(values['best'][row])}"
        facts = _facts(browser)
        assert facts["best layer (smoothed by one voxel)"] == f"stage{int(values['best'][row])}"
        assert facts["highest bar"] == f"stage{raw[row]}"
        bold = browser.find_element("css selector", ".viewer .highest")
        assert bold.get_attribute("data-score") == f"stage{raw[row]}"
    about = browser.find_element("css selector", "[data-part=about-profile]").text
    assert "smoothed by one voxel" in about and "may differ" in about


def test_what_is_said_of_a_voxel_is_right_to_the_stated_rounding(volume, browser, open_view):
    values, maps = volume
    open_view(maps)
    rounding = browser.find_element("css selector", "[data-part=rounding]").text
    assert "score r of a layer, highest score r" in rounding and "to 0.001" in rounding
    shown = browser.execute_script(
        """
        const view = document.querySelector(".viewer").view, said = [];
        for (let row = 0; row < view.places.length; row++) {
          view.goTo(row);
          const facts = [...document.querySelectorAll(".viewer dd")];
          said.push(Object.fromEntries(facts.map((one) => [one.dataset.fact, one.textContent])));
        }
        return said;
        """
    )
    number = np.full(maps.inside.shape, -1)
    number[maps.inside] = np.arange(maps.inside.sum())
    half = {
        "highest score r": ("highest", 0.0005), "slope over layers": ("slope", 0.0005),
        "noise ceiling of r²": ("noiseceiling", 0.0005), "peak of the response": ("hrfpeak", 0.005),
        "angle in the visual field": ("angle", 0.05), "eccentricity": ("eccentricity", 0.005),
    }  # fmt: skip
    for facts in shown:
        row = number[tuple(int(one) for one in facts["voxel"].split(","))]
        for title, (kind, most) in half.items():
            if kind in ("angle", "eccentricity") and values["retinotopy_f"][row] <= 1:
                assert facts[title] == "–"
                continue
            text = facts[title].rstrip("° s")
            assert abs(float(text) - values[kind][row]) <= most * 1.001, (title, text)
            assert text not in ("-0.0", "-0.00", "-0.000"), title


def test_the_view_opens_on_the_best_layer_and_goes_where_it_is_told(volume, browser, open_view):
    values, maps = volume
    open_view(maps)
    chosen = browser.execute_script(
        "return document.querySelector('[data-part=map]').selectedOptions[0].text"
    )
    assert chosen == "best layer (smoothed by one voxel)"
    field = browser.find_element("css selector", "[data-part=typed]")
    field.send_keys("-3, -36 13", Keys.ENTER)
    assert _facts(browser)["mm"] == "-3.0, -36.0, 13.0"
    assert _voxel(browser).tolist() == [3, 8, 3]
    field.send_keys("x", Keys.ENTER)
    assert field.get_attribute("aria-invalid") == "true"
    drawn = "return document.querySelector('.viewer').view.overlay.img.filter((one) => one).length"
    counts = []
    for least in ("0", "0.3", "0.5"):
        browser.execute_script(
            "const s = document.querySelector('[data-part=threshold]');"
            "s.value = arguments[0]; s.oninput();",
            least,
        )
        counts.append(browser.execute_script(drawn))
    passed = maps.passed[maps.inside]
    highest = np.round(values["highest"], 3)
    assert counts == [np.count_nonzero(passed & (highest >= at)) for at in (-1, 0.3, 0.5)]


def test_regions_are_gone_to(volume, browser, open_view):
    values, maps = volume
    labels = np.where(np.arange(maps.inside.sum()) % 3 == 0, 2, 1)
    values["regions"] = labels.astype(float)
    maps.written.regions = lambda: {"Toy": ["V1", "FFA", "empty"]}
    open_view(maps)
    options = browser.find_elements("css selector", "[data-part=goal] option")
    assert [one.text for one in options] == ["highest score", "V1", "FFA"]
    options[2].click()
    facts = _facts(browser)
    best = np.nanmax(np.where(labels == 2, values["highest"], np.nan))
    assert facts["Toy"] == "FFA"
    assert float(facts["highest score r"]) == pytest.approx(best, abs=6e-4)


def test_in_print_the_view_is_a_picture_and_nothing_is_cut(volume, browser, open_view, tmp_path):
    wide = Table("Wide", tuple(f"column {i}" for i in range(14)), (("a.long.name",) * 14,) * 3)
    open_view(volume[1], tables=(wide,), details=(("JSON", "x" * 400),))
    browser.execute_cdp_cmd("Page.printToPDF", {})
    drawn = browser.execute_script(
        """
        const one = document.querySelector("[data-part=picture]");
        return Array.from(one.getContext("2d").getImageData(0, 0, one.width, one.height).data);
        """
    )
    pixels = np.array(drawn, dtype=np.uint8).reshape(-1, 4)[:, :3]
    assert len(np.unique(pixels, axis=0)) > 50
    assert (pixels == 255).all(axis=1).mean() > 0.2  # on white
    try:
        _emulate(browser, 700, media="print")
        seen = browser.execute_script(
            """
            const shown = (name) => document.querySelector(name).offsetParent !== null;
            const most = Math.max(...[...document.querySelectorAll("th, td, p, figure, canvas")]
              .filter((one) => !one.closest(".unseen") && one.offsetParent !== null)
              .map((one) => one.getBoundingClientRect().right));
            return [shown("[data-part=picture]"), shown("canvas.drawn"), shown(".bar-row"), most,
                    shown("[data-part=legend]"), shown(".instead")];
            """
        )
        picture, canvas, controls, right, legend, instead = seen
        assert picture and legend and not canvas and not controls and not instead
        assert right <= 700
    finally:
        _emulate(browser, None)


def test_without_javascript_the_page_says_so(volume, browser, open_view):
    page = open_view(volume[1])
    try:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(page.as_uri())
        assert browser.find_element("css selector", ".instead").is_displayed()
        assert not browser.find_element("css selector", ".viewer").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def _emulate(browser, width: int | None, media: str = "", dark: bool = False) -> None:
    if width is None:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    else:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})


def _axe() -> str:
    """The program of axe-core: the file that AXE_CORE names, or that of a Python package."""
    given = os.environ.get("AXE_CORE")
    if given:
        return Path(given).read_text(encoding="utf-8")
    for package in ("axe_playwright_python", "axe_core_python"):
        found = importlib.util.find_spec(package)
        if found is not None:
            return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    pytest.skip("needs axe-core: the package axe-core-python, or its file named by AXE_CORE")


@pytest.mark.parametrize("where", ["volume", "surface"])
def test_axe_finds_nothing_at_both_widths_light_and_dark(
    where, request, browser, open_view, tmp_path
):
    axe = _axe()
    _, maps = request.getfixturevalue(where)
    plot, axes = figures.plt.subplots()
    axes.plot([1, 2, 3], [1, 3, 2], label="r")
    figures.save(plot, tmp_path / "plot.png")
    open_view(
        maps,
        paragraphs=("Words.",),
        warnings=("Careful.",),
        tables=(Table("A table", tuple(f"column {i}" for i in range(14)), (("x" * 9,) * 14,)),),
        figures=(Figure("A figure", tmp_path / "plot.png", "Its caption."),),
        details=(("Settings", "{\n" + "x" * 500 + "\n}"),),
    )
    browser.execute_script("document.querySelector('details').open = true")
    try:
        for width in WIDTHS:
            for dark in (False, True):
                _emulate(browser, width, dark=dark)
                browser.execute_script(axe)
                found = browser.execute_async_script(
                    "const done = arguments[0]; axe.run().then((all) => done(all.violations"
                    ".map((one) => [one.id, one.nodes.map((node) => node.html)])))"
                )
                assert found == [], (width, dark)
                wider = "return document.documentElement.scrollWidth - innerWidth"
                assert browser.execute_script(wider) <= 0
    finally:
        _emulate(browser, None)
