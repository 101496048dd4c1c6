"""What all tests share: the BIDS validator, and a browser without a screen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def extended_schema() -> dict:
    """The BIDS schema with what our file names need beyond it.

    The standard has no ``stat`` and ``contrast`` entities yet, none of our
    suffixes, and no figures, logs or pages among derivatives.
    """
    packaged = resources.files("bidsschematools") / "data" / "schema.json"
    schema = json.loads(packaged.read_text("utf-8"))
    objects, rules = schema["objects"], schema["rules"]
    for name in ("contrast", "stat"):
        objects["entities"][name] = {
            "name": name,
            "display_name": name,
            "description": name,
            "type": "string",
            "format": "label",
        }
        rules["entities"].insert(rules["entities"].index("description"), name)
    for suffix in (
        "statmap",
        "fingerprint",
        "scores",
        "groupscores",
        "hrf",
        "weights",
        "smoothness",
        "chance",
        "matched",
        "similarity",
        "similarities",
        "neighbours",
        "groupsimilarity",
        "precisionrecall",
        "boldref",
    ):
        objects["suffixes"][suffix] = {
            "value": suffix,
            "display_name": suffix,
            "description": suffix,
        }
    objects["extensions"]["h5"] = {"value": ".h5", "display_name": "HDF5", "description": "HDF5"}
    surfaces = [".func.gii", ".label.gii", ".dscalar.nii", ".dlabel.nii"]
    for extension in surfaces:
        known = {one["value"] for one in objects["extensions"].values()}
        if extension not in known:
            objects["extensions"][extension.strip(".").replace(".", "")] = {
                "value": extension,
                "display_name": extension,
                "description": extension,
            }
    for name, rule in rules["files"]["deriv"]["imaging"].items():
        if name.startswith(("func_mask", "func_discrete")):
            rule["extensions"] += surfaces
            rule["entities"] |= {"hemisphere": "optional", "density": "optional"}
    ours = {
        "statmap": (["statmap"], [".nii.gz", ".tsv", ".json", *surfaces], ["contrast", "stat"]),
        "table": (
            [
                *("fingerprint", "groupfingerprint", "scores", "groupscores", "smoothness"),
                *("chance", "matched"),
                *("similarity", "neighbours", "groupsimilarity", "precisionrecall"),
            ],
            [".tsv", ".json"],
            ["atlas", "contrast"],
        ),
        "weights": (["weights", "similarities", "hrf"], [".h5", ".json"], ["atlas"]),
        "agreement": (["dseg"], [".nii.gz", ".tsv", ".json", *surfaces], ["contrast"]),
        "boldref": (["boldref"], [".nii.gz", ".json", *surfaces], []),
    }
    common = {"task": "required", "space": "optional", "resolution": "optional"}
    common |= {"description": "required", "hemisphere": "optional", "density": "optional"}
    places = {
        "participant": ({"subject": "required"}, ["func"]),
        "group": ({"template": "required"}, ["func"]),
        "dataset": ({}, None),
    }
    for name, (suffixes, extensions, entities) in ours.items():
        for place, (where, datatypes) in places.items():
            rule = {
                "suffixes": suffixes,
                "extensions": extensions,
                "entities": where | common | dict.fromkeys(entities, "optional"),
            }
            if datatypes:
                rule["datatypes"] = datatypes
            rules["files"]["deriv"]["imaging"][f"ours_{name}_{place}"] = rule
    return schema


@pytest.fixture(scope="session")
def extended_schema_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "schema.json"
    path.write_text(json.dumps(extended_schema()))
    return path


@pytest.fixture(scope="session")
def validate_bids():
    """Run the BIDS validator: ``validate_bids(folder, schema=None) -> list of issues``.

    Each issue is a dict with ``code``, ``severity`` ("error" or "warning") and
    mostly ``location``. Nothing is fetched: ``schema`` is a file.
    """
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed")

    def validate(folder: Path, schema: Path | None = None) -> list[dict]:
        command = [VALIDATOR, folder, "--format", "json"]
        if schema is not None:
            command += ["--schema", schema.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        return json.loads(done.stdout)["issues"]["issues"]

    return validate


@pytest.fixture(scope="module")
def browser():
    """Chromium, told to reach for nothing; what its console says can be read."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(argument)
    driven = webdriver.Chrome(options=options, service=Service(driver))
    yield driven
    driven.quit()
