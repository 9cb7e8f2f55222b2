"""A session read back from the ledger is the one that was held, from whatever book the model took over."""

from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.features import MarketTable
from cappuccino_ml.trading import Ledger, fills_of, release, replay, restrict
from cappuccino_ml.trading.live import live_session, store_live

from .conftest import FIRST, Desk, FakeActor, always, make_desk, make_panel
from .test_stops import BTC, steps


@pytest.mark.parametrize("fee_in_coin", [False, True])
def test_the_ledger_gives_the_replayed_session_back(tmp_path: Path, fee_in_coin: bool) -> None:
    actor, panel = FakeActor(costs=Costs(fee_in_coin=fee_in_coin, slippage_bps=3.0)), make_panel(bars=FIRST + 42)
    with Ledger(tmp_path / "l.db", durable=False) as ledger:
        held = replay(actor=actor, panel=panel, first=FIRST, last=FIRST + 40, ledger=ledger, model_version="3")
        rows = list(ledger.rows())
    found = live_session(rows, panel=panel, version="3")
    assert found is not None
    session, before = found
    assert not before.positions
    assert session.first == held.first
    np.testing.assert_array_equal(session.orders, held.orders)
    np.testing.assert_array_equal(session.actions, held.actions)
    np.testing.assert_array_equal(session.timestamps, held.timestamps)
    np.testing.assert_allclose(session.equity, held.equity, rtol=1e-9)
    assert live_session(rows, panel=panel, version="2") is None
    assert live_session(rows, panel=panel.slice(0, FIRST + 1), version="9") is None


def test_a_model_that_took_over_a_book_is_compared_from_that_book_on(desk: Desk, tmp_path: Path) -> None:
    trader = desk.open(version="1")
    for row in range(FIRST, FIRST + 30):
        if row == FIRST + 6:
            desk.actor = FakeActor(key="second")
            trader.swap(actor=desk.actor, model_version="2")
        desk.at(row)
        trader.tick()
    assert desk.ledger is not None
    rows, table = list(desk.ledger.rows()), MarketTable.from_panel(desk.panel)
    stored = [
        store_live(
            tmp_path / "sessions",
            actor=desk.actor,
            model_version="2",
            rows=rows,
            panel=desk.panel,
            table=table,
            label="paper session",
        )
        for _ in range(2)
    ]
    assert stored[0] == stored[1]
    assert stored[0] is not None
    report, folder = stored[0]
    assert report.comparison.bars == 24
    assert report.comparison.orders_equal, report.comparison.deviations
    assert abs(report.comparison.return_gap) < 1e-6
    assert report.comparison.fills > 5
    assert (folder / "equity.parquet").is_file()


def test_a_bar_that_was_missed_is_a_deviation_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    kill, desk.actor = tmp_path / "KILL", FakeActor(rule=always(0.5, 0.5, 0.5))
    trader = desk.open(version="1", kill_file=kill)
    for row in range(FIRST, FIRST + 12):
        desk.at(row)
        if row == FIRST + 4:
            kill.touch()
            with pytest.raises(Exception, match="exists"):
                trader.tick()
            kill.unlink()
        else:
            trader.tick()
    assert desk.ledger is not None
    found = store_live(
        tmp_path / "sessions",
        actor=desk.actor,
        model_version="1",
        rows=list(desk.ledger.rows()),
        panel=desk.panel,
        table=MarketTable.from_panel(desk.panel),
        label="paper session",
    )
    assert found is not None
    odd = found[0].comparison.deviations
    assert odd
    assert odd[0].explained
    assert "no decision was taken" in odd[0].cause
    assert "KILL exists" in odd[0].cause
    assert found[0].comparison.unexplained == 0, [one.sentence for one in odd if not one.explained]


