"""Faults of the account, the market, the clock, the disk and the process: no entry, no order, or a halt that stays."""

import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import ManualClock, TradingError
from cappuccino_ml.environment import Guards
from cappuccino_ml.trading import (
    NO_LIMITS,
    Habits,
    Mode,
    Order,
    PanelFeed,
    Quote,
    Status,
    release,
    restrict,
)
from cappuccino_ml.trading.sizing import on_grid

from .conftest import FIRST, Desk, FakeActor, always, make_desk, make_panel
from .faulty import FaultyBroker, check, last_statuses, state_of


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    actor = FakeActor(rule=always(1, 1, 1), guards=Guards(max_drawdown=0.9, dead_band=0.0))
    return make_desk(tmp_path, actor=actor, broker_type=FaultyBroker)


def prices_times(panel: BarPanel, row: int, factor: float) -> BarPanel:
    for prices in (panel.open, panel.high, panel.low, panel.close):
        prices[row:] *= factor
    return panel


def test_fault_07_p1_the_same_bar_twice_is_decided_once(desk: Desk):
    trader = desk.open()
    assert [trader.tick().status, trader.tick().status, desk.open().tick().status] == ["traded", "repeated", "repeated"]
    assert len(desk.broker.posts) == 3


def test_fault_16_p3_an_open_order_we_never_made_halts_until_a_person_looks(tmp_path: Path):
    desk = make_desk(tmp_path, broker_type=FaultyBroker, habits=Habits(latency_s=10**6))
    trader = desk.open()
    desk.broker.submit(Order("by-hand", "UNI-USD", "buy", Decimal(10)))
    with pytest.raises(TradingError, match="by-hand of UNI-USD"):
        trader.tick()
    assert trader.mode == Mode.HALTED
    assert [order.client_order_id for order in desk.broker.posts] == ["by-hand"]
    assert desk.kinds()[-2:] == ["external", "halt"]
    with pytest.raises(TradingError, match="until a person"):
        desk.open()


def test_fault_17_p3_a_book_that_is_long_where_the_broker_is_flat_halts(desk: Desk):
    trader = desk.open()
    trader.tick()
    sent = len(desk.broker.posts)
    desk.broker._units = {}
    desk.at(FIRST + 1)
    with pytest.raises(TradingError, match=r"our book says .* BTC-USD, the broker 0"):
        trader.tick()
    with pytest.raises(TradingError, match="our book says"):
        desk.open()
    assert len(desk.broker.posts) == sent


@pytest.mark.parametrize("what", ["positions", "account"])
def test_fault_18_p3_no_answer_at_the_start_is_not_flat(desk: Desk, what: str):
    desk.broker.down = what
    with pytest.raises(TradingError, match="500"):
        desk.open()
    desk.broker.down = ""
    assert desk.open().mode == Mode.ACTIVE


def test_p3_another_account_than_the_ledgers_is_refused(desk: Desk):
    desk.open()
    account = desk.broker.account()
    desk.broker.account = lambda: replace(account, id="another")
    with pytest.raises(TradingError, match="another account"):
        desk.open()
    desk.broker.account = lambda: replace(account, blocked="is blocked (trading_blocked)")
    with pytest.raises(TradingError, match="trading_blocked"):
        desk.open()


QUOTE = Quote(
    price=Decimal(100),
    tradable=True,
    increment=Decimal("1e-9"),
    min_quantity=Decimal("0.001"),
    min_buy_notional=Decimal(10),
    max_notional=Decimal(200_000),
)


@pytest.mark.parametrize(
    ("side", "quantity", "sent"),
    [
        ("buy", "0.0999", "0"),
        ("buy", "0.1", "0.1"),
        ("sell", "0.0999", "0.0999"),
        ("sell", "0.0009", "0"),
        ("sell", "1e-12", "0"),
        ("buy", repr(0.1 + 0.2), "0.3"),
        ("buy", "1e22", "2000"),
        ("sell", "1.23456789012", "1.234567890"),
    ],
)
def test_fault_22_p6_sizes_are_floored_to_the_grid_or_not_sent(side: str, quantity: str, sent: str):
    size, reason = on_grid(Decimal(quantity), side=side, quote=QUOTE)  # type: ignore[arg-type]
    assert size == Decimal(sent)
    assert bool(reason) == (size == 0)


@pytest.mark.parametrize("action", [np.nan, np.inf, -np.inf])
def test_fault_22_p6_a_wish_that_is_no_number_sends_nothing(desk: Desk, action: float):
    desk.actor.rule = always(action, 1, 1)
    with pytest.raises(TradingError, match="not finite"):
        desk.open().tick()
    assert desk.broker.posts == []


