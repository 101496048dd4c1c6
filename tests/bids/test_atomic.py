"""Whole files or none, the same bytes every time, and words when the disk says no."""

from __future__ import annotations

import errno
import gzip
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
import time

import h5py
import nibabel
import numpy as np
import pytest

from bids_encoder.derivatives import atomic
from bids_encoder.errors import OutputError


def image():
    return nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4))


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a_bold.nii.gz", ".nii.gz"), ("a.h5", ".h5"), (".bidsignore", ""), ("README", "")],
)
def test_the_temporary_file_is_hidden_beside_its_place_and_keeps_the_extension(
    tmp_path, name, extension
):
    target = tmp_path / "sub-01" / "func" / name
    with atomic.atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".tmp-")
        assert temporary.name.partition("-")[2].partition(".")[2] == extension[1:]
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == [name]


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_an_early_end_leaves_the_old_file_and_no_other(tmp_path, trouble):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(trouble), atomic.atomic_path(target) as temporary:
        temporary.write_text("half a f")
        raise trouble
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "a.txt", "x")
        atomic.write_image(tmp_path / "a.nii.gz", image())
        atomic.write_h5(tmp_path / "a.h5", {"x": np.ones(3)})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o640}


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "right to write"),
        (errno.EROFS, "right to write"),
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.ENAMETOOLONG, "shorter path"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_refusal_of_the_system_is_told_with_its_remedy(tmp_path, monkeypatch, number, remedy):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError) as error:
        atomic.write_text(tmp_path / "a.txt", "x")
    assert str(tmp_path / "a.txt") in str(error.value)
    assert os.strerror(number) in str(error.value)
    assert remedy in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="(?s)out.*A file stands where a folder is needed"):
        atomic.write_text(tmp_path / "out" / "sub-01" / "a.txt", "x")
    with pytest.raises(OutputError, match="(?s)out.*A file stands where a folder is needed"):
        atomic.make_folder(tmp_path / "out")


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="(?s)a.txt.*directory"):
        atomic.write_text(tmp_path / "a.txt", "x")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match="(?s)a.txt.*right to write"):
            atomic.write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o755)


def test_a_disk_that_fills_up_half_way(tmp_path):
    # A limit on the size of files makes real writes fail; HDF5 must not take
    # the process down with it.
    script = """
        import resource, signal, sys
        from pathlib import Path
        import nibabel, numpy as np
        from bids_encoder.derivatives import atomic
        from bids_encoder.errors import OutputError

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        folder, big = Path(sys.argv[1]), np.random.default_rng(0).normal(size=(60, 60, 60))
        names = [str(i) for i in range(30_000)]
        for write, name, *content in [
            (atomic.write_text, "a.txt", "x" * 10**6),
            (atomic.write_image, "a.nii.gz", nibabel.Nifti1Image(big, np.eye(4))),
            (atomic.write_h5, "a.h5", {"x": big[0], "dual": big.reshape(60, -1)}),
            (atomic.write_h5, "b.h5", {"names": names}),
        ]:
            try:
                write(folder / name, *content)
            except OutputError as error:
                assert name in str(error) and "Free some space" in str(error), error
                print("refused", name)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        word for name in ("a.txt", "a.nii.gz", "a.h5", "b.h5") for word in ("refused", name)
    ]
    assert os.listdir(tmp_path) == []


def test_text_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "a.json"
    assert atomic.write_json(path, {"b": 1, "a": "é"})
    before = path.stat()
    assert not atomic.write_json(path, {"b": 1, "a": "é"})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert atomic.write_json(path, {"b": 2, "a": "é"})


def test_json_is_for_people(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"b": 1, "a": ["é"]})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert text == '{\n  "b": 1,\n  "a": [\n    "é"\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "b.json", {"a": float("nan")})
    assert json.loads(text) == {"b": 1, "a": ["é"]}


def test_tables_follow_bids(tmp_path):
    columns = {
        "name": ["a\tb\n", "", None],
        "r": np.array([np.nan, 0.1, 1 / 3], np.float32),
        "n": [1, np.int64(2), 3],
        "ok": [True, np.bool_(False), None],
        "x": [np.inf, -0.5, 1e-12],
    }
    atomic.write_tsv(tmp_path / "a.tsv", columns)
    assert (tmp_path / "a.tsv").read_text().splitlines() == [
        "name\tr\tn\tok\tx",
        "a b\tn/a\t1\ttrue\tinf",
        "n/a\t0.1\t2\tfalse\t-0.5",
        "n/a\t0.33333334\t3\tn/a\t1e-12",
    ]
    with pytest.raises(ValueError, match="not equally long.*'b': 1"):
        atomic.write_tsv(tmp_path / "b.tsv", {"a": [1, 2], "b": [1]})


def test_images_have_the_same_bytes_every_time(tmp_path):
    for folder in ("a", "b"):
        atomic.write_image(tmp_path / folder / "x.nii.gz", image())
    content = (tmp_path / "a" / "x.nii.gz").read_bytes()
    assert content == (tmp_path / "b" / "x.nii.gz").read_bytes()
    assert content[3] == 0  # gzip flags: no file name
    assert content[4:8] == bytes(4)  # gzip time
    assert gzip.decompress(content)[344:347] == b"n+1"


def test_hdf5_has_the_same_bytes_every_time(tmp_path):
    arrays = {"dual": np.ones((3, 4), np.float32), "stimuli": ["a.png", "é.png"], "none": []}
    for name in ("a.h5", "b.h5"):
        atomic.write_h5(tmp_path / name, arrays, {"layer": "conv1", "penalty": 1.5})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert h5py.h5o.get_info(file["dual"].id).mtime == 0
        np.testing.assert_array_equal(file["dual"], arrays["dual"])
        assert file["dual"].dtype == np.float32
        assert file["stimuli"].asstr()[:].tolist() == arrays["stimuli"]
        assert dict(file.attrs) == {"layer": "conv1", "penalty": 1.5}


def test_a_lock_keeps_another_out_until_it_is_given_back(tmp_path):
    order = []

    def other():
        with atomic.locked(tmp_path):
            order.append("second")

    thread = threading.Thread(target=other)
    with atomic.locked(tmp_path):
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_that_nobody_gives_back_stops_nobody(tmp_path):
    with atomic.locked(tmp_path), atomic.locked(tmp_path, patience=0.05):
        pass
    with pytest.raises(OutputError, match="nowhere"), atomic.locked(tmp_path / "nowhere"):
        pass


def test_a_file_with_the_same_bytes_is_left_alone(tmp_path):
    path = tmp_path / "a.nii.gz"
    atomic.write_image(path, image())
    os.utime(path, ns=(1, 1))
    atomic.write_image(path, image())
    assert path.stat().st_mtime_ns == 1
    changed = image()
    changed.dataobj[0, 0, 0] += 1
    atomic.write_image(path, changed)
    assert path.stat().st_mtime_ns > 1
    assert os.listdir(tmp_path) == ["a.nii.gz"]
