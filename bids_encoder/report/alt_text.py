"""What a figure shows, in words: for those who hear the page instead of seeing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 900  # characters
_MANY = 6  # lines, rows or bars that are named one by one


def of_maps(
    rows: Sequence[tuple[str, np.ndarray]],
    views: Sequence[str],
    names: Mapping[int, str] | None = None,
) -> str:
    """Say how much is drawn of each map, and from where to where its values go.

    Parameters
    ----------
    rows : sequence of (title, array)
        NaN is not drawn.
    views : sequence of str
        What stands above the slices, or from where a surface is seen.
    names : mapping of int to str, optional
        Of the values, where these are labels.
    """
    many = "slices" if views and "=" in views[0] else "views"
    where = f"{len(views)} {many}, {views[0]} to {views[-1]}" if views else "no views"
    said = [_row(title.replace("\n", " "), values, names) for title, values in rows]
    return _short([f"Brain maps in {len(rows)} row{'s' * (len(rows) != 1)} of {where}.", *said])


def _row(title: str, values: np.ndarray, names: Mapping[int, str] | None) -> str:
    drawn = values[np.isfinite(values)]
    if not drawn.size:
        return f"{title}: nothing is drawn."
    if names:
        counts = [f"{name} {np.count_nonzero(drawn == value)}" for value, name in names.items()]
        return f"{title}, number of places: {', '.join(counts)}."
    low, middle, high = (_number(one) for one in np.quantile(drawn, (0, 0.5, 1)))
    return f"{title}: {drawn.size} places drawn, {low} to {high}, median {middle}."


def of_plots(figure: Figure) -> str:
    """Say what the axes of a figure hold: lines, bars and pictures, with their extremes."""
    figure.canvas.draw()  # so that ticks have their texts
    said = [_axes(one) for one in figure.axes if one.axison or one.images]
    return _short([one for one in said if one])


def _axes(axes: Axes) -> str:
    title = axes.get_title().replace("\n", ", ")
    across, up = axes.get_xlabel(), axes.get_ylabel()
    name = ", ".join(
        filter(None, (title, f"{up} over {across}" if up and across else up or across))
    )
    if axes.images:
        return f"Picture {name}." if name else ""
    named = [text.get_text() for text in axes.get_xticklabels()]
    # Positions of layers are named; others are numbers.
    names = dict(zip(axes.get_xticks().tolist(), named, strict=False))
    lines = [one for one in axes.lines if _is_curve(one)]
    parts = [_line(str(one.get_label()), *one.get_data(), names) for one in lines[:_MANY]]
    if len(lines) > _MANY:
        parts.append(f"and {len(lines) - _MANY} more lines")
    parts += [_bars(one, names) for one in axes.containers if len(getattr(one, "patches", ())) > 1]
    parts = [one for one in parts if one]
    if not parts:
        return ""
    return f"{name}: {'; '.join(parts)}." if name else f"{'; '.join(parts)}."


def _is_curve(line) -> bool:
    x, y = line.get_data()
    return np.ndim(x) == 1 and len(x) > 2 and np.isfinite(np.asarray(y, float)).any()


def _line(label: str, x, y, names: Mapping[float, str]) -> str:
    x, y = np.asarray(x, float), np.asarray(y, float)
    known = np.flatnonzero(np.isfinite(y))
    top, bottom = known[np.argmax(y[known])], known[np.argmin(y[known])]
    # Labels that begin with "_" are for us; those that matplotlib made up say nothing.
    nameless = not label or label.startswith(("_child", "_nolegend_"))
    who = "line" if nameless else label.lstrip("_")
    return (
        f"{who} highest at {_at(x[top], names)} ({_number(y[top])}), "
        f"lowest at {_at(x[bottom], names)} ({_number(y[bottom])})"
    )


def _bars(container, names: Mapping[float, str]) -> str:
    bars = container.patches
    heights = np.array([bar.get_height() for bar in bars], float)
    if not np.isfinite(heights).any():
        return ""
    top = bars[int(np.nanargmax(heights))]
    where = _at(top.get_x() + top.get_width() / 2, names)
    return f"{len(bars)} bars, highest at {where} ({_number(np.nanmax(heights))})"


def _at(x: float, names: Mapping[float, str]) -> str:
    nearest = min(names, key=lambda one: abs(one - x), default=None)
    if nearest is not None and abs(nearest - x) < 1e-6 and not _is_number(names[nearest]):
        return names[nearest] or _number(x)
    return _number(x)


def _is_number(text: str) -> bool:
    try:
        float(text.replace("−", "-"))
    except ValueError:
        return False
    return True


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value + 0.0:.3g}"


def _short(sentences: Sequence[str]) -> str:
    """As many of the sentences as fit; at least the first."""
    text = ""
    for number, one in enumerate(sentences):
        if number and len(text) + len(one) > _LONGEST:
            return f"{text} And {len(sentences) - number} more."
        text = f"{text} {one}".strip()
    return text[: 2 * _LONGEST]
