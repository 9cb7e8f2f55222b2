"""Alpaca's paper account behind the broker port: symbols, sizes and refusals in our words, keys in nobody's."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field, SecretStr

from cappuccino_ml.bars.retries import RetrySettings, Transient, ask_patiently
from cappuccino_ml.core import Clock, Settings, SourceError
from cappuccino_ml.trading import alpaca_words as words
from cappuccino_ml.trading.alpaca_client import AlpacaClient, Answer
from cappuccino_ml.trading.broker import Account, BrokerBusyError, BrokerSilentError, DuplicateOrderError, Quote
from cappuccino_ml.trading.hosts import DATA_HOST, PAPER_HOST
from cappuccino_ml.trading.orders import Order, OrderState, Status

_PAGE = 500  # most orders of one answer
_MOST_PAGES = 20
_NO_ORDER = 40410000
# Four short tries within a tick; a question after one order is asked once, because the trader has its own schedule.
_READS = RetrySettings(tries=4, first_wait_s=0.5, longest_wait_s=4.0, deadline_s=20.0, timeout_s=10.0)


class AlpacaRules(Settings):
    """Numbers of the venue that no endpoint tells; second-hand, hence settings."""

    min_buy_notional: Decimal = Field(Decimal(10), ge=0, description="USD; smaller crypto buys are refused")
    max_notional: Decimal = Field(Decimal(200_000), gt=0, description="USD of one order")
    max_quote_age_s: float = Field(300.0, gt=0, description="an older quote means that the symbol does not trade")
    reserve: int = Field(20, ge=0, description="requests of each minute that are kept for orders")


class AlpacaBroker:
    """One paper account. Market orders, immediate or cancelled; quantities leave as decimal strings.

    The fee of a buy is taken out of the coin bought and no order says so: positions are what may be trusted.
    """

    def __init__(
        self,
        *,
        key: SecretStr,
        secret: SecretStr,
        clock: Clock,
        url: str = f"https://{PAPER_HOST}",
        data_url: str = f"https://{DATA_HOST}",
        rules: AlpacaRules | None = None,
        retry: RetrySettings = _READS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the account; nothing is sent yet.

        Args:
            key: API key id.
            secret: API secret key.
            clock: the present moment.
            url: the paper host, or a loopback address; any other is refused.
            data_url: where quotes come from.
            rules: what no endpoint tells.
            retry: of questions; orders are never sent again from here.
            sleep: waits that many seconds.

        Raises:
            TradingError: another host.
            ConfigurationError: a key that no header can carry.
        """
        self._client = AlpacaClient(
            key=key, secret=secret, clock=clock, timeout_s=retry.timeout_s, url=url, data_url=data_url
        )
        self._clock, self._retry, self._sleep = clock, retry, sleep
        self._rules = rules if rules is not None else AlpacaRules()
        self._ours: dict[str, str] = {}  # our symbol by the positions' name
        self._ids: dict[str, str] = {}  # Alpaca's id by ours, for cancels

    def account(self) -> Account:
        """Settled cash that crypto may be bought with, and coins that resting orders hold back."""
        answer = self._read("/account")
        body = _mapping(answer.body, "an account")
        cash, power = words.number(body.get("cash")), words.number(body.get("non_marginable_buying_power"))
        if cash is None:
            raise BrokerSilentError("alpaca's account has no cash that can be read.")
        blocks = [name for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user") if body.get(name)]
        if body.get("status", "ACTIVE") != "ACTIVE":
            blocks.append(f"status {body['status']}")
        reserved = {
            symbol: units - available for symbol, (units, available) in self._held().items() if available < units
        }
        return Account(
            cash=cash if power is None else min(cash, power),
            reserved=reserved,
            id=str(body.get("id") or ""),
            blocked=f"is blocked ({', '.join(blocks)})" if blocks else "",
            time=answer.time,
        )

    def positions(self) -> dict[str, Decimal]:
        """Units held, by symbol; a name that is no crypto pair of Alpaca's stays as it is."""
        return {symbol: units for symbol, (units, _) in self._held().items()}

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Asks, and the sizes of /v2/assets as they are now: they change with the price."""
        assets = {words.symbol_of(str(asset.get("symbol"))): asset for asset in self._assets()}
        known = [symbol for symbol in symbols if symbol in assets]
        if not known:
            return {}
        asked = {"symbols": ",".join(map(words.name_of, known))}
        body = _mapping(self._read("/crypto/us/latest/quotes", asked, quotes=True).body, "quotes").get("quotes") or {}
        found = {symbol: self._quote(assets[symbol], body.get(words.name_of(symbol))) for symbol in known}
        return {symbol: quote for symbol, quote in found.items() if quote is not None}

    def submit(self, order: Order) -> OrderState:
        """Post `order`, once; see the port."""
        body = {
            "symbol": words.name_of(order.symbol),
            "qty": f"{order.quantity:f}",  # never a float: 0.30000000000000004
            "side": order.side,
            "type": "market",
            "time_in_force": "ioc",
            "client_order_id": order.client_order_id,
        }
        answer = self._client.ask("POST", "/orders", body)
        if answer.status >= 400:
            if words.is_used_id(answer.said):
                raise DuplicateOrderError(f"client_order_id {order.client_order_id} was used; read that order back.")
            if answer.status == 404:
                raise BrokerSilentError(f"alpaca answered HTTP 404 ({answer.said}) to an order; it may stand.")
            return OrderState(order.client_order_id, Status.DENIED, reason=answer.said, symbol=order.symbol)
        state = self._order(answer.body)
        if state.client_order_id != order.client_order_id:
            raise BrokerSilentError("alpaca answered an order with something else; it may stand.")
        return state

    def order(self, client_order_id: str) -> OrderState | None:
        """The order with this id; None if Alpaca says that there is none."""
        answer = self._client.ask("GET", "/orders:by_client_order_id", {"client_order_id": client_order_id})
        if answer.status == 404 and (answer.code == _NO_ORDER or "order not found" in answer.said.lower()):
            return None
        if answer.status >= 400:
            raise BrokerSilentError(f"alpaca answered HTTP {answer.status} ({answer.said}) to a question.")
        state = self._order(answer.body)
        if state.client_order_id != client_order_id:
            raise BrokerSilentError("alpaca answered with another order than it was asked for.")
        return state

    def cancel(self, client_order_id: str) -> None:
        """Ask to cancel; that the order has ended already is no error."""
        if client_order_id not in self._ids and self.order(client_order_id) is None:
            return
        self._client.ask("DELETE", f"/orders/{self._ids[client_order_id]}")

    def open_orders(self) -> list[OrderState]:
        """All open orders of the account, walked by time: the endpoint has no page token."""
        found: dict[str, OrderState] = {}
        query: dict[str, Any] = {"status": "open", "limit": _PAGE, "direction": "asc"}
        for _ in range(_MOST_PAGES):
            bodies = _sequence(self._read("/orders", query).body, "orders")
            page = [self._order(each) for each in bodies]
            fresh = {state.client_order_id: state for state in page if state.client_order_id not in found}
            found |= fresh
            if len(page) < _PAGE or not fresh:
                return list(found.values())
            query["after"] = str(bodies[-1].get("submitted_at"))
        raise BrokerSilentError(f"alpaca has more than {_PAGE * _MOST_PAGES} open orders; look at the account.")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _read(self, path: str, query: dict[str, Any] | None = None, *, quotes: bool = False) -> Answer:
        """A question, asked again where that can help; some requests of each minute are left for orders."""
        if not quotes and self._client.remaining is not None and self._client.remaining <= self._rules.reserve:
            left_s = ((self._client.reset or self._clock.now()) - self._clock.now()).total_seconds()
            if 0 < left_s <= 60:
                self._sleep(left_s)

        def ask() -> Answer:
            try:
                answer = self._client.ask("GET", path, query, quotes=quotes)
            except BrokerSilentError as error:
                raise Transient(str(error).rstrip(".")) from None
            except BrokerBusyError as error:
                raise Transient("HTTP 429", retry_after_s=error.retry_after_s) from None
            if answer.status >= 400:
                raise Transient(f"HTTP {answer.status} ({answer.said})")
            return answer

        wrong = ""
        try:
            return ask_patiently(ask, what=f"alpaca, asked for {path},", retry=self._retry, sleep=self._sleep)
        except SourceError as error:
            wrong = str(error)
        raise BrokerSilentError(wrong)

    def _assets(self) -> list[dict[str, Any]]:
        assets = _sequence(self._read("/assets", {"asset_class": "crypto"}).body, "assets")
        self._ours |= words.position_symbols(assets)
        return assets

    def _held(self) -> dict[str, tuple[Decimal, Decimal]]:
        """(units, units that may be sold) by symbol."""
        if not self._ours:
            self._assets()
        held: dict[str, tuple[Decimal, Decimal]] = {}
        for position in _sequence(self._read("/positions").body, "positions"):
            name, units = str(position.get("symbol")), words.number(position.get("qty"))
            if units is None:
                raise BrokerSilentError(f"alpaca's position of {name} has no quantity that can be read.")
            available = words.number(position.get("qty_available"))
            symbol = words.symbol_of(name) if "/" in name else self._ours.get(name, name)
            held[symbol] = (units, units if available is None else available)
        return held

    def _quote(self, asset: dict[str, Any], quote: object) -> Quote | None:
        if not isinstance(quote, dict):
            return None
        price, at = words.number(quote.get("ap")), words.moment(quote.get("t"))
        if price is None or price <= 0 or at is None:
            return None
        fresh = self._clock.now() - at <= timedelta(seconds=self._rules.max_quote_age_s)
        return Quote(
            price=price,
            tradable=fresh and asset.get("tradable") is True and asset.get("status", "active") == "active",
            increment=words.number(asset.get("min_trade_increment")) or Decimal(0),
            min_quantity=words.number(asset.get("min_order_size")) or Decimal(0),
            min_buy_notional=self._rules.min_buy_notional,
            max_notional=self._rules.max_notional,
        )

    def _order(self, body: object) -> OrderState:
        order = _mapping(body, "an order")
        state = words.order_state(order)
        if order.get("id"):
            self._ids[state.client_order_id] = str(order["id"])
        return state


def _mapping(body: object, what: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BrokerSilentError(f"alpaca answered with something else than {what}.")
    return body


def _sequence(body: object, what: str) -> list[dict[str, Any]]:
    if not isinstance(body, list) or not all(isinstance(each, dict) for each in body):
        raise BrokerSilentError(f"alpaca answered with something else than {what}.")
    return body
