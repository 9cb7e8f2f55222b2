"""What one tick promises: closed bars only, one decision a bar, no orders when something is off."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Guards
from cappuccino_ml.features import latest_features
from cappuccino_ml.trading import Mode, Order, PanelFeed, release

from .conftest import FIRST, Desk, FakeActor, always, make_desk, make_panel


def crash_of_prices(row: int, *, share: float) -> BarPanel:
    """Prices lose `share` at bar `row`, and recover to twice the old level ten bars later."""
    panel = make_panel(filled=0.0)
    for prices in (panel.open, panel.high, panel.low, panel.close):
        prices[row:] *= 1 - share
        prices[row + 10 :] *= 2 / (1 - share)
    return panel


def test_the_same_bar_twice_trades_once(desk: Desk) -> None:
    desk.actor.rule = always(1, 1, 1)
    trader = desk.open()
    first = trader.tick()
    sent, rows = desk.broker.ids, desk.kinds()
    assert first.status == "traded"
    assert len(sent) == 3
    desk.clock.set(desk.clock.now() + timedelta(minutes=7))
    assert trader.tick().status == "repeated"
    assert desk.kinds() == rows
    assert desk.open().tick().status == "repeated"
    assert desk.broker.ids == sent


def test_every_row_names_the_model_and_its_version(desk: Desk) -> None:
    desk.open(version="17").tick()
    assert desk.ledger is not None
    assert {(row.payload["model"], row.payload["version"]) for row in desk.ledger.rows()} == {("fake-model", "17")}


@pytest.mark.parametrize(("key", "version"), [("", "1"), ("k", "")])
def test_an_unregistered_model_does_not_trade(desk: Desk, key: str, version: str) -> None:
    desk.actor.key = key
    with pytest.raises(TradingError, match="register it first"):
        desk.open(version=version)


def test_intents_are_on_disk_before_the_broker_hears_of_them(desk: Desk) -> None:
    desk.actor.rule = always(1, 1, 1)
    trader, known = desk.open(), []
    ledger = desk.ledger
    assert ledger is not None
    desk.broker.on_submit = lambda: known.append(list(ledger.rows())[-1])
    trader.tick()
    assert [(row.kind, row.payload["path"]) for row in known] == [("order", ["INTENT"])] * 3
    assert [row.payload["id"] for row in known] == desk.broker.ids


def test_sells_go_before_buys_and_pay_for_them(desk: Desk) -> None:
    desk.actor.guards = Guards(max_step=1.0, max_weight=1.0, min_cash=0.0, max_drawdown=0.9)
    desk.actor.rule = always(0, 0, 1)
    trader = desk.open()
    trader.tick()
    desk.actor.rule = always(1, 1, -1)
    desk.at(FIRST + 1)
    trader.tick()
    assert [(order.symbol, order.side) for order in desk.broker.submitted] == [
        ("UNI-USD", "buy"),
        ("UNI-USD", "sell"),
        ("BTC-USD", "buy"),
        ("ETH-USD", "buy"),
    ]
    assert "UNI-USD" not in desk.broker.positions()
    assert 0 <= desk.broker.account().cash < 50


def test_defect_18_forming_bar_never_used(desk: Desk) -> None:
    class Eager(PanelFeed):
        def panel(self, now):  # type: ignore[no-untyped-def]
            return desk.panel.slice(0, FIRST + 2)  # one bar more than is closed

    trader = desk.open()
    trader._feed = Eager(desk.panel)
    tick = trader.tick()
    expected = latest_features(desk.panel.slice(0, FIRST + 1))[-3:]
    np.testing.assert_allclose(desk.actor.seen[-1], expected, rtol=0, atol=1e-12)
    assert tick.bar_close == desk.clock.now()


def test_defect_02_no_fill_at_a_stale_price(tmp_path: Path) -> None:
    panel = make_panel(filled=0.0)
    panel.is_filled[FIRST + 1, 0] = True
    desk = make_desk(tmp_path, panel=panel, actor=FakeActor(rule=always(1, 1, 1)))
    tick = desk.open().tick()
    assert tick.filled is not None
    assert tick.filled[0] == 0 < tick.filled[1:].min()
    assert [order.symbol for order in desk.broker.submitted] == ["ETH-USD", "UNI-USD"]
    assert "skipped" in desk.kinds()
    assert desk.broker.submit(Order("x", "BTC-USD", "buy", Decimal("0.1"))).reason == "BTC-USD does not trade now"


def test_defect_02_a_stale_feed_means_no_orders(desk: Desk) -> None:
    desk.actor.rule = always(1, 1, 1)
    trader = desk.open()
    trader._feed = PanelFeed(desk.panel.slice(0, FIRST + 1))
    desk.at(FIRST + 1)
    assert trader.tick().status == "stale"
    assert desk.kinds()[-1] == "stale"
    assert desk.broker.submitted == []


def test_defect_04_ticker_order_mismatch_refused(desk: Desk) -> None:
    desk.actor.universe = Universe(tickers=("ETH", "BTC", "UNI"))
    with pytest.raises(TradingError, match="BTC, ETH, UNI"):
        desk.open().tick()
    assert desk.kinds()[-1] == "refused"
    assert desk.broker.submitted == []


@pytest.mark.parametrize("action", [[np.nan, 0, 0], [np.inf, 0, 0], [1.0, 1.0]])
def test_an_action_that_is_not_finite_or_misshapen_is_refused(desk: Desk, action: list[float]) -> None:
    desk.actor.rule = always(*action)
    with pytest.raises(TradingError, match="action"):
        desk.open().tick()
    assert desk.kinds()[-1] == "refused"
    assert desk.broker.submitted == []


def test_too_little_history_is_refused(desk: Desk) -> None:
    trader = desk.open()
    trader._feed = PanelFeed(desk.panel.slice(FIRST - 200, FIRST + 5))
    with pytest.raises(TradingError, match="201 closed bars, 303 are needed"):
        trader.tick()


def test_a_huge_wish_is_capped_by_guards_and_cash(desk: Desk) -> None:
    desk.actor.rule = always(1e22, 1e22, -1e22)
    tick = desk.open().tick()
    assert tick.filled is not None
    weights = tick.filled * desk.panel.close[FIRST] / 100_000
    np.testing.assert_allclose(weights, [0.1, 0.1, 0.0], atol=1e-5)


def test_defect_03_forced_sells_are_not_scaled(tmp_path: Path) -> None:
    actor = FakeActor(guards=Guards(max_step=0.1, max_drawdown=0.05), rule=always(1, 1, 1))
    desk = make_desk(tmp_path, panel=crash_of_prices(FIRST + 3, share=0.5), actor=actor)
    trader = desk.open()
    for row in range(FIRST, FIRST + 3):
        desk.at(row)
        trader.tick()
    held = desk.broker.positions()
    assert len(held) == 3
    desk.at(FIRST + 3)
    trader.tick()
    assert trader.mode == Mode.HALTED
    assert {order.symbol: order.quantity for order in desk.broker.submitted[-3:]} == held
    assert desk.broker.positions() == {}


def test_defect_17_the_halt_survives_a_restart_and_sells_only_once(tmp_path: Path) -> None:
    actor = FakeActor(guards=Guards(max_step=0.1, max_drawdown=0.05), rule=always(1, 1, 1))
    desk = make_desk(tmp_path, panel=crash_of_prices(FIRST + 3, share=0.5), actor=actor)
    trader = desk.open()
    for row in range(FIRST, FIRST + 4):
        desk.at(row)
        trader.tick()
    sent, peak = len(desk.broker.submitted), trader.peak
    for row in range(FIRST + 4, FIRST + 15):  # prices recover at +13
        desk.at(row)
        trader = desk.open()
        trader.tick()
    assert trader.mode == Mode.HALTED
    assert trader.peak == peak
    assert len(desk.broker.submitted) == sent
    assert desk.ledger is not None
    with pytest.raises(TradingError, match="name"):
        release(desk.ledger, who="", why="", at=desk.clock.now())
    release(desk.ledger, who="ann", why="looked at it", at=desk.clock.now())
    trader = desk.open()
    desk.at(FIRST + 15)
    trader.tick()
    assert trader.mode == Mode.ACTIVE
    assert len(desk.broker.submitted) == sent + 3


def test_a_halted_account_is_sold_even_if_the_model_is_broken(tmp_path: Path) -> None:
    actor = FakeActor(guards=Guards(max_step=0.1, max_drawdown=0.05), rule=always(1, 1, 1))
    desk = make_desk(tmp_path, panel=crash_of_prices(FIRST + 2, share=0.9), actor=actor)
    trader = desk.open()
    trader.tick()
    assert len(desk.broker.positions()) == 3
    actor.rule = always(np.nan, np.nan, np.nan)
    desk.at(FIRST + 2)
    trader.tick()
    assert trader.mode == Mode.HALTED
    assert desk.broker.positions() == {}


def test_p12_a_kill_file_stops_before_the_next_order_and_removing_it_resumes(desk: Desk) -> None:
    desk.actor.rule = always(1, 1, 1)
    kill_file = desk.path.with_name("STOP")
    trader = desk.open(kill_file=kill_file)
    desk.broker.on_submit = kill_file.touch
    with pytest.raises(TradingError, match="STOP"):
        trader.tick()
    assert len(desk.broker.ids) == 1
    desk.at(FIRST + 1)
    with pytest.raises(TradingError, match="STOP"):
        trader.tick()
    assert len(desk.broker.ids) == 1
    desk.broker.on_submit = None
    kill_file.unlink()
    assert trader.tick().status == "traded"
    assert len(desk.broker.ids) == 4


def test_p6_a_full_exit_leaves_no_crumb_of_an_off_grid_holding(desk: Desk) -> None:
    account = json.loads(desk.broker.snapshot()) | {"units": {"ETH-USD": "1.23456789012345"}}  # a fee was taken in coin
    desk.broker.restore(json.dumps(account))
    desk.actor.rule = always(0, -1, 0)
    desk.open().tick()
    assert [str(order.quantity) for order in desk.broker.submitted] == ["1.23456789012345"]
    assert desk.broker.positions() == {}


def test_a_swap_keeps_book_peak_and_halt(desk: Desk) -> None:
    desk.actor.rule = always(1, 1, 1)
    trader = desk.open()
    trader.tick()
    held, peak = desk.broker.positions(), trader.peak
    trader.swap(actor=FakeActor(key="other", rule=always(0, 0, 0)), model_version="2")
    desk.at(FIRST + 1)
    trader.tick()
    assert desk.broker.positions() == held
    assert trader.peak >= peak


def test_ids_are_unique_per_bar_symbol_and_leg_and_fit_the_venue(desk: Desk) -> None:
    trader = desk.open()
    for row in range(FIRST, FIRST + 20):
        desk.at(row)
        trader.tick()
    assert len(set(desk.broker.ids)) == len(desk.broker.ids) > 10
    assert max(map(len, desk.broker.ids)) <= 48


def test_the_broker_survives_a_restart_by_snapshot(desk: Desk) -> None:
    trader = desk.open()
    for row in range(FIRST, FIRST + 5):
        desk.at(row)
        trader.tick()
    again = make_desk(desk.path.parent / "again").broker
    again.restore(desk.broker.snapshot())
    assert again.positions() == desk.broker.positions()
    assert again.account().cash == desk.broker.account().cash
    assert all(again.order(key) == desk.broker.order(key) for key in desk.broker.ids)
