"""Orders of a session that differ from the backtest's, each with its cause out of the ledger, or without one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.core import Settings
from cappuccino_ml.environment import Backtest
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.replay import Seen, Session, SizeAgain

Floats = NDArray[np.float64]
ActAgain = Callable[[int, NDArray[np.float32]], Floats]
_SAME_ACTION = 1e-4  # streaming and whole-history features differ by 1e-8, and other processors round float32 otherwise
_SAME_EQUITY = 1e-7  # relative; quantities are rounded to increments
_SAME_SIZE = 1e-6  # relative; the ledger keeps weights as float32
_IN_TIME = timedelta(minutes=2)  # after a close; by then a trader that runs has decided or has written down why not


class Deviation(Settings):
    """One order unlike the backtest's. Base units, negative sold; `explained` if the ledger or the book says why."""

    bar: str  # open time of the decided bar, UTC
    symbol: str
    ours: float
    theirs: float
    cause: str
    explained: bool

    @property
    def sentence(self) -> str:
        """In one line."""
        return f"{self.bar}Z {self.symbol}: {self.ours:.6f} against {self.theirs:.6f}; {self.cause}"


@dataclass
class _BarFacts:
    """What the ledger holds of one bar that may have been decided on."""

    entries: NDArray[np.float32] | None = None  # the portfolio the model saw; None: no decision was taken
    no_entries: str = ""
    halted: bool = False  # the drawdown halt: the model is not asked
    equity: float = 0.0
    memory: dict[str, dict[str, float]] = field(default_factory=dict)  # of the guards, by symbol
    refused: str = ""  # why no decision was taken, or why it was not carried out
    not_sent: dict[str, str] = field(default_factory=dict)  # symbol -> why
    orders: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # symbol -> last rows of its orders


def deviations(
    session: Session,
    backtest: Backtest,
    *,
    differs: NDArray[np.bool_],
    lots: Floats,
    rows: Iterable[Row],
    act_again: ActAgain,
    size_again: SizeAgain,
) -> tuple[Deviation, ...]:
    """Explain every order in `differs`.

    The ledger explains what was not sent, not filled, stopped or never decided. Once such an order, or fills at other
    prices or fees than the backtest's, have made the books unlike, later ones are explained by the model: asked again
    with the book it saw, it must give the same action, and this action the same order.

    Args:
        session: what the trader did, K bars, N tickers.
        backtest: of the same bars.
        differs: [K, N], orders that are not equal.
        lots: base units that two equal orders may differ by [N].
        rows: of the session's ledger.
        act_again: the research path's action [N] for (row, portfolio entries).
        size_again: its orders [N] for (book, row, action).
    """
    rows, found, since = list(rows), list[Deviation](), ""
    facts, idle = _by_bar(rows, session), _idle(rows)
    unlike = 1 + np.flatnonzero(np.abs(session.equity / backtest.equity - 1)[1:] > _SAME_EQUITY)  # both begin alike
    for k, column in np.argwhere(differs).tolist():
        known, symbol = facts.get(session.close_of(k), _BarFacts()), session.symbols[column]
        ours, theirs = float(session.orders[k, column]), float(backtest.orders[k, column])
        if known.entries is None and not known.refused:
            known.refused = _why_idle(idle, begin=datetime.fromisoformat(session.close_of(k)), bar=session.bar)
        cause = _from_ledger(known, symbol=symbol, ours=ours, theirs=theirs)
        explained, bar = bool(cause), str(np.datetime_as_string(session.timestamps[k], unit="m"))
        if not explained and not since and unlike.size and unlike[0] <= k:
            filled_at = np.datetime_as_string(session.timestamps[unlike[0] - 1], unit="m")
            since = f"{filled_at}Z, when fills had other prices or fees"
        if not explained and since and known.entries is not None:
            again = np.zeros(len(session.symbols)) if known.halted else act_again(session.first + k, known.entries)
            explained = bool(np.abs(again - session.actions[k]).max() <= _SAME_ACTION)
            same = "the drawdown halt sells everything" if known.halted else "the model says the same again"
            cause = f"the books differ since {since}, and with this book {same}"
            if not explained:
                cause = f"asked again with this book the model says {again[column]:.6f}: features differed"
            elif wrong := _wrong_size(session, known, k=k, column=column, lot=lots[column], size_again=size_again):
                explained, cause = False, wrong
        if not cause:
            cause = _without_cause(session, backtest, k=k, column=column)
        since = since or (f"{bar}Z" if explained else "")
        found.append(Deviation(bar=bar, symbol=symbol, ours=ours, theirs=theirs, cause=cause, explained=explained))
    return tuple(found)


