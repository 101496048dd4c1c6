"""Nothing is found in the noise of many participants."""

import group_null
import pytest


def test_noise_of_twenty_participants_is_found_against_0_but_not_against_chance():
    rates = group_null.error_rates(20, smooth=False, groups=25, side=6)
    for measure in ("slope", "place"):
        assert rates[measure, "against 0"] > 0.4
        assert rates[measure, "against chance"] <= 0.2  # of 25; 5 % are expected
        assert rates[measure, "where encoded"] <= 0.12


def test_layers_that_predict_alike_are_neither_early_nor_late():
    rates = group_null.error_rates(20, smooth=False, groups=25, signal=0.3, side=5)
    assert rates["slope", "against chance"] > 0.5
    for measure in ("slope", "place"):
        assert rates[measure, "where encoded"] <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("n", group_null.PARTICIPANTS)
def test_familywise_error_in_noise(n, smooth):
    rates = group_null.error_rates(n, smooth=smooth, groups=600)
    for measure in ("slope", "place"):
        assert 0.02 <= rates[measure, "against chance"] <= 0.08  # .05 +- .02, and three errors
        assert rates[measure, "where encoded"] <= 0.08