def test_fault_23_p6_rules_that_change_between_ticks_are_obeyed_and_others_trade(desk: Desk):
    trader = desk.open()
    trader.tick()
    real = desk.broker.quotes

    def changed(symbols):  # type: ignore[no-untyped-def]
        quotes = real(symbols)
        rules = {"BTC-USD": {"tradable": False}, "ETH-USD": {"increment": Decimal("0.5")}}
        return {symbol: replace(quote, **rules.get(symbol, {})) for symbol, quote in quotes.items()}

    desk.broker.quotes = changed
    desk.at(FIRST + 1)
    trader.tick()
    orders = {order.symbol: order.quantity for order in desk.broker.posts[3:]}
    assert set(orders) == {"ETH-USD", "UNI-USD"}
    assert orders["ETH-USD"] % Decimal("0.5") == 0
    assert "skipped" in desk.kinds()


def test_fault_24_p5_one_silent_symbol_stops_all_entries_and_no_exit(tmp_path: Path):
    panel = make_panel(filled=0.0)
    panel.is_filled[FIRST + 1 : FIRST + 4, 2] = True
    desk = make_desk(tmp_path, panel=panel, actor=FakeActor(rule=always(1, 1, 1)), broker_type=FaultyBroker)
    desk.limits = NO_LIMITS.model_copy(update={"max_filled_bars": 0})
    trader = desk.open()
    trader.tick()
    assert len(desk.broker.posts) == 2
    desk.actor.rule = always(-1, 1, 0)
    for row in (FIRST + 1, FIRST + 2, FIRST + 3):
        desk.at(row)
        trader.tick()
    assert [(order.symbol, order.side) for order in desk.broker.posts[2:]] == [("BTC-USD", "sell")]
    assert any("UNI-USD has no newest bar" in sentence for sentence in desk.told)
    desk.at(FIRST + 4)
    trader.tick()
    assert desk.broker.posts[-1].side == "buy"


