"""A look-alike of Alpaca's paper account: partial fills, fees in coin, floors, ids that are burnt for ever."""

import dataclasses
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any

from lookalikes.server import Fault, LookAlike, Market, Refused, Request, Row

ACCOUNT = "11111111-2222-3333-4444-555555555555"
FEE = Decimal("0.0025")
FLOOR = Decimal(10)
GRID = Decimal("0.000000001")
PER_MINUTE = 200
OPEN_WORDS = {"new", "accepted", "pending_new", "partially_filled", "pending_cancel", "held"}
# What becomes of an order: at the POST, then at each later look at it: (share filled so far, status word).
Plan = list[tuple[str, str]]
AT_ONCE: Plan = [("0", "pending_new"), ("1", "filled")]
TWICE_UNIQUE = "client_order_id must be unique"


@dataclass
class Asset:
    """One pair as /v2/assets has it."""

    name: str
    ask: Decimal
    tradable: bool = True
    min_order_size: Decimal = Decimal("0.00001")
    increment: Decimal = GRID


@dataclass
class PaperOrder:
    """One order and what is still to happen to it."""

    body: dict[str, Any]
    plan: deque[tuple[str, str]]
    status: str = "pending_new"
    filled: Decimal = Decimal(0)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    altered: dict[str, Any] = field(default_factory=dict)  # fields that lie


