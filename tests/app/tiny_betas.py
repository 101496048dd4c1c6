"""Precomputed responses to the pictures of the tiny dataset, and reading them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from tiny_dataset import (
    AFFINE,
    N_FEATURES,
    SESSIONS,
    SHAPE,
    TASK,
    brain,
    layer_values,
    picture_names,
    truth,
)

from bids_encoder.errors import BidsEncoderError, UsageError

FUNC = "sub-01_ses-{session}_task-" + TASK


def shown_in(tiny, session: str) -> list[str]:
    """Pictures of a run, in the order of its events."""
    return [line.split("\t")[2] for line in tiny.events(session).read_text().split("\n")[1:-1]]


def trial_maps(names: list[str], seed: int = 0) -> np.ndarray:
    """Responses to pictures with noise, SHAPE + (n,); 0 outside of the brain."""
    random = np.random.default_rng(seed)
    readout = np.random.default_rng(8)
    rows = [picture_names().index(name) for name in names]
    maps = random.standard_normal((*SHAPE, len(names)))
    for number, layer in ((1, "early"), (3, "late")):
        voxels = truth() == number
        weights = readout.standard_normal((N_FEATURES, voxels.sum()))
        maps[voxels] += 2 * (layer_values()[layer][rows] @ weights).T
    return (maps * brain()[..., None]).astype(np.float32)


def save(path: Path, data: np.ndarray, affine=AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def write_table(path: Path, names: list[str], **columns) -> None:
    rows = zip(names, *columns.values(), strict=True)
    lines = ["\t".join(["stim_file", *columns]), *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def expected_responses(tiny, maps_of) -> dict[str, np.ndarray]:
    """By picture: maps z-scored within the session."""
    found = {}
    for session in SESSIONS:
        maps = maps_of[session][brain()]
        scores = (maps - maps.mean(1, keepdims=True)) / maps.std(1, keepdims=True)
        found |= dict(zip(shown_in(tiny, session), scores.T, strict=True))
    return found


def assert_are(measured, expected: dict[str, np.ndarray]) -> None:
    responses = measured.responses
    assert set(responses.stimuli) == set(expected)
    for name, values in zip(responses.stimuli, responses.values, strict=True):
        np.testing.assert_allclose(values, expected[name], atol=1e-4)


def refused(measure, kind, *words, **options):
    with pytest.raises(BidsEncoderError) as error:
        measure(**options)
    assert type(error.value) is kind, error.value
    for word in (*words, "remedy:") if kind is not UsageError else words:
        assert str(word) in str(error.value), error.value
