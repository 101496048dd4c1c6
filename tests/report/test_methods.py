"""The methods text says what was done, and cites what it names."""

import json
import re
from pathlib import Path

import pytest

from bids_encoder.derivatives.read import SavedAnalysis
from bids_encoder.derivatives.seals import sealed
from bids_encoder.report import methods

SIDECAR = {
    "Network": "alexnet", "Layers": ["features.1", "features.4"], "NumberOfStimuli": 80,
    "Design": "events", "Runs": ["sub-01_task-a_run-1", "sub-01_task-a_run-2"],
    "Preprocessed": True, "RepetitionTime": 2.0, "NumberOfFolds": 2, "NumberOfSamples": 80,
    "Penalties": [0.001, 100.0],
    "Groups": ["sub-01_task-a_run-1", "sub-01_task-a_run-2"], "Warnings": [],
    "SoftwareVersions": "bids_encoder 1.2.3, pybids 0.22.0, nilearn 0.14.1, torch 2.15.0",
    "Settings": {
        "hrf": "spm", "high_pass": 0.01, "confounds": "motion,compcor", "standardize": "session",
        "delays": [4.0, 6.0, 8.0], "nested": False, "untrained": False, "test_set": None,
    },
}  # fmt: skip


def _written(tmp_path: Path, **changes) -> SavedAnalysis:
    side = {**SIDECAR, **changes}
    side["Settings"] = {**SIDECAR["Settings"], **changes.get("Settings", {})}
    names = {"sub": "01", "task": "a", "space": "T1w", "res": None, "network": side["Network"]}
    return SavedAnalysis(tmp_path, names, side)


def test_every_citation_is_in_the_bibliography(tmp_path):
    events = _written(tmp_path)
    film = _written(tmp_path, Design="continuous", Network="motion_energy", Preprocessed=False)
    text = methods.methods_text([events, film])
    keys = set(re.findall(r"@(\w+)", text))
    assert {"eickenberg2017", "guest2017", "krizhevsky2014", "nishimoto2011"} <= keys
    assert keys == set(methods.cited(text))
    bibtex = methods.bibliography(text)
    assert set(re.findall(r"@\w+\{(\w+),", bibtex)) == keys
    assert "@" not in methods.readable(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "canonical haemodynamic response of SPM"),
        ({}, "confounds (nilearn's strategies motion, compcor)"),
        ({}, "two runs of preprocessed BOLD in T1w space (TR 2 s)"),
        ({}, "(Krizhevsky 2014)"),
        ({"Settings": {"hrf": "rank1"}}, "(Pedregosa et al. 2015)"),
        ({"Settings": {"untrained": True}}, "alexnet with random weights"),
        ({"Settings": {"nested": True}}, "inside each training set"),
        ({"Settings": {"test_set": "run=2"}}, "A test set (run=2)"),
        ({"Warnings": ["by a regression of its own (LSS)."]}, "(Mumford et al. 2012)"),
        ({"Design": "continuous"}, "delayed by 4, 6 and 8 s"),
        ({"Precomputed": {"run-1": {"Maps": 40}, "run-2": {"Maps": 41}}}, "elsewhere: 81 maps"),
        (
            {"VolumesAndConfounds": {"run-1": {"Volumes": 100, "VolumesUsed": 88}}},
            "scrubbed for motion (12 in all) had weight 0",
        ),
        ({"Network": "gabor"}, "energies of a Gabor pyramid in two bands"),
        ({"NumberOfFilms": 3, "FramesPerSecond": 15.0}, "sampled 15 times a second"),
        ({"FeaturesFrom": {"network": "features computed elsewhere"}}, "computed elsewhere"),
        ({"Preprocessed": False}, "BOLD that was not preprocessed"),
        ({"Groups": ["ses-1", "ses-2", "ses-3"]}, "left out sessions"),
        ({"Groups": ["block 1", "block 2"]}, "left out contiguous blocks"),
        (
            {"FoldsLeaveOut": "stimuli, dealt out at random"},
            "two folds that left out stimuli, dealt",
        ),
    ],
)
def test_what_was_chosen_is_said(tmp_path, changes, said):
    assert said in methods.readable(methods.methods_text([_written(tmp_path, **changes)]))


def test_what_was_not_done_is_not_said(tmp_path):
    text = methods.methods_text([_written(tmp_path, Preprocessed=False)])
    for word in ("confounds", "fMRIPrep", "p-values", "test set", "random weights", "banded"):
        assert word not in text


def test_the_bibliography_is_complete():
    for key, reference in methods.references().items():
        assert re.fullmatch(rf".+ {key[-4:]}", reference.short)
        assert reference.bibtex.count("{") == reference.bibtex.count("}")
        assert "title = {" in reference.bibtex


def test_contrasts_of_these_models_are_named_and_those_of_others_are_not(tmp_path):
    written = _written(tmp_path, SettingsHash="abc")
    folder = written.path("scores").parent
    folder.mkdir(parents=True)
    for name, models in (("faces", "abc"), ("old", "xyz")):
        path = folder / (
            f"sub-01_task-a_space-T1w_contrast-{name}_stat-t_desc-alexnet+synthesized_statmap.json"
        )
        side = sealed({"Contrast": name, "Settings": {"models": [models]}})
        path.write_text(json.dumps(side))
    text = methods.methods_text([written])
    assert "The contrast faces was synthesized" in text and "contrast old" not in text
