"""What makes the results of one analysis what they are, besides settings and files.

A file is known by its stamp, which all of it goes into. But not all that a computation takes in
is the content of a file that is named in ``Sources``: sidecars are inherited, catalogues say
which picture is meant, a JSON file decides which confounds are kept. So it is what was read that
is stamped here, not where it stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from bids_encoder.analysis.plan import Plan
from bids_encoder.bids.records import BetasRun, BoldRun
from bids_encoder.config.settings import (
    EncodingSettings,
    NetworkSettings,
    Settings,
    result_settings,
)
from bids_encoder.derivatives.provenance import content_stamp
from bids_encoder.derivatives.write import Analysis, start_analysis
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.responses.cleaning import Cleaning
from bids_encoder.responses.read_bold import BoldInfo
from bids_encoder.surfaces.read_meshes import load_meshes

# What changes nothing in the mask, the mean BOLD, the noise ceiling (of films that recur it is of
# the folds), the measured contrasts.
_OF_NETWORK = frozenset(
    {
        "features",
        *(one.name for kind in (NetworkSettings, EncodingSettings) for one in fields(kind)),
    }
) - {"test_set", "folds", "n_folds"}


def begin_analysis(
    settings: Settings, datasets: Mapping[str, Path], plan: Plan, source: FeatureSource
) -> Analysis:
    """Begin the analysis of a plan: its names, settings, and stamps of all that it reads.

    Parameters
    ----------
    settings : Settings
    datasets : mapping of str to Path
        As :func:`bids_encoder.derivatives.dataset_description.init_dataset` returns them.
    plan : Plan
    source : FeatureSource

    Raises
    ------
    MissingInputError, DataError
        A file cannot be read.
    """
    blank = plan.design.kind == "continuous"
    return start_analysis(
        datasets,
        {**plan.names, "network": source.name},
        settings={
            **result_settings(settings),
            **identity_of(plan),
            "layers": list(source.layers),  # in the order of the network, however they were named
            "features": source.identity_of(plan.stimuli, blank=blank),
        },
        sources=plan.sources,
        of_network=_OF_NETWORK,
    )


def identity_of(plan: Plan) -> dict[str, object]:
    """Stamps of all that an analysis has read, ready for its settings.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    dict
        Each entry changes when what it is called after does. Folders and the order in which
        files were found change none of them.

    Raises
    ------
    MissingInputError, DataError
        A mesh cannot be read.
    """
    presentations = [
        [(one.onset, one.duration, one.stimulus) for one in shown] for shown in plan.presentations
    ]
    identity: dict[str, object] = {
        "design": plan.design.kind,
        "design_reason": plan.design.reason,
        "stimuli": plan.stimuli_stamp,
        "presentations": content_stamp(presentations),
        "reference_times": plan.start_times,
        "runs": content_stamp([_run(plan, number) for number in range(len(plan.runs))]),
    }
    if plan.cleanings:
        identity["confounds_read"] = content_stamp([_cleaning(one) for one in plan.cleanings])
    if plan.test_set is not None:
        held = plan.test_set
        identity["held_out"] = content_stamp([sorted(held.runs), sorted(held.stimuli)])
    if plan.surfaces is not None:
        meshes = load_meshes(plan.surfaces.measured)
        identity["meshes"] = plan.surfaces.source
        identity["geometry"] = {side: mesh.digest for side, mesh in sorted(meshes.items())}
    return identity


def _run(plan: Plan, number: int) -> list[object]:
    """What is known of a run from headers, sidecars and tables."""
    run, info = plan.runs[number], plan.infos[number]
    betas = isinstance(run, BetasRun) and run.betas
    return [
        run.name,
        run.preprocessed,
        run.start_time_source if isinstance(run, BoldRun) else "StartTime",
        info.repetition_time if isinstance(info, BoldInfo) else None,
        info.n_volumes,
        info.shape,
        info.affine,
        None if info.frame is None else info.frame.described(),
        [betas.maps, betas.n_rows, betas.key] if betas else None,
    ]


def _cleaning(one: Cleaning) -> list[object]:
    """Which volumes count, and the very numbers that are projected out."""
    found = one.confounds
    regressors = found and [found.names, found.values, found.has_drift]
    return [one.kept, dict(one.reasons), regressors]
