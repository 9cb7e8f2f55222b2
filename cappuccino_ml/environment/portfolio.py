"""The accounting of one decision, batched: decide at close(t), fill at open(t+1), mark at close(t+1).

This is the timing contract, written once. Training steps it for thousands of books, the backtest for one, and the
trader calls `decide` and `shrink_buys` with what its broker reports, so that all three size orders alike.
Money is float64. B books, N tickers. Masks are 0.0 and 1.0 rather than bool: that is several times faster.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cappuccino_ml.environment.costs import Costs, broadcast
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.positions import CPU, Positions

_ROUNDING = 1e-9  # share of an increment: 0.3 / 0.1 must count as three lots
_TINY = 1e-300  # keeps 0 / 0 away
_EVERYTHING = 3.0  # a step down of more than any weight


@dataclass
class Book:
    """What B accounts hold and remember."""

    cash: Tensor  # [B], quote currency
    units: Tensor  # [B, N], base units
    peak: Tensor  # [B], highest equity at a close
    worst: Tensor  # [B], lowest equity at a close as a share of the peak before it
    halted: Tensor  # [B], bool: the drawdown halt, latched
    positions: Positions
    remembers: bool = True  # whether `positions` is kept; a third of the time, for nothing where no guard asks

    @classmethod
    def fresh(
        cls, *, capital: float, books: int, tickers: int, remembers: bool = True, device: torch.device = CPU
    ) -> "Book":
        """`books` accounts with `capital` in cash and nothing else; see `Guards.need_memory` for `remembers`."""
        cash = torch.full((books,), capital, dtype=torch.float64, device=device)
        return cls(
            cash=cash,
            units=torch.zeros(tickers, books, dtype=torch.float64, device=device).t(),
            peak=cash.clone(),
            worst=torch.ones_like(cash),
            halted=torch.zeros(books, dtype=torch.bool, device=device),
            positions=Positions.none(books=books, tickers=tickers, device=device),
            remembers=remembers,
        )

    def reopen(self, books: Tensor, *, capital: float, share: Tensor, close: Tensor) -> None:
        """Replace `books` [B] (bool) by fresh accounts worth `capital` that hold weights `share` [B, N] at `close`."""
        one = books.unsqueeze(-1)
        self.cash = torch.where(books, capital * (1 - total(share)), self.cash)
        self.units = torch.where(one, share * capital / close, self.units)
        self.peak = torch.where(books, capital, self.peak)
        self.worst = torch.where(books, 1.0, self.worst)
        self.halted = self.halted & ~books
        if self.remembers:
            self.positions.forget(books)
            self.positions.enter(one & (self.units > 0), close)

    def equity(self, price: Tensor) -> Tensor:
        """Cash plus holdings at `price` ([N] or [B, N]) -> [B]."""
        return self.cash + total(self.units * price)

    def entries(self, price: Tensor) -> Tensor:
        """The scale-free portfolio part of the state: cash share, then weights -> [B, 1 + N], float32."""
        value = self.units * price
        equity = self.cash + total(value)
        entries = torch.empty(len(equity), 1 + value.shape[1], device=value.device)
        entries[:, 0] = self.cash / equity
        entries[:, 1:] = value / equity.unsqueeze(-1)
        return entries

    def mark(self, price: Tensor, guards: Guards) -> Tensor:
        """Value the book at a close, raise the peaks, latch stops and the drawdown halt -> equity [B]."""
        equity = self.equity(price)
        self.peak = torch.maximum(self.peak, equity)
        self.worst = torch.minimum(self.worst, equity / self.peak)
        self.halted = self.halted | (equity <= self.peak * (1 - guards.max_drawdown))
        if self.remembers:
            self.positions.mark(self.units, price, guards)
        return equity


def decide(book: Book, action: Tensor, close: Tensor, *, guards: Guards, costs: Costs) -> Tensor:
    """Turn actions into orders, with nothing known beyond close(t).

    Args:
        book: the accounts as they stand at close(t), marked.
        action: [B, N], wished change of weight in units of `guards.max_step`; clipped to [-1, 1].
        close: [N] or [B, N], closing prices of bar t.
        guards: which wishes count; those with `need_memory` want a book that remembers.
        costs: fees and lots.

    Returns:
        [B, N] signed base units, negative to sell. A halted book sells everything and a stopped position is sold
        out, whatever `action`, `max_step` and `min_holding_bars` say.
    """
    positions = book.positions
    value = book.units * close
    equity = book.cash + total(value)
    scale = equity.unsqueeze(-1)
    weight = value / scale

    step = torch.empty_like(book.units).copy_(action).clamp_(-1, 1).mul_(guards.max_step)
    # Zero strictly inside the dead band; hardshrink takes its edges, too, hence the next smaller number.
    step = torch.nn.functional.hardshrink(step, math.nextafter(guards.dead_band, -1.0))
    up, down = step.clamp(min=0), step.neg_().clamp_(min=0)
    if guards.cooldown_bars:
        up.mul_(1 - torch.sign(positions.cooldown))
    if guards.min_holding_bars > 1:
        down.mul_((positions.bars - (guards.min_holding_bars - 1)).clamp_(0, 1))
    forced = book.halted.double().unsqueeze(-1)
    if book.remembers:
        forced = torch.maximum(positions.stopped, forced)
    up.mul_(1 - forced)
    down.add_(forced.mul_(_EVERYTHING))

    sell = _worth_sending(_lots((down * scale).div_(close), costs), close, costs)
    sell = torch.where(weight <= down, book.units, sell)

    buy_value = torch.minimum(up, (guards.max_weight - weight).clamp_(min=0)).mul_(scale)
    proceeds = total(sell * close) * costs.sell_factor
    budget = (book.cash + proceeds - guards.min_cash * equity).clamp_(min=0)
    needed = total(buy_value) * costs.buy_factor
    buy_value.mul_((budget / needed.clamp_(min=_TINY)).clamp_(max=1.0).unsqueeze(-1))
    return _worth_sending(_lots(buy_value.div_(close), costs), close, costs).sub_(sell)


def shrink_buys(buy: Tensor, price: Tensor, cash: Tensor, costs: Costs) -> Tensor:
    """Buys [B, N] that `cash` [B] can pay at `price`, all shrunk by the same share: no favour by index."""
    needed = total(buy * price) * costs.buy_factor
    share = (cash.clamp(min=0) / needed.clamp_(min=_TINY)).clamp_(max=1.0).unsqueeze(-1)
    return torch.where(share < 1.0, _lots(buy * share, costs), buy)


def settle(book: Book, orders: Tensor, price: Tensor, tradable: Tensor, *, costs: Costs) -> Tensor:
    """Fill `orders` at open(t+1): sells first, then buys from the cash at hand. Changes `book`.

    Args:
        book: the accounts that sent the orders.
        orders: [B, N] signed base units from `decide`.
        price: [N] or [B, N], opening prices of bar t+1.
        tradable: same shape as `price`, False (or 0.0) where bar t+1 was filled in rather than traded: no order
            fills there.
        costs: fees and lots.

    Returns:
        [B, N] signed base units that were filled. Of a buy's, a fee in coin has still to be taken.
    """
    orders = orders * tradable
    sell = torch.minimum((-orders).clamp_(min=0), book.units)
    cash = book.cash + total(sell * price) * costs.sell_factor
    buy = shrink_buys(orders.clamp_(min=0), price, cash, costs)
    # The last cent: rounding in the division above must not leave a debt of 1e-12.
    book.cash = (cash - total(buy * price) * costs.buy_factor).clamp_(min=0)
    coins = buy * costs.coin_factor if costs.fee_in_coin else buy
    book.units = (book.units - sell).add_(coins)
    if book.remembers:
        book.positions.bought(coins, book.units, price * costs.slipped_buy)
    return buy - sell


def total(x: Tensor) -> Tensor:
    """Sum over tickers, [B, N] -> [B], always in the same order: a book alone and one of many agree to the last bit."""
    columns = x.unbind(-1)
    tail = len(columns) - len(columns) % 4
    first, *others = columns[tail:] + columns[:tail]
    result = first + others[0] if others else first.clone()
    for column in others[1:]:
        result.add_(column)
    return result


def _worth_sending(units: Tensor, close: Tensor, costs: Costs) -> Tensor:
    """`units`, zero where they are worth less than the minimum notional."""
    least = broadcast(costs.min_notional, tickers=units.shape[1], device=units.device)
    return (units * close).ge_(least).mul_(units)


def _lots(units: Tensor, costs: Costs) -> Tensor:
    increment = broadcast(costs.increment, tickers=units.shape[1], device=units.device)
    return (units / increment).add_(_ROUNDING).floor_().mul_(increment)
