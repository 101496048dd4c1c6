"""The methods section of a paper, from what the sidecars say was done.

The text is Markdown with citations as pandoc has them, ``[@key]``; the entries are
those of ``references.bib``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bids_encoder.derivatives.read import SavedAnalysis, r2_in_words
from bids_encoder.report.contrasts import found_contrasts

_NETWORKS = {
    "efficientnet": "tan2019",
    "squeezenet": "iandola2016",
    "alexnet": "krizhevsky2014",
    "vgg": "simonyan2015",
    "resnet": "he2016",
    "inception": "szegedy2016",
    "overfeat": "sermanet2014",
}
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Reference:
    """An entry of the bibliography: how it is cited in words, and its BibTeX."""

    short: str
    bibtex: str


@cache
def references() -> dict[str, Reference]:
    """Read the bibliography, by key."""
    text = Path(__file__).with_name("references.bib").read_text(encoding="utf-8")
    entries = {}
    for entry in re.split(r"\n(?=@)", text.strip()):
        key = re.findall(r"^@\w+\{(\w+),", entry)[0]
        # Long lists of authors go over several lines.
        [listed] = re.findall(r"author = \{(.*?)\},\n", entry, re.DOTALL)
        authors = " ".join(listed.split()).split(" and ")
        names = [re.sub(r"[{}]", "", name.split(",")[0]) for name in authors]
        [year] = re.findall(r"year = \{(\d+)\}", entry)
        who = f"{names[0]} et al." if len(names) > 2 or "others" in names else " & ".join(names)
        entries[key] = Reference(f"{who} {year}", entry.strip())
    return entries


def methods_text(analyses: Sequence[SavedAnalysis]) -> str:
    """Write the methods of a participant's analyses: Markdown with ``[@key]`` citations."""
    versions = dict(
        part.split(" ", 1) for part in analyses[0].sidecar["SoftwareVersions"].split(", ")
    )
    parts = [
        f"Encoding models were fitted with bids_encoder {versions['bids_encoder']}, a BIDS App "
        "[@gorgolewski2017] that follows @eickenberg2017 and @guest2017. It used pybids "
        f"{versions['pybids']} [@yarkoni2019] to read the dataset "
        f"[@gorgolewski2016], nilearn {versions['nilearn']} [@abraham2014] and PyTorch "
        f"{versions['torch']} [@paszke2019]."
    ]
    said = set()
    for one in analyses:
        parts_of_one = (_features, _responses, _models, _inference, _experiments)
        body = "\n\n".join(filter(None, (said_of(one) for said_of in parts_of_one)))
        tasks = f"**Task {one.names['task']}.** " if len(analyses) > 1 else ""
        if body not in said:
            parts.append(tasks + body)
            said.add(body)
    return "\n\n".join(parts) + "\n"


def cited(text: str) -> list[str]:
    """Keys of what a text cites, in the order of the bibliography."""
    found = set(re.findall(r"@(\w+)", text))
    return [key for key in references() if key in found]


def bibliography(text: str) -> str:
    """BibTeX of what a text cites."""
    return "\n\n".join(references()[key].bibtex for key in cited(text)) + "\n"


def readable(text: str) -> str:
    """The text with its citations in words: ``[@a; @b]`` → ``(A 2001; B 2002)``, @a → A (2001)."""

    def in_brackets(match: re.Match) -> str:
        keys = re.findall(r"@(\w+)", match.group(0))
        return "(" + "; ".join(references()[key].short for key in keys) + ")"

    def in_text(match: re.Match) -> str:
        who, year = references()[match.group(1)].short.rsplit(" ", 1)
        return f"{who.replace(' & ', ' and ')} ({year})"

    return re.sub(r"@(\w+)", in_text, re.sub(r"\[@[^\]]+\]", in_brackets, text))


