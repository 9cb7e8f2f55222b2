"""Features of one month from the bars around it: which stretch to read and which rows to keep."""

from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd

from cappuccino_ml.bars import BarPanel, Universe
from cappuccino_ml.features import CONTEXT_BARS, MarketTable
from cappuccino_pipeline.partitions import month_bounds


class ReadPanel(Protocol):
    """Something that reads stored bars."""

    def __call__(self, *, start: datetime, end: datetime) -> BarPanel:
        """Bars that open in [start, end)."""


def features_of_month(
    read_panel: ReadPanel, month: str, *, universe: Universe, common_first: datetime
) -> pd.DataFrame | None:
    """One row per bar and symbol of `month`, in the columns of `MarketTable.to_frame`.

    Recursive filters need `CONTEXT_BARS` before the month. A few bars after it are read too, only so that a hole over
    the end of the month becomes filled rows; features never look ahead.

    Args:
        read_panel: gives the bars.
        month: `"2024-01"`.
        universe: the tickers.
        common_first: open of the first bar that all tickers have; there are no features before it.

    Returns:
        None for a month that lies wholly before `common_first`.
    """
    start, end = month_bounds(month)
    if end <= common_first:
        return None
    reach = (universe.fill_cap_bars + 1) * universe.bar
    panel = read_panel(start=max(common_first, start - CONTEXT_BARS * universe.bar), end=end + reach)
    bounds = np.array([start.replace(tzinfo=None), end.replace(tzinfo=None)], dtype="datetime64[us]")
    first, stop = np.searchsorted(panel.timestamps, bounds)
    return MarketTable.from_panel(panel).slice(int(first), int(stop)).to_frame()
