"""Experiments that nobody ran (``--synthesize``): which there are, and how they are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bids_encoder.analysis.plan import Plan
from bids_encoder.config.settings import Settings
from bids_encoder.errors import UsageError
from bids_encoder.experiments import retinotopy
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.experiments.contrasts import Contrasts
from bids_encoder.experiments.picture_folder import ShownPictures
from bids_encoder.features.feature_source import FeatureSource


class Experiment(Protocol):
    """A module, or an object, with these functions."""

    def check(self, settings: Settings) -> None:
        """Raise what can be found wrong before anything is computed."""
        ...

    def check_plan(self, settings: Settings, plan: Plan | None, source: FeatureSource) -> None:
        """Raise what is found wrong with one analysis before anything is computed.

        With ``--reuse-models`` there is no plan.
        """
        ...

    def run(self, lab: ExperimentContext) -> str:
        """Write what the models predict; say in a few words what came out."""
        ...


def experiment(name: str) -> Experiment:
    """The experiment that a value of ``--synthesize`` means.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if name == "retinotopy":
        return retinotopy
    if name.lower().endswith(".json"):
        return Contrasts(Path(name))
    if Path(name).is_dir() or "/" in name:
        return ShownPictures(Path(name))
    raise UsageError(
        "There is no such experiment.",
        place="--synthesize",
        found=name,
        expected="retinotopy, a JSON file of contrasts, or a folder of pictures",
    )


def check_experiments(settings: Settings) -> None:
    """Check the options of all experiments that are asked for, once for all participants.

    Raises
    ------
    BidsEncoderError
        Options that do not go together; files or folders that are not there.
    """
    chosen = settings.synthesis
    if chosen.reuse_models and not chosen.synthesize:
        raise UsageError(
            "Saved models are to be used, and nothing is asked of them.",
            place="--reuse-models",
            remedy="say what they should predict: --synthesize retinotopy",
        )
    if chosen.synthesize and not chosen.reuse_models and settings.encoding.save_weights == "none":
        raise UsageError(
            "Experiments are predicted from saved models, and none are to be saved.",
            place="--synthesize",
            found="--save-weights none",
            remedy="leave out --save-weights none",
        )
    for name in chosen.synthesize:
        experiment(name).check(settings)


def check_plan(settings: Settings, plan: Plan | None, source: FeatureSource) -> None:
    """Check what the experiments that are asked for need of one analysis.

    Raises
    ------
    BidsEncoderError
        Conditions that are not there, too few pictures; pictures that cannot be shown.
    """
    for name in settings.synthesis.synthesize:
        experiment(name).check_plan(settings, plan, source)


def check_layers(settings: Settings, layers: Sequence[str]) -> None:
    """Refuse layers of ``--synthesis-layers`` that are not fitted.

    Raises
    ------
    UsageError
        A layer that is not among those of the network.
    """
    unknown = [one for one in settings.synthesis.synthesis_layers if one not in layers]
    if unknown:
        raise UsageError(
            "A layer whose predictions are wanted is not fitted.",
            place="--synthesis-layers",
            found=", ".join(unknown),
            expected=f"one or more of {', '.join(layers)}",
        )


def run_experiments(lab: ExperimentContext) -> list[str]:
    """Run the experiments that are asked for; what came out of each, in a few words."""
    return [experiment(name).run(lab) for name in lab.settings.synthesis.synthesize]