def _features(written: SavedAnalysis) -> str:
    side = written.sidecar
    network, layers = side["Network"], side["Layers"]
    if side.get("FeaturesFrom", {}).get("network") == "features computed elsewhere":
        text = f"Features ({', '.join(layers)}) were computed elsewhere, for"
    elif network == "gabor":
        text = f"Features were the energies of a Gabor pyramid in {_number(len(layers), 'band')} of"
        text += " spatial frequency, of"
    elif network == "motion_energy":
        text = "Features were motion energies [@nishimoto2011], of"
    else:
        state = " with random weights" if side["Settings"].get("untrained") else ""
        key = next((key for name, key in _NETWORKS.items() if network.startswith(name)), None)
        text = (
            f"Features were the activations of {_number(len(layers), 'layer')} of {network}{state}"
            f"{f' [@{key}]' if key else ''} ({', '.join(layers)}), smoothed and "
            "subsampled in space to at most 25 000 a layer and compressed with "
            "sign(x) log(1 + |x|) [@eickenberg2017], to"
        )
    text += f" {side['NumberOfStimuli']} different stimuli."
    if side.get("NumberOfFilms"):
        text += (
            f" Films were sampled {side['FramesPerSecond']:g} times a second, and features "
            "averaged over frames."
        )
    if side["Design"] == "continuous":
        delays = _listed([f"{delay:g}" for delay in side["Settings"]["delays"]])
        text += (
            " They were averaged over what was on the screen during each volume, and copies "
            f"delayed by {delays} s stood side by side."
        )
    return text


def _responses(written: SavedAnalysis) -> str:
    side, chosen = written.sidecar, written.sidecar["Settings"]
    unit = {"session": "within each session", "run": "within each run"}.get(chosen["standardize"])
    averaged = f"responses were {f'z-scored {unit} and ' if unit else ''}averaged over repeats."
    if "Precomputed" in side:
        n_maps = sum(one["Maps"] for one in side["Precomputed"].values())
        return (
            f"Responses had been estimated elsewhere: {_number(n_maps, 'map')} from "
            f"{_number(len(side['Runs']), 'run')}; {averaged}"
        )
    bold = (
        f"preprocessed BOLD in {written.names['space']} space"
        if side["Preprocessed"] and written.names["space"]
        else "preprocessed BOLD"
        if side["Preprocessed"]
        else "BOLD that was not preprocessed"
    )
    text = f"Responses came from {_number(len(side['Runs']), 'run')} of {bold}"
    if side["RepetitionTime"]:
        text += f" (TR {side['RepetitionTime']:g} s)"
    text += ". "
    cleaned = "slow drift"
    if chosen.get("high_pass"):
        cleaned += f" (cosines up to {chosen['high_pass']:g} Hz)"
    if side["Preprocessed"] and chosen.get("confounds") != "none":
        cleaned += (
            f" and confounds (nilearn's strategies {chosen['confounds'].replace(',', ', ')}) "
            "[@esteban2019]"
        )
    volumes = side.get("VolumesAndConfounds", {}).values()
    left_out = sum(one["Volumes"] - one["VolumesUsed"] for one in volumes)
    if left_out:
        text += f"Dummy scans and volumes scrubbed for motion ({left_out} in all) had weight 0. "
    if side["Design"] == "continuous":
        return text + f"Each volume was a sample, cleaned of {cleaned} and z-scored within its run."
    text += (
        "One response per stimulus was estimated in a general linear model with "
        f"{_hrf(chosen['hrf'])}, beside regressors of {cleaned}"
    )
    if any("(LSS)" in warning for warning in side["Warnings"]):
        text += ", each stimulus by a regression of its own [@mumford2012]"
    return f"{text}; {averaged}"


def _hrf(name: str) -> str:
    if name.startswith("rank1"):
        basis = {"fir": "a finite-impulse-response", "spm3": "SPM's three-function"}.get(
            name.partition("-")[2], "a Fourier"
        )
        return (
            "one haemodynamic response per voxel and one amplitude per stimulus, estimated "
            f"together over {basis} basis [@pedregosa2015]"
        )
    return f"the canonical haemodynamic response of {'SPM' if name == 'spm' else name.title()}"


