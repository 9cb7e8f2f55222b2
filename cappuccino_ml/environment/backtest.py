"""One book through a span of bars under the timing contract: what a policy would have earned, net."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle

Floats = NDArray[np.float64]
Act = Callable[[int, NDArray[np.float32]], Floats]


@dataclass(frozen=True)
class Backtest:
    """K decided bars, N tickers. Row k was decided at close(first + k) and is marked at close(first + k + 1)."""

    first: int
    returns: Floats  # [K], net simple return of equity per bar
    equity: Floats  # [K + 1], quote currency
    orders: Floats  # [K, N], filled base units, negative sold
    weights: Floats  # [K, N], after marking
    turnover: Floats  # [K], traded notional over equity before the trade
    actions: Floats  # [K, N]


def backtest(
    *,
    act: Act,
    open_: Floats,
    close: Floats,
    tradable: NDArray[np.bool_],
    first: int,
    last: int,
    guards: Guards,
    costs: Costs,
    capital: float = 100_000.0,
    lag: int = 0,
) -> Backtest:
    """Run `act` over decisions at close(first) .. close(last - 1).

    Args:
        act: maps (t, portfolio entries [1 + N]) to an action [N] in [-1, 1], using bars <= t only.
        open_: opening prices [T, N]; `close` and `tradable` have the same shape.
        first: row of the first decision.
        last: row of the last mark, so K = last - first.
        guards: limits applied to every decision.
        costs: fees, slippage and lot rules.
        capital: cash at the start, quote currency.
        lag: extra bars between decision and fill, to stress a result. 0 is the contract: fill at open(t + 1).

    Raises:
        ValueError: the span is empty or leaves the data, or an action is not finite or not [N].
    """
    if not 0 <= first < last < len(close):
        raise ValueError(f"backtest of rows {first}..{last} does not fit data of {len(close)} rows")
    if lag < 0:
        raise ValueError(f"a lag of {lag} bars would fill orders before they are decided; give 0 or more")
    tickers = close.shape[1]
    opens, closes, trades = torch.from_numpy(open_), torch.from_numpy(close), torch.from_numpy(tradable)
    book = Book.fresh(capital=capital, books=1, tickers=tickers)
    equity = [capital]
    orders, weights, turnover, actions = [], [], [], []
    waiting = [torch.zeros(1, tickers, dtype=torch.float64)] * lag
    for t in range(first, last):
        action = torch.from_numpy(np.asarray(act(t, book.entries(closes[t])[0].numpy()), dtype=np.float64))
        if action.shape != (tickers,):
            raise ValueError(f"the policy's action at row {t} has shape {tuple(action.shape)}, not ({tickers},)")
        if not torch.isfinite(action).all():
            raise ValueError(f"the policy's action at row {t} is not finite: {action.tolist()}")
        waiting.append(decide(book, action.unsqueeze(0), closes[t], guards=guards, costs=costs))
        filled = settle(book, waiting.pop(0), opens[t + 1], trades[t + 1], costs=costs)
        traded = (filled.abs() * opens[t + 1]).sum()
        equity.append(float(book.mark(closes[t + 1], guards)))
        orders.append(filled[0])
        weights.append((book.units[0] * closes[t + 1]) / equity[-1])
        turnover.append(float(traded) / equity[-2])
        actions.append(action)
    value = np.asarray(equity)
    return Backtest(
        first=first,
        returns=value[1:] / value[:-1] - 1.0,
        equity=value,
        orders=torch.stack(orders).numpy(),
        weights=torch.stack(weights).numpy(),
        turnover=np.asarray(turnover),
        actions=torch.stack(actions).numpy(),
    )
