"""Vertices of one or two hemispheres, each in GIFTI files of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import nibabel
import numpy as np
from nibabel.gifti import (
    GiftiDataArray,
    GiftiImage,
    GiftiLabel,
    GiftiLabelTable,
    GiftiMetaData,
)

from bids_encoder.grids.grid import Grid, Meaning
from bids_encoder.grids.structures import HEMISPHERES, CortexVertices, PartsGrid

_SIDES = {"L": "CortexLeft", "R": "CortexRight"}


@dataclass(frozen=True, eq=False)
class SurfaceGrid(PartsGrid):
    """Vertices of the left hemisphere, then of the right one."""

    parts: tuple[CortexVertices, ...]
    form = "gifti"

    @classmethod
    def of(cls, inside: Mapping[str, np.ndarray]) -> SurfaceGrid:
        """From which vertices are inside, (n_vertices,) bool by hemisphere: "L", "R"."""
        return cls(
            tuple(
                CortexVertices(HEMISPHERES[side], len(inside[side]), np.flatnonzero(inside[side]))
                for side in sorted(inside)
            )
        )

    def images(self, values: np.ndarray, fill: float, meaning: Meaning) -> dict:
        """Make one GIFTI image a hemisphere, with a value for each vertex of its mesh."""
        made = {}
        for side, (sheet, where) in self.sheets.items():
            whole = np.full(sheet.n_vertices, fill, values.dtype)
            whole[sheet.vertices] = values[where]
            made[side] = _gifti(whole, side, meaning)
        return made

    def series(self, maps: np.ndarray, titles: Sequence[str], meaning: Meaning) -> dict:
        """Make one GIFTI image a hemisphere, with a data array for each map."""
        made: dict = {}
        for values, title in zip(maps, titles, strict=True):
            one = self.images(values, np.nan, replace(meaning, name=title))
            for side, image in one.items():
                made.setdefault(side, image)
                if made[side] is not image:
                    made[side].add_gifti_data_array(image.darrays[0])
        return made

    def values_of(self, images: Mapping) -> np.ndarray:
        return np.concatenate(
            [
                images[side].darrays[0].data[sheet.vertices]
                for side, (sheet, _) in self.sheets.items()
            ]
        )

    def same_frame(self, other: Grid) -> bool:
        if not isinstance(other, SurfaceGrid):
            return False
        return [(part.name, part.n_vertices) for part in self.parts] == [
            (part.name, part.n_vertices) for part in other.parts
        ]

    def frame_in_words(self) -> str:
        words = [f"{sheet.n_vertices} vertices (hemi-{side})" for side, (sheet, _) in
                 self.sheets.items()]  # fmt: skip
        return ", ".join(words)

    def restricted(self, keep: np.ndarray) -> SurfaceGrid:
        pairs = zip(self.parts, self.slices(), strict=True)
        return replace(self, parts=tuple(sheet.restricted(keep[where]) for sheet, where in pairs))


def surface_frame(images: Mapping[str, GiftiImage]) -> SurfaceGrid:
    """All vertices that the images of a map have."""
    return SurfaceGrid.of(
        {side: np.ones(len(image.darrays[0].data), bool) for side, image in images.items()}
    )


def _gifti(values: np.ndarray, side: str, meaning: Meaning) -> GiftiImage:
    # The format knows 32-bit numbers; labels are keys of a table.
    values = values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
    array = GiftiDataArray(
        values, intent=nibabel.nifti1.intent_codes.code[meaning.intent], datatype=values.dtype,
        meta=GiftiMetaData(Name=meaning.name) if meaning.name else None,
    )  # fmt: skip
    table = GiftiLabelTable()
    if meaning.labels:
        table.labels = [_label(0, "???", (0, 0, 0, 0))] + [
            _label(key, name, (*rgb_of(color), 1.0))
            for key, (name, color) in enumerate(meaning.labels, start=1)
        ]
    meta = GiftiMetaData(AnatomicalStructurePrimary=_SIDES[side])
    return GiftiImage(meta=meta, labeltable=table, darrays=[array])


def _label(key: int, name: str, rgba: tuple[float, ...]) -> GiftiLabel:
    label = GiftiLabel(key, *rgba)
    label.label = name  # type: ignore[attr-defined]  # nibabel declares no types of its labels
    return label


def rgb_of(color: str) -> tuple[float, float, float]:
    """``"#ff0000"`` -> (1.0, 0.0, 0.0)."""
    red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue
