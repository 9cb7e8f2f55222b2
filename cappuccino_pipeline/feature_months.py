"""Features of one month from the bars around it: which stretch to read, which rows to keep, which months are stale."""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarPanel, Universe, month_bounds
from cappuccino_ml.features import CONTEXT_BARS, MarketTable


class ReadPanel(Protocol):
    """Something that reads stored bars."""

    def __call__(self, *, start: datetime, end: datetime) -> BarPanel:
        """Bars that open in [start, end)."""


class FeatureMonths:
    """The features of single months, each from its own bars and a fixed stretch before it.

    Recursive filters need `CONTEXT_BARS` before the month. A few bars after it are read too, only so that a hole over
    the end of the month becomes filled rows; features never look ahead.

    Args:
        read_panel: gives the bars.
        universe: the tickers.
        common_first: open of the first bar that all tickers have; there are no features before it.
    """

    def __init__(self, read_panel: ReadPanel, *, universe: Universe, common_first: datetime) -> None:
        self._read_panel, self._common_first = read_panel, common_first
        self._context = CONTEXT_BARS * universe.bar
        self._reach = (universe.fill_cap_bars + 1) * universe.bar

    def covers(self, month: str) -> bool:
        """Whether a part of `month` lies behind the common first bar."""
        return month_bounds(month)[1] > self._common_first

    def bars(self, month: str) -> BarPanel | None:
        """All bars that the features of `month` depend on; None for a month wholly before the common first bar."""
        start, end = month_bounds(month)
        if not self.covers(month):
            return None
        return self._read_panel(start=max(self._common_first, start - self._context), end=end + self._reach)

    def compute(self, month: str, bars: BarPanel) -> pd.DataFrame:
        """One row per bar and symbol of `month`, in the columns of `MarketTable.to_frame`, from what `bars` gave."""
        bounds = np.array([moment.replace(tzinfo=None) for moment in month_bounds(month)], dtype="datetime64[us]")
        first, stop = np.searchsorted(bars.timestamps, bounds)
        return MarketTable.from_panel(bars).slice(int(first), int(stop)).to_frame()

    def is_current(self, month: str, stored: pd.DataFrame) -> bool:
        """Whether `stored` is what the month's bars, as they are now, give."""
        bars = self.bars(month)
        if bars is None:
            return False
        fresh = self.compute(month, bars)
        return fresh.equals(stored.astype(fresh.dtypes.to_dict()))

    def neighbours(self, month: str, among: Iterable[str]) -> list[str]:
        """Those of `among` whose features depend on bars of `month`, in order; `month` itself is not one of them."""
        start, end = month_bounds(month)
        return [
            other
            for other in sorted(among)
            if other != month
            and month_bounds(other)[0] - self._context < end
            and start < month_bounds(other)[1] + self._reach
        ]


def upstream_months(universe: Universe) -> int:
    """How many months before its own the features of a month can depend on."""
    return -(-CONTEXT_BARS * universe.bar // timedelta(days=28))


def fingerprint(bars: BarPanel) -> str:
    """16 hex digits over the bars themselves. Stored beside features, it tells later whether they are stale."""
    sha = hashlib.sha256()
    for values in (bars.timestamps, bars.open, bars.high, bars.low, bars.close, bars.volume, bars.is_filled):
        sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()[:16]
