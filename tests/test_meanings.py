"""Every interval, p-value and ceiling says what was resampled and what it does not cover."""

import importlib
import pkgutil

import pytest

import bids_encoder
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.meanings import is_explained, is_uncertain, uncertain


def column_descriptions():
    """Column and description of all tables: of each dictionary of a module that describes some."""
    found = {}
    for module in pkgutil.walk_packages(bids_encoder.__path__, "bids_encoder."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, dict) and value and all(isinstance(one, str) for one in value):
                for column, text in value.items():
                    # A description is a sentence; other dictionaries hold names.
                    if isinstance(text, str) and " " in text and is_uncertain(column):
                        found[f"{module.name}.{name}[{column}]"] = text
    return found


def test_columns_of_all_tables():
    found = column_descriptions()
    tables = {name.partition("[")[0].rpartition(".")[2] for name in found}
    assert len(found) >= 20 and len(tables) >= 5, sorted(found)
    assert not [name for name, text in found.items() if not is_explained(text)]


@pytest.mark.parametrize(
    "kind",
    [
        kind.name
        for kind in file_names.kinds().values()
        if kind.intent == "p value" or "ceiling" in kind.description
    ],
)
def test_files(kind):
    declared = file_names.kinds()[kind]
    assert declared.resampled and declared.not_covered
    assert is_explained(file_names.explain(kind, declared.description))


def test_which_columns_these_are():
    for name in ("low", "pearson_high", "p", "q", "ceiling_low", "noiseceiling", "highest"):
        assert is_uncertain(name)
    for name in ("layer", "pearson", "penalty_at_low_edge", "voxels_predicted", "r_q95"):
        assert not is_uncertain(name)


def test_both_are_asked_for():
    text = uncertain("Lower end.", resampled="voxels", not_covered="stimuli")
    assert text == "Lower end. Resampled: voxels. Not covered: stimuli." and is_explained(text)
    assert not is_explained("Lower end. Resampled: voxels.")
    with pytest.raises(TypeError):
        uncertain("Lower end.", resampled="voxels")
