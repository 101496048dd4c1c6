"""A small BIDS dataset whose truth is known: real photographs, simulated brains.

Real photographs that come with scikit-image and scikit-learn are cut into
pictures. Two simulated participants see them in two sessions. Their voxels
follow an early, a middle or a late layer of the default network, through a real
haemodynamic chain: each picture's response is convolved with a haemodynamic
response, then come the gain of the session, motion, slow drift and
autocorrelated noise. The rest of the brain is noise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "motorcycle_left", "retina", "rocket", "china", "flower",
)  # fmt: skip
PARTICIPANTS = ("01", "02")
SESSIONS = ("1", "2")
RUNS = ("1", "2")
TASK = "pictures"
SPACE = "MNI152NLin2009aSym"  # the template that comes with nilearn
PICTURE_PIXELS = 160
PICTURES_PER_RUN = 42
REPETITION_TIME = 2.0
SECONDS_BETWEEN = 8.0
SECONDS_SHOWN = 1.0

# Where the voxels lie that follow each layer: centres (mm, MNI; both
# hemispheres) and radius (mm), after the usual places of V1, LO and fusiform.
REGIONS = {
    "early": ((10.0, -92.0, 0.0), 15.0),
    "middle": ((36.0, -82.0, 2.0), 14.0),
    "late": ((40.0, -54.0, -16.0), 15.0),
}


@dataclass(frozen=True)
class Truth:
    """Which layer each simulated voxel follows.

    Attributes
    ----------
    labels : (x, y, z) int array
        0: noise; 1, 2, 3: the layers of ``layers`` in that order.
    layers : dict
        Region name to layer name, early to late.
    """

    labels: np.ndarray
    layers: dict[str, str]


def write_pictures(folder: Path, number: int, seed: int = 0) -> list[str]:
    """Cut square pictures out of the photographs; return their file names."""
    import skimage.io
    from PIL import Image
    from sklearn.datasets import load_sample_image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    names = []
    for index in range(number):
        photograph = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]
        if photograph in ("china", "flower"):
            pixels = load_sample_image(f"{photograph}.jpg")
        else:
            import skimage.data

            directory = Path(skimage.data.__file__).parent
            pixels = skimage.io.imread(next(directory.glob(f"{photograph}.*")))
        side = int(min(pixels.shape[:2]) * random.uniform(0.35, 0.9))
        top = random.integers(pixels.shape[0] - side + 1)
        left = random.integers(pixels.shape[1] - side + 1)
        crop = Image.fromarray(pixels[top : top + side, left : left + side]).convert("RGB")
        name = f"{photograph.replace('_', '')}{index:03d}.png"
        crop.resize((PICTURE_PIXELS, PICTURE_PIXELS), Image.Resampling.LANCZOS).save(folder / name)
        names.append(name)
    return names


def true_regions(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Label the voxels of the early, middle and late regions 1, 2 and 3; shape of ``mask``."""
    from nibabel.affines import apply_affine

    coordinates = apply_affine(affine, np.stack(list(np.indices(mask.shape)), axis=-1))
    labels = np.zeros(mask.shape, dtype=np.int16)
    for number, ((x, y, z), radius) in enumerate(REGIONS.values(), start=1):
        for side in (-x, x):
            near = np.linalg.norm(coordinates - (side, y, z), axis=-1) <= radius
            labels[near & mask] = number
    return labels


