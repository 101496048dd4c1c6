"""Events tables, label tables and confounds as nobody meant them."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from mangle import NASTY_TEXT, TEXTS, damaged, folder, outcome, twice

from bids_encoder.bids.events import read_presentations
from bids_encoder.bids.tables import read_table
from bids_encoder.regions.label_tables import read_labels
from bids_encoder.simulations.category_pictures import read_picture_table

NAMES = ("onset", "duration", "stim_file", "trial_type")
GOOD = (
    b"onset\tduration\ttrial_type\tstim_file\n"
    b"0\t1\tface\ta.png\n2.5\t1\tn/a\tn/a\n5\tn/a\thouse\tsub/b.png\n"
)


@st.composite
def tables(draw) -> bytes:
    """Well-formed on the whole, with values that are not."""
    header = draw(st.permutations(NAMES)) + draw(st.lists(TEXTS, max_size=1))
    good = st.sampled_from(["0", "1.5", "a.png", "sub/b.png", "n/a"])
    cells = st.one_of(good, good, NASTY_TEXT, TEXTS)
    rows = draw(st.lists(st.lists(cells, min_size=3, max_size=5), max_size=5))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join("\t".join(row) for row in [header, *rows]) + end
    return text.encode(
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])), "replace"
    )


def events(content: bytes) -> None:
    with folder() as place:
        (place / "stimuli" / "sub").mkdir(parents=True)
        for name in ("a.png", "sub/b.png"):
            (place / "stimuli" / name).write_bytes(b"picture")
        path = place / "sub-01_task-x_events.tsv"
        path.write_bytes(content)
        found = outcome(read_presentations, [path], dataset_root=place, names=path.name)
        if found is None:
            return
        shown, files = found
        for one in shown.get(path, ()):
            assert math.isfinite(one.onset) and math.isfinite(one.duration) and one.duration >= 0
            assert files[one.stimulus].resolve().is_relative_to(place / "stimuli")
        assert [one.onset for one in shown.get(path, ())] == sorted(
            one.onset for one in shown.get(path, ())
        )


test_events, test_events_thoroughly = twice(events, st.one_of(tables(), damaged(GOOD)), 80)


def columns(content: bytes) -> None:
    with folder() as place:
        path = place / "sub-01_desc-confounds_timeseries.tsv"
        path.write_bytes(content)
        table = outcome(read_table, path, names=path.name)
        if table is not None:
            assert table.columns.is_unique and len(table.columns)
            assert all(isinstance(cell, str) for row in table.to_numpy() for cell in row)
            assert table.index.is_monotonic_increasing


test_tables, test_tables_thoroughly = twice(columns, st.one_of(tables(), st.binary(max_size=60)))

LABELS = {
    ".tsv": b"index\tname\n1\tV1\n2\tV2\n",
    ".csv": b"index,name\n1,V1\n2,V2\n",
    ".txt": b"1 V1 0 0 0 0\n2 V2 0 0 0 0\n",
    ".xml": b"<atlas><header><type>Label</type></header><data><label index='0'>V1</label></data>"
    b"</atlas>",
}
BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10 if i else b"&a;" * 10)
               for i in range(9))
    + b"]><atlas><data><label index='0'>&a8;</label></data></atlas>"
)  # fmt: skip


@st.composite
def label_tables(draw) -> tuple[str, bytes]:
    extension = draw(st.sampled_from(sorted(LABELS)))
    random = st.lists(TEXTS, max_size=6).map(
        lambda words: ",\n".join(words).encode("utf-8", "replace")
    )
    return extension, draw(st.one_of(damaged(LABELS[extension]), random, st.just(BOMB)))


def labels(made: tuple[str, bytes]) -> None:
    extension, content = made
    with folder() as place:
        path = place / f"atlas_dseg{extension}"
        path.write_bytes(content)
        found = outcome(read_labels, path, names=path.name)
        if found is not None:
            assert all(number >= 0 and isinstance(name, str) for number, name in found.items())
            assert len(set(found.values())) == len(found)
            assert sum(map(len, found.values())) < 1_000_000


test_labels, test_labels_thoroughly = twice(labels, label_tables(), 60)

PICTURES = b"picture\tsubordinate\tbasic\tsuperordinate\n" + b"".join(
    b"%s.png\t%s\tdog\tanimal\n" % (name, name[:1]) for name in (b"a1", b"a2", b"b1", b"b2")
)


def picture_tables(content: bytes) -> None:
    with folder() as place:
        for name in ("a1", "a2", "b1", "b2"):
            (place / f"{name}.png").write_bytes(b"picture")
        path = place / "pictures.tsv"
        path.write_bytes(content)
        outcome(read_picture_table, path, names=path.name)


test_pictures, test_pictures_thoroughly = twice(
    picture_tables, st.one_of(damaged(PICTURES), tables()), 30
)
