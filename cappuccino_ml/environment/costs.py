"""What a trade costs and which sizes a venue accepts. Read by training, backtest and the trader alike."""

from pydantic import Field

from cappuccino_ml.core import Settings


class Costs(Settings):
    """Costs and lot rules of the venue."""

    fee_bps: float = Field(25.0, ge=0, description="fee per side, basis points of the traded notional")
    slippage_bps: float = Field(0.0, ge=0, description="price moves against us by this much, basis points")
    min_notional: float = Field(
        10.0, ge=0, description="smaller orders are not sent, quote currency; full exits are exempt"
    )
    increment: float = Field(1e-6, gt=0, description="quantities are multiples of this, base units")

    @property
    def buy_factor(self) -> float:
        """Cash paid per unit of notional bought at the quoted price."""
        return (1 + self.slippage_bps / 1e4) * (1 + self.fee_bps / 1e4)

    @property
    def sell_factor(self) -> float:
        """Cash received per unit of notional sold at the quoted price."""
        return (1 - self.slippage_bps / 1e4) * (1 - self.fee_bps / 1e4)
