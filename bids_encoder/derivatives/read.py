"""Reading back what was written: the finished analyses of a derivatives dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from csv import QUOTE_NONE
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel

from bids_encoder.bids.names import parse_name
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.images import read_images
from bids_encoder.derivatives.seals import read_sidecar, require_whole, sidecar_of
from bids_encoder.errors import DataError
from bids_encoder.grids.frame import grid_of
from bids_encoder.grids.structures import PartsGrid
from bids_encoder.grids.volume import VolumeGrid

if TYPE_CHECKING:
    import pandas

PLACE = ("hemi", "space", "res", "den", "form")  # names that say where values lie
_NAMES = {"region": str, "layer": str}  # columns of words, whatever they look like
ENTITIES = ("sub", "task", "hemi", "space", "res", "den")


@dataclass(frozen=True)
class SavedAnalysis:
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

    @property
    def places(self) -> str:
        """What a place is called that has a value."""
        return places_in_words(self.names.get("form"))

    def path(self, kind: str, layer: str | None = None) -> Path:
        """Where one of its files lies."""
        return file_names.output_path(self.root, kind, {**self.names, "layer": layer})

    def image(self, kind: str, layer: str | None = None) -> nibabel.Nifti1Image:
        """Open one of its maps.

        Raises
        ------
        DataError
            It is missing, or not an image.
        """
        return self.images(kind, layer)[None]

    def images(self, kind: str, layer: str | None = None, **names: str) -> dict:
        """Read one of its maps; see :func:`bids_encoder.derivatives.images.read_images`.

        Raises
        ------
        DataError
            It is missing, damaged, or was made with other settings or data.
        """
        everything = {**self.names, "layer": layer, **names}
        files = file_names.data_files(self.root, kind, everything)
        if not self._is_ours(require_whole(files)):
            raise DataError(
                "A file of this analysis was made with other settings or data.",
                file=next(iter(files.values())),
                found="an AnalysisHash that is not that of the table of scores",
                expected="files that were made together",
                remedy="run the participant level again",
            )
        return read_images(file_names.image_files(self.root, kind, everything))

    def _is_ours(self, side: Mapping) -> bool:
        """Whether a sidecar tells of a file of this analysis, of its data or of its models."""
        ours, settings = self.sidecar.get("SettingsHash"), side.get("Settings") or {}
        data = self.sidecar.get("DataHash", ours)
        return (
            side.get("AnalysisHash") in (ours, data)
            or settings.get("models") == [ours]
            or settings.get("data") == data
            or settings.keys() == {"regions"}  # where they lie: shared by all networks
        )

    def files(self, kind: str, layer: str | None = None) -> dict[str, Path]:
        """Its data files; see :func:`bids_encoder.derivatives.file_names.data_files`."""
        return file_names.data_files(self.root, kind, {**self.names, "layer": layer})

    def grid(self) -> VolumeGrid | PartsGrid:
        """Where its values lie."""
        return grid_of(self.images("mask"))

    def matching_sidecar(self, kind: str, layer: str | None = None) -> dict | None:
        """The sidecar of a file that was made with the same settings, or None.

        An earlier run may have left a file that this one was not asked for.
        """
        names = {**self.names, "layer": layer}
        files = file_names.data_files(self.root, kind, names)
        *_, last = file_names.sidecars(self.root, kind, names)
        if not last.exists():
            return None
        sidecar = require_whole(files)
        return sidecar if self._is_ours(sidecar) else None

    def sidecar_from_models(self, kind: str) -> dict | None:
        """The sidecar of a file that was made with the models of this analysis, or None."""
        side = read_sidecar(file_names.sidecars(self.root, kind, self.names)[-1])
        made_with = (side.get("Settings") or {}).get("models")
        if made_with != [self.sidecar.get("SettingsHash")]:
            return None
        return require_whole(self.files(kind))

    def table(self) -> pandas.DataFrame:
        """Read its table of scores."""
        return read_table(self.path("scores"))

    def unfinished(self, files: Iterable[tuple[str, str | None]] = ()) -> Path | None:
        """The first of its files that is not there, or was made with other settings or data.

        Parameters
        ----------
        files : iterable of (kind, layer)
            Besides the table of scores.

        Raises
        ------
        DataError
            A file that is of this analysis is damaged.
        """
        for kind, layer in (("scores", None), *files):
            path = file_names.sidecars(self.root, kind, {**self.names, "layer": layer})[-1]
            ours = self.files(kind, layer)
            if not path.exists() or not all(one.exists() for one in ours.values()):
                return next(iter(ours.values()))
            if not self._is_ours(require_whole(ours)):
                return next(iter(ours.values()))
        return None

    def fingerprints(self) -> dict[str, Path]:
        """Tables of region fingerprints that were made of these scores, by atlas."""
        ours = {key: value for key, value in self.names.items() if key in ENTITIES and value}
        ours["desc"] = file_names.label(self.names["network"] or "")
        found = {}
        for path in sorted((self.path("scores")).parent.glob("*_fingerprint.tsv")):
            entities = dict(parse_name(path).entities)
            atlas = entities.pop("atlas", None)
            side = read_sidecar(path)
            made_of = (side.get("Settings") or {}).get("scores")
            if atlas and entities == ours and made_of == self.sidecar.get("SettingsHash"):
                found[atlas] = verified(path)
        return found

    def regions(self) -> dict[str, list[str]]:
        """Names of the regions 1, 2, … of each atlas whose label images are there."""
        found = {}
        for atlas, path in self.fingerprints().items():
            names = {**self.names, "atlas": atlas}
            side = read_sidecar(file_names.sidecars(self.root, "regions", names)[-1])
            made_of = (sidecar_of(path).get("Settings") or {}).get("regions")
            same = (side.get("Settings") or {}).get("regions") == made_of
            if same and side:
                require_whole(file_names.data_files(self.root, "regions", names))
                table = file_names.output_path(self.root, "regions", names, ".tsv")
                found[atlas] = read_table_names(table)
        return found

    def of_atlases(self, kind: str) -> dict[str | None, Path]:
        """Files of one kind that were made with the same settings, by atlas.

        None stands for the file that belongs to no atlas.
        """
        ours = {key: value for key, value in self.names.items() if key in ENTITIES and value}
        ours["desc"] = file_names.label(self.names["network"] or "")
        plain = self.path(kind)
        found = {}
        for path in sorted(plain.parent.glob(f"*_{plain.name.rpartition('_')[2]}")):
            entities = dict(parse_name(path).entities)
            atlas = entities.pop("atlas", None)
            if entities == ours and self._is_ours(read_sidecar(path)):
                found[atlas] = verified(path)
        return dict(sorted(found.items(), key=lambda item: item[0] or ""))


def places_in_words(form: str | None) -> str:
    """What a place is called that has a value, in images of a form."""
    return {None: "voxels", "gifti": "vertices", "cifti": "points"}[form]


def read_table(path: Path) -> pandas.DataFrame:
    """Read a table that we wrote; regions and layers may be called NA, 1 or ``"V1``."""
    import pandas

    return pandas.read_table(
        verified(path), na_values=["n/a"], keep_default_na=False, dtype=_NAMES, quoting=QUOTE_NONE
    )


