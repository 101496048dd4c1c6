"""Synthesized retinotopy against population receptive fields of the same voxels.

``python benchmarks/retinotopy.py BIDS_DIR OUTPUT_DIR`` fits a two-dimensional Gaussian to each
voxel of a bars experiment whose pictures are the apertures (white bars on black; Dumoulin &
Wandell 2008), straight from BOLD and events, and compares its place with the maps that
``--synthesize retinotopy`` has written into OUTPUT_DIR. Receptive fields know nothing of networks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import gamma, spearmanr

from bids_encoder.responses.continuous import continuous_responses

SIDE = 48
PEAKS = (3.0, 3.5, 4.0, 4.5, 5.0)  # seconds from a picture to the peak of the response
SIZES = (0.05, 0.1, 0.15, 0.22, 0.32, 0.5, 0.75)  # 1: half the width of the pictures
HIGH_PASS = 0.01
LEAST_R = 0.3


def candidates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Horizontal and vertical place and size of the receptive fields that are tried."""
    places = np.linspace(-1.2, 1.2, 33)
    x, y, size = (grid.ravel() for grid in np.meshgrid(places, places, SIZES, indexing="ij"))
    near = np.hypot(x, y) < 1.5
    return x[near], y[near], size[near]


def drives(stimuli: Path, events: Path) -> np.ndarray:
    """How much of each candidate's field the bar of each volume covers: (candidates, volumes)."""
    names = pd.read_table(events)["stim_file"]
    shape = (SIDE, SIDE)
    seen = {n: Image.open(stimuli / n).convert("L").resize(shape, Image.BOX) for n in set(names)}
    bars = np.stack([np.asarray(seen[name], np.float32) / 255 for name in names])
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    right, up = (grid.ravel() for grid in np.meshgrid(at, -at))
    x, y, size = (values[:, None] for values in candidates())
    fields = np.exp(-((right - x) ** 2 + (up - y) ** 2) / (2 * size**2)).astype(np.float32)
    return fields @ bars.reshape(len(bars), -1).T


def response(peak: float, repetition_time: float) -> np.ndarray:
    """A haemodynamic response (difference of gamma densities), one value a volume."""
    fine = np.arange(0, 32, 0.1)
    curve = gamma.pdf(fine, peak + 1) - gamma.pdf(fine, peak + 11) / 6
    middles = np.arange(0, 32, repetition_time)
    near = np.abs(fine - middles[:, None]) < repetition_time / 2
    sampled = (near * curve).sum(axis=1)
    return sampled / sampled.sum()


def predicted(drive: np.ndarray, peak: float, repetition_time: float) -> np.ndarray:
    """What the BOLD of each candidate would be, treated as the data are: (volumes, candidates)."""
    shape = response(peak, repetition_time)
    series = np.stack([np.convolve(row, shape)[: drive.shape[1]] for row in drive], axis=1)
    return continuous_responses(
        series.astype(np.float32), repetition_time, high_pass=HIGH_PASS, confounds=None
    )


def best(series: np.ndarray, bold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidate that correlates best with each voxel, and its correlation."""
    one, other = (a - a.mean(axis=0) for a in (series, bold))
    one /= np.linalg.norm(one, axis=0)
    other /= np.linalg.norm(other, axis=0)
    r = one.T @ other
    return r.argmax(axis=0), r.max(axis=0)


def receptive_fields(bids: Path, inside: np.ndarray, repetition_time: float):
    """Best candidate and correlation of each voxel: of all runs, of the first, of the second."""
    runs = sorted(bids.glob("sub-*/func/*_bold.nii.gz"))[:2]
    bold = [
        continuous_responses(
            np.asarray(nibabel.load(run).dataobj, np.float32)[inside].T,
            repetition_time, high_pass=HIGH_PASS, confounds=None,
        )
        for run in runs
    ]  # fmt: skip
    tables = [Path(str(run).replace("_bold.nii.gz", "_events.tsv")) for run in runs]
    drive = [drives(bids / "stimuli", table) for table in tables]
    chosen, height = np.zeros((3, bold[0].shape[1]), int), np.full((3, bold[0].shape[1]), -1.0)
    for peak in PEAKS:
        series = [predicted(one, peak, repetition_time) for one in drive]
        pairs = [(np.concatenate(series), np.concatenate(bold)), *zip(series, bold, strict=True)]
        for row, pair in enumerate(pairs):
            index, r = best(*pair)
            better = r > height[row]
            chosen[row][better], height[row][better] = index[better], r[better]
    return chosen, height


def main() -> None:
    """Compare, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("outputs", type=Path, nargs="+", metavar="OUTPUT_DIR")
    parser.add_argument("--repetition-time", type=float, default=2.079)
    asked = parser.parse_args()
    [mask] = asked.outputs[0].glob("sub-*/func/*_desc-analysis_mask.nii.gz")
    inside = np.asarray(nibabel.load(mask).dataobj) != 0
    chosen, height = receptive_fields(asked.bids_dir, inside, asked.repetition_time)
    x, y, _ = candidates()
    clear = height[0] > LEAST_R
    angle, far = np.arctan2(y[chosen], x[chosen]), np.hypot(x[chosen], y[chosen])
    print(f"{clear.sum()} voxels whose receptive field explains r > {LEAST_R}")
    print(f"  between the two runs: mean cosine {np.cos(angle[1] - angle[2])[clear].mean():.3f}")
    print(f"  of one angle for all: mean cosine {abs(np.exp(1j * angle[0][clear]).mean()):.3f}")
    for output in asked.outputs:
        maps = {}
        for stat in ("angle", "eccentricity"):
            [path] = output.glob(f"sub-*/func/*_stat-{stat}_desc-*+retinotopy_statmap.nii.gz")
            maps[stat] = np.asarray(nibabel.load(path).dataobj)[inside][clear]
        away = np.angle(np.exp(1j * (np.deg2rad(maps["angle"]) - angle[0][clear])))
        rank = spearmanr(maps["eccentricity"], far[0][clear], nan_policy="omit")[0]
        print(
            f"{output.name}: mean cosine {np.cos(away).mean():.3f}, median error "
            f"{np.degrees(np.median(np.abs(away))):.1f} degrees; eccentricity: rank correlation "
            f"{rank:.2f}, median {np.nanmedian(maps['eccentricity']):.2f} "
            f"for {np.median(far[0][clear]):.2f}"
        )


if __name__ == "__main__":
    main()
