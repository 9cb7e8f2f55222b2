"""What an agent is paid per bar: scale-free log-return of equity, optionally against equal weight, less penalties."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from cappuccino_ml.core import Settings
from cappuccino_ml.environment.portfolio import total


class Reward(Settings):
    """All terms are in log-return per bar, so that they add up."""

    benchmark: Literal["none", "equal_weight"] = Field("none", description="whose log-return is subtracted")
    turnover_penalty: float = Field(0.0, ge=0, description="log-return charged per unit of turnover, beside the fees")
    concentration_penalty: float = Field(
        0.0, ge=0, description="log-return charged per unit of the weights' sum of squares"
    )
    drawdown_penalty: float = Field(
        0.0,
        ge=0,
        description="log-return charged per unit of log-return by which a bar deepens the episode's worst drawdown",
    )


def reward(
    *,
    before: Tensor,
    gain: Tensor,
    turnover: Tensor,
    weights: Tensor,
    deepened: Tensor,
    benchmark: Tensor,
    settings: Reward,
) -> Tensor:
    """Reward of one bar, ticker by ticker: prices do not care what we do, so each ticker's gain is its own.

    Args:
        before: equity [B] at close(t).
        gain: what each ticker added to equity from close(t) to close(t + 1), net of its costs: [B, N], quote currency.
        turnover: traded notional over equity [B, N].
        weights: [B, N] at close(t + 1).
        deepened: [B], log-return by which the worst drawdown became worse. The tickers that lost pay for it, by loss.
        benchmark: equal weight's log-return [B] over the same bar.
        settings: which terms count.

    Returns:
        [B, N], float64. Its sum over tickers is the log-return of equity, less benchmark and penalties.
    """
    paid = gain / before.unsqueeze(-1)
    simple = total(paid)
    # log(1 + x) / x, whose limit at 0 is 1, turns shares of the simple return into shares of the log-return.
    paid.mul_(torch.where(simple.abs() < 1e-9, 1.0, torch.log1p(simple) / simple).unsqueeze(-1))
    if settings.drawdown_penalty:
        lost = (-paid).clamp_(min=0)
        charge = settings.drawdown_penalty * deepened / total(lost).clamp_(min=1e-300)
        paid.sub_(lost.mul_(charge.unsqueeze(-1)))
    if settings.benchmark == "equal_weight":
        paid.sub_(benchmark.unsqueeze(-1) / paid.shape[-1])
    if settings.turnover_penalty:
        paid.sub_(settings.turnover_penalty * turnover)
    if settings.concentration_penalty:
        paid.sub_(settings.concentration_penalty * weights.square())
    return paid
