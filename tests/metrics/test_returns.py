"""Measures of returns against plain definitions, and the promises a ranking rests on."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cappuccino_ml import metrics

HOURLY = 8760.0
RETURNS = arrays(np.float64, st.integers(2, 60), elements=st.floats(-0.2, 0.2, allow_subnormal=False))


def sample(seed: int = 0, bars: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, bars) * 0.005 + 0.0002


@given(returns=RETURNS, times=st.integers(2, 5))
def test_defect_08_sharpe_is_of_returns_and_does_not_depend_on_length(returns: np.ndarray, times: int) -> None:
    once = metrics.annual_sharpe(returns, HOURLY)
    assert metrics.annual_sharpe(np.tile(returns, times), HOURLY) == pytest.approx(once, rel=1e-6, abs=1e-6)


@given(capital=st.floats(1.0, 1e9))
def test_defect_08_sharpe_does_not_depend_on_the_capital(capital: float) -> None:
    equity = capital * np.cumprod(1 + sample())
    returns = np.diff(equity) / equity[:-1]
    assert metrics.annual_sharpe(returns, HOURLY) == pytest.approx(
        metrics.annual_sharpe(sample()[1:], HOURLY), rel=1e-6
    )


def test_sharpe_annualises_by_the_square_root_of_bars_per_year() -> None:
    returns = [0.01, -0.005, 0.02, 0.0]
    mean = sum(returns) / 4
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / 4)
    assert metrics.annual_sharpe(returns, 365.0) == pytest.approx(mean / spread * math.sqrt(365))


def test_a_policy_that_never_trades_scores_zero_everywhere() -> None:
    row = metrics.summary(returns=np.zeros(100), bars_per_year=HOURLY, benchmark=sample(bars=100))
    assert (row.annual_sharpe, row.total_return, row.max_drawdown, row.beta, row.correlation) == (0, 0, 0, 0, 0)
    assert row.sharpe_standard_error == pytest.approx(math.sqrt(HOURLY / 100))
    assert row.minimum_track_record_bars is None


def test_defect_09_flat_or_failed_folds_stay_in_the_mean() -> None:
    flat = metrics.annual_sharpe(np.zeros(50), HOURLY)
    assert metrics.mean_over_folds([3.0, flat, 3.0], folds=3) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="fold 1 of 3 scored nan"):
        metrics.mean_over_folds([3.0, math.nan, 3.0], folds=3)
    with pytest.raises(ValueError, match="fold 0 of 1 scored -inf"):
        metrics.mean_over_folds([-math.inf], folds=1)
    with pytest.raises(ValueError, match="2 scores for 3 folds"):
        metrics.mean_over_folds([3.0, 3.0], folds=3)
    with pytest.raises(ValueError, match="0 scores"):
        metrics.mean_over_folds([], folds=0)


@pytest.mark.parametrize("bad", [[0.1, math.nan], [math.inf], [], [[0.1]], [-1.5, 0.0]])
@pytest.mark.parametrize(
    "measure",
    [
        metrics.total_return,
        metrics.max_drawdown,
        metrics.is_flat,
        lambda r: metrics.annual_sharpe(r, HOURLY),
        lambda r: metrics.annual_return(r, HOURLY),
        lambda r: metrics.annual_volatility(r, HOURLY),
        lambda r: metrics.alpha_beta(r, r, HOURLY),
        lambda r: metrics.sharpe_standard_error(r, HOURLY),
        lambda r: metrics.minimum_track_record_length(r, HOURLY),
    ],
)
def test_what_is_not_a_series_of_finite_returns_is_refused(measure: Callable[[object], object], bad: object) -> None:
    with pytest.raises(ValueError, match="returns"):
        measure(bad)


@given(returns=RETURNS)
def test_growth_and_drawdown_agree_with_a_plain_loop(returns: np.ndarray) -> None:
    equity = peak = 1.0
    worst = 0.0
    for value in returns:
        equity *= 1 + value
        peak = max(peak, equity)
        worst = max(worst, 1 - equity / peak)
    assert metrics.total_return(returns) == pytest.approx(equity - 1, abs=1e-12)
    assert metrics.max_drawdown(returns) == pytest.approx(worst, abs=1e-12)


def test_annual_return_compounds_and_survives_ruin() -> None:
    assert metrics.annual_return([0.1], 2.0) == pytest.approx(0.21)
    assert metrics.annual_return([0.5, -1.0], HOURLY) == -1.0
    with pytest.raises(ValueError, match="longer sample"):
        metrics.annual_return([0.5], HOURLY)


def test_alpha_and_beta_recover_what_was_planted() -> None:
    benchmark = sample(1)
    alpha, beta = metrics.alpha_beta(0.0001 + 0.7 * benchmark, benchmark, HOURLY)
    assert alpha == pytest.approx(0.0001 * HOURLY)
    assert beta == pytest.approx(0.7)
    slope, intercept = np.polyfit(benchmark, sample(2), 1)
    assert metrics.alpha_beta(sample(2), benchmark, HOURLY) == pytest.approx((intercept * HOURLY, slope))


def test_information_ratio_is_the_sharpe_of_active_returns_and_zero_against_oneself() -> None:
    ours, theirs = sample(1), sample(2)
    assert metrics.information_ratio(ours, theirs, HOURLY) == pytest.approx(
        metrics.annual_sharpe(ours - theirs, HOURLY)
    )
    assert metrics.information_ratio(ours, ours, HOURLY) == 0.0
    assert metrics.correlation(ours, theirs) == pytest.approx(np.corrcoef(ours, theirs)[0, 1])
    with pytest.raises(ValueError, match="synchronous"):
        metrics.information_ratio(ours, theirs[1:], HOURLY)


def test_exposure_turnover_and_saturation_are_what_they_say() -> None:
    assert metrics.exposure([[0.2, 0.3], [0.0, 0.1]]) == pytest.approx(0.3)
    assert metrics.turnover_per_day([0.01, 0.03], HOURLY) == pytest.approx(0.48)
    assert metrics.turnover_per_day([0.01, 0.03], 365.0) == pytest.approx(0.02)
    assert metrics.saturated_share([[1.0, -1.0], [0.5, -0.99]]).tolist() == [1.0, 0.5]


def test_a_summary_is_json_and_holds_no_nan() -> None:
    rng = np.random.default_rng(0)
    row = metrics.summary(
        returns=sample(),
        bars_per_year=HOURLY,
        benchmark=sample(3),
        weights=rng.random((500, 3)) / 3,
        turnover=rng.random(500) / 100,
        saturation=metrics.saturated_share(rng.uniform(-1, 1, (500, 3))),
    )
    assert metrics.Performance.model_validate_json(row.model_dump_json()) == row
    assert all(math.isfinite(value) for value in row.model_dump().values())
