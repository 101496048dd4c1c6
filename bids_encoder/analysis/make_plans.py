"""From settings and dataset to plans: reading tables and headers, BOLD or betas."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.shown_stimuli import read_screen
from bids_encoder.analysis.test_set import choose_test_set, is_of, parse_test_set
from bids_encoder.betas.find import (
    BetasOptions,
    find_beta_files,
    grid_candidates,
    wants_betas,
)
from bids_encoder.betas.measure import describe_betas
from bids_encoder.betas.trials import read_trials
from bids_encoder.bids.checks import participant_labels
from bids_encoder.bids.columns import stimulus_columns
from bids_encoder.bids.dataset import Dataset, find_runs, select_files
from bids_encoder.bids.events import Presentation, check_onsets, read_presentations
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.bids.records import BoldRun, Run
from bids_encoder.config.settings import Settings
from bids_encoder.errors import UsageError
from bids_encoder.regions.load import find_regions
from bids_encoder.responses.acquisitions import refuse_copies
from bids_encoder.responses.cleaning import clean_runs
from bids_encoder.responses.confounds import Thresholds
from bids_encoder.responses.design import DesignChoice, choose_design
from bids_encoder.responses.grids import check_frames, describe_run
from bids_encoder.responses.grouping import FoldWish
from bids_encoder.responses.rank1_runs import RANK1
from bids_encoder.responses.read_bold import BoldInfo, ImageInfo
from bids_encoder.stimuli.films import Film
from bids_encoder.surfaces.find_meshes import SurfaceFiles, find_surfaces
from bids_encoder.surfaces.read_meshes import count_vertices

logger = logging.getLogger(__name__)


def make_plans(settings: Settings, dataset: Dataset, participant: str) -> list[Plan]:
    """Plan the analyses of one participant: one per task and space.

    Parameters
    ----------
    settings : Settings
    dataset : Dataset
    participant : str

    Raises
    ------
    BidsEncoderError
        Whatever is missing or wrong in the input, as the readers raise it.
    """
    selection = settings.selection
    filters = load_filter_file(selection.bids_filter_file) if selection.bids_filter_file else None
    read = _read_betas if wants_betas(betas_options(settings), filters) else _read_runs
    plans = []
    films: dict[Path, Film] = {}
    for space in selection.space or (None,):
        seen, files = read(settings, dataset, participant, space, filters)
        for runs in _analysed_together([run for run, _, _ in seen], settings.encoding.test_set):
            ours = [one for run in runs for one in seen if one[0] is run]
            plan = _plan_task(settings, participant, ours, files, films)
            regions = find_regions(settings, dataset, participant, runs)
            surfaces = _find_surfaces(dataset, participant, plan)
            plans.append(replace(plan, regions=regions, surfaces=surfaces))
    return plans


def _find_surfaces(dataset: Dataset, participant: str, plan: Plan) -> SurfaceFiles | None:
    frame = plan.infos[0].frame
    if frame is None:
        return None
    check_frames(plan.infos)
    sizes = {side: sheet.n_vertices for side, (sheet, _) in frame.sheets.items()}
    return find_surfaces(dataset, participant, plan.runs[0].space, sizes, count_vertices)


def betas_options(settings: Settings) -> BetasOptions:
    """Where the user says that betas are."""
    chosen = settings.betas
    return BetasOptions(chosen.betas, chosen.betas_table, chosen.betas_mask, chosen.betas_key)


# A run, its size, and what it has shown; the functions below also return the stimuli's files.
_Seen = tuple[Run, ImageInfo, tuple[Presentation, ...]]


def _read_runs(settings, dataset, participant, space, filters) -> tuple[list[_Seen], dict]:
    """BOLD runs."""
    selection = settings.selection
    runs = find_runs(
        dataset,
        participant,
        sessions=selection.session_label,
        tasks=selection.task_id,
        runs=selection.run_id,
        space=space,
        filters=filters,
        slice_time_ref=settings.responses.slice_time_ref,
    )
    shown, files = read_presentations(
        [run.events for run in runs],
        dataset_root=dataset.root,
        column=settings.stimuli.stim_column,
        stim_dir=settings.stimuli.stim_dir,
    )
    runs = [run for run in runs if run.events in shown]
    infos = [describe_run(run) for run in runs]
    return [(run, info, shown[run.events]) for run, info in zip(runs, infos, strict=True)], files


def _read_betas(settings, dataset, participant, space, filters) -> tuple[list[_Seen], dict]:
    """Runs of precomputed responses."""
    chosen = settings.selection
    selection = select_files(
        participant, chosen.session_label, chosen.task_id, chosen.run_id, space, filters
    )
    if settings.responses.design == "continuous":
        raise UsageError(
            "Precomputed responses are of single stimuli: they make no continuous design.",
            place="--design",
            found="continuous",
            expected="events or auto",
        )
    n_participants = len(participant_labels(dataset.root))
    found = find_beta_files(dataset, selection, betas_options(settings), n_participants)
    runs, shown, files = read_trials(
        dataset,
        found,
        selection,
        column=settings.stimuli.stim_column,
        stim_dir=settings.stimuli.stim_dir,
    )
    infos = describe_betas(runs, grid_candidates(dataset, selection))
    return list(zip(runs, infos, shown, strict=True)), files


def _analysed_together(runs: Sequence[Run], test_set: str | None) -> list[list[Run]]:
    """Runs of one task each, to which those of a task come that is the test set."""
    tested = []
    if test_set is not None and parse_test_set(test_set)[0] == "task":
        tested = [run for run in runs if is_of(run, *parse_test_set(test_set))]
    training = [run for run in runs if run not in tested]
    tasks = dict.fromkeys(run.task for run in training)
    if tested and not tasks:
        raise UsageError(
            "All runs are of the task that is the test set: nothing is left to learn from.",
            place="--test-set",
            found=test_set,
            remedy="select another task too (--task-id), or divide by run=LABEL",
        )
    return [[run for run in training if run.task == task] + tested for task in tasks]


def _say_what_has_no_effect(settings: Settings, precomputed: bool, design: DesignChoice) -> None:
    """Warn of options for the responses that this analysis has no use for."""
    chosen = settings.responses
    if chosen.hrf in RANK1 and (precomputed or design.kind == "continuous"):
        why = (
            "responses were estimated elsewhere"
            if precomputed
            else "in a continuous design the features' --delays stand for the response"
        )
        logger.warning(f"--hrf {chosen.hrf} has no effect: {why}")
    if chosen.skip_volumes and precomputed:
        logger.warning("--skip-volumes has no effect: responses were estimated elsewhere")


def _plan_task(settings: Settings, participant: str, seen: Sequence[_Seen], files, films) -> Plan:
    runs, infos, presentations = zip(*seen, strict=True)
    chosen, fps = settings.responses, settings.stimuli.frames_per_second
    bold_runs = [run for run in runs if isinstance(run, BoldRun)]
    bold_infos = [info for info in infos if isinstance(info, BoldInfo)]
    precomputed = not bold_runs
    if not precomputed:
        for run, info, shown in zip(bold_runs, bold_infos, presentations, strict=True):
            check_onsets(shown, info.duration, run.events)
        refuse_copies(bold_runs, bold_infos, presentations)
    screen = read_screen(presentations, files, fps, films)
    presentations = screen.presentations
    if precomputed:
        design = DesignChoice("events", "precomputed responses, one map each")
    elif chosen.design == "auto":
        design = choose_design(presentations, bold_infos, screen.films)
    elif chosen.design == "events":
        design = DesignChoice("events", "as --design says")
    else:
        design = DesignChoice("continuous", "as --design says")
    _say_what_has_no_effect(settings, precomputed, design)
    instants = sum(one.duration == 0 for shown in presentations for one in shown)
    if design.kind == "continuous" and instants:
        logger.warning(
            f"{instants} presentations have no duration: in a continuous design they count for "
            "nothing, and the screen as empty"
        )
    if design.kind == "events":
        on_screen, stimuli = presentations, screen.clips(fps)
    else:
        on_screen, stimuli = screen.pieces(
            [info.n_volumes for info in bold_infos],
            [info.repetition_time for info in bold_infos],
            [run.start_time for run in bold_runs],
            chosen.delays,
            fps,
        )
    cleanings = (
        ()
        if precomputed
        else clean_runs(
            bold_runs,
            [info.n_volumes for info in bold_infos],
            strategy=chosen.confounds,
            thresholds=Thresholds(chosen.fd_threshold, chosen.std_dvars_threshold),
            skip_volumes=chosen.skip_volumes,
        )
    )
    encoding = settings.encoding
    held_out = encoding.test_set
    return Plan(
        participant=participant,
        task=runs[0].task,
        runs=runs,
        infos=infos,
        presentations=presentations,
        screen=on_screen,
        stimuli=stimuli,
        stimuli_stamp=screen.stamp,
        films=screen.films,
        design=design,
        cleanings=cleanings,
        test_set=choose_test_set(held_out, runs, presentations, design.kind) if held_out else None,
        columns=stimulus_columns(runs, presentations),
        fold_wish=FoldWish(encoding.folds, encoding.n_folds),
        runs_together=design.kind == "events" and not precomputed and chosen.hrf in RANK1,
    )
