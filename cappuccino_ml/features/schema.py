"""What a feature array means: names, order, tickers, timeframe, definitions; and the hash of that."""

from pydantic import Field

from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import SchemaMismatch, Settings, digest

FEATURES: tuple[str, ...] = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "macd",
    "macd_signal",
    "macd_hist",
    "rsi",
    "cci",
    "dx",
    "atr_regime_shift",
    "range_breakout_volume",
    "trend_reacceleration",
)
FEATURES_VERSION = "1"  # raise it whenever a number in a feature array would change
WARM_UP_BARS = 300  # the recursive filters have forgotten a bar this far back to below 1e-6


class FeatureSchema(Settings):
    """The meaning of the last two axes of a feature array `[..., N, F]`. Order is part of it."""

    tickers: tuple[str, ...] = Field(min_length=1)
    quote: str
    timeframe: str
    features: tuple[str, ...] = FEATURES
    version: str = FEATURES_VERSION

    @classmethod
    def of(cls, universe: Universe) -> "FeatureSchema":
        """The schema that this code computes for `universe`."""
        return cls(tickers=universe.tickers, quote=universe.quote, timeframe=universe.timeframe)

    @property
    def universe(self) -> Universe:
        """The tickers, quote and timeframe alone."""
        return Universe(tickers=self.tickers, quote=self.quote, timeframe=self.timeframe)

    @property
    def symbols(self) -> tuple[str, ...]:
        """`("BTC-USD", ...)`, in order."""
        return self.universe.symbols

    @property
    def hash(self) -> str:
        """Sixteen hex digits; any change of name, order, ticker, timeframe or version changes it."""
        return digest(self)[:16]

    def require_same(self, other: "FeatureSchema", *, what: str) -> None:
        """Refuse `other` unless it is this schema, order included.

        Args:
            other: the schema that came with something else.
            what: what the other thing is, for the message: `"model 12"`.

        Raises:
            SchemaMismatch: names both sides and the first field that differs.
        """
        for field in type(self).model_fields:
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours != theirs:
                raise SchemaMismatch(
                    f"{what} has feature schema {other.hash} with {field} = {_shown(theirs)}, but {self.hash} with "
                    f"{field} = {_shown(ours)} is needed here; rebuild {what} or use the schema it was made with."
                )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
