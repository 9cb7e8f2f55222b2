"""What a trade costs and which sizes a venue accepts. Read by training, backtest and the trader alike."""

import math
from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cappuccino_ml.core import ConfigurationError, Settings

PerTicker = float | tuple[float, ...]
_NotNegative = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]


class Costs(Settings):
    """Costs and lot rules of the venue. A rule that is given as a list has one number per ticker, in their order."""

    fee_bps: float = Field(25.0, ge=0, lt=10_000, description="fee per side, basis points of the traded notional")
    fee_in_coin: bool = Field(
        False, description="a buy's fee is taken out of the coins bought, as Alpaca does; a sell's always in quote"
    )
    slippage_bps: float = Field(0.0, ge=0, description="price moves against us by this much, basis points")
    min_notional: _NotNegative | tuple[_NotNegative, ...] = Field(
        10.0, description="smaller orders are not sent, quote currency; full exits are exempt"
    )
    increment: _Positive | tuple[_Positive, ...] = Field(
        1e-6, description="quantities are multiples of this, base units"
    )

    @property
    def buy_factor(self) -> float:
        """Cash paid per unit of notional bought at the quoted price."""
        return self.slipped_buy * (1.0 if self.fee_in_coin else 1 + self.fee_bps / 1e4)

    @property
    def sell_factor(self) -> float:
        """Cash received per unit of notional sold at the quoted price."""
        return (1 - self.slippage_bps / 1e4) * (1 - self.fee_bps / 1e4)

    @property
    def coin_factor(self) -> float:
        """Coins received per coin bought."""
        return 1 - self.fee_bps / 1e4 if self.fee_in_coin else 1.0

    @property
    def slipped_buy(self) -> float:
        """Price paid for a coin over the quoted price, the fee apart."""
        return 1 + self.slippage_bps / 1e4

    @property
    def round_trip(self) -> float:
        """Log-return lost by buying and selling at once."""
        return math.log(self.buy_factor / self.coin_factor / self.sell_factor)


def per_ticker(rule: PerTicker, *, tickers: int) -> tuple[float, ...]:
    """A lot rule spelled out for `tickers` tickers.

    Raises:
        ConfigurationError: it names another number of tickers.
    """
    if not isinstance(rule, tuple):
        return (rule,) * tickers
    if len(rule) != tickers:
        raise ConfigurationError(
            f"costs give {len(rule)} numbers for {tickers} tickers: {rule}; give one number per ticker, or one for all"
        )
    return rule


def broadcast(rule: PerTicker, *, tickers: int, device: torch.device) -> float | Tensor:
    """A lot rule as a number, or as a tensor [N] of one number per ticker; see `per_ticker` for the error."""
    return _tensor(per_ticker(rule, tickers=tickers), device) if isinstance(rule, tuple) else rule


@lru_cache(maxsize=64)
def _tensor(rule: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(rule, dtype=torch.float64, device=device)
