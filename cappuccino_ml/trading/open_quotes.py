"""Quotes of exact-fill mode, out of stored bars."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.core import Clock
from cappuccino_ml.trading.broker import Quote


class OpenQuotes:
    """Quotes of exact-fill mode: the open of the bar that is forming now, which follows the last closed one."""

    def __init__(self, panel: BarPanel, clock: Clock) -> None:
        self._panel = panel
        self._clock = clock
        self._column = {symbol: column for column, symbol in enumerate(panel.universe.symbols)}

    def __call__(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Opens of the bar that holds the clock's time; filled bars do not trade; no such bar, no quotes."""
        now = utc64(self._clock.now())
        row = int(np.searchsorted(self._panel.timestamps, now, side="right")) - 1
        if row < 0 or now >= self._panel.timestamps[row] + np.timedelta64(self._panel.universe.bar):
            return {}
        return {
            symbol: Quote(
                price=Decimal(repr(float(self._panel.open[row, self._column[symbol]]))),
                tradable=not self._panel.is_filled[row, self._column[symbol]],
            )
            for symbol in symbols
        }


def utc64(moment: datetime) -> np.datetime64:
    """An aware datetime as NumPy's UTC microseconds."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
