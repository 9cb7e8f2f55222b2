"""A broker inside this process: fills market orders at the quote. Its books are its own, in Decimal."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal, localcontext
from typing import Any, Literal

from pydantic import Field

from cappuccino_ml.core import Clock, Settings, TradingError
from cappuccino_ml.environment import Costs, per_ticker
from cappuccino_ml.trading.broker import Account, DuplicateOrderError, Quote
from cappuccino_ml.trading.orders import OPEN, Order, OrderState, Side, Status

QuoteSource = Callable[[Sequence[str]], Mapping[str, Quote]]
_DUST = Decimal("1e-8")  # quote currency: sizes come from float64, a rounding of theirs is not a debt
_CONTEXT = Context(prec=34)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Habits(Settings):
    """How the venue behaves beyond its costs. The defaults fill every order whole and at once.

    Whether an order is filled in parts or rejected depends on the seed and its id alone: the same orders meet the
    same fate in any order and after any restart.
    """

    fee_in_coin: bool = Field(
        False, description="the fee of a buy is taken out of the coin bought, whether or not the costs know it"
    )
    tells_fee: bool = Field(True, description="orders report that fee; Alpaca's do not")
    latency_s: float = Field(0.0, ge=0, description="an accepted order is filled this much later")
    partial_share: float = Field(0.0, ge=0, le=1, description="share of the orders that are filled in part first")
    rest: Literal["later", "cancelled"] = Field("cancelled", description="what becomes of the rest of those")
    reject_share: float = Field(0.0, ge=0, le=1, description="share of the orders accepted, then rejected")
    min_quantity: Decimal = Field(Decimal(0), ge=0, description="base units")
    min_buy_notional: Decimal = Field(Decimal(0), ge=0, description="quote currency")
    seed: int = 0


@dataclass(frozen=True)
class _Step:
    """At `due` the order is filled up to `filled` base units and stands at `status`."""

    due: datetime
    filled: Decimal
    status: Status


@dataclass
class _Working:
    """An accepted order on its way; price and fees were fixed when it was accepted."""

    order: Order
    price: Decimal
    steps: list[_Step]


class SimulatedBroker:
    """Holds cash and coins; knows nothing of models, bars or guards."""

    def __init__(
        self,
        *,
        symbols: Sequence[str],
        cash: Decimal,
        costs: Costs,
        quotes: QuoteSource,
        habits: Habits | None = None,
        clock: Clock | None = None,
    ) -> None:
        """An account with `cash` and nothing else.

        Args:
            symbols: what is listed.
            cash: quote currency.
            costs: fee, whether it is taken in coin, slippage and increments in the order of `symbols`.
            quotes: prices now.
            habits: how orders are filled.
            clock: needed for a latency; also tells the trader the broker's time.
        """
        self._symbols = frozenset(symbols)
        self._cash = cash
        self._units: dict[str, Decimal] = {}
        self._orders: dict[str, OrderState] = {}
        self._working: dict[str, _Working] = {}
        self._quotes = quotes
        self._habits = habits if habits is not None else Habits()
        self._clock = clock
        self._fee_in_coin = costs.fee_in_coin or self._habits.fee_in_coin
        self._fee = Decimal(repr(costs.fee_bps)) / 10_000
        self._slippage = Decimal(repr(costs.slippage_bps)) / 10_000
        increments = per_ticker(costs.increment, tickers=len(symbols))
        self._increment = {symbol: Decimal(repr(size)) for symbol, size in zip(symbols, increments, strict=True)}

    def account(self) -> Account:
        """Cash and coins at hand, less what open orders hold back."""
        self._advance()
        reserved: dict[str, Decimal] = {}
        for working in self._working.values():
            if working.order.side == "sell":
                reserved[working.order.symbol] = reserved.get(working.order.symbol, Decimal(0)) + self._left(working)
        return Account(
            cash=self._cash - self._reserved_cash(),
            reserved=reserved,
            id="simulated",
            time=self._clock.now() if self._clock else None,
        )

    def positions(self) -> dict[str, Decimal]:
        """Units held, by symbol."""
        self._advance()
        return dict(self._units)

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Quotes of the symbols this broker lists and has a price for."""
        listed = self._quotes([symbol for symbol in symbols if symbol in self._symbols])
        quantity, notional = self._habits.min_quantity, self._habits.min_buy_notional
        return {
            symbol: replace(quote, min_quantity=quantity, min_buy_notional=notional) for symbol, quote in listed.items()
        }

    def order(self, client_order_id: str) -> OrderState | None:
        """The order with this id, whatever became of it; None if there is none."""
        self._advance()
        return self._orders.get(client_order_id)

    def cancel(self, client_order_id: str) -> None:
        """Cancel what is not filled yet; nothing happens to an order that has ended."""
        self._advance()
        if self._working.pop(client_order_id, None) is not None:
            self._orders[client_order_id] = replace(self._orders[client_order_id], status=Status.CANCELED)

    def open_orders(self) -> list[OrderState]:
        """Orders that can still fill."""
        self._advance()
        return [self._orders[key] for key in self._working]

    def submit(self, order: Order) -> OrderState:
        """Take `order` at the quote now, or deny it with a reason.

        Raises:
            DuplicateOrderError: the id was used before, whatever became of that order.
        """
        self._advance()
        if order.client_order_id in self._orders:
            raise DuplicateOrderError(f"client_order_id {order.client_order_id} must be unique; read that order back.")
        with localcontext(_CONTEXT):
            self._orders[order.client_order_id] = self._accept(order)
        self._advance()
        return self._orders[order.client_order_id]

    def _accept(self, order: Order) -> OrderState:
        quote = self.quotes([order.symbol]).get(order.symbol)
        if order.symbol not in self._symbols:
            return self._deny(order, f"symbol {order.symbol} is not listed")
        if quote is None or not quote.tradable:
            return self._deny(order, f"{order.symbol} does not trade now")
        price = quote.price * (1 - self._slippage if order.side == "sell" else 1 + self._slippage)
        objection = self._objection(order, quote=quote, price=price)
        if objection:
            return self._deny(order, objection)
        self._working[order.client_order_id] = _Working(order, price, self._fate(order))
        return OrderState(order.client_order_id, Status.ACKED, symbol=order.symbol)

    def _objection(self, order: Order, *, quote: Quote, price: Decimal) -> str:
        """Why the size is not taken, or an empty string."""
        held, account = self._units.get(order.symbol, Decimal(0)), self.account()
        free = held - account.reserved.get(order.symbol, Decimal(0))
        cost, increment = self._cost(order.quantity, price), self._increment[order.symbol]
        objections = {
            f"quantity {order.quantity} is not a multiple of {increment}": order.quantity != held
            and order.quantity % increment != 0,
            f"quantity {order.quantity} is below the minimum of {quote.min_quantity}": order.quantity
            < quote.min_quantity,
            f"insufficient balance: {order.quantity} asked, {free} held": order.side == "sell"
            and order.quantity > free,
            f"cost basis must be >= minimal amount of order {quote.min_buy_notional}": order.side == "buy"
            and order.quantity * price < quote.min_buy_notional,
            f"insufficient cash: {cost:.2f} needed, {account.cash:.2f} at hand": order.side == "buy"
            and cost > account.cash + _DUST,
        }
        return next((words for words, holds in objections.items() if holds), "")

    def _fate(self, order: Order) -> list[_Step]:
        """What becomes of an accepted order, and when."""
        habits, now = self._habits, self._clock.now() if self._clock else _EPOCH
        due = now + timedelta(seconds=habits.latency_s)
        if self._draw(order, "reject") < habits.reject_share:
            return [_Step(due, Decimal(0), Status.REJECTED)]
        if self._draw(order, "partial") >= habits.partial_share:
            return [_Step(due, order.quantity, Status.FILLED)]
        part = order.quantity * Decimal(repr(round(self._draw(order, "part"), 3)))
        increment = self._increment[order.symbol]
        part = (part / increment).to_integral_value(ROUND_DOWN) * increment
        if habits.rest == "cancelled":
            return [_Step(due, part, Status.CANCELED)]
        later = due + timedelta(seconds=habits.latency_s)
        first = [_Step(due, part, Status.PARTIAL)] if part else []
        return [*first, _Step(later, order.quantity, Status.FILLED)]

    def _draw(self, order: Order, what: str) -> float:
        sha = hashlib.sha256(f"{self._habits.seed}|{order.client_order_id}|{what}".encode()).digest()
        return int.from_bytes(sha[:6], "big") / 2**48

    def _advance(self) -> None:
        """Let everything happen that is due."""
        now = self._clock.now() if self._clock else None
        for key, working in list(self._working.items()):
            while working.steps and (now is None or working.steps[0].due <= now):
                step = working.steps.pop(0)
                with localcontext(_CONTEXT):
                    self._orders[key] = self._fill(working, step)
                if step.status not in OPEN:
                    self._working.pop(key, None)

    def _fill(self, working: _Working, step: _Step) -> OrderState:
        order, before = working.order, self._orders[working.order.client_order_id]
        more = step.filled - before.filled
        if not more:
            return replace(before, status=step.status)
        held, fee, coin_fee = self._units.get(order.symbol, Decimal(0)), more * working.price * self._fee, Decimal(0)
        if order.side == "sell":
            self._cash += more * working.price - fee
            held -= more
        else:
            if self._fee_in_coin:
                fee, coin_fee = Decimal(0), more * self._fee
            self._cash = max(self._cash - more * working.price - fee, Decimal(0))
            held += more - coin_fee
        if held:
            self._units[order.symbol] = held
        else:
            self._units.pop(order.symbol, None)
        told = coin_fee if self._habits.tells_fee else Decimal(0)
        return replace(
            before,
            status=step.status,
            filled=step.filled,
            price=working.price,
            fee=before.fee + fee,
            coin_fee=before.coin_fee + told,
        )

    def _cost(self, quantity: Decimal, price: Decimal) -> Decimal:
        return quantity * price * (1 if self._fee_in_coin else 1 + self._fee)

    def _left(self, working: _Working) -> Decimal:
        return working.order.quantity - self._orders[working.order.client_order_id].filled

    def _reserved_cash(self) -> Decimal:
        buys = [working for working in self._working.values() if working.order.side == "buy"]
        return sum((self._cost(self._left(working), working.price) for working in buys), Decimal(0))

    def _deny(self, order: Order, reason: str) -> OrderState:
        return OrderState(order.client_order_id, Status.DENIED, reason=reason, symbol=order.symbol)

    def snapshot(self) -> str:
        """Cash, holdings and orders as JSON, numbers as strings."""
        orders = {key: vars(state) for key, state in self._orders.items()}
        working = {
            key: {**vars(each.order), "price": each.price, "steps": [vars(step) for step in each.steps]}
            for key, each in self._working.items()
        }
        stored = {"cash": self._cash, "units": self._units, "orders": orders, "working": working}
        return json.dumps(stored, indent=1, default=str)

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
        self._orders = {key: _order_state(state) for key, state in stored["orders"].items()}
        self._working = {key: _working(each) for key, each in stored["working"].items()}


def _order_state(stored: dict[str, Any]) -> OrderState:
    numbers = {name: Decimal(stored[name]) for name in ("filled", "fee", "coin_fee")}
    price = None if stored["price"] is None else Decimal(stored["price"])
    return OrderState(**{**stored, **numbers, "status": Status(stored["status"]), "price": price})


def _working(stored: dict[str, Any]) -> _Working:
    side: Side = "sell" if stored["side"] == "sell" else "buy"
    steps = [
        _Step(datetime.fromisoformat(step["due"]), Decimal(step["filled"]), Status(step["status"]))
        for step in stored["steps"]
    ]
    order = Order(stored["client_order_id"], stored["symbol"], side, Decimal(stored["quantity"]))
    return _Working(order, Decimal(stored["price"]), steps)
