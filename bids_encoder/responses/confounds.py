"""Confounds of a preprocessed run, by the names that nilearn gives to strategies."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_encoder.bids.tables import read_table
from bids_encoder.bids.tolerated import InputWarnings
from bids_encoder.errors import DataError, UsageError

if TYPE_CHECKING:
    from bids_encoder.bids.records import BoldRun

log = logging.getLogger(__name__)

DEFAULT_STRATEGY = "motion,high_pass,compcor"

# nilearn's own names. "tedana" reads other files than a confounds table, and is left out.
_COMPONENTS = (
    "motion",
    "high_pass",
    "wm_csf",
    "global_signal",
    "compcor",
    "ica_aroma",
    "scrub",
    "non_steady_state",
)
# Five anatomical components, as in Behzadi et al. 2007; "all" may be a hundred in fMRIPrep's
# tables. Full AROMA means another image, so here its components are taken out of this one.
_SETTINGS = {"n_compcor": 5, "ica_aroma": "basic"}
_MODELS = ("basic", "power2", "derivatives", "full")
_COMPCOR = (
    "anat_combined",
    "anat_separated",
    "temporal",
    "temporal_anat_combined",
    "temporal_anat_separated",
)
# What may follow "=" behind a name.
_VALUES: dict[str, tuple[str, ...]] = {
    "motion": _MODELS,
    "wm_csf": _MODELS,
    "global_signal": _MODELS,
    "ica_aroma": ("basic",),
    "compcor": (*_COMPCOR, "all", "NUMBER"),
    "scrub": ("NUMBER",),
}


@dataclass(frozen=True)
class Thresholds:
    """From where on ``scrub`` leaves out a volume, as nilearn has it.

    Attributes
    ----------
    framewise_displacement : float
        Millimetres (Power et al. 2012).
    std_dvars : float
        Standardised DVARS.
    """

    framewise_displacement: float = 0.5
    std_dvars: float = 1.5


@dataclass(frozen=True)
class Confounds:
    """Unwanted time series of one run.

    Parameters
    ----------
    values : (T, c) float64
        Each column has mean 0 over the volumes that nilearn would keep.
    names : tuple of str
        Of the columns.
    has_drift : bool
        Whether slow cosines are among them, so that no drift must be added.
    unsteady, scrubbed : (T,) bool
        Volumes before the steady state, and those that ``scrub`` leaves out.
    """

    values: np.ndarray
    names: tuple[str, ...]
    has_drift: bool
    unsteady: np.ndarray
    scrubbed: np.ndarray


def parse_strategy(text: str) -> tuple[tuple[str, ...], dict[str, object]]:
    """Read the value of ``--confounds``.

    Parameters
    ----------
    text : str
        Names of nilearn's ``load_confounds``, with commas between; "none" or "" for none. A
        name may be given a value: ``motion=basic,high_pass,compcor=10,scrub=0``, where scrub's
        is the number of volumes below which a stretch between two outliers goes too (5).
        CompCor's kind and number go together as ``compcor=anat_separated:5``.

    Returns
    -------
    strategy : tuple of str
    settings : dict
        Arguments of ``load_confounds``.

    Raises
    ------
    UsageError
        A name or value is not known, or aCompCor is wanted without ``high_pass``.
    """
    names: list[str] = []
    settings: dict[str, object] = dict(_SETTINGS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name == "none" and text.strip() == "none":
            return (), {}
        if name not in _COMPONENTS:
            raise UsageError(
                "There is no such confound strategy.",
                place="--confounds",
                found=name,
                expected="none, or some of " + ", ".join(_COMPONENTS),
                remedy=f"for example --confounds {DEFAULT_STRATEGY}",
            )
        names.append(name)
        settings |= _read_values(name, value.split(":")) if value else {}
    if "compcor" in names and "high_pass" not in names:
        raise UsageError(
            "aCompCor goes together with high_pass only.",
            place="--confounds",
            found=text,
            expected="high_pass beside compcor, because fMRIPrep computes the components from "
            "high-pass filtered data",
            remedy=f"--confounds {text},high_pass",
        )
    return tuple(names), settings


def _read_values(name: str, values: list[str]) -> dict[str, object]:
    """What follows the name of a strategy, as arguments of nilearn."""
    settings: dict[str, object] = {}
    for value in values:
        allowed = _VALUES.get(name, ())
        is_number = value.isascii() and value.isdigit()
        if value not in allowed and not (is_number and "NUMBER" in allowed):
            raise UsageError(
                "A confound strategy cannot have this value.",
                place="--confounds",
                found=f"{name}={value}",
                expected=f"{name}= one of {', '.join(allowed)}" if allowed else f"{name} alone",
                remedy=f"for example --confounds {DEFAULT_STRATEGY}",
            )
        counts = name == "compcor" and (is_number or value == "all")
        settings["n_compcor" if counts else name] = int(value) if is_number else value
    return settings


def load_confounds(
    run: BoldRun, strategy: str, n_volumes: int, thresholds: Thresholds | None = None
) -> Confounds | None:
    """Read the confounds of one run.

    Parameters
    ----------
    run : BoldRun
    strategy : str
        As for :func:`parse_strategy`.
    n_volumes : int
        Volumes of the BOLD image.
    thresholds : Thresholds, optional
        For ``scrub``.

    Returns
    -------
    confounds : Confounds or None
        None where none are wanted, or none are there.

    Raises
    ------
    UsageError
        The strategy is not one.
    DataError
        The table cannot be read, lacks columns, holds text, or has not one row per volume.
    """
    names, settings = parse_strategy(strategy)
    if not names:
        return None
    if run.confounds is None:
        if run.preprocessed:
            log.warning("%s has no confounds table: only slow drift is removed.", run.name)
        if "scrub" in names:
            log.warning("%s cannot be scrubbed, as it has no confounds table.", run.name)
        return None
    thresholds = thresholds or Thresholds()
    settings["fd_threshold"] = thresholds.framewise_displacement
    settings["std_dvars_threshold"] = thresholds.std_dvars
    table, kept = _load(run.confounds, names, settings)
    if kept is not None and not kept.size:
        raise DataError(
            "All volumes of this run are scrubbed.",
            file=run.confounds,
            place="columns framewise_displacement and std_dvars",
            found=f"no stretch without motion between the outliers of {len(table)} volumes",
            expected=f"volumes below {thresholds.framewise_displacement:g} mm and "
            f"{thresholds.std_dvars:g}",
            remedy="leave this run out, or scrub less (--fd-threshold, --std-dvars-threshold)",
        )
    if not table.columns.size:  # a short run without cosines, say: nilearn loses the rows
        table = table.reindex(range(len(read_table(run.confounds, InputWarnings()))))
    values = _numbers(table, run.confounds)
    out = np.ones(len(values), dtype=bool)
    out[slice(None) if kept is None else kept] = False
    steady = _load(run.confounds, (), {})[1] if out.any() else None
    unsteady = np.zeros(len(values), dtype=bool)
    if steady is not None:
        unsteady[:] = True
        unsteady[steady] = False
    if len(values) != n_volumes:
        raise DataError(
            "The confounds table does not fit the BOLD image.",
            file=run.confounds,
            place="rows",
            found=f"{len(values)} rows",
            expected=f"{n_volumes}, one for each volume of {run.bold.name}",
            remedy="preprocess this run again, or give --confounds none",
        )
    columns = tuple(table.columns)
    has_drift = any("cosine" in column for column in columns)
    return Confounds(values, columns, has_drift, unsteady, out & ~unsteady)


def _load(path: Path, names: tuple[str, ...], settings: dict[str, object]):
    """Call nilearn with the name of the image that fMRIPrep would write beside the table."""
    from nilearn.interfaces import fmriprep

    image, matched = re.subn(
        r"_desc-confounds_(timeseries|regressors)\.tsv$", "_desc-preproc_bold.nii.gz", str(path)
    )
    if not matched:
        raise DataError(
            "This confounds table does not have fMRIPrep's name.",
            file=path,
            found=path.name,
            expected="a name that ends in _desc-confounds_timeseries.tsv",
            remedy="rename it, or give --confounds none",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fmriprep.load_confounds(image, strategy=names, **settings)
    # nilearn reports what is missing as ValueError; the others are what tables that are
    # empty, not text, not tables or too short end in.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as trouble:
        raise DataError(
            "The wanted confounds cannot be read from this table.",
            file=path,
            place="columns",
            found=" ".join(str(trouble).split()) or type(trouble).__name__,
            expected=f"columns for the strategy {', '.join(names)}",
            remedy="name another strategy with --confounds (or none)",
        ) from trouble


def _numbers(table, path: Path) -> np.ndarray:
    """The table as numbers; gaps get the mean of their column, which is 0."""
    texts = [name for name in table.columns if table[name].dtype.kind not in "iufb"]
    empty = [name for name in table.columns if name not in texts and table[name].isna().all()]
    if texts or empty:
        raise DataError(
            "Columns of this confounds table hold no numbers.",
            file=path,
            place=f"columns {', '.join((texts + empty)[:5])}",
            found="text" if texts else "n/a in every row",
            expected="one number per volume",
            remedy="name a strategy without them with --confounds (or none)",
        )
    values = np.array(table, dtype=np.float64)
    gaps = ~np.isfinite(values)
    if gaps.any():
        log.warning(
            "%s: %d values are missing (first in column %s); filled with the mean of the column.",
            path.name,
            gaps.sum(),
            table.columns[int(np.argwhere(gaps)[0, 1])],
        )
        values[gaps] = 0.0
    return values
