"""The sentence under every verdict says what the holdout could and could not have shown."""

import numpy as np
import pytest

from cappuccino_ml.verdict import holdout_power

HOURLY = 8760.0


def test_the_sentence_states_the_numbers_it_was_made_from() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(0, 0.004, 4380)
    ours = theirs + rng.normal(0, 0.0013, 4380)
    power = holdout_power(candidate=ours, incumbent=theirs, bars_per_year=HOURLY)
    assert power.correlation == pytest.approx(np.corrcoef(ours, theirs)[0, 1])
    assert power.standard_error == pytest.approx(1.41, abs=0.03)
    for number in (
        "4,380 bars",
        "0.50 years",
        f"{power.minimum_detectable_difference:.2f}",
        f"{power.correlation:.2f}",
        "80%",
    ):
        assert number in power.sentence


def test_against_cash_there_is_no_correlation() -> None:
    returns = np.random.default_rng(0).normal(0, 0.004, 4380)
    power = holdout_power(candidate=returns, incumbent=np.zeros(4380), bars_per_year=HOURLY)
    assert power.correlation is None
    assert power.minimum_detectable_difference == pytest.approx(3.96, abs=0.01)
    assert "against cash" in power.sentence
