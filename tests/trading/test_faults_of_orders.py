"""Faults between an order and its end: none is placed twice, none is lost, the book is the broker's or we stop."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading import Habits, Mode, Order, Status, release

from .conftest import FIRST, Desk
from .faulty import FaultyBroker, check, last_statuses, state_of
from .order_faults import FAULTS, Fault, desk_of, posts, run

pytestmark = pytest.mark.usefixtures("quick_features")


@pytest.mark.parametrize("name", FAULTS)
def test_p1_p2_p3_every_fault_ends_with_one_book(tmp_path: Path, name: str):
    desk, broker = desk_of(tmp_path, FAULTS[name])
    run(desk, FAULTS[name])
    check(desk, broker)
    assert broker.posts
    assert bool(state_of(desk).stopped) == FAULTS[name].halts


def one_bar(tmp_path: Path, name: str) -> tuple[Desk, FaultyBroker]:
    desk, broker = desk_of(tmp_path, FAULTS[name])
    trader = desk.open()
    trader.tick()
    return desk, broker


def test_fault_01_p1_a_cut_answer_is_found_by_its_id(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "01 the answer is cut off")
    assert set(last_statuses(desk).values()) == {Status.FILLED}
    assert len(broker.posts) == len(broker.accepted) == 2
    assert desk.slept == [1.0, 1.0]


def test_fault_02_p1_p2_an_order_that_never_arrived_is_sent_once_more_under_the_same_id(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("lost", "", "")))
    desk.open().tick()
    first, second = [order.client_order_id for order in broker.posts[:2]]
    assert first == second
    assert len(broker.posts) == 3
    assert len(broker.accepted) == 2
    assert desk.slept == [1.0, 2.0, 4.0, 8.0, 15.0]


def test_fault_02_p2_an_order_that_never_arrives_twice_is_abandoned_not_forgotten(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("lost", "lost", "", "")))
    desk.open().tick()
    assert sorted(last_statuses(desk).values()) == [Status.ABANDONED, Status.FILLED]
    assert len(broker.posts) == 3


def test_fault_02_p5_a_stale_bar_is_not_traded_late(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("lost", "lost", "")))
    desk.limits = desk.limits.model_copy(update={"max_age_bars": 0.005})  # 18 s
    trader = desk.open()
    with pytest.raises(TradingError, match="stale by now"):
        trader.tick()
    assert broker.accepted == []
    assert len(broker.posts) == 1
    assert set(last_statuses(desk).values()) == {Status.ABANDONED}


def test_fault_04_p1_a_used_id_is_read_back_and_none_is_invented(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "04 a used id")
    assert len(broker.posts) == len(broker.accepted) == 2
    assert set(last_statuses(desk).values()) == {Status.FILLED}


def test_fault_09_p2_an_unknown_word_is_acked_with_an_alarm(tmp_path: Path):
    desk, _ = one_bar(tmp_path, "09 an unknown word")
    assert {Status(status) for status in last_statuses(desk).values()} <= {Status.ACKED, Status.PARTIAL}
    assert "alarm" in desk.kinds()
    assert any("teleported" in sentence for sentence in desk.told)


def test_fault_11_p3_p6_what_came_first_is_not_bought_again(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "11 a part, silence, the rest")
    run(desk, FAULTS["11 a part, silence, the rest"])
    bought = [order for order in broker.posts if order.symbol == "BTC-USD" and order.side == "buy"]
    assert len(bought) == 1
    check(desk, broker)


def test_fault_12_p3_a_cancelled_rest_is_free_again_and_fills_are_kept(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "12 cancelled part-filled")
    assert set(last_statuses(desk).values()) == {Status.CANCELED}
    assert broker.positions() == state_of(desk).positions != {}
    assert broker.account().reserved == {}


def test_fault_13_p3_a_fill_after_a_cancel_is_booked(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "12 cancelled part-filled")
    key = broker.posts[0].client_order_id
    told = broker.order(key)
    assert told is not None
    more = broker.posts[0].quantity - told.filled
    broker._orders[key] = replace(told, status=Status.FILLED, filled=broker.posts[0].quantity)
    broker._units["BTC-USD"] += more
    desk.at(FIRST + 1)
    desk.actor.rule = lambda window, entries: np.zeros(3)
    desk.open().tick()
    assert last_statuses(desk)[key] == Status.FILLED
    assert broker.positions() == state_of(desk).positions


@pytest.mark.parametrize("name", ["14 a fill that goes backwards", "14 a fill above the order"])
def test_fault_14_p3_p7_an_impossible_fill_halts_for_good(tmp_path: Path, name: str):
    desk, broker = desk_of(tmp_path, FAULTS[name])
    trader = run(desk, FAULTS[name])
    assert trader is not None
    assert trader.mode == Mode.HALTED
    sent = len(broker.posts)
    with pytest.raises(TradingError, match="halted"):
        desk.open()
    assert len(broker.posts) == sent


def test_fault_15_p3_p6_what_is_sold_is_what_is_there(tmp_path: Path):
    desk, broker = one_bar(tmp_path, "15 a fee in coin that nobody tells")
    bought = {order.symbol: order.quantity for order in broker.posts}
    held = broker.positions()
    assert all(Decimal("0.997") * bought[symbol] < units < bought[symbol] for symbol, units in held.items())
    desk.actor.rule = lambda window, entries: np.array([-1.0, -1.0, 0.0])
    desk.at(FIRST + 1)
    desk.open().tick()
    assert {order.symbol: order.quantity for order in broker.posts if order.side == "sell"} == held
    assert broker.positions() == {}
    assert [row.payload["why"] for row in desk.ledger.rows() if row.kind == "aligned"] == ["fee taken in coin"] * 2  # type: ignore[union-attr]


def test_fault_19_p2_p11_a_429_waits_for_the_reset_and_sends_the_same_id(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("busy", "busy", "busy", "")))
    desk.open().tick()
    assert len({order.client_order_id for order in broker.posts}) == 2
    assert len(broker.posts) == 5
    assert desk.slept == [7.0, 7.0, 7.0]
    assert set(last_statuses(desk).values()) == {Status.FILLED}


def test_fault_19_exits_are_sent_before_entries(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("", "", *["busy"] * 3)))
    run(desk, Fault(posts()))
    sides = [order.side for order in broker.posts[2:]]
    assert sides == sorted(sides, key=lambda side: side != "sell")


def test_fault_20_p11_a_tick_under_silence_ends_by_its_deadline(tmp_path: Path):
    desk, broker = desk_of(tmp_path, FAULTS["20 silence"])
    began = desk.clock.now()
    with pytest.raises(TradingError, match="silent"):
        desk.open().tick()
    assert (desk.clock.now() - began).total_seconds() <= desk.limits.deadline_s
    assert set(last_statuses(desk).values()) == {Status.UNKNOWN}
    assert len(broker.posts) == 1


def test_fault_20_p11_a_broker_that_is_busy_for_ever_cannot_hold_a_tick(tmp_path: Path):
    desk, _ = desk_of(tmp_path, Fault(posts(*["busy"] * 200)))
    began = desk.clock.now()
    desk.open().tick()
    assert (desk.clock.now() - began).total_seconds() <= desk.limits.deadline_s
    assert set(last_statuses(desk).values()) == {Status.ABANDONED}


@pytest.mark.parametrize("where", ["keys", "post"])
def test_fault_21_p7_p9_refused_keys_halt_without_another_try(tmp_path: Path, where: str):
    desk, broker = desk_of(tmp_path, Fault(posts("refused") if where == "post" else posts()))
    trader = desk.open()
    broker.down = "" if where == "post" else "keys"
    with pytest.raises(TradingError, match="halted"):
        trader.tick()
    assert trader.mode == Mode.HALTED
    assert len(broker.posts) == (1 if where == "post" else 0)
    with pytest.raises(TradingError, match="halted"):
        trader.tick()


def test_fault_13_an_order_given_up_and_found_open_is_cancelled(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("late", "lost", "", ""), habits=Habits(latency_s=600.0)))
    desk.open().tick()
    broker.arrive()
    desk.clock.set(desk.clock.now())
    desk.open()
    assert broker.open_orders() == []
    assert isinstance(broker.posts[0], Order)


def test_p2_p3_an_order_the_broker_forgets_halts_and_a_person_can_go_on(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts(), habits=Habits(latency_s=10**5)))
    desk.open().tick()
    broker._orders.clear()
    broker._working.clear()
    desk.at(FIRST + 1)
    with pytest.raises(TradingError, match="no longer knows it"):
        desk.open()
    with pytest.raises(TradingError, match="halted"):
        desk.open()
    assert desk.ledger is not None
    release(desk.ledger, who="ann", why="the broker lost two orders", at=desk.clock.now())
    assert desk.open().tick().status == "traded"


def test_fault_13_p3_a_fill_that_comes_bars_later_is_still_explained(tmp_path: Path):
    desk, broker = desk_of(tmp_path, Fault(posts("late", "lost", "", "")))
    desk.actor.rule = lambda window, entries: np.array([1.0, 0.0, 0.0]) if desk.row == FIRST else np.zeros(3)
    trader = desk.open()
    for row in range(FIRST, FIRST + 4):
        desk.at(row)
        trader.tick()
    assert set(last_statuses(desk).values()) == {Status.ABANDONED}
    broker.arrive()
    desk.at(FIRST + 4)
    trader.tick()
    assert trader.mode == Mode.ACTIVE
    assert set(last_statuses(desk).values()) == {Status.FILLED}
    check(desk, broker)
