"""Limits that hold in training, backtest and live trading, by the same code."""

from pydantic import Field

from cappuccino_ml.core import Settings


class Guards(Settings):
    """Risk limits and the size of one decision. Weights are shares of equity; bars are closes.

    All are judged at close(t) and traded at open(t + 1). Stops and the drawdown halt sell whatever the policy
    wishes, `max_step`, `dead_band` and `min_holding_bars` say.
    """

    max_step: float = Field(0.1, gt=0, le=1, description="largest change of one ticker's weight in one decision")
    dead_band: float = Field(0.02, ge=0, lt=1, description="wished changes of weight below this are not traded")
    min_cash: float = Field(0.02, ge=0, lt=1, description="buys leave at least this share of equity in cash")
    max_weight: float = Field(
        0.5, gt=0, le=1, description="buys stop at this weight per ticker; drift above it is not sold"
    )
    max_drawdown: float = Field(
        0.5, gt=0, lt=1, description="share of peak equity that may be lost before everything is sold, for good"
    )
    stop_loss: float = Field(
        0.0, ge=0, lt=1, description="a position this share below its average entry price is sold out, once; 0: off"
    )
    trailing_stop: float = Field(
        0.0, ge=0, lt=1, description="a position this share below its highest close is sold out, once; 0: off"
    )
    min_holding_bars: int = Field(
        0, ge=0, description="the policy may not sell a position opened fewer bars ago; 0 and 1: off"
    )
    cooldown_bars: int = Field(
        0, ge=0, description="after a position is sold out, by whom ever, it is not bought at so many closes; 0: off"
    )

    @property
    def need_memory(self) -> bool:
        """Whether any of them goes by what a book remembers of its positions."""
        return bool(self.stop_loss or self.trailing_stop or self.min_holding_bars > 1 or self.cooldown_bars)
