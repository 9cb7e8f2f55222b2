"""Limits of the live account: beyond the model's own guards, what stops entries, a tick or the whole trader."""

import math

from pydantic import Field

from cappuccino_ml.core import Settings


class Limits(Settings):
    """Read by the trader only. What the model was trained with (weights, stops, drawdown) is in its `Guards`."""

    max_age_bars: float = Field(0.5, gt=0, description="a bar that closed longer ago, in bars, is stale: no orders")
    max_filled_bars: int = Field(
        0, ge=0, description="newest closed bars of any symbol that may be filled in before entries stop"
    )
    daily_loss: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the day's first equity that may be lost before entries stop till midnight",
    )
    daily_turnover: float = Field(
        10.0, gt=0, description="traded notional of one UTC day over equity beyond which entries stop till midnight"
    )
    max_skew_s: float = Field(10.0, gt=0, description="our clock may differ this much from the broker's")
    coin_fee_bps: float = Field(
        25.0, ge=0, description="fee that a broker may take out of the coin bought without saying so, basis points"
    )
    deadline_s: float = Field(120.0, gt=0, description="a tick sends nothing and waits for nothing after this")
    stop_s: float = Field(20.0, gt=0, description="asked to stop, the trader waits for open orders for so long")


# A replay compares with a backtest, which knows none of these.
NO_LIMITS = Limits(max_filled_bars=10**9, daily_loss=1.0, daily_turnover=math.inf)
