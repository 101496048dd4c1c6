"""For which moment the values of a volume stand: its reference time."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_encoder.bids.sidecars import is_number
from bids_encoder.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceTime:
    """When, after the onset of a volume's acquisition, its values hold.

    Attributes
    ----------
    seconds : float
    source : str
        Where that comes from, in words.
    """

    seconds: float
    source: str


def reference_time(
    raw: Mapping,
    derived: Mapping | None,
    repetition_time: float | None,
    path: str | Path,
    fraction: float | None = None,
) -> ReferenceTime:
    """Find out for which moment volumes stand.

    Slice-timing correction moves all slices to one moment, which BIDS derivatives name as
    ``StartTime``. Without correction slices stand for different moments, and their middle is
    the best single one: from ``SliceTiming`` where it is known, else half of the time that a
    volume takes (``AcquisitionDuration``, or the repetition time less ``DelayTime``). fMRIPrep
    corrects to the middle of the slices as well.

    Parameters
    ----------
    raw : mapping
        Sidecar of the raw BOLD.
    derived : mapping or None
        Sidecar of the preprocessed BOLD; None where the raw BOLD is analysed.
    repetition_time : float or None
        Seconds; None where no sidecar says.
    path : path
        The BOLD, for messages.
    fraction : float, optional
        ``--slice-time-ref``: share of the repetition time, before all that sidecars say.

    Raises
    ------
    DataError
        ``StartTime`` is not a number of seconds within the volume.
    """
    seconds = repetition_time or 0.0
    if fraction is not None:
        return ReferenceTime(fraction * seconds, f"--slice-time-ref {fraction:g}")
    if derived is not None and derived.get("StartTime") is not None:
        return ReferenceTime(_start_time(derived["StartTime"], repetition_time, path), "StartTime")
    known = {**raw, **(derived or {})}
    times = raw.get("SliceTiming")
    if times is not None:
        if _are_times(times, repetition_time):
            return ReferenceTime((min(times) + max(times)) / 2, "middle of SliceTiming")
        logger.warning(
            "SliceTiming of %s is not a list of seconds within the volume, and is not used.",
            Path(path).name,
        )
    duration, delay = known.get("AcquisitionDuration"), known.get("DelayTime")
    if is_number(duration) and 0 < duration <= (repetition_time or duration):
        return ReferenceTime(duration / 2, "half of AcquisitionDuration")
    if is_number(delay) and 0 < delay < seconds:
        return ReferenceTime((seconds - delay) / 2, "half of RepetitionTime less DelayTime")
    return ReferenceTime(seconds / 2, "half of RepetitionTime, as no sidecar says")


def _start_time(value: object, repetition_time: float | None, path: str | Path) -> float:
    if not is_number(value) or not 0 <= value <= (repetition_time or value):
        raise DataError(
            "The start time is not a number of seconds within the volume.",
            file=path,
            place="StartTime in its JSON sidecar",
            found=json.dumps(value),
            expected="seconds from the onset of the volume to the moment that its values stand "
            f"for, without quotes, from 0 to {repetition_time or 'the repetition time'}",
            remedy="correct the sidecar, or give --slice-time-ref",
        )
    return float(value)


def _are_times(times: object, repetition_time: float | None) -> bool:
    return (
        isinstance(times, list)
        and bool(times)
        and all(map(is_number, times))
        and min(times) >= 0
        and max(times) <= (repetition_time or max(times))
    )
