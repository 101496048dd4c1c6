"""Where the geometry of surfaces is: among the derivatives, or with a template."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from bids_encoder.bids.annex import lacks_content
from bids_encoder.bids.names import BidsFile
from bids_encoder.bids.records import Dataset
from bids_encoder.bids.selection import files_of
from bids_encoder.bids.sidecars import list_folder, read_json
from bids_encoder.derivatives.provenance import bids_uri
from bids_encoder.runtime.environment import templateflow_home

logger = logging.getLogger(__name__)

# What distances are measured on, and what figures are drawn on; the first that is there.
_MEASURED = ("midthickness", "white", "smoothwm", "pial")
_DRAWN = ("inflated", "midthickness", "white")
_FSAVERAGE5 = 10_242  # vertices of the template that comes with nilearn
_WORDS = {"left": "L", "right": "R"}
_KINDS = ("measured", "drawn", "folded")
_ANY = frozenset({"sub", "ses", "hemi", "space", "den", "tpl", "res", "run", "acq"})


@dataclass(frozen=True)
class SurfaceFiles:
    """The geometry of the hemispheres "L" and "R", as far as it is known.

    Attributes
    ----------
    measured : mapping of str to Path
        Meshes along which maps are smoothed.
    drawn : mapping of str to Path
        Inflated meshes.
    folded : mapping of str to Path
        Depth of the sulci, a background of figures.
    source : str
        Where they come from, in words.
    own : bool
        They lie among the derivatives.
    """

    measured: Mapping[str, Path] = field(default_factory=dict)
    drawn: Mapping[str, Path] = field(default_factory=dict)
    folded: Mapping[str, Path] = field(default_factory=dict)
    source: str = "none"
    own: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Those on which results depend."""
        return tuple(self.measured.values())

    def named(self, datasets: Mapping[str, Path]) -> dict[str, dict[str, str]]:
        """Their BIDS URIs, by what they are for and by hemisphere.

        Meshes that come with nilearn or TemplateFlow have names that begin with these.
        """
        roots = {**datasets, **_templates()}
        named = {
            kind: {side: bids_uri(path, roots) for side, path in getattr(self, kind).items()}
            for kind in _KINDS
        }
        return {
            kind: {side: _short(name) for side, name in sides.items()}
            for kind, sides in named.items()
        }

    @classmethod
    def recalled(cls, root: Path, named: Mapping[str, Mapping[str, str]]) -> SurfaceFiles:
        """From what `named` gave, those that are still there.

        Parameters
        ----------
        root : Path
            The derivatives dataset that wrote the names.
        named : mapping
        """
        links = read_json(root / "dataset_description.json").get("DatasetLinks", {})
        roots = {name: root / unquote(str(link)) for name, link in links.items()} | _templates()
        found: dict[str, dict[str, Path]] = {kind: {} for kind in _KINDS}
        for kind in _KINDS:
            for side, uri in named.get(kind, {}).items():
                name, _, inside = uri.removeprefix("bids:").partition(":")
                path = roots.get(name, root) / unquote(inside)
                if side in ("L", "R") and ".." not in Path(inside).parts and path.is_file():
                    found[kind][side] = path
        return cls(found["measured"], found["drawn"], found["folded"])


def _templates() -> dict[str, Path]:
    """Where geometry is that belongs to no dataset."""
    spec = find_spec("nilearn")
    assert spec is not None and spec.origin is not None  # a package that is required
    shipped = Path(spec.origin).parent / "datasets" / "data"
    return {"nilearn": shipped, "templateflow": templateflow_home()}


def _short(uri: str) -> str:
    name = uri.removeprefix("bids:")
    return name if name.partition(":")[0] in _templates() else uri


def find_surfaces(
    dataset: Dataset, participant: str, space: str | None, sizes: Mapping[str, int], count
) -> SurfaceFiles:
    """Find the meshes of a space with the right numbers of vertices.

    Looked for are the participant's own ones (``anat/…_midthickness.surf.gii``) among the
    derivatives, then the template's: fsaverage5 comes with nilearn, others are looked for
    where TemplateFlow keeps its files; nothing is downloaded.

    Parameters
    ----------
    dataset : Dataset
    participant : str
        Label without ``sub-``.
    space : str or None
    sizes : mapping of str to int
        Vertices of each hemisphere: "L", "R".
    count : callable
        From a path to the number of vertices in that file.

    Raises
    ------
    DataError
        A file is a link that leads out of the dataset, or cannot be read.
    """
    label = None if space in (None, "fsnative") else space
    for derivative in dataset.derivatives:
        files = [
            file
            for extension in (".surf.gii", ".shape.gii")
            for file in files_of(derivative.layout, participant, {"extension": extension})
            if file.entities.get("space") == label
        ]
        dataset.refuse_links_out(file.path for file in files)
        found = _pick(files, sizes, count, f"{derivative.name}: meshes of sub-{participant}")
        if found.measured.keys() == sizes.keys():
            return SurfaceFiles(found.measured, found.drawn, found.folded, found.source, True)
    found = _of_template(space, sizes, count)
    if found.measured.keys() != sizes.keys():
        logger.warning(
            f"No mesh of the surface {space or 'fsnative'} ({max(sizes.values())} vertices a "
            "hemisphere) was found: score maps are not smoothed before the best layer is chosen, "
            f"and no surface is drawn. {_remedy(label)}"
        )
    return found


