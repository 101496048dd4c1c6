"""Reading back what was written: the finished analyses of a derivatives dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel

from bids_encoder.bids import outputs
from bids_encoder.bids.names import parse_name
from bids_encoder.bids.sidecars import read_json
from bids_encoder.errors import DataError

if TYPE_CHECKING:
    import pandas

_ENTITIES = ("sub", "task", "space", "res")


@dataclass(frozen=True)
class Written:
    """One finished analysis as it lies in the output folder.

    Attributes
    ----------
    root : Path
        The derivatives dataset.
    names : dict of str to str or None
        What the names of its files are made of.
    sidecar : dict
        Of its table of scores: design, runs, layers, settings, warnings.
    """

    root: Path
    names: dict[str, str | None]
    sidecar: dict

    @property
    def layers(self) -> list[str]:
        """Names of the layers, from shallow to deep."""
        return self.sidecar["Layers"]

    def path(self, kind: str, layer: str | None = None) -> Path:
        """Where one of its files lies."""
        return outputs.output_path(self.root, kind, {**self.names, "layer": layer})

    def image(self, kind: str, layer: str | None = None) -> nibabel.Nifti1Image:
        """Open one of its maps.

        Raises
        ------
        DataError
            It is missing, or not an image.
        """
        path = self.path(kind, layer)
        try:
            return nibabel.load(path)
        except (OSError, nibabel.filebasedimages.ImageFileError) as error:
            raise DataError(
                "A map that an earlier run wrote cannot be read.",
                file=path,
                found=str(error),
                remedy="remove the folder of this participant and run it again",
            ) from None

    def table(self) -> pandas.DataFrame:
        """Read its table of scores."""
        import pandas

        return pandas.read_table(self.path("scores"))


def find_analyses(root: Path, participants: Sequence[str] | None = None) -> list[Written]:
    """Find the finished analyses, in the order of their names.

    Parameters
    ----------
    root : Path
        The derivatives dataset.
    participants : sequence of str, optional
        Labels without ``sub-``; default: all that are there.
    """
    folders = (
        sorted(root.glob("sub-*"))
        if participants is None
        else [root / f"sub-{participant}" for participant in participants]
    )
    found = []
    for folder in folders:
        for path in sorted((folder / "func").glob("*_scores.json")):
            sidecar = read_json(path)
            lacking = [key for key in ("Network", "Layers") if key not in sidecar]
            if lacking:
                raise DataError(
                    "A sidecar in the output folder is not as this program writes it.",
                    file=path,
                    expected=f"the keys {' and '.join(lacking)}",
                    remedy="remove the file and run the participant again",
                )
            entities = parse_name(path).entities
            names = {key: entities.get(key) for key in _ENTITIES}
            found.append(Written(root, {**names, "network": sidecar["Network"]}, sidecar))
    return found
