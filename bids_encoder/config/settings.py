"""Every option of the program, declared once.

Each option is a field of a small frozen dataclass; the field says the option's
names, its default and its help text. The command line (:mod:`bids_encoder.app.cli`)
is made from these declarations, and so is the TOML form
(:mod:`bids_encoder.config.toml_file`): one table a section, one key an option.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bids_encoder.config.option_types import (
    count,
    cut_off,
    degrees,
    delay,
    draws,
    frame_rate,
    gigabytes,
    grey_level,
    items,
    not_negative,
    number_of_folds,
    number_or_auto,
    option,
    penalty,
    positive_count,
    processes,
    proportion,
    seed,
    share,
)


@dataclass(frozen=True)
class SelectionSettings:
    """What to read."""

    participant_label: tuple[str, ...] = option(
        (), help="participants to work on, with or without sub- (default: all)", nargs="+",
        metavar="LABEL", changes_results=False,
    )  # fmt: skip
    session_label: tuple[str, ...] = option(
        (), help="sessions to use, with or without ses- (default: all)", nargs="+", metavar="LABEL"
    )
    task_id: tuple[str, ...] = option(
        (), "--task-id", "--task-label", help="tasks to use (default: all that show stimuli)",
        nargs="+", metavar="TASK",
    )  # fmt: skip
    run_id: tuple[str, ...] = option(
        (), "--run-id", "--run-label", help="runs to use (default: all)", nargs="+", metavar="RUN"
    )
    bids_filter_file: Path | None = option(
        None, help="JSON file with pybids queries, as for fMRIPrep", metavar="FILE"
    )
    derivatives: tuple[str, ...] = option(
        (), "-d", "--derivatives", nargs="+", metavar="[NAME=]PATH",
        help="preprocessed data (fMRIPrep's output folder)",
    )  # fmt: skip
    space: tuple[str, ...] = option(
        (), "--space", "--output-spaces", nargs="+", metavar="SPACE",
        help="space(s) of the preprocessed BOLD to use (default: T1w where there are several)",
    )  # fmt: skip
    bids_database_dir: Path | None = option(
        None, help="folder where the index of the dataset is kept between runs", metavar="DIR",
        changes_results=False,
    )  # fmt: skip
    skip_bids_validation: bool = option(
        False, "--skip-bids-validation", "--skip-bids-validator", action="store_true",
        help="go on although the dataset is not valid BIDS", changes_results=False,
    )  # fmt: skip
    follow_links: bool = option(
        False, action="store_true", changes_results=False,
        help="read files of the dataset that are links out of it (links of git-annex and DataLad "
        "need no such leave)",
    )  # fmt: skip


@dataclass(frozen=True)
class StimuliSettings:
    """What the participants saw."""

    stim_column: str | None = option(
        None, help="column of events.tsv that names the pictures (default: stim_file or stim_id)",
        metavar="NAME",
    )  # fmt: skip
    stim_dir: Path | None = option(
        None, help="folder with the pictures and films (default: BIDS_DIR/stimuli)", metavar="DIR",
        changes_results=False,
    )  # fmt: skip
    # It changes the results of films only, whose stamp holds it.
    frames_per_second: float = option(
        15.0, "--frames-per-second", "--fps", type=frame_rate, metavar="N", changes_results=False,
        help="how often films are sampled (default: 15 frames a second)",
    )  # fmt: skip


@dataclass(frozen=True)
class NetworkSettings:
    """The network and its layers."""

    network: str = option(
        "efficientnet_lite0", metavar="NAME",
        help="efficientnet_lite0 (comes with the package), overfeat, any classifier of "
        "torchvision such as alexnet, vgg16, resnet50, inception_v3, or what came before "
        "networks: gabor, motion_energy",
    )  # fmt: skip
    layers: tuple[str, ...] = option(
        (), nargs="+", metavar="LAYER", help="layers by module name (default: a choice per network)"
    )
    untrained: bool = option(
        False, action="store_true", help="random weights: the control that shows what training adds"
    )
    network_seed: int = option(
        0, type=seed, metavar="N", help="seed of the random weights of --untrained"
    )
    weights_dir: Path | None = option(
        None, metavar="PATH", changes_results=False,
        help="folder with weight files, or one weight file (default: torch's own cache)",
    )  # fmt: skip
    allow_downloads: bool = option(
        False, action="store_true", help="let missing weights be downloaded", changes_results=False
    )
    features: Path | None = option(
        None, metavar="FILE.h5", help="features computed elsewhere, in place of a network"
    )


@dataclass(frozen=True)
class ResponsesSettings:
    """From BOLD to responses."""

    design: str = option(
        "auto", choices=("auto", "events", "continuous"),
        help="one response per stimulus, or the whole time series",
    )  # fmt: skip
    hrf: str = option(
        "spm", choices=("spm", "glover", "rank1", "rank1-fir", "rank1-spm3"),
        help="haemodynamic response: a canonical one, or estimated for each voxel (rank-1 model "
        "over a Fourier, FIR or SPM basis)",
    )  # fmt: skip
    high_pass: float = option(
        0.01, type=cut_off, metavar="HZ", help="cut-off of the cosine drift model"
    )
    confounds: str = option(
        "motion,high_pass,compcor", metavar="STRATEGY",
        help="strategies of nilearn's load_confounds, separated by commas, or none",
    )  # fmt: skip
    fd_threshold: float = option(
        0.5, type=not_negative, metavar="MM",
        help="framewise displacement above which the strategy scrub leaves out a volume",
    )  # fmt: skip
    std_dvars_threshold: float = option(
        1.5, type=not_negative, metavar="X",
        help="standardised DVARS above which the strategy scrub leaves out a volume",
    )  # fmt: skip
    skip_volumes: int = option(
        0, type=count, metavar="N",
        help="volumes at the start of each run that do not count; onsets stay where they are",
    )  # fmt: skip
    slice_time_ref: float | None = option(
        None, type=share, metavar="SHARE",
        help="moment that volumes stand for, as a share of the repetition time (default: "
        "StartTime of the derivatives, else the middle of the slices)",
    )  # fmt: skip
    standardize: str = option(
        "session", choices=("run", "session", "none"), help="unit in which responses are z-scored"
    )
    delays: tuple[float, ...] = option(
        (4.0, 6.0, 8.0), nargs="+", type=delay, metavar="S",
        help="delays in seconds of the features in continuous designs",
    )  # fmt: skip


@dataclass(frozen=True)
class BetasSettings:
    """Responses estimated elsewhere, in place of BOLD."""

    betas: str | None = option(
        None, metavar="PATH", changes_results=False,
        help="NIfTI, HDF5, GIFTI or CIFTI files with one map a trial or stimulus (GLMsingle, "
        "nilearn, fitlins), such as glm/sub-{subject}/ses-{session}_betas.nii.gz",
    )  # fmt: skip
    betas_table: str | None = option(
        None, metavar="PATH", changes_results=False,
        help="tables that say what each map shows (default: beside the betas, with .tsv; else the "
        "order of the events)",
    )  # fmt: skip
    betas_mask: str | None = option(
        None, metavar="PATH", changes_results=False,
        help="masks of the betas (default: brain masks of the derivatives, else voxels that are "
        "finite and vary)",
    )  # fmt: skip
    betas_key: str | None = option(
        None, metavar="NAME", help="what the betas are called in HDF5 files (default: betasmd)"
    )


@dataclass(frozen=True)
class EncodingSettings:
    """The encoding models."""

    folds: str | None = option(
        None, metavar="BY",
        help="what each fold of the cross-validation leaves out: session, run, block (neighbours), "
        "stimulus (dealt out at random), or a COLUMN of the events, one fold a value, at most 10 "
        "(default: sessions or runs where they show stimuli of their own, else stimuli)",
    )  # fmt: skip
    n_folds: int | None = option(
        None, type=number_of_folds, metavar="N",
        help="folds of the cross-validation; refused where there cannot be so many (default: one "
        "per session or run, at most 10, else 5)",
    )  # fmt: skip
    nested: bool = option(
        False, action="store_true", help="choose penalties inside each training set"
    )
    penalties: tuple[float, ...] = option(
        (), nargs=3, type=penalty, metavar=("LOW", "HIGH", "N"),
        help="the ridge penalties that are tried: N from LOW to HIGH in equal steps of the "
        "logarithm, in units of the mean kernel diagonal (default: 0.001 100000 20, and further "
        "where the best penalty of many predicted voxels is at an end)",
    )  # fmt: skip
    test_set: str | None = option(
        None, metavar="KEY=VALUE",
        help="held out of all training, predicted once and scored: task=NAME, ses=LABEL, "
        "run=LABEL or COLUMN=VALUE of the events",
    )  # fmt: skip
    save_weights: str = option(
        "dual", choices=("dual", "primal", "none"),
        help="dual coefficients (samples × voxels), primal weights (features × voxels) or neither",
    )  # fmt: skip


# Permutations that cannot share products cost as much as so many voxels.
PERMUTATIONS_IF_NESTED = 10_000


@dataclass(frozen=True)
class InferenceSettings:
    """Which voxels count."""

    n_permutations: int = option(
        50_000, type=count, metavar="N", changes_results=False,
        help="permutations behind the p-values; smaller ones than 1 / (N + 1) come from the tail "
        "that is fitted to them; 0: no p-values. With --nested, where each is fitted for itself, "
        f"{PERMUTATIONS_IF_NESTED} are made unless another number is given",
    )  # fmt: skip
    fdr: float = option(
        0.01, type=proportion, metavar="Q", changes_results=False,
        help="false discovery rate at which voxels count",
    )  # fmt: skip
    permutation_seed: int = option(
        0, type=seed, metavar="N", changes_results=False, help="seed of the permutations"
    )


@dataclass(frozen=True)
class JointSettings:
    """All layers together."""

    joint: bool = option(
        False, action="store_true", changes_results=False,
        help="fit all layers together as well (banded ridge) and split the score among them",
    )  # fmt: skip
    joint_unique: bool = option(
        False, action="store_true", changes_results=False,
        help="likewise, and how much the score falls without each layer (takes as many times "
        "longer as there are layers)",
    )  # fmt: skip
    joint_draws: int = option(
        30, type=count, metavar="N", changes_results=False,
        help="weightings of the layers that are tried at random, besides equal weights and each "
        "layer alone",
    )  # fmt: skip
    joint_seed: int = option(
        0, type=seed, metavar="N", changes_results=False, help="seed of these draws"
    )


@dataclass(frozen=True)
class Dimensions:
    """Layers on an equal footing."""

    match_dimensions: str | None = option(
        None, type=number_or_auto, metavar="N", changes_results=False,
        help="also score models of N features of each layer, drawn at random (auto: as many as the "
        "smallest layer has), and say how the best layers of voxels change",
    )  # fmt: skip
    match_draws: int = option(
        5, type=draws, metavar="N", changes_results=False,
        help="draws whose scores are averaged",
    )  # fmt: skip
    match_seed: int = option(
        0, type=seed, metavar="N", changes_results=False, help="seed of these draws"
    )


@dataclass(frozen=True)
class RegionsSettings:
    """Regions of interest, besides those among the derivatives."""

    atlas: tuple[str, ...] = option(
        (), nargs="+", metavar="FILE_OR_NAME", changes_results=False,
        help="label images or probabilistic atlases in the space of the BOLD, or names of "
        "atlases in TemplateFlow such as Schaefer2018:desc-400Parcels7Networks",
    )  # fmt: skip
    atlas_labels: tuple[Path, ...] = option(
        (), nargs="+", metavar="FILE", changes_results=False,
        help="tables that name the labels of the atlas files (default: looked for beside them)",
    )  # fmt: skip


@dataclass(frozen=True)
class NeuralCodeSettings:
    """Similarity of pictures in layers and regions."""

    no_neural_code: bool = option(
        False, action="store_true", changes_results=False,
        help="leave out functional smoothness and similarity analysis",
    )  # fmt: skip
    similarity_items: int = option(
        300, type=items, metavar="N", changes_results=False,
        help="pictures whose pairs are compared; of more, a sample is drawn",
    )  # fmt: skip
    similarity_permutations: int = option(
        1000, type=positive_count, metavar="N", changes_results=False,
        help="permutations of pictures behind each p",
    )  # fmt: skip
    similarity_seed: int = option(
        0, type=seed, metavar="N", changes_results=False, help="seed of sample and permutations"
    )


@dataclass(frozen=True)
class SynthesisSettings:
    """Experiments that nobody ran."""

    synthesize: tuple[str, ...] = option(
        (), nargs="+", metavar="X", changes_results=False,
        help="predict an experiment from the models: retinotopy (angle and eccentricity maps from "
        "wedges and rings), a JSON file of contrasts, or a folder of pictures",
    )  # fmt: skip
    reuse_models: bool = option(
        False, action="store_true", changes_results=False,
        help="predict from models that an earlier run has saved, without reading any BOLD",
    )  # fmt: skip
    synthesis_layers: tuple[str, ...] = option(
        (), nargs="+", metavar="LAYER", changes_results=False,
        help="layers whose predictions are averaged (default: all)",
    )  # fmt: skip
    carrier_images: Path | None = option(
        None, metavar="DIR", changes_results=False,
        help="folder with pictures to be seen through wedges and rings (default: pictures of the "
        "dataset, those of a test set where there is one)",
    )  # fmt: skip
    surround: int = option(
        128, type=grey_level, metavar="LEVEL", changes_results=False,
        help="grey level around wedges and rings, from 0 (black) to 255 (white)",
    )  # fmt: skip
    stimulus_degrees: float | None = option(
        None, type=degrees, metavar="DEG", changes_results=False,
        help="width of the pictures on the screen in degrees of visual angle (default: "
        "eccentricities are in units of half that width)",
    )  # fmt: skip
    synthesis_seed: int = option(
        0, type=seed, metavar="N", changes_results=False,
        help="seed of the choice of pictures behind wedges and rings",
    )  # fmt: skip


@dataclass(frozen=True)
class ResourcesSettings:
    """Where and with how much."""

    work_dir: Path = option(
        Path("work"), "-w", "--work-dir", metavar="DIR", changes_results=False,
        help="folder for intermediate files, shared by participants (default: ./work; where the "
        "current folder cannot be written to, and in containers, OUTPUT_DIR/.work)",
    )  # fmt: skip
    nprocs: int = option(
        1, "--nprocs", "--n-cpus", type=processes, metavar="N", changes_results=False,
        help="participants worked on at once",
    )  # fmt: skip
    omp_nthreads: int | None = option(
        None, type=processes, metavar="N", changes_results=False,
        help="threads of each process (default: the cores, shared out)",
    )  # fmt: skip
    mem: float | None = option(
        None, type=gigabytes, metavar="GB", changes_results=False,
        help="memory to stay under, of all participants worked on at once, such as 8GB "
        "(default: most of what is free)",
    )  # fmt: skip
    device: str = option(
        "auto", choices=("auto", "cpu", "cuda"), changes_results=False, help="where to compute"
    )


@dataclass(frozen=True)
class ClusterSettings:
    """Beyond this machine."""

    executor: str = option(
        "processes", choices=("local", "processes", "dask", "slurm", "sge", "pbs", "lsf"),
        changes_results=False,
        help="who computes: this process; as many processes as --nprocs says; the workers of a "
        "Dask scheduler that runs; or workers that a batch system starts",
    )  # fmt: skip
    dask_scheduler: str | None = option(
        None, metavar="ADDRESS", changes_results=False,
        help="with --executor dask: tcp://HOST:PORT of the scheduler, or its scheduler file",
    )  # fmt: skip
    executor_options: tuple[str, ...] = option(
        (), "--executor-options", "--slurm-options", nargs="+", metavar="KEY=VALUE",
        changes_results=False,
        help="what the batch system is told of each job, by dask-jobqueue's names: queue=short "
        "account=me walltime=04:00:00 memory=8GB",
    )  # fmt: skip
    n_workers: int = option(
        4, type=processes, metavar="N", changes_results=False,
        help="jobs that the batch system is asked for",
    )  # fmt: skip


@dataclass(frozen=True)
class FlowSettings:
    """How to go about it."""

    dry_run: bool = option(
        False, action="store_true", changes_results=False,
        help="say what would be done, and do nothing",
    )  # fmt: skip
    reports_only: bool = option(
        False, action="store_true", changes_results=False,
        help="make the reports again from the files that are there",
    )  # fmt: skip
    allow_mixed: bool = option(
        False, action="store_true", changes_results=False,
        help="group level: summarise participants although they were analysed with different "
        "settings; what differs is listed in the report and in the sidecars",
    )  # fmt: skip
    stop_on_first_crash: bool = option(
        False, action="store_true", changes_results=False,
        help="do not go on with the other participants when one fails",
    )  # fmt: skip
    verbose: int = option(
        0, "-v", "--verbose", action="count", changes_results=False, help="say more; -vv: even more"
    )
    notrack: bool = option(
        False, action="store_true", changes_results=False,
        help="accepted and without effect: nothing is ever tracked",
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All that the user decides."""

    bids_dir: Path
    output_dir: Path
    analysis_level: str
    selection: SelectionSettings = SelectionSettings()
    stimuli: StimuliSettings = StimuliSettings()
    network: NetworkSettings = NetworkSettings()
    responses: ResponsesSettings = ResponsesSettings()
    betas: BetasSettings = BetasSettings()
    encoding: EncodingSettings = EncodingSettings()
    inference: InferenceSettings = InferenceSettings()
    joint: JointSettings = JointSettings()
    dimensions: Dimensions = Dimensions()
    regions: RegionsSettings = RegionsSettings()
    neural_code: NeuralCodeSettings = NeuralCodeSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    resources: ResourcesSettings = ResourcesSettings()
    cluster: ClusterSettings = ClusterSettings()
    flow: FlowSettings = FlowSettings()


