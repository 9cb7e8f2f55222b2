"""One bar of B books: decide, settle, mark and pay, the way every environment does it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cappuccino_ml.environment.costs import Costs
from cappuccino_ml.environment.guards import Guards
from cappuccino_ml.environment.portfolio import Book, decide, settle, total
from cappuccino_ml.environment.reward import Reward, reward


@dataclass(frozen=True)
class Bar:
    """The market from close(t) to close(t + 1) as B books meet it: [B, N], or [N] if it is the same for all."""

    close: Tensor  # close(t)
    opening: Tensor  # open(t + 1)
    tradable: Tensor  # whether bar t + 1 was traded, bool or 0.0 and 1.0
    after_close: Tensor  # close(t + 1)
    benchmark: Tensor  # [B], equal weight's log-return from close(t) to close(t + 1)


@dataclass(frozen=True)
class Outcome:
    """What a bar did to B books."""

    reward: Tensor  # [B, N], float64, log-return units; a book's reward is the sum over tickers
    turnover: Tensor  # [B, N], traded notional over equity at close(t)
    equity: Tensor  # [B], at close(t + 1)


def play(book: Book, action: Tensor, bar: Bar, *, guards: Guards, costs: Costs, terms: Reward) -> Outcome:
    """Decide at close(t), fill at open(t + 1), mark at close(t + 1). Changes `book`; `action` [B, N] must be finite."""
    held, worst = book.units, book.worst
    value = held * bar.close
    before = book.cash + total(value)
    orders = decide(book, action, bar.close, guards=guards, costs=costs)
    filled = settle(book, orders, bar.opening, bar.tradable, costs=costs)
    after = book.mark(bar.after_close, guards)
    notional = filled.mul_(bar.opening)
    after_value = book.units * bar.after_close
    paid_out = notional.clamp(min=0).mul_(costs.buy_factor).sub_((-notional).clamp_(min=0).mul_(costs.sell_factor))
    turnover = notional.abs_().div_(before.unsqueeze(-1))
    paid = reward(
        before=before,
        gain=(after_value - value).sub_(paid_out),
        turnover=turnover,
        weights=after_value / after.unsqueeze(-1) if terms.concentration_penalty else after_value,
        deepened=torch.log(worst / book.worst) if terms.drawdown_penalty else worst,
        benchmark=bar.benchmark,
        settings=terms,
    )
    return Outcome(reward=paid, turnover=turnover, equity=after)
