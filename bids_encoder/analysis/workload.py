"""How large the work of a plan is: from settings and tables, for the estimate of memory."""

from __future__ import annotations

from collections import Counter

from bids_encoder.analysis.plan import Plan
from bids_encoder.analysis.predicted_region import sampled_stimuli
from bids_encoder.analysis.test_set import TestSet
from bids_encoder.bids.records import BetasRun
from bids_encoder.compute import memory_budget
from bids_encoder.config.settings import Settings
from bids_encoder.encoding.penalties import longest_grid
from bids_encoder.features.external import ExternalFeatures
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.responses.means import repeated_among, units_of_standardization

LARGEST_LAYER = 25_000  # features; layers of networks are reduced to at most so many
_GZIPPED = 3  # of the size of a GIFTI file: its text, what it unpacks to, and the arrays


def work_of(
    settings: Settings, plan: Plan, source: FeatureSource | None = None, n_voxels: int | None = None
) -> memory_budget.Work:
    """The size of the analysis of a plan.

    Parameters
    ----------
    settings : Settings
    plan : Plan
    source : FeatureSource, optional
        Where features come from, once it is open.
    n_voxels : int, optional
        Once they are counted; by default what the plan knows of them.
    """
    joint, events = settings.joint, plan.design.kind == "events"
    n_samples = plan.n_samples
    shown = [[one.stimulus for one in run] for run in plan.presentations]
    wanted = sampled_stimuli(settings.neural_code, plan)
    sizes = [] if source is None else list(source.sizes.values())
    widest = max(sizes, default=LARGEST_LAYER)
    lazily = source is not None and isinstance(source.origin, ExternalFeatures)
    volumes = [info.n_volumes for info in plan.infos]
    rows = {"n_unit": 0, "n_run": 0, "n_halves": 0}
    if events:
        # Betas come one by one; in what is a dense series of volumes, a run's come together.
        each = shown if plan.precomputed else [list(dict.fromkeys(run)) for run in shown]
        rows = {
            "n_unit": _largest_unit(settings, plan, shown),
            "n_run": 0 if plan.precomputed else max(len(set(run)) for run in shown),
            "n_halves": len(repeated_among(wanted, [one for run in each for one in run])),
        }
    return memory_budget.Work(
        n_samples=n_samples,
        n_held=_held_out(plan, plan.test_set, shown) if plan.test_set else 0,
        n_voxels=plan.n_voxels[0] if n_voxels is None else n_voxels,
        n_stimuli=len(plan.stimuli) + (not events),
        n_layers=len(source.layers) if source is not None else 8,
        n_features=0 if lazily else widest,
        widest=widest,
        n_volumes=0 if plan.precomputed else max(volumes),
        n_all_volumes=0 if plan.precomputed else sum(volumes),
        reading=_reading(plan),
        n_items=len(wanted),
        is_continuous=not events,
        together=plan.runs_together,
        nested=settings.encoding.nested,
        primal=settings.encoding.save_weights == "primal",
        n_permutations=settings.inference.n_permutations,
        n_penalties=longest_grid(settings.encoding.penalties),
        joint=joint.joint or joint.joint_unique,
        unique=joint.joint_unique,
        n_draws=joint.joint_draws,
        simulated=bool(settings.synthesis.synthesize),
        **rows,
    )


def _largest_unit(settings: Settings, plan: Plan, shown: list[list[str]]) -> int:
    """Stimuli of the session (or run) that shows the most."""
    names, sessions = zip(*((run.name, run.session) for run in plan.runs), strict=True)
    units = units_of_standardization(names, sessions, settings.responses.standardize)
    stimuli: dict[str, set[str]] = {}
    for unit, run in zip(units, shown, strict=True):
        stimuli.setdefault(unit, set()).update(run)
    return max(map(len, stimuli.values()))


def _held_out(plan: Plan, held: TestSet, shown: list[list[str]]) -> int:
    """Rows of a test set."""
    if plan.design.kind == "events":
        return len({one for run in shown for one in run} & set(held.stimuli))
    counts: Counter[bool] = Counter()
    for run, cleaning in zip(plan.runs, plan.cleanings, strict=True):
        counts[run.name in held.runs] += cleaning.n_kept
    return counts[True]


def _reading(plan: Plan) -> int:
    """Bytes of a file that can only be read whole: of GIFTI, the largest one of a run."""
    sizes = [
        sum(path.stat().st_size for path in images if ".gii" in path.name)
        for images in (
            run.betas.files if isinstance(run, BetasRun) else run.images for run in plan.runs
        )
    ]
    return _GZIPPED * max(sizes, default=0)