def read_table_names(path: Path) -> list[str]:
    """The column ``name`` of the table beside a label image."""
    import pandas

    table = pandas.read_table(path, dtype=str, keep_default_na=False, quoting=QUOTE_NONE)
    return table["name"].tolist()


def read_fingerprints(path: Path) -> pandas.DataFrame:
    """Read a table of region fingerprints."""
    return read_table(path)


def is_pooled(null: dict | None) -> bool:
    """Whether p-values are of pooled r², as they are where folds are small."""
    return null is not None and "pooled" in null["Statistic"]


def r2_in_words(null: dict | None) -> str:
    """The r² that p-values, thresholds and quantiles of the null are about."""
    return "pooled r²" if is_pooled(null) else "r²"


def verified(path: Path) -> Path:
    """The path of a table, or of an HDF5 file, whose content is what its sidecar says.

    Raises
    ------
    DataError
        It is missing or damaged.
    """
    require_whole({path.name[path.name.index(".") :]: path})
    return path


def find_analyses(root: Path, participants: Sequence[str] | None = None) -> list[SavedAnalysis]:
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
            sidecar = sidecar_of(path)
            if not sidecar:
                raise DataError(
                    "A sidecar in the output folder was damaged, or written by an earlier version.",
                    file=path,
                    found="another checksum than its SidecarChecksum",
                    expected="what this program has written, unchanged",
                    remedy="run the participant level again as it was run before; or remove the "
                    "files of this analysis",
                )
            lacking = [key for key in ("Network", "Layers") if key not in sidecar]
            if lacking:
                raise DataError(
                    "A sidecar in the output folder is not as this program writes it.",
                    file=path,
                    expected=f"the keys {' and '.join(lacking)}",
                    remedy="remove the file and run the participant again",
                )
            entities = parse_name(path).entities
            names = {key: entities.get(key) for key in ENTITIES}
            names |= {"network": sidecar["Network"], "form": sidecar.get("MapFormat")}
            found.append(SavedAnalysis(root, names, sidecar))
    return found
