"""Small random markets with gaps between bars and bars that were filled in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Market:
    """Prices [T, N]."""

    open: Floats
    close: Floats
    tradable: NDArray[np.bool_]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As `backtest` and `VectorEnv` take them."""
        return {"open_": self.open, "close": self.close, "tradable": self.tradable}


MakeMarket = Callable[..., Market]


@pytest.fixture(scope="session")
def make_market() -> MakeMarket:
    def make(
        *,
        seed: int,
        bars: int = 64,
        tickers: int = 3,
        volatility: float = 0.02,
        gap: float = 0.005,
        filled: float = 0.1,
    ) -> Market:
        """Driftless in simple returns; open(t+1) differs from close(t) by `gap` (standard deviation, log)."""
        random = np.random.default_rng(seed)

        def steps(deviation: float) -> Floats:
            return np.exp(deviation * random.standard_normal((bars, tickers)) - deviation**2 / 2)

        gaps, moves = steps(gap), steps(volatility)
        start = random.uniform(10, 1000, tickers)
        close = start * np.cumprod(gaps * moves, axis=0)
        return Market(open=close / moves, close=close, tradable=random.random((bars, tickers)) >= filled)

    return make
