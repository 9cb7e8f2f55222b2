"""The stated precision of a Sharpe ratio is the one simulation finds."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from skfolio.measures import probabilistic_sharpe_ratio

from cappuccino_ml.metrics import (
    minimum_detectable_difference,
    minimum_track_record_length,
    probabilistic_sharpe,
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


@pytest.mark.parametrize(("per_year", "years"), [(12, 3.24), (52, 2.83), (250, 2.73)])
def test_the_minimum_track_record_is_the_one_of_bailey_and_lopez_de_prado_2012(per_year: int, years: float) -> None:
    # Their example: an annual Sharpe of 2 against one of 1 at 95%; monthly, weekly and daily normal returns.
    quantiles = NormalDist().inv_cdf
    values = np.array([quantiles((i + 0.5) / 20_000) for i in range(20_000)])
    returns = 0.01 * ((values - values.mean()) / values.std() + 2.0 / math.sqrt(per_year))
    bars = minimum_track_record_length(returns, per_year, against_sharpe=1.0)
    assert bars is not None
    assert bars / per_year == pytest.approx(years, abs=0.01)


def test_the_probabilistic_sharpe_is_the_one_of_skfolio() -> None:
    rng = np.random.default_rng(4)
    returns = 0.01 * (rng.exponential(size=5000) - 0.97)
    ours = probabilistic_sharpe(returns, HOURLY, against_sharpe=1.0)
    assert ours == pytest.approx(probabilistic_sharpe_ratio(returns, 1.0 / math.sqrt(HOURLY)), abs=2e-4)
    assert 0.5 < ours < 1.0


def test_the_deflated_sharpe_of_bailey_and_lopez_de_prado_2014_is_reproduced() -> None:
    # Their example: Sharpe 2.5 a year of 250 days, 1,250 days, skew -3 and kurtosis 10, which two values can have.
    values = np.where(np.arange(1250) < 105, -1.0, 0.0)
    score = (values - values.mean()) / values.std()
    assert (np.mean(score**3), np.mean(score**4)) == pytest.approx((-3.0, 10.0), abs=0.01)
    returns = 0.01 * (score + 2.5 / math.sqrt(250))
    luck = 0.1132 * math.sqrt(250)  # of 100 trials
    assert probabilistic_sharpe(returns, 250, against_sharpe=luck) == pytest.approx(0.9004, abs=5e-4)
