"""The interactive view: what is embedded, and what a browser makes of it."""

import base64
import gzip
import json

import nibabel
import numpy as np
import pytest

from bids_encoder.report.packing import NOTHING, in_steps, step_of
from bids_encoder.report.page import Section, render
from bids_encoder.report.viewer import (
    SCORE_STEP,
    ShownMap,
    ViewedMap,
    color_table,
    label_colors,
    surface_payload,
    volume_payload,
)

LAYERS = ("early", "middle", "late")
SHAPE = (9, 11, 7)


@pytest.fixture(scope="module", params=["RAS", "LPI turned"])
def brain(request):
    """A small brain; the second way, its axes run backwards and in another order."""
    rng = np.random.default_rng(3)
    inside = np.zeros(SHAPE, dtype=bool)
    inside[1:8, 2:10, 1:6] = rng.random((7, 8, 5)) > 0.1
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = (-9, -60, 4)
    if request.param != "RAS":
        affine = affine @ np.array(
            [[0, -1, 0, 10], [-1, 0, 0, 8], [0, 0, -1, 6], [0, 0, 0, 1.0]]
        )  # fmt: skip
    n = int(inside.sum())
    scores = rng.uniform(-0.2, 0.8, (3, n)).astype(np.float32)
    scores[:, 5] = np.nan
    return {
        "mask": nibabel.Nifti1Image(inside.astype(np.uint8), affine),
        "inside": inside,
        "scores": scores,
        "best": np.where(np.isfinite(scores[0]), 1 + np.argmax(scores, axis=0), np.nan),
        "p": rng.uniform(0, 1, n).astype(np.float32),
        "labels": rng.integers(0, 3, n),
    }


def _shown(brain):
    scores = brain["scores"]
    return ViewedMap(
        layers=LAYERS,
        scores=scores,
        passed=np.nan_to_num(scores[0]) > 0.1,
        rule="voxels above 0.1",
        maps=[
            ShownMap("score r of a layer", scores, 0.0, 0.8, color_table("inferno")),
            ShownMap(
                "best layer", brain["best"], 0.5, 3.5, label_colors(3),
                labels=dict(enumerate(LAYERS, start=1)),
            ),
        ],
        values={"p": brain["p"]},
        regions={"Toy": (brain["labels"], {1: "V1 </script>", 2: "FFA"})},
        best=np.nan_to_num(brain["best"]).astype(int),
        smoothed="smoothed by one voxel",
    )  # fmt: skip


def _payload(brain):
    background = np.linspace(100, 900, brain["scores"].shape[1])
    return volume_payload(_shown(brain), brain["mask"], background)


def _array(payload, where):
    content = gzip.decompress(base64.b64decode(payload["blob"]))
    return np.frombuffer(content, where["type"], where["length"], where["start"])


def test_every_voxel_keeps_its_place_and_its_values(brain):
    payload = json.loads(_payload(brain))
    places = _array(payload, payload["places"])
    mm = np.array(payload["affine"]) @ np.vstack(
        [*np.unravel_index(places, payload["dims"], order="F"), np.ones(len(places))]
    )
    i, j, k = (np.linalg.inv(brain["mask"].affine) @ mm)[:3].round().astype(int)
    number = np.full(SHAPE, -1)
    number[brain["inside"]] = np.arange(brain["inside"].sum())
    ours = number[i, j, k]
    assert sorted(ours) == sorted(set(range(brain["scores"].shape[1])) - {5})
    step = payload["scores"]["step"]
    scores = _array(payload, payload["scores"]["data"]).reshape(3, -1) * step
    np.testing.assert_allclose(scores, brain["scores"][:, ours], atol=0.51 * step)
    np.testing.assert_allclose(
        _array(payload, payload["values"]["p"]), brain["p"][ours], rtol=0.0051
    )
    np.testing.assert_array_equal(
        _array(payload, payload["regions"][0]["labels"]), brain["labels"][ours]
    )