def _models(written: SavedAnalysis) -> str:
    side = written.sidecar
    nested = (
        "inside each training set"
        if side["Settings"]["nested"]
        else "as the one with the highest mean score over folds"
    )
    text = (
        "For each layer and voxel a ridge regression [@hoerl1970] was fitted, with one penalty per "
        f"voxel and layer chosen {nested} from {_tried(side)}, and scored on held-out data "
        f"(r² and Pearson's r) in {_number(side['NumberOfFolds'], 'fold')} that left out "
        f"{_left_out(side)}."
    )
    if side["Settings"].get("test_set"):
        text += f" A test set ({side['Settings']['test_set']}) was held out of all training."
    if written.matching_sidecar("joint_r2"):
        text += " All layers were fitted together by banded ridge regression [@dupre2022]."
    return text


def _tried(side: dict) -> str:
    """The penalties that a voxel could choose among."""
    grid = side["Penalties"]
    return (
        f"{len(grid)} values between {grid[0]:.2g} and {grid[-1]:.2g} times the mean diagonal of "
        "the kernel"
    )


def _left_out(side: dict) -> str:
    if side.get("FoldsLeaveOut"):
        return side["FoldsLeaveOut"]
    groups = side["Groups"]
    if all(re.search(r"run-[^_]+$", group) for group in groups):
        return "runs"
    if all(group.startswith("ses-") for group in groups):
        return "sessions"
    return "groups of samples" if not groups[0].startswith("block") else "contiguous blocks"


def _inference(written: SavedAnalysis) -> str:
    side = written.matching_sidecar("q")
    layers = (
        "A voxel's fingerprint is its scores over layers; the best layer was taken after smoothing "
        "by one voxel, and the slope is the inner product of the normalised fingerprint with a "
        "linear trend over layers [@eickenberg2017]."
    )
    if side is None:
        return f"No significance was tested; counts are of all voxels with a score. {layers}"
    blocks = (
        f" of blocks of {side['PermutedBlock']} samples within folds"
        if side["PermutedBlock"] > 1
        else " within folds"
    )
    return (
        f"p-values of the highest {r2_in_words(side)} over layers came from {side['Permutations']} "
        f"permutations{blocks} of the responses of {side['PermutedVoxels']} {written.places}, "
        "whitened before and coloured after with their lag-1 autocorrelation, the choice of the "
        f"penalty repeated in each{_strata(side)}{_tail(side)}, and were corrected at a false "
        f"discovery rate of {side['FalseDiscoveryRate']:g} [@benjamini1995]. Counts "
        "and means over voxels are of those that pass and whose highest "
        f"{r2_in_words(side)} is above 0. {layers}"
    )


def _strata(side: dict) -> str:
    number = len(side.get("NullStrata", ()))
    return f", in {number} strata of autocorrelation" if number > 1 else ""


def _tail(side: dict) -> str:
    fitted = [bool(stratum["Tail"]) for stratum in side.get("NullStrata", ())]
    where = "" if all(fitted) else " where they could be fitted"
    if not any(fitted):
        return ""
    return f", small ones from generalised Pareto tails{where} [@knijnenburg2009]"


def _experiments(written: SavedAnalysis) -> str:
    """What was synthesized with the models."""
    text = ""
    if written.sidecar_from_models("angle"):
        text = (
            "Retinotopic maps were synthesized: the models were shown pictures behind wedges and "
            "rings, and predicted responses were regressed on the cosine and sine of the wedges' "
            "angle; eccentricity is the middle of the Gaussian on log eccentricity that fits the "
            "responses to rings best [@eickenberg2017]. "
        )
    for _, side in found_contrasts(written):
        text += (
            f"The contrast {side['Contrast']} was synthesized from pictures that had trained none "
            "of the models that predicted them [@eickenberg2017]. "
        )
    return text.strip()


def _number(count: int, word: str) -> str:
    shown = _COUNTS[count] if count < len(_COUNTS) else str(count)
    return f"{shown} {word}{'s' * (count != 1)}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
