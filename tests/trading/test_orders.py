"""Order states step as written down, and only so."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest

from cappuccino_ml.core import TradingError
from cappuccino_ml.trading.orders import LEGAL, Order, Status, TrackedOrder, client_order_id, steps_to

CLOSE = datetime(2024, 1, 1, tzinfo=UTC)
ORDER = Order("id", "BTC-USD", "buy", Decimal(2))


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
