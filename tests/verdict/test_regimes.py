"""Bull, bear and sideways by a causal rule with hysteresis, and the returns of each regime's own bars."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cappuccino_ml.verdict.regimes import REGIMES, RegimeRule, market_regimes

RULE = RegimeRule(days=2.0)


def names(close: np.ndarray, *, bars_per_day: float = 1.0, rule: RegimeRule = RULE) -> list[str]:
    return [REGIMES[place] for place in market_regimes(close, bars_per_day=bars_per_day, rule=rule)]


def of_steps(*steps: float) -> np.ndarray:
    """Closes [T, 1] whose log grows by each step."""
    return np.exp(np.cumsum([0.0, *steps]))[:, None]


def test_a_regime_is_entered_at_the_outer_and_left_at_the_inner_threshold() -> None:
    # Two-day log returns: .06, .12 (bull), .08 (stays), .03 (over), -.06, -.13 (bear), -.07 (stays), .02 (over)
    close = of_steps(0.0, 0.06, 0.06, 0.02, 0.01, -0.07, -0.06, -0.01, 0.03)
    expected = ["unknown", "unknown", "sideways", "bull", "bull", "sideways", "sideways", "bear", "bear", "sideways"]
    assert names(close) == expected


def test_a_bull_may_turn_into_a_bear_at_once() -> None:
    assert names(of_steps(0.2, 0.0, -0.5))[2:] == ["bull", "bear"]


@given(st.integers(0, 2**32 - 1), st.integers(5, 79))
def test_the_future_changes_no_regime_of_the_past(seed: int, row: int) -> None:
    random = np.random.default_rng(seed)
    close = np.exp(np.cumsum(random.normal(0, 0.04, (80, 3)), axis=0))
    changed = close.copy()
    changed[row:] *= random.uniform(0.2, 5.0, changed[row:].shape)
    assert names(close)[:row] == names(changed)[:row]
    assert names(close[:row]) == names(close)[:row]


def test_the_market_is_equal_parts_of_all_tickers() -> None:
    one = of_steps(*[0.2] * 5)
    flat = np.ones_like(one)
    assert names(one)[-1] == "bull"
    assert names(np.hstack([one, flat]))[-1] == "bull"
    assert names(np.hstack([one, *[flat] * 9]))[-1] == "sideways"


def test_days_are_counted_in_bars_of_the_timeframe() -> None:
    close = of_steps(*[0.01] * 60)
    assert names(close, bars_per_day=24).count("unknown") == 48
    with pytest.raises(ValueError, match="0 bars of 2 days"):
        names(close, bars_per_day=0.1)
