"""Maps of every kind for the interactive view, and its page in a browser."""

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

LAYERS = ("stage1", "stage2", "stage3", "stage4")
VMAX, SLOPE = 0.65, 0.3  # ends of scales


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
        "synthesized_effect": random.uniform(-0.4, 1.0, n),
        "measured_t": random.uniform(-9.0, 4.0, n),
        "retinotopy_f": random.uniform(0.0, 5.0, n),
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
        **dict.fromkeys(("noiseceiling", "hrfpeak", "p", "angle"), {"there": True}),
        "retinotopy_f": {"ShownAbove": 1.0},
        "eccentricity": {"Units": "degrees of visual angle", "RingEccentricities": [1.0, 4.0]},
    }
    written = SimpleNamespace(
        layers=list(LAYERS),
        matching_sidecar=sidecars.get,
        sidecar_from_models=sidecars.get,
        regions=lambda: {},
        root=Path(),
        names={},
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
        slope=spread(values["slope"]), passed=passed, rule="voxels above 0.15",
        counted=SimpleNamespace(number=int(passed.sum())), vmax=VMAX,
        slope_limit=SLOPE, drawn=drawn,
        smoothed="smoothed along the surface" if meshes else "smoothed by one voxel",
    )  # fmt: skip


@pytest.fixture
def contrast(monkeypatch):
    """The analysis has a contrast, measured and synthesized."""
    from bids_encoder.report import interactive

    found = [("faces", {"Contrast": "faces"})]
    monkeypatch.setattr(interactive, "found_contrasts", lambda written: found)
    there = {None: Path(__file__)}
    monkeypatch.setattr(interactive.file_names, "image_files", lambda *names: there)


@pytest.fixture
def volume(contrast):
    from bids_encoder.grids.volume import VolumeGrid

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
def surface(contrast):
    from bids_encoder.grids.mesh import Mesh

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


@pytest.fixture
def open_view(browser, tmp_path):
    """A function that opens the page of such maps and waits for the view."""
    from selenium.webdriver.support.ui import WebDriverWait

    from bids_encoder.report.interactive import interactive_view
    from bids_encoder.report.page import Section, render

    def opened(maps, **more):
        page = tmp_path / "page.html"
        section = Section("task bars", "bars", viewer=interactive_view(maps), **more)
        other = Section("Methods", "methods", paragraphs=("Words.",) * 30)
        page.write_text(render("sub-01", "A page", [section, other]), encoding="utf-8")
        browser.get(page.as_uri())
        WebDriverWait(browser, 60).until(
            lambda it: it.execute_script("return !!document.querySelector('.viewer.ready')")
        )
        return page

    return opened
