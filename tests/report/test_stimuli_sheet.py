"""The sheet of stimuli."""

import numpy as np
from PIL import Image

from bids_encoder.report import stimuli

NAMES = {"sub": "01", "task": "a", "space": None, "res": None, "network": "net"}


def test_a_sheet_is_drawn_once_and_found_again(tmp_path):
    files = {}
    for i in range(30):
        files[f"a/{i:02}.png"] = tmp_path / f"{i:02}.png"
        Image.fromarray(np.full((20, 30, 3), i * 8, np.uint8)).save(files[f"a/{i:02}.png"])
    read = []

    def reading(paths, use):
        read.extend(path.name for path in paths)
        return [use(np.asarray(Image.open(path))) for path in paths]

    assert stimuli.stimuli_figure(tmp_path, NAMES, 30) == ()
    stimuli.write_stimuli_figure(tmp_path, NAMES, files, reading)
    assert len(read) == stimuli.MOST and {"00.png", "29.png"} <= set(read)
    [figure] = stimuli.stimuli_figure(tmp_path, NAMES, 30)
    assert "24 of 30" in figure.caption
    stimuli.write_stimuli_figure(tmp_path, NAMES, files, reading)
    assert len(read) == stimuli.MOST
    whole = figure.path.read_bytes()
    figure.path.write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    stimuli.write_stimuli_figure(tmp_path, NAMES, files, reading)
    assert len(read) == 2 * stimuli.MOST and figure.path.read_bytes() == whole
    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(files["a/00.png"])
    stimuli.write_stimuli_figure(tmp_path, NAMES, files, reading)
    assert len(read) == 3 * stimuli.MOST and figure.path.read_bytes() != whole


def test_each_picture_stands_under_its_own_name():
    pictures = [np.full((8, 8, 3), i, np.uint8) for i in range(9)]
    drawn = stimuli.draw([f"x/{i}.png" for i in range(9)], pictures)
    shown = {axes.get_title(): axes.images[0].get_array()[0, 0, 0] for axes in drawn.axes[:9]}
    assert shown == {f"{i}.png": i for i in range(9)}
