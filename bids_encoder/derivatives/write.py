"""Writing results: data files, their sidecars, and what is done already.

A data file comes first, its sidecar last. A sidecar therefore means a whole
file, and its ``SettingsHash`` and ``FileChecksums`` tell a second run whether the
work can be skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bids_encoder import __version__
from bids_encoder.bids.checksums import checksums
from bids_encoder.derivatives import atomic, file_names, provenance
from bids_encoder.derivatives.images import read_images
from bids_encoder.derivatives.layer_palette import layer_hex
from bids_encoder.derivatives.seals import is_whole, sealed, sidecar_of
from bids_encoder.grids.frame import grid_of
from bids_encoder.grids.grid import Grid, Meaning
from bids_encoder.grids.structures import HEMISPHERES
from bids_encoder.runtime.console import OF_THIS_RUN

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Analysis:
    """What the files of one analysis have in common.

    Attributes
    ----------
    root : Path
        The derivatives dataset.
    names : mapping of str to str or None
        What their names are made of: ``sub``, ``task``, ``space``, ``res``,
        ``network``..., and ``form``; see :func:`bids_encoder.derivatives.file_names.output_path`.
    settings : mapping
        Every setting that changes the results.
    inputs : mapping of str to str
        BIDS URI of each file that was read, and its stamp.
    of_network : frozenset of str
        Settings that change nothing in files that are of the data alone, such as the mask:
        those of the network and of the models. Analyses of several networks share such files.
    parent : str or None
        Hash of the analysis that these files are a part of, where they depend on more
        settings than the rest of it.
    """

    root: Path
    names: Mapping[str, str | None]
    settings: Mapping[str, object]
    inputs: Mapping[str, str]
    of_network: frozenset[str] = frozenset()
    parent: str | None = None

    @cached_property
    def hash(self) -> str:
        """Changes with the settings, with the inputs, and with our version."""
        return provenance.settings_hash(
            {"settings": self.settings, "inputs": self.inputs, "version": __version__}
        )

    def with_settings(self, **more: object) -> Analysis:
        """The same analysis for files that depend on more settings than the others do."""
        parent = self.parent or self.hash
        return replace(self, settings={**self.settings, **more}, parent=parent)

    @cached_property
    def data(self) -> Analysis:
        """The same analysis for files that are of the data alone, whatever the network."""
        kept = {k: value for k, value in self.settings.items() if k not in self.of_network}
        return replace(self, settings=kept, of_network=frozenset(), parent=None)

    def of_kind(self, kind: str) -> Analysis:
        """This analysis, or the part of it that files of a kind depend on."""
        return self.data if self.of_network and file_names.is_of_data(kind) else self

    def path(self, kind: str, extension: str | None = None, **names: str | None) -> Path:
        """Where a file goes; ``names`` (``layer="conv1"``) add to those of the analysis."""
        return file_names.output_path(self.root, kind, {**self.names, **names}, extension)

    def files(self, kind: str, **names: str | None) -> dict[str, Path]:
        """All data files of a kind; see :func:`bids_encoder.derivatives.file_names.data_files`."""
        return file_names.data_files(self.root, kind, {**self.names, **names})

    def sidecars(self, kind: str, **names: str | None) -> list[Path]:
        """The sidecars of a kind; see :func:`bids_encoder.derivatives.file_names.sidecars`."""
        return file_names.sidecars(self.root, kind, {**self.names, **names})

    def images(self, kind: str, **names: str | None) -> dict[str | None, Path]:
        """The images of a map; see :func:`bids_encoder.derivatives.file_names.image_files`."""
        return file_names.image_files(self.root, kind, {**self.names, **names})


def start_analysis(
    datasets: Mapping[str, Path],
    names: Mapping[str, str | None],
    *,
    settings: Mapping[str, object],
    sources: Iterable[str | Path],
    of_network: Iterable[str] = (),
) -> Analysis:
    """Begin an analysis: take the stamps of the files that it reads.

    Parameters
    ----------
    datasets : mapping of str to Path
        What :func:`bids_encoder.derivatives.dataset_description.init_dataset` gave back.
    names, settings, of_network
        See :class:`Analysis`.
    sources : iterable of path
        Every file that is read: BOLD images first, then events, masks, confounds.

    Raises
    ------
    MissingInputError
        If one cannot be read.
    """
    sources = list(sources)
    uris = provenance.bids_uris(sources, datasets)
    inputs = dict(zip(uris, provenance.file_stamps(sources), strict=True))
    return Analysis(datasets[""], dict(names), dict(settings), inputs, frozenset(of_network))


def is_done(analysis: Analysis, kind: str, **names: str | None) -> bool:
    """Whether a file is there, whole, and made in the way that is asked for now."""
    *others, last = analysis.sidecars(kind, **names)
    sidecar = sidecar_of(last)
    return (
        sidecar.get("SettingsHash") == analysis.of_kind(kind).hash
        and is_whole(analysis.files(kind, **names), sidecar)
        and all(sidecar_of(other) == sidecar for other in others)
    )


def remove_files(analysis: Analysis, kind: str, **names: str | None) -> None:
    """Remove the files of a kind, if they are there; the sidecar, which means done, goes first."""
    paths = [*reversed(analysis.sidecars(kind, **names)), *analysis.files(kind, **names).values()]
    for path in paths:
        atomic.remove(path)


def write_mask(analysis: Analysis, grid: Grid, extra: Mapping[str, object] | None = None) -> Path:
    """Write the analysis mask as 0 and 1 (uint8), in the frame of the grid."""
    return write_places(analysis, "mask", np.ones(grid.n_values, bool), grid, extra)


def write_places(
    analysis: Analysis,
    kind: str,
    where: np.ndarray,
    grid: Grid,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """Write which of the grid's places are meant, (V,) bool, as 0 and 1 (uint8)."""
    return _write_image(analysis, kind, grid, where.astype(np.uint8), 0, extra, {})


