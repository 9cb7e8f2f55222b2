"""After a person's release every order that was open has its end in the ledger, and the book is the broker's."""

import contextlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading import Habits, Status, release

from .conftest import FIRST, CrashError, CrashingLedger, Desk, FakeActor, always, make_desk
from .faulty import FaultyBroker, check, last_statuses
from .order_faults import FAULTS, Fault, desk_of, posts, run

pytestmark = pytest.mark.usefixtures("quick_features")


def settle_and_release(desk: Desk) -> None:
    """Nothing is on the way or open at the broker any more; a person says so, whatever process died before."""
    desk.broker.calm()
    for order in desk.broker.open_orders():
        desk.broker.cancel(order.client_order_id)
    assert desk.ledger is not None
    desk.ledger.crash_at = -1  # type: ignore[attr-defined]
    release(desk.ledger, who="ann", why="looked", at=desk.clock.now())


def died_at(folder: Path, *, write: int, after: bool, word: str = "") -> tuple[Desk, bool]:
    """A desk whose trader died at that ledger write of its first bar, if there is such a write."""
    desk = make_desk(folder, actor=FakeActor(rule=always(1.0, 1.0, 0.0)), broker_type=FaultyBroker)
    desk.broker.script.extend([word])
    try:
        desk.open(ledger_type=CrashingLedger, crash_at=write, after=after).tick()
    except CrashError:
        return desk, True
    return desk, False


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("word", ["", "lost", "late"])
def test_fault_05_fault_06_p2_p3_a_release_after_a_death_at_any_write_ends_every_intent(
    tmp_path: Path, word: str, after: bool
) -> None:
    open_before = 0
    for write in range(1, 30):
        folder = tmp_path / str(write)
        folder.mkdir()
        desk, died = died_at(folder, write=write, after=after, word=word)
        if not died:
            break
        open_before += any(status == Status.INTENT for status in last_statuses(desk).values())
        settle_and_release(desk)
        desk.open()
        check(desk, desk.broker)
        desk.at(FIRST + 1)
        assert desk.open().tick().status == "traded"
        check(desk, desk.broker)
        desk.close()
    assert write > 5
    assert open_before >= 2


def test_fault_06_p2_a_death_while_a_release_is_followed_up_loses_no_end(tmp_path: Path) -> None:
    desk, died = died_at(tmp_path, write=6, after=False)
    assert died
    assert list(last_statuses(desk).values()) == [Status.INTENT]
    settle_and_release(desk)
    for write in (1, 2, 3, 4):
        with contextlib.suppress(CrashError):
            desk.open(ledger_type=CrashingLedger, crash_at=write, after=write % 2 == 0)
    desk.open()
    assert list(last_statuses(desk).values()) == [Status.FILLED]
    check(desk, desk.broker)


@pytest.mark.parametrize(
    ("name", "share"), [("14 a fill that goes backwards", "0.01"), ("14 a fill above the order", "2")]
)
def test_fault_14_p2_p7_what_a_person_has_settled_does_not_halt_again(tmp_path: Path, name: str, share: str) -> None:
    desk, broker = desk_of(tmp_path, FAULTS[name])
    run(desk, FAULTS[name])
    settle_and_release(desk)
    # The broker still says what cannot be; the person knows better.
    broker.lies["*"] = lambda answer: replace(answer, filled=answer.filled * Decimal(share))
    desk.actor.rule = lambda window, entries: np.zeros(3)
    desk.at(FIRST + 3)
    desk.open().tick()
    check(desk, broker)
    reasons = [row.payload["reason"] for row in desk.ledger.rows() if row.kind == "order"]  # type: ignore[union-attr]
    assert any("settled by who released the trader: order cap-" in reason for reason in reasons)


def test_p2_an_order_the_broker_forgot_ends_as_cancelled_once_a_person_has_looked(tmp_path: Path) -> None:
    desk, broker = desk_of(tmp_path, Fault(posts(), habits=Habits(latency_s=10**5)))
    desk.open().tick()
    broker._orders.clear()
    broker._working.clear()
    desk.at(FIRST + 1)
    with pytest.raises(TradingError, match="no longer knows it"):
        desk.open()
    settle_and_release(desk)
    desk.open()
    assert set(last_statuses(desk).values()) == {Status.CANCELED}


def test_p2_p3_an_order_of_ours_left_open_by_the_person_is_cancelled(tmp_path: Path) -> None:
    desk, broker = desk_of(tmp_path, Fault(posts(), habits=Habits(latency_s=10**5)))
    desk.open().tick()
    assert desk.ledger is not None
    assert broker.open_orders()
    release(desk.ledger, who="ann", why="looked", at=desk.clock.now())
    desk.open()
    assert broker.open_orders() == []
    check(desk, broker)