SECTIONS: dict[str, type] = {
    "selection": SelectionSettings,
    "stimuli": StimuliSettings,
    "network": NetworkSettings,
    "responses": ResponsesSettings,
    "betas": BetasSettings,
    "encoding": EncodingSettings,
    "inference": InferenceSettings,
    "joint": JointSettings,
    "dimensions": Dimensions,
    "regions": RegionsSettings,
    "neural_code": NeuralCodeSettings,
    "synthesis": SynthesisSettings,
    "resources": ResourcesSettings,
    "cluster": ClusterSettings,
    "flow": FlowSettings,
}


def from_tables(
    bids_dir: Path, output_dir: Path, analysis_level: str, *tables: dict[str, dict[str, Any]]
) -> Settings:
    """Put settings together; a later table wins over an earlier one.

    Parameters
    ----------
    bids_dir, output_dir : Path
    analysis_level : {"participant", "group"}
    *tables : dict of section name to dict of option name to value
    """
    sections = {}
    for name, kind in SECTIONS.items():
        merged: dict[str, Any] = {}
        for table in tables:
            merged |= table.get(name, {})
        sections[name] = kind(**merged)
    asked = any("n_permutations" in table.get("inference", {}) for table in tables)
    if sections["encoding"].nested and not asked:
        sections["inference"] = replace(
            sections["inference"], n_permutations=PERMUTATIONS_IF_NESTED
        )
    return Settings(Path(bids_dir), Path(output_dir), analysis_level, **sections)


def result_settings(settings: Settings) -> dict[str, Any]:
    """The settings that change the results, flat and ready for JSON.

    Paths are left out as names of places; what lies in the files is accounted
    for by their checksums.
    """
    return {
        name: plain(getattr(getattr(settings, section), name)) for section, name in result_options()
    }


def result_options() -> list[tuple[str, str]]:
    """Section and name of the options whose values are `result_settings`, in their order."""
    return [
        (name, item.name)
        for name, kind in SECTIONS.items()
        for item in fields(kind)
        if item.metadata["changes_results"] and name != "selection" and "Path" not in str(item.type)
    ]


def plain(value: Any) -> Any:
    """Turn an option's value into what TOML and JSON can hold."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value
