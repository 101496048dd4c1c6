"""Every option with values that nobody means: a sentence, and never the code of a bug."""

from __future__ import annotations

import dataclasses

import pytest
from tiny_dataset import run_app, write_tiny

from bids_encoder.app import cli
from bids_encoder.config.settings import SECTIONS
from bids_encoder.errors import BidsEncoderError

ABSURD = (
    "", " ", "nan", "inf", "-inf", "1e308", "1e-320", "-1", "0", "1000000000000", "9" * 5000,
    "a" * 300, "a" * 5000, "a/" * 3000, "a\0b", "\udcff", "\u202e💀", "..", "/dev/null",
    "/dev/zero", "~nobody", "a=b", "a=" + "9" * 5000, "[", "{0}", "%s", "\n",
)  # fmt: skip
MANY = [str(k % 10) for k in range(1000)]
REFUSED = {0, 1, 2, 16, 18, 65, 66, 73}
# Values at which these begin what takes time or leaves the process: no dry run of them.
FLAGS = [
    ((item.metadata["flags"] or (f"--{item.name.replace('_', '-')}",))[-1], item.metadata)
    for kind in SECTIONS.values()
    for item in dataclasses.fields(kind)
    if "action" not in item.metadata["keywords"]
]
NAMES = [flag for flag, _ in FLAGS] + ["--config-file"]
SEVERAL = [flag for flag, about in FLAGS if "nargs" in about["keywords"]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def parsed(arguments):
    """Code with which the arguments end before anything is read; None where they are taken."""
    try:
        cli.parse([str(argument) for argument in arguments])
    except BidsEncoderError as error:
        assert len(str(error)) < 8000
        return error.exit_code
    except SystemExit as end:
        return end.code
    return None


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in a folder of the test's own: some values are paths that can be made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize("flag", NAMES)
def test_reading_an_option(flag, tiny, tmp_path, capsys):
    for value in ABSURD:
        code = parsed([tiny.bids, tmp_path / "out", "participant", f"{flag}={value}"])
        assert code is None or code in REFUSED, (value[:50], code)


def test_folders_that_cannot_be(tiny, tmp_path):
    for value in ABSURD[1:]:
        for place in ([value, tmp_path / "out"], [tiny.bids, value]):
            code = parsed([*place, "participant"])
            assert code is None or code in REFUSED, (value[:50], code)


def dry(tiny, tmp_path, *options):
    found = run_app(
        tiny.bids, tmp_path / "out", "participant", "--participant-label", "01",
        "-w", tmp_path / "work", "--features", tiny.features, "--dry-run",
        "--skip-bids-validation", *options,
    )  # fmt: skip
    assert found.code in REFUSED, (options, found.code, found.said[-2000:])
    assert "Traceback" not in found.said and "a bug of this program" not in found.said
    assert len(found.said) < 20_000


# One value of each kind, of those that reading lets through for the most options.
@pytest.mark.parametrize("flag", NAMES)
@pytest.mark.parametrize("value", ["a" * 255])
def test_planning_with_an_option(flag, value, tiny, tmp_path):
    dry(tiny, tmp_path, f"{flag}={value}")


@pytest.mark.parametrize("flag", SEVERAL)
def test_planning_with_a_thousand_values(flag, tiny, tmp_path):
    dry(tiny, tmp_path, flag, *MANY)


@pytest.mark.slow
@pytest.mark.parametrize("flag", NAMES)
def test_planning_with_an_option_thoroughly(flag, tiny, tmp_path):
    for value in ABSURD:
        options = [f"{flag}={value}"]
        if parsed([tiny.bids, tmp_path / "out", "participant", *options]) is None:
            dry(tiny, tmp_path, *options)


@pytest.mark.parametrize(
    "line",
    [
        "high_pass = 1e308", "high_pass = inf", "high_pass = -nan", f"high_pass = {10**400}",
        "skip_volumes = 1000000000000", f"skip_volumes = {'9' * 5000}", "skip_volumes = 1.5",
        'delays = ["1e308"]', "delays = " + str([1] * 1000), "hrf = 'spm\\u0000'",
        'hrf = "a\\u0000"', f"confounds = '{'a' * 5000}'", "delays = " + "[" * 2000 + "]" * 2000,
    ],
)  # fmt: skip
def test_a_configuration_file_with_absurd_values(line, tiny, tmp_path):
    path = tmp_path / "options.toml"
    path.write_text(f"[responses]\n{line}\n")
    code = parsed([tiny.bids, tmp_path / "out", "participant", "--config-file", path])
    assert code in {2, 65}
