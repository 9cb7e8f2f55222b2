"""Order states step as written down, and only so."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.orders import LATE, LEGAL, Order, Status, TrackedOrder, client_order_id, steps_to

CLOSE = datetime(2024, 1, 1, tzinfo=UTC)
ORDER = Order("id", "BTC-USD", "buy", Decimal(2))
TABLE = """
INTENT -> SENT UNKNOWN ABANDONED
SENT -> ACKED FILLED DENIED UNKNOWN INTENT
UNKNOWN -> ACKED FILLED DENIED ABANDONED
ACKED -> PARTIAL FILLED CANCELED EXPIRED REJECTED
PARTIAL -> PARTIAL FILLED CANCELED EXPIRED REJECTED
CANCELED -> PARTIAL FILLED
ABANDONED -> PARTIAL FILLED
FILLED ->
EXPIRED ->
REJECTED ->
DENIED ->
"""


def test_the_steps_are_those_that_were_agreed():
    written = {
        before: set(after.split()) for before, after in (line.split(" ->") for line in TABLE.split("\n") if line)
    }
    assert {str(before): set(map(str, after)) for before, after in LEGAL.items()} == written


@pytest.mark.parametrize("current", sorted(LATE))
@pytest.mark.parametrize("reported", [Status.PARTIAL, Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED])
def test_fault_13_an_order_that_has_ended_can_only_fill_more(current: Status, reported: Status):
    tracked = TrackedOrder(ORDER, bar_close=CLOSE, status=current)
    after = tracked.follow(steps_to(current, reported, grew=True), filled=Decimal(1))
    assert (after.status, after.filled) == (reported, 1)
    assert steps_to(current, reported, grew=False) == ()


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_every_step_is_legal_or_raises(before: Status, after: Status) -> None:
    tracked = TrackedOrder(ORDER, bar_close=CLOSE, status=before)
    if after in LEGAL[before]:
        assert tracked.advance(after).status == after
    else:
        with pytest.raises(TradingError, match=f"cannot go from {before} to {after}"):
            tracked.advance(after)


@pytest.mark.parametrize("current", [Status.INTENT, Status.SENT, Status.UNKNOWN, Status.ACKED, Status.PARTIAL])
@pytest.mark.parametrize("reported", [Status.PARTIAL, Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED])
def test_whatever_the_broker_reports_of_an_open_order_is_reached_by_legal_steps(
    current: Status, reported: Status
) -> None:
    tracked = TrackedOrder(ORDER, bar_close=CLOSE, status=current)
    assert tracked.follow(steps_to(current, reported), filled=Decimal(1)).status == reported


def test_a_fill_never_shrinks_and_never_exceeds_the_order() -> None:
    tracked = TrackedOrder(ORDER, bar_close=CLOSE, status=Status.PARTIAL, filled=Decimal(1))
    assert tracked.with_fill(Decimal(2)).signed_fill == 2
    with pytest.raises(TradingError, match="never shrinks"):
        tracked.with_fill(Decimal("0.5"))
    with pytest.raises(TradingError, match="more than ordered"):
        tracked.with_fill(Decimal("2.1"))


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "0", "-1"])
def test_a_quantity_that_is_not_positive_cannot_be_an_order(quantity: str) -> None:
    with pytest.raises(TradingError, match="not a positive number"):
        Order("id", "BTC-USD", "buy", Decimal(quantity))


def test_the_same_intent_has_the_same_id_and_another_another() -> None:
    base = {"model": "m", "symbol": "BTC-USD", "bar_close": CLOSE, "leg": 0}
    key = client_order_id(**base)  # type: ignore[arg-type]
    assert key == client_order_id(**base)  # type: ignore[arg-type]
    others = [{"model": "n"}, {"symbol": "ETH-USD"}, {"bar_close": CLOSE.replace(hour=1)}, {"leg": 1}]
    assert len({client_order_id(**{**base, **other}) for other in others} | {key}) == 5  # type: ignore[arg-type]
