"""The frame of a page."""

import json
import re

import pytest

from bids_encoder.report import figures
from bids_encoder.report.packing import script_json
from bids_encoder.report.page import Figure, Section, Table, render, without_negative_zero


def _page(**section) -> str:
    return render("sub-01", "", [Section("A", "a", **section)])


def test_rows_of_a_table_lead_to_other_pages_where_there_are_some():
    rows = (("sub-01", "1"), ("sub-02", "2"))
    page = _page(tables=(Table("People", ("who", "n"), rows, ("sub-01.html", "")),))
    assert re.findall(r"<a href=\"(sub[^\"]*)\">([^<]*)", page) == [("sub-01.html", "sub-01")]
    assert "<td>sub-02</td>" in page


def test_what_files_say_is_not_taken_for_html():
    page = _page(
        paragraphs=("<script>alert(1)</script>",),
        warnings=("<b>x</b>",),
        details=(("Crash <i>", "</pre><img src=x>"),),
    )
    for raw in ("<script>alert", "<b>x", "Crash <i>", "</pre><img"):
        assert raw not in page


def test_a_page_may_reach_for_nothing():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', _page()).group(1)
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy and "*" not in policy


def test_a_page_without_view_carries_no_viewer():
    assert "niivue" not in _page()


EVIL = '<!--<script>window.pwned=1</script>\u2028<img src=x onerror=window.pwned=1>" onclick="x'


def test_evil_text_in_every_part_of_a_page_stays_text(browser, tmp_path):
    figures.save(figures.plt.figure(label=EVIL), tmp_path / "x.png")
    view = script_json({"kind": EVIL, "layers": [EVIL]})
    section = Section(
        EVIL, "a", (EVIL,), (EVIL,),
        (Table(EVIL, (EVIL, EVIL), ((EVIL, EVIL),), (EVIL,)),),
        (Figure(EVIL, tmp_path / "x.png", EVIL),), ((EVIL, EVIL),), view,
    )  # fmt: skip
    path = tmp_path / "page.html"
    path.write_text(render(EVIL, EVIL, [section, Section("Last", "last")]), encoding="utf-8")
    browser.get(path.as_uri())
    seen = browser.execute_script(
        """
        const text = (name) => document.querySelector(name).textContent;
        return [window.pwned ?? null, text("h1"), text("h2"), text("th"), text("td a"),
                text("figcaption"), text("summary"), text("pre"), text(".warning[class]"),
                document.querySelector("img").alt, [...document.querySelectorAll("h2")].length,
                JSON.parse(text("script[type='application/json']")).layers[0]];
        """
    )
    assert seen[0] is None and seen[10] == 2
    assert set(seen[1:10] + seen[11:]) == {EVIL}


@pytest.mark.parametrize("name", ["<!--<script>", "</script>", "a\u2028b\u2029", "&lt;", "]]>"])
def test_names_in_embedded_json_come_back_and_cannot_be_html(name):
    text = script_json({"name": name, name: 1})
    assert json.loads(text) == {"name": name, name: 1}
    assert not set("<>&\u2028\u2029") & set(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("-0.000", "0.000"), ("−0.0", "0.0"), ("from -0.00 to -0.01", "from 0.00 to -0.01"),
     ("-0.0001", "-0.0001"), ("run-0", "run-0"), ("1e-0", "1e-0"), ("-05", "-05")],
)  # fmt: skip
def test_there_is_no_negative_zero(text, shown):
    assert without_negative_zero(text) == shown
    page = _page(paragraphs=(text,), tables=(Table("T", ("a", "b"), (("x", text),)),))
    assert page.count(f">{shown}<") == 2
