"""What is known before anything is computed: runs, stimuli, design, size.

A plan reads tables and headers only. Whatever is wrong with the input comes out
here, before an hour of work is spent on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from bids_encoder.analysis.fold_rows import fold_stimuli, fold_volumes, with_sizes
from bids_encoder.analysis.test_set import TestSet
from bids_encoder.bids.events import Presentation
from bids_encoder.bids.records import BetasRun, BoldRun, Run
from bids_encoder.derivatives.read import places_in_words
from bids_encoder.regions.load import RegionFiles
from bids_encoder.responses.classes import Columns
from bids_encoder.responses.cleaning import Cleaning, listed_reasons
from bids_encoder.responses.design import DesignChoice
from bids_encoder.responses.grouping import NO_WISH, FoldWish, Grouping
from bids_encoder.responses.masks import read_mask
from bids_encoder.responses.read_bold import BoldInfo, ImageInfo
from bids_encoder.runtime import console
from bids_encoder.stimuli.films import Film
from bids_encoder.stimuli.segments import Segment
from bids_encoder.surfaces.find_meshes import SurfaceFiles


@dataclass(frozen=True)
class Plan:
    """One analysis: a participant, a task and a space.

    Attributes
    ----------
    participant, task : str
    runs : tuple of Run
    infos : tuple of ImageInfo
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
    columns : Columns
        What the tables say of each stimulus.
    fold_wish : FoldWish
        What the user asks of the folds of the cross-validation.
    runs_together : bool
        Whether responses are estimated from all runs together, run by run otherwise.
    surfaces : SurfaceFiles or None
        Geometry of the hemispheres, where the BOLD lies on surfaces.
    """

    participant: str
    task: str
    runs: tuple[Run, ...]
    infos: tuple[ImageInfo, ...]
    presentations: tuple[tuple[Presentation, ...], ...]
    screen: tuple[tuple[Presentation, ...], ...]
    stimuli: dict[str, Path | Segment]
    stimuli_stamp: str
    films: dict[str, Film]
    design: DesignChoice
    cleanings: tuple[Cleaning, ...]
    regions: tuple[RegionFiles, ...] = ()
    test_set: TestSet | None = None
    columns: Columns = field(default_factory=dict)
    fold_wish: FoldWish = NO_WISH
    runs_together: bool = False
    surfaces: SurfaceFiles | None = None

    @property
    def precomputed(self) -> bool:
        """Whether responses were estimated elsewhere, so that there is no BOLD."""
        return isinstance(self.runs[0], BetasRun)

    @property
    def bold_runs(self) -> tuple[BoldRun, ...]:
        """Its runs where they are BOLD; none of precomputed responses."""
        return tuple(run for run in self.runs if isinstance(run, BoldRun))

    @property
    def bold_infos(self) -> tuple[BoldInfo, ...]:
        """Shape and timing of each run of BOLD."""
        return tuple(info for info in self.infos if isinstance(info, BoldInfo))

    @property
    def betas_runs(self) -> tuple[BetasRun, ...]:
        """Its runs where they are precomputed responses; none of BOLD."""
        return tuple(run for run in self.runs if isinstance(run, BetasRun))

    @property
    def start_times(self) -> list[float]:
        """Seconds from the onset of a volume to its moment, one a run; 0 for betas."""
        return [run.start_time if isinstance(run, BoldRun) else 0.0 for run in self.runs]

    @property
    def names(self) -> dict[str, str | None]:
        """What the names of this analysis' files are made of."""
        run = self.runs[0]
        return {
            "sub": self.participant,
            "task": self.task,
            "hemi": next(iter(run.hemispheres)) if len(run.hemispheres) == 1 else None,
            "space": run.space,
            "res": run.resolution,
            "den": run.density,
            "form": run.form,
        }

    @property
    def sources(self) -> list[Path]:
        """Every file of the dataset that this analysis reads, but the stimuli."""
        files = [path for run in self.runs for path in run.images]
        besides: list[Path | None] = [run.events for run in self.runs]
        besides += [run.mask for run in self.runs]
        besides += [run.confounds for run in self.bold_runs]
        files += [file for file in besides if file is not None]
        files += [image for run in self.betas_runs for image in run.betas.files]
        if self.surfaces is not None and self.surfaces.own:
            files += self.surfaces.files
        return list(dict.fromkeys(files))

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

    @cached_property
    def n_voxels(self) -> tuple[int, bool]:
        """Voxels to be analysed, and whether that is exact (else: at most)."""
        masks = dict.fromkeys(run.mask for run in self.runs if run.mask is not None)
        if not masks:
            return int(np.prod(self.infos[0].shape)), False
        return min(int(read_mask(mask, self.infos[0]).sum()) for mask in masks), True

    @property
    def shown_stimuli(self) -> tuple[str, ...] | None:
        """What the rows of the responses show, as far as tables say; None: continuous design."""
        if self.design.kind == "continuous":
            return None
        return tuple(dict.fromkeys(one.stimulus for seen in self.presentations for one in seen))

    def held_out(self, stimuli: Sequence[str] | None, n_rows: int) -> np.ndarray:
        """Which rows are a test set, (n,) bool.

        Parameters
        ----------
        stimuli : sequence of str, or None
            What each row shows; None in a continuous design.
        n_rows : int

        Raises
        ------
        DataError
            Too few rows are left to train with, or to test with.
        """
        if self.test_set is None:
            return np.zeros(n_rows, dtype=bool)
        n_kept = [cleaning.n_kept for cleaning in self.cleanings]
        return self.test_set.rows(stimuli, self.runs, n_kept)

    def fold(
        self, rows: np.ndarray, stimuli: Sequence[str] | None, wish: FoldWish | None = None
    ) -> Grouping:
        """What cross-validation over some of the rows leaves out together.

        Parameters
        ----------
        rows : (n,) bool
            Those that models learn from.
        stimuli : sequence of n str, or None
            What each row shows; None in a continuous design.
        wish : FoldWish, optional
            In place of the user's.

        Raises
        ------
        UsageError
            A wish cannot be kept.
        """
        how = (self.runs, self.presentations, self.columns, wish or self.fold_wish)
        if stimuli is not None:
            return fold_stimuli(rows, stimuli, *how)
        return fold_volumes(rows, self.bold_infos, self.cleanings, *how)

    @cached_property
    def grouping(self) -> Grouping:
        """What cross-validation leaves out together, as far as tables say.

        Responses that cannot be estimated, for motion, may be missing in the end.
        """
        return self.fold(~self.shown_test_set, self.shown_stimuli)

    @property
    def shown_test_set(self) -> np.ndarray:
        """Which rows are a test set, (n,) bool, as far as tables say."""
        stimuli = self.shown_stimuli
        return self.held_out(stimuli, self.n_samples if stimuli is None else len(stimuli))

    @property
    def reference_times(self) -> dict[float, str]:
        """Moments that the volumes of the runs stand for (seconds), and what says so."""
        return {round(run.start_time, 6): run.start_time_source for run in self.bold_runs}

    @property
    def recording(self) -> dict[str, object]:
        """What was measured and what of it counts, for a sidecar."""
        if self.precomputed:
            return {
                "Precomputed": {
                    run.name: {"Maps": len(run.betas.maps), "Table": run.betas.table.name}
                    for run in self.betas_runs
                }
            }
        return {
            "RepetitionTime": self.bold_infos[0].repetition_time,
            "ReferenceTime": {source: time for time, source in self.reference_times.items()},
            "VolumesAndConfounds": {
                run.name: cleaning.described
                for run, cleaning in zip(self.runs, self.cleanings, strict=True)
            },
        }

    @property
    def left_out(self) -> dict[str, int]:
        """How many volumes of all runs do not count, by the reason."""
        total: dict[str, int] = {}
        for cleaning in self.cleanings:
            for reason, number in cleaning.reasons.items():
                total[reason] = total.get(reason, 0) + number
        return total

    def describe(self, network: str, layers: Sequence[str], p_values: str, memory: str) -> str:
        """The plan in words, for ``--dry-run`` and the log.

        Parameters
        ----------
        network : str
        layers : sequence of str
        p_values : str
            What p-values can reach.
        memory : str
            How much it needs.
        """
        n_voxels, exact = self.n_voxels
        shown = sum(map(len, self.presentations))
        rows = [
            *self._measured(),
            (places_in_words(self.runs[0].form),
             str(n_voxels) if exact else f"a mask to be computed in {n_voxels}"),
            ("stimuli", f"{self._contents()}, shown {shown} time{'s' * (shown != 1)}"),
            ("design", f"{self.design.kind}: {self.design.reason}"),
            ("folds", self._folds()),
            *([("test set", self._tested(self.test_set))] if self.test_set else []),
            *([("meshes", self.surfaces.source)] if self.surfaces else []),
            ("regions", ", ".join(one.source for one in self.regions) or "none"),
            ("network", f"{network}: {', '.join(layers)}"),
            ("p-values", p_values),
            ("memory", memory),
        ]  # fmt: skip
        title = f"sub-{self.participant}, task {self.task}"
        return "\n".join([title, *(f"  {name:<9}{text}" for name, text in rows)])

    def _folds(self) -> str:
        folds = self.grouping
        rows = "volumes" if self.design.kind == "continuous" else "stimuli"
        text = (
            f"{len(folds.names)} for cross-validation, which leave out {folds.by}: "
            f"{with_sizes(folds.names, folds.sizes)} {rows}"
        )
        return f"{text}. {folds.remark}" if folds.remark else text

    def _tested(self, held: TestSet) -> str:
        rows = "volumes" if self.design.kind == "continuous" else "stimuli"
        number = np.count_nonzero(self.shown_test_set)
        return f"{held.text}: {number} {rows} that train no model"

    def _contents(self) -> str:
        films, pictures = len(self.films), self.n_shown - len(self.films)
        seconds = console.duration(sum(film.duration for film in self.films.values()))
        parts = [f"{pictures} picture{'s' * (pictures != 1)}"] if pictures or not films else []
        if films:
            parts.append(f"{films} film{'s' * (films != 1)} ({seconds})")
        return " and ".join(parts)

    def _measured(self) -> list[tuple[str, str]]:
        """What there is of BOLD or betas, in words."""
        sessions = {run.session for run in self.runs if run.session is not None}
        runs = f"{len(self.runs)} run{'s' * (len(self.runs) > 1)}" + (
            f" in {len(sessions)} session{'s' * (len(sessions) > 1)}" if sessions else ""
        )
        number = sum(info.n_volumes for info in self.infos)
        if self.precomputed:
            return [("betas", f"{runs}, {number} maps, precomputed")]
        space = self.runs[0].space
        timing = [
            f"volumes stand for {time:g} s after their onset ({source})"
            for time, source in self.reference_times.items()
        ]
        return [
            ("BOLD", f"{runs}, {number} volumes, TR {self.bold_infos[0].repetition_time:g} s, "
             + (f"space {space}" if space else "as acquired")),
            ("left out", f"volumes: {listed_reasons(self.left_out)}"),
            ("timing", "; ".join(timing)),
        ]  # fmt: skip
