"""What is known before anything is computed: runs, stimuli, design, size.

A plan reads tables and headers only. Whatever is wrong with the input comes out
here, before an hour of work is spent on it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_encoder import console, memory
from bids_encoder.bids.dataset import Dataset, Run, find_runs
from bids_encoder.bids.events import Presentation, check_onsets, read_presentations
from bids_encoder.bids.filters import load_filter_file
from bids_encoder.encoding.memory import make_plan as make_fit_plan
from bids_encoder.encoding.ridge import PENALTIES
from bids_encoder.errors import UsageError
from bids_encoder.regions import RegionFiles, find_regions
from bids_encoder.responses.bold import BoldInfo, describe_bold
from bids_encoder.responses.confounds import Thresholds
from bids_encoder.responses.design import DesignChoice, choose_design
from bids_encoder.responses.grouping import Grouping, continuous_groups, event_groups
from bids_encoder.responses.masks import read_mask
from bids_encoder.responses.volumes import Cleaning, clean_runs, listed_reasons
from bids_encoder.screen import read_screen
from bids_encoder.settings import Settings
from bids_encoder.stimuli.films import Film
from bids_encoder.stimuli.segments import Segment
from bids_encoder.testset import TestSet, choose_test_set, is_of, parse_test_set

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One analysis: a participant, a task and a space.

    Attributes
    ----------
    participant, task : str
    runs : tuple of Run
    infos : tuple of BoldInfo
        Shape and timing of each run.
    presentations : tuple of tuples of Presentation
        What each run has shown.
    screen : tuple of tuples of Presentation
        Likewise, with films cut into the stretches that single volumes see, if the design
        is continuous.
    stimuli : dict of str to Path or Segment
        What each stimulus on the screen is, by its id: the file of a picture, or a stretch
        of a film. Files with the same content are one stimulus.
    stimuli_stamp : str
        Changes when the content of a stimulus does.
    films : dict of str to Film
        The films among the presentations.
    design : DesignChoice
    cleanings : tuple of Cleaning
        Which volumes of each run count, and its confounds.
    regions : tuple of RegionFiles
        Where regions of interest are.
    test_set : TestSet or None
        What is held out of all training.
    """

    participant: str
    task: str
    runs: tuple[Run, ...]
    infos: tuple[BoldInfo, ...]
    presentations: tuple[tuple[Presentation, ...], ...]
    screen: tuple[tuple[Presentation, ...], ...]
    stimuli: dict[str, Path | Segment]
    stimuli_stamp: str
    films: dict[str, Film]
    design: DesignChoice
    cleanings: tuple[Cleaning, ...]
    regions: tuple[RegionFiles, ...] = ()
    test_set: TestSet | None = None

    @property
    def names(self) -> dict[str, str | None]:
        """What the names of this analysis' files are made of."""
        run = self.runs[0]
        return {
            "sub": self.participant,
            "task": self.task,
            "space": run.space,
            "res": run.resolution,
        }

    @property
    def sources(self) -> list[Path]:
        """Every file of the dataset that this analysis reads, but the stimuli."""
        kinds = ("bold", "events", "mask", "confounds")
        files = [getattr(run, kind) for kind in kinds for run in self.runs]
        return list(dict.fromkeys(file for file in files if file is not None))

    @property
    def n_shown(self) -> int:
        """Number of different pictures and films that were shown."""
        return len({one.stimulus for shown in self.presentations for one in shown})

    @property
    def frames_per_second(self) -> float | None:
        """How often films are sampled; None where there is none."""
        rates = (one.fps for one in self.stimuli.values() if isinstance(one, Segment))
        return next(rates, None)

    @property
    def n_samples(self) -> int:
        """Rows of the response matrix."""
        if self.design.kind == "events":
            return len(self.stimuli)
        return sum(cleaning.n_kept for cleaning in self.cleanings)

    @property
    def n_voxels(self) -> tuple[int, bool]:
        """Voxels to be analysed, and whether that is exact (else: at most)."""
        masks = dict.fromkeys(run.mask for run in self.runs if run.mask is not None)
        if not masks:
            return int(np.prod(self.infos[0].shape)), False
        return min(int(read_mask(mask, self.infos[0]).sum()) for mask in masks), True

    @property
    def grouping(self) -> Grouping:
        """What cross-validation leaves out together."""
        names, sessions = zip(*((run.name, run.session) for run in self.runs), strict=True)
        if self.design.kind == "events":
            stimuli = [[one.stimulus for one in seen] for seen in self.presentations]
            return event_groups(names, sessions, stimuli)
        n_volumes, times = zip(
            *((info.n_volumes, info.repetition_time) for info in self.infos), strict=True
        )
        kept = np.concatenate([cleaning.kept for cleaning in self.cleanings])
        return continuous_groups(names, sessions, self.presentations, n_volumes, times).take(kept)

    @property
    def reference_times(self) -> dict[float, str]:
        """Moments that the volumes of the runs stand for (seconds), and what says so."""
        return {round(run.start_time, 6): run.start_time_source for run in self.runs}

    @property
    def left_out(self) -> dict[str, int]:
        """How many volumes of all runs do not count, by the reason."""
        total: dict[str, int] = {}
        for cleaning in self.cleanings:
            for reason, number in cleaning.reasons.items():
                total[reason] = total.get(reason, 0) + number
        return total

    def describe(self, network: str, layers: Sequence[str], budget: int) -> str:
        """The plan in words, for ``--dry-run`` and the log; ``budget``: bytes to be used."""
        run = self.runs[0]
        n_voxels, exact = self.n_voxels
        sessions = {r.session for r in self.runs if r.session is not None}
        shown = sum(map(len, self.presentations))
        groups = self.grouping.names
        rows = [
            ("BOLD", f"{len(self.runs)} run{'s' * (len(self.runs) > 1)}"
             + (f" in {len(sessions)} session{'s' * (len(sessions) > 1)}" if sessions else "")
             + f", {sum(info.n_volumes for info in self.infos)} volumes, "
             f"TR {self.infos[0].repetition_time:g} s, "
             + (f"space {run.space}" if run.space else "as acquired")),
            ("left out", f"volumes: {listed_reasons(self.left_out)}"),
            ("timing", "; ".join(f"volumes stand for {time:g} s after their onset ({source})"
                                 for time, source in self.reference_times.items())),
            ("voxels", str(n_voxels) if exact else f"a mask to be computed in {n_voxels}"),
            ("stimuli", f"{self._contents()}, shown {shown} time{'s' * (shown != 1)}"),
            ("design", f"{self.design.kind}: {self.design.reason}"),
            ("groups", f"{len(groups)} for cross-validation: {listed(groups)}"),
            ("regions", ", ".join(one.source for one in self.regions) or "none"),
            ("network", f"{network}: {', '.join(layers)}"),
            ("memory", self._memory(n_voxels, exact, budget)),
        ]  # fmt: skip
        title = f"sub-{self.participant}, task {self.task}"
        return "\n".join([title, *(f"  {name:<9}{text}" for name, text in rows)])

    def _contents(self) -> str:
        films, pictures = len(self.films), self.n_shown - len(self.films)
        seconds = console.duration(sum(film.duration for film in self.films.values()))
        parts = [f"{pictures} picture{'s' * (pictures != 1)}"] if pictures or not films else []
        if films:
            parts.append(f"{films} film{'s' * (films != 1)} ({seconds})")
        return " and ".join(parts)

    def _memory(self, n_voxels: int, exact: bool, budget: int) -> str:
        fit = make_fit_plan(
            self.n_samples,
            None,
            n_voxels,
            n_folds=5,
            n_penalties=len(PENALTIES),
            mem_bytes=memory.fit_budget(self.n_samples, n_voxels, budget),
        )
        total = memory.needed(
            n_samples=self.n_samples,
            n_voxels=n_voxels,
            n_volumes=max(info.n_volumes for info in self.infos),
            n_stimuli=len(self.stimuli),
            fit=fit.bytes,
        )
        return (
            f"{'about' if exact else 'at most'} {total / memory.GB:.1f} GB "
            f"of the {budget / memory.GB:.1f} GB that may be used"
        )


