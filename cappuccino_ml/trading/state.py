"""What the ledger's rows add up to: the running engine and a restarted one fold the same rows, so they agree."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.ledger import Ledger, Row
from cappuccino_ml.trading.orders import OPEN, Order, Status, TrackedOrder

_LATE_FILLS = frozenset({Status.ABANDONED, Status.CANCELED})


@dataclass
class TradingState:
    """Peak, halt latch, last decided bar, the orders that still matter, the positions all orders add up to, and what
    the guards must remember of each: entry price, high-water mark, bars held, cool-down and latched stop.
    """

    peak: float = 0.0
    halted: bool = False
    decided: datetime | None = None  # close of the last decided bar
    finished: datetime | None = None  # close of the last bar whose orders were all sent
    positions: dict[str, Decimal] | None = None  # None: the broker's book is not ours yet
    orders: dict[str, TrackedOrder] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)  # by symbol; see `environment.Positions`

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
        elif row.kind == "decision":
            self.decided = datetime.fromisoformat(payload["bar_close"])
            self.memory = {symbol: dict(memory) for symbol, memory in payload.get("memory", {}).items()}
            # Earlier bars' orders that reached their end are history; only the ledger still needs them.
            self.orders = {key: tracked for key, tracked in self.orders.items() if tracked.status in OPEN}
        elif row.kind in {"done", "cut_short"}:
            self.finished = datetime.fromisoformat(payload["bar_close"])
        elif row.kind == "baseline":
            self.positions = {symbol: Decimal(units) for symbol, units in payload["positions"].items()}
        elif row.kind == "release":
            self.peak, self.halted, self.positions, self.memory = 0.0, False, None, {}
        elif row.kind == "order":
            self._apply_order(payload)

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
                coin_fee=Decimal(payload.get("coin_fee", "0")),
            )
            if self.positions is not None:
                held = self.positions.pop(order.symbol, Decimal(0)) + after.signed_coins - before.signed_coins
                if held:
                    self.positions[order.symbol] = held
                self._remember_price(before, after, held=held)
        self.orders[order.client_order_id] = after

    def _remember_price(self, before: TrackedOrder, after: TrackedOrder, *, held: Decimal) -> None:
        """Average the entry price of a position that was added to; one nobody knows the price of stays unknown."""
        coins = after.signed_coins - before.signed_coins
        if coins <= 0 or after.price is None:
            return
        paid = after.price * after.filled - (before.price or Decimal(0)) * before.filled
        price, memory = float(paid / (after.filled - before.filled)), self.memory.setdefault(after.order.symbol, {})
        known = memory.get("entry", 0.0)
        if known or held == coins:
            memory["entry"] = known + (price - known) * float(coins / held)

    def unresolved(self) -> list[TrackedOrder]:
        """Orders whose end is not known, and those of the last bar that could still fill late."""
        return [
            tracked
            for tracked in self.orders.values()
            if tracked.status in OPEN or (tracked.status in _LATE_FILLS and tracked.bar_close == self.decided)
        ]


def release(ledger: Ledger, *, who: str, why: str, at: datetime) -> None:
    """A person has looked: lift the halt, start a new peak, and take the broker's book as ours. No code calls this."""
    if not who.strip() or not why.strip():
        raise TradingError("a release needs the person's name and the reason; give both.")
    ledger.record("release", {"who": who, "why": why}, at=at)
