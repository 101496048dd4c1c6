"""The tiny dataset with conditions, a file of contrasts, and new pictures; what is true of them."""

from __future__ import annotations

import json
import shutil

import numpy as np
from tiny_dataset import (
    N_FEATURES,
    Tiny,
    layer_values,
    picture_names,
    truth,
    write_features,
    write_pictures,
)

NEW = [f"new/{kind}{k}.png" for kind in "ab" for k in range(6)]
PICTURES = picture_names()
FIRST = layer_values()["early"][:-1, 0] > 0  # what makes a picture an "a"
NEW_VALUES = np.random.default_rng(1).standard_normal((len(NEW), N_FEATURES)).astype(np.float32)
CONTRASTS = {
    "Conditions": {
        "a": {"Events": {"trial_type": "a"}},
        "b": {"Events": {"trial_type": "b"}},
        "some a": {"Events": {"trial_type": "a", "half": 1}},
        "some b": {"Events": {"trial_type": "b", "half": 1}},
        "new a": {"Folder": "new", "Stimuli": {"kind": "a"}},
        "new b": {"Folder": "new", "Stimuli": {"kind": "b"}},
    },
    "Contrasts": [
        {"Name": "every", "ConditionList": ["a", "b"], "Weights": [1, -1]},
        {"Name": "some", "ConditionList": ["some a", "some b"], "Weights": [1, -1]},
        {"Name": "new", "ConditionList": ["new a", "new b"], "Weights": [1, -1]},
    ],
}


def add_columns(tiny: Tiny) -> None:
    """trial_type: the sign of a feature; half: 1 for every other picture."""
    for session in "12":
        path = tiny.events(session)
        lines = path.read_text().splitlines()
        rows = [lines[0] + "\ttrial_type\thalf"]
        for line in lines[1:]:
            number = PICTURES.index(line.split("\t")[2])
            rows.append(f"{line}\t{'ba'[int(FIRST[number])]}\t{number % 2}")
        path.write_text("\n".join(rows) + "\n")


def prepare(pristine: Tiny, folder) -> Tiny:
    """The tiny dataset with conditions, a file of contrasts and a folder of new pictures."""
    shutil.copytree(pristine.folder, folder)
    tiny = Tiny(folder)
    add_columns(tiny)
    write_pictures(folder, NEW, side=16)
    rows = "".join(f"{name[4:]}\t{name[4]}\n" for name in NEW)
    (folder / "new" / "stimuli.tsv").write_text("filename\tkind\n" + rows)
    (folder / "contrasts.json").write_text(json.dumps(CONTRASTS))
    values = {
        layer: np.vstack([own[:-1], NEW_VALUES * (1 if layer == "early" else -1), own[-1:]])
        for layer, own in layer_values().items()
    }
    write_features(tiny.features, [*PICTURES, *NEW], values)
    return tiny


def readout():
    """Weights of the early features in the voxels that follow them (as tiny_dataset has them)."""
    return np.random.default_rng(8).standard_normal((N_FEATURES, (truth() == 1).sum()))


def true_effect(values, is_a):
    return (values[is_a].mean(0) - values[~is_a].mean(0)) @ readout()
