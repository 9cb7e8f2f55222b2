"""Regimes follow their stated rule, from the past only, and every bar is scored once."""

import numpy as np
import pytest

from cappuccino_ml.metrics import annual_sharpe, max_drawdown
from cappuccino_ml.verdict.regimes import REGIMES, RegimeRule, label_regimes, score_regimes

PER_YEAR = 8760.0
RULE = RegimeRule(days=2, threshold=0.05)
WINDOW = 48


def prices(seed: int = 0, bars: int = 600) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.01, (bars, 3))
    return 100 * np.exp(np.cumsum(steps, axis=0))


def test_labels_are_the_rule_written_out_bar_by_bar():
    close = prices()
    labels = label_regimes(close, rule=RULE, bars_per_year=PER_YEAR)
    seen = set()
    for t in range(len(close)):
        growth = 1.0
        for k in range(max(1, t - WINDOW + 1), t + 1):
            growth *= 1 + np.mean(close[k] / close[k - 1] - 1)
        wanted = "bull" if growth - 1 > 0.05 else "bear" if growth - 1 < -0.05 else "sideways"
        assert labels[t] == wanted
        seen.add(wanted)
    assert seen == set(REGIMES)


def test_the_future_changes_no_label():
    close = prices()
    labels = label_regimes(close, rule=RULE, bars_per_year=PER_YEAR)
    changed = close.copy()
    changed[300:] *= np.random.default_rng(9).uniform(0.5, 2.0, (300, 3))
    again = label_regimes(changed, rule=RULE, bars_per_year=PER_YEAR)
    assert (again[:300] == labels[:300]).all()
    assert (again[300:] != labels[300:]).any()


def test_scores_are_those_of_the_regimes_own_bars_and_drawdowns_never_cross_a_splice():
    random = np.random.default_rng(1)
    returns, turnover = random.normal(0, 0.01, 900), random.uniform(0, 0.1, 900)
    labels = np.array(["bull"] * 300 + ["bear"] * 300 + ["bull"] * 300)
    bull, bear, sideways = score_regimes(
        returns, labels, bars_per_year=PER_YEAR, seed=1, turnover=turnover, breaks=(750,), resamples=199
    )
    assert (bull.bars, bull.stretches, bear.bars, bear.stretches) == (600, 3, 300, 1)
    mine = np.concatenate([returns[:300], returns[600:]])
    assert bull.sharpe == pytest.approx(annual_sharpe(mine, PER_YEAR))
    assert bull.total_return == pytest.approx(np.prod(1 + mine) - 1)
    assert bull.max_drawdown == pytest.approx(
        max(max_drawdown(part) for part in (returns[:300], returns[600:750], returns[750:]))
    )
    assert bull.turnover_per_day == pytest.approx(np.concatenate([turnover[:300], turnover[600:]]).mean() * 24)
    assert bull.interval is not None
    assert bull.interval[0] < bull.sharpe < bull.interval[1]
    assert (sideways.bars, sideways.stretches, sideways.sharpe, sideways.interval) == (0, 0, None, None)


def test_a_policy_that_never_trades_and_a_short_regime_have_no_interval():
    labels = np.array(["bull"] * 500 + ["bear"] * 20)
    flat = score_regimes(np.zeros(520), labels, bars_per_year=PER_YEAR, seed=1, resamples=99)
    assert [score.interval for score in flat] == [None, None, None]
    assert flat[0].sharpe == 0.0
    noise = np.random.default_rng(2).normal(0, 0.01, 520)
    short = score_regimes(noise, labels, bars_per_year=PER_YEAR, seed=1, resamples=99)
    assert short[0].interval is not None
    assert short[1].interval is None


def test_returns_and_labels_must_be_as_many():
    with pytest.raises(ValueError, match="3 returns and 2 regimes"):
        score_regimes(np.zeros(3), np.array(["bull", "bear"]), bars_per_year=PER_YEAR, seed=1)