def test_fault_25_p4_a_revised_bar_is_used_as_it_is_now_and_a_forming_one_never(desk: Desk):
    class Revising:
        """The forming bar is in the feed; the last closed one is revised when the next has closed."""

        def panel(self, now: datetime) -> BarPanel:
            rows = desk.row + 2
            panel = make_panel(filled=0.0).slice(0, rows)
            panel.close[-1] *= 3
            return panel

    desk.feed = Revising()
    trader = desk.open()
    trader.tick()
    desk.at(FIRST + 1)
    trader.tick()
    seen = desk.actor.seen
    desk.feed = PanelFeed(desk.panel)
    other = make_desk(desk.path.parent / "other", actor=FakeActor(rule=always(1, 1, 1)), broker_type=FaultyBroker)
    trader = other.open()
    trader.tick()
    other.at(FIRST + 1)
    trader.tick()
    np.testing.assert_allclose(seen[0], other.actor.seen[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(seen[1], other.actor.seen[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("skew_s", [60, -60])
def test_fault_28_p5_a_clock_that_is_off_sends_nothing_until_it_is_right(desk: Desk, skew_s: int):
    trader = desk.open()
    real = desk.broker.account
    desk.broker.account = lambda: replace(real(), time=desk.clock.now() - timedelta(seconds=skew_s))
    with pytest.raises(TradingError, match=f"our clock is .{abs(skew_s)} s off"):
        trader.tick()
    assert desk.broker.posts == []
    desk.broker.account = real
    assert trader.tick().status == "traded"


def test_fault_28_p1_p5_a_clock_that_jumps_back_decides_no_bar_again(desk: Desk):
    class Jumping(ManualClock):
        def set(self, moment: datetime) -> None:
            self._now = moment

    desk.clock = desk.broker._clock = Jumping(desk.clock.now())
    trader = desk.open()
    trader.tick()
    sent = len(desk.broker.posts)
    desk.clock.set(desk.clock.now() - timedelta(hours=2))
    assert trader.tick().status == "repeated"
    assert desk.open().tick().status == "repeated"
    assert len(desk.broker.posts) == sent


def test_fault_29_p7_a_daily_loss_stops_entries_till_midnight_across_a_restart(tmp_path: Path):
    actor = FakeActor(rule=always(1, 1, 1), guards=Guards(max_step=0.3, max_weight=1, min_cash=0, max_drawdown=0.95))
    desk = make_desk(tmp_path, panel=prices_times(make_panel(filled=0.0), FIRST + 2, 0.8), actor=actor)
    desk.limits = NO_LIMITS.model_copy(update={"daily_loss": 0.1})
    desk.open().tick()
    desk.at(FIRST + 1)
    desk.open().tick()
    desk.at(FIRST + 2)
    trader = desk.open()
    trader.tick()
    sent = len(desk.broker.submitted)
    assert trader.mode == Mode.REDUCING
    desk.at(FIRST + 3)
    trader = desk.open()
    trader.tick()
    assert (trader.mode, len(desk.broker.submitted)) == (Mode.REDUCING, sent)
    actor.rule = always(-1, 0, 0)
    desk.at(FIRST + 4)
    desk.open().tick()
    assert desk.broker.submitted[-1].side == "sell"
    actor.rule = always(1, 1, 1)
    desk.at(FIRST + 24)
    trader = desk.open()
    trader.tick()
    assert trader.mode == Mode.ACTIVE
    assert desk.broker.submitted[-1].side == "buy"


def test_p7_the_days_turnover_is_capped_and_exits_go_on(desk: Desk):
    desk.actor.guards = Guards(max_drawdown=0.9, max_weight=1.0)
    desk.limits = NO_LIMITS.model_copy(update={"daily_turnover": 0.5})
    trader = desk.open()
    trader.tick()  # 0.3 of equity
    desk.at(FIRST + 1)
    trader.tick()
    assert len(desk.broker.posts) == 3
    desk.actor.rule = always(-1, -1, -1)
    desk.at(FIRST + 2)
    trader.tick()
    assert [order.side for order in desk.broker.posts[3:]] == ["sell"] * 3


def test_p7_a_person_can_stop_entries_or_everything_and_only_a_person_lifts_it(desk: Desk):
    desk.open().tick()
    assert desk.ledger is not None
    sent = len(desk.broker.posts)
    restrict(desk.ledger, entries_only=True, who="ann", why="a look at it", at=desk.clock.now())
    desk.at(FIRST + 1)
    trader = desk.open()
    trader.tick()
    assert (trader.mode, len(desk.broker.posts)) == (Mode.REDUCING, sent)
    restrict(desk.ledger, entries_only=False, who="ann", why="all of it", at=desk.clock.now())
    with pytest.raises(TradingError, match="ann: all of it"):
        desk.open()
    release(desk.ledger, who="ann", why="looked", at=desk.clock.now())
    assert desk.open().mode == Mode.ACTIVE


def test_fault_30_p12_a_stop_in_mid_tick_sends_nothing_more_and_leaves_no_open_order(tmp_path: Path):
    desk = make_desk(
        tmp_path, actor=FakeActor(rule=always(1, 1, 1)), broker_type=FaultyBroker, habits=Habits(latency_s=10**5)
    )
    trader = desk.open()
    desk.broker.on_post = lambda order: trader.ask_to_stop()  # SIGTERM while the first order is on the way
    with pytest.raises(TradingError, match="asked to stop"):
        trader.tick()
    assert len(desk.broker.posts) == 1
    trader.stop()
    assert desk.broker.open_orders() == []
    assert desk.kinds()[-1] == "stopped"
    assert set(last_statuses(desk).values()) == {Status.CANCELED}
    check(desk, desk.broker)


def test_fault_30_p10_a_full_disk_means_no_order(desk: Desk):
    trader = desk.open()
    assert desk.ledger is not None
    pages = desk.ledger._db.execute("PRAGMA page_count").fetchone()[0]
    desk.ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    for row in range(FIRST, FIRST + 12):
        desk.at(row)
        desk.actor.rule = always(1, 1, 1) if row % 2 else always(-1, -1, -1)
        try:
            trader.tick()
        except TradingError as error:
            assert "cannot be written" in str(error)  # noqa: PT017
            break
    sent = len(desk.broker.posts)
    desk.at(FIRST + 15)
    with pytest.raises(TradingError, match="cannot be written"):
        trader.tick()
    assert len(desk.broker.posts) == sent
    desk.ledger._db.execute("PRAGMA max_page_count = 1000000")
    desk.at(FIRST + 16)
    desk.open().tick()
    assert state_of(desk).positions == desk.broker.positions()
    check(desk, desk.broker)


def test_fault_30_p10_every_edited_row_is_named_at_the_start(desk: Desk):
    desk.open().tick()
    rows = len(desk.kinds())
    desk.close()
    original = {row: edit(desk, row) for row in (rows, rows // 2, 1)}
    for row in (1, rows // 2, rows):
        with pytest.raises(TradingError, match=f"row {row} of ledger"):
            desk.open()
        desk.close()
        edit(desk, row, original[row])
    assert desk.open().mode == Mode.ACTIVE


def edit(desk: Desk, row: int, payload: str = "") -> str:
    """Change one row as a person with a database tool would -> what it held."""
    database = sqlite3.connect(desk.path, isolation_level=None)
    database.execute("DROP TRIGGER IF EXISTS ledger_no_update")
    (before,) = database.execute("SELECT payload FROM ledger WHERE seq = ?", (row,)).fetchone()
    after = payload or before.replace("1", "2", 1)
    database.execute("UPDATE ledger SET payload = ? WHERE seq = ?", (after, row))
    database.close()
    return str(before)