def simulate_responses(
    features: Sequence[np.ndarray], labels: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Responses of the voxels to each picture: random readouts of their layer.

    Parameters
    ----------
    features : list of (n, p) arrays
        One matrix per layer, in the order of the labels 1, 2, 3.
    labels : (V,) int array
        Which layer each voxel follows; 0: none.

    Returns
    -------
    (n, V) float array, each followed layer's columns z-scored over pictures.
    """
    responses = np.zeros((len(features[0]), len(labels)))
    for number, matrix in enumerate(features, start=1):
        followers = labels == number
        weights = random.standard_normal((matrix.shape[1], followers.sum()))
        readout = (matrix - matrix.mean(axis=0)) @ weights
        responses[:, followers] = (readout - readout.mean(axis=0)) / readout.std(axis=0)
    return responses


def simulate_run(
    responses: np.ndarray,
    onsets: np.ndarray,
    n_volumes: int,
    random: np.random.Generator,
    gain: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate the percent signal change of one run.

    Parameters
    ----------
    responses : (n, V) array
        One row per picture shown, in the order of ``onsets``.
    onsets : (n,) array
        Seconds.
    n_volumes : int
    random : numpy.random.Generator
    gain : float
        Amplitude of the session's responses in percent.

    Returns
    -------
    signal : (n_volumes, V) array
        Percent signal change: responses through Glover's haemodynamic response
        function (the analysis assumes SPM's), motion, drift and AR(1) noise.
    motion : (n_volumes, 6) array
        The head's translations (mm) and rotations (rad).
    """
    from nilearn.glm.first_level import compute_regressor
    from scipy.signal import lfilter

    times = REPETITION_TIME * np.arange(n_volumes)
    design = np.stack(
        [
            compute_regressor(np.array([[onset], [SECONDS_SHOWN], [1.0]]), "glover", times)[0][:, 0]
            for onset in onsets
        ],
        axis=1,
    )
    design /= design.max()
    n_voxels = responses.shape[1]
    # Every picture evokes a common response too; what varies rides on it.
    signal = gain * design @ (0.5 * (responses != 0) + responses)
    motion = np.cumsum(random.normal(0, 0.02, (n_volumes, 6)), axis=0) * ([1] * 3 + [0.01] * 3)
    signal += motion @ (random.normal(0, 0.3, (6, n_voxels)) / motion.std(axis=0)[:, None])
    drift = np.linspace(-1, 1, n_volumes)[:, None]
    signal += drift * random.normal(0, 0.5, n_voxels) + drift**2 * random.normal(0, 0.5, n_voxels)
    noise = lfilter([1], [1, -0.4], random.standard_normal((n_volumes, n_voxels)), axis=0)
    return signal + 0.8 * noise, motion


def write_dataset(folder: Path, cache_dir: Path, seed: int = 0) -> Truth:
    """Write the demo's raw dataset and, beside it, preprocessed derivatives.

    Parameters
    ----------
    folder : Path
        Becomes the dataset; ``derivatives/preproc`` in it holds what a
        preprocessing pipeline would have made: BOLD in a standard space, brain
        masks, confounds, and a segmentation with the regions of `REGIONS`.
    cache_dir : Path
        Where the features are kept, so that the analysis finds them there.
    seed : int

    Returns
    -------
    Truth
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    template = load_mni152_template(resolution=6)
    mask = load_mni152_brain_mask(resolution=6).get_fdata() > 0
    labels = true_regions(mask, template.affine)
    anatomy = 600 * template.get_fdata().clip(0) ** 0.5 * (0.2 + 0.8 * mask) + 20
    pictures = write_pictures(
        folder / "stimuli", PICTURES_PER_RUN * len(SESSIONS) * len(RUNS), seed
    )
    features, layers = _true_features(folder / "stimuli", pictures, cache_dir)

    derivatives = folder / "derivatives" / "preproc"
    _describe(folder, derivatives, n_slices=mask.shape[2])
    onsets = 6.0 + SECONDS_BETWEEN * np.arange(PICTURES_PER_RUN)
    n_volumes = int(np.ceil((onsets[-1] + 18) / REPETITION_TIME))
    for participant in PARTICIPANTS:
        _write_regions(derivatives, participant, labels, template)
        random = np.random.default_rng([seed, int(participant)])
        responses = simulate_responses(features, labels[mask], random)
        order = random.permutation(len(pictures)).reshape(len(SESSIONS), len(RUNS), -1)
        for s, session in enumerate(SESSIONS):
            gain = random.uniform(0.8, 1.25)
            for r, run in enumerate(RUNS):
                shown = order[s, r]
                signal, motion = simulate_run(responses[shown], onsets, n_volumes, random, gain)
                bold = np.repeat(anatomy[..., None], n_volumes, axis=-1)
                bold[mask] *= 1 + signal.T / 100
                bold[~mask] += random.normal(0, 5, bold[~mask].shape)
                where = f"sub-{participant}/ses-{session}/func"
                name = (
                    f"{where}/{where.replace('/func', '').replace('/', '_')}_task-{TASK}_run-{run}"
                )
                events = [
                    (onset, SECONDS_SHOWN, pictures[i])
                    for onset, i in zip(onsets, shown, strict=True)
                ]
                _write_run(folder, name, bold, template, events)
                _write_preprocessed(derivatives, name, bold, template, mask, motion)
    return Truth(labels, layers)


def _true_features(
    folder: Path, pictures: Sequence[str], cache_dir: Path
) -> tuple[list[np.ndarray], dict[str, str]]:
    from bids_encoder.features.extract import extract
    from bids_encoder.networks.registry import load_network

    network = load_network("efficientnet_lite0")
    names = network.layers
    layers = dict(zip(REGIONS, (names[0], names[len(names) // 2], names[-1]), strict=True))
    store = extract(network, {name: folder / name for name in pictures}, cache_dir=cache_dir)
    return [store.load(layer).values for layer in layers.values()], layers


def _describe(folder: Path, derivatives: Path, n_slices: int) -> None:
    authors = {"Authors": ["The bids_encoder demo"], "License": "CC0"}
    _json(
        folder / "dataset_description.json",
        {"Name": "bids_encoder demo", "BIDSVersion": "1.10.0", "DatasetType": "raw", **authors},
    )
    _json(
        derivatives / "dataset_description.json",
        {
            "Name": "bids_encoder demo, preprocessed",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "bids_encoder demo"}],
        },
    )
    (folder / "README").write_text(
        "A simulated dataset: real photographs, simulated BOLD. Voxels near V1, LO and the\n"
        "fusiform gyrus follow an early, a middle and a late layer of EfficientNet-lite0.\n"
    )
    (derivatives / "README").write_text(
        "What a preprocessing pipeline would have made of the demo: BOLD in a standard space,\n"
        "brain masks, confounds, and a segmentation with the regions that follow each layer.\n"
    )
    # fMRIPrep's name, which the standard does not have yet.
    (derivatives / ".bidsignore").write_text("*_desc-confounds_timeseries.*\n")
    rows = "".join(f"sub-{participant}\n" for participant in PARTICIPANTS)
    (folder / "participants.tsv").write_text(f"participant_id\n{rows}")
    # Simulated volumes are snapshots: all slices are taken at their onset.
    timing = {"RepetitionTime": REPETITION_TIME, "SliceTiming": [0.0] * n_slices}
    _json(folder / f"task-{TASK}_bold.json", {"TaskName": TASK, **timing})


def _write_regions(folder: Path, participant: str, labels: np.ndarray, like) -> None:
    """A segmentation as other programs write it: the image, and what its labels stand for."""
    name = f"sub-{participant}/anat/sub-{participant}_space-{SPACE}_desc-visual_dseg"
    path = folder / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    _nifti(path, labels, like)
    rows = "".join(f"{number}\t{region}\n" for number, region in enumerate(REGIONS, start=1))
    (folder / f"{name}.tsv").write_text(f"index\tname\n{rows}")
    _json(
        folder / f"{name}.json",
        {"Description": "Voxels that were simulated to follow one layer.", "Manual": False},
    )


def _write_run(folder: Path, name: str, bold: np.ndarray, like, events: list[tuple]) -> None:
    path = folder / f"{name}_bold.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    _nifti(path, bold, like)
    lines = ["onset\tduration\tstim_file", *("\t".join(map(str, event)) for event in events)]
    (folder / f"{name}_events.tsv").write_text("\n".join(lines) + "\n")


def _write_preprocessed(
    folder: Path, name: str, bold: np.ndarray, like, mask: np.ndarray, motion: np.ndarray
) -> None:
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    path = folder / f"{name}_space-{SPACE}_desc-preproc_bold.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    _nifti(path, bold * mask[..., None], like)
    _json(
        folder / f"{name}_space-{SPACE}_desc-preproc_bold.json",
        {"RepetitionTime": REPETITION_TIME, "StartTime": 0.0, "SkullStripped": True},
    )
    _nifti(folder / f"{name}_space-{SPACE}_desc-brain_mask.nii.gz", mask, like)
    times = REPETITION_TIME * np.arange(len(motion))
    cosines = create_cosine_drift(1 / 128, times)[:, :-1]  # the last is the constant
    columns = {}
    for parameter, values in zip(
        ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"), motion.T, strict=True
    ):
        change = np.diff(values, prepend=np.nan)
        columns[parameter] = values
        columns[f"{parameter}_derivative1"] = change
        columns[f"{parameter}_power2"] = values**2
        columns[f"{parameter}_derivative1_power2"] = change**2
    columns |= {f"cosine{i:02d}": cosine for i, cosine in enumerate(cosines.T)}
    outside = bold[~mask]
    outside = outside - outside.mean(axis=1, keepdims=True)
    columns["a_comp_cor_00"] = np.linalg.svd(outside, full_matrices=False)[2][0]
    rows = [
        ["n/a" if np.isnan(v) else f"{v:.8g}" for v in row]
        for row in zip(*columns.values(), strict=True)
    ]
    (folder / f"{name}_desc-confounds_timeseries.tsv").write_text(
        "\n".join("\t".join(row) for row in [list(columns), *rows]) + "\n"
    )
    _json(
        folder / f"{name}_desc-confounds_timeseries.json",
        {"a_comp_cor_00": {"Method": "aCompCor", "Mask": "combined", "Retained": True}},
    )


def _nifti(path: Path, data: np.ndarray, like) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.round(data).astype(np.int16), like.affine)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header.set_zooms((*like.header.get_zooms()[:3], REPETITION_TIME))
    image.to_filename(path)


def _json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
