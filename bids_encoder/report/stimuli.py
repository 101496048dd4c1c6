"""A sheet of what was shown, pictures and frames of films, drawn while it is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from bids_encoder import __version__
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.provenance import content_stamp
from bids_encoder.report import figures
from bids_encoder.report.page import Figure
from bids_encoder.stimuli.files import digest_file
from bids_encoder.stimuli.segments import Segment, pictures_of

MOST = 24
_COLUMNS = 8


def write_stimuli_figure(
    root: Path,
    names: Mapping[str, str | None],
    stimuli: Mapping[str, Path | Segment],
    read: Callable[..., list[np.ndarray]] = pictures_of,
) -> None:
    """Draw some of the stimuli, spread evenly over all of them by name.

    A sheet of the same stimuli that is whole stays as it is.

    Parameters
    ----------
    root : Path
        The derivatives dataset.
    names : mapping
        What the names of the analysis' files are made of.
    stimuli : mapping of id to Path or Segment
        Of a film, or a stretch of one, the frame in the middle is drawn.
    read : function as :func:`bids_encoder.stimuli.segments.pictures_of`
    """
    path = _path(root, names)
    if not stimuli:
        return
    ids = sorted(stimuli)
    chosen = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, MOST).round().astype(int))]
    of = content_stamp([__version__, [(one, _digest(stimuli[one])) for one in chosen]])
    if figures.about(path).get("Comment") != of:
        figures.save(draw(chosen, read([stimuli[one] for one in chosen], _small)), path, of)


def _digest(stimulus: Path | Segment) -> str:
    return stimulus.digest if isinstance(stimulus, Segment) else digest_file(stimulus)


def stimuli_figure(root: Path, names: Mapping[str, str | None], number: int) -> tuple[Figure, ...]:
    """The sheet for the page, where there is one; `number`: of all stimuli."""
    path = _path(root, names)
    if not path.exists():
        return ()
    shown = f"{MOST} of {number} stimuli" if number > MOST else "All stimuli"
    return (
        Figure("What was shown", figures.checked(path), f"{shown}, in the order of their names."),
    )


def draw(ids: Sequence[str], pictures: Sequence[np.ndarray]) -> plt.Figure:
    """Draw pictures in rows, each with the end of its name."""
    rows = -(-len(ids) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(11, 1.55 * rows), layout="constrained", squeeze=False
    )
    for one in axes.flat:
        one.set_axis_off()
    for one, name, picture in zip(axes.flat, ids, pictures, strict=False):
        one.imshow(picture)
        short = name.rpartition("/")[2]
        one.set_title(
            short if len(short) <= 20 else f"…{short[-19:]}", fontsize=6.5, color=figures.INK
        )
    return figure


def _small(picture: np.ndarray) -> np.ndarray:
    step = max(1, max(picture.shape[:2]) // 200)
    return picture[::step, ::step].copy()


def _path(root: Path, names: Mapping[str, str | None]) -> Path:
    return file_names.output_path(root, "figure", {**names, "layer": "stimuli"})