def listed(names: Sequence[str]) -> str:
    """Name up to four groups, or the first and the last, without what is in all names."""
    short = [re.sub(r"sub-[^_]+_|_?task-[^_+]+", "", name) for name in names]
    short = [new.strip("_") or name for new, name in zip(short, names, strict=True)]
    return ", ".join(short) if len(short) <= 4 else f"{short[0]} to {short[-1]}"


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
    plans = []
    films: dict[Path, Film] = {}
    for space in selection.space or (None,):
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
        for ours in _analysed_together(runs, settings.encoding.test_set):
            plan = _plan_task(settings, participant, ours, shown, files, films)
            regions = find_regions(settings, dataset, participant, ours)
            plans.append(replace(plan, regions=regions))
    return plans


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


def _plan_task(settings, participant, runs, shown, files, films) -> Plan:
    infos = [describe_bold(run.bold, run.repetition_time) for run in runs]
    for run, info in zip(runs, infos, strict=True):
        check_onsets(shown[run.events], info.n_volumes * info.repetition_time, run.events)
    fps = settings.stimuli.frames_per_second
    seen = read_screen([shown[run.events] for run in runs], files, fps, films)
    presentations = seen.presentations
    if settings.responses.design == "auto":
        design = choose_design(presentations, infos, seen.films)
    else:
        design = DesignChoice(settings.responses.design, "as --design says")
    instants = sum(one.duration == 0 for shown in presentations for one in shown)
    if design.kind == "continuous" and instants:
        logger.warning(
            f"{instants} presentations have no duration: in a continuous design they count for "
            "nothing, and the screen as empty"
        )
    if design.kind == "events":
        screen, stimuli = presentations, seen.clips(fps)
    else:
        screen, stimuli = seen.pieces(
            [info.n_volumes for info in infos],
            [info.repetition_time for info in infos],
            [run.start_time for run in runs],
            settings.responses.delays,
            fps,
        )
    held_out = settings.encoding.test_set
    chosen = settings.responses
    cleanings = clean_runs(
        runs,
        [info.n_volumes for info in infos],
        strategy=chosen.confounds,
        thresholds=Thresholds(chosen.fd_threshold, chosen.std_dvars_threshold),
        skip_volumes=chosen.skip_volumes,
    )
    return Plan(
        participant=participant,
        task=runs[0].task,
        runs=tuple(runs),
        infos=tuple(infos),
        presentations=presentations,
        screen=screen,
        stimuli=stimuli,
        stimuli_stamp=seen.stamp,
        films=seen.films,
        design=design,
        cleanings=cleanings,
        test_set=choose_test_set(held_out, runs, presentations, design.kind) if held_out else None,
    )
