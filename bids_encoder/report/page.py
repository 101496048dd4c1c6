"""One self-contained HTML page out of sections of text, tables and figures."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.report import viewer


@dataclass(frozen=True)
class Table:
    """A small table; all columns but the first hold numbers.

    Where there are `links`, one a row, the first column leads to other pages beside this one;
    an empty one leads nowhere.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A PNG file that goes into the page, with its caption."""

    title: str
    path: Path
    caption: str

    @property
    def alt(self) -> str:
        """What is seen, in words: the file's own description; see :func:`figures.save`."""
        from PIL import Image

        with Image.open(self.path) as picture:
            return picture.info.get("Description") or "described by its caption"

    @property
    def data(self) -> str:
        """The file in base64."""
        return base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class Section:
    """A part of the page, in the order in which it is shown."""

    title: str
    anchor: str
    paragraphs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    details: tuple[tuple[str, str], ...] = ()  # title and text of what is folded away
    viewer: str = ""  # what the interactive view shows, as JSON


def without_negative_zero(text: str) -> str:
    """Write a number that was rounded to zero without a sign: "-0.00" becomes "0.00"."""
    return re.sub(r"(?<![\w.+-])[-−](0(?:\.0+)?)(?![\w.])", r"\1", str(text))


def render(title: str, subtitle: str, sections: list[Section]) -> str:
    """Make the page; it needs no other file, and may not reach for any."""
    import jinja2

    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["signed"] = without_negative_zero
    page = environment.from_string(template)
    has_viewer = any(section.viewer for section in sections)
    return page.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        niivue=viewer.niivue() if has_viewer else "",
        viewer_program=viewer.program() if has_viewer else "",
    )
