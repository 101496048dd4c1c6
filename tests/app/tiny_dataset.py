"""A tiny BIDS dataset whose truth is known, and features that explain it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import logging
import math
import os
import signal as signals
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
from PIL import Image

from bids_encoder.app import cli

PARTICIPANTS, SESSIONS, TASK = ("01", "02"), ("1", "2"), "look"
SHAPE, N_VOLUMES, TR = (8, 8, 6), 80, 2.0
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = [-12, -12, -9]
PICTURES_PER_RUN, SECONDS_BETWEEN, SECONDS_SHOWN = 20, 7.0, 1.0
LAYERS, N_FEATURES = ("early", "middle", "late"), 4
SPACE = "MNI152NLin2009cAsym"
QUICK = ("--n-permutations", "200", "--similarity-permutations", "20")


@dataclass(frozen=True)
class Tiny:
    """The dataset, what lies beside it, and what is true of it."""

    folder: Path

    @property
    def bids(self) -> Path:
        return self.folder / "raw"

    @property
    def features(self) -> Path:
        return self.folder / "features.h5"

    @property
    def preprocessed(self) -> Path:
        return self.folder / "prep"

    def run(self, session: str = "1", participant: str = "01") -> str:
        """Start of the names of a run's files: ``run() + "_bold.nii.gz"``."""
        name = f"sub-{participant}_ses-{session}_task-{TASK}"
        return str(self.bids / f"sub-{participant}" / f"ses-{session}" / "func" / name)

    def bold(self, session: str = "1", participant: str = "01") -> Path:
        return Path(f"{self.run(session, participant)}_bold.nii.gz")

    def events(self, session: str = "1", participant: str = "01") -> Path:
        return Path(f"{self.run(session, participant)}_events.tsv")

    def edit_events(self, old: str, new: str, session: str = "1", count: int = -1) -> None:
        path = self.events(session)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, count))

    def edit_bold(self, change) -> None:
        """Pass the numbers of the first run (float32) through a function, and write them."""
        image = nibabel.load(self.bold())
        data = change(np.asarray(image.dataobj, dtype=np.float32))
        write_bold(self.bold(), data)


@dataclass(frozen=True)
class Finished:
    """How a run of the app ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything, as it appears on a terminal."""
        return self.out + self.err


