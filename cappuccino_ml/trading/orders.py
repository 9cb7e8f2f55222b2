"""One order's life: its id, its states and the only steps between them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from cappuccino_ml.core import TradingError

Side = Literal["buy", "sell"]


class Status(StrEnum):
    """Where an order stands."""

    INTENT = "INTENT"  # written down, not sent yet
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"  # sent, or perhaps not: nobody answered
    ACKED = "ACKED"
    PARTIAL = "PARTIAL"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    DENIED = "DENIED"  # refused at the door
    ABANDONED = "ABANDONED"  # the broker does not know it and it will not be sent again


_AT_BROKER = frozenset({Status.PARTIAL, Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED})
_FILLS = frozenset({Status.PARTIAL, Status.FILLED})
LEGAL: dict[Status, frozenset[Status]] = {
    Status.INTENT: frozenset({Status.SENT, Status.UNKNOWN, Status.ABANDONED}),
    Status.SENT: frozenset({Status.ACKED, Status.FILLED, Status.DENIED, Status.UNKNOWN, Status.INTENT}),
    Status.UNKNOWN: frozenset({Status.ACKED, Status.FILLED, Status.DENIED, Status.ABANDONED}),
    Status.ACKED: _AT_BROKER,
    Status.PARTIAL: _AT_BROKER,
    Status.CANCELED: _FILLS,  # a fill can cross a cancel on the wire
    Status.ABANDONED: _FILLS,
    Status.FILLED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.REJECTED: frozenset(),
    Status.DENIED: frozenset(),
}
LATE = frozenset({Status.CANCELED, Status.ABANDONED})  # ended, but a fill may still come in
OPEN = frozenset({Status.INTENT, Status.SENT, Status.UNKNOWN, Status.ACKED, Status.PARTIAL})


@dataclass(frozen=True)
class Order:
    """What is asked of a broker: a market order of `quantity` base units."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal

    def __post_init__(self) -> None:
        if not self.quantity.is_finite() or self.quantity <= 0:
            raise TradingError(
                f"order quantity {self.quantity} of {self.symbol} is not a positive number; send nothing."
            )


@dataclass(frozen=True)
class OrderState:
    """What a broker says of an order. Money in quote currency, `price` (the average) None before any fill."""

    client_order_id: str
    status: Status
    filled: Decimal = Decimal(0)
    price: Decimal | None = None
    fee: Decimal = Decimal(0)  # paid in quote currency
    coin_fee: Decimal = Decimal(0)  # base units taken out of a buy's fill
    reason: str = ""
    symbol: str = ""
    alarm: str = ""  # something in the answer that a person should see


@dataclass(frozen=True)
class TrackedOrder:
    """An order of ours as the ledger knows it."""

    order: Order
    bar_close: datetime  # of the bar it was decided on
    status: Status = Status.INTENT
    filled: Decimal = Decimal(0)
    price: Decimal | None = None  # average of what is filled, quote currency
    coin_fee: Decimal = Decimal(0)  # base units taken out of a buy's fill

    def advance(self, status: Status) -> "TrackedOrder":
        """The order after one step; filling more of a PARTIAL order is a step from PARTIAL to PARTIAL.

        Raises:
            TradingError: the step is not legal.
        """
        if status not in LEGAL[self.status]:
            allowed = ", ".join(sorted(LEGAL[self.status])) or "nothing, it is final"
            raise TradingError(
                f"order {self.order.client_order_id} cannot go from {self.status} to {status}; allowed: {allowed}."
            )
        return replace(self, status=status)

    def with_fill(self, filled: Decimal) -> "TrackedOrder":
        """The order with `filled` base units filled in all.

        Raises:
            TradingError: the filled quantity shrinks or exceeds the ordered one.
        """
        name = f"order {self.order.client_order_id}"
        if filled < self.filled:
            raise TradingError(
                f"{name} was filled {self.filled} and now {filled}; a fill never shrinks, ask the broker."
            )
        if filled > self.order.quantity:
            raise TradingError(
                f"{name} of {self.order.quantity} was filled {filled}; more than ordered, ask the broker."
            )
        return replace(self, filled=filled)

    def follow(self, path: Iterable[Status], *, filled: Decimal | None) -> "TrackedOrder":
        """The order after all steps of `path`, with `filled` base units filled in all (None: as before)."""
        after = self
        for status in path:
            after = after.advance(status)
        return after if filled is None else after.with_fill(filled)

    def row(self, path: Iterable[Status], answer: OrderState | None) -> dict[str, Any]:
        """What the ledger keeps of the steps in `path`, with the broker's answer if there was one."""
        return {
            "id": self.order.client_order_id,
            "symbol": self.order.symbol,
            "side": self.order.side,
            "quantity": str(self.order.quantity),
            "bar_close": self.bar_close.isoformat(),
            "path": list(path),
            "filled": str(answer.filled if answer else self.filled),
            "price": str(price) if (price := answer.price if answer else self.price) is not None else None,
            "fee": str(answer.fee if answer else 0),
            "coin_fee": str(answer.coin_fee if answer else self.coin_fee),
            "reason": answer.reason if answer else "",
        }

    @property
    def signed_fill(self) -> Decimal:
        """Filled base units, negative if sold."""
        return self.filled if self.order.side == "buy" else -self.filled

    @property
    def signed_coins(self) -> Decimal:
        """What the fill did to the position: base units, a fee in coin taken off."""
        return self.signed_fill - self.coin_fee


def steps_to(current: Status, reported: Status, *, grew: bool = True) -> tuple[Status, ...]:
    """The legal steps from where we think an order stands to what the broker reports; empty if nothing changed.

    Args:
        current: where we think it stands.
        reported: what the broker says.
        grew: whether more of it is filled than we know.
    """
    if current in LATE:  # only fills can still come; that it lives on without them is for `cancel` to end
        if not grew:
            return ()
        return (reported,) if reported in LEGAL[current] else (Status.PARTIAL, reported)
    if reported == current and not (current == Status.PARTIAL and grew):
        return ()
    start = (Status.UNKNOWN,) if current == Status.INTENT else ()  # a crash: perhaps it was sent
    here = start[-1] if start else current
    return (*start, reported) if reported in LEGAL[here] else (*start, Status.ACKED, reported)


def client_order_id(*, model: str, symbol: str, bar_close: datetime, leg: int) -> str:
    """The same intent has the same id, so a retry can never be a second order. `leg` 0 sells, 1 buys."""
    key = f"{model}|{symbol}|{bar_close.astimezone(UTC):%Y%m%dT%H%M%SZ}|{leg}"
    return "cap-" + hashlib.sha256(key.encode()).hexdigest()[:32]
