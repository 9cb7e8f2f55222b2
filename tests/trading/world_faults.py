"""Faults of the world around the orders, as scripts for the crash harness: account, market, clock, disk and process.

Faults 26 and 27 (pages and quirks of exchanges) end in the reader of bars and write no row, as `test_missing_bars`
shows over HTTP; what the trader sees of them, bars that do not come, is here. Faults of orders are in `order_faults`.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Costs, Guards
from cappuccino_ml.trading import NO_LIMITS, Habits, Ledger, Limits, Order, SimulatedBroker, Trader

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, make_desk, make_panel
from .faulty import FaultyBroker, state_of

BTC = "BTC-USD"
BARS = range(FIRST, FIRST + 4)
ACTIONS = {FIRST: (1.0, 1.0, 0.0), FIRST + 1: (-1.0, 0.5, 1.0), FIRST + 2: (1.0, -1.0, 0.0)}
PANEL = make_panel(filled=0.0)
Before = Callable[[Desk, int], None]


def nothing(desk: Desk, row: int) -> None:
    """All is as it should be."""


@dataclass(frozen=True)
class WorldFault:
    """What happens before each bar, on which market, and what must hold in the end."""

    before: Before = nothing
    panel: BarPanel = field(default_factory=lambda: PANEL)
    guards: Guards = field(default_factory=lambda: Guards(max_drawdown=0.9))
    costs: Costs = field(default_factory=lambda: Costs(slippage_bps=3.0))
    actions: dict[int, tuple[float, ...]] = field(default_factory=lambda: ACTIONS)
    habits: Habits = field(default_factory=Habits)
    limits: Limits = NO_LIMITS
    ticks: int = 1  # for each bar
    halts: bool = False
    then: Callable[[Desk], None] = lambda desk: None


def at(row: int, change: Callable[[Desk], None]) -> Before:
    """`change`, once, before the bar `row`."""

    def before(desk: Desk, now: int) -> None:
        if now == row and desk.broker not in done:
            done.append(desk.broker)
            change(desk)

    done: list[SimulatedBroker] = []
    return before


def second_trader(desk: Desk, row: int) -> None:
    if desk.ledger is not None:
        with pytest.raises(TradingError, match="another trader holds"):
            Ledger(desk.path, durable=False)


def order_by_hand(desk: Desk) -> None:
    SimulatedBroker.submit(desk.broker, Order("by-hand", "UNI-USD", "buy", Decimal(10)))


def emptied(desk: Desk) -> None:
    """The broker is flat; where a crash had kept us flat, too, it is long."""
    units = desk.broker._units
    units.update({} if units else {"UNI-USD": Decimal(7)})
    for symbol in [symbol for symbol in units if symbol != "UNI-USD"]:
        del units[symbol]


def down_until(row: int) -> Before:
    def before(desk: Desk, now: int) -> None:
        desk.broker.down = "positions" if now < row else ""

    return before


def other_rules(desk: Desk) -> None:
    real = desk.broker.quotes
    rules = {BTC: {"tradable": False}, "ETH-USD": {"increment": Decimal("0.5")}}
    desk.broker.quotes = lambda symbols: {
        symbol: replace(quote, **rules.get(symbol, {})) for symbol, quote in real(symbols).items()
    }


def quoted_1e22(desk: Desk) -> None:
    real = desk.broker.quotes
    desk.broker.quotes = lambda symbols: {
        symbol: replace(quote, price=Decimal("1e22")) for symbol, quote in real(symbols).items()
    }


def no_wish_is_above_a_step(desk: Desk) -> None:
    """Of a wish of 1e22 a step of 0.1 is bought, and nothing at a price of 1e22."""
    prices = dict(zip(desk.panel.universe.symbols, desk.panel.open[FIRST + 1], strict=True))
    worth = [float(order.quantity) * prices[order.symbol] for order in desk.broker.posts]
    assert all(value < 0.11 * 100_000 for value in worth)
    assert len(worth) <= 2


def dollars(worth: float, *, row: int, column: int = 0) -> float:
    """A wish for so much at the price it will be bought at: a step of 0.1 of 100,000, decided at the close before."""
    return worth / 10_000 * float(PANEL.close[row, column] / PANEL.open[row + 1, column])


def worth_ten_dollars(desk: Desk) -> None:
    """$9.99 and crumbs are not sent; what is just worth it is, and nothing is left open for the rest."""
    assert {order.symbol for order in desk.broker.posts} <= {BTC}
    assert len(desk.broker.posts) <= 1


class Silent:
    """No new bars for two closes: at the first the newest is just not there yet, at the second the last is stale."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def panel(self, now: datetime) -> BarPanel:
        row = self._desk.row
        return PANEL.slice(0, (FIRST if row in {FIRST + 1, FIRST + 2} else row) + 1)