def run_app(*arguments) -> Finished:
    """Run the app in this process: ``run_app(bids_dir, output_dir, level, *options)``.

    With few permutations, unless the options say how many. What a run changes in the process
    is put back, or tests of other rooms would hear no messages.
    """
    if arguments[2:3] == ("participant",):
        arguments = (*arguments[:3], *QUICK, *arguments[3:])
    out, err = io.StringIO(), io.StringIO()
    with _restored(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = end.code
    print(out.getvalue(), err.getvalue())
    return Finished(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _restored():
    logger = logging.getLogger("bids_encoder")
    before = logger.handlers[:], logger.level, logger.propagate
    handler = signals.getsignal(signals.SIGTERM)
    environment = dict(os.environ)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
        signals.signal(signals.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(environment)


def brain() -> np.ndarray:
    """The voxels that have signal: a ball."""
    x, y, z = np.indices(SHAPE)
    return ((x - 3.5) / 3.6) ** 2 + ((y - 3.5) / 3.6) ** 2 + ((z - 2.5) / 2.7) ** 2 <= 1


def truth() -> np.ndarray:
    """1 and 3: voxels that follow the first and the third layer; 0: noise."""
    labels = np.zeros(SHAPE, int)
    labels[1:4, 2:6, 1:4] = 1
    labels[5:7, 2:6, 1:4] = 3
    return labels * brain()


def picture_names() -> list[str]:
    return [f"set{k % 2}/picture{k:02d}.png" for k in range(PICTURES_PER_RUN * len(SESSIONS))]


def layer_values() -> dict[str, np.ndarray]:
    """Features of each layer: (n pictures + an empty screen, N_FEATURES)."""
    random = np.random.default_rng(5)
    shape = (len(picture_names()) + 1, N_FEATURES)
    return {layer: random.standard_normal(shape).astype(np.float32) for layer in LAYERS}


def hrf(times: np.ndarray) -> np.ndarray:
    """SPM's haemodynamic response: a gamma density of order 6 less a sixth of one of order 16."""
    t = np.clip(times, 0, None)
    rise, fall = (t ** (k - 1) * np.exp(-t) / math.gamma(k) for k in (6, 16))
    return rise - fall / 6


def signal(order: Sequence[int], onsets: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What the brain does while pictures are shown: SHAPE + (N_VOLUMES,), 0 outside of it."""
    design = hrf(TR * np.arange(N_VOLUMES)[:, None] - onsets)
    values, labels = layer_values(), truth()
    weights = np.random.default_rng(8)
    data = random.standard_normal((*SHAPE, N_VOLUMES))
    for number, layer in ((1, "early"), (3, "late")):
        voxels = labels == number
        readout = values[layer][list(order)] @ weights.standard_normal((N_FEATURES, voxels.sum()))
        data[voxels] += 8 * (design @ (readout + 1)).T
    return brain()[..., None] * (900 + 10 * data)


def write_bold(path: Path, data: np.ndarray, tr: float = TR, dtype=None) -> None:
    """Write an image quickly."""
    image = nibabel.Nifti1Image(data, AFFINE, dtype=dtype)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header.set_zooms((3, 3, 3, tr))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def write_pictures(folder: Path, names: Sequence[str], side: int = 12) -> None:
    random = np.random.default_rng(3)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)


def write_features(path: Path, names: Sequence[str], layers: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        file["stimuli"] = [*names, ""]
        for layer, values in layers.items():
            file[layer] = values
        file.attrs["layers"] = list(layers)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def describe_derivative(folder: Path, maker: str) -> None:
    """Make a folder a derivatives dataset of some program."""
    made_by = {"GeneratedBy": [{"Name": maker}], "DatasetType": "derivative"}
    about = {"Name": folder.name, "BIDSVersion": "1.10.0", **made_by}
    write_json(folder / "dataset_description.json", about)


def write_tiny(folder: Path, *, continuous: bool = False) -> Tiny:
    """Two participants, two sessions of one run each, 40 pictures; features and derivatives.

    The pictures of each session are its own. In a ``continuous`` dataset they follow each
    other without pause, each four times, and there is one participant. The raw BOLD is zero
    outside of the brain, so that the computed mask is exactly `brain`.
    """
    tiny = Tiny(folder)
    names = picture_names()
    description = {"Name": "Tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    write_json(tiny.bids / "dataset_description.json", {**description, "License": "CC0"})
    (tiny.bids / "README").write_text("Made for tests.\n")
    # Simulated volumes are snapshots, as if all slices were taken at once: when a picture comes
    # on, or, of pictures without pause, in the middle of a picture.
    moment = TR / 2 if continuous else 0.0
    timing = {"RepetitionTime": TR, "SliceTiming": [moment] * SHAPE[2]}
    write_json(tiny.bids / f"task-{TASK}_bold.json", {"TaskName": TASK, **timing})
    write_pictures(tiny.bids / "stimuli", names)
    write_features(tiny.features, names, layer_values())
    describe_derivative(tiny.preprocessed, "fMRIPrep")
    for participant in PARTICIPANTS[: 1 if continuous else None]:
        random = np.random.default_rng(int(participant))
        order = random.permutation(len(names)).reshape(len(SESSIONS), -1)
        for session, shown in zip(SESSIONS, order, strict=True):
            onsets, duration = 4 + SECONDS_BETWEEN * np.arange(len(shown)), SECONDS_SHOWN
            if continuous:
                shown = random.permutation(np.tile(shown, 4))
                onsets, duration = TR * np.arange(len(shown)), TR
            data = np.rint(signal(shown, onsets, random)).astype(np.int16)
            write_bold(tiny.bold(session, participant), data)
            rows = [
                f"{onset:g}\t{duration:g}\t{names[picture]}\n"
                for onset, picture in zip(onsets, shown, strict=True)
            ]
            tiny.events(session, participant).write_text(
                "onset\tduration\tstim_file\n" + "".join(rows)
            )
            _write_preprocessed(tiny, session, participant, data, random, moment)
    return tiny


def _write_preprocessed(tiny, session, participant, data, random, moment) -> None:
    """The same run as fMRIPrep would write it, in two spaces; motion as confounds."""
    stem = tiny.preprocessed / Path(tiny.run(session, participant)).relative_to(tiny.bids)
    for space in ("T1w", SPACE):
        start = f"{stem}_space-{space}"
        write_bold(Path(f"{start}_desc-preproc_bold.nii.gz"), data)
        write_json(
            Path(f"{start}_desc-preproc_bold.json"), {"RepetitionTime": TR, "StartTime": moment}
        )
        write_bold(Path(f"{start}_desc-brain_mask.nii.gz"), brain().astype(np.uint8))
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    names += [f"{name}_derivative1" for name in names]
    names += [f"{name}_power2" for name in names] + ["cosine00", "a_comp_cor_00"]
    rows = random.standard_normal((N_VOLUMES, len(names)))
    rows[:, -2] = np.cos(np.pi * (np.arange(N_VOLUMES) + 0.5) / N_VOLUMES)
    lines = ["\t".join(names), *("\t".join(f"{v:.5f}" for v in row) for row in rows)]
    Path(f"{stem}_desc-confounds_timeseries.tsv").write_text("\n".join(lines) + "\n")
    kept = {"a_comp_cor_00": {"Method": "aCompCor", "Mask": "combined", "Retained": True}}
    write_json(Path(f"{stem}_desc-confounds_timeseries.json"), kept)


def tree(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder; what links point to."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
