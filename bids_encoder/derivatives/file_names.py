"""What files are called: the declarations of ``outputs.json``, read and applied.

A declaration is a path without its extension. ``{name}`` is a place to fill,
``[...]`` a part that is left out when its name is not given. Adding a kind of
file means adding a declaration there; nothing else knows any name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

from bids_encoder.derivatives.meanings import uncertain
from bids_encoder.errors import UsageError

_PLACE = re.compile(r"\{(\w+)\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_NOT_IN_LABELS = re.compile(r"[^0-9A-Za-z+]+")
# What stands for .nii.gz where values lie on surfaces: for numbers, and for labels.
_FORMS = {"gifti": (".func.gii", ".label.gii"), "cifti": (".dscalar.nii", ".dlabel.nii")}
_FREE_NAMES = ("network", "layer", "measure", "runid")


@dataclass(frozen=True)
class Kind:
    """One kind of file that we write.

    Attributes
    ----------
    name : str
        What the code calls it.
    path : str
        Template of the path in the dataset, without the extension.
    extensions : tuple of str
        The first is the data file's; others stand beside it under the same name.
    description : str
        Plain words, a template too.
    units : str or None
        Unit of the values, "1" for pure numbers.
    intent : str
        NIfTI intent of an image.
    sidecar : bool
        Whether a JSON file goes with it.
    bidsignore : str or None
        The pattern that hides it from the BIDS validator; None for standard names.
    metadata : dict
        Further keys of the sidecar.
    resampled, not_covered : str or None
        Of p-values and ceilings; see :func:`bids_encoder.derivatives.meanings.uncertain`.
    """

    name: str
    path: str
    extensions: tuple[str, ...]
    description: str
    units: str | None = None
    intent: str = "none"
    sidecar: bool = True
    bidsignore: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    resampled: str | None = None
    not_covered: str | None = None


@lru_cache(maxsize=1)
def _declarations() -> dict:
    return json.loads(resources.files(__package__).joinpath("outputs.json").read_text("utf-8"))


@lru_cache(maxsize=1)
def kinds() -> dict[str, Kind]:
    """All kinds of files that we write, by name, in the order of ``outputs.json``."""
    return {
        name: Kind(name=name, **{**entry, "extensions": tuple(entry["extensions"])})
        for name, entry in _declarations()["files"].items()
    }


def is_of_data(kind: str) -> bool:
    """Whether files of a kind belong to no network, so that all networks' analyses share them."""
    return "{network}" not in kinds()[kind].path


def label(text: str) -> str:
    """Make a BIDS label: letters, digits and ``+``; everything else goes.

    >>> label("features.0")
    'features0'

    Raises
    ------
    UsageError
        If nothing is left.
    """
    made = _NOT_IN_LABELS.sub("", text)
    if not made:
        raise UsageError(
            "A name cannot become part of a file name.",
            place="names of layers, contrasts and atlases, which are in the names of files",
            found=repr(text),
            expected="at least one letter or digit (A-Z, a-z, 0-9)",
            remedy="Give it another name.",
        )
    return made


def desc_label(network: str, layer: str | None = None) -> str:
    """The ``desc`` label of a network, or of one of its layers.

    >>> desc_label("alexnet", "features.1")
    'alexnet+features1'
    """
    return label(network) if layer is None else f"{label(network)}+{label(layer)}"


def check_layer_labels(network: str, layers: Iterable[str]) -> None:
    """Refuse layers whose files would overwrite each other.

    Upper and lower case count as the same, as they do on some file systems.

    Raises
    ------
    UsageError
        If two layers have the same label, or one has that of another result.
    """
    seen = {
        "bestlayer": "the best-layer map",
        "predicted": "the mask of predicted voxels",
        "joint": "the joint model",
        "retinotopy": "synthesized retinotopy",
        "synthesized": "synthesized contrasts",
        "agreement": "maps of agreement",
        "curves": "tables of curves",
    }
    for layer in layers:
        other = seen.setdefault(desc_label("n", layer)[2:].casefold(), layer)
        if other != layer:
            raise UsageError(
                f"Two results of the network {network} would have the same file name.",
                place="--layers",
                found=f"{layer} and {other} both become desc-{desc_label(network, layer)}",
                expected="layers that differ in letters and digits",
                remedy="Leave one of them out of --layers, or run them one after the other "
                "into two output folders.",
            )


def extensions(kind: str, form: str | None = None) -> tuple[str, ...]:
    """What the data files of a kind end with; the first is the main one's.

    Parameters
    ----------
    kind : str
        A name in ``outputs.json``.
    form : "gifti", "cifti" or None
        What images are; None: NIfTI volumes.
    """
    declared = kinds()[kind]
    if form is None:
        return declared.extensions
    image = _FORMS[form][declared.intent == "label"]
    return tuple(image if one == ".nii.gz" else one for one in declared.extensions)


