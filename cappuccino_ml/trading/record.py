"""What a ledger's rows say of a session: its fills, what went wrong, and the way of one order back to its model."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from cappuccino_ml.core import Settings, TradingError
from cappuccino_ml.trading.ledger import Row

_FAULTS = ("refused", "stale", "alarm", "halt", "reduce", "cut_short", "skipped", "resend", "external")


class Fill(Settings):
    """One order that was filled, in all or in part. Money in quote currency."""

    order_id: str
    bar_close: datetime  # of the bar it was decided on
    symbol: str
    side: str
    quantity: float  # base units filled
    price: float  # average
    fee: float  # a fee in coin at the price paid
    coin_fee: float = 0.0  # base units of it that were taken out of the coin


class Faults(Settings):
    """How often each kind of trouble was written down, and the reason given first."""

    counts: dict[str, int]
    first: dict[str, str]
    crashes: int  # starts without a clean stop before them

    @property
    def stale(self) -> int:
        """Ticks whose newest bar was stale."""
        return self.counts.get("stale", 0)


class OrderTrace(Settings):
    """One order followed back: which model, which bar, which features, what it wanted, what became of it."""

    order_id: str
    symbol: str
    side: str
    quantity: str
    steps: tuple[str, ...]
    filled: str
    price: str | None
    reason: str
    model: str
    version: str
    bar_close: datetime
    equity: float | None  # at that close, before trading
    features: str  # hash of the window the model saw
    entries: tuple[float, ...]  # cash share and weights the model saw
    action: float  # the model's, for this symbol
    decided: float  # base units, signed, before the quote was known
    rows: tuple[int, ...]  # of the ledger


def fills_of(rows: Iterable[Row]) -> tuple[Fill, ...]:
    """Every order with a fill, as its last row has it, by the bar it was decided on."""
    last = {row.payload["id"]: row.payload for row in rows if row.kind == "order"}
    fills = []
    for payload in last.values():
        quantity = float(payload["filled"])
        if quantity > 0 and payload["price"] is not None:
            price = float(payload["price"])
            fills.append(
                Fill(
                    order_id=payload["id"],
                    bar_close=datetime.fromisoformat(payload["bar_close"]),
                    symbol=payload["symbol"],
                    side=payload["side"],
                    quantity=quantity,
                    price=price,
                    coin_fee=float(payload["coin_fee"]),
                    fee=float(payload["fee"]) + float(payload["coin_fee"]) * price,
                )
            )
    return tuple(sorted(fills, key=lambda fill: (fill.bar_close, fill.side == "buy", fill.symbol)))


def faults_of(rows: Sequence[Row]) -> Faults:
    """Everything in the ledger that a person should know went wrong."""
    counts = Counter(row.kind for row in rows if row.kind in _FAULTS)
    first: dict[str, str] = {}
    for row in rows:
        if row.kind in counts:
            first.setdefault(row.kind, str(row.payload.get("reason") or row.payload.get("bar_close") or ""))
    crashes, running = 0, False
    for row in rows:
        if row.kind == "start" and not row.payload.get("swapped"):
            crashes += running
            running = True
        elif row.kind == "stopped":
            running = False
    return Faults(counts=dict(counts), first=first, crashes=crashes)


def trace_order(rows: Sequence[Row], order_id: str) -> OrderTrace:
    """Follow an order back to the bar, the features and the model that wanted it.

    Args:
        rows: of one ledger, oldest first.
        order_id: its client order id.

    Raises:
        TradingError: the ledger has no such order, or no decision that led to it.
    """
    own = [row for row in rows if row.kind == "order" and row.payload["id"] == order_id]
    if not own:
        raise TradingError(f"no order {order_id} in this ledger; ids begin with cap-.")
    first, last = own[0], own[-1].payload
    bar = first.payload["bar_close"]
    decisions = [row for row in rows if row.kind == "decision" and row.payload["bar_close"] == bar]
    if not decisions or "symbols" not in decisions[-1].payload:
        raise TradingError(f"order {order_id} has no decision at {bar} that names features; an older trader wrote it.")
    decision = decisions[-1]
    column = decision.payload["symbols"].index(first.payload["symbol"])
    marks = [row for row in rows if row.kind == "mark" and row.payload["bar_close"] == bar]
    return OrderTrace(
        order_id=order_id,
        symbol=last["symbol"],
        side=last["side"],
        quantity=last["quantity"],
        steps=tuple(step for row in own for step in row.payload["path"]),
        filled=last["filled"],
        price=last["price"],
        reason=last["reason"],
        model=first.payload["model"],
        version=first.payload["version"],
        bar_close=datetime.fromisoformat(bar),
        equity=marks[-1].payload["equity"] if marks else None,
        features=decision.payload["features"],
        entries=tuple(decision.payload["entries"]),
        action=decision.payload["action"][column],
        decided=decision.payload["orders"][column],
        rows=(decision.seq, *(row.seq for row in own)),
    )
