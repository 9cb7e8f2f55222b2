"""A trading session against the backtest of the same bars: equal orders, the gap in return, and go or no-go."""

from typing import Literal

import numpy as np

from cappuccino_ml.core import Settings, TradingError
from cappuccino_ml.environment import Backtest, Costs, per_ticker
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, sharpe_standard_error, total_return
from cappuccino_ml.trading.replay import Session

MAX_GAP_BPS_PER_TURNOVER = 5.0
MIN_FILLS = 10
_ONE_LOT = 1.5  # lots: two float64 accounts may round one order to neighbouring lots
_SAME_ACTION = 1e-6


class Comparison(Settings):
    """What a person needs to let a model go on, or not. Gaps are session minus backtest."""

    label: str  # "simulated", "rehearsal", ...: what kind of session this was
    bars: int
    orders_equal: bool  # every order within one increment
    differing_bars: int
    first_difference: str | None
    fills: int
    backtest_fills: int
    turnover: float  # sum of traded notional over equity
    total_return: float
    return_gap: float
    gap_bps_per_turnover: float
    max_drawdown: float
    sharpe: float  # annual
    sharpe_error: float
    backtest_sharpe: float
    recommendation: Literal["go", "no-go", "extend"]
    reasons: tuple[str, ...]


def compare(session: Session, backtest: Backtest, *, costs: Costs, label: str) -> Comparison:
    """Compare order by order and as returns.

    Args:
        session: what the trader did.
        backtest: the environment's account of the same bars.
        costs: give the size of one increment.
        label: passed through to the report.

    Raises:
        TradingError: the two do not cover the same bars.
    """
    if session.first != backtest.first or session.orders.shape != backtest.orders.shape:
        raise TradingError(
            f"session covers {session.orders.shape} from row {session.first}, "
            f"backtest {backtest.orders.shape} from row {backtest.first}; compare the same bars."
        )
    increments = np.array(per_ticker(costs.increment, tickers=session.orders.shape[1]))
    differs = np.abs(session.orders - backtest.orders) > _ONE_LOT * increments  # [K, N]
    bars = np.flatnonzero(differs.any(-1))
    fills = int(np.count_nonzero(session.orders))
    turnover = float(session.turnover.sum())
    gap = total_return(session.returns) - total_return(backtest.returns)
    per_turnover = gap * 1e4 / turnover if turnover > 0 else 0.0
    first = _explain(session, backtest, row=int(bars[0]), differs=differs) if bars.size else None
    reasons = []
    if first is not None:
        reasons.append(f"{bars.size} of {len(differs)} bars have orders unlike the backtest's; the first: {first}")
    if abs(per_turnover) > MAX_GAP_BPS_PER_TURNOVER:
        reasons.append(f"return gap {per_turnover:+.2f} bps per unit of turnover, limit {MAX_GAP_BPS_PER_TURNOVER:g}")
    recommendation: Literal["go", "no-go", "extend"] = "no-go" if reasons else "go"
    if recommendation == "go" and fills < MIN_FILLS:
        recommendation = "extend"
        reasons.append(f"{fills} fills, {MIN_FILLS} are needed")
    return Comparison(
        label=label,
        bars=len(differs),
        orders_equal=not bars.size,
        differing_bars=int(bars.size),
        first_difference=first,
        fills=fills,
        backtest_fills=int(np.count_nonzero(backtest.orders)),
        turnover=turnover,
        total_return=total_return(session.returns),
        return_gap=gap,
        gap_bps_per_turnover=per_turnover,
        max_drawdown=max_drawdown(session.returns),
        sharpe=annual_sharpe(session.returns, session.bars_per_year),
        sharpe_error=sharpe_standard_error(session.returns, session.bars_per_year),
        backtest_sharpe=annual_sharpe(backtest.returns, session.bars_per_year),
        recommendation=recommendation,
        reasons=tuple(reasons),
    )


def _explain(
    session: Session, backtest: Backtest, *, row: int, differs: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> str:
    column = int(np.flatnonzero(differs[row])[0])
    ours, theirs = session.orders[row, column], backtest.orders[row, column]
    action, expected = session.actions[row, column], backtest.actions[row, column]
    if abs(action - expected) > _SAME_ACTION:
        cause = f"the model's action was {action:.6f}, not {expected:.6f}: features or holdings differed"
    elif abs(ours - session.decided[row, column]) > abs(theirs - session.decided[row, column]):
        cause = f"{session.decided[row, column]:.6f} was decided, so the broker filled less or another price"
    else:
        cause = "the same action was sized on another equity"
    when = np.datetime_as_string(session.timestamps[row], unit="m")
    return f"{when}Z {session.symbols[column]}: {ours:.6f} against {theirs:.6f}; {cause}"
