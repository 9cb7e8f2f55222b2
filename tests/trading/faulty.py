"""A simulated broker that fails on request, and what must hold of a desk after all failures."""

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cappuccino_ml.trading import (
    AccessRefusedError,
    Account,
    BrokerBusyError,
    BrokerSilentError,
    DuplicateOrderError,
    Order,
    OrderState,
    SimulatedBroker,
    Status,
    TradingState,
)
from cappuccino_ml.trading.orders import OPEN

from .conftest import Desk


class FaultyBroker(SimulatedBroker):
    """Plays a script: one word for each POST, and one for each question after an order."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.posts: list[Order] = []  # requests made, whether they arrived or not
        self.accepted: list[str] = []
        self.wanted: dict[str, tuple[Any, ...]] = {}  # symbol, side and bar of every id that was posted
        self.script: deque[str] = deque()  # of POSTs: "", lost, cut, late, busy, used, refused
        self.looks: deque[str] = deque()  # of questions: "", silent, missing
        self.lies: dict[str, Callable[[OrderState], OrderState]] = {}  # by id, or "*"
        self.down = ""  # account, positions or quotes: silent or refused while set
        self.in_flight: list[Order] = []  # sent, and still on the way
        self.on_post: Callable[[Order], None] | None = None

    def submit(self, order: Order) -> OrderState:
        self.posts.append(order)
        assert self._clock is not None
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        self.wanted[order.client_order_id] = (order.symbol, order.side, hour)
        if self.on_post is not None:
            self.on_post(order)
        word = self.script.popleft() if self.script else ""
        if word == "busy":
            raise BrokerBusyError("HTTP 429, too many requests.", retry_after_s=7.0)
        if word == "refused":
            raise AccessRefusedError("HTTP 401: the keys are refused.")
        if word in {"lost", "late"}:
            self.in_flight += [order] if word == "late" else []
            raise BrokerSilentError("the connection was refused.")
        answer = super().submit(order)
        if answer.status != Status.DENIED:
            self.accepted.append(order.client_order_id)
        if word == "cut":
            raise BrokerSilentError("the connection was cut.")
        if word == "used":
            raise DuplicateOrderError("client_order_id must be unique")
        return self._told(answer)

    @property
    def doubled(self) -> int:
        """Orders taken beyond one for each symbol, side and bar, under whatever ids."""
        return len(self.accepted) - len({self.wanted[key] for key in self.accepted})

    def arrive(self) -> None:
        """What was on the way gets there."""
        for order in self.in_flight:
            with contextlib.suppress(DuplicateOrderError):
                SimulatedBroker.submit(self, order)
                self.accepted.append(order.client_order_id)
        self.in_flight = []

    def calm(self) -> None:
        """Everything works again."""
        self.script.clear()
        self.looks.clear()
        self.lies.clear()
        self.down = ""
        self.arrive()

    def order(self, client_order_id: str) -> OrderState | None:
        word = self.looks.popleft() if self.looks else ""
        if word == "silent":
            raise BrokerSilentError("no answer within 10 s.")
        if word == "missing":
            return None
        answer = super().order(client_order_id)
        return answer and self._told(answer)

    def account(self) -> Account:
        self._require_up("account")
        return super().account()

    def positions(self):  # type: ignore[no-untyped-def]
        self._require_up("positions")
        return super().positions()

    def quotes(self, symbols):  # type: ignore[no-untyped-def]
        self._require_up("quotes")
        return super().quotes(symbols)

    def _require_up(self, what: str) -> None:
        if self.down == what:
            raise BrokerSilentError("HTTP 500.")
        if self.down == "keys":
            raise AccessRefusedError("HTTP 401: the keys are refused.")

    def _told(self, answer: OrderState) -> OrderState:
        lie = self.lies.get(answer.client_order_id) or self.lies.get("*")
        return lie(answer) if lie else answer


def teleported(answer: OrderState) -> OrderState:
    """As the Alpaca adapter reads a status word that nobody knows."""
    alive = Status.PARTIAL if answer.filled else Status.ACKED
    return replace(answer, status=alive, alarm="status is 'teleported', a word we do not know")


def state_of(desk: Desk) -> TradingState:
    assert desk.ledger is not None
    desk.ledger.verify()
    return TradingState.replay(desk.ledger.rows())


def last_statuses(desk: Desk) -> dict[str, Status]:
    """How every order that was ever written down stands, by id."""
    assert desk.ledger is not None
    ends: dict[str, Status] = {}
    for row in desk.ledger.rows():
        if row.kind == "order" and row.payload["path"]:
            ends[row.payload["id"]] = Status(row.payload["path"][-1])
    return ends


def check(desk: Desk, broker: FaultyBroker) -> None:
    """P1, P2 and P3, after everything has calmed down and the books were compared once more."""
    state, ends = state_of(desk), last_statuses(desk)
    assert broker.doubled == 0, "P1: an intent became two orders"
    assert set(broker.accepted) <= set(ends), "P2: the broker has an order that the ledger does not know"
    stopped = bool(state.stopped)
    assert stopped or not [key for key, status in ends.items() if status in OPEN], "P2: an intent has no end"
    held = {symbol: units for symbol, units in SimulatedBroker.positions(broker).items() if units}
    assert stopped or state.positions is None or state.positions == held, "P3: our book is not the broker's"