def image_files(
    root: str | Path, kind: str, names: Mapping[str, str | None]
) -> dict[str | None, Path]:
    """The images of a map, by hemisphere; None where one image holds everything.

    Parameters
    ----------
    root, kind, names
        As for :func:`output_path`. With the ``form`` "gifti" there is an image for each
        hemisphere, unless ``hemi`` says which one was analysed.
    """
    both = names.get("form") == "gifti" and names.get("hemi") is None
    sides = ("L", "R") if both else (names.get("hemi"),)
    return {side: output_path(root, kind, {**names, "hemi": side}) for side in sides}


def data_files(root: str | Path, kind: str, names: Mapping[str, str | None]) -> dict[str, Path]:
    """All data files of a kind, by what a sidecar calls them: mostly their extension."""
    main, *others = extensions(kind, names.get("form"))
    files = {main: output_path(root, kind, names, main)}
    if main.endswith(".gii"):
        images = image_files(root, kind, names)
        files = {f"hemi-{side}{main}": path for side, path in images.items()}
    return files | {one: output_path(root, kind, names, one) for one in others}


def sidecars(root: str | Path, kind: str, names: Mapping[str, str | None]) -> list[Path]:
    """The JSON files that describe the data files of a kind; all say the same.

    Each hemisphere has one, and so has a table beside them. The last one is written last:
    it means that all is done.
    """
    stems = {path.name.partition(".")[0]: path for path in data_files(root, kind, names).values()}
    return [path.with_name(f"{stem}.json") for stem, path in stems.items()]


def output_path(
    root: str | Path, kind: str, names: Mapping[str, str | None], extension: str | None = None
) -> Path:
    """Where a file goes.

    Parameters
    ----------
    root : path
        The derivatives dataset.
    kind : str
        A name in ``outputs.json``.
    names : mapping of str to str or None
        Entities by their short names (``sub``, ``task``, ``space``, ``res``...),
        which must be BIDS labels, and the free names ``network``, ``layer``,
        ``measure`` and ``runid``, of which everything is dropped that BIDS does
        not allow in a label. ``form`` says what images are (see :func:`extensions`).
        None is the same as not given; names that the kind has no place for are not
        used, so that one mapping serves all files of an analysis.
    extension : str, optional
        With its dot; by default that of the data file.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If a name that the kind needs is missing, or the extension is not declared.
    UsageError
        If an entity is no BIDS label, or nothing of a free name is left.
    """
    declared, known = kinds()[kind], extensions(kind, names.get("form"))
    extension = extension or known[0]
    if extension not in (*known, ".json"):
        raise ValueError(f"{kind!r} files are declared as {known}, not {extension}")
    labels = {
        name: label(value) if name in _FREE_NAMES else _entity(name, value)
        for name, value in names.items()
        if value is not None
    }
    return Path(root) / (_fill(declared.path, labels) + extension)


def describe(kind: str, names: Mapping[str, str | None]) -> str:
    """What a file holds, in plain words, with names as they are (no labels)."""
    return explain(kind, _fill(kinds()[kind].description, names))


def explain(kind: str, description: str) -> str:
    """Add to what a file holds what was resampled and what is not covered, where that belongs."""
    declared = kinds()[kind]
    if declared.resampled is None or declared.not_covered is None:
        return description
    return uncertain(description, resampled=declared.resampled, not_covered=declared.not_covered)


def label_descriptions(network: str, layers: Iterable[str]) -> dict[str, str]:
    """What each ``desc`` label stands for: the rows of ``descriptions.tsv``."""
    templates = _declarations()["labels"]
    rows = {}
    for layer in layers:
        names = {"network": network, "layer": layer}
        labels = {name: label(value) for name, value in names.items()}
        for template, text in templates.items():
            rows[f"desc-{_fill(template, labels)}"] = _fill(text, names)
    return dict(sorted(rows.items()))


def bidsignore() -> str:
    """Patterns of what the BIDS standard does not know yet, one a line."""
    patterns = {kind.bidsignore for kind in kinds().values() if kind.bidsignore}
    patterns |= set(_declarations()["on_surfaces"])
    return "".join(f"{pattern}\n" for pattern in sorted(patterns))


def _entity(name: str, value: str) -> str:
    if not value or _NOT_IN_LABELS.search(value):
        raise UsageError(
            "A BIDS entity has a label that BIDS does not allow.",
            place=f"the entity {name} in the names of files",
            found=f"{name}-{value}",
            expected="letters, digits and +",
            remedy="Rename it in the dataset, or leave it out with a filter.",
        )
    return value


def _fill(template: str, names: Mapping[str, str | None]) -> str:
    given = {name: value for name, value in names.items() if value is not None}

    def part(match: re.Match) -> str:
        return match[1] if given.keys() >= set(_PLACE.findall(match[1])) else ""

    template = _OPTIONAL.sub(part, template)
    missing = set(_PLACE.findall(template)) - given.keys()
    if missing:
        raise ValueError(f"{template!r} needs {', '.join(sorted(missing))}")
    return _PLACE.sub(lambda match: given[match[1]], template)