def no_new_bars(desk: Desk, row: int) -> None:
    desk.feed = desk.feed or Silent(desk)


def jumping(hours: int, *, in_the_tick: bool) -> Before:
    """The clock goes back before the second bar is looked at, or while its first order is on the way."""

    def back(desk: Desk) -> None:
        desk.clock._now -= timedelta(hours=hours)

    def on_post(desk: Desk) -> None:
        def jump(order: Order) -> None:
            desk.broker.on_post = None
            back(desk)

        desk.broker.on_post = jump

    return at(FIRST + 1, on_post if in_the_tick else back)


def skewed(seconds: float, rows: range) -> Before:
    def before(desk: Desk, row: int) -> None:
        real = type(desk.broker).account
        desk.broker.account = lambda: replace(real(desk.broker), time=desk.clock.now() - lag)
        lag = timedelta(seconds=seconds if row in rows else 0)

    return before


class Forming:
    """The forming bar is in the feed, and closes elsewhere."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def panel(self, now: datetime) -> BarPanel:
        panel = make_panel(filled=0.0).slice(0, self._desk.row + 2)
        panel.close[-1] *= 3
        return panel


def forming(desk: Desk, row: int) -> None:
    desk.feed = desk.feed or Forming(desk)


def without_uni() -> BarPanel:
    panel = make_panel(filled=0.0)
    panel.is_filled[FIRST + 1 : FIRST + 3, 2] = True
    return panel


def crash_and_recovery() -> BarPanel:
    panel = make_panel(filled=0.0)
    panel.close[FIRST + 2] *= 0.5
    panel.low[FIRST + 2] *= 0.5
    return panel


def halted_for_good(desk: Desk) -> None:
    """Nothing is bought once the halt is written, and it is still there after all restarts."""
    assert desk.ledger is not None
    assert state_of(desk).halted
    rows = list(desk.ledger.rows())
    first = next(number for number, row in enumerate(rows) if row.kind == "mark" and row.payload["halted"])
    assert {row.payload["side"] for row in rows[first:] if row.kind == "order"} == {"sell"}


def only_sells_of_btc(desk: Desk) -> None:
    sent = [(order.symbol, order.side) for order in desk.broker.posts if order.symbol == "UNI-USD"]
    assert ("UNI-USD", "buy") not in sent


def terminated(desk: Desk, row: int) -> None:
    """SIGTERM while an order is on the way; the process then ends cleanly and is started again."""

    def on_post(order: Order) -> None:
        desk.broker.on_post = None
        trader = desk.__dict__.get("trader")
        if trader is not None:
            trader.ask_to_stop()

    desk.broker.on_post = on_post if row == FIRST + 1 else None


FALL = Guards(max_drawdown=0.03, max_step=0.3)
FAULTS = {
    "07 every bar twice": WorldFault(ticks=2),
    "08 a second trader": WorldFault(before=second_trader),
    "16 an open order we never made": WorldFault(at(FIRST + 1, order_by_hand), habits=Habits(latency_s=2), halts=True),
    "16 a position we never made": WorldFault(
        at(FIRST + 1, lambda desk: desk.broker._units.update({"UNI-USD": Decimal(7)})), halts=True
    ),
    "17 book long, broker flat": WorldFault(at(FIRST + 1, emptied), halts=True),
    "18 no positions at the start": WorldFault(down_until(FIRST + 1)),
    "22 wishes that are no numbers": WorldFault(
        actions={FIRST: (1, 1, 0), FIRST + 1: (np.nan, 1, 1), FIRST + 2: (np.inf, -1, 0)}
    ),
    "22 $9.99 and crumbs": WorldFault(
        actions={
            FIRST: (dollars(9.99, row=FIRST), 1e-9, 1e-7),
            FIRST + 1: (1e-5, dollars(9.99, row=FIRST + 1, column=1), 0),
            FIRST + 2: (dollars(10.5, row=FIRST + 2), 0, 0),
        },
        guards=Guards(max_drawdown=0.9, dead_band=0.0),
        costs=Costs(min_notional=0.0),
        habits=Habits(min_buy_notional=10),
        then=worth_ten_dollars,
    ),
    "22 wishes and prices of 1e22": WorldFault(
        at(FIRST + 1, quoted_1e22),
        actions={FIRST: (1e22, 1e22, -1e22), FIRST + 1: (1, 1e22, 1), FIRST + 2: (1, 1, 1e22)},
        then=no_wish_is_above_a_step,
    ),
    "23 rules change": WorldFault(at(FIRST + 1, other_rules)),
    "24 one symbol falls silent": WorldFault(
        panel=without_uni(),
        limits=NO_LIMITS.model_copy(update={"max_filled_bars": 0}),
        actions={FIRST: (1, 1, 0), FIRST + 1: (-1, 0, 1), FIRST + 2: (0, 0, 1)},
        then=only_sells_of_btc,
    ),
    "25 forming and revised bars": WorldFault(forming),
    "26 27 no new bars for two closes": WorldFault(no_new_bars),
    "28 a clock 60 s fast": WorldFault(skewed(60, range(FIRST + 1, FIRST + 3))),
    "28 a clock 60 s slow": WorldFault(skewed(-60, range(FIRST + 1, FIRST + 3))),
    "28 a clock that jumps back": WorldFault(jumping(2, in_the_tick=False)),
    "28 a clock that jumps back while an order is on the way": WorldFault(jumping(3, in_the_tick=True)),
    "29 a drawdown, and a recovery": WorldFault(
        panel=crash_and_recovery(), guards=FALL, actions=dict.fromkeys(BARS, (1, 1, 1)), then=halted_for_good
    ),
    "30 SIGTERM in the middle of a tick": WorldFault(terminated),
    "30 the same, with orders that stay open": WorldFault(terminated, habits=Habits(latency_s=10**5)),
}


class FullLedger(CrashingLedger):
    """The disk is full from the n-th row on, for so many rows."""

    full_at: int = -1
    full_for: int = 4

    def record(self, kind, payload, *, at):  # type: ignore[no-untyped-def]
        self.count += 1
        if self.full_at <= self.count < self.full_at + self.full_for:
            raise TradingError("the ledger cannot be written (disk full).")
        return Ledger.record(self, kind, payload, at=at)


def desk_of(folder: Path, fault: WorldFault) -> tuple[Desk, FaultyBroker]:
    desk = make_desk(
        folder,
        panel=fault.panel,
        actor=FakeActor(guards=fault.guards, costs=fault.costs),
        broker_type=FaultyBroker,
        habits=fault.habits,
    )
    desk.limits = fault.limits
    desk.actor.rule = lambda window, entries: np.array(fault.actions.get(desk.row, (0.0, 0.0, 0.0)))
    return desk, desk.broker


def run(desk: Desk, fault: WorldFault, *, ledger: type[CrashingLedger] = CrashingLedger, **watch: object) -> None:
    """Trade the bars; whoever died or was stopped is started again at the same bar, whole, and a last look is quiet."""
    trader, crashed = None, False
    for row in BARS:
        desk.at(row)
        fault.before(desk, row)
        for _ in range(fault.ticks + 1):
            try:
                trader = trader or open_trader(desk, ledger, **({} if crashed else watch))
                trader.tick()
                if fault.ticks == 1:
                    break
            except CrashError:
                trader, crashed = None, True
            except TradingError as error:
                if "asked to stop" not in str(error) or trader is None:
                    break
                try:
                    trader.stop()
                except CrashError:
                    crashed = True
                except TradingError:
                    pass
                trader = None
    desk.broker.calm()
    with contextlib.suppress(TradingError):
        open_trader(desk, CrashingLedger)


def open_trader(desk: Desk, ledger: type[CrashingLedger], **watch: object) -> Trader:
    desk.__dict__["trader"] = None
    trader = desk.open(ledger_type=ledger, **watch)
    desk.__dict__["trader"] = trader
    return trader
