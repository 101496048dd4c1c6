"""Headers that claim more than their files hold: refused before memory is asked for."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from contextlib import contextmanager

import h5py
import nibabel
import numpy as np
import pytest
import torch

from bids_encoder.betas.volume_files import describe_maps
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.bids.names import natural, same_number
from bids_encoder.bids.sidecars import DEEPEST_JSON, read_json
from bids_encoder.derivatives.images import read_images
from bids_encoder.errors import BidsEncoderError, DataError
from bids_encoder.features import hdf5
from bids_encoder.features.external import open_features
from bids_encoder.networks.weights import read_state
from bids_encoder.responses import nifti
from bids_encoder.responses.nifti import open_image
from bids_encoder.stimuli import files
from bids_encoder.stimuli.images import read_image
from bids_encoder.surfaces.gifti import maps, summarize
from bids_encoder.synthesis.contrast_file import read_contrast_file


@contextmanager
def little_memory(most=50_000_000):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ["layer", "stimuli"])
def test_features_that_are_not_in_the_file(tmp_path, what):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        if what == "stimuli":
            kind = h5py.string_dtype()
            file.create_dataset("stimuli", (10**9,), kind, chunks=(10**6,))
            file["conv1"] = np.ones((2, 3))
        else:
            file["stimuli"] = ["a", "b"]
            file.create_dataset("conv1", (2, 4 * 10**9), "f4", chunks=(1, 10**6))
    with little_memory(), pytest.raises(DataError, match="holds less") as caught:
        open_features(path, ["a", "b"])
    assert path.name in str(caught.value)


def test_chunks_of_enormous_size(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "LARGEST_CHUNK", 1000)
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file["stimuli"] = ["a", "b"]
        file.create_dataset("conv1", data=np.ones((2, 300)), chunks=(1, 300))
    with pytest.raises(DataError, match="enormous chunks"):
        open_features(path, ["a", "b"])


@pytest.mark.parametrize("packed", [{}, {"compression": "gzip"}])
def test_betas_that_are_not_in_the_file(tmp_path, packed):
    path = tmp_path / "betas.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "betasmd", (2000, 2000, 2000, 100), "f4", chunks=(10,) * 4, **packed
        )
        data[:10, :10, :10, :10] = 1
    with little_memory(), pytest.raises(DataError, match="holds less"):
        describe_maps([path])


def test_packed_numbers_that_are_there(tmp_path):
    path = tmp_path / "betas.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("betasmd", data=np.zeros((20, 20, 20, 50)), compression="gzip")
    assert describe_maps([path]).n_maps == 50


def gifti(path, *, dim="3", encoding="ASCII", data="1 2 3", second="", before=""):
    """A GIFTI file by hand, gzipped where its name says so."""
    text = (
        f'<?xml version="1.0"?>{before}<GIFTI Version="1.0" NumberOfDataArrays="1"><DataArray '
        'Intent="NIFTI_INTENT_NONE" DataType="NIFTI_TYPE_FLOAT32" '
        f'ArrayIndexingOrder="RowMajorOrder" Dimensionality="{1 + bool(second)}" Dim0="{dim}" '
        f'{second} Encoding="{encoding}" Endian="LittleEndian" ExternalFileName="secret.bin" '
        f'ExternalFileOffset="0"><Data>{data}</Data></DataArray></GIFTI>'
    ).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture(params=["a.func.gii", "a.func.gii.gz"])
def gifti_path(request, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 12)
    return tmp_path / request.param


def test_a_gifti_file_by_hand(gifti_path):
    np.testing.assert_array_equal(maps(gifti(gifti_path)), [[1, 2, 3]])
    packed = base64.b64encode(zlib.compress(np.arange(3, dtype="<f4").tobytes())).decode()
    gifti(gifti_path, encoding="GZipBase64Binary", data=packed)
    np.testing.assert_array_equal(maps(gifti_path), [[0, 1, 2]])


@pytest.mark.parametrize(
    "claim",
    [{"dim": "4000000000"}, {"dim": "9", "second": 'Dim1="4000000000"'}, {"dim": "-5"}],
)
def test_a_gifti_header(gifti_path, claim):
    gifti(gifti_path, **claim)
    for read in (summarize, maps, lambda path: read_images({None: path})):
        with little_memory(), pytest.raises(DataError, match="header of this GIFTI"):
            read(gifti_path)


@pytest.mark.parametrize(
    "outside",
    [
        {"encoding": "ExternalFileBinary", "data": ""},
        {"encoding": "ExternalFile&#66;inary", "data": ""},
        {"encoding": "External&#x46;ileBinary", "data": "1 2 3"},
        {"before": '<!DOCTYPE GIFTI [<!ENTITY x SYSTEM "secret.bin">]>', "data": "&x;"},
        {"before": f'<!DOCTYPE GIFTI [{" " * 5000}<!ENTITY x "1 2 3">]>', "data": "&x;"},
    ],
)
def test_a_gifti_file_that_reads_others(gifti_path, outside):
    gifti(gifti_path, **outside)
    for read in (summarize, maps, lambda path: read_images({None: path})):
        with pytest.raises(DataError, match="refers to other files"):
            read(gifti_path)


@pytest.mark.parametrize("size", [400_000_000, 8])
def test_an_array_that_unpacks_to_another_size(gifti_path, size):
    packed = base64.b64encode(zlib.compress(b"\0" * size, 9)).decode()
    gifti(gifti_path, encoding="GZipBase64Binary", data=packed)
    with little_memory(), pytest.raises(DataError, match="bytes of 12"):
        maps(gifti_path)


@pytest.mark.parametrize("encoding", ["ASCII", "Base64Binary"])
def test_an_array_of_endless_text(gifti_path, encoding):
    gifti(gifti_path, encoding=encoding, data="1 " * 30_000_000)
    with pytest.raises(DataError, match="more text in a tag"):
        maps(gifti_path)


def test_a_volume_of_enormous_size(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "MOST_VOXELS", 1000)
    path = tmp_path / "a.nii.gz"
    nibabel.Nifti1Image(np.zeros((11, 11, 11)), np.eye(4)).to_filename(path)
    with pytest.raises(DataError, match="1,331 voxels in a volume"):
        open_image(path)


def test_a_picture_file_of_enormous_size(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(b"\x89PNG")
        file.truncate(files.LARGEST_PICTURE + 1)
    with little_memory(), pytest.raises(DataError, match="too large"):
        read_image(path)


@pytest.mark.parametrize("key", [1, ("a", "b"), None])
def test_weights_whose_keys_are_no_names(tmp_path, key):
    path = tmp_path / "weights.pth"
    torch.save({key: torch.zeros(1)}, path)
    with pytest.raises(DataError, match="no state dict"):
        read_state(path)


@pytest.mark.parametrize("depth", [DEEPEST_JSON + 1, 990, 100_000])
@pytest.mark.parametrize("brackets", [('{"a":', "1", "}"), ("[", "", "]")])
def test_json_of_absurd_depth(tmp_path, depth, brackets):
    path = tmp_path / "a.json"
    opening, inside, closing = brackets
    path.write_text('{"Contrasts":' + opening * depth + inside + closing * depth + "}")
    for read in (read_json, read_contrast_file, load_filter_file):
        with pytest.raises(BidsEncoderError):
            read(path)


@pytest.mark.parametrize(
    "weight", ["1e999999999", "1/1e99", "9" * 5000, "1e-999999999", "1e400", "nan", "1/0", "²"]
)
def test_weights_of_a_contrast(tmp_path, weight):
    path = tmp_path / "c.json"
    contrast = {"Name": "a", "ConditionList": ["t.a", "t.b"], "Weights": [weight, "-1"]}
    path.write_text(json.dumps({"Contrasts": [contrast]}))
    with pytest.raises(DataError, match="wrong kind"):
        read_contrast_file(path)


@pytest.mark.parametrize("weight", ["1/3", "-0.5", ".5", "1e2", "+1", "2."])
def test_weights_that_are_numbers(tmp_path, weight):
    path = tmp_path / "c.json"
    contrast = {"Name": "a", "ConditionList": ["t.a", "t.b", "t.c"], "Weights": [weight, 1, -1]}
    path.write_text(json.dumps({"Contrasts": [contrast]}))
    with pytest.raises(DataError, match="sum to 0"):
        read_contrast_file(path)


def test_labels_of_thousands_of_digits():
    long = "9" * 5000
    assert same_number(f"00{long}") == long and same_number("000") == "0"
    assert sorted([f"run-{long}", "run-10", "run-9", "run-0010"], key=natural)[:2] == [
        "run-9",
        "run-10",
    ]