@pytest.mark.parametrize("halted", [False, True])
def test_bars_missed_while_a_person_had_stopped_or_halted_the_trader_have_that_as_their_cause(
    desk: Desk, tmp_path: Path, halted: bool
) -> None:
    desk.actor = FakeActor(rule=always(0.5, 0.5, 0.5))
    trader = desk.open(version="1")
    for row in range(FIRST, FIRST + 10):
        desk.at(row)
        assert desk.ledger is not None
        if row == FIRST + 4:
            trader.stop()
            if halted:
                restrict(desk.ledger, entries_only=False, who="ann", why="a look", at=desk.clock.now())
                with pytest.raises(TradingError, match="until a person"):
                    desk.open(version="1")
        if row == FIRST + 7:
            if halted:
                release(desk.ledger, who="ann", why="looked", at=desk.clock.now())
            trader = desk.open(version="1")
        if row not in range(FIRST + 4, FIRST + 7):
            trader.tick()
    assert desk.ledger is not None
    found = store_live(
        tmp_path / "sessions",
        actor=desk.actor,
        model_version="1",
        rows=list(desk.ledger.rows()),
        panel=desk.panel,
        table=MarketTable.from_panel(desk.panel),
        label="paper session",
    )
    assert found is not None
    odd = found[0].comparison.deviations
    cause = "no decision was taken: " + ("halted: ann: a look" if halted else "the trader was stopped")
    assert {one.bar[11:13] for one in odd if one.cause == cause} == {f"{(FIRST + k) % 24:02}" for k in (4, 5, 6)}
    assert [one.sentence for one in odd if not one.explained] == []


HAND_OVER = FIRST + 3
# What the first model wishes for BTC bar by bar, then the second one at every bar; BTC's closes; the guard that both
# have; which bars of the second model must see an order of BTC.
GUARDED = {
    "stop-loss": ((0.9, 0, 0), 0.0, (100, 100, 98, 95, 95, 89), {"stop_loss": 0.1}, {5: "sell"}),
    "trailing stop": ((0.9, 0, 0), 0.0, (100, 120, 115, 112, 112, 107), {"trailing_stop": 0.1}, {5: "sell"}),
    "latched stop": ((0.9, 0, 0), 0.0, (100, 100, 85, 99, 99, 99), {"stop_loss": 0.1}, {4: "sell"}),
    "minimum hold": ((0.9, 0, 0), -1.0, (100,), {"min_holding_bars": 4}, {4: "sell"}),
    "cool-down": ((0.9, -1, 0), 1.0, (100,), {"cooldown_bars": 3, "max_weight": 0.3}, {5: "buy"}),
    "drawdown halt": ((0.9, 0, 0), 0.0, (100, 100, 90, 85, 83, 78), {"max_drawdown": 0.05}, {5: "sell"}),
}


@pytest.mark.parametrize("first_bar", ["decided", "refused"])
@pytest.mark.parametrize("name", GUARDED)
def test_what_a_guard_remembers_from_before_the_hand_over_leaves_no_order_unexplained(
    tmp_path: Path, name: str, first_bar: str
) -> None:
    before, after, levels, guard, expected = GUARDED[name]
    guards = Guards.model_validate({"max_step": 0.3, "max_drawdown": 0.9, "dead_band": 0.0, **guard})
    panel = steps(*levels)
    if name == "latched stop":  # hit, and nothing trades until the second model is there
        panel.is_filled[FIRST + 3 : FIRST + 5, 0] = True
    first, second = FakeActor(guards=guards), FakeActor(key="second", guards=guards, rule=always(after, 0.1, 0))
    desk = make_desk(tmp_path, panel=panel, actor=first)
    trader = desk.open(version="1")
    for row in range(FIRST, FIRST + 8):
        if row < HAND_OVER:
            first.rule = always(before[row - FIRST], 0, 0)
        elif row == HAND_OVER:
            trader.swap(actor=second, model_version="2")
        desk.at(row)
        if row == HAND_OVER and first_bar == "refused":
            wish, second.rule = second.rule, always(np.nan, 0, 0)
            with pytest.raises(TradingError, match="not finite"):
                trader.tick()
            second.rule = wish
        else:
            trader.tick()
    rows = list(desk.ledger.rows())  # type: ignore[union-attr]
    traded = {
        (round((fill.bar_close - rows[0].at).total_seconds() / 3600), fill.side)
        for fill in fills_of([row for row in rows if row.payload.get("version") == "2"])
        if fill.symbol == BTC
    }
    assert traded == set(expected.items()), "the guard did not fire where it must: the test would show nothing"
    stored = store_live(
        tmp_path / "sessions",
        actor=second,
        model_version="2",
        rows=rows,
        panel=panel,
        table=MarketTable.from_panel(panel),
        label="paper session",
    )
    assert stored is not None
    found = stored[0].comparison
    assert [one.sentence for one in found.deviations if not one.explained] == []
    if first_bar == "decided":
        assert found.orders_equal, found.deviations
        assert abs(found.return_gap) < 1e-9
