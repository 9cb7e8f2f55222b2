"""A trading session against the backtest of the same bars: equal orders, causes, the gap in return."""

from collections.abc import Sequence

import numpy as np

from cappuccino_ml.core import Settings, TradingError
from cappuccino_ml.environment import Backtest, Costs, per_ticker
from cappuccino_ml.metrics import annual_sharpe, max_drawdown, sharpe_standard_error, total_return
from cappuccino_ml.trading.deviations import ActAgain, Deviation, deviations
from cappuccino_ml.trading.ledger import Row
from cappuccino_ml.trading.replay import Session, SizeAgain

_ONE_LOT = 1.5  # lots: two float64 accounts may round one order to neighbouring lots


class Comparison(Settings):
    """Session beside backtest. Gaps are session minus backtest."""

    label: str  # "simulated", "rehearsal", ...: what kind of session this was
    bars: int
    hours: float
    orders_equal: bool  # every order within one increment
    differing_bars: int
    deviations: tuple[Deviation, ...]
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

    @property
    def unexplained(self) -> int:
        """Orders unlike the backtest's that neither the ledger nor the book explains."""
        return sum(not one.explained for one in self.deviations)


def compare(
    session: Session,
    backtest: Backtest,
    *,
    costs: Costs,
    label: str,
    rows: Sequence[Row],
    act_again: ActAgain,
    size_again: SizeAgain,
) -> Comparison:
    """Compare order by order and as returns.

    Args:
        session: what the trader did.
        backtest: the environment's account of the same bars.
        costs: give the size of one increment.
        label: passed through to the report.
        rows: of the session's ledger, to explain orders that differ.
        act_again: the research path's action for (row, portfolio entries), to the same end.
        size_again: its orders for (book, row, action), to the same end.

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
    turnover = float(session.turnover.sum())
    gap = total_return(session.returns) - total_return(backtest.returns)
    return Comparison(
        label=label,
        bars=len(differs),
        hours=len(differs) * session.bar.total_seconds() / 3600,
        orders_equal=not differs.any(),
        differing_bars=int(differs.any(-1).sum()),
        deviations=deviations(
            session,
            backtest,
            differs=differs,
            lots=_ONE_LOT * increments,
            rows=rows,
            act_again=act_again,
            size_again=size_again,
        ),
        fills=int(np.count_nonzero(session.orders)),
        backtest_fills=int(np.count_nonzero(backtest.orders)),
        turnover=turnover,
        total_return=total_return(session.returns),
        return_gap=gap,
        gap_bps_per_turnover=gap * 1e4 / turnover if turnover > 0 else 0.0,
        max_drawdown=max_drawdown(session.returns),
        sharpe=annual_sharpe(session.returns, session.bars_per_year),
        sharpe_error=sharpe_standard_error(session.returns, session.bars_per_year),
        backtest_sharpe=annual_sharpe(backtest.returns, session.bars_per_year),
    )
