"""Crashes, lost answers, foreign hands: no order twice, none lost, our book equals the broker's or we stop."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading import BrokerSilentError, Order, Status, TradingState, release

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, make_desk

BARS = range(FIRST, FIRST + 3)
pytestmark = pytest.mark.usefixtures("quick_features")


def wander() -> FakeActor:
    """Buys at first, then sells one ticker and buys another."""
    script = [(1.0, 1.0, 0.0), (-1.0, 0.5, 1.0), (1.0, -1.0, -0.5)]
    actor = FakeActor()
    actor.rule = lambda window, entries: np.array(script[(len(actor.seen) - 1) % 3])
    return actor


def state_of(desk: Desk) -> TradingState:
    assert desk.ledger is not None
    desk.ledger.verify()
    return TradingState.replay(desk.ledger.rows())


def rows_of_a_clean_run(folder: Path) -> int:
    desk = make_desk(folder, actor=wander())
    trader = desk.open()
    for row in BARS:
        desk.at(row)
        trader.tick()
    assert {order.side for order in desk.broker.submitted} == {"buy", "sell"}
    count = len(desk.kinds())
    desk.close()
    return count


@pytest.mark.parametrize("after", [False, True], ids=["before the row", "after the row"])
def test_a_crash_at_any_ledger_write_never_doubles_or_loses_an_order(tmp_path: Path, after: bool) -> None:
    rows = rows_of_a_clean_run(tmp_path / "clean")
    assert rows > 25
    for crash_at in range(1, rows + 1):
        desk = make_desk(tmp_path / f"{crash_at}", actor=wander())
        with pytest.raises(CrashError):  # noqa: PT012
            trader = desk.open(ledger_type=CrashingLedger, crash_at=crash_at, after=after)
            for row in BARS:
                desk.at(row)
                trader.tick()
        trader = desk.open()
        trader.tick()  # the bar of the crash
        desk.at(FIRST + 3)
        trader.tick()
        assert len(set(desk.broker.ids)) == len(desk.broker.ids)
        state = state_of(desk)
        assert state.positions == desk.broker.positions()
        assert not [tracked for tracked in state.unresolved() if tracked.status != Status.ABANDONED]
        desk.close()


def test_fault_01_an_accepted_order_whose_answer_is_lost_is_found(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    trader = desk.open()
    desk.broker.lose = "answer"
    trader.tick()
    assert desk.slept == [1.0, 1.0]
    state = state_of(desk)
    assert {tracked.status for tracked in state.orders.values()} == {Status.FILLED}
    assert state.positions == desk.broker.positions()
    assert len(desk.broker.ids) == 2


def test_fault_02_an_order_that_never_arrived_is_abandoned(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    trader = desk.open()
    desk.broker.lose = "request"
    trader.tick()
    desk.broker.lose = None
    desk.open()
    assert {tracked.status for tracked in state_of(desk).orders.values()} == {Status.ABANDONED}
    assert desk.broker.ids == []


def test_fault_02_a_late_fill_of_an_abandoned_order_is_booked(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    trader = desk.open()
    desk.broker.lose = "request"
    trader.tick()
    desk.broker.lose = None
    trader = desk.open()
    late = next(iter(state_of(desk).orders.values()))
    desk.broker.submit(late.order)  # it was on its way all the time
    desk.at(FIRST + 1)
    trader.tick()
    assert state_of(desk).positions == desk.broker.positions()


def test_fault_04_a_used_id_is_read_back_not_sent_again(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    desk.broker.lose = "retry"  # the first send was taken, a hidden second one is refused
    desk.open().tick()
    state = state_of(desk)
    assert {tracked.status for tracked in state.orders.values()} == {Status.FILLED}
    assert state.positions == desk.broker.positions()
    assert len(desk.broker.ids) == 2


def test_a_lost_ledger_cannot_buy_the_same_bar_again(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    desk.open().tick()
    held = desk.broker.positions()
    again = make_desk(tmp_path / "again", actor=wander())
    again.broker.restore(desk.broker.snapshot())
    with pytest.raises(TradingError):
        again.open().tick()
    with pytest.raises(TradingError):
        again.open()
    assert again.broker.positions() == held


def test_fault_08_a_second_trader_on_one_ledger_is_refused(desk: Desk) -> None:
    desk.open()
    other = make_desk(desk.path.parent)
    with pytest.raises(TradingError, match="another trader"):
        other.open()


def test_fault_16_a_position_we_never_made_stops_us_until_a_person_looks(tmp_path: Path) -> None:
    desk = make_desk(tmp_path, actor=wander())
    trader = desk.open()
    trader.tick()
    desk.broker.submit(Order("by-hand", "UNI-USD", "buy", Decimal("100")))
    count = len(desk.broker.ids)
    desk.at(FIRST + 1)
    for _ in range(2):
        with pytest.raises(TradingError, match="our book says 0 UNI-USD, the broker 100"):
            trader.tick()
    with pytest.raises(TradingError, match="our book"):
        desk.open()
    assert len(desk.broker.ids) == count
    assert desk.ledger is not None
    release(desk.ledger, who="ann", why="bought by hand", at=desk.clock.now())
    desk.open().tick()
    assert state_of(desk).positions == desk.broker.positions()


def test_fault_18_no_start_without_the_brokers_positions(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)

    def silent() -> dict[str, Decimal]:
        raise BrokerSilentError("500")

    desk.broker.positions = silent  # type: ignore[method-assign]
    with pytest.raises(TradingError):
        desk.open()


def test_fault_30_an_edited_ledger_row_stops_the_next_start(tmp_path: Path) -> None:
    import sqlite3

    desk = make_desk(tmp_path, actor=wander())
    desk.open().tick()
    desk.close()
    database = sqlite3.connect(desk.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("UPDATE ledger SET kind = 'x' WHERE seq = 3")
    database.execute("DROP TRIGGER ledger_no_update")
    database.execute("UPDATE ledger SET payload = replace(payload, 'fake-model', 'fine-model') WHERE seq = 3")
    database.commit()
    database.close()
    with pytest.raises(TradingError, match=r"row 3 of ledger .* was altered"):
        desk.open()
