"""Alpaca's JSON read tolerantly: an unknown word or an empty field must never hide an order that stands."""

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cappuccino_ml.trading.orders import OrderState, Status

_ENDS = {
    "canceled": Status.CANCELED,
    "expired": Status.EXPIRED,
    "rejected": Status.REJECTED,
}
_ALIVE = {
    "accepted",
    "accepted_for_bidding",
    "calculated",
    "done_for_day",
    "held",
    "new",
    "partially_filled",
    "pending_cancel",
    "pending_new",
    "pending_replace",
    "pending_review",
    "stopped",
    "suspended",
}
_USED_ID = re.compile(
    r"client.?order.?id.*(unique|exist|duplicate|used)|(duplicate|existing).*client.?order.?id", re.IGNORECASE
)


def is_used_id(said: str) -> bool:
    """Whether a refusal means that the client order id was used before, in whatever spelling."""
    return bool(_USED_ID.search(said))


def symbol_of(name: str) -> str:
    """`BTC/USD`, as orders, assets and bars say it, as ours: `BTC-USD`."""
    return name.replace("/", "-")


def name_of(symbol: str) -> str:
    """Our `BTC-USD` as orders, assets and bars say it."""
    return symbol.replace("-", "/")


def position_symbols(assets: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Ours by the name that positions use: {"BTCUSD": "BTC-USD"}."""
    names = [str(asset.get("symbol", "")) for asset in assets]
    return {name.replace("/", ""): symbol_of(name) for name in names if "/" in name}


def number(value: object) -> Decimal | None:
    """A finite number out of a string or number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        read = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return read if read.is_finite() else None


def moment(value: object) -> datetime | None:
    """A time with zone; digits beyond the microseconds are cut."""
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return read if read is not None and read.tzinfo is not None else None


def order_state(body: dict[str, Any]) -> OrderState:
    """What an order's JSON says of it.

    Only a word that is known to end an order ends it here; whatever is unknown, empty or contradictory leaves it open,
    with an alarm, to be asked after again.
    """
    word, alarms = str(body.get("status")), []
    filled, asked = number(body.get("filled_qty")), number(body.get("qty"))
    if filled is None:
        alarms.append(f"filled_qty is {body.get('filled_qty')!r}")
        filled = Decimal(0)
    alive = Status.PARTIAL if filled > 0 else Status.ACKED
    status = _ENDS.get(word, alive)
    if word == "filled":
        whole = filled > 0 and (asked is None or filled >= asked)
        status = Status.FILLED if whole else alive
        if not whole:
            alarms.append(f"status is filled, but filled_qty is {filled} of {asked}")
    elif word not in _ENDS and word not in _ALIVE:
        alarms.append(f"status is {word!r}, a word we do not know")
    price = number(body.get("filled_avg_price"))
    if body.get("submitted_at") is None:
        alarms.append("submitted_at is empty")
    return OrderState(
        client_order_id=str(body.get("client_order_id") or ""),
        status=status,
        filled=filled,
        price=price if filled > 0 else None,
        symbol=symbol_of(str(body.get("symbol") or "")),
        alarm="; ".join(alarms),
    )
