"""Saved models of a participant: found, tied to network and stimuli, and used to predict.

A model is used only with what it was fitted with. Its file says how the features were made
(network, checksum of the weights, layer, reduction, preprocessing) and has a checksum of each
stimulus; where anything differs, the model is refused. The BOLD is not needed, nor are the
pictures, as long as their features are in the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.bids.names import parse_name, without_prefix
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.read import ENTITIES
from bids_encoder.derivatives.seals import require_whole, sidecar_of, sidecar_path
from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.features.store import FeatureStore
from bids_encoder.grids.grid import Grid
from bids_encoder.synthesis.model import Model, mean_prediction
from bids_encoder.synthesis.model_file import AGAIN, read_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SavedModels:
    """The models of all layers of one analysis, ready to predict.

    Attributes
    ----------
    names : dict of str to str or None
        What the names of the analysis' files are made of.
    models : dict of layer to Model
        From shallow to deep, all of the same voxels.
    training : FeatureStore or None
        Features of the stimuli that the models were fitted on; None where none are needed.
    """

    names: dict[str, str | None]
    models: dict[str, Model]
    training: FeatureStore | None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, from shallow to deep."""
        return tuple(self.models)

    @property
    def grid(self) -> Grid:
        """Where the V voxels of the models lie."""
        return self._first.grid

    @property
    def paths(self) -> list[Path]:
        """The files of the models."""
        return [model.path for model in self.models.values()]

    @property
    def hashes(self) -> list[str]:
        """Settings hash of the analysis that each model belongs to, each once."""
        found = dict.fromkeys(sidecar_of(path).get("SettingsHash") for path in self.paths)
        return [one for one in found if one]

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Stimuli that the models were fitted on, without the empty screen."""
        return self._first.samples.shown

    @property
    def unseen(self) -> tuple[str, ...]:
        """Stimuli that were held out of the fit (a test set)."""
        return tuple(self._first.unseen)

    @property
    def _first(self) -> Model:
        return next(iter(self.models.values()))

    def predict(self, layer: str, new: FeatureStore, stimuli: Sequence[str]) -> np.ndarray:
        """What one layer predicts for m stimuli: (m, V) float32."""
        return self.models[layer].predict(new.load(layer, stimuli).values, self.training)

    def predict_mean(
        self, new: FeatureStore, stimuli: Sequence[str], layers: Sequence[str] = ()
    ) -> np.ndarray:
        """The summary model: the mean of what these layers (default all) predict, (m, V)."""
        chosen = [self.models[layer] for layer in layers or self.layers]
        return mean_prediction(chosen, new, stimuli, self.training)


def list_modelled(output_dir: Path, participants: Sequence[str]) -> list[str]:
    """Labels of the participants that have saved models.

    Parameters
    ----------
    output_dir : Path
        The derivatives dataset.
    participants : sequence of str
        Labels that are wanted, with or without ``sub-``; default: all that are there.

    Raises
    ------
    MissingInputError
        There are no models at all.
    """
    if participants:
        return list(without_prefix(participants, "sub"))
    files = output_dir.glob("sub-*/func/*_weights.h5")
    found = (parse_name(path).entities.get("sub") for path in files)
    labels = {label for label in found if label is not None}
    if not labels:
        raise MissingInputError(
            "There are no saved models.",
            file=output_dir,
            expected="files sub-*/func/*_weights.h5 that an earlier run wrote",
            remedy="fit them first: run the participant level without --reuse-models",
        )
    return sorted(labels)


def open_models(settings: Settings, participant: str, source: FeatureSource) -> list[SavedModels]:
    """Open the saved models of a participant, one set for each task and space.

    Parameters
    ----------
    settings : Settings
        Say where models, pictures and the cache of features are, and which tasks and spaces
        are wanted.
    participant : str
        Label without ``sub-``.
    source : FeatureSource
        The network, or file of features, that the models must have been fitted with.

    Raises
    ------
    MissingInputError
        No models; some layers have none; or pictures are neither there nor in the cache.
    DataError
        A file is damaged, or was fitted with other features or stimuli.
    """
    return [_open(settings, names, source) for names in _analyses(settings, participant, source)]


def models_of(
    settings: Settings, names: Mapping[str, str | None], source: FeatureSource
) -> SavedModels:
    """Open the models of one analysis; raises as :func:`open_models`."""
    return _open(settings, dict(names), source)


def _analyses(
    settings: Settings, participant: str, source: FeatureSource
) -> list[dict[str, str | None]]:
    """Names of the analyses that have models of the network."""
    folder = settings.output_dir / f"sub-{participant}" / "func"
    network = file_names.label(source.name)
    found = {}
    for path in sorted(folder.glob(f"*_desc-{network}+*_weights.h5")):
        entities = parse_name(path).entities
        names = {key: entities.get(key) for key in ENTITIES} | {"network": source.name}
        if _is_wanted(settings, names):
            found[tuple(names.values())] = names
    if not found:
        raise MissingInputError(
            f"There are no saved models of participant {participant}.",
            file=folder,
            expected=f"files that end with desc-{network}+LAYER_weights.h5"
            + (f", of the task {' or '.join(settings.selection.task_id)}"
               if settings.selection.task_id else ""),
            remedy="fit them first: run the participant level without --reuse-models, and not "
            "with --save-weights none",
        )  # fmt: skip
    return list(found.values())


def _is_wanted(settings: Settings, names: Mapping[str, str | None]) -> bool:
    tasks = [task.removeprefix("task-") for task in settings.selection.task_id]
    spaces = settings.selection.space
    return (not tasks or names["task"] in tasks) and (not spaces or names["space"] in spaces)


def _open(settings: Settings, names: dict[str, str | None], source: FeatureSource) -> SavedModels:
    models = {}
    for layer in source.layers:
        path = file_names.output_path(settings.output_dir, "weights", {**names, "layer": layer})
        models[layer] = read_model(_checked(path))
        _check_origin(models[layer], layer, source.described(layer))
    _check_alike(list(models.values()))
    names = {**names, "form": _form(next(iter(models.values())), names)}
    training = None
    dual = [model for model in models.values() if model.is_dual]
    if dual:
        folder = settings.stimuli.stim_dir or settings.bids_dir / "stimuli"
        wanted = dict(zip(dual[0].samples.stimuli, dual[0].stamps, strict=True))
        training = source.recall(wanted, folder, settings.resources.work_dir)
        for model in dual:
            _check_stamps(model, training)
    return SavedModels(names, models, training)


def _checked(path: Path) -> Path:
    """The file of a model, whose content is what its sidecar says.

    Raises
    ------
    DataError
        It was damaged since it was written.
    """
    if path.exists() and sidecar_path(path).exists():
        require_whole({".h5": path}, f"copy file and sidecar again, or {AGAIN}")
    elif path.exists():
        logger.warning(
            f"{path.name} came without its sidecar (.json): whether it is whole is not known."
        )
    return path


def _form(model: Model, names: Mapping[str, str | None]) -> str | None:
    """What images of maps are, from where the columns of a model lie."""
    form = model.grid.form
    if form != names.get("form", form):
        raise DataError(
            "A saved model does not lie where the BOLD does.",
            file=model.path,
            found=f"columns for images that are {form or 'volumes'}",
            expected=f"{names['form'] or 'volumes'}; an earlier version of this program, or "
            "another preprocessing, wrote it",
            remedy=AGAIN,
        )
    return form


def _check_origin(model: Model, layer: str, ours: Mapping[str, object]) -> None:
    """Refuse a model whose features were made in another way."""
    if model.layer != layer:
        raise DataError(
            "A saved model is of another layer than its name says.",
            file=model.path,
            place="attribute 'layer'",
            found=model.layer,
            expected=layer,
            remedy=f"copy it again, or {AGAIN}",
        )
    theirs = model.origin
    differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if differing:
        raise DataError(
            "A saved model was fitted with other features.",
            file=model.path,
            place=f"attribute 'origin': {', '.join(differing)}",
            found=f"fitted with {_few(theirs, differing)}",
            expected=_few(ours, differing),
            remedy="give the network, weights and options that it was fitted with, or fit it again "
            "without --reuse-models",
        )


def _few(description: Mapping[str, object], keys: Sequence[str]) -> str:
    return "; ".join(f"{key} {description.get(key)}"[:160] for key in keys)


def _check_alike(models: Sequence[Model]) -> None:
    """Refuse models of layers that were not fitted together."""
    first = models[0]
    places = first.grid.described()
    for model in models[1:]:
        theirs = model.grid.described()
        same = theirs.keys() == places.keys() and all(
            np.array_equal(theirs[key], value) for key, value in places.items()
        )
        if not same or model.samples.stimuli != first.samples.stimuli:
            raise DataError(
                "The saved models of two layers are not of one analysis.",
                file=model.path,
                found=f"other voxels or stimuli than {first.path.name}",
                remedy=f"{AGAIN}, all layers at once",
            )


def _check_stamps(model: Model, training: FeatureStore) -> None:
    """Refuse a model whose stimuli have changed."""
    ours = training.stamps(model.layer, model.samples.stimuli)
    pairs = zip(model.samples.stimuli, model.stamps, ours, strict=True)
    changed = [name for name, theirs, now in pairs if theirs != now]
    if changed:
        raise DataError(
            f"{len(changed)} of {len(ours)} stimuli are not those that a saved model was fitted "
            "with.",
            file=model.path,
            place="dataset 'stamps'",
            found=f"changed since: {', '.join(map(repr, changed[:5]))}"
            + (" …" if len(changed) > 5 else ""),
            remedy="bring back the files that it was fitted with, or fit it again without "
            "--reuse-models",
        )
