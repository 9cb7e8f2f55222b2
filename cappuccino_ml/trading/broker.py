"""The broker port: what the engine may ask of a broker, and the ways in which an answer can fail to come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.orders import Order, OrderState


class DuplicateOrderError(TradingError):
    """The client order id was used before: the order may be read back, never sent again."""


class BrokerSilentError(TradingError):
    """No usable answer came: what was asked may have happened, or not."""


class BrokerBusyError(TradingError):
    """Too many requests: nothing was accepted, and the same may be asked again after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AccessRefusedError(TradingError):
    """The broker refuses the keys or the account: nothing was accepted, and asking again cannot help."""


@dataclass(frozen=True)
class Account:
    """What may be spent and sold now; money in quote currency."""

    cash: Decimal
    reserved: Mapping[str, Decimal] = field(default_factory=dict)  # base units that cannot be sold now, by symbol
    id: str = ""  # the broker's name of the account; "" if it has none
    blocked: str = ""  # why the account may not trade; "" if it may
    time: datetime | None = None  # the broker's clock when it answered; None if it does not tell


@dataclass(frozen=True)
class Quote:
    """A symbol's market now: the price a market order would be filled at, and the sizes that are accepted."""

    price: Decimal
    tradable: bool
    increment: Decimal = Decimal(0)  # quantities are multiples of it, base units; 0 if any will do
    min_quantity: Decimal = Decimal(0)  # base units
    min_buy_notional: Decimal = Decimal(0)  # quote currency
    max_notional: Decimal = Decimal("Infinity")  # quote currency


class Broker(Protocol):
    """Symbols are written `BTC-USD`; quantities are base units.

    Every call ends in bounded time: with an answer, or with BrokerSilentError, BrokerBusyError or AccessRefusedError.
    """

    def account(self) -> Account:
        """Cash that may be spent now, and what may not be sold now."""
        ...

    def positions(self) -> dict[str, Decimal]:
        """Units held, by symbol; symbols not held may be left out."""
        ...

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Quotes and size rules of the symbols that have them, as they are now."""
        ...

    def submit(self, order: Order) -> OrderState:
        """Send a market order, once: what cannot be filled at once is cancelled.

        Raises:
            DuplicateOrderError: the id was used before.
            BrokerSilentError: no usable answer; the order may stand.
            BrokerBusyError: too many requests; the order does not stand.
            AccessRefusedError: the keys are refused; the order does not stand.
        """
        ...

    def order(self, client_order_id: str) -> OrderState | None:
        """The order with this id; None only if the broker says that it does not have it."""
        ...

    def cancel(self, client_order_id: str) -> None:
        """Ask to cancel an order. A request, not a result: read the order back."""
        ...

    def open_orders(self) -> list[OrderState]:
        """All orders of the account that can still fill, whoever made them."""
        ...
