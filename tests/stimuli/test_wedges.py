"""Wedges, rings, and folders of pictures behind them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.stimuli.folder import is_picture, pictures_in
from bids_encoder.stimuli.generated import Drawn
from bids_encoder.stimuli.images import GREY
from bids_encoder.stimuli.wedges import SIDE, fill_screen, rings, see_through, wedges


def middle(aperture):
    """Centre of mass, as eccentricity and angle: 1 is half of the side, 90 degrees is up."""
    rows, columns = np.indices(aperture.mask.shape)
    right = np.average((columns + 0.5) / SIDE * 2 - 1, weights=aperture.mask)
    up = np.average(1 - (rows + 0.5) / SIDE * 2, weights=aperture.mask)
    return np.hypot(right, up), np.degrees(np.arctan2(up, right)) % 360


def test_wedges_go_counter_clockwise_from_the_right():
    found = wedges()
    assert [one.angle for one in found] == list(np.arange(0, 360, 15.0))
    assert len({one.name for one in found}) == 24
    for one in found:
        assert abs((middle(one)[1] - one.angle + 180) % 360 - 180) < 0.5
    # 30 degrees of a circle whose radius is half of the side; none is larger than another.
    areas = [one.mask.mean() for one in found]
    assert areas == pytest.approx([np.pi / 4 * 30 / 360] * 24, rel=0.03)
    np.testing.assert_allclose(found[6].mask, np.rot90(found[0].mask), atol=1e-6)


def test_edges_are_blurred_by_a_gaussian_of_two_percent():
    ring = rings()[-1]  # wide, and its edges are straight enough along the horizontal
    inner = 1 / (1 / 0.06) ** (2 / 13)
    x = (np.arange(SIDE // 2, SIDE - 30) + 0.5) / SIDE * 2 - 1
    expected = norm.cdf((x - inner) / 0.04)  # 2 % of the width is 0.04 of half of it
    np.testing.assert_allclose(ring.mask[SIDE // 2, SIDE // 2 : SIDE - 30], expected, atol=0.05)


def test_rings_grow_with_the_logarithm_of_eccentricity():
    found = rings()
    steps = np.diff(np.log([one.eccentricity for one in found]))
    np.testing.assert_allclose(steps, steps[0])
    assert found[0].mask[SIDE // 2, SIDE // 2] > 0.3  # no hole in the smallest one
    for one in found[3:]:
        assert one.mask[SIDE // 2, SIDE // 2] < 0.05
        row = one.mask[SIDE // 2, SIDE // 2 :]
        peak = np.average((np.arange(SIDE // 2) + 0.5) / (SIDE // 2), weights=row)
        assert peak == pytest.approx(one.eccentricity, rel=0.08)


def test_pictures_are_seen_inside_and_the_surround_outside():
    picture = np.full((SIDE, SIDE, 3), 10, np.uint8)
    wedge = wedges()[0]
    for surround in (GREY, 0):
        seen = see_through(picture, wedge, surround)
        assert seen.dtype == np.uint8 and seen.shape == picture.shape
        assert (seen[SIDE // 2, int(0.8 * SIDE)] == 10).all()
        assert (seen[SIDE // 2, SIDE // 5] == surround).all()
    drawn = Drawn(lambda: see_through(picture, wedge))
    assert drawn.digest == Drawn(lambda: see_through(picture, wedge)).digest
    assert drawn.digest != Drawn(lambda: see_through(picture, wedge, 0)).digest


def test_the_screen_is_filled_with_the_middle_of_a_picture():
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 200
    found = fill_screen(wide)
    assert found.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(found[:, 3:-3].astype(int), 200, atol=3)
    turned = fill_screen(wide.swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(turned.astype(int), found, atol=3)


def test_pictures_of_a_folder(tmp_path):
    for name in ("b.PNG", "sub/a.jpg", ".hidden.png", ".thumbs/c.png", "table.tsv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if is_picture(path):
            Image.new("RGB", (4, 4)).save(path, "PNG")
        else:
            path.write_text("text")
    found = pictures_in(tmp_path, "--carrier-images")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b.PNG", "sub/a.jpg"]
    for folder, kind in ((tmp_path / "none", MissingInputError), (tmp_path / "b.PNG", DataError)):
        with pytest.raises(kind, match="--carrier-images") as error:
            pictures_in(folder, "--carrier-images")
        assert str(folder) in str(error.value)