def test_all_voxels_of_a_whole_brain_are_kept_and_weigh_little():
    rng = np.random.default_rng(0)
    mask = nibabel.Nifti1Image(np.ones((42, 42, 40), np.uint8), np.eye(4))
    n, n_layers = 42 * 42 * 40, 20
    scores = rng.normal(0, 0.1, (n_layers, n)).astype(np.float32)
    best = 1 + np.argmax(scores, axis=0)
    shown = ViewedMap(
        [f"conv{i}" for i in range(n_layers)], scores, scores.max(axis=0) > 0.2, "all",
        [ShownMap("r", scores, 0.0, 0.4, color_table("inferno"), step=SCORE_STEP)], {}, {}, best,
        "smoothed",
    )  # fmt: skip
    text = volume_payload(shown, mask, np.zeros(n))
    payload = json.loads(text)
    assert payload["places"]["length"] == n
    assert payload["maps"][0]["data"] == payload["scores"]["data"]  # not twice
    # Noise compresses worst: 200 000 voxels x 20 layers stay below 11 MB.
    assert len(text) / n < 55


def test_steps_are_fine_enough_for_the_scale_and_hold_every_value():
    rng = np.random.default_rng(0)
    for top in (0.05, 0.65, 8.0, 180.0, 1e5):
        values = rng.uniform(-top, top, 500)
        values[:2] = np.nan, 1e4 * top
        step = step_of(values, (-top, top))
        kept = in_steps(values, step)
        assert kept[0] == NOTHING and kept.min() == NOTHING
        np.testing.assert_allclose(kept[1:] * step, values[1:], atol=0.501 * step)
        values[1] = top
        assert top / 2500 <= step_of(values, (-top, top)) <= top / 250


def test_a_voxel_without_score_is_left_out_but_drawn_in_grey(brain):
    payload = json.loads(_payload(brain))
    assert payload["places"]["length"] == payload["brain"]["length"] - 1


def test_nothing_in_the_data_can_end_the_script(brain):
    assert "</script" not in _payload(brain)


def test_a_click_shows_what_the_maps_hold(brain, browser, tmp_path):
    page = tmp_path / "page.html"
    section = Section("task bars", "bars", viewer=_payload(brain))
    page.write_text(render("sub-01", "", [section]), encoding="utf-8")
    browser.get(page.as_uri())
    _wait(browser)
    assert not [line for line in browser.get_log("browser") if line["level"] != "INFO"]
    canvas = browser.find_element("css selector", ".viewer canvas")
    number = np.full(SHAPE, -1)
    number[brain["inside"]] = np.arange(brain["inside"].sum())
    names = {1: "V1 </script>", 2: "FFA"}
    seen = set()
    for across in np.linspace(-0.42, 0.42, 10):
        _click(browser, canvas, across)
        facts = {
            one.get_attribute("data-fact"): one.text
            for one in browser.find_elements("css selector", ".viewer dd")
        }
        i, j, k = (int(part) for part in facts["voxel"].split(","))
        voxel = number[i, j, k] if min(i, j, k) >= 0 and np.all([i, j, k] < np.array(SHAPE)) else -1
        if voxel in (-1, 5):
            assert facts[""] == "no score here"
            continue
        seen.add(voxel)
        said = [one.text for one in browser.find_elements("css selector", ".viewer [data-score]")]
        shown = [float(text) for text in said]
        np.testing.assert_allclose(shown, brain["scores"][:, voxel], atol=6e-4)
        assert facts["best layer"] == LAYERS[int(brain["best"][voxel]) - 1]
        assert float(facts["p"]) == pytest.approx(brain["p"][voxel], abs=6e-4)
        assert facts["Toy"] == names.get(brain["labels"][voxel], "none")
    assert len(seen) > 4
    resources = browser.execute_script("return performance.getEntriesByType('resource')")
    assert all(one["name"].startswith(("blob:", "data:")) for one in resources)


