"""A broker inside this process: fills market orders at the quote, exactly. Its books are its own, in Decimal."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext

import numpy as np

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Clock, TradingError
from cappuccino_ml.environment import Costs, per_ticker
from cappuccino_ml.trading.broker import Account, DuplicateOrderError, Quote
from cappuccino_ml.trading.orders import Order, OrderState, Status

QuoteSource = Callable[[Sequence[str]], Mapping[str, Quote]]
_DUST = Decimal("1e-8")  # quote currency: sizes come from float64, a rounding of theirs is not a debt
_CONTEXT = Context(prec=34)


class SimulatedBroker:
    """Holds cash and coins; knows nothing of models, bars or guards."""

    def __init__(self, *, symbols: Sequence[str], cash: Decimal, costs: Costs, quotes: QuoteSource) -> None:
        self._symbols = frozenset(symbols)
        self._cash = cash
        self._units: dict[str, Decimal] = {}
        self._orders: dict[str, OrderState] = {}
        self._quotes = quotes
        self._fee_in_coin = costs.fee_in_coin
        self._fee = Decimal(repr(costs.fee_bps)) / 10_000
        self._slippage = Decimal(repr(costs.slippage_bps)) / 10_000
        increments = per_ticker(costs.increment, tickers=len(symbols))
        self._increment = {symbol: Decimal(repr(size)) for symbol, size in zip(symbols, increments, strict=True)}

    def account(self) -> Account:
        """Cash at hand."""
        return Account(cash=self._cash)

    def positions(self) -> dict[str, Decimal]:
        """Units held, by symbol."""
        return dict(self._units)

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Quotes of the symbols this broker lists and has a price for."""
        return dict(self._quotes([symbol for symbol in symbols if symbol in self._symbols]))

    def order(self, client_order_id: str) -> OrderState | None:
        """The order with this id, filled or denied; None if there is none."""
        return self._orders.get(client_order_id)

    def submit(self, order: Order) -> OrderState:
        """Fill `order` at the quote now, or deny it with a reason.

        Raises:
            DuplicateOrderError: the id was used before, whatever became of that order.
        """
        if order.client_order_id in self._orders:
            raise DuplicateOrderError(f"client_order_id {order.client_order_id} must be unique; read that order back.")
        with localcontext(_CONTEXT):
            state = self._fill(order)
        self._orders[order.client_order_id] = state
        return state

    def _fill(self, order: Order) -> OrderState:
        held = self._units.get(order.symbol, Decimal(0))
        quote = self.quotes([order.symbol]).get(order.symbol)
        if order.symbol not in self._symbols:
            return self._deny(order, f"symbol {order.symbol} is not listed")
        if quote is None or not quote.tradable:
            return self._deny(order, f"{order.symbol} does not trade now")
        increment = self._increment[order.symbol]
        if order.quantity != held and order.quantity % increment != 0:
            return self._deny(order, f"quantity {order.quantity} is not a multiple of {increment}")
        coin_fee = Decimal(0)
        if order.side == "sell":
            if order.quantity > held:
                return self._deny(order, f"insufficient balance: {order.quantity} asked, {held} held")
            price = quote.price * (1 - self._slippage)
            fee = order.quantity * price * self._fee
            self._cash += order.quantity * price - fee
            held -= order.quantity
        else:
            price = quote.price * (1 + self._slippage)
            fee = Decimal(0) if self._fee_in_coin else order.quantity * price * self._fee
            coin_fee = order.quantity * self._fee if self._fee_in_coin else Decimal(0)
            cost = order.quantity * price + fee
            if cost > self._cash + _DUST:
                return self._deny(order, f"insufficient cash: {cost:.2f} needed, {self._cash:.2f} at hand")
            self._cash = max(self._cash - cost, Decimal(0))
            held += order.quantity - coin_fee
        if held:
            self._units[order.symbol] = held
        else:
            self._units.pop(order.symbol, None)
        return OrderState(
            order.client_order_id, Status.FILLED, filled=order.quantity, price=price, fee=fee, coin_fee=coin_fee
        )

    def _deny(self, order: Order, reason: str) -> OrderState:
        return OrderState(order.client_order_id, Status.DENIED, reason=reason)

    def snapshot(self) -> str:
        """Cash, holdings and orders as JSON, numbers as strings."""
        orders = {
            key: {
                "status": state.status,
                "filled": str(state.filled),
                "price": None if state.price is None else str(state.price),
                "fee": str(state.fee),
                "coin_fee": str(state.coin_fee),
                "reason": state.reason,
            }
            for key, state in self._orders.items()
        }
        units = {symbol: str(held) for symbol, held in self._units.items()}
        return json.dumps({"cash": str(self._cash), "units": units, "orders": orders}, indent=1)

    def restore(self, snapshot: str) -> None:
        """Become what `snapshot` was taken of.

        Raises:
            TradingError: it holds a symbol that is not listed here.
        """
        stored = json.loads(snapshot)
        strange = sorted(stored["units"].keys() - self._symbols)
        if strange:
            raise TradingError(f"the stored account holds {', '.join(strange)}, not listed here; use its own universe.")
        self._cash = Decimal(stored["cash"])
        self._units = {symbol: Decimal(held) for symbol, held in stored["units"].items()}
        self._orders = {
            key: OrderState(
                key,
                Status(state["status"]),
                filled=Decimal(state["filled"]),
                price=None if state["price"] is None else Decimal(state["price"]),
                fee=Decimal(state["fee"]),
                coin_fee=Decimal(state.get("coin_fee", "0")),
                reason=state["reason"],
            )
            for key, state in stored["orders"].items()
        }


class OpenQuotes:
    """Quotes of exact-fill mode: the open of the bar that is forming now, which follows the last closed one."""

    def __init__(self, panel: BarPanel, clock: Clock) -> None:
        self._panel = panel
        self._clock = clock
        self._column = {symbol: column for column, symbol in enumerate(panel.universe.symbols)}

    def __call__(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Opens of the bar that holds the clock's time; filled bars do not trade; no such bar, no quotes."""
        now = utc64(self._clock.now())
        row = int(np.searchsorted(self._panel.timestamps, now, side="right")) - 1
        if row < 0 or now >= self._panel.timestamps[row] + np.timedelta64(self._panel.universe.bar):
            return {}
        return {
            symbol: Quote(
                price=Decimal(repr(float(self._panel.open[row, self._column[symbol]]))),
                tradable=not self._panel.is_filled[row, self._column[symbol]],
            )
            for symbol in symbols
        }


def utc64(moment: datetime) -> np.datetime64:
    """An aware datetime as NumPy's UTC microseconds."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
