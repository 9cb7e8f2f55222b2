"""Measures of returns against skfolio, statsmodels and scipy."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from skfolio import measures
from statsmodels.stats.power import NormalIndPower

from cappuccino_ml import metrics

HOURLY = 8760.0
BARS = 5000


@pytest.fixture(params=range(3))
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """A policy's returns and its benchmark's, correlated."""
    rng = np.random.default_rng(request.param)
    benchmark = 0.005 * rng.standard_t(5, BARS)
    return 0.6 * benchmark + 0.003 * rng.standard_t(5, BARS) + 1e-5, benchmark


def test_the_sharpe_ratio_is_skfolios_but_for_one_degree_of_freedom(pair: tuple[np.ndarray, np.ndarray]) -> None:
    theirs = measures.mean(pair[0]) / measures.standard_deviation(pair[0]) * math.sqrt(HOURLY)
    assert metrics.annual_sharpe(pair[0], HOURLY) == pytest.approx(theirs * math.sqrt(BARS / (BARS - 1)), rel=1e-10)


def test_the_drawdown_is_skfolios(pair: tuple[np.ndarray, np.ndarray]) -> None:
    theirs = measures.max_drawdown(measures.get_drawdowns(pair[0], compounded=True))
    assert metrics.max_drawdown(pair[0]) == pytest.approx(theirs, rel=1e-10)


def test_alpha_beta_and_correlation_are_those_of_a_regression(pair: tuple[np.ndarray, np.ndarray]) -> None:
    ours, benchmark = pair
    fitted = sm.OLS(ours, sm.add_constant(benchmark)).fit()
    alpha, beta = metrics.alpha_beta(ours, benchmark, HOURLY)
    assert (alpha / HOURLY, beta) == pytest.approx(tuple(fitted.params), rel=1e-8)
    assert metrics.correlation(ours, benchmark) ** 2 == pytest.approx(fitted.rsquared, rel=1e-10)


def test_the_information_ratio_is_a_t_statistic_a_year(pair: tuple[np.ndarray, np.ndarray]) -> None:
    statistic = stats.ttest_1samp(pair[0] - pair[1], 0.0).statistic
    expected = statistic * math.sqrt(HOURLY / (BARS - 1))
    assert metrics.information_ratio(*pair, HOURLY) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bars", [1000, 4380, 17_520])
def test_the_minimum_detectable_difference_is_the_one_of_statsmodels(bars: int) -> None:
    alone = metrics.minimum_detectable_difference(bars=bars, bars_per_year=HOURLY, correlation=None)
    effect = NormalIndPower().solve_power(nobs1=bars, alpha=0.05, power=0.8, ratio=0)
    assert alone == pytest.approx(effect * math.sqrt(HOURLY), rel=1e-4)
    paired = metrics.minimum_detectable_difference(bars=bars, bars_per_year=HOURLY, correlation=0.9)
    assert paired == pytest.approx(alone * math.sqrt(0.2), rel=1e-10)
