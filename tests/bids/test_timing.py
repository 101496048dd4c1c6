"""For which moment volumes stand."""

from __future__ import annotations

import pytest

from bids_encoder.bids.timing import reference_time
from bids_encoder.errors import DataError

SLICES = [0.0, 0.5, 1.0, 1.4]


@pytest.mark.parametrize(
    ("raw", "derived", "expected"),
    [
        ({}, None, 1.0),
        ({"SliceTiming": SLICES}, None, 0.7),
        ({"SliceTiming": [0.0] * 4}, None, 0.0),
        ({"DelayTime": 1.2}, None, 0.4),
        ({"AcquisitionDuration": 0.5}, None, 0.25),
        ({"StartTime": 0.3}, None, 1.0),  # not a word of the raw standard
        ({"SliceTiming": SLICES}, {"StartTime": 0.0, "SliceTimingCorrected": True}, 0.0),
        ({"SliceTiming": SLICES}, {"StartTime": 0.9}, 0.9),
        ({"SliceTiming": SLICES}, {"SliceTimingCorrected": True}, 0.7),  # fMRIPrep's default
        ({"SliceTiming": SLICES}, {"SliceTimingCorrected": False}, 0.7),
        ({}, {"SliceTimingCorrected": False, "DelayTime": 1.0}, 0.5),
        ({}, {}, 1.0),
    ],
)
def test_what_sidecars_say(raw, derived, expected):
    found = reference_time(raw, derived, 2.0, "x_bold.nii.gz")
    assert found.seconds == pytest.approx(expected)
    assert found.source


def test_the_option_goes_first():
    found = reference_time({}, {"StartTime": 0.9}, 2.0, "x", fraction=0.25)
    assert (found.seconds, found.source) == (0.5, "--slice-time-ref 0.25")
    assert reference_time({}, {"StartTime": 0.9}, 2.0, "x", fraction=0.0).seconds == 0


@pytest.mark.parametrize("times", [[], "0", [0.0, "1"], [0, 900.0], [-1.0, 0.5]])
def test_slice_times_that_cannot_be(times, caplog):
    assert reference_time({"SliceTiming": times}, None, 2.0, "x_bold.nii.gz").seconds == 1.0
    assert "SliceTiming of x_bold.nii.gz" in caplog.text


@pytest.mark.parametrize("value", ["0.9", -0.1, 975, True, [1]])
def test_impossible_start_times_are_refused(value):
    with pytest.raises(DataError) as error:
        reference_time({}, {"StartTime": value}, 2.0, "prep/x_bold.nii.gz")
    for part in ("prep/x_bold.nii.gz", "StartTime", "found:", "without quotes", "remedy:"):
        assert part in str(error.value)
