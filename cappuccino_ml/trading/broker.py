"""The broker port: what the engine may ask of a broker, and the two ways in which an answer can fail to come."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.orders import Order, OrderState


class DuplicateOrderError(TradingError):
    """The client order id was used before: the order may be read back, never sent again."""


class BrokerSilentError(TradingError):
    """No usable answer came: what was asked may have happened, or not."""


@dataclass(frozen=True)
class Account:
    """Free cash, quote currency."""

    cash: Decimal


@dataclass(frozen=True)
class Quote:
    """The price a market order would be filled at, and whether the symbol trades now."""

    price: Decimal
    tradable: bool


class Broker(Protocol):
    """Symbols are written `BTC-USD`; quantities are base units. A call that takes too long raises BrokerSilentError."""

    def account(self) -> Account:
        """Cash that may be spent now."""
        ...

    def positions(self) -> dict[str, Decimal]:
        """Units held that may be sold, by symbol; symbols not held may be left out."""
        ...

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Quotes of the symbols that have one."""
        ...

    def submit(self, order: Order) -> OrderState:
        """Send a market order, once.

        Raises:
            DuplicateOrderError: the id was used before.
            BrokerSilentError: no usable answer; the order may stand.
        """
        ...

    def order(self, client_order_id: str) -> OrderState | None:
        """The order with this id; None only if the broker is sure not to have it."""
        ...
