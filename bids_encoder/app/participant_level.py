"""The participant level, top to bottom."""

from __future__ import annotations

import logging
import platform
import secrets
import time
from collections.abc import Iterable, Sequence

from bids_encoder.analysis.make_plans import betas_options, make_plans
from bids_encoder.analysis.measured_data import MeasuredData
from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.run import analyse
from bids_encoder.analysis.significance import planned_p_values
from bids_encoder.analysis.workload import work_of
from bids_encoder.betas.find import check_betas_options
from bids_encoder.bids import checksums
from bids_encoder.bids.checks import read_description, require_folder
from bids_encoder.bids.dataset import (
    Dataset,
    list_participants,
    locate_derivatives,
    open_dataset,
)
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.compute import memory_budget
from bids_encoder.compute.clusters import check_cluster, executor_of
from bids_encoder.config.option_types import MOST_PENALTIES
from bids_encoder.config.settings import Settings
from bids_encoder.config.toml_file import to_toml
from bids_encoder.derivatives import atomic, file_names, provenance
from bids_encoder.derivatives.dataset_description import (
    add_descriptions,
    init_dataset,
    remove_old_descriptions,
)
from bids_encoder.derivatives.read import find_analyses, places_in_words
from bids_encoder.errors import UsageError
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.experiments.registry import (
    check_experiments,
    check_layers,
    check_plan,
    run_experiments,
)
from bids_encoder.experiments.saved_models import list_modelled, models_of, open_models
from bids_encoder.features.external import require_file
from bids_encoder.features.feature_source import FeatureSource, open_source
from bids_encoder.networks.devices import resolve_device
from bids_encoder.report.participant import write_report
from bids_encoder.report.stimuli import write_stimuli_figure
from bids_encoder.responses.confounds import parse_strategy
from bids_encoder.runtime import console

logger = logging.getLogger(__name__)


def select_participants(settings: Settings) -> list[str]:
    """Labels of the participants to work on."""
    if settings.synthesis.reuse_models:
        return list_modelled(settings.output_dir, settings.selection.participant_label)
    return list_participants(settings.bids_dir, settings.selection.participant_label)


def check_options(settings: Settings) -> None:
    """Check what the options name, once for all participants.

    Raises
    ------
    BidsEncoderError
        The dataset is not valid; a file or folder is not there; a value is not known.
    """
    selection = settings.selection
    require_folder(settings.bids_dir, "dataset")
    if not selection.skip_bids_validation:
        read_description(settings.bids_dir)
    if selection.bids_filter_file:
        load_filter_file(selection.bids_filter_file)
    locate_derivatives(settings.bids_dir, selection.derivatives)
    parse_strategy(settings.responses.confounds)
    _check_penalties(settings.encoding.penalties)
    check_betas_options(betas_options(settings))
    if settings.network.features:
        require_file(settings.network.features)
    check_experiments(settings)
    check_cluster(settings)


def _check_penalties(chosen: Sequence[float]) -> None:
    """Refuse penalties of which no grid can be made."""
    if not chosen:
        return
    low, high, number = chosen if len(chosen) == 3 else (0, 0, 0)
    if not (low < high and 2 <= number <= MOST_PENALTIES and number == int(number)):
        raise UsageError(
            "No grid of penalties can be made of these numbers.",
            place="--penalties",
            found=" ".join(f"{one:g}" for one in chosen),
            expected="LOW HIGH N with LOW below HIGH and N a whole number from 2 to "
            f"{MOST_PENALTIES}, such as 0.001 100000 20",
        )


def run_participant(settings: Settings, participant: str) -> str:
    """Do all that the settings ask for with one participant.

    Parameters
    ----------
    settings : Settings
    participant : str
        Label without ``sub-``.

    Returns
    -------
    str
        What was done, in a few words.

    Raises
    ------
    BidsEncoderError
        Input or output is wrong; the message says what and where.
    """
    checksums.forget()
    if settings.flow.reports_only:
        return f"report {write_report(settings.output_dir, participant)}"
    if settings.synthesis.reuse_models:
        return _reuse_models(settings, participant)
    with console.collected_warnings() as warnings:
        dataset, plans = _read(settings, participant)
        source, device = _open_source(
            settings, sorted({id_ for plan in plans for id_ in plan.stimuli})
        )
        for plan in plans:
            source.check_stimuli(plan.stimuli.values())
            _check_memory(settings, plan, source)
            check_plan(settings, plan, source)
        if settings.flow.dry_run:
            return "planned, nothing written"
        datasets = init_dataset(
            settings.output_dir,
            dataset.root,
            {d.name: d.root for d in dataset.derivatives} | betas_options(settings).folders,
        )
        add_descriptions(settings.output_dir, source.name, source.layers)
        _keep_settings(settings, participant, device)
        known = len(warnings)
        summaries = []
        with executor_of(settings, device) as executor:
            for plan in plans:
                del warnings[known:]  # those of the plan before
                named = {**plan.names, "network": source.name}
                data = MeasuredData(settings, plan, device, source)
                summaries.append(analyse(settings, datasets, data, source, executor, warnings))
                write_stimuli_figure(settings.output_dir, named, plan.stimuli)
                if settings.synthesis.synthesize:
                    saved = models_of(settings, named, source)
                    lab = ExperimentContext(settings, datasets, source, device, saved, data)
                    summaries += run_experiments(lab)
        remove_old_descriptions(settings.output_dir, source.name, source.layers)
    _report(settings, participant)
    return "; ".join(summaries)