def _by_bar(rows: Iterable[Row], session: Session) -> dict[str, _BarFacts]:
    """By close of the bar, as the ledger writes it."""
    facts: dict[str, _BarFacts] = {}
    decided = ""
    for row in rows:
        payload = row.payload
        if row.kind == "mark":
            here = facts.setdefault(payload["bar_close"], _BarFacts())
            here.halted, here.equity = payload["halted"], payload["equity"]
        elif row.kind == "decision":
            decided = payload["bar_close"]
            here = facts.setdefault(decided, _BarFacts())
            here.no_entries, here.memory = payload["no_entries"], payload.get("memory", {})
            here.entries = np.asarray(payload["entries"], dtype=np.float32)
        elif row.kind == "skipped":
            facts.setdefault(decided, _BarFacts()).not_sent[payload["symbol"]] = payload["reason"]
        elif row.kind == "order":
            orders = facts.setdefault(payload["bar_close"], _BarFacts()).orders.setdefault(payload["symbol"], [])
            orders[:] = [order for order in orders if order["id"] != payload["id"]] + [payload]
        elif row.kind == "cut_short":
            here = facts.setdefault(payload["bar_close"], _BarFacts())
            here.refused = here.refused or "the process ended before all orders were sent"
        elif row.kind in {"refused", "stale"}:
            at = payload["bar_close"] or session.close_before(row.at)
            reason = payload.get("reason", "the newest bar was stale")
            here = facts.setdefault(at, _BarFacts())
            here.refused = here.refused or reason
    return facts


def _idle(rows: Iterable[Row]) -> list[tuple[datetime, str]]:
    """Since when the trader was stopped or halted, and why; "" from when on it was neither."""
    stopped, halted, changes = "", "", list[tuple[datetime, str]]()
    for row in rows:
        if row.kind in {"stopped", "start"}:
            stopped = "the trader was stopped" if row.kind == "stopped" else ""
        elif row.kind in {"halt", "release"}:
            halted = f"halted: {row.payload['reason']}" if row.kind == "halt" else ""
        else:
            continue
        changes.append((row.at, halted or stopped))
    return changes


def _why_idle(changes: Iterable[tuple[datetime, str]], *, begin: datetime, bar: timedelta) -> str:
    """The last reason of those that held when the bar that closed at `begin` was to be decided on, or nothing."""
    held, found = "", ""
    for at, why in changes:
        if at >= begin + min(bar, _IN_TIME):
            break
        if at >= begin:
            found = held or found
        held = why
    return held or found


def _from_ledger(known: _BarFacts, *, symbol: str, ours: float, theirs: float) -> str:
    """The cause that the ledger names, or nothing."""
    if known.entries is None:
        return f"no decision was taken: {known.refused}" if known.refused else ""
    if symbol in known.not_sent:
        return f"not sent: {known.not_sent[symbol]}"
    for order in known.orders.get(symbol, []):
        if Decimal(order["filled"]) != Decimal(order["quantity"]):
            reason = f": {order['reason']}" if order["reason"] else ""
            return f"{order['filled']} of {order['quantity']} were filled, {order['path'][-1]}{reason}"
    if known.no_entries and theirs > 0 and ours <= 0:
        return f"no entries: {known.no_entries}"
    whole = symbol in known.orders  # sent and filled as it was meant to be: what came later did not touch it
    return f"cut off: {known.refused}" if known.refused and not whole else ""


def _wrong_size(session: Session, known: _BarFacts, *, k: int, column: int, lot: float, size_again: SizeAgain) -> str:
    """Why an order does not follow from its action and the book it was decided on, or nothing."""
    assert known.entries is not None
    seen = Seen(entries=known.entries, equity=known.equity, halted=known.halted, memory=known.memory)
    again = float(size_again(seen, session.first + k, session.actions[k])[column])
    again = min(again, 0.0) if known.no_entries else again
    ours, decided = float(session.orders[k, column]), float(session.decided[k, column])
    if abs(again - decided) > lot + _SAME_SIZE * abs(again):
        return f"the same action on this book is an order of {again:.6f}, not {decided:.6f}"
    if not min(decided, 0.0) - lot <= ours <= max(decided, 0.0) + lot:
        return f"{decided:.6f} was decided, but {ours:.6f} was traded"
    return ""


def _without_cause(session: Session, backtest: Backtest, *, k: int, column: int) -> str:
    ours, theirs, decided = (x[k, column] for x in (session.orders, backtest.orders, session.decided))
    action, expected = session.actions[k, column], backtest.actions[k, column]
    if abs(action - expected) > _SAME_ACTION:
        return f"the model's action was {action:.6f}, not {expected:.6f}: features or holdings differed"
    if abs(ours - decided) > abs(theirs - decided):
        return f"{decided:.6f} was decided, so the broker filled less or at another price"
    return "the same action was sized on another equity"
