"""The faults that can come between an order and its end, and a desk that lives through them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading import Habits, Order, OrderState, Status, Trader

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, make_desk, make_panel
from .faulty import FaultyBroker, teleported

PANEL = make_panel(filled=0.0)
ACTIONS = {FIRST: (1.0, 1.0, 0.0), FIRST + 1: (-1.0, 0.5, 1.0)}  # buy two; sell one, buy two
QUIET = FIRST + 2


@dataclass(frozen=True)
class Fault:
    """What goes wrong while two bars are traded, and what ends it before a quiet one."""

    arrange: Callable[[FaultyBroker], None]
    habits: Habits = field(default_factory=Habits)
    halts: bool = False  # where nobody dies


def posts(*words: str) -> Callable[[FaultyBroker], None]:
    return lambda broker: broker.script.extend(words)


def looks(*words: str, posts: tuple[str, ...] = ()) -> Callable[[FaultyBroker], None]:
    def arrange(broker: FaultyBroker) -> None:
        broker.script.extend(posts)
        broker.looks.extend(words)

    return arrange


def lie(change: Callable[[OrderState], OrderState]) -> Callable[[FaultyBroker], None]:
    return lambda broker: broker.lies.update({"*": change})


def backwards(broker: FaultyBroker) -> None:
    """Every other look at an order tells of less than the one before."""
    looks: Counter[str] = Counter()

    def lie(answer: OrderState) -> OrderState:
        looks[answer.client_order_id] += bool(answer.filled)
        share = Decimal("0.5") if looks[answer.client_order_id] % 2 else Decimal("0.2")
        return replace(answer, status=Status.PARTIAL, filled=answer.filled * share) if answer.filled else answer

    broker.lies["*"] = lie


def overfilled(answer: OrderState) -> OrderState:
    return replace(answer, filled=answer.filled * 2)


def refused_from_the_first_order_on(broker: FaultyBroker) -> None:
    def on_post(order: Order) -> None:
        broker.down = "keys"

    broker.on_post = on_post


def filled_after_the_cancel(broker: FaultyBroker) -> None:
    """What the broker told as cancelled for good is filled all the same, before the quiet bar."""
    arrive = broker.arrive

    def late() -> None:
        arrive()
        for order in {order.client_order_id: order for order in broker.posts}.values():
            told = broker._orders.get(order.client_order_id)
            if told is not None and told.status == Status.CANCELED and told.price is not None:
                more = (order.quantity - told.filled) * (1 if order.side == "buy" else -1)
                broker._units[order.symbol] = broker._units.get(order.symbol, Decimal(0)) + more
                broker._cash -= more * told.price
                broker._orders[order.client_order_id] = replace(told, status=Status.FILLED, filled=order.quantity)

    broker.arrive = late  # type: ignore[method-assign]


SLOW = Habits(latency_s=3.0)
IN_PARTS = Habits(latency_s=1.0, partial_share=1.0)
FAULTS = {
    "01 the answer is cut off": Fault(posts("cut", "cut", "", "cut")),
    "02 the order never arrives": Fault(posts("lost", "", "lost", "lost")),
    "03 504, with and without the order": Fault(posts("cut", "lost", "lost", "cut")),
    "04 a used id": Fault(posts("used", "", "used", "used")),
    "05 no fault but the crash": Fault(posts()),
    "06 the answer is cut off and the broker silent": Fault(looks(*["silent"] * 7, posts=("cut", "", "cut"))),
    "09 an unknown word": Fault(lie(teleported), habits=SLOW),
    "10 an answer that is none": Fault(posts("", "cut", "lost")),
    "11 a part, silence, the rest": Fault(
        looks("silent", "", "silent"), habits=Habits(latency_s=9.0, partial_share=1.0, rest="later")
    ),
    "12 cancelled part-filled": Fault(posts(), habits=IN_PARTS),
    "13 a fill after a confirmed cancel": Fault(filled_after_the_cancel, habits=IN_PARTS),
    "13 given up, and then it arrives": Fault(posts("late", "late", "late")),
    "14 a fill that goes backwards": Fault(
        backwards, habits=Habits(latency_s=9.0, partial_share=1, rest="later"), halts=True
    ),
    "14 a fill above the order": Fault(lie(overfilled), habits=SLOW, halts=True),
    "15 a fee in coin that nobody tells": Fault(posts(), habits=Habits(fee_in_coin=True, tells_fee=False)),
    "15 the same, in parts": Fault(
        posts(), habits=Habits(fee_in_coin=True, tells_fee=False, latency_s=1.0, partial_share=1.0)
    ),
    "19 a storm of 429": Fault(posts("busy", "busy", "busy", "", "busy", "", "busy", *["busy"] * 6)),
    "20 silence": Fault(looks(*["silent"] * 20, posts=("lost",) * 4)),
    "21 the keys are refused": Fault(posts("", "refused"), halts=True),
    "21 the keys are refused on every question": Fault(refused_from_the_first_order_on, halts=True),
    "an order that is not there yet": Fault(looks("missing", "missing", "", "missing"), habits=SLOW),
    "rejected after it was accepted": Fault(posts(), habits=Habits(latency_s=1.0, reject_share=0.5, seed=3)),
}


def desk_of(folder: Path, fault: Fault) -> tuple[Desk, FaultyBroker]:
    desk = make_desk(folder, panel=PANEL, actor=FakeActor(), broker_type=FaultyBroker, habits=fault.habits)
    desk.actor.rule = lambda window, entries: np.array(ACTIONS.get(desk.row, (0.0, 0.0, 0.0)))
    fault.arrange(desk.broker)
    return desk, desk.broker


def run(desk: Desk, fault: Fault, *, crash_at: int = -1, after: bool = False) -> Trader | None:
    """Two bars with the fault and a quiet one; a trader that died is started again at the same bar."""
    trader, crashed = None, False
    for row in (*ACTIONS, QUIET):
        desk.at(row)
        if row == QUIET:
            desk.broker.calm()
        for _ in range(2):
            try:
                if trader is None:
                    watch = {"crash_at": -1 if crashed else crash_at, "after": after}
                    trader = desk.open(ledger_type=CrashingLedger, **watch)
                trader.tick()
                break
            except CrashError:
                trader, crashed = None, True
            except TradingError:
                break
    return trader
