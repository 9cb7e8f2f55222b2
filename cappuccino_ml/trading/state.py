"""What the ledger's rows add up to: the running engine and a restarted one fold the same rows, so they agree."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.ledger import Ledger, Row
from cappuccino_ml.trading.orders import OPEN, Order, Status, TrackedOrder

_LATE_FILLS = frozenset({Status.ABANDONED, Status.CANCELED})


@dataclass
class TradingState:
    """Peak, halt latch, last decided bar, the orders that still matter and the positions all orders add up to."""

    peak: float = 0.0
    halted: bool = False
    decided: datetime | None = None  # close of the last decided bar
    finished: datetime | None = None  # close of the last bar whose orders were all sent
    positions: dict[str, Decimal] | None = None  # None: the broker's book is not ours yet
    orders: dict[str, TrackedOrder] = field(default_factory=dict)

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
            # Earlier bars' orders that reached their end are history; only the ledger still needs them.
            self.orders = {key: tracked for key, tracked in self.orders.items() if tracked.status in OPEN}
        elif row.kind in {"done", "cut_short"}:
            self.finished = datetime.fromisoformat(payload["bar_close"])
        elif row.kind == "baseline":
            self.positions = {symbol: Decimal(units) for symbol, units in payload["positions"].items()}
        elif row.kind == "release":
            self.peak, self.halted, self.positions = 0.0, False, None
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
            after = before.follow(path, filled=Decimal(payload["filled"]))
            if self.positions is not None:
                held = self.positions.pop(order.symbol, Decimal(0)) + after.signed_fill - before.signed_fill
                if held:
                    self.positions[order.symbol] = held
        self.orders[order.client_order_id] = after

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
