"""Active returns: what a trial earned above equal weight held at the trial's own exposure, fold by fold."""

import numpy as np
import pytest

from cappuccino_ml.environment import Backtest
from cappuccino_ml.study import TrialPaths
from cappuccino_ml.verdict.development import active_returns

BARS = (40, 60)


def equal_weight(bars: int, *, seed: int = 0, invested: float = 0.98) -> Backtest:
    returns = np.random.default_rng(seed).normal(0, 0.01, bars)
    weights = np.full((bars, 2), invested / 2)
    empty = np.zeros((bars, 2))
    equity = np.concatenate([[1.0], np.cumprod(1 + returns)])
    return Backtest(0, returns, equity, empty, weights, empty[:, 0], empty)


def paths(returns: np.ndarray, exposure: np.ndarray) -> TrialPaths:
    numbers = tuple(range(returns.shape[1]))
    return TrialPaths(numbers=numbers, fold_bars=BARS, returns=returns, turnover=0 * returns, exposure=exposure)


RUNS = [equal_weight(BARS[0], seed=1), equal_weight(BARS[1], seed=2)]
MARKET = np.concatenate([run.returns for run in RUNS])


def test_equal_weight_at_any_constant_exposure_has_no_active_return() -> None:
    shares = np.array([0.25, 0.5, 0.98])
    trials = paths(MARKET[:, None] * shares / 0.98, np.broadcast_to(shares, (100, 3)))
    np.testing.assert_allclose(active_returns(trials, RUNS), 0.0, atol=1e-15)


def test_a_trial_in_cash_has_no_active_return_also_in_a_falling_market() -> None:
    falling = [equal_weight(bars) for bars in BARS]
    for run in falling:
        run.returns[:] -= 0.05
    assert not active_returns(paths(np.zeros((100, 1)), np.zeros((100, 1))), falling).any()


def test_exposure_is_matched_within_each_fold() -> None:
    shares = np.repeat([0.2, 0.9], BARS)[:, None]  # one fold's agent is timid, the other's is not
    trials = paths(MARKET[:, None] * shares / 0.98, shares)
    np.testing.assert_allclose(active_returns(trials, RUNS), 0.0, atol=1e-15)


def test_being_invested_at_the_right_bars_is_an_active_return() -> None:
    timing = np.where(MARKET > 0, 0.98, 0.0)[:, None]
    active = active_returns(paths(MARKET[:, None] * timing / 0.98, timing), RUNS)
    assert active.mean() > 0.3 * np.abs(MARKET).mean()


def test_other_folds_than_the_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="pass the same folds"):
        active_returns(paths(np.zeros((100, 1)), np.zeros((100, 1))), RUNS[:1])
