"""What the ledger's rows add up to: the running engine and a restarted one fold the same rows, so they agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import torch

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import TradingError
from cappuccino_ml.environment import Book, Guards, Positions
from cappuccino_ml.trading.feed import close_time
from cappuccino_ml.trading.ledger import Ledger, Row
from cappuccino_ml.trading.orders import LATE, OPEN, Order, Status, TrackedOrder

_LATE_FOR = timedelta(days=2)


@dataclass
class TradingState:
    """Peak, latches, last decided bar, the orders that still matter, the positions all orders add up to, and what the
    guards must remember of each: entry price, high-water mark, bars held, cool-down and latched stop.
    """

    peak: float = 0.0
    halted: bool = False  # the drawdown halt: everything is sold, then nothing is done
    stopped: str = ""  # why nothing may be sent at all, latched
    reducing: str = ""  # why there are no entries
    reducing_until: datetime | None = None  # None: until a person releases it
    account: str = ""  # the broker's name of the account
    decided: datetime | None = None  # close of the last decided bar
    finished: datetime | None = None  # close of the last bar whose orders were all sent
    positions: dict[str, Decimal] | None = None  # None: the broker's book is not ours yet
    bought: dict[str, Decimal] = field(default_factory=dict)  # filled since the last decision, its fee not known
    orders: dict[str, TrackedOrder] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)  # by symbol; see `environment.Positions`
    before_release: dict[str, Decimal] = field(default_factory=dict)  # positions then; empty at any other time
    day: date | None = None  # UTC
    day_equity: float = 0.0  # at the first close of `day`
    day_traded: float = 0.0  # notional filled on `day`, quote currency

    @classmethod
    def replay(cls, rows: Iterable[Row]) -> "TradingState":
        """The state after `rows`."""
        state = cls()
        for row in rows:
            state.apply(row)
        return state

    def apply(self, row: Row) -> None:
        """Fold one row in; rows of other kinds change nothing.

        Raises:
            TradingError: an order's row is not a legal step.
        """
        payload = row.payload
        if row.kind == "mark":
            self.peak, self.halted = payload["peak"], payload["halted"]
            day = datetime.fromisoformat(payload["bar_close"]).date()
            if day != self.day:
                self.day, self.day_equity, self.day_traded = day, payload["equity"], 0.0
        elif row.kind == "decision":
            self.decided = datetime.fromisoformat(payload["bar_close"])
            self.memory = {symbol: dict(memory) for symbol, memory in payload.get("memory", {}).items()}
            # Earlier bars' orders that reached their end are history; only the ledger still needs them. Those that were
            # given up are kept a while: should the books differ, they are the first to be asked.
            self.orders = {key: tracked for key, tracked in self.orders.items() if self._may_still_matter(tracked)}
            self.bought = {}  # the books were compared just before
        elif row.kind in {"done", "cut_short"}:
            self.finished = datetime.fromisoformat(payload["bar_close"])
        elif row.kind == "baseline":
            self.positions = {symbol: Decimal(units) for symbol, units in payload["positions"].items()}
            self.account, self.bought = payload.get("account", ""), {}
            # What a person left alone, or sold some of, keeps its stops; what was bought by hand is of today.
            known = {symbol for symbol, units in self.positions.items() if units <= self.before_release.get(symbol, 0)}
            self.memory = {symbol: kept for symbol, kept in self.memory.items() if symbol in known}
            self.before_release = {}
            self.orders = {}  # their ends are written down, and what they filled is in the broker's book
        elif row.kind == "order":
            self._apply_order(payload)
        elif row.kind == "crumb":  # what no venue takes is not a position: it has no stop, and may be added to
            self.memory[payload["symbol"]] = {"cooldown": payload["cooldown"]}
        else:
            self._apply_latch(row.kind, payload)

    def _apply_latch(self, kind: str, payload: dict[str, Any]) -> None:
        if kind == "aligned" and self.positions is not None:
            self.positions.pop(payload["symbol"], None)
            self.bought.pop(payload["symbol"], None)
            if units := Decimal(payload["theirs"]):
                self.positions[payload["symbol"]] = units
        elif kind == "halt":
            self.stopped = payload["reason"]
        elif kind == "reduce":
            self.reducing = payload["reason"]
            self.reducing_until = datetime.fromisoformat(payload["until"]) if payload["until"] else None
        elif kind == "release":
            self.before_release = self.before_release if self.positions is None else self.positions
            self.peak, self.halted, self.positions = 0.0, False, None
            self.stopped, self.reducing, self.reducing_until, self.day = "", "", None, None
            # A person has settled them, but the ledger does not know how yet: the next start writes down their ends.
            self.orders = {key: tracked for key, tracked in self.orders.items() if tracked.status in OPEN}

    def _apply_order(self, payload: dict[str, Any]) -> None:
        order = Order(payload["id"], payload["symbol"], payload["side"], Decimal(payload["quantity"]))
        before = self.orders.get(order.client_order_id)
        path = [Status(step) for step in payload["path"]]
        if before is None:
            if path != [Status.INTENT]:
                raise TradingError(
                    f"order {order.client_order_id} starts with {path}, not INTENT; the ledger is damaged."
                )
            after = TrackedOrder(order=order, bar_close=datetime.fromisoformat(payload["bar_close"]))
        else:
            if before.order != order:
                raise TradingError(f"order {order.client_order_id} changed its terms; the ledger is damaged.")
            after = replace(
                before.follow(path, filled=Decimal(payload["filled"])),
                price=Decimal(payload["price"]) if payload["price"] is not None else None,
                coin_fee=Decimal(payload["coin_fee"]),
            )
            if self.positions is not None:
                held = self.positions.pop(order.symbol, Decimal(0)) + after.signed_coins - before.signed_coins
                if held:
                    self.positions[order.symbol] = held
                self._remember_price(before, after, held=held)
            more = after.filled - before.filled
            self.day_traded += float(more * (after.price or Decimal(0)))
            if order.side == "buy" and more and not after.coin_fee:
                self.bought[order.symbol] = self.bought.get(order.symbol, Decimal(0)) + more
        self.orders[order.client_order_id] = after

    def _remember_price(self, before: TrackedOrder, after: TrackedOrder, *, held: Decimal) -> None:
        """Average the entry price of a position that was added to; one nobody knows the price of stays unknown."""
        more, coins = after.filled - before.filled, after.signed_coins - before.signed_coins
        if more <= 0 or coins <= 0 or after.price is None:
            return
        paid = after.price * after.filled - (before.price or after.price) * before.filled
        price, memory = float(paid / more), self.memory.setdefault(after.order.symbol, {})
        known = memory.get("entry", 0.0)
        if known or held == coins:
            memory["entry"] = known + (price - known) * float(coins / held)

    def book(self, panel: BarPanel, *, cash: float, units: Sequence[float], guards: Guards) -> Book:
        """The account at the close of the panel's last bar, not marked there yet, and all that the guards remember.

        Bars that closed since the last decision while nobody traded count for high-water marks, stops and holding
        times, too.

        Args:
            panel: closed bars, oldest first.
            cash: quote currency.
            units: base units held, in the order of the panel's symbols.
            guards: those that count from here on.
        """
        book = Book.fresh(capital=cash, books=1, tickers=len(units))
        book.units[0] = torch.tensor(units, dtype=torch.float64)
        book.peak[0], book.halted[0] = self.peak, self.halted
        book.positions = Positions.of_one_book([self.memory.get(symbol, {}) for symbol in panel.universe.symbols])
        missed = (close_time(panel, -1) - self.decided) // panel.universe.bar - 1 if self.decided else 0
        for close in panel.close[max(0, len(panel) - 1 - missed) : len(panel) - 1]:
            book.positions.mark(book.units, torch.from_numpy(close), guards)
        return book

    def _may_still_matter(self, tracked: TrackedOrder) -> bool:
        assert self.decided is not None
        return tracked.status in OPEN or (tracked.status in LATE and self.decided - tracked.bar_close <= _LATE_FOR)

    def given_up(self, symbol: str) -> list[TrackedOrder]:
        """Orders of `symbol` that ended without all of their fill and could have been filled after that."""
        return [each for each in self.orders.values() if each.order.symbol == symbol and each.status in LATE]

    def filled_of(self, bar_close: datetime) -> dict[str, Decimal]:
        """Base units filled by the orders of one bar, by symbol, negative if sold."""
        filled: dict[str, Decimal] = {}
        for tracked in self.orders.values():
            if tracked.bar_close == bar_close:
                symbol = tracked.order.symbol
                filled[symbol] = filled.get(symbol, Decimal(0)) + tracked.signed_fill
        return filled

    def unresolved(self) -> list[TrackedOrder]:
        """Orders whose end is not known, and those of the last bar that could still fill late."""
        return [
            tracked
            for tracked in self.orders.values()
            if tracked.status in OPEN or (tracked.status in LATE and tracked.bar_close == self.decided)
        ]


def release(ledger: Ledger, *, who: str, why: str, at: datetime) -> None:
    """A person has looked: lift every latch, start a new peak, and take the broker's book as ours. No code calls it."""
    if not who.strip() or not why.strip():
        raise TradingError("a release needs the person's name and the reason; give both.")
    ledger.record("release", {"who": who, "why": why}, at=at)


def restrict(ledger: Ledger, *, entries_only: bool, who: str, why: str, at: datetime) -> None:
    """A person stops the trader: entries only (exits go on), or everything, until a person releases it."""
    if not who.strip() or not why.strip():
        raise TradingError("a restriction needs the person's name and the reason; give both.")
    reason = f"{who}: {why}"
    if entries_only:
        ledger.record("reduce", {"reason": reason, "until": None}, at=at)
    else:
        ledger.record("halt", {"reason": reason}, at=at)
