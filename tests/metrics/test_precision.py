"""The stated precision of a Sharpe ratio is the one simulation finds."""

import math

import numpy as np
import pytest

from cappuccino_ml.metrics import (
    minimum_detectable_difference,
    minimum_track_record_length,
    sharpe_standard_error,
)

HOURLY = 8760.0


def test_one_year_knows_an_annual_sharpe_to_about_one_whatever_the_bar_size() -> None:
    rng = np.random.default_rng(0)
    for bars_per_year in (365, 8760):
        assert sharpe_standard_error(rng.normal(0, 0.01, bars_per_year), bars_per_year) == pytest.approx(1.0, abs=0.02)


def test_the_standard_error_is_the_spread_of_simulated_sharpes_also_with_skew() -> None:
    rng = np.random.default_rng(1)
    samples = rng.exponential(size=(2000, 400)) - 0.7  # per-bar Sharpe 0.3, skew 2, kurtosis 9
    found = (samples.mean(axis=1) / samples.std(axis=1)).std()
    stated = np.mean([sharpe_standard_error(np.maximum(row, -1), 1.0) for row in samples[:200]])
    assert stated == pytest.approx(found, rel=0.06)


def test_normal_returns_have_the_error_of_lo_2002() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0.002, 0.01, 50_000)
    sharpe = values.mean() / values.std()
    assert sharpe_standard_error(values, 1.0) == pytest.approx(math.sqrt((1 + sharpe**2 / 2) / 50_000), rel=0.01)


def test_half_a_year_at_correlation_nine_tenths_needs_a_gap_of_about_1_7() -> None:
    gap = minimum_detectable_difference(bars=4380, bars_per_year=HOURLY, correlation=0.9)
    assert gap == pytest.approx(1.7, abs=0.1)
    alone = minimum_detectable_difference(bars=4380, bars_per_year=HOURLY, correlation=None)
    assert alone == pytest.approx((1.959964 + 0.841621) * math.sqrt(2), rel=1e-5)


def test_a_longer_sample_or_a_closer_rival_shows_smaller_differences() -> None:
    def gap(bars: int, correlation: float) -> float:
        return minimum_detectable_difference(bars=bars, bars_per_year=HOURLY, correlation=correlation)

    assert gap(4 * 4380, 0.5) == pytest.approx(gap(4380, 0.5) / 2)
    assert gap(4380, 0.9) < gap(4380, 0.5)
    with pytest.raises(ValueError, match="correlation"):
        gap(4380, 1.1)
    with pytest.raises(ValueError, match="bars must be"):
        gap(0, 0.5)


def test_a_track_record_of_the_minimum_length_is_just_significant() -> None:
    rng = np.random.default_rng(3)
    returns = rng.normal(0.0005, 0.01, 2000)
    bars = minimum_track_record_length(returns, HOURLY)
    assert bars is not None
    sharpe = returns.mean() / returns.std()
    error_at_that_length = sharpe_standard_error(returns, 1.0) * math.sqrt(returns.size / (bars - 1))
    assert sharpe / error_at_that_length == pytest.approx(1.644854, rel=1e-5)
    assert minimum_track_record_length(-returns, HOURLY) is None
    assert minimum_track_record_length(returns, HOURLY, against_sharpe=100.0) is None
