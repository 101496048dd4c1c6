"""Runs that are one acquisition under two names."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from bids_encoder.errors import DataError
from bids_encoder.responses.acquisitions import (
    MapCopies,
    filter_for,
    refuse_copies,
    shared_noise,
)
from bids_encoder.responses.grids import describe_run

SHAPE, N = (8, 8, 6), 60


def scan(seed, strength=0.0):
    """A head with noise and, in all of it, the same strong response."""
    rng = np.random.default_rng(seed)
    data = np.zeros((*SHAPE, N), np.float32)
    inside = data[1:7, 1:7, 1:5]
    inside += 900 + 10 * rng.standard_normal(inside.shape)
    inside += 10 * strength * np.sin(np.arange(N))
    data[:, :, :, :5] += 100 * np.exp(-np.arange(5)) * (data[..., :5] > 0)
    return data


@pytest.fixture
def runs(make_run, write_bold, show):
    """Runs with certain entities of these images, that show the same at the same times."""

    def make(**images):
        made = []
        for name, data in images.items():
            entities = dict([name.split("_")])
            path = write_bold(data, name=f"{name}_bold.nii.gz")
            made.append(replace(make_run(path), entities={"sub": "01", "task": "x", **entities}))
        infos = [describe_run(run) for run in made]
        return made, infos, [show((2, 1, "a.png"), (12, 1, "b.png"))] * len(made)

    return make


def reconstructed(data, share, seed=9):
    """The same acquisition with a share of new noise."""
    noise = np.random.default_rng(seed).standard_normal(data.shape)
    return data + (data > 0) * 10 * share * noise


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_versions_of_an_acquisition_are_refused_and_a_filter_is_named(runs, share):
    data = scan(1)
    with pytest.raises(DataError, match="versions of one acquisition") as error:
        refuse_copies(*runs(acq_raw=data, acq_dico=reconstructed(data, share)))
    said = str(error.value)
    assert "acq_dico_bold.nii.gz" in said and "acq_raw_bold.nii.gz" in said
    assert '--bids-filter-file, for example {"bold": {"acquisition": "raw"}}' in said


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_two_acquisitions_of_the_same_pictures_are_two(runs, caplog, strength):
    refuse_copies(*runs(acq_hi=scan(1, strength), acq_lo=scan(2, strength)))
    refuse_copies(*runs(run_1=scan(1, strength), run_2=scan(2, strength)))
    assert "copy" not in caplog.text


def test_a_copy_that_claims_to_be_another_run_is_warned_of(runs, caplog):
    refuse_copies(*runs(run_1=scan(1), run_2=scan(1)))
    assert "looks like a copy" in caplog.text and "run-2" in caplog.text


def test_runs_that_show_other_things_are_not_compared(runs, show):
    made, infos, shown = runs(acq_raw=scan(1), acq_dico=scan(1))
    shown[1] = show((2, 1, "b.png"), (12, 1, "a.png"))
    refuse_copies(made, infos, shown)


def test_surfaces_are_compared_too(make_run, show, tmp_path):
    made = []
    for name in ("raw", "dico"):
        values = scan(1)[2:6, 2:6, 2].reshape(16, N).T
        arrays = [nibabel.gifti.GiftiDataArray(row, "NIFTI_INTENT_TIME_SERIES") for row in values]
        path = tmp_path / f"{name}_hemi-L_bold.func.gii"
        nibabel.save(nibabel.GiftiImage(darrays=arrays), path)
        entities = {"sub": "01", "task": "x", "acq": name}
        made.append(replace(make_run(path), entities=entities, hemispheres={"L": path}))
    infos = [describe_run(run) for run in made]
    with pytest.raises(DataError, match="versions of one acquisition"):
        refuse_copies(made, infos, [show((2, 1, "a.png"))] * 2)


def refuse_copies_of_maps(runs, names, maps):
    """Maps come in pieces of some rows and some places."""
    copies = MapCopies(runs, names, maps[0].shape[1])
    for number, values in enumerate(maps):
        for rows in (range(15), range(15, 40)):
            for start, stop in ((0, 111), (111, 300)):
                copies.add(number, values[list(rows), start:stop], rows, start)
    copies.check()


@pytest.mark.parametrize("most", [300, 20_000, 37])
def test_maps_that_were_estimated_twice_from_one_run_are_refused(runs, caplog, monkeypatch, most):
    monkeypatch.setattr("bids_encoder.responses.acquisitions._MOST_VOXELS", most)
    made, _, _ = runs(acq_b=scan(1), acq_d=scan(1))
    rng = np.random.default_rng(3)
    signal, noise = rng.standard_normal((2, 40, 300))
    maps = signal + noise
    names = [[f"{k}.png" for k in range(40)]] * 2
    with pytest.raises(DataError, match='"acquisition": "b"'):
        refuse_copies_of_maps(made, names, [maps, maps + 0.5 * rng.standard_normal(maps.shape)])
    others = [replace(run, entities={**run.entities, "run": str(k)}) for k, run in enumerate(made)]
    # Responses that are much alike are no copies where the runs are two.
    refuse_copies_of_maps(others, names, [maps, signal + 0.5 * rng.standard_normal(maps.shape)])
    assert "copy" not in caplog.text
    refuse_copies_of_maps(others, names, [maps, maps + 0.01])
    assert "looks like a copy" in caplog.text


def test_noise_is_shared_by_copies_only():
    first, second = np.random.default_rng(0).standard_normal((2, 50, 200))
    assert shared_noise(first, first) == pytest.approx(1)
    assert abs(shared_noise(first, second)) < 0.1
    assert np.isnan(shared_noise(first[:5], first[:5]))
    assert np.isnan(shared_noise(np.zeros((50, 3)), np.zeros((50, 3))))


def test_filter_names_what_differs():
    first = {"sub": "01", "acq": "a", "rec": "x"}
    assert filter_for(first, {"sub": "01", "acq": "b"}, "bold") == (
        '{"bold": {"acquisition": "a", "reconstruction": "x"}}'
    )
    assert filter_for({"sub": "01"}, {"sub": "01", "acq": "b"}, "betas") == (
        '{"betas": {"acquisition": null}}'
    )