def _check_memory(settings: Settings, plan: Plan, source: FeatureSource) -> None:
    """Say what is planned, and refuse what does not fit into ``--mem``.

    Where the mask is still to be computed, only an upper bound of the voxels is known: then that
    is done when they are counted.
    """
    resources, exact = settings.resources, plan.n_voxels[1]
    budget = memory_budget.budget(resources.mem, resources.nprocs)
    work = work_of(settings, plan, source)
    needed = memory_budget.in_words(memory_budget.needed(work, budget), budget, exact)
    p_values = planned_p_values(
        settings.inference, plan.n_voxels[0], places_in_words(plan.runs[0].form)
    )
    logger.info(plan.describe(source.name, source.layers, p_values, needed))
    if exact and (warning := memory_budget.check(work, budget, resources.mem, resources.nprocs)):
        logger.warning(warning)


def _reuse_models(settings: Settings, participant: str) -> str:
    """Run experiments with the models of an earlier run; no BOLD is looked at."""
    source, device = _open_source(settings, ())
    check_plan(settings, None, source)
    with console.stage("models") as words:
        found = open_models(settings, participant, source)
        words += [", ".join(f"task {saved.names['task']}" for saved in found)]
    if settings.flow.dry_run:
        return "planned, nothing written"
    derivatives = locate_derivatives(settings.bids_dir, settings.selection.derivatives)
    datasets = init_dataset(settings.output_dir, settings.bids_dir, derivatives)
    add_descriptions(settings.output_dir, source.name, source.layers)
    _keep_settings(settings, participant, device)
    summaries = []
    for saved in found:
        summaries += run_experiments(ExperimentContext(settings, datasets, source, device, saved))
    _report(settings, participant)
    return "; ".join(summaries)


def _open_source(settings: Settings, stimuli: Iterable[str]) -> tuple[FeatureSource, str]:
    with console.stage("network") as words:
        device = resolve_device(settings.resources.device)
        source = open_source(settings, stimuli, device)
        check_layers(settings, source.layers)
        words += [source.name, f"{len(source.layers)} layers", device]
    return source, device


def _report(settings: Settings, participant: str) -> None:
    """Make the page, unless what it is made of is elsewhere and only models are here."""
    if settings.synthesis.reuse_models and not find_analyses(settings.output_dir, [participant]):
        return
    with console.stage("report") as words:
        words.append(str(write_report(settings.output_dir, participant)))


def _read(settings: Settings, participant: str) -> tuple[Dataset, list[Plan]]:
    selection = settings.selection
    with console.stage("dataset") as words:
        dataset = open_dataset(
            settings.bids_dir,
            participants=[participant],
            derivatives=selection.derivatives,
            database_dir=selection.bids_database_dir,
            skip_validation=selection.skip_bids_validation,
            follow_links=selection.follow_links,
        )
        plans = make_plans(settings, dataset, participant)
        n_runs = sum(len(plan.runs) for plan in plans)
        words += [f"sub-{participant}", f"{n_runs} run{'s' * (n_runs != 1)}"]
    return dataset, plans


def _keep_settings(settings: Settings, participant: str, device: str) -> None:
    """Write the settings of this run beside those of earlier ones, and what else it ran with."""
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    names = {"sub": participant, "runid": run_id}
    path = file_names.output_path(settings.output_dir, "config", names)
    atomic.write_text(path, f"# {'; '.join(_circumstances(device))}\n{to_toml(settings)}")


def _circumstances(device: str) -> list[str]:
    """What may change the last bits of results, besides settings and input."""
    import torch

    return [
        ", ".join(map(" ".join, provenance.software_versions().items())),
        f"{torch.get_num_threads()} threads on {device}",
        f"{platform.system()} {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    ]
