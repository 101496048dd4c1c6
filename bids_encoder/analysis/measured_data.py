"""What the models of a plan learn from: responses, and the samples that they are predicted from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.predicted_region import sampled_stimuli
from bids_encoder.analysis.workload import work_of
from bids_encoder.betas.measure import betas_grid, measure_betas
from bids_encoder.compute import memory_budget
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.read import places_in_words
from bids_encoder.encoding.folds import Fold, make_folds
from bids_encoder.errors import UsageError
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.features.recurring import Recurring, find_recurring
from bids_encoder.features.samples import Samples, continuous_samples
from bids_encoder.grids.grid import Grid
from bids_encoder.responses.assemble import Responses
from bids_encoder.responses.grids import common_grid
from bids_encoder.responses.grouping import NO_WISH, Grouping
from bids_encoder.responses.groups import merge_tiny
from bids_encoder.responses.measure import Measured, measure
from bids_encoder.runtime import console
from bids_encoder.surfaces.read_meshes import load_meshes

logger = logging.getLogger(__name__)


def samples_of(settings: Settings, plan: Plan, stimuli: Sequence[str] | None) -> Samples:
    """What was on the screen, a row for each response: to the stimuli, or (None) at all times."""
    if stimuli is not None:
        return Samples(tuple(stimuli))
    return continuous_samples(
        plan.screen,
        [info.n_volumes for info in plan.bold_infos],
        [info.repetition_time for info in plan.bold_infos],
        plan.start_times,
        settings.responses.delays,
    ).take(np.concatenate([cleaning.kept for cleaning in plan.cleanings]))


def folds_of(grouping: Grouping, stimuli: Sequence[str] | None) -> tuple[Fold, ...]:
    """One fold a group."""
    return make_folds(grouping.groups, max_folds=max(len(grouping.names), 2), stimuli=stimuli)


class MeasuredData:
    """The data of one plan, measured once: when they are needed first.

    Parameters
    ----------
    settings : Settings
    plan : Plan
    device : str
        "cpu" or "cuda".
    source : FeatureSource
        Of the features; how much memory they take counts.
    """

    def __init__(self, settings: Settings, plan: Plan, device: str, source: FeatureSource):
        self.source = source
        self.settings = settings
        self.plan = plan
        self.device = device

    @property
    def grid(self) -> Grid:
        """Where the responses lie."""
        return self._measured[0]

    @property
    def measured(self) -> Measured:
        """Responses to all stimuli, and what else was found on the way."""
        return self._measured[1]

    @property
    def responses(self) -> Responses:
        """Responses to all stimuli, or at all times."""
        return self.measured.responses

    @cached_property
    def samples(self) -> Samples:
        """What was on the screen, a row for each of the responses."""
        return samples_of(self.settings, self.plan, self.responses.stimuli)

    @cached_property
    def recurring(self) -> Recurring | None:
        """Which rows show what other runs show too; None in event designs."""
        plan = self.plan
        if plan.design.kind == "events":
            return None
        return find_recurring(
            plan.presentations,
            [info.n_volumes for info in plan.bold_infos],
            [info.repetition_time for info in plan.bold_infos],
            plan.start_times,
            self.settings.responses.delays,
        ).take(np.concatenate([cleaning.kept for cleaning in plan.cleanings]))

    @cached_property
    def held(self) -> np.ndarray:
        """Which rows are a test set, (n,) bool."""
        return self.plan.held_out(self.responses.stimuli, len(self.responses.values))

    @cached_property
    def training(self) -> tuple[Responses, Samples]:
        """The rows that models learn from."""
        return self.responses.take(~self.held), self.samples.take(~self.held)

    @cached_property
    def grouping(self) -> Grouping:
        """What cross-validation over these rows leaves out together."""
        grouping = self.plan.fold(~self.held, self.responses.stimuli)
        if grouping.remark:
            level = logging.WARNING if grouping.is_doubtful else logging.DEBUG
            logger.log(level, grouping.remark)
        return grouping

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The folds of the training rows."""
        return folds_of(self.grouping, self.training[0].stimuli)

    def folds_among(self, rows: np.ndarray) -> tuple[Fold, ...]:
        """Folds of some of the training rows, (m,) bool: as the user wishes, if that can be."""
        used = ~self.held
        used[used] = rows
        stimuli = self.responses.stimuli
        try:
            grouping = self.plan.fold(used, stimuli)
        except UsageError:
            grouping = self.plan.fold(used, stimuli, NO_WISH)
        groups, names = merge_tiny(grouping.groups, grouping.names)
        return folds_of(replace(grouping, groups=groups, names=names), None)

    @property
    def budget(self) -> int:
        """Bytes that may be used in all."""
        resources = self.settings.resources
        return memory_budget.budget(resources.mem, resources.nprocs)

    @property
    def spare_memory(self) -> int:
        """Bytes that a fit may work in."""
        return memory_budget.fit_budget(self._work(self.grid), self.budget)

    def _work(self, grid: Grid) -> memory_budget.Work:
        return work_of(self.settings, self.plan, self.source, grid.n_values)

    def _check_memory(self, grid: Grid) -> memory_budget.Work:
        """Refuse what does not fit, now that voxels are counted."""
        work, resources = self._work(grid), self.settings.resources
        warning = memory_budget.check(work, self.budget, resources.mem, resources.nprocs)
        if warning and not self.plan.n_voxels[1]:  # else the plan has said so
            logger.warning(warning)
        return work

    @cached_property
    def _measured(self) -> tuple[Grid, Measured]:
        with console.stage("responses") as words, console.progress("responses", "runs") as bar:
            grid, measured = self._measure(bar)
            n, n_values = measured.responses.values.shape
            rows = "stimuli" if self.plan.design.kind == "events" else "volumes"
            words += [f"{n} {rows}", f"{n_values} {places_in_words(grid.form)}"]
        return grid, measured

    def _measure(self, on_progress) -> tuple[Grid, Measured]:
        plan, chosen = self.plan, self.settings.responses
        how = {
            "standardize": chosen.standardize,
            "squares_of": None if plan.test_set is None else plan.test_set.stimuli,
            "halves_of": sampled_stimuli(self.settings.neural_code, plan),
            "on_progress": on_progress,
        }
        meshes = load_meshes(plan.surfaces.measured) if plan.surfaces else None
        if plan.precomputed:
            grid = betas_grid(plan.betas_runs, plan.infos, meshes)
            self._check_memory(grid)
            return grid, measure_betas(plan.betas_runs, plan.presentations, grid, **how)
        grid = common_grid(plan.bold_runs, plan.bold_infos, meshes)
        work = self._check_memory(grid)
        measured = measure(
            plan.bold_runs,
            plan.bold_infos,
            plan.presentations,
            grid,
            kind=plan.design.kind,
            hrf=chosen.hrf,
            high_pass=chosen.high_pass,
            cleanings=plan.cleanings,
            mem_bytes=memory_budget.together(work, self.budget),
            device=self.device,
            **how,
        )
        return grid, measured
