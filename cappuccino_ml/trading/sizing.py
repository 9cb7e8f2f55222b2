"""The last look at sizes: what the venue takes, and whether anything may be bought at this bar at all."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, Context, Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.trading.broker import Quote
from cappuccino_ml.trading.journal import Journal, Mode
from cappuccino_ml.trading.limits import Limits
from cappuccino_ml.trading.orders import Side

_CONTEXT = Context(prec=50)  # 1e22 units in steps of 1e-9 still divide exactly


def on_grid(quantity: Decimal, *, side: Side, quote: Quote) -> tuple[Decimal, str]:
    """(quantity the venue takes, ""), rounded down, or (0, why it takes none)."""
    with localcontext(_CONTEXT):
        size = _floor(min(quantity, quote.max_notional / quote.price), quote.increment)
        if size <= 0:
            return Decimal(0), f"nothing is left of {quantity} in steps of {quote.increment:f}"
        if size < quote.min_quantity:
            return Decimal(0), f"{size:f} is below the venue's minimum of {quote.min_quantity:f}"
        value = size * quote.price
        if side == "buy" and value < quote.min_buy_notional:
            return Decimal(0), f"a buy of {value:.2f} is below the venue's minimum of {quote.min_buy_notional:f}"
    return size, ""


def lots(units: float, increment: float) -> Decimal:
    """`units`, a float multiple of `increment`, as an exact decimal."""
    return round(units / increment) * Decimal(repr(increment))


def _floor(quantity: Decimal, increment: Decimal) -> Decimal:
    return (quantity / increment).to_integral_value(ROUND_DOWN) * increment if increment else quantity


def no_entries(panel: BarPanel, *, orders: NDArray[np.float64], journal: Journal, limits: Limits, equity: float) -> str:
    """Why nothing may be bought at the panel's last bar; "" if buys may go out. Exits are always allowed.

    Args:
        panel: closed bars, the newest last.
        orders: [N] signed base units as decided.
        journal: mode, the day's first equity and traded notional; a loss beyond the limit is latched there.
        limits: of the account.
        equity: at the newest close, quote currency.
    """
    state = journal.state
    loss = 1 - equity / state.day_equity if state.day_equity > 0 else 0.0
    if loss >= limits.daily_loss and journal.mode == Mode.ACTIVE and limits.daily_loss < 1:
        reason = f"{loss:.1%} of the day's first equity is lost, the limit is {limits.daily_loss:.1%}"
        journal.record("reduce", {"reason": reason, "until": _midnight_after(state.day).isoformat()})
        journal.alarm(f"no entries until midnight: {reason}")
    if not (orders > 0).any():
        return ""
    if journal.mode == Mode.REDUCING:
        return state.reducing
    filled = np.logical_and.accumulate(panel.is_filled[::-1], axis=0).sum(axis=0)  # [N], newest bars in a row
    stale = [
        symbol for symbol, bars in zip(panel.universe.symbols, filled, strict=True) if bars > limits.max_filled_bars
    ]
    if stale:
        reason = f"{', '.join(stale)} has no newest bar, and entries need one of every symbol"
        journal.alarm(f"no entries: {reason}")
        return reason
    buys = float((np.maximum(orders, 0.0) * panel.close[-1]).sum())
    turnover = (state.day_traded + buys) / equity
    if turnover > limits.daily_turnover:
        reason = f"the day's turnover would be {turnover:.1f} times equity, the limit is {limits.daily_turnover:g}"
        journal.alarm(f"no entries: {reason}")
        return reason
    return ""


def _midnight_after(day: date | None) -> datetime:
    assert day is not None  # the bar was marked
    return datetime.combine(day, time(), tzinfo=UTC) + timedelta(days=1)
