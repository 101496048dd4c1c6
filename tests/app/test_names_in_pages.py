"""Names out of a dataset reach the pages as text, whatever they look like."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from tiny_contrasts import CONTRASTS, prepare
from tiny_dataset import SHAPE, brain, run_app, write_bold

SWALLOW = "<!--<script>"
END = "</script><img src=x onerror=window.pwned=1>"
QUOTE = '" onmouseover="window.pwned=1" x=\''
MATH = "$\\frac{1}^{_"
IMAGE = "<img src=x onerror=window.pwned=1>"


@pytest.fixture(scope="module")
def pages(pristine, tmp_path_factory):
    """The pages of participant and group, of a dataset all of whose names are evil."""
    folder = tmp_path_factory.mktemp("names")
    tiny = prepare(pristine, folder / "data")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 1:4], labels[5:7, 2:6, 1:4], labels[4, 2:6, 1:4] = 1, 2, 3
    write_bold(tiny.folder / "atlas.nii.gz", labels * brain().astype(np.uint8))
    (tiny.folder / "atlas.tsv").write_text(f"index\tname\n1\t{SWALLOW}\n2\t{END}\n3\t{MATH}\n")
    with h5py.File(tiny.features, "r+") as file:
        layers = [f"early{IMAGE}", f"mid\u2028dle{SWALLOW}", f"la$te_{{{QUOTE}"]
        for old, new in zip(("early", "middle", "late"), layers, strict=True):
            file.move(old, new)
        file.attrs["layers"] = layers
        stimuli = [name.decode() for name in file["stimuli"]]
        evil = f"set0/{IMAGE}.png"
        (tiny.bids / "stimuli" / stimuli[0]).rename(tiny.bids / "stimuli" / evil)
        del file["stimuli"]
        file["stimuli"] = [evil, *stimuli[1:]]
    for events in tiny.bids.rglob("*_events.tsv"):
        events.write_text(events.read_text().replace(stimuli[0], evil))
    about = tiny.bids / "dataset_description.json"
    authors = {"Name": END, "Authors": [IMAGE, QUOTE], "DatasetDOI": END}
    about.write_text(json.dumps({**json.loads(about.read_text()), **authors}))
    contrasts = json.loads(json.dumps(CONTRASTS).replace("some a", f"some {SWALLOW}"))
    contrasts["Contrasts"] = [{**contrasts["Contrasts"][1], "Name": f"evil {END}"}]
    (tiny.folder / "contrasts.json").write_text(json.dumps(contrasts))
    out = folder / "out"
    end = run_app(
        tiny.bids, out, "participant", "--participant-label", "01", "--skip-bids-validation",
        "--features", tiny.features, "--atlas", tiny.folder / "atlas.nii.gz",
        "--synthesize", tiny.folder / "contrasts.json",
    )  # fmt: skip
    assert end.code == 0
    assert run_app(tiny.bids, out, "group", "--skip-bids-validation").code == 0
    return out, layers


@pytest.mark.parametrize("name", ["sub-01.html", "group.html"])
def test_no_name_runs_a_script_or_swallows_the_page(pages, name, browser):
    out, layers = pages
    text = (out / name).read_text(encoding="utf-8")
    browser.get((out / name).as_uri())
    browser.execute_async_script(
        """
        const done = arguments[0], view = document.querySelector(".viewer");
        const wait = () => !view || view.matches(".ready, .failed") ? done() : setTimeout(wait, 50);
        wait();
        """
    )
    for one in browser.find_elements("css selector", "h2, h3, td, dd, img, summary"):
        browser.execute_script(
            "arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))", one
        )
    seen = browser.execute_script(
        """
        const handlers = [...document.querySelectorAll("*")].filter((one) =>
          [...one.attributes].some(({ name }) => name.startsWith("on")));
        return [window.pwned ?? null, handlers.length, document.querySelectorAll("main").length,
                document.querySelectorAll("h2").length, document.querySelectorAll("figure").length,
                [...document.querySelectorAll("td")].map((one) => one.textContent)];
        """
    )
    pwned, handlers, mains, headings, n_figures, cells = seen
    assert pwned is None and handlers == 0 and mains == 1
    assert headings == text.count("<h2 ") and n_figures == text.count("<figure>")
    assert headings >= (3 if name.startswith("sub") else 1)
    severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not severe
    if name.startswith("sub"):
        # Tables hold a line's end as a space.
        assert {one.replace("\u2028", " ") for one in layers} <= set(cells)
        assert browser.find_elements("css selector", ".viewer.ready")
        facts = [one.text for one in browser.find_elements("css selector", ".viewer dd")]
        assert {SWALLOW, END, MATH, "none"} & set(facts)
        named = [
            one.get_attribute("data-score")
            for one in browser.find_elements("css selector", ".viewer [data-score]")
        ]
        assert named == layers
