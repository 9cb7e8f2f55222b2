"""The accounting of one decision, batched: decide at close(t), fill at open(t+1), mark at close(t+1).

This is the timing contract, written once. Training steps it for thousands of books, the backtest for one, and the
trader calls `decide` and `shrink_buys` with what its broker reports, so that all three size orders alike.
Money is float64. B books, N tickers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards

_ROUNDING = 1e-9  # share of an increment: 0.3 / 0.1 must count as three lots


@dataclass
class Book:
    """What B accounts hold: `cash` [B] (quote), `units` [B, N] (base), `peak` equity [B], `halted` [B] (latched)."""

    cash: Tensor
    units: Tensor
    peak: Tensor
    halted: Tensor

    @classmethod
    def fresh(cls, *, capital: float, books: int, tickers: int) -> "Book":
        """`books` accounts with `capital` in cash and nothing else."""
        cash = torch.full((books,), capital, dtype=torch.float64)
        return cls(
            cash=cash,
            units=torch.zeros(books, tickers, dtype=torch.float64),
            peak=cash.clone(),
            halted=torch.zeros(books, dtype=torch.bool),
        )

    def equity(self, price: Tensor) -> Tensor:
        """Cash plus holdings at `price` ([N] or [B, N]) -> [B]."""
        return self.cash + (self.units * price).sum(-1)

    def entries(self, price: Tensor) -> Tensor:
        """The scale-free portfolio part of the state: cash share, then weights -> [B, 1 + N], float32."""
        value = self.units * price
        equity = (self.cash + value.sum(-1)).unsqueeze(-1)
        return torch.cat([self.cash.unsqueeze(-1), value], dim=-1).div(equity).float()

    def mark(self, price: Tensor, guards: Guards) -> Tensor:
        """Value the book at a close, raise the peak, latch the drawdown halt -> equity [B]."""
        equity = self.equity(price)
        self.peak = torch.maximum(self.peak, equity)
        self.halted = self.halted | (equity <= self.peak * (1 - guards.max_drawdown))
        return equity


def decide(book: Book, action: Tensor, close: Tensor, *, guards: Guards, costs: Costs) -> Tensor:
    """Turn actions into orders, with nothing known beyond close(t).

    Args:
        book: the accounts as they stand at close(t).
        action: [B, N], wished change of weight in units of `guards.max_step`; clipped to [-1, 1].
        close: [N] or [B, N], closing prices of bar t.

    Returns:
        [B, N] signed base units, negative to sell. A halted book sells everything, whatever `action` and `max_step`.
    """
    value = book.units * close
    equity = (book.cash + value.sum(-1)).unsqueeze(-1)
    weight = value / equity
    step = action.to(torch.float64).clamp(-1, 1) * guards.max_step
    step = torch.where(step.abs() < guards.dead_band, 0.0, step)
    step = torch.where(book.halted.unsqueeze(-1), -torch.inf, step)

    leaves = weight + step <= 0
    sell = torch.where(leaves, book.units, (-step).clamp(min=0) * equity / close)
    sell = torch.where(leaves, sell, _lots(sell, costs))
    sell = torch.where(leaves | (sell * close >= costs.min_notional), sell, 0.0)
    sell = torch.where(step < 0, sell, 0.0)

    room = (guards.max_weight - weight).clamp(min=0)
    buy_value = torch.minimum(step.clamp(min=0), room) * equity
    proceeds = (sell * close).sum(-1, keepdim=True) * costs.sell_factor
    budget = (book.cash.unsqueeze(-1) + proceeds - guards.min_cash * equity).clamp(min=0)
    needed = buy_value.sum(-1, keepdim=True) * costs.buy_factor
    buy_value = buy_value * (budget / needed.clamp(min=1e-300)).clamp(max=1.0)
    buy = _lots(buy_value / close, costs)
    buy = torch.where(buy * close >= costs.min_notional, buy, 0.0)
    return buy - sell


def shrink_buys(buy: Tensor, price: Tensor, cash: Tensor, costs: Costs) -> Tensor:
    """Buys [B, N] that `cash` [B] can pay at `price`, all shrunk by the same share: no favour by index."""
    needed = (buy * price).sum(-1, keepdim=True) * costs.buy_factor
    share = (cash.clamp(min=0).unsqueeze(-1) / needed.clamp(min=1e-300)).clamp(max=1.0)
    return torch.where(share < 1.0, _lots(buy * share, costs), buy)


def settle(book: Book, orders: Tensor, price: Tensor, tradable: Tensor, *, costs: Costs) -> Tensor:
    """Fill `orders` at open(t+1): sells first, then buys from the cash at hand. Changes `book`.

    Args:
        orders: [B, N] signed base units from `decide`.
        price: [N] or [B, N], opening prices of bar t+1.
        tradable: same shape as `price`, False where bar t+1 was filled in rather than traded: no order fills there.

    Returns:
        [B, N] signed base units that were filled.
    """
    orders = torch.where(tradable, orders, 0.0)
    sell = torch.minimum((-orders).clamp(min=0), book.units)
    cash = book.cash + (sell * price).sum(-1) * costs.sell_factor
    buy = shrink_buys(orders.clamp(min=0), price, cash, costs)
    # The last cent: rounding in the division above must not leave a debt of 1e-12.
    book.cash = (cash - (buy * price).sum(-1) * costs.buy_factor).clamp(min=0)
    book.units = book.units - sell + buy
    return buy - sell


def _lots(units: Tensor, costs: Costs) -> Tensor:
    return torch.floor(units / costs.increment + _ROUNDING) * costs.increment
