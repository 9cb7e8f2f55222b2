"""Books through a span of bars under the timing contract: what policies would have earned, net."""

from collections.abc import Callable, Sequence
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
    book: Book | None = None,
    lag: int = 0,
) -> Backtest:
    """Run one policy; see `backtests`."""
    (result,) = backtests(
        acts=[act],
        open_=open_,
        close=close,
        tradable=tradable,
        first=first,
        last=last,
        guards=guards,
        costs=costs,
        capital=capital,
        book=book,
        lag=lag,
    )
    return result


def backtests(
    *,
    acts: Sequence[Act],
    open_: Floats,
    close: Floats,
    tradable: NDArray[np.bool_],
    first: int,
    last: int,
    guards: Guards,
    costs: Costs,
    capital: float = 100_000.0,
    book: Book | None = None,
    lag: int = 0,
) -> list[Backtest]:
    """Run several policies side by side, each with a book of its own, over close(first) .. close(last - 1).

    Args:
        acts: each maps (t, portfolio entries [1 + N]) to an action [N] in [-1, 1], using bars <= t only.
        open_: opening prices [T, N]; `close` and `tradable` have the same shape.
        first: row of the first decision.
        last: row of the last mark, so K = last - first.
        guards: limits applied to every decision.
        costs: fees, slippage and lot rules.
        capital: cash at close(first), quote currency, and nothing else is held; unless there is a `book`.
        book: the accounts at close(first), marked there, one for each policy; changed.
        lag: extra bars between decision and fill, to stress a result. 0 is the contract: fill at open(t + 1).

    Raises:
        ValueError: the span is empty or leaves the data, or an action is not finite or not [N].
    """
    if not 0 <= first < last < len(close):
        raise ValueError(f"backtest of rows {first}..{last} does not fit data of {len(close)} rows")
    if lag < 0:
        raise ValueError(f"a lag of {lag} bars would fill orders before they are decided; give 0 or more")
    books, tickers, bars = len(acts), close.shape[1], last - first
    opens, closes, trades = torch.from_numpy(open_), torch.from_numpy(close), torch.from_numpy(tradable)
    book = book or Book.fresh(capital=capital, books=books, tickers=tickers, remembers=guards.need_memory)
    equity = torch.empty(bars + 1, books, dtype=torch.float64)
    equity[0] = book.equity(closes[first])
    orders, weights, actions = (torch.empty(bars, books, tickers, dtype=torch.float64) for _ in range(3))
    turnover = torch.empty(bars, books, dtype=torch.float64)
    waiting = [torch.zeros(books, tickers, dtype=torch.float64)] * lag
    for k, t in enumerate(range(first, last)):
        entries = book.entries(closes[t]).numpy()
        for index, act in enumerate(acts):
            actions[k, index] = _checked(act(t, entries[index]), t=t, tickers=tickers)
        waiting.append(decide(book, actions[k], closes[t], guards=guards, costs=costs))
        orders[k] = settle(book, waiting.pop(0), opens[t + 1], trades[t + 1], costs=costs)
        equity[k + 1] = book.mark(closes[t + 1], guards)
        weights[k] = book.units * closes[t + 1] / equity[k + 1].unsqueeze(-1)
        turnover[k] = (orders[k].abs() * opens[t + 1]).sum(-1) / equity[k]
    value = equity.numpy()
    return [
        Backtest(
            first=first,
            returns=value[1:, index] / value[:-1, index] - 1.0,
            equity=value[:, index].copy(),
            orders=orders[:, index].numpy().copy(),
            weights=weights[:, index].numpy().copy(),
            turnover=turnover[:, index].numpy().copy(),
            actions=actions[:, index].numpy().copy(),
        )
        for index in range(books)
    ]


def _checked(action: Floats, *, t: int, tickers: int) -> torch.Tensor:
    wanted = np.asarray(action, dtype=np.float64)
    if wanted.shape != (tickers,):
        raise ValueError(f"the policy's action at row {t} has shape {wanted.shape}, not ({tickers},)")
    if not np.isfinite(wanted).all():
        raise ValueError(f"the policy's action at row {t} is not finite: {wanted.tolist()}")
    return torch.from_numpy(wanted)
