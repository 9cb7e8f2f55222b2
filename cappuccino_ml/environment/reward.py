"""What an agent is paid per bar: scale-free log-return of equity, optionally against equal weight, less penalties."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from cappuccino_ml.core import Settings


class Reward(Settings):
    """All terms are in log-return per bar, so that they add up."""

    benchmark: Literal["none", "equal_weight"] = Field("none", description="whose log-return is subtracted")
    turnover_penalty: float = Field(0.0, ge=0, description="log-return charged per unit of turnover, beside the fees")
    concentration_penalty: float = Field(0.0, ge=0, description="log-return charged per unit of the weights' sum of squares")


def reward(
    *,
    before: Tensor,
    after: Tensor,
    turnover: Tensor,
    weights: Tensor,
    benchmark: Tensor,
    settings: Reward,
) -> Tensor:
    """Reward of one bar.

    Args:
        before: equity [B] at close(t).
        after: equity [B] at close(t + 1).
        turnover: traded notional over equity [B].
        weights: [B, N] at close(t + 1).
        benchmark: equal weight's log-return [B] over the same bar.
        settings: which terms count.

    Returns:
        [B], float64.
    """
    paid = torch.log(after / before)
    if settings.benchmark == "equal_weight":
        paid = paid - benchmark
    return paid - settings.turnover_penalty * turnover - settings.concentration_penalty * weights.square().sum(-1)