def test_the_slider_and_the_choice_change_the_map(brain, browser, tmp_path):
    page = tmp_path / "page.html"
    section = Section("task bars", "bars", viewer=_payload(brain))
    page.write_text(render("sub-01", "", [section]), encoding="utf-8")
    browser.get(page.as_uri())
    _wait(browser)
    assert "only voxels above 0.1" in browser.find_element("css selector", ".bar-row").text
    browser.execute_script(
        "const s = document.querySelector('[data-part=map]'); s.value = 0; s.onchange();"
    )
    best = int(np.nanargmax(np.nanmax(brain["scores"], axis=1)))
    shown = browser.find_element("css selector", "[data-part=layer-name]").text
    assert shown == LAYERS[best]  # the view begins where the highest score is
    browser.execute_script(
        "const s = document.querySelector('[data-part=layer]'); s.value = 0; s.oninput();"
    )
    drawn = "return Array.from(document.querySelector('.viewer').view.overlay.img)"
    first = np.array(browser.execute_script(drawn))
    browser.execute_script(
        "const s = document.querySelector('[data-part=layer]'); s.value = 2; s.oninput();"
    )
    third = np.array(browser.execute_script(drawn))
    assert browser.find_element("css selector", "[data-part=layer-name]").text == "late"
    passed = np.nan_to_num(brain["scores"][0]) > 0.1
    expected = 1 + np.round((brain["scores"][:, passed] / 0.8).clip(0, 1) * 254)
    for image, layer in ((first, 0), (third, 2)):
        np.testing.assert_allclose(np.sort(image[image > 0]), np.sort(expected[layer]), atol=1)
    browser.execute_script("document.querySelector('[data-part=passed]').click()")
    everywhere = np.array(browser.execute_script(drawn))
    assert np.count_nonzero(everywhere) == np.isfinite(brain["scores"][2]).sum()


@pytest.fixture
def spheres():
    """Two spheres as hemispheres, and values at most of their vertices."""
    n = 14
    turn, lift = np.meshgrid(np.arange(n) * 2 * np.pi / n, np.linspace(0.1, np.pi - 0.1, n))
    points = 30 * np.stack(
        [np.cos(turn) * np.sin(lift), np.sin(turn) * np.sin(lift), np.cos(lift)], axis=-1
    )
    number = np.arange(n * n).reshape(n, n)
    corner = (number[:-1], np.roll(number, -1, axis=1)[:-1], number[1:], np.roll(number, -1, 1)[1:])
    first, right, below, across = (part.ravel() for part in corner)
    triangles = np.vstack([np.c_[first, right, below], np.c_[right, across, below]])
    mesh = (points.reshape(-1, 3), triangles)
    rng = np.random.default_rng(0)
    vertices = np.flatnonzero(rng.random(2 * n * n) > 0.2)
    scores = rng.uniform(0.1, 0.7, (3, len(vertices)))
    brain = {
        "scores": scores, "best": 1.0 + np.argmax(scores, axis=0),
        "p": rng.random(len(vertices)), "labels": np.ones(len(vertices), int),
    }  # fmt: skip
    return {"left": mesh, "right": mesh}, vertices, brain


def test_a_click_on_a_surface_shows_what_the_maps_hold(spheres, browser, tmp_path):
    meshes, vertices, brain = spheres
    n = len(meshes["left"][0])
    payload = surface_payload(_shown(brain), meshes, vertices, np.zeros(2 * n))
    page = tmp_path / "page.html"
    page.write_text(render("sub-01", "", [Section("a", "a", viewer=payload)]), encoding="utf-8")
    browser.get(page.as_uri())
    _wait(browser)
    canvas = browser.find_element("css selector", ".viewer canvas")
    row_of = dict(zip(vertices.tolist(), range(len(vertices)), strict=True))
    seen = {"left": 0, "right": 0}
    for across in (-0.12, -0.1, -0.08, -0.06, 0.06, 0.08, 0.1, 0.12):
        _click(browser, canvas, across)
        facts = {
            one.get_attribute("data-fact"): one.text
            for one in browser.find_elements("css selector", ".viewer dd")
        }
        vertex = int(facts["vertex"])
        assert meshes["left"][0][vertex, 1] < 0  # seen from behind
        row = row_of.get(vertex + n * (facts["hemisphere"] == "right"))
        if row is None:
            assert facts[""] == "no score here"
            continue
        assert facts["hemisphere"] == ("left" if across < 0 else "right")
        seen[facts["hemisphere"]] += 1
        said = [one.text for one in browser.find_elements("css selector", ".viewer [data-score]")]
        shown = [float(text) for text in said]
        np.testing.assert_allclose(shown, brain["scores"][:, row], atol=6e-4)
    assert min(seen.values()) > 0
    assert not [line for line in browser.get_log("browser") if line["level"] != "INFO"]


def _wait(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(
        lambda it: it.execute_script("return !!document.querySelector('.viewer.ready')")
    )


def _click(browser, canvas, across):
    from selenium.webdriver.common.action_chains import ActionChains

    width, height = canvas.size["width"], canvas.size["height"]
    ActionChains(browser).move_to_element_with_offset(
        canvas, round(across * width), round(0.02 * height)
    ).click().perform()