def write_statmap(
    analysis: Analysis,
    kind: str,
    values: np.ndarray,
    grid: Grid,
    *,
    dof: float | None = None,
    extra: Mapping[str, object] | None = None,
    **names: str | None,
) -> Path:
    """Write one number a voxel as a float32 image and its sidecar.

    Parameters
    ----------
    analysis : Analysis
    kind : str
        A statistical map in ``outputs.json``: "r2", "r", "slope"...
    values : (V,) array
        In the order of the grid. NaN where there is no value; so is all outside
        the grid, because 0 is a value.
    grid : Grid
        Where they lie.
    dof : float, optional
        Degrees of freedom, for t maps.
    extra : mapping, optional
        Further keys of the sidecar.
    **names : str
        What this file's name needs beside the names of the analysis: ``layer``.

    Returns
    -------
    Path
        The image.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if analysis.names.get("form") is None:
        extra = {"SkullStripped": True, **(extra or {})}
    if dof is not None:
        extra = {**(extra or {}), "DegreesOfFreedom": dof}
    parameters = () if dof is None else (dof,)
    values = np.asarray(values, np.float32)
    return _write_image(analysis, kind, grid, values, np.nan, extra, names, parameters)


def write_dseg(
    analysis: Analysis,
    kind: str,
    labels: np.ndarray,
    grid: Grid,
    label_names: Sequence[str],
    *,
    extra: Mapping[str, object] | None = None,
    **names: str | None,
) -> Path:
    """Write a label image, its table (index, name, color) and their sidecar.

    Parameters
    ----------
    analysis, kind, grid, extra, **names
        As for :func:`write_statmap`.
    labels : (V,) array of int
        0 for no label, k for ``label_names[k - 1]``.
    label_names : sequence of str

    Returns
    -------
    Path
        The image.
    """
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(label_names):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}: not all have names")
    dtype = np.uint8 if len(label_names) < 256 else np.int16
    table = {
        "index": range(1, len(label_names) + 1),
        "name": label_names,
        "color": layer_hex(len(label_names)),
    }
    return _write_image(analysis, kind, grid, labels.astype(dtype), 0, extra, names, table=table)


def write_table(
    analysis: Analysis,
    kind: str,
    columns: Mapping[str, Sequence],
    meanings: Mapping[str, str | Mapping[str, object]],
    *,
    extra: Mapping[str, object] | None = None,
    **names: str | None,
) -> Path:
    """Write a table and a sidecar that says what each column means.

    Parameters
    ----------
    analysis, kind, extra, **names
        As for :func:`write_statmap`.
    columns : mapping of str to sequence
        Values by column; None and NaN are written as ``n/a``.
    meanings : mapping of str to str or mapping
        A description of each column, or its keys (``Description``, ``Units``, ``Levels``).
    """
    if unexplained := columns.keys() - meanings.keys():
        raise ValueError(f"{kind}: columns without a meaning: {sorted(unexplained)}")
    explained = {
        name: {"Description": meanings[name]} if isinstance(meanings[name], str) else meanings[name]
        for name in columns
    }
    path = _begin(analysis, kind, names)
    atomic.write_tsv(path, columns)
    _finish(analysis, kind, names, {**(extra or {}), **explained})
    return path


def write_series(
    analysis: Analysis,
    kind: str,
    maps: np.ndarray,
    grid: Grid,
    titles: Sequence[str],
    columns: Mapping[str, Sequence],
    meanings: Mapping[str, str],
    *,
    extra: Mapping[str, object] | None = None,
    **names: str | None,
) -> Path:
    """Write many maps as one image, a table of its volumes, and their sidecar.

    Each map is a volume; on surfaces a data array of a GIFTI file, a map of a CIFTI file.

    Parameters
    ----------
    analysis, kind, grid, extra, **names
        As for :func:`write_statmap`.
    maps : (m, V) array
    titles : sequence of m str
        Names of the maps, where the format keeps them.
    columns, meanings : mapping
        What each volume is, one row a volume; see :func:`write_table`.
    """
    meaning = Meaning(file_names.kinds()[kind].intent, (), kind[:15], ())
    path = _begin(analysis, kind, names)
    paths = analysis.images(kind, **names)
    for side, image in grid.series(np.asarray(maps, np.float32), titles, meaning).items():
        atomic.write_image(paths[side], image)
    atomic.write_tsv(analysis.path(kind, ".tsv", **names), columns)
    explained = {name: {"Description": meanings[name]} for name in columns}
    if analysis.names.get("form") is None:
        extra = {"SkullStripped": True, **(extra or {})}
    _finish(analysis, kind, names, {**(extra or {}), **explained})
    return path


def write_weights(
    analysis: Analysis,
    kind: str,
    arrays: Mapping[str, np.ndarray | Sequence[str]],
    attributes: Mapping[str, object],
    *,
    extra: Mapping[str, object] | None = None,
    **names: str | None,
) -> Path:
    """Write a model as HDF5; see :func:`bids_encoder.derivatives.atomic.write_h5`."""
    path = _begin(analysis, kind, names)
    atomic.write_h5(path, arrays, attributes)
    _finish(analysis, kind, names, extra)
    return path


def open_grid(analysis: Analysis) -> Grid:
    """Where the values of an analysis lie, from its mask.

    Raises
    ------
    DataError
        It cannot be read.
    """
    return grid_of(_read_images(analysis, "mask"))


def read_values(analysis: Analysis, kind: str, grid: Grid, **names: str | None) -> np.ndarray:
    """Read a map of ours back: (V,).

    Raises
    ------
    DataError
        It cannot be read.
    """
    return grid.values_of(_read_images(analysis, kind, **names))


def _read_images(analysis: Analysis, kind: str, **names: str | None) -> dict:
    return read_images(analysis.images(kind, **names))


def _write_image(
    analysis, kind, grid, values, fill, extra, names, parameters=(), table=None
) -> Path:
    intent = file_names.kinds()[kind].intent
    labels = tuple(zip(table["name"], table["color"], strict=True)) if table else ()
    meaning = Meaning(intent, parameters, "" if intent in ("none", "label") else kind[:15], labels)
    path = _begin(analysis, kind, names)
    paths = analysis.images(kind, **names)
    for side, image in grid.images(values, fill, meaning).items():
        atomic.write_image(paths[side], image)
    if table is not None:
        atomic.write_tsv(analysis.path(kind, ".tsv", **names), table)
    _finish(analysis, kind, names, extra)
    return path


def _begin(analysis: Analysis, kind: str, names: Mapping[str, str | None]) -> Path:
    """Take away old sidecars, which must never stand beside new data.

    Where they are of this very analysis, and the files whole, new data are the same bytes.
    Such sidecars stay, or another process would miss them meanwhile.
    """
    files, sidecars = analysis.files(kind, **names), analysis.sidecars(kind, **names)
    first, now = next(iter(files.values())), sidecar_of(sidecars[-1])
    ours = now.get("SettingsHash") == analysis.of_kind(kind).hash
    if ours and is_whole(files, now):
        return first
    if ours or (not now and sidecars[-1].exists()):
        logger.warning(
            f"{first.name} or its sidecar was removed or damaged since it was written: it is made "
            "again.",
            extra=OF_THIS_RUN,
        )
    for sidecar in reversed(sidecars):
        atomic.remove(sidecar)
    return first


def _finish(analysis, kind, names, extra) -> None:
    """Write the sidecars: the files are done."""
    declared, files = file_names.kinds()[kind], analysis.files(kind, **names)
    analysis = analysis.of_kind(kind)
    content: dict[str, object] = {
        "Description": file_names.describe(kind, {**analysis.names, **names}),
        "Sources": list(analysis.inputs),
    }
    if declared.units is not None:
        content["Units"] = declared.units
    content |= {**_grid(analysis), **declared.metadata, **(extra or {})}
    if not file_names.is_of_data(kind):
        content["Network"] = analysis.names["network"]
    content |= {
        "Settings": analysis.settings,
        "SettingsHash": analysis.hash,
        "AnalysisHash": analysis.parent or analysis.hash,
        # BIDS wants one string here.
        "SoftwareVersions": ", ".join(map(" ".join, provenance.software_versions().items())),
        "FileSizes": {name: path.stat().st_size for name, path in files.items()},
        "FileChecksums": dict(zip(files, checksums(files.values()), strict=True)),
    }
    content = sealed(provenance.plain(content, paths=False))
    for sidecar in analysis.sidecars(kind, **names):
        atomic.write_json(sidecar, content)


def _grid(analysis: Analysis) -> dict[str, object]:
    """What BIDS requires beside the entities ``space``, ``res`` and ``den``."""
    if analysis.names.get("form"):
        return _surface(analysis)
    image = next((uri for uri in analysis.inputs if uri.endswith((".nii", ".nii.gz"))), None)
    resolution = analysis.names.get("res")
    grid: dict[str, object] = {"SpatialReference": image} if image else {}
    if resolution:
        grid["Resolution"] = f"That of the source images with res-{resolution}"
    return grid


def _surface(analysis: Analysis) -> dict[str, object]:
    meshes = {
        f"CIFTI_STRUCTURE_{name}": uri
        for side, name in HEMISPHERES.items()
        for uri in analysis.inputs
        if uri.endswith(".surf.gii") and f"_hemi-{side}_" in uri
    }
    density = analysis.names.get("den")
    described: dict[str, object] = {"SpatialReference": meshes} if meshes else {}
    if density:
        described["Density"] = f"That of the source images with den-{density}"
    return described
