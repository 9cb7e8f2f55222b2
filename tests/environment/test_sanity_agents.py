"""On the placebo nobody wins, on the planted market who knows does, seeing the next bar makes rich, guards or not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from cappuccino_ml.bars import BarPanel, SimulatedSource, Universe, align, long_or_cash, regime_probability
from cappuccino_ml.environment import Act, Backtest, Costs, Guards, backtests

BARS = 3000
UNIVERSE = Universe()
TICKERS = len(UNIVERSE.tickers)
GUARDED = Guards(
    max_drawdown=0.9, stop_loss=0.08, trailing_stop=0.1, min_holding_bars=3, cooldown_bars=6
)  # fmt: skip


def panel_of(source: SimulatedSource) -> BarPanel:
    start, end = source.coverage(UNIVERSE)
    frames = [
        source.fetch(symbol=symbol, universe=UNIVERSE, start=start, end=end).assign(symbol=symbol)
        for symbol in UNIVERSE.symbols
    ]
    return align(pd.concat(frames), UNIVERSE)


def source(variant: str, seed: int) -> SimulatedSource:
    return SimulatedSource(seed=seed, variant=variant, end=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=BARS))


def agents(panel: BarPanel, state: np.ndarray) -> dict[str, Act]:
    """Everything one might try, with what each has to go by known at the close."""
    random = np.random.default_rng(0)
    moves = np.diff(np.log(panel.close), axis=0, prepend=np.log(panel.close[:1]))
    past = np.cumsum(moves, axis=0)

    def follow(sign: float, bars: int) -> Act:
        return lambda t, _: np.clip(sign * 100 * (past[t] - past[max(t - bars, 0)]), -1, 1)

    return {
        "random": lambda t, _: random.uniform(-1, 1, TICKERS),
        "all in": lambda t, _: np.ones(TICKERS),
        "momentum": follow(1, 24),
        "reversal": follow(-1, 6),
        "filter of volume": long_or_cash(regime_probability(panel) > 0.5),
        "hidden state": long_or_cash(state == 1),
    }


def run(panel: BarPanel, acts: dict[str, Act], *, guards: Guards, costs: Costs) -> dict[str, Backtest]:
    market = {"open_": panel.open, "close": panel.close, "tradable": ~panel.is_filled}
    results = backtests(
        acts=list(acts.values()), first=200, last=len(panel) - 1, guards=guards, costs=costs, **market
    )  # fmt: skip
    return dict(zip(acts, results, strict=True))


def t_value(results: list[Backtest]) -> float:
    returns = np.concatenate([result.returns for result in results])
    return float(returns.mean() / returns.std() * np.sqrt(len(returns)))


@pytest.mark.parametrize("guards", [Guards(max_drawdown=0.9), GUARDED], ids=["plain", "guarded"])
def test_on_the_placebo_nobody_wins_and_who_trades_pays_his_turnover_times_the_fee(guards):
    results: dict[str, list[Backtest]] = {}
    for seed in range(2):
        placebo = source("placebo", seed)
        panel = panel_of(placebo)
        acts = agents(panel, placebo.hidden_state(panel.timestamps))
        for name, result in run(panel, acts, guards=guards, costs=Costs(fee_bps=25)).items():
            results.setdefault(name, []).append(result)
    for name, runs in results.items():
        assert t_value(runs) < 2, name
        before_fees = np.concatenate([one.returns + one.turnover * 25e-4 for one in runs])
        assert abs(before_fees.mean()) < 3 * before_fees.std() / np.sqrt(len(before_fees)), name
    assert np.mean([one.turnover.mean() for one in results["random"]]) > 0.01
    assert t_value(results["random"]) < -2


def test_on_the_planted_market_who_knows_the_hidden_state_wins():
    planted = source("planted", 0)
    panel = panel_of(planted)
    acts = agents(panel, planted.hidden_state(panel.timestamps))
    results = run(panel, acts, guards=Guards(max_drawdown=0.9), costs=Costs(fee_bps=25))
    assert t_value([results["hidden state"]]) > 2.0
    assert t_value([results["random"]]) < t_value([results["hidden state"]]) - 3


def test_an_agent_that_sees_the_next_bar_gets_rich_whatever_the_guards():
    panel = panel_of(source("placebo", 3))
    gain = np.log(panel.close[1:] / panel.open[1:])

    def prophet(t: int, _: np.ndarray) -> np.ndarray:
        return np.where(gain[t] > 0.004, 1.0, -1.0)

    for guards in (Guards(max_step=0.5), GUARDED.model_copy(update={"min_holding_bars": 0, "cooldown_bars": 0})):
        result = run(panel, {"prophet": prophet}, guards=guards, costs=Costs(fee_bps=5))["prophet"]
        assert result.equity[-1] > 10 * result.equity[0]
