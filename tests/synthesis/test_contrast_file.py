"""Files of contrasts: what is read, and what is refused in which words."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_encoder.errors import BidsEncoderError, DataError, MissingInputError
from bids_encoder.synthesis.contrast_file import read_contrast_file

GOOD = {
    "Name": "faces and places",
    "Conditions": {
        "face": {"Events": {"trial_type": "face"}},
        "place": {"Events": {"trial_type": ["house", "scene"], "half": 1}},
        "cats": {"Folder": "haxby/cats"},
        "dogs": {"Folder": "haxby", "Stimuli": {"kind": "dog"}},
        "indoor": {"Stimuli": {"where": ["indoor"]}},
    },
    "Contrasts": [
        {"Name": "face > place", "ConditionList": ["face", "place"], "Weights": [1, -1]},
        {
            "Name": "pets",
            "ConditionList": ["cats", "dogs", "indoor", "trial_type.object"],
            "Weights": ["1/3", "1/3", "1/3", -1],
            "Test": "t",
        },
    ],
}


def write(tmp_path, content):
    path = tmp_path / "contrasts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_conditions_and_contrasts_are_read(tmp_path):
    found = read_contrast_file(write(tmp_path, GOOD))
    assert [one.label for one in found.contrasts] == ["faceplace", "pets"]
    assert found.contrasts[0].weights == {"face": 1.0, "place": -1.0}
    assert found.contrasts[1].weights["dogs"] == pytest.approx(1 / 3)
    assert found.conditions["place"].events == {"trial_type": ("house", "scene"), "half": ("1",)}
    assert found.conditions["cats"].folder == tmp_path / "haxby" / "cats"
    assert found.conditions["dogs"].stimuli == {"kind": ("dog",)}
    assert found.conditions["trial_type.object"].events == {"trial_type": ("object",)}


def test_weights_of_zero_are_left_out(tmp_path):
    content = {
        "Contrasts": [{"Name": "x", "ConditionList": ["t.a", "t.b", "t.c"], "Weights": [1, 0, -1]}]
    }
    found = read_contrast_file(write(tmp_path, content))
    assert list(found.conditions) == ["t.a", "t.c"]


def changed(*keys, to):
    """GOOD with one entry replaced, or added; `to` None removes it."""
    content = json.loads(json.dumps(GOOD))
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return content


FIRST = ("Contrasts", 0)


@pytest.mark.parametrize(
    ("content", "place", "word"),
    [
        ("[]", None, "holds no object"),
        ("{", "line 1", "not valid JSON"),
        ('{"Contrasts": [], "Contrasts": []}', "Contrasts", "2 times"),
        (changed("Contrast", to=[]), "the file", "did you mean Contrasts?"),
        (changed("Contrasts", to=None), "Contrasts", "no such key"),
        (changed("Contrasts", to=[]), "Contrasts", "a list of objects"),
        (changed("Contrasts", to=[3]), "Contrasts[0]", "between { and }"),
        (changed("Conditions", to=[]), "Conditions", "between { and }"),
        (changed("Conditions", "face", to={}), "Conditions.face", "in one way"),
        (
            changed("Conditions", "face", to={"Events": {"a": "b"}, "Folder": "x"}),
            "Conditions.face",
            "Events and Folder",
        ),
        (changed("Conditions", "face", to={"Event": {}}), "Conditions.face", "mean Events?"),
        (changed("Conditions", "face", to={"Events": {}}), "Conditions.face.Events", "COLUMN"),
        (
            changed("Conditions", "face", to={"Events": {"a": []}}),
            "Conditions.face.Events.a",
            "list of values",
        ),
        (
            changed("Conditions", "face", to={"Events": {"a": True}}),
            "Conditions.face.Events.a",
            "text or number",
        ),
        (changed("Conditions", "cats", to={"Folder": 3}), "Conditions.cats.Folder", "a folder"),
        (changed(*FIRST, "Weights", to=None), "Contrasts[0]", "add Weights"),
        (changed(*FIRST, "Name", to="<>"), "Contrasts[0].Name", "letters or digits"),
        (changed(*FIRST, "Name", to="pets!"), "Contrasts[1].Name", "rename one"),
        (changed(*FIRST, "Test", to="F"), "Contrasts[0].Test", '"t"'),
        (changed(*FIRST, "Weights", to=[1]), "Contrasts[0].Weights", "2 numbers"),
        (changed(*FIRST, "Weights", to=[1, "x"]), "Contrasts[0].Weights[1]", "a fraction"),
        (changed(*FIRST, "Weights", to=["1/0", 1]), "Contrasts[0].Weights[0]", "a fraction"),
        (changed(*FIRST, "Weights", to=[1, -0.5]), "Contrasts[0].Weights", "sum is 0.5"),
        (changed(*FIRST, "Weights", to=[0, 0]), "Contrasts[0].Weights", "All weights are 0"),
        (changed(*FIRST, "ConditionList", to=["face", 2]), "Contrasts[0].Cond", "list of names"),
        (changed(*FIRST, "ConditionList", to=["face"] * 2), "Contrasts[0].Cond", "more than once"),
        (changed(*FIRST, "ConditionList", to=["face", "plac"]), "Conditions", "mean 'place'?"),
        (changed(*FIRST, "Remark", to="x"), "Contrasts[0]", "remove it"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, content, place, word):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_contrast_file(path)
    said = str(caught.value)
    assert str(path) in said and word in said
    assert place is None or f"place:    {place}" in said
    assert place is None or caught.value.parts["remedy"]


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingInputError, match="nothing.json"):
        read_contrast_file(tmp_path / "nothing.json")


names = st.text(string.ascii_letters + ". /\0<ä", max_size=6)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["Name", "Conditions", "Contrasts", "ConditionList", "Weights", "Test",
                         "Events", "Stimuli", "Folder"]) | names,
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    conditions=st.dictionaries(names, anything, max_size=3) | anything,
    contrasts=st.lists(
        st.fixed_dictionaries(
            {"Name": names | anything, "ConditionList": st.lists(names, max_size=3) | anything,
             "Weights": st.lists(st.floats() | st.integers() | names, max_size=3) | anything}
        ) | anything,
        max_size=3,
    ) | anything,
)  # fmt: skip
def test_whatever_is_in_it_ends_in_contrasts_or_in_an_error_of_ours(
    tmp_path, conditions, contrasts
):
    path = write(tmp_path, {"Conditions": conditions, "Contrasts": contrasts})
    try:
        found = read_contrast_file(path)
    except BidsEncoderError as error:
        assert str(path) in str(error)
        return
    for one in found.contrasts:
        assert sum(one.weights.values()) == pytest.approx(0, abs=1e-5 * max(one.weights.values()))
        assert set(one.weights) <= set(found.conditions)
        assert min(one.weights.values()) < 0 < max(one.weights.values())
