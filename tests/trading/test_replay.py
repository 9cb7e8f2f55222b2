"""Replaying history through the trader gives the backtest's orders."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import CONTEXT_BARS, MarketTable
from cappuccino_ml.policy import Actor
from cappuccino_ml.trading import (
    Comparison,
    Ledger,
    Row,
    Session,
    compare,
    replay,
    research_act,
    research_sizes,
    shadow_backtest,
)

from .agents import ARMS, store_agent
from .conftest import FIRST, FakeActor, make_panel


def beside(actor: FakeActor, session: Session, panel: BarPanel, rows: Sequence[Row] = ()) -> Comparison:
    """The session compared with `actor`'s backtest of the same bars."""
    table = MarketTable.from_panel(panel)
    backtest = shadow_backtest(actor=actor, table=table, first=session.first, last=session.first + len(session.orders))
    return compare(
        session,
        backtest,
        costs=actor.costs,
        label="toy",
        rows=rows,
        act_again=research_act(actor, table),
        size_again=research_sizes(actor, table),
    )


def both(actor: FakeActor, *, seed: int, filled: float = 0.05, bars: int = 30) -> tuple[Session, Comparison]:
    panel = make_panel(seed=seed, filled=filled, bars=FIRST + bars + 2)
    span = {"first": FIRST, "last": FIRST + bars}
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "l.db", durable=False) as ledger:
        session = replay(actor=actor, panel=panel, ledger=ledger, **span)
        assert ledger.verify() > bars
    return session, beside(actor, session, panel)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    filled=st.sampled_from([0.0, 0.05, 0.4]),
    costs=st.builds(
        Costs,
        fee_bps=st.sampled_from([0.0, 25.0]),
        fee_in_coin=st.booleans(),
        slippage_bps=st.sampled_from([0.0, 7.0]),
        increment=st.sampled_from([1e-6, 1e-3, (1e-6, 1e-4, 1e-2)]),
    ),
    guards=st.builds(
        Guards,
        min_cash=st.just(0.0),
        max_step=st.sampled_from([0.1, 0.6]),
        max_drawdown=st.sampled_from([0.02, 0.9]),
        stop_loss=st.sampled_from([0.0, 0.012]),
        trailing_stop=st.sampled_from([0.0, 0.015]),
        min_holding_bars=st.sampled_from([0, 4]),
        cooldown_bars=st.sampled_from([0, 3]),
    ),
)
def test_replay_gives_the_backtests_orders_bar_by_bar(seed: int, filled: float, costs: Costs, guards: Guards) -> None:
    actor = FakeActor(guards=guards, costs=costs)
    session, result = both(actor, seed=seed, filled=filled)
    assert result.orders_equal, result.deviations
    assert abs(result.return_gap) < 1e-9
    assert result.fills == result.backtest_fills > 0
    if guards.max_drawdown > 0.5:
        assert (session.orders > 0).any()
        assert (session.orders < 0).any()
    assert session.equity[0] == 100_000


@pytest.mark.parametrize("arm", ARMS)
def test_a_stored_agent_of_each_arm_gives_its_backtests_orders(tmp_path: Path, arm: str) -> None:
    panel = make_panel(seed=2, bars=FIRST + 32)
    store_agent(tmp_path / "agent", arm, universe=panel.universe)
    actor, span = Actor.load(tmp_path / "agent"), {"first": FIRST, "last": FIRST + 30}
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        session = replay(actor=actor, panel=panel, ledger=ledger, **span)
    result = beside(actor, session, panel)
    assert result.orders_equal, result.deviations
    assert result.fills == result.backtest_fills > 10


def test_the_trailing_window_gives_the_orders_of_the_whole_history() -> None:
    actor, first = FakeActor(), CONTEXT_BARS + 400
    panel = make_panel(seed=8, bars=first + 27)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "l.db", durable=False) as ledger:
        session = replay(actor=actor, panel=panel, first=first, last=first + 25, ledger=ledger)
    result = beside(actor, session, panel)
    assert result.orders_equal, result.deviations
    assert result.fills > 0


def test_defect_05_same_sizing_and_costs_live_as_in_backtest() -> None:
    actor = FakeActor(costs=Costs(fee_bps=40.0, slippage_bps=10.0), guards=Guards(max_step=0.3, max_drawdown=0.9))
    panel = make_panel(seed=5, bars=FIRST + 42)
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "l.db", durable=False) as ledger:
        session = replay(actor=actor, panel=panel, first=FIRST, last=FIRST + 40, ledger=ledger)
    backtest = shadow_backtest(actor=actor, table=MarketTable.from_panel(panel), first=FIRST, last=FIRST + 40)
    np.testing.assert_allclose(session.equity, backtest.equity, rtol=1e-9)
    np.testing.assert_allclose(session.turnover, backtest.turnover, rtol=1e-6, atol=1e-9)
    assert session.turnover.sum() > 1


def test_a_replay_needs_an_empty_ledger_and_a_span_inside_the_bars(tmp_path: Path) -> None:
    panel = make_panel(bars=FIRST + 5)
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        with pytest.raises(TradingError, match="does not fit"):
            replay(actor=FakeActor(), panel=panel, first=FIRST, last=FIRST + 5, ledger=ledger)
        replay(actor=FakeActor(), panel=panel, first=FIRST, last=FIRST + 2, ledger=ledger)
        with pytest.raises(TradingError, match="not empty"):
            replay(actor=FakeActor(), panel=panel, first=FIRST, last=FIRST + 2, ledger=ledger)