def find_again(
    root: Path,
    named: Mapping[str, Mapping[str, str]],
    derivatives: Iterable[Path],
    names: Mapping[str, str | None],
    sizes: Mapping[str, int],
    count,
) -> SurfaceFiles:
    """Find the meshes of an analysis whose BOLD is not at hand.

    Looked for are those that its mask names, then as :func:`find_surfaces`.

    Parameters
    ----------
    root : Path
        The derivatives dataset that the analysis was written to.
    named : mapping
        What `SurfaceFiles.named` gave, as the sidecar of its mask says; may be empty.
    derivatives : iterable of Path
        Folders that may have the participant's meshes.
    names : mapping of str to str or None
        Of the analysis: ``sub``, ``space``.
    sizes, count
        See :func:`find_surfaces`.
    """
    space = names.get("space")
    label = None if space in (None, "fsnative") else space
    found = SurfaceFiles.recalled(root, named)
    if found.measured.keys() == sizes.keys() and all(
        count(path) == sizes[side] for side, path in found.measured.items()
    ):
        return found
    for folder in derivatives:
        own = folder / f"sub-{names['sub']}"
        files = [
            file
            for anat in (own / "anat", *sorted(own.glob("ses-*/anat")))
            for file in list_folder(anat)
            if file.extension in (".surf.gii", ".shape.gii")
            and file.entities.get("space") == label
            and file.path.resolve().is_relative_to(folder.resolve())
        ]
        found = _pick(files, sizes, count, f"{folder.name}: meshes of sub-{names['sub']}")
        if found.measured.keys() == sizes.keys():
            return found
    found = _of_template(space, sizes, count)
    if found.measured.keys() != sizes.keys():
        logger.warning(
            f"No mesh of the surface {space or 'fsnative'} ({max(sizes.values())} vertices a "
            "hemisphere) was found: predicted maps are not smoothed. Name the derivatives that "
            f"have it with -d, or keep the mask and its sidecar beside the models. {_remedy(label)}"
        )
    return found


def _of_template(space: str | None, sizes: Mapping[str, int], count) -> SurfaceFiles:
    if (space or "").startswith("fsaverage"):
        if set(sizes.values()) == {_FSAVERAGE5}:
            return _shipped(sizes)
        return _from_templateflow("fsaverage", sizes, count)
    if space in (None, "fsnative"):
        return SurfaceFiles()
    return _from_templateflow(space, sizes, count)


def _remedy(space: str | None) -> str:
    if space is None:
        return "fMRIPrep writes the meshes as anat/sub-*_hemi-*_midthickness.surf.gii."
    template = "fsaverage" if space.startswith("fsaverage") else space
    return (
        f"TemplateFlow has them: python -c \"from templateflow.api import get; get('{template}', "
        f"suffix=['midthickness', 'inflated'])\"; looked in {templateflow_home()}."
    )


def _pick(files: list[BidsFile], sizes: Mapping[str, int], count, source: str) -> SurfaceFiles:
    plain = [file for file in files if file.entities.keys() <= _ANY]
    groups: dict[str, dict[str, Path]] = {"measured": {}, "drawn": {}, "folded": {}}
    for side, size in sizes.items():
        there: dict[str, list[Path]] = {}
        for file in plain:
            if file.entities.get("hemi") == side and not lacks_content(file.path):
                there.setdefault(file.suffix, []).append(file.path)
        for kind, suffixes in (("measured", _MEASURED), ("drawn", _DRAWN), ("folded", ("sulc",))):
            paths = [path for suffix in suffixes for path in there.get(suffix, ())]
            path = next((path for path in paths if count(path) == size), None)
            if path is not None:
                groups[kind][side] = path
    return SurfaceFiles(groups["measured"], groups["drawn"], groups["folded"], source)


def _shipped(sizes: Mapping[str, int]) -> SurfaceFiles:
    from nilearn.datasets import fetch_surf_fsaverage

    paths = fetch_surf_fsaverage("fsaverage5")
    sides = {word: side for word, side in _WORDS.items() if side in sizes}

    def of(kind: str) -> dict[str, Path]:
        return {side: Path(paths[f"{kind}_{word}"]) for word, side in sides.items()}

    return SurfaceFiles(of("white"), of("infl"), of("sulc"), "fsaverage5 (nilearn)")


def _from_templateflow(template: str, sizes: Mapping[str, int], count) -> SurfaceFiles:
    folder = templateflow_home() / f"tpl-{template}"
    files = [
        file
        for file in list_folder(folder)
        if file.extension in (".surf.gii", ".shape.gii")
        and "space" not in file.entities
        and file.path.stat().st_size > 0  # what is not fetched is an empty file
    ]
    return _pick(files, sizes, count, f"TemplateFlow: tpl-{template}")
