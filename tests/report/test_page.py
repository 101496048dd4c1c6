"""The frame of a page."""

import re

from bids_encoder.report.page import Section, Table, render


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