class PaperLookAlike(LookAlike):
    """`/v2` of the paper host and `/v1beta3/crypto/us/latest/quotes` of the data host, at one address.

    Args:
        market: tells the time.
        assets: what is listed.
        cash: at the start, USD.
        keys: the pair that may ask.
    """

    def __init__(self, market: Market, *, assets: list[Asset], cash: Decimal, keys: tuple[str, str]) -> None:
        super().__init__(market)
        self.assets = {asset.name: asset for asset in assets}
        self.cash = cash
        self.units: dict[str, Decimal] = {}
        self.orders: dict[str, PaperOrder] = {}
        self.plans: deque[Plan] = deque()  # of the next orders; AT_ONCE when none is left
        self.keys = keys
        self.used_id_words = TWICE_UNIQUE
        self.counted: dict[int, int] = {}
        self._post_faults: deque[Fault | None] = deque()
        self._method = threading.local()

    def is_bars(self, path: str) -> bool:
        return False

    def play_posts(self, *faults: Fault | None) -> None:
        """What goes wrong with the next orders sent; None is a right answer."""
        self._post_faults.extend(faults)

    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self._method.name = handler.command
        super()._serve(handler)

    def _fault_for(self, path: str) -> Fault:
        """Every answer, right or wrong, carries the rate headers."""
        minute = int(self.market.now.timestamp()) // 60
        self.counted[minute] = self.counted.get(minute, 0) + 1
        left = PER_MINUTE - self.counted[minute]
        fault = None
        if self._method.name == "POST" and self._post_faults:
            fault = self._post_faults.popleft()
        fault = fault or super()._fault_for(path)
        if left < 0 and not fault.name:
            fault = Fault("too many requests", status=429, body=b'{"code":42910000,"message":"rate limit exceeded"}')
        rate = {"X-RateLimit-Limit": str(PER_MINUTE), "X-RateLimit-Remaining": str(max(0, left))}
        rate["X-RateLimit-Reset"] = str(minute * 60 + 60)
        return dataclasses.replace(fault, headers=rate | fault.headers)

    def answer(self, request: Request, alter: Callable[[list[Row]], list[Row]]) -> Any:
        given = (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key"))
        if given != self.keys:
            raise Refused(401, {"code": 40110000, "message": "request is not authorized"})
        with self._lock:
            return self._route(request)

    def _route(self, request: Request) -> Any:
        match request.method, request.path.removeprefix("/v2").split("/"):
            case "GET", ["", "account"]:
                return self._account()
            case "GET", ["", "assets"]:
                return [self._asset(asset) for asset in self.assets.values()]
            case "GET", ["", "positions"]:
                return [self._position(name) for name in sorted(self.units)]
            case "GET", ["", "orders"]:
                return [self._order(order) for order in self.orders.values() if order.status in OPEN_WORDS]
            case "GET", ["", "orders:by_client_order_id"]:
                return self._look(request.query.get("client_order_id", ""))
            case "POST", ["", "orders"]:
                return self._post(request)
            case "DELETE", ["", "orders", key]:
                return self._cancel(key)
            case "GET", ["", "v1beta3", "crypto", "us", "latest", "quotes"]:
                names = request.query["symbols"].split(",")
                return {"quotes": {name: self._ask(self.assets[name]) for name in names if name in self.assets}}
        raise Refused(404, {"message": "endpoint not found."})

    # Answers

    def _account(self) -> dict[str, Any]:
        free = self.cash - self._reserved_cash()
        flags = dict.fromkeys(("trading_blocked", "account_blocked", "trade_suspended_by_user"), False)
        money = {"cash": str(self.cash), "non_marginable_buying_power": str(free), "buying_power": str(free)}
        return {"id": ACCOUNT, "status": "ACTIVE", "crypto_status": "ACTIVE", "currency": "USD", **money, **flags}

    def _asset(self, asset: Asset) -> dict[str, Any]:
        sizes = {"min_order_size": str(asset.min_order_size), "min_trade_increment": f"{asset.increment:f}"}
        facts = {"symbol": asset.name, "class": "crypto", "status": "active", "tradable": asset.tradable}
        return {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, asset.name)), "fractionable": True, **facts, **sizes}

    def _position(self, name: str) -> dict[str, Any]:
        units = self.units[name]
        available = units - self._reserved_units(name)
        return {"symbol": name.replace("/", ""), "qty": str(units), "qty_available": str(available), "side": "long"}

    def _ask(self, asset: Asset) -> dict[str, Any]:
        ask = float(asset.ask)
        return {
            "ap": ask,
            "as": 1.0,
            "bp": ask * 0.999,
            "bs": 1.0,
            "t": f"{self.market.now:%Y-%m-%dT%H:%M:%S}.123456789Z",
        }

    def _order(self, order: PaperOrder) -> dict[str, Any]:
        price = str(self.assets[order.body["symbol"]].ask) if order.filled else None
        times = dict.fromkeys(("filled_at", "canceled_at", "expired_at", "replaced_by", "legs"))
        return {
            "id": order.id,
            **{
                name: order.body[name] for name in ("client_order_id", "symbol", "side", "type", "time_in_force", "qty")
            },
            **times,
            "submitted_at": f"{self.market.now:%Y-%m-%dT%H:%M:%S}.123456789Z",
            "filled_qty": str(order.filled),
            "filled_avg_price": price,
            "status": order.status,
            **order.altered,
        }

    # Orders

    def _look(self, key: str) -> dict[str, Any]:
        if key not in self.orders:
            raise Refused(404, {"code": 40410000, "message": f"order not found for {key}"})
        order = self.orders[key]
        self._go_on(order)
        return self._order(order)

    def _post(self, request: Request) -> dict[str, Any]:
        body = json.loads(request.body)
        self._check(body)
        plan = deque(self.plans.popleft() if self.plans else AT_ONCE)
        order = PaperOrder(body=body, plan=plan)
        self.orders[body["client_order_id"]] = order
        self._go_on(order)
        return self._order(order)

    def _check(self, body: dict[str, Any]) -> None:
        asset = self.assets.get(body["symbol"])
        if body["client_order_id"] in self.orders:
            raise Refused(422, {"code": 40010001, "message": self.used_id_words})
        if asset is None:
            raise Refused(422, {"code": 42210000, "message": f'asset "{body["symbol"]}" not found'})
        if not asset.tradable:
            raise Refused(403, {"code": 40310000, "message": f"asset {asset.name} is not tradable"})
        if body["type"] != "market" or body["time_in_force"] not in ("gtc", "ioc"):
            raise Refused(422, {"code": 40010001, "message": "invalid order type for crypto order"})
        if not isinstance(body["qty"], str) or Decimal(body["qty"]) <= 0 or Decimal(body["qty"]) % asset.increment:
            raise Refused(422, {"code": 42210000, "message": f"qty {body['qty']} is not on the grid"})
        quantity, coin = Decimal(body["qty"]), asset.name.split("/")[0]
        if quantity < asset.min_order_size:
            raise Refused(403, {"code": 40310000, "message": f"minimal qty of order is {asset.min_order_size}"})
        if body["side"] == "sell":
            free, asked = self.units.get(asset.name, Decimal(0)) - self._reserved_units(asset.name), quantity
        else:
            free, asked, coin = self.cash - self._reserved_cash(), quantity * asset.ask, "USD"
            if asked < FLOOR:
                raise Refused(
                    403, {"code": 40310000, "message": f"cost basis must be >= minimal amount of order {FLOOR}"}
                )
        if asked > free:
            said = f"insufficient balance for {coin} (requested: {asked}, available: {free})"
            raise Refused(403, {"code": 40310000, "message": said})

    def _cancel(self, key: str) -> Any:
        order = next((each for each in self.orders.values() if each.id == key), None)
        if order is None:
            raise Refused(404, {"code": 40410000, "message": f"order not found for {key}"})
        if order.status not in OPEN_WORDS:
            raise Refused(422, {"code": 42210000, "message": "order is not cancelable"})
        if order.plan and order.plan[0][1] == "race":  # the fill was faster than the cancel
            order.plan.popleft()
            return self._gone(order)
        order.plan.clear()
        return self._gone(order, status="canceled")

    def _gone(self, order: PaperOrder, status: str | None = None) -> Any:
        order.status = status or order.status
        raise Refused(204, None)

    def _go_on(self, order: PaperOrder) -> None:
        if order.plan and order.plan[0][1] != "race":
            share, order.status = order.plan.popleft()
            quantity = (Decimal(order.body["qty"]) * Decimal(share)).quantize(GRID, ROUND_DOWN)
            self._fill(order, max(quantity, order.filled))

    def _fill(self, order: PaperOrder, quantity: Decimal) -> None:
        more, name = quantity - order.filled, order.body["symbol"]
        value = more * self.assets[name].ask
        if order.body["side"] == "buy":
            self.cash -= value
            self.units[name] = self.units.get(name, Decimal(0)) + (more * (1 - FEE)).quantize(GRID, ROUND_DOWN)
        else:
            self.cash += value * (1 - FEE)
            self.units[name] -= more
        order.filled = quantity
        self.units = {each: units for each, units in self.units.items() if units}

    def _reserved_units(self, name: str) -> Decimal:
        resting = [o for o in self.orders.values() if o.status in OPEN_WORDS and o.body["side"] == "sell"]
        return sum((Decimal(o.body["qty"]) - o.filled for o in resting if o.body["symbol"] == name), Decimal(0))

    def _reserved_cash(self) -> Decimal:
        resting = [o for o in self.orders.values() if o.status in OPEN_WORDS and o.body["side"] == "buy"]
        left = [(Decimal(o.body["qty"]) - o.filled) * self.assets[o.body["symbol"]].ask for o in resting]
        return sum(left, Decimal(0))
