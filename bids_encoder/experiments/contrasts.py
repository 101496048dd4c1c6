"""``--synthesize FILE.json``: contrasts of pictures, synthesized and, where they were shown,
measured."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from bids_encoder.analysis.measured_data import MeasuredData, samples_of
from bids_encoder.analysis.plan import Plan
from bids_encoder.bids.records import BetasRun
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.leftovers import remove_old_experiment
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import Analysis, is_done
from bids_encoder.errors import UsageError
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.experiments.contrast_outputs import (
    ALL,
    COMPARISON,
    MEASURED,
    WHOLE,
    Synthesized,
    part_name,
    write_contrast,
    write_measured,
)
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.features.samples import Samples
from bids_encoder.features.store import FeatureStore
from bids_encoder.responses.contrast_glm import Design, RunContrast, measure_contrasts
from bids_encoder.runtime import console
from bids_encoder.synthesis.conditions import (
    ContrastPictures,
    Shown,
    Trials,
    digest_of,
    find_pictures,
)
from bids_encoder.synthesis.contrast_file import ContrastFile, read_contrast_file
from bids_encoder.synthesis.effects import Effect, contrast_pictures
from bids_encoder.synthesis.folder import read_folder
from bids_encoder.synthesis.parts import Part, make_parts
from bids_encoder.synthesis.refit import Refit

logger = logging.getLogger(__name__)

_GLM_HRFS = ("spm", "glover")
_CANONICAL = _GLM_HRFS[0]


@dataclass(frozen=True)
class Contrasts:
    """The experiment that a file of contrasts describes."""

    path: Path

    def check(self, settings: Settings) -> None:
        """Raise what is wrong with the file, its folders, and the options beside it."""
        file = read_contrast_file(self.path)
        for condition in file.conditions.values():
            place = f"Conditions.{condition.name}"
            if condition.folder is not None:
                read_folder(condition.folder, file=self.path, place=f"{place}.Folder")
            elif settings.synthesis.reuse_models:
                raise _trained(self.path, place, "pictures of the dataset")

    def check_plan(self, settings: Settings, plan: Plan | None, source: FeatureSource) -> None:
        """Raise what is wrong with the pictures of one analysis."""
        contrasts, files = find_pictures(read_contrast_file(self.path), _shown(settings, plan))
        if files:
            source.check_new(files)
        if plan is None:
            return
        _refuse_films(self.path, contrasts, plan)
        _say_how_measured(settings, contrasts, plan)
        samples, groups = _samples(settings, plan)
        for one in contrasts:
            if not set(samples.shown).isdisjoint(one.ids):
                make_parts(one.pictures, samples, groups, one.contrast.name)

    def run(self, lab: ExperimentContext) -> str:
        """Write maps, precision and recall of every contrast that is not done yet."""
        file = read_contrast_file(self.path)
        contrasts, files = find_pictures(file, _shown(lab.settings, lab.plan))
        plans = {one.contrast.label: _begin(lab, one, files) for one in contrasts}
        todo = [one for one in contrasts if not _is_done(lab, plans[one.contrast.label], one)]
        title = f"task {lab.saved.names['task']}: "
        if not todo:
            logger.info(f"{title}the contrasts are there already, with the same models")
            return f"{title}{len(contrasts)} contrast{'s' * (len(contrasts) > 1)} done before"
        work = _Work(lab, file, files)
        with console.stage("contrasts") as words:
            parts = {one.contrast.label: work.parts(one) for one in todo}
            measured = work.measure(todo, parts)
            said = []
            for one in todo:
                label = one.contrast.label
                there = measured.get(label)
                found = work.synthesize(one, parts[label])
                if there is not None:
                    write_measured(_begin_measured(lab, one), one, there[WHOLE], lab.saved.grid)
                areas = write_contrast(
                    plans[label], one, parts[label], found, there, lab.saved.grid
                )
                remove_old_experiment(plans[label], label)
                said.append(f"{one.contrast.name}{areas}")
            words += [one for one in said[:3]] + (["…"] if len(said) > 3 else [])
        return f"{title}{len(said)} contrast{'s' * (len(said) > 1)}"


class _Work:
    """What the contrasts of one analysis share, computed when it is needed first."""

    def __init__(self, lab: ExperimentContext, file: ContrastFile, files: Mapping[str, Path]):
        self.lab = lab
        self.file = file
        self.files = files
        self.trained = set(lab.saved.stimuli)

    @cached_property
    def store(self) -> FeatureStore:
        """Features of all pictures, those of the dataset and those from elsewhere."""
        lab = self.lab
        own = {} if lab.plan is None else lab.plan.stimuli
        continuous = lab.plan is not None and lab.plan.design.kind == "continuous"
        with console.progress("features", "pictures") as bar:
            store = lab.source.store(
                {**own, **self.files},
                blank=continuous,
                cache_dir=lab.settings.resources.work_dir,
                on_progress=bar,
            )
        if lab.plan is None:
            self._refuse_trained(store)
        return store

    def _refuse_trained(self, store: FeatureStore) -> None:
        """Without BOLD nothing can be fitted again: no picture may have trained the models."""
        first = next(iter(self.lab.saved.models.values()))
        known = set(first.stamps)
        names = list(self.files)
        stamps = store.stamps(first.layer, names)
        copies = [name for name, stamp in zip(names, stamps, strict=True) if stamp in known]
        if copies:
            raise _trained(self.file.path, "Conditions", ", ".join(copies[:5]))

    @property
    def _data(self) -> MeasuredData:
        """Of the models; only where pictures trained them, which are refused without data."""
        assert self.lab.data is not None
        return self.lab.data

    def parts(self, one: ContrastPictures) -> tuple[Part, ...]:
        if self.trained.isdisjoint(one.ids):
            return (Part(one.pictures, np.ones(0, dtype=bool)),)
        _, samples = self._data.training
        return make_parts(one.pictures, samples, self._data.grouping.groups, one.contrast.name)

    def synthesize(self, one: ContrastPictures, parts: Sequence[Part]) -> Synthesized:
        """Effects of each part, from each layer and from the mean of their predictions."""
        effects: dict[str, list[Effect]] = {layer: [] for layer in (ALL, *self.lab.layers)}
        for part in parts:
            total: np.ndarray = np.zeros((), np.float32)
            for layer in self.lab.layers:
                predicted = self._predictor(part).predict(layer, self.store, part.ids)
                effects[layer].append(
                    contrast_pictures(predicted, part.conditions, one.contrast.weights)
                )
                total = total + predicted
            mean = total / np.float32(len(self.lab.layers))
            effects[ALL].append(contrast_pictures(mean, part.conditions, one.contrast.weights))
        return effects

    def _predictor(self, part: Part):
        """The models of the analysis, where they have not seen the pictures; else others."""
        if part.train.all():
            return self.lab.saved
        responses, samples = self._data.training
        return Refit(
            samples,
            responses,
            part.train,
            self._data.folds_among(part.train),
            self.lab.penalties,
            self._data.spare_memory,
            self.lab.device,
        )

    def measure(
        self, contrasts: Sequence[ContrastPictures], parts: Mapping[str, Sequence[Part]]
    ) -> dict[str, dict[str, RunContrast]]:
        """Contrasts as they were measured, whole and in parts, where all pictures were shown."""
        designs: dict[tuple[str, str], Design] = {}
        for one in contrasts:
            if one.trials is not None:
                designs |= _designs(one, one.trials, parts[one.contrast.label])
        plan, chosen = self.lab.plan, self.lab.settings.responses
        if not designs or plan is None or plan.precomputed:
            return {}
        with console.progress("measured contrasts", "runs") as bar:
            found = measure_contrasts(
                plan.bold_runs,
                plan.bold_infos,
                plan.presentations,
                plan.cleanings,
                self.lab.saved.grid,
                designs,
                hrf=_hrf(chosen.hrf),
                high_pass=chosen.high_pass,
                on_progress=bar,
            )
        measured: dict[str, dict[str, RunContrast]] = {}
        for (label, _), contents in found.items():
            measured.setdefault(label, {}).update(contents)
        for label, contents in measured.items():
            if WHOLE not in contents:
                logger.warning(
                    f"contrast {label} is not measured: no run shows all of its conditions"
                )
        return {label: contents for label, contents in measured.items() if WHOLE in contents}


def _designs(
    one: ContrastPictures, shown: Sequence[Trials], parts: Sequence[Part]
) -> dict[tuple[str, str], Design]:
    """The model of the whole contrast, and where there are parts, one with them apart."""
    label, weights = one.contrast.label, one.contrast.weights
    designs = {(label, WHOLE): Design(shown, {WHOLE: weights})}
    if len(parts) > 1:
        side = {id_: number for number, part in enumerate(parts) for id_ in part.ids}
        trials = [
            {
                f"{name} {number}": tuple(p for p in theirs if side[p.stimulus] == number)
                for name, theirs in run.items()
                for number in range(len(parts))
            }
            for run in shown
        ]
        contrasts = {
            part_name(number): {f"{name} {number}": w for name, w in weights.items()}
            for number in range(len(parts))
        }
        designs[label, "parts"] = Design(trials, contrasts)
    return designs


def _shown(settings: Settings, plan: Plan | None) -> Shown:
    if plan is None:
        return Shown((), (), {}, settings.bids_dir, settings.stimuli.stim_dir)
    return Shown(
        tuple(run.betas.table if isinstance(run, BetasRun) else run.events for run in plan.runs),
        plan.presentations,
        plan.stimuli,
        settings.bids_dir,
        settings.stimuli.stim_dir,
    )


def _refuse_films(path: Path, contrasts: Sequence[ContrastPictures], plan: Plan) -> None:
    """In a continuous design the samples see stretches of films, which no condition names."""
    films = [id_ for one in contrasts for id_ in one.ids if id_ in plan.films]
    if films and plan.design.kind == "continuous":
        raise UsageError(
            "Films of a continuous design cannot be compared in a contrast.",
            file=path,
            found=films[0],
            expected="pictures, or clips of an event design",
            remedy="compare pictures from elsewhere (Folder)",
        )


def _say_how_measured(
    settings: Settings, contrasts: Sequence[ContrastPictures], plan: Plan
) -> None:
    if all(one.trials is None for one in contrasts):
        return
    if plan.precomputed:
        logger.warning("contrasts are not measured: responses were estimated elsewhere")
    elif settings.responses.hrf not in _GLM_HRFS:
        logger.warning(
            f"contrasts are measured with the canonical response ({_CANONICAL}); that of "
            f"--hrf {settings.responses.hrf} is for the models"
        )


def _samples(settings: Settings, plan: Plan) -> tuple[Samples, np.ndarray]:
    """What the rows that models learn from will show, from tables alone, and their groups."""
    names = plan.shown_stimuli
    return samples_of(settings, plan, names).take(~plan.shown_test_set), plan.grouping.groups


def _begin(lab: ExperimentContext, one: ContrastPictures, files: Mapping[str, Path]) -> Analysis:
    """All that the files of a contrast depend on, beside the models."""
    own = {} if lab.plan is None else lab.plan.stimuli
    digests = {id_: digest_of(files.get(id_) or own[id_]) for id_ in one.ids}
    pictures = {name: sorted(digests[id_] for id_ in ids) for name, ids in one.pictures.items()}
    return lab.start(
        experiment="contrast",
        contrast=one.contrast.name,
        weights=dict(one.contrast.weights),
        pictures=hashlib.sha256(repr(pictures).encode()).hexdigest(),
        features=lab.source.identity_of(sorted(one.ids)),
        trials=_stamp(one),
        **_glm_settings(lab.settings),
    )


def _is_done(lab: ExperimentContext, analysis: Analysis, one: ContrastPictures) -> bool:
    """Whether all files of a contrast are there."""
    label = one.contrast.label
    for layer in (*lab.layers, None):
        names = {"contrast": label, "layer": layer}
        kinds = ("synthesized_effect", "synthesized_t")
        if not all(is_done(analysis, kind, **names) for kind in kinds):
            return False
    side = sidecar_of(analysis.sidecars("synthesized_t", contrast=label)[-1])
    compared = COMPARISON if side.get("Compared") else ()
    measured = MEASURED if side.get("Measured") and lab.plan is not None else ()
    return all(is_done(analysis, kind, contrast=label) for kind in compared) and all(
        is_done(_begin_measured(lab, one), kind, contrast=label) for kind in measured
    )


def _begin_measured(lab: ExperimentContext, one: ContrastPictures) -> Analysis:
    data = lab.analysis.data
    settings = {
        "contrast": one.contrast.name,
        "weights": dict(one.contrast.weights),
        "trials": _stamp(one),
        "data": data.hash,
        **_glm_settings(lab.settings),
    }
    return replace(data, settings=settings)


def _stamp(one: ContrastPictures) -> str | None:
    """Changes with the trials of a contrast."""
    if one.trials is None:
        return None
    rows = [{name: [p.row for p in shown] for name, shown in run.items()} for run in one.trials]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _glm_settings(settings: Settings) -> dict[str, object]:
    chosen = settings.responses
    return {"glm_hrf": _hrf(chosen.hrf), "high_pass": chosen.high_pass}


def _hrf(chosen: str) -> str:
    """The haemodynamic response of measured contrasts: a canonical one."""
    return chosen if chosen in _GLM_HRFS else _CANONICAL


def _trained(path: Path, place: str, found: str) -> UsageError:
    return UsageError(
        "The saved models have learned from pictures of a contrast.",
        file=path,
        place=place,
        found=found,
        expected="pictures from elsewhere: without the BOLD no model can be fitted without them",
        remedy="leave out --reuse-models, or compare pictures that were never shown (Folder)",
    )
