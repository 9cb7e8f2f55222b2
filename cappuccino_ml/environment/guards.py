"""Limits that hold in training, backtest and live trading, by the same code."""

from pydantic import Field

from cappuccino_ml.core import Settings


class Guards(Settings):
    """Risk limits and the size of one decision. Weights are shares of equity."""

    max_step: float = Field(0.1, gt=0, le=1, description="largest change of one ticker's weight in one decision")
    dead_band: float = Field(0.02, ge=0, lt=1, description="wished changes of weight below this are not traded")
    min_cash: float = Field(0.02, ge=0, lt=1, description="buys leave at least this share of equity in cash")
    max_weight: float = Field(
        0.5, gt=0, le=1, description="buys stop at this weight per ticker; drift above it is not sold"
    )
    max_drawdown: float = Field(
        0.5, gt=0, lt=1, description="share of peak equity that may be lost before everything is sold, for good"
    )
