"""Bars of a whole universe on one time grid: the form every later stage reads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cappuccino_ml.bars.universe import Universe


@dataclass(frozen=True)
class BarPanel:
    """T rows by N tickers. `timestamps` are bar OPEN times, UTC, evenly spaced; a row is known at its close."""

    universe: Universe
    timestamps: NDArray[np.datetime64]  # [T], datetime64[us]
    open: NDArray[np.float64]  # [T, N], quote currency
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]  # [T, N], base units; 0 where filled
    is_filled: NDArray[np.bool_]  # [T, N], True where no bar was traded and the last close stands in

    def __len__(self) -> int:
        return len(self.timestamps)

    def slice(self, first: int, stop: int) -> "BarPanel":
        """Rows first..stop-1."""
        rows = slice(first, stop)
        return BarPanel(
            universe=self.universe,
            timestamps=self.timestamps[rows],
            open=self.open[rows],
            high=self.high[rows],
            low=self.low[rows],
            close=self.close[rows],
            volume=self.volume[rows],
            is_filled=self.is_filled[rows],
        )
