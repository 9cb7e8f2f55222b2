"""Which tickers, quoted in what, in which bar length: configuration that names every table."""

from datetime import timedelta

from pydantic import Field, field_validator

from cappuccino_ml.core import Settings

TIMEFRAMES: dict[str, timedelta] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}
FILL_CAP = timedelta(hours=6)  # the longest hole that may be filled with the last close
_YEAR = timedelta(days=365)


class Universe(Settings):
    """An ordered set of tickers. The order is part of the identity: weights and actions follow it."""

    tickers: tuple[str, ...] = Field(("BTC", "ETH", "LTC", "BCH", "LINK", "UNI", "AAVE"), min_length=1)
    quote: str = "USD"
    timeframe: str = "1h"

    @field_validator("tickers")
    @classmethod
    def _no_duplicates(cls, tickers: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({ticker for ticker in tickers if tickers.count(ticker) > 1})
        if twice:
            raise ValueError(f"tickers {', '.join(twice)} are named twice; name each once")
        return tickers

    @field_validator("timeframe")
    @classmethod
    def _known(cls, timeframe: str) -> str:
        if timeframe not in TIMEFRAMES:
            raise ValueError(f"timeframe {timeframe!r} is not one of {', '.join(TIMEFRAMES)}")
        return timeframe

    @property
    def symbols(self) -> tuple[str, ...]:
        """`("BTC-USD", ...)`, in order."""
        return tuple(f"{ticker}-{self.quote}" for ticker in self.tickers)

    @property
    def bar(self) -> timedelta:
        """Length of one bar."""
        return TIMEFRAMES[self.timeframe]

    @property
    def fill_cap_bars(self) -> int:
        """The longest hole that may be filled, in bars: 6 at 1h, 72 at 5m, none at 1d, where one bar is too long."""
        return FILL_CAP // self.bar

    @property
    def bars_per_year(self) -> float:
        """8,760 for hourly bars: crypto venues do not close."""
        return _YEAR / self.bar
